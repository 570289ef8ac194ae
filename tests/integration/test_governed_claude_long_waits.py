"""The real harness waits for a person while the machine sleeps and the daemon is restarted.

A sleep is played by stopping every process of the run, its view and the daemon (SIGSTOP). That is
harsher than a suspended laptop: all clocks go on, so every deadline of ours has passed on waking.
The hours themselves are in `tests/unit/governor/test_long_waits.py`, where time is a value.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.fakes.agp_house import House, Run, house
from tests.fakes.model_server import call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

GRACE_S = 4
COMMAND = "echo ran >> ran.txt; true"


@pytest.fixture
def home() -> Iterator[House]:
    with house() as made:
        made.configure(reconnect_s=4, reattach_grace_s=GRACE_S, approval_timeout_s=60)
        yield made


@contextmanager
def asleep(*pids: int) -> Iterator[None]:
    """Stop these processes, let the grace pass while the block runs, and wake them up."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
        time.sleep(GRACE_S + 1)  # the time is what is tested
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def started(home: House) -> Run:
    return home.claude(say(call("Bash", command=COMMAND), "done"))


def everything(home: House, run: Run) -> tuple[int, ...]:
    daemon = home.daemon_pid()
    assert daemon is not None
    return (run.process.pid, daemon, *home.view_processes())


def told(run: Run) -> str:
    """Give what the model was told about its call."""
    assert run.model is not None
    return str(run.model.requests[-1])


def test_a_question_outlives_sleep_and_restarts_and_its_call_runs_once(home: House) -> None:
    """Slept, daemon killed, daemon stopped in order: one answer, one effect."""
    run = started(home)
    asked = run.question("ran.txt")["approval_id"]

    with asleep(*everything(home, run)):
        pass
    assert run.question("ran.txt")["approval_id"] == asked
    home.kill_daemon()
    assert home.agp("daemon", "start").returncode == 0
    assert run.question("ran.txt")["approval_id"] == asked
    assert home.agp("daemon", "stop").returncode == 0
    assert home.agp("daemon", "start").returncode == 0
    assert run.answer("approve", "ran.txt") == asked
    run.end()

    assert (home.repo / "ran.txt").read_text() == "ran\n"
    assert home.kinds("approval.requested", "ticket.issued") == [
        "approval.requested",
        "ticket.issued",
    ]


def test_a_machine_that_wakes_after_the_time_tells_the_agent_that_nobody_answered(
    home: House,
) -> None:
    home.configure(approval_timeout_s=5)
    run = started(home)
    asked = run.question("ran.txt")["approval_id"]

    with asleep(*everything(home, run)):
        time.sleep(5)
    late = home.agp("approve", asked)
    run.end()

    assert late.returncode != 0
    assert "timed out, nobody answered from" in told(run)
    assert not (home.repo / "ran.txt").exists()


def test_a_run_that_sleeps_through_a_restart_is_reaped_and_wakes_to_nothing(home: House) -> None:
    """The daemon that came back meanwhile does not wait for ever; what wakes up runs nothing."""
    run = started(home)
    asked = run.question("ran.txt")["approval_id"]

    with asleep(run.process.pid, *home.view_processes()):
        home.kill_daemon()
        assert home.agp("daemon", "start").returncode == 0
        home.await_event("session.reaped")
        assert home.agp("approve", asked).returncode != 0
    run.end(code=None)

    assert run.process.returncode != 0
    assert not (home.repo / "ran.txt").exists()
    assert "ticket.redeemed" not in home.kinds()
    home.await_no_view()
