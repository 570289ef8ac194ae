"""The proxy between two terminals, with a stand-in for the harness and a real question.

The person's terminal is the strict screen: it fails on any sequence that is not AGP's.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator

import pytest

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
