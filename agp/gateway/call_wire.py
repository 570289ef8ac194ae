r"""What the shim inside a harness's view and the launcher outside say to each other.

One line asks, `AGPC1 call <call-id>\n` or `AGPC1 mcp <name>\n`, or `AGPC1 typed <a>.<b>\n` and so
many bytes: a directory and what was typed there. Frames follow, one letter and four bytes of length
each. Outwards `i` (input of an MCP server, an empty one is its end); inwards `o`,
`e` (output), `x` (one byte of exit code and the directory in which a call ended), `r` (a refusal).
Only the launcher writes frames inwards: what a call prints travels inside them.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from agp.contracts.base import CallId
from agp.errors import FrameRefused

MAX_ASKED = 256
"""Bytes of the asking line."""
MAX_FRAME = 1024 * 1024
HEAD = 5
MAX_DIRECTORY = 4096
MAX_TYPED = 128 * 1024
"""Bytes of one typed command; a harness cannot hand a longer one to its shell (Linux)."""
_ASKED = re.compile(
    rb"AGPC1 (call) (c-[0-9a-f]{16})\Z|AGPC1 (mcp) ([A-Za-z0-9][A-Za-z0-9_.-]{0,127})\Z"
    rb"|AGPC1 (typed) ([1-9][0-9]{0,3})\.([1-9][0-9]{0,5})\Z"
)
Letter = Literal["i", "o", "e", "x", "r"]


class CallAsked(NamedTuple):
    """A handed-over call, by AGP's name for it."""

    call_id: CallId


class ServerAsked(NamedTuple):
    """An MCP server, by its name in the configuration."""

    name: str


class TypedAsked(NamedTuple):
    """A command typed at the harness's screen; its directory and its text follow the line."""

    directory_bytes: int
    command_bytes: int


Asked = CallAsked | ServerAsked | TypedAsked


class Typed(NamedTuple):
    """What was typed, and where; a claim of whoever asks."""

    directory: str
    command: str


def parse_asked(line: bytes) -> Asked:
    """Read the asking line, without its end.

    Raises:
        FrameRefused: anything else than its one spelling.
    """
    found = _ASKED.match(line)
    if found is None:
        raise FrameRefused("this is not how a call is asked for")
    if found[1]:
        return CallAsked(CallId(found[2].decode()))
    if found[3]:
        return ServerAsked(found[4].decode())
    asked = TypedAsked(int(found[6]), int(found[7]))
    if asked.directory_bytes > MAX_DIRECTORY or asked.command_bytes > MAX_TYPED:
        raise FrameRefused(f"a typed command is longer than {MAX_TYPED // 1024} KiB")
    return asked


def parse_typed(asked: TypedAsked, data: bytes) -> Typed:
    """Read what follows the line of a typed command.

    Raises:
        FrameRefused: it is no text, or holds what no shell is given.
    """
    size = asked.directory_bytes
    try:
        typed = Typed(data[:size].decode("utf-8"), data[size:].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise FrameRefused("what was typed is not UTF-8") from error
    if len(data) != size + asked.command_bytes or not typed.directory.startswith("/"):
        raise FrameRefused("this is not how a typed command is asked for")
    if b"\0" in data:
        raise FrameRefused("what was typed holds a NUL")
    return typed


def format_typed(typed: Typed) -> bytes:
    """Write the whole asking of a typed command."""
    directory, command = typed.directory.encode("utf-8"), typed.command.encode("utf-8")
    return format_asked(TypedAsked(len(directory), len(command))) + directory + command


def format_asked(asked: Asked) -> bytes:
    """Write the asking line, with its end."""
    match asked:
        case CallAsked():
            return f"AGPC1 call {asked.call_id}\n".encode()
        case ServerAsked():
            return f"AGPC1 mcp {asked.name}\n".encode()
        case TypedAsked(directory_bytes=directory, command_bytes=command):
            return f"AGPC1 typed {directory}.{command}\n".encode()


def format_frame(letter: Letter, data: bytes) -> bytes:
    """Write one frame."""
    return letter.encode() + len(data).to_bytes(4, "big") + data


def format_exit(code: int, directory: str) -> bytes:
    """Write the last frame of a call or server that ran."""
    return format_frame("x", bytes([code & 0xFF]) + directory.encode("utf-8"))


def take_frame(held: bytearray) -> tuple[str, bytes] | None:
    """Take one whole frame off the front; None: it has not all arrived.

    Raises:
        FrameRefused: it is longer than a frame may be.
    """
    if len(held) < HEAD:
        return None
    size = int.from_bytes(held[1:HEAD], "big")
    if size > MAX_FRAME:
        raise FrameRefused("a frame is too long")
    if len(held) < HEAD + size:
        return None
    letter, data = chr(held[0]), bytes(held[HEAD : HEAD + size])
    del held[: HEAD + size]
    return letter, data
