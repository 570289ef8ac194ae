"""The operator's messages as lines of JSON: read strictly, spelt by their contracts."""

from __future__ import annotations

from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from agp.contracts.base import Contract
from agp.contracts.gateway import ControlFailure, ControlNotice, ControlReply, ControlRequest
from agp.contracts.strict_json import parse_object
from agp.errors import AgpError, MessageRefused
from agp.gateway.failure import failure_fields

NO_REQUEST = -1
"""The id of a reply to something that named none."""

_Message = TypeVar("_Message", bound=Contract)


def parse_control_request(line: bytes) -> ControlRequest:
    """Read one line of the operator's side.

    Raises:
        MessageRefused: it is not exactly one request of this version.
    """
    parse_object(line)
    return _read(ControlRequest, line)


def format_control_request(request: ControlRequest) -> bytes:
    """Spell one line of the operator's side, newline included.

    Raises:
        MessageRefused: a text in it is not Unicode (an argument that was no UTF-8, say).
    """
    return _spell(request)


def parse_control_answer(line: bytes) -> ControlReply | ControlNotice:
    """Read one line of the daemon's side.

    Raises:
        MessageRefused: it is neither a reply nor a notice, or a reply that says both or nothing.
    """
    if "notice" in parse_object(line):
        return _read(ControlNotice, line)
    reply = _read(ControlReply, line)
    if reply.ok is (reply.failure is not None):
        raise MessageRefused("a control reply must be either a result or a failure")
    return reply


def format_control_answer(answer: ControlReply | ControlNotice) -> bytes:
    """Spell one line of the daemon's side, newline included; raises as the other side's does."""
    return _spell(answer)


def claimed_id(line: bytes) -> int:
    """Find the id that a refused line claims, so that its sender learns which one it was."""
    try:
        member = parse_object(line).get("id")
    except MessageRefused:
        return NO_REQUEST
    value = NO_REQUEST if member is None else member.value
    return value if isinstance(value, int) and 0 <= value < 2**53 else NO_REQUEST


def failed(request_id: int, error: AgpError) -> ControlReply:
    """Build the reply that carries an error of the tree."""
    return ControlReply(id=request_id, ok=False, failure=ControlFailure(**failure_fields(error)))


def _read(kind: type[_Message], line: bytes) -> _Message:
    try:
        return kind.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MessageRefused(
            "a control message breaks its contract", where=where, why=first["msg"]
        ) from error


def _spell(message: Contract) -> bytes:
    try:
        return message.model_dump_json().encode() + b"\n"
    except PydanticSerializationError as error:
        raise MessageRefused("a text in a control message is not Unicode") from error
