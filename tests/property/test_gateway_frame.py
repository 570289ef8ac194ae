"""The frame: what is formatted is parsed back, and any bytes give a value or our refusal."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agp.contracts.gateway import (
    MAX_BODY,
    ControlNotice,
    ControlOp,
    ControlReply,
    ControlRequest,
    HookEvent,
    HookReply,
    HookRequest,
)
from agp.errors import FrameRefused, MessageRefused, OverLimit
from agp.gateway.frame import (
    WAIT_LINE,
    Wait,
    format_reply,
    format_reply_line,
    format_request,
    format_request_head,
    parse_reply,
    parse_reply_line,
    parse_request,
    parse_request_head,
)
from agp.gateway.message import (
    failed,
    format_control_answer,
    format_control_request,
    parse_control_answer,
    parse_control_request,
)

HARNESSES = st.from_regex(r"[a-z][a-z0-9-]{0,31}", fullmatch=True)
REQUESTS = st.builds(
    HookRequest, harness=HARNESSES, event=st.sampled_from(HookEvent), body=st.binary(max_size=300)
)
REPLIES = st.builds(
    HookReply,
    exit_code=st.integers(0, 255),
    stdout=st.binary(max_size=300),
    stderr=st.binary(max_size=300),
)
NEAR_LINES = st.from_regex(rb"AGP[0-9]{1,2} ?[a-zA-Z0-9+_-]{0,20} ?[a-zA-Z0-9]{0,20} ?[0-9]{0,9}\n")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", min_size=1), JSON, max_size=3)


@given(REQUESTS)
def test_a_request_survives_its_own_spelling(request: HookRequest) -> None:
    assert parse_request(format_request(request)) == request


@given(REPLIES, st.integers(0, 3))
def test_a_reply_survives_its_own_spelling_behind_waits(reply: HookReply, waits: int) -> None:
    assert parse_reply(WAIT_LINE * waits + format_reply(reply)) == reply


@given(st.binary(max_size=200) | NEAR_LINES)
@example(b"AGP1 claude-code PreToolUse 5\n")
@example(b"AGP1 claude-code PreToolUse 05\n")
@example(b"AGP1 claude-code PreToolUse 5\n\n")
def test_any_bytes_are_a_request_head_in_its_one_spelling_or_refused(line: bytes) -> None:
    try:
        head = parse_request_head(line)
    except (FrameRefused, OverLimit):
        return
    assert format_request_head(head) == line


@given(st.binary(max_size=200) | NEAR_LINES)
@example(WAIT_LINE)
@example(b"AGP1 0 0 0\n")
@example(b"AGP1 999 0 0\n")
@example(b"AGP1 0 9999999 0\n")
def test_any_bytes_are_a_reply_line_in_its_one_spelling_or_refused(line: bytes) -> None:
    try:
        parsed = parse_reply_line(line)
    except FrameRefused:
        return
    assert format_reply_line(parsed) == line


@given(REQUESTS, st.binary(min_size=1, max_size=5))
def test_a_request_with_more_or_less_is_refused(request: HookRequest, more: bytes) -> None:
    whole = format_request(request)
    for changed in (whole + more, whole[: -len(more)]):
        with pytest.raises(FrameRefused):
            parse_request(changed)


@given(REPLIES, st.binary(min_size=1, max_size=5))
def test_a_reply_with_more_or_less_is_refused(reply: HookReply, more: bytes) -> None:
    whole = format_reply(reply)
    for changed in (whole + more, whole[: -len(more)]):
        with pytest.raises(FrameRefused):
            parse_reply(changed)


@given(st.integers(MAX_BODY + 1, 10**18))
def test_a_length_above_the_limit_is_over_the_limit(length: int) -> None:
    with pytest.raises(OverLimit):
        parse_request_head(b"AGP1 claude-code PreToolUse %d\n" % length)


def test_a_wait_line_is_not_an_answer() -> None:
    assert parse_reply_line(WAIT_LINE) == Wait()
    with pytest.raises(FrameRefused):
        parse_reply(WAIT_LINE)


@given(st.integers(0, 2**53 - 1), st.sampled_from(ControlOp), OBJECTS)
def test_a_control_request_survives_its_own_spelling(
    request_id: int, op: ControlOp, args: dict[str, object]
) -> None:
    request = ControlRequest.model_validate({"id": request_id, "op": op, "args": args})
    line = format_control_request(request)
    assert parse_control_request(line.removesuffix(b"\n")) == request
    assert line.count(b"\n") == 1


@given(OBJECTS)
def test_a_control_answer_survives_its_own_spelling(body: dict[str, object]) -> None:
    answers = (
        ControlReply.model_validate({"id": 3, "ok": True, "result": body}),
        ControlNotice.model_validate({"notice": "approval", "body": body}),
        failed(3, OverLimit("too much", where="here", why="so", fix="less")),
    )
    for answer in answers:
        assert parse_control_answer(format_control_answer(answer).removesuffix(b"\n")) == answer


@given(st.binary(max_size=100) | OBJECTS.map(lambda value: repr(value).encode("utf-8", "replace")))
@example(b'{"id":1,"op":"daemon.status","op":"daemon.stop"}')
@example(b'{"id":true,"op":"daemon.status"}')
@example(b'{"id":1.0,"op":"daemon.status"}')
@example(b'{"v":2,"id":1,"op":"daemon.status"}')
@example(b'{"id":1,"ok":true,"failure":{"code":"AGP-1000","what":"x"}}')
@example(b'{"id":1,"ok":false}')
def test_any_bytes_are_a_control_message_or_refused(line: bytes) -> None:
    for parse in (parse_control_request, parse_control_answer):
        with pytest.raises(MessageRefused):
            parse(line)
