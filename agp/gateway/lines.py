"""Lines on a stream: bounded and whole, and large ones read beside the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread

from agp.errors import OverLimit
from agp.gateway.once import MAX_LINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteReceiveStream

_CHUNK = 65_536
_LARGE = 65_536
"""Bytes from which reading JSON may take longer than the loop can spare."""

_Value = TypeVar("_Value")


class Lines:
    """The lines of one stream, in order, without their newlines."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._searched = 0

    async def next(self) -> bytes:
        """Give the next line.

        Raises:
            anyio.EndOfStream: the stream ended; a last line without a newline is no line.
            OverLimit: a line is longer than `MAX_LINE`.
        """
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if self._searched >= MAX_LINE:
                raise OverLimit(f"a control line is longer than {MAX_LINE} bytes")
            self._buffer += await self._stream.receive(_CHUNK)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._searched = 0
        return line


async def read_line(parse: Callable[[bytes], _Value], line: bytes) -> _Value:
    """Parse a small line here, a large one in a worker thread."""
    if len(line) < _LARGE:
        return parse(line)
    return await to_thread.run_sync(parse, line)
