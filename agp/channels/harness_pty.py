"""The terminal that AGP makes for a harness: it never holds the operator's own."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from typing import Final, Self

import anyio

_READ: Final = 16 * 1024
"""Bytes at a time: filtering them takes about two milliseconds."""


class HarnessPty:
    """A pair of pseudo-terminals; the harness gets one end, the proxy keeps the other."""

    def __init__(self, held: int, given: int) -> None:
        self._held = held
        self._given: int | None = given

    @classmethod
    def open(cls, columns: int, rows: int) -> Self:
        """Make a pair of this size. Nothing is echoed before the harness sets its own modes."""
        held, given = os.openpty()
        os.set_blocking(held, False)
        modes = termios.tcgetattr(given)
        modes[3] &= ~(termios.ECHO | termios.ECHONL)
        termios.tcsetattr(given, termios.TCSANOW, modes)
        pair = cls(held, given)
        pair.resize(columns, rows)
        return pair

    @property
    def given(self) -> int:
        """The harness's end, for the start of its view only."""
        if self._given is None:
            raise ValueError("the harness's end was given away")
        return self._given

    def give(self) -> None:
        """Let go of the harness's end: when the last process of the view closes it, reads end."""
        if self._given is not None:
            os.close(self._given)
            self._given = None

    def close(self) -> None:
        """Let go of both ends; what still holds the harness's is hung up."""
        self.give()
        os.close(self._held)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the size; the kernel tells the harness where it is another than before."""
        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self._held, termios.TIOCSWINSZ, size)

    async def read(self) -> bytes:
        """Wait for what is drawn; empty once nobody is left who could draw."""
        while True:
            await anyio.wait_readable(self._held)
            try:
                return os.read(self._held, _READ)
            except BlockingIOError:
                continue
            except OSError:  # EIO: the last holder of the other end is gone
                return b""

    async def write(self, data: bytes) -> None:
        """Type all of it; a harness that does not read makes us wait, cancellable."""
        while data:
            try:
                data = data[os.write(self._held, data) :]
            except BlockingIOError:
                await anyio.wait_writable(self._held)
            except OSError:
                return  # it ended while somebody was typing
