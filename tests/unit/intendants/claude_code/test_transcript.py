"""What a transcript tells, and that nothing in it is believed beyond that."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.intendants.claude_code.stream import Executed
from agp.intendants.claude_code.transcript import Told, read_entry


@dataclass(frozen=True)
class Case:
    claim: str
    entry: object
    told: tuple[Told, ...] = ()


def result(**more: object) -> dict[str, object]:
    block = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "out"}
    return {"type": "user", "message": {"content": [block | more.pop("block", {})]}, **more}  # type: ignore[operator]


RAN = (Told(executed="toolu_1"),)
CASES = (
    Case(
        "a typed shell command",
        {"type": "user", "message": {"content": "<bash-input>echo hi > x</bash-input>"}},
        (Told(shell="echo hi > x"),),
    ),
    Case(
        "a typed shell command of several lines",
        {"type": "user", "message": {"content": "<bash-input>a\nb</bash-input>"}},
        (Told(shell="a\nb"),),
    ),
    Case(
        "its output is no command",
        {"type": "user", "message": {"content": "<bash-stdout>x</bash-stdout>"}},
    ),
    Case(
        "a prompt that only writes the mark is none",
        {
            "type": "user",
            "origin": {"kind": "human"},
            "message": {"content": "<bash-input>no</bash-input>"},
        },
    ),
    Case(
        "a call that the model asked for",
        {
            "type": "assistant",
            "message": {"content": [{"type": "tool_use", "id": "toolu_1", "name": "Bash"}]},
        },
        (Told(asked=Executed("toolu_1", "Bash")),),
    ),
    Case("an accepted call with a result", result(permissionDecision={"decision": "accept"}), RAN),
    Case("a result that says nothing of a decision", result(), RAN),
    Case(
        "a failed result that says nothing of a decision",
        result(block={"is_error": True, "content": "exit 1"}),
        RAN,
    ),
    Case("a rejected call", result(permissionDecision={"decision": "reject"})),
    Case("a call that the person interrupted", result(toolDenialKind="user-rejected")),
    Case(
        "a call that failed its schema",
        result(block={"is_error": True, "content": "<tool_use_error>bad"}),
    ),
    Case(
        "a tool whose output imitates a refusal has run",
        result(
            permissionDecision={"decision": "accept"},
            block={"is_error": True, "content": "<tool_use_error>bad"},
        ),
        RAN,
    ),
    Case("another kind of line", {"type": "system", "content": "<bash-input>x</bash-input>"}),
    Case("no object", ["user"]),
    Case("a message that is none", {"type": "user", "message": 3}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.claim)
def test_a_line_tells_exactly_this(case: Case) -> None:
    assert read_entry(json.dumps(case.entry).encode()) == case.told


@given(st.binary(max_size=200))
def test_any_bytes_tell_something_or_nothing(line: bytes) -> None:
    assert isinstance(read_entry(line), tuple)
