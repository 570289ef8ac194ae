"""What starts the harness's own screen, and what it finds in its HOME."""

from __future__ import annotations

import json

import pytest

from agp.contracts.base import Digest
from agp.errors import RunRefused
from agp.intendants.claude_code.launch import LaunchRequest, launch_digest, plan_launch, plan_screen
from agp.intendants.claude_code.seed import home_seed

ASKED = LaunchRequest(
    task="",
    executable="/opt/claude",
    executable_sha256=Digest("a" * 64),
    version="2.1.329",
    bridge=b"bridge",
    forwarder=b"forwarder",
    reconnect_s=30,
    model_relay=True,
    git_name="n",
    git_email="n@example.invalid",
)


def asked(**changes: object) -> LaunchRequest:
    return LaunchRequest.model_validate({**dict(ASKED), **changes})


def test_the_screen_is_started_with_exactly_these_words() -> None:
    plan = plan_screen(asked(arguments=("--model", "opus")))
    assert plan.argv == (
        "/opt/agp/claude", "--setting-sources", "", "--strict-mcp-config",
        "--permission-mode", "default", "--model=opus",
    )  # fmt: skip
    assert plan.interactive
    environment = dict(plan.environment)
    assert (environment["TERM"], environment["COLORTERM"]) == ("xterm-256color", "truecolor")
    assert environment["EDITOR"] == environment["VISUAL"] == "/opt/agp/no-editor", "none is started"
    assert "/opt/agp/no-editor" not in dict(plan.files)


def test_a_task_is_the_first_prompt_and_never_a_flag() -> None:
    assert plan_screen(asked(task="--bare")).argv[-2:] == ("--", "--bare")
    with pytest.raises(RunRefused):
        plan_screen(asked(task="a\0b"))


def test_the_same_settings_govern_both_and_the_digests_differ() -> None:
    """The managed settings are byte for byte those of a run with a task."""
    screen, headless = plan_screen(asked(task="t")), plan_launch(asked(task="t"))
    assert screen.files == headless.files
    assert not headless.interactive
    assert "TERM" not in dict(headless.environment)
    assert launch_digest(screen) != launch_digest(headless)


def test_the_home_holds_three_facts_and_the_end_of_the_key_that_was_handed_over() -> None:
    key = "sk-ant-" + "k" * 40
    seed = json.loads(home_seed("/w", (("ANTHROPIC_API_KEY", key),)))
    assert seed == {
        "hasCompletedOnboarding": True,
        "projects": {"/w": {"hasTrustDialogAccepted": True}},
        "customApiKeyResponses": {"approved": [key[-20:]], "rejected": []},
    }
    assert "customApiKeyResponses" not in json.loads(home_seed("/w", ()))
