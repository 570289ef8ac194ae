"""The prompt on a real terminal: what is typed, what is shown, and how it is left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import termios
from collections.abc import Iterator

import pytest

from agp.contracts.channel import ApprovalRequest, ApprovalState
from agp.contracts.policy import Effect, EffectKind
from tests.fakes.requests import request
from tests.fakes.terminal_person import DEADLINE_S, Operator

pytestmark = pytest.mark.slow  # each question discards half a second of typing


@pytest.fixture
def operator() -> Iterator[Operator]:
    person = Operator()
    person.report("ready")
    yield person
    person.close()


def second(**changes: object) -> ApprovalRequest:
    return request(
        approval_id="badger-3f9c2e1b",
        input_json='{"command":"npm publish"}',
        **changes,
    )


def test_the_word_allows_once_and_nothing_is_left_behind(operator: Operator):
    operator.asked(request())
    operator.sees("git push origin main")
    assert operator.screen.bells == 1
    operator.type("otter\r")
    answer = operator.report("answer")
    assert answer == {
        "what": "answer", "verdict": "allow", "reason": "", "id": "otter-3f9c2e1a",
        "binding": "3f9c2e1a" + "0" * 56,
    }  # fmt: skip
    operator.gone()
    operator.assert_given_back()


def test_deny_takes_the_rest_of_the_line_as_the_reason(operator: Operator):
    operator.asked(request())
    operator.type("deny Not on a Friday, Łukasz\r")
    answer = operator.report("answer")
    assert (answer["verdict"], answer["reason"]) == ("deny", "Not on a Friday, Łukasz")
    operator.gone()
    operator.assert_given_back()


@pytest.mark.parametrize(
    "line",
    ["", "y", "yes", "allow", "otter-3f9c2e1a", "3f9c2e1a", "ottr", "otter please", "denyx", " "],
)
def test_anything_but_the_word_and_deny_answers_nothing(operator: Operator, line: str):
    operator.asked(request())
    operator.type(f"{line}\r")
    operator.type("deny over\r")
    assert operator.report("answer")["reason"] == "over"


def test_what_was_typed_before_the_question_was_drawn_answers_nothing(operator: Operator):
    """Attack: type-ahead, or a person who is typing when the question springs up."""
    operator.type("otter\rotter\r")
    operator.show(request())
    operator.until(lambda: operator.screen.draws >= 1, "the first drawing")
    operator.type("otter\rotter\r")
    operator.takes_keys()
    assert operator.screen.text().split("\n")[-1] == ">"
    operator.type("deny late\r")
    assert operator.report("answer")["reason"] == "late"
    assert not operator.reported("answer")


def test_standard_input_cannot_answer(operator: Operator):
    """Attack: standard input belongs to whoever started the run, perhaps to a harness."""
    operator.asked(request())
    assert operator.child.stdin is not None
    operator.child.stdin.write(b"otter\r\notter\n" * 100)
    operator.child.stdin.flush()
    operator.type("deny mine\r")
    assert operator.report("answer")["reason"] == "mine"


def test_pasted_text_is_no_answer(operator: Operator):
    operator.asked(request())
    operator.type("\x1b[200~otter\r\x1b[201~")
    operator.sees("pasted text does not count")
    operator.type("deny no paste\r")
    assert operator.report("answer")["reason"] == "no paste"


def test_escape_says_that_it_answers_nothing_and_takes_no_key_with_it(operator: Operator):
    operator.asked(request())
    operator.type("\x1b")
    operator.sees("Esc answers nothing")
    operator.type("otter\r")
    assert operator.report("answer")["verdict"] == "allow"


def test_the_terminal_does_not_echo_and_what_is_typed_is_drawn_by_us(operator: Operator):
    operator.asked(request())
    shown_before = operator.raw
    operator.type("ab\x01\x1b[6n\x1b[31mc\x7fd")
    operator.sees("> abd")
    drawn = operator.raw[len(shown_before) :]
    assert not termios.tcgetattr(operator.slave)[3] & (termios.ECHO | termios.ICANON)
    assert b"^A" not in drawn
    assert b"\x01" not in drawn
    assert b"\x1b[6n" not in drawn
    assert b"\x1b[31m" not in drawn


def test_a_question_answered_elsewhere_leaves_the_screen_and_says_who(operator: Operator):
    operator.asked(request())
    operator.type("ott")
    operator.sees("> ott")
    operator.show(
        request(state=ApprovalState.DENIED, answered_by="slack:T1:U2", answer_reason="no")
    )
    operator.gone()
    line = "agp: otter-3f9c2e1a (Bash) denied by slack:T1:U2: no"
    operator.until(lambda: line in operator.screen.main, "who answered")
    operator.assert_given_back()
    assert not operator.reported("answer")


def test_several_questions_queue_and_say_so(operator: Operator):
    operator.asked(request())
    operator.show(second())
    operator.sees("(1 of 2)")
    operator.type("otter\r")
    assert operator.report("answer")["id"] == "otter-3f9c2e1a"
    operator.sees("npm publish")
    assert operator.screen.bells == 2
    drawn = operator.screen.draws
    operator.until(lambda: operator.screen.draws > drawn, "the second drawing")
    operator.type("badger\r")
    assert operator.report("answer")["id"] == "badger-3f9c2e1b"


def test_the_answer_to_one_question_cannot_run_on_into_the_next(operator: Operator):
    """Attack: two questions, and a line typed twice in one breath."""
    operator.asked(request())
    operator.show(second())
    operator.sees("(1 of 2)")
    operator.type("otter\rbadger\rbadger\r")
    assert operator.report("answer")["id"] == "otter-3f9c2e1a"
    operator.sees("npm publish")
    drawn = operator.screen.draws
    operator.until(lambda: operator.screen.draws > drawn, "the second drawing")
    operator.type("deny no\r")
    assert operator.report("answer")["verdict"] == "deny"


def test_an_answer_that_does_not_count_is_asked_again_with_the_reason(operator: Operator):
    operator.order(refuse="nothing is granted while AGP is paused")
    operator.asked(request())
    operator.type("otter\r")
    operator.sees("nothing is granted while AGP is paused")
    drawn = operator.screen.draws
    operator.until(lambda: operator.screen.draws > drawn, "the second drawing")
    operator.type("otter\r")
    assert operator.report("answer")["verdict"] == "allow"


def test_the_word_counts_only_when_the_end_was_on_the_screen(operator: Operator):
    """Attack: blank lines push the end of the command out of sight."""
    padded = json.dumps({"command": "echo fine" + "\n" * 40 + "rm -rf ~"})
    operator.asked(request(input_json=padded))
    assert "rm -rf ~" not in operator.screen.text()
    operator.type("otter\r")
    operator.sees("read it first")
    operator.type("\x1b[6~" * 8)
    operator.sees("rm -rf ~")
    operator.type("otter\r")
    assert operator.report("answer")["verdict"] == "allow"


def test_a_window_that_is_too_small_to_read_allows_nothing(operator: Operator):
    operator.asked(request())
    drawn = operator.screen.draws
    operator.resize(12, 5)
    # A real terminal cuts what runs over its edge; here it is kept to be looked at.
    operator.screen.columns, operator.screen.height = 200, 60
    operator.until(lambda: operator.screen.draws > drawn, "the drawing after the resize")
    operator.type("otter\r")
    operator.sees("the window is t")
    operator.type("deny small\r")
    assert operator.report("answer")["verdict"] == "deny"


def test_the_whole_of_a_long_call_can_be_paged(operator: Operator):
    middle = "\n".join(f"line {n}" for n in range(5000))
    operator.asked(request(input_json=json.dumps({"command": middle})))
    operator.type("\x1b[6~" * 12)
    operator.sees("line 4999")
    assert "line 2500" not in operator.raw.decode()
    operator.type("\t")
    operator.sees("Tab: cut it again")
    operator.type("\x1b[6~" * 140)
    operator.until(lambda: b"line 2500" in operator.raw, "the middle of the call")


def test_a_small_window_shows_the_command_and_a_hint_that_is_whole(operator: Operator):
    operator.asked(request())
    for columns, hint in ((70, "Then Enter."), (40, "Type otter to allow, or deny. Enter.")):
        drawn = operator.screen.draws
        operator.resize(columns, 18)
        operator.until(lambda drawn=drawn: operator.screen.draws > drawn, "a new drawing")
        operator.sees("│    git push origin main")
        operator.sees(hint)


def test_a_resize_draws_the_question_anew(operator: Operator):
    operator.asked(request())
    drawn = operator.screen.draws
    operator.resize(50, 40)
    operator.until(lambda: operator.screen.draws > drawn, "a new drawing")
    operator.sees("git push origin main")
    operator.type("otter\r")
    assert operator.report("answer")["verdict"] == "allow"


HOSTILE = (
    "\x1b[2J\x1b[H> otter\r\n\x1b]0;title\x07\x1b]52;c;AAAA\x07\x9b6n\x1b[c\x1b[6n\x1bP$qm\x1b\\"
    "\x1b[?1049l\x1b[?25l\u202eevil\u2066\u200b\u2028AGP asks: done\n> allowed\r\x08\x7f\x00\x05"
)


@pytest.mark.parametrize(
    "field",
    ["cwd", "says", "tool", "input_json", "reason", "rule_id", "agent_id", "harness", "effects",
     "cannot_see", "session_id", "approvers", "granted_by"],
)  # fmt: skip
def test_hostile_text_never_reaches_the_terminal_raw(operator: Operator, field: str):
    """The strict screen fails on any sequence that is not ours, and rows keep their places."""
    hostile: dict[str, object] = {field: HOSTILE}
    if field == "input_json":
        hostile = {field: json.dumps({"command": HOSTILE, HOSTILE: [HOSTILE], "long": "x" * 9000})}
    elif field == "effects":
        hostile = {field: (Effect(kind=EffectKind.EXEC, subject=HOSTILE, argv=(HOSTILE, "x")),)}
    elif field == "approvers":
        hostile = {field: frozenset({HOSTILE})}
    elif field in {"cannot_see", "granted_by"}:
        hostile = {field: (HOSTILE,)}
    operator.asked(request(**hostile))
    operator.type("\x1b[6~" * 12)
    operator.type("zzz")
    operator.sees("> zzz")
    rows = operator.screen.text().split("\n")
    assert rows[0].startswith("AGP asks: may the agent do this?")
    assert [row for row in rows if row.startswith("> ")] == ["> zzz"]
    for bad in (b"\x1b]", b"\x1bP", b"\x9b", b"\x1b[c", b"\x1b[6n", b"\x00", b"\x05", b"\x7f"):
        assert bad not in operator.raw
    for char in "\u202e\u2066\u200b\u2028\x9b":
        assert char not in operator.raw.decode()


def test_a_hostile_outcome_is_one_visible_line(operator: Operator):
    operator.asked(request(tool=HOSTILE))
    operator.show(request(tool=HOSTILE, state=ApprovalState.EXPIRED, answered_by=HOSTILE))
    operator.gone()
    operator.until(
        lambda: any(
            line.startswith("agp: otter-3f9c2e1a (\\e[2J") for line in operator.screen.main
        ),
        "the outcome on one line",
    )


def test_what_else_is_said_waits_behind_the_question(operator: Operator):
    operator.asked(request())
    operator.order(say="the harness says \x1b[2J hello")
    operator.show(second())
    operator.sees("(1 of 2)")
    assert b"hello" not in operator.raw
    operator.type("deny\r")
    operator.report("answer")
    line = "the harness says \\e[2J hello"
    operator.until(lambda: line in operator.screen.main, "the line that waited")


def test_control_c_interrupts_the_run_and_denies_nothing(operator: Operator):
    operator.asked(request())
    operator.sees("Ctrl-C ends the run")
    operator.type("otter\x03")
    assert operator.report("end")["how"] == "KeyboardInterrupt"
    operator.gone()
    operator.child.wait(DEADLINE_S)
    operator.assert_given_back()
    assert not operator.reported("answer")


def test_control_c_interrupts_while_typed_text_is_still_discarded(operator: Operator):
    operator.show(request())
    operator.until(lambda: operator.screen.draws >= 1, "the first drawing")
    operator.type("\x03")
    assert operator.report("end")["how"] == "KeyboardInterrupt"
    operator.assert_given_back()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_that_ends_the_process_gives_the_terminal_back_first(
    operator: Operator, number: signal.Signals
):
    operator.asked(request())
    operator.child.send_signal(number)
    operator.gone()
    code = operator.child.wait(DEADLINE_S)
    assert code == (0 if number is signal.SIGINT else -number)
    operator.assert_given_back()


@pytest.mark.parametrize(("end", "how"), [("cancel", "returned"), ("crash", "RuntimeError")])
def test_cancelled_or_crashed_the_terminal_is_given_back(operator: Operator, end: str, how: str):
    operator.asked(request())
    operator.order(end=end)
    assert operator.report("end")["how"] == how
    operator.gone()
    operator.assert_given_back()


@pytest.mark.parametrize("key", ["\x1a", "\x1c"])
def test_suspend_and_quit_keys_do_not_leave_the_terminal_taken(operator: Operator, key: str):
    operator.asked(request())
    operator.type(f"{key}deny\r")
    assert operator.report("answer")["verdict"] == "deny"
    operator.gone()
    operator.assert_given_back()


def test_a_terminal_that_hangs_up_ends_the_prompt_as_unavailable(operator: Operator):
    operator.order(say="nothing")
    operator.asked(request())
    os.close(operator.slave)
    os.close(operator.master)
    operator.master, operator.slave = os.open("/dev/null", os.O_RDWR), -1
    # The kernel sends SIGHUP to the session's leader; both ways out are right.
    code = operator.child.wait(DEADLINE_S)
    assert code in {0, -signal.SIGHUP}


def test_typed_leftovers_do_not_run_in_the_shell_afterwards(operator: Operator):
    """Attack: the question vanishes while the person types; the rest must not be a command."""
    operator.asked(request())
    operator.child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, operator.child.pid, os.WSTOPPED | os.WNOWAIT)
    operator.type("rm -rf ~\r")
    assert select.select([operator.slave], [], [], DEADLINE_S)[0]
    operator.child.send_signal(signal.SIGTERM)
    operator.child.send_signal(signal.SIGCONT)
    operator.gone()
    operator.child.wait(DEADLINE_S)
    operator.assert_given_back()
    os.set_blocking(operator.slave, False)
    with pytest.raises(BlockingIOError):
        os.read(operator.slave, 100)


def test_an_expired_question_takes_no_yes(operator: Operator):
    operator.asked(request(expires_at="2020-01-01T00:00:00.000000Z"))
    operator.type("otter\r")
    operator.sees("its time is over")
    operator.type("deny late\r")
    assert operator.report("answer")["verdict"] == "deny"


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"TERM": ""}])
def test_a_dumb_terminal_gets_rows_and_no_sequence_at_all(environment: dict[str, str]):
    person = Operator(**environment)
    try:
        person.report("ready")
        person.show(request(says=HOSTILE))
        person.until(lambda: "> " in person.screen.main, "the line to type on")
        while b"x" not in person.raw.rpartition(b"\n> ")[2]:
            person.type("x")
            person.until(lambda: select.select([person.master], [], [], 0.1) is not None, "")
            if select.select([person.master], [], [], 0.1)[0]:
                person._take(person.master)
        person.type("\x15otter\r")
        assert person.report("answer")["verdict"] == "allow"
        assert b"\x1b" not in person.raw
        assert any("   git push origin main" in line for line in person.screen.main)
        assert termios.tcgetattr(person.slave) == person.before
    finally:
        person.close()


def test_no_color_draws_without_colours():
    person = Operator(NO_COLOR="1")
    try:
        person.report("ready")
        person.asked(request())
        assert b"\x1b[1m" not in person.raw
        assert b"\x1b[1;33m" not in person.raw
    finally:
        person.close()
