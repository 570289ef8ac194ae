"""Observe mode with the real Claude Code: the agent notices nothing, and its view holds."""

from __future__ import annotations

import json

import pytest

from tests.fakes.agp_house import house
from tests.fakes.model_server import call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]


def test_an_observed_session_runs_what_is_denied_and_stays_in_its_view() -> None:
    """One run: lifted, quiet and held calls; the floor, the masks and the network as ever."""
    with house({".git/info/keep": ""}) as home:
        home.policy(
            "id: mine, match: {effect: write, path: mine.txt}, verdict: deny, reason: Not that."
        )
        outside = home.place / "outside.txt"
        hook = home.repo / ".git/hooks/post-checkout"
        probe = (
            f"echo x > {outside}; echo x > {hook}; cat {home.home.root}/keys/* && echo LEAKED;"
            " (exec 3<>/dev/tcp/127.0.0.1/1) 2>&1; echo probed > probed.txt"
        )
        run = home.claude(
            say(
                call("Write", file_path=str(home.repo / "mine.txt"), content="m"),
                call("Read", file_path=str(home.repo / "README.md")),
                call("Write", file_path="/opt/agp/agp-bridge", content="x"),
                call("Bash", command=probe, description="look around"),
                "done",
            ),
            flags=("--observe",),
        )
        summary = run.end()

        assert summary["outcome"] == "finished"
        decisions = [(one["tool"], one["decision"], one["would_be"]) for one in summary["calls"]]
        assert decisions == [
            ("Write", "observed", "deny"),
            ("Read", "allowed", None),
            ("Write", "denied", None),
            ("Bash", "observed", "require"),
        ]
        assert (home.repo / "mine.txt").read_text() == "m"
        assert (home.repo / "probed.txt").read_text() == "probed\n", "the positive control"
        assert not outside.exists()
        assert not hook.exists()
        told = json.dumps([str(turn.body) for turn in run.model.turns_asked] if run.model else [])
        assert "LEAKED\\n" not in told
        assert "observe" not in told.lower()
        events = [line for line in home.events() if "session_id" in line.payload]
        assert all(line.payload.get("observed") is True for line in events)
        assert "coverage.violated" not in home.kinds()
