r"""The bridge's frame as bytes: what may be written on an ask socket, and nothing else.

    request    AGP1 <harness> <event> <body-length>\n<body>
    reply      { AGP1 wait\n } AGP1 <exit-code> <stdout-length> <stderr-length>\n<stdout><stderr>

Each value has one spelling: lengths are decimal without sign or leading zero, words are separated
by one space. So `format(parse(x)) == x` for every x that parses.

Source: ADR 0004.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, ValidationError

from agp.contracts.base import Contract
from agp.contracts.display import visible
from agp.contracts.gateway import (
    FRAME_MAGIC,
    MAX_BODY,
    MAX_REPLY,
    HookEvent,
    HookReply,
    HookRequest,
)
from agp.errors import FrameRefused, OverLimit

MAX_HEAD = 128
"""Bytes of a request's first line with its newline; the longest honest one has 76."""
WAIT_LINE = FRAME_MAGIC + b" wait\n"
"""The daemon holds the request and has no answer yet."""

_MAGIC = re.compile(rb"AGP(0|[1-9][0-9]{0,8})")
_REQUEST = re.compile(rb"AGP1 ([a-z][a-z0-9-]{0,31}) ([A-Za-z]{1,32}) (0|[1-9][0-9]{0,18})\n")
_REPLY = re.compile(rb"AGP1 (0|[1-9][0-9]{0,2}) (0|[1-9][0-9]{0,6}) (0|[1-9][0-9]{0,6})\n")


class RequestHead(Contract):
    """The first line of a request."""

    harness: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    event: HookEvent
    length: Annotated[int, Field(ge=0, le=MAX_BODY)]


class ReplyHead(Contract):
    """The first line of a reply."""

    exit_code: Annotated[int, Field(ge=0, le=255)]
    stdout_length: Annotated[int, Field(ge=0, le=MAX_REPLY)]
    stderr_length: Annotated[int, Field(ge=0, le=MAX_REPLY)]


class Wait(Contract):
    """A wait line: not an answer."""


def parse_request_head(line: bytes) -> RequestHead:
    """Read the first line of a request, newline included.

    Raises:
        OverLimit: it announces a larger body than AGP accepts.
        FrameRefused: it is anything else; of another version, the sentence names both.
    """
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise _not_a_frame(line)
    harness, event, length = match[1].decode(), match[2].decode(), int(match[3])
    if length > MAX_BODY:
        raise OverLimit(
            f"a hook sent {length} bytes, at most {MAX_BODY} are accepted",
            fix="make the tool call smaller: write a large content in several parts",
        )
    try:
        return RequestHead(harness=harness, event=HookEvent(event), length=length)
    except ValueError as error:
        raise FrameRefused(f"the hook event {event!r} is not one that AGP listens to") from error


def format_request_head(head: RequestHead) -> bytes:
    """Spell the first line of a request."""
    return f"AGP1 {head.harness} {head.event} {head.length}\n".encode("ascii")


def parse_request(data: bytes) -> HookRequest:
    """Read one whole request.

    Raises:
        FrameRefused: the body is not exactly as long as announced; and as `parse_request_head`.
    """
    line, newline, body = data.partition(b"\n")
    head = parse_request_head(line + newline)
    if len(body) != head.length:
        raise FrameRefused("a request's body is not as long as it announces")
    return HookRequest(harness=head.harness, event=head.event, body=body)


def format_request(request: HookRequest) -> bytes:
    """Spell one whole request."""
    head = RequestHead(harness=request.harness, event=request.event, length=len(request.body))
    return format_request_head(head) + request.body


def parse_reply_line(line: bytes) -> ReplyHead | Wait:
    """Read one line of the daemon's side, newline included.

    Raises:
        FrameRefused: it is anything else than a wait line or a reply's first line.
    """
    if line == WAIT_LINE:
        return Wait()
    match = _REPLY.fullmatch(line)
    if match is None:
        raise _not_a_frame(line)
    code, out, err = (int(number) for number in match.groups())
    try:
        return ReplyHead(exit_code=code, stdout_length=out, stderr_length=err)
    except ValidationError as error:
        raise FrameRefused("a reply's first line names a number that is too large") from error


def format_reply_line(line: ReplyHead | Wait) -> bytes:
    """Spell one line of the daemon's side."""
    if isinstance(line, Wait):
        return WAIT_LINE
    return f"AGP1 {line.exit_code} {line.stdout_length} {line.stderr_length}\n".encode("ascii")


def parse_reply(data: bytes) -> HookReply:
    """Read all that a daemon wrote on one connection, wait lines included.

    Raises:
        FrameRefused: anything is missing, follows, or is spelt differently.
    """
    while True:
        line, newline, data = data.partition(b"\n")
        head = parse_reply_line(line + newline)
        if isinstance(head, ReplyHead):
            break
    if len(data) != head.stdout_length + head.stderr_length:
        raise FrameRefused("a reply is not as long as it announces")
    out, err = data[: head.stdout_length], data[head.stdout_length :]
    return HookReply(exit_code=head.exit_code, stdout=out, stderr=err)


def format_reply(reply: HookReply) -> bytes:
    """Spell one whole reply."""
    head = ReplyHead(
        exit_code=reply.exit_code,
        stdout_length=len(reply.stdout),
        stderr_length=len(reply.stderr),
    )
    return format_reply_line(head) + reply.stdout + reply.stderr


def blocking_code(line: bytes) -> int:
    """Choose the exit code that refuses, from a request's first line, well-formed or not.

    Claude Code reads 2 as "no opinion" in a PermissionRequest hook and would open its own dialog,
    where the person's Enter runs the tool without AGP; there, and only there, 1 refuses.
    """
    return 1 if line.split(b" ")[1:3] == [b"claude-code", b"PermissionRequest"] else 2


def refusal(line: bytes, reason: str) -> HookReply:
    """Build the reply that blocks, for a request whose first line is this."""
    shown = "AGP refused: " + visible(reason, limit=2000) + "\n"
    return HookReply(exit_code=blocking_code(line), stderr=shown.encode())


def _not_a_frame(line: bytes) -> FrameRefused:
    magic = _MAGIC.match(line)
    if magic is not None and magic[0] != FRAME_MAGIC:
        return FrameRefused(
            f"this daemon speaks AGP1, the peer speaks {magic[0].decode()}",
            fix="end the run and start it again, so that both are of one installation",
        )
    return FrameRefused("the first line is not that of an AGP1 frame")
