"""The shape of a launch: what a canary starts, and what makes another proof necessary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from agp.contracts.base import Digest
from agp.contracts.intendant import LaunchPlan
from agp.intendants.claude_code import shape
from agp.intendants.claude_code.canary_model import CANARY_KEY
from agp.intendants.claude_code.launch import LaunchRequest, plan_launch, plan_screen
from agp.intendants.claude_code.shape import TASK, canary_launch, shape_digest

BASE: dict[str, Any] = {
    "task": "a task",
    "executable": "/opt/x/claude",
    "executable_sha256": Digest("0" * 64),
    "version": "2.1.329",
    "bridge": b"bridge",
    "forwarder": b"forward",
    "reconnect_s": 30,
    "model_relay": True,
    "git_name": "Agent",
    "git_email": "agent@example.invalid",
    "named_environment": (("ANTHROPIC_API_KEY", "sk-of-a-person"), ("NAMED", "one")),
}


def plan(**changes: Any) -> LaunchPlan:
    return plan_launch(LaunchRequest(**BASE | changes))


def files(changed: LaunchPlan, *more: tuple[str, bytes]) -> LaunchPlan:
    return changed.model_copy(update={"files": (*changed.files, *more)})


@dataclass(frozen=True)
class Launch:
    """One launch beside the base, as a sentence."""

    name: str
    make: Callable[[], LaunchPlan]


SAME = (
    Launch("another task", lambda: plan(task="another")),
    Launch(
        "a model, a conversation to go on with, a prompt",
        lambda: plan(
            arguments=("--model", "m", "--continue", "--append-system-prompt", "p", "--effort=low")
        ),
    ),
    Launch("the screen", lambda: plan_screen(LaunchRequest(**BASE | {"task": ""}))),
    Launch("the screen with a task", lambda: plan_screen(LaunchRequest(**BASE))),
    Launch("another way to the model", lambda: plan(model_relay=False)),
    Launch("another place of the harness", lambda: plan(executable="/elsewhere/claude")),
    Launch("another login", lambda: plan(named_environment=(("NAMED", "one"),))),
    Launch(
        "another value of a named variable",
        lambda: plan(named_environment=(("ANTHROPIC_AUTH_TOKEN", "t"), ("NAMED", "two"))),
    ),
    Launch("a person's memory", lambda: files(plan(), ("/opt/carried/memory.md", b"text"))),
    Launch(
        "a login file",
        lambda: plan().model_copy(update={"home_files": (("/h/.c", ".claude/.c", True),)}),
    ),
)
OTHER = (
    Launch("another bridge", lambda: plan(bridge=b"another")),
    Launch("another forwarder", lambda: plan(forwarder=b"another")),
    Launch("other settings", lambda: plan(reconnect_s=31)),
    Launch("another version", lambda: plan(version="2.1.330")),
    Launch("one more variable", lambda: plan(named_environment=(("NAMED", "1"), ("MORE", "1")))),
    Launch("one more file that governs", lambda: files(plan(), ("/opt/agp/more", b""))),
    Launch("a managed drop-in", lambda: files(plan(), ("/etc/claude-code/x.json", b"{}"))),
    Launch(
        "a flag taken away",
        lambda: plan().model_copy(
            update={"argv": tuple(w for w in plan().argv if w != "--strict-mcp-config")}
        ),
    ),
)


@pytest.mark.parametrize("row", SAME, ids=lambda row: row.name)
def test_what_differs_from_run_to_run_is_no_other_shape(row: Launch) -> None:
    """A proof of yesterday's run is one of today's."""
    assert shape_digest(row.make()) == shape_digest(plan())


@pytest.mark.parametrize("row", OTHER, ids=lambda row: row.name)
def test_what_governs_is_another_shape(row: Launch) -> None:
    """Nothing that decides what runs may change behind a proof."""
    assert shape_digest(row.make()) != shape_digest(plan())


def test_another_version_of_agp_is_another_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade proves anew."""
    before = shape_digest(plan())
    monkeypatch.setattr(shape, "__version__", "0.1.1")
    assert shape_digest(plan()) != before


def test_the_canary_has_no_login_no_task_and_no_arguments_of_the_person() -> None:
    """Its key opens nothing; everything that governs is the launch's own, byte for byte."""
    launch = plan(arguments=("--model", "m"))
    made = canary_launch(launch)
    assert dict(made.environment)["ANTHROPIC_API_KEY"] == CANARY_KEY
    assert "sk-of-a-person" not in made.model_dump_json()
    assert made.argv[-2:] == ("--", TASK)
    assert "--model=m" not in made.argv
    assert made.files == launch.files
    assert made.harness_files == launch.harness_files
    for flag in ("--setting-sources", "--strict-mcp-config", "--permission-mode", "default"):
        assert flag in made.argv
    assert dict(made.environment)["NAMED"] == "one"
    assert made.argv[made.argv.index("--setting-sources") + 1] == ""
