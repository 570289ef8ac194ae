"""The proxy between two terminals, with a stand-in for the harness and a real question.

The person's terminal is the strict screen: it fails on any sequence that is not AGP's.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

from agp.approvals.words import word_of
from agp.contracts.channel import ApprovalState
from tests.fakes.requests import request
from tests.fakes.terminal_person import Operator

pytestmark = pytest.mark.slow


@pytest.fixture
def person() -> Iterator[Operator]:
    made = Operator("tests.fakes.screen_child")
    yield made
    made.close()


def test_keys_pictures_and_sizes_pass_and_the_terminal_comes_back(person: Operator) -> None:
    person.sees("size 80x24")
    person.type("ab\x03c\r")
    person.sees("typed ab<3>c<13>.")
    person.report("entered")
    person.resize(70, 20)
    os.kill(person.child.pid, signal.SIGWINCH)
    person.sees("size 70x20")
    person.type("q")
    assert person.report("end")["how"] == "returned"
    person.assert_given_back()
    assert b"TITLE" not in person.raw
    assert b"\x1b[c" not in person.raw
    assert re.findall(rb"\x1b\[\?100[06][hl]", person.raw)[:2] == [b"\x1b[?1000h", b"\x1b[?1006h"]


def test_ctrl_z_never_reaches_the_harness(person: Operator) -> None:
    person.sees("typed .")
    person.type("a\x1ab")
    person.sees("typed ab.")
    person.type("q")
    person.report("end")


def test_under_a_question_nothing_is_drawn_and_no_key_passes(person: Operator) -> None:
    """A flood is drawn meanwhile; afterwards the screen is the harness's newest."""
    person.sees("typed .")
    shown = request()
    person.type("x")
    person.sees("typed x.")
    before = len(person.raw)
    person.type("s")
    person.asked(shown)
    question = person.screen.text()
    assert "size" not in question.splitlines()[0]
    person.type("deny because\r")
    assert person.report("answer") == {"what": "answer", "verdict": "deny", "reason": "because"}
    person.sees("typed xs.")
    assert "AGP asks" not in person.screen.text()
    during = person.raw[before:]
    covered = during[during.index(b"AGP asks") : during.rindex(b"AGP asks")]
    assert b"flood" not in covered
    assert b"\x1b[?1000l" in person.raw, "the mouse is off under a question"
    person.type("q")
    person.report("end")
    person.assert_given_back()


def test_ctrl_c_puts_a_question_aside_and_ctrl_z_brings_it_back(person: Operator) -> None:
    person.sees("typed .")
    person.asked(request())
    person.type("\x03")
    person.sees("typed .")
    assert not person.reported("answer")
    person.type("k")
    person.sees("typed k.")
    person.type("\x1a")
    person.asked_again()
    person.type("\x1a")
    person.sees("typed k.")
    person.type("q")
    assert person.report("end")["how"] == "returned"
    assert not person.reported("answer"), "nothing was answered by it"


def test_a_slow_harness_that_spins_is_waited_for_until_it_draws_everything() -> None:
    """It takes longer than the first wait, and draws pieces all the time: none counts."""
    made = Operator("tests.fakes.screen_child", SLOW="0.8")
    try:
        made.sees("typed .")
        made.asked(request())
        made.type("\x03")
        made.sees("typed .")
        made.sees("size 80x24")
        made.type("q")
        made.report("end")
    finally:
        made.close()


def test_a_paste_that_a_question_cuts_answers_nothing_and_reaches_nobody(person: Operator) -> None:
    """The word comes as a line of the paste, before and behind the end of what is discarded."""
    person.sees("typed .")
    shown = request()
    line = f"{word_of(shown.approval_id)}\r"
    person.type(f"\x1b[200~before\r{line}")
    person.sees("before")
    person.show(shown)
    person.until(lambda: b"AGP asks" in person.raw, "the question")
    person.type(line)
    person.takes_keys()
    person.type(line + line)
    person.type("\x1b[201~")
    person.sees("pasted text does not count")
    assert not person.reported("answer")
    person.type("\x03")
    person.sees("<27>[201~.")
    person.type("kept")
    person.sees("<27>[201~kept.")
    assert person.screen.text().count(line.strip()) == 1, "what it had, and its end"
    person.type("q")
    person.report("end")
    assert not person.reported("answer")


def test_a_paste_that_begins_while_keys_are_discarded_is_a_paste(person: Operator) -> None:
    """Its mark is discarded with them; its rest outlasts the question and reaches nobody either."""
    person.sees("typed .")
    shown = request()
    line = f"{word_of(shown.approval_id)}\r"
    person.show(shown)
    person.until(lambda: b"AGP asks" in person.raw, "the question")
    person.type(f"\x1b[200~{line}")
    person.takes_keys()
    person.type(line)
    person.show(request(state=ApprovalState.CANCELLED, approval_id=shown.approval_id))
    person.sees("typed .")
    person.type(f"{line}\x1b[201~kept")
    person.sees("typed kept.")
    person.type("q")
    person.report("end")
    assert not person.reported("answer")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_deadly_signal_gives_the_terminal_back(person: Operator, number: signal.Signals) -> None:
    person.sees("typed .")
    os.kill(person.child.pid, number)
    person.child.wait(20)
    person.drain()
    person.assert_given_back()


def test_a_harness_that_dies_gives_the_terminal_back(person: Operator) -> None:
    person.sees("typed .")
    person.type("!")
    assert person.report("end")["how"] == "returned"
    person.assert_given_back()


def test_a_stop_from_outside_does_not_leave_a_dead_screen(person: Operator) -> None:
    person.sees("typed .")
    os.kill(person.child.pid, signal.SIGTSTP)
    person.type("a")
    person.sees("typed a.")
    person.type("q")
    person.report("end")
