"""The list of sessions: newest first, one word for each standing."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from agp.cli.control import _newest_first, session_lines
from agp.contracts.control import SessionList, SessionSummary
from agp.contracts.policy import Grade

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
LONG = "the launcher did not come back in time and its lease ended without it"


def session(number: int, status: str, started: str, outcome: str = "") -> SessionSummary:
    """Give one session that started on NOW's day at a time."""
    return SessionSummary.model_validate(
        {
            "session_id": f"s-{number:012d}",
            "intendant": "scripted",
            "workspace": "/repo",
            "grade": Grade.SHARED,
            "status": status,
            "outcome": outcome,
            "started_at": f"2026-11-20T{started}.000000Z",
            "calls": 1,
            "allowed": 1,
            "asked": 0,
            "denied": 0,
        }
    )


def test_live_ones_come_first_and_the_newest_of_each_above() -> None:
    listed = SessionList(
        sessions=(
            session(1, "ended", "11:00:00", "finished"),
            session(2, "held", "09:00:00"),
            session(3, "reaped", "11:30:00", LONG),
            session(4, "away", "10:00:00"),
        )
    )

    ordered = _newest_first(listed).sessions

    assert [int(one.session_id[2:]) for one in ordered] == [4, 2, 3, 1]


def test_a_word_that_nobody_can_guess_is_explained_where_it_stands() -> None:
    away, reaped, held = (
        session(n, status, "11:00:00", LONG) for n, status in enumerate(("away", "reaped", "held"))
    )

    lines = session_lines((away, reaped, held), NOW, running=True)

    assert [line.partition(": ")[0] for line in lines[-2:]] == ["away", "reaped"]
    assert len(session_lines((held,), NOW, running=True)) == 2


@pytest.mark.parametrize(
    ("status", "outcome", "running", "word"),
    [
        ("held", "", True, "running"),
        ("away", "", True, "away"),
        ("away", "", False, "open"),
        ("ended", "harness_failed", True, "harness failed"),
        ("reaped", LONG, False, "reaped"),
    ],
)
def test_a_standing_is_one_word_and_never_a_sentence(
    status: str,
    outcome: str,
    running: bool,
    word: str,
) -> None:
    told = session_lines((session(1, status, "11:58:00", outcome),), NOW, running=running)[1]

    assert re.split(" {2,}", told)[1:3] == [word, "2m ago"]
    assert LONG not in told
