"""The version table under the real daemon: proved versions are governed, unknown ones refused.

An unknown version is made by taking it off the table, in a copy of the source tree that `agp run`
then runs from: the binary is the real one.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from agp.intendants.claude_code.version import (
    LOWEST,
    NEWEST,
    PROVED,
    UNSAFE_VERSION,
    ProvedVersion,
)
from tests.fakes.agp_house import ROOT, House, house
from tests.fakes.claude_run import native_of
from tests.fakes.model_server import Conversation, call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

TABLE = "agp/intendants/claude_code/versions.toml"


@pytest.fixture
def older_table() -> Iterator[House]:
    """Give a house whose AGP has never heard of the newest version."""
    with house() as made:
        for name in ("agp", "hooks", "policies"):
            shutil.copytree(ROOT / name, made.place / "tree" / name)
        entries = (ROOT / TABLE).read_text().split("[[proved]]")
        assert NEWEST.version in entries[-1]
        (made.place / "tree" / TABLE).write_text("[[proved]]".join(entries[:-1]))
        made.env["PYTHONPATH"] = str(made.place / "tree")
        yield made


def script(made: House) -> Conversation:
    return say(call("Write", file_path=str(made.repo / "made.txt"), content="x"), "done")


@pytest.mark.parametrize("proved", PROVED, ids=lambda entry: entry.version)
def test_each_proved_version_is_governed_from_start_to_end(proved: ProvedVersion) -> None:
    with house() as made:
        made.configure(claude_code=str(native_of(proved.version)))
        run = made.claude(
            say(
                call("Write", file_path=str(made.repo / "made.txt"), content="x"),
                call("Bash", command="echo no > refused.txt; true", description="d"),
                "done",
            )
        )
        run.answer("deny", "refused.txt")
        summary = run.end()
        assert [c["decision"] for c in summary["calls"]] == ["allowed", "refused"]
        assert (made.repo / "made.txt").exists()
        assert not (made.repo / "refused.txt").exists()
        (started,) = made.payloads("session.started")
        assert started["intendant_version"] == proved.version
        assert UNSAFE_VERSION not in started.get("unsafe", [])


def test_an_unknown_version_is_refused_before_anything_starts(older_table: House) -> None:
    run = older_table.claude(script(older_table))
    run.end(code=None)
    assert run.process.returncode != 0
    assert f"Claude Code {NEWEST.version} was not proved" in run.said
    assert LOWEST.version in run.said
    assert not (older_table.repo / "made.txt").exists()
    assert run.model is not None
    assert run.model.requests == []


def test_an_unknown_version_runs_with_the_unsafe_flag_and_the_journal_says_so(
    older_table: House,
) -> None:
    run = older_table.claude(script(older_table), flags=("--unsafe-harness-version",))
    run.end()
    (started,) = older_table.payloads("session.started")
    assert started["intendant_version"] == NEWEST.version
    assert UNSAFE_VERSION in started["unsafe"]
    assert (older_table.repo / "made.txt").read_text() == "x"
