"""However a journal reaches the store, in one go, line by line or through crashes: same rows."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agp.contracts.journal import Line, Payload
from agp.contracts.policy import Decision
from agp.store.projection import Store
from tests.fakes import story
from tests.fakes.journal_lines import LOG_ID, chain

REPOSITORY = Path(__file__).parents[2]


@st.composite
def stories(draw: st.DrawFn) -> tuple[Line, ...]:
    """Draw any run of events that a governor could have written."""
    payloads: list[Payload] = [story.started()]
    waiting: list[int] = []
    decided: list[int] = []
    for number in range(draw(st.integers(0, 12))):
        decision = draw(st.sampled_from(Decision))
        payloads.append(story.decided(number, decision))
        decided.append(number)
        if decision is Decision.REQUIRE:
            payloads.append(story.requested(number))
            waiting.append(number)
        if waiting and draw(st.booleans()):
            ended = waiting.pop(draw(st.integers(0, len(waiting) - 1)))
            make = draw(st.sampled_from([story.granted, story.denied, story.expired]))
            payloads.append(make(ended))
        if draw(st.booleans()):
            payloads.append(story.finished(draw(st.sampled_from(decided))))
    if draw(st.booleans()):
        payloads.append(story.ended())
    return chain(*payloads)


def rows(store: Store) -> tuple[object, ...]:
    return store.last_applied_seq, store.last_applied_hash, store.sessions(), store.approvals()


@settings(max_examples=40, deadline=None)
@given(lines=stories(), data=st.data())
def test_replay_from_zero_equals_any_incremental_way(lines: tuple[Line, ...], data: st.DataObject):
    with tempfile.TemporaryDirectory() as directory:
        whole = Store.open(Path(directory) / "whole.db", LOG_ID)
        whole.replay(lines)
        steps = Store.open(Path(directory) / "steps.db", LOG_ID)
        cut = data.draw(st.integers(0, len(lines)))
        again = data.draw(st.integers(0, cut))
        for line in lines[:cut]:
            steps.apply(line)
        steps.close()
        steps = Store.open(Path(directory) / "steps.db", LOG_ID)
        steps.replay(lines[again:])
        assert rows(steps) == rows(whole)
        steps.rebuild(lines)
        assert rows(steps) == rows(whole)
        whole.close()
        steps.close()


def long_story() -> tuple[Line, ...]:
    payloads: list[Payload] = [story.started()]
    for number in range(100):
        payloads += story.asked(number)
        payloads.append(story.denied(number) if number % 3 else story.granted(number))
        payloads.append(story.finished(number))
    return chain(*payloads)


VICTIM = """
import os, signal, sys
from pathlib import Path
from agp.store.projection import Store
from tests.fakes.journal_lines import LOG_ID
from tests.integration.test_store_replay import long_story

store = Store.open(Path(sys.argv[1]), LOG_ID)
left = int(sys.argv[2])

def die(statement):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)

store._db.conn.set_trace_callback(die)
if sys.argv[3] == "singly":
    for line in long_story():
        store.apply(line)
else:
    store.replay(long_story())
"""


@pytest.mark.parametrize("how", ["singly", "in batches"])
@pytest.mark.parametrize("statement", [1, 2, 3, 4, 5, 6, 7, 8, 300, 700, 1001])
def test_killed_before_any_statement_the_replay_gives_the_same_rows(
    tmp_path: Path, statement: int, how: str
):
    """SIGKILL between any two statements leaves a whole prefix, never half an event."""
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", VICTIM, str(path), str(statement), how]
    victim = subprocess.run(command, cwd=REPOSITORY, timeout=60, check=False)
    assert victim.returncode == -9
    lines = long_story()
    survivor = Store.open(path, LOG_ID)
    assert survivor.moved_aside is None
    reached = survivor.last_applied_seq
    prefix = Store.open(tmp_path / "prefix.db", LOG_ID)
    prefix.replay(lines[: reached + 1])
    assert rows(survivor) == rows(prefix)
    survivor.replay(lines[max(reached, 0) :])
    prefix.replay(lines)
    assert rows(survivor) == rows(prefix)
    survivor.close()
    prefix.close()
