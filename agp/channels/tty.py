"""The operator's terminal, taken over for one question and given back on every way out.

`/dev/tty`, never standard input: a harness or a pipe can own that. While it is taken, echo and
line editing are off, suspending and quitting by key are off (they would leave it taken), Ctrl-C
stays a signal of the kernel's, so that it works even if we hang. Type-ahead dies at both ends:
what was typed before the question must not answer it, what was meant for the question must not
run in the shell after it.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import anyio

from agp.channels.pastes import left_open
from agp.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

ENTER_FULL: Final = (
    b"\x1b[?1049h\x1b[?2004h\x1b[?7l\x1b[?6l\x1b[r\x1b(B\x0f\x1b[?25h\x1b[0m\x1b[2J\x1b[H\x07"
)
"""Alternate screen, bracketed paste, no wrapping; origin, margins, character set and colours as
after a reset, whatever the harness drew with; clear; bell."""
LEAVE_FULL: Final = b"\x1b[0m\x1b[?2004l\x1b[?7h\x1b[?25h\x1b[?1049l"
ENTER_PLAIN: Final = b"\r\n\x07"
LEAVE_PLAIN: Final = b"\r\n"
_READ: Final = 4096
_LAST_WORDS_MS: Final = 1000
"""How long giving the terminal back may wait for one that does not take our bytes."""
_DUMB: Final = frozenset({"", "dumb", "unknown"})
_NO_KEY: Final = b"\0"
"""`_POSIX_VDISABLE` on Linux."""


@dataclass(frozen=True)
class Look:
    """What this terminal can be sent."""

    colour: bool
    full_screen: bool
    """False: rows one after another, no cursor movement (a dumb terminal, a screen reader)."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read `TERM` and `NO_COLOR`; colour is never the only bearer of a meaning."""
        able = environment.get("TERM", "") not in _DUMB
        return cls(colour=able and not environment.get("NO_COLOR"), full_screen=able)


class Tty:
    """One open terminal."""

    def __init__(self, descriptor: int) -> None:
        self._fd = descriptor
        self.pasting = b""
        """What a new reader must be fed first: the paste that is under way; see `left_open`."""

    @classmethod
    def open(cls, path: str = "/dev/tty") -> Self:
        """Open the terminal that controls this process.

        Raises:
            Unavailable: there is none.
        """
        try:
            return cls(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            raise _gone(error) from error

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def size(self) -> tuple[int, int]:
        """Give columns and rows; 80 by 24 where the terminal does not say."""
        try:
            columns, rows = os.get_terminal_size(self._fd)
        except OSError as error:
            raise _gone(error) from error
        return columns or 80, rows or 24

    def in_foreground(self) -> bool:
        """Tell whether this process may talk now; a background job would be stopped by trying."""
        try:
            return os.tcgetpgrp(self._fd) == os.getpgrp()
        except OSError:
            return False

    @contextmanager
    def taken(self, look: Look) -> Iterator[None]:
        """Take the terminal over; give it back whatever happens, a deadly signal included.

        Raises:
            Unavailable: it is gone.
        """
        saved = self._attributes()
        enter, leave = ENTER_PLAIN, LEAVE_PLAIN
        if look.full_screen:
            enter, leave = ENTER_FULL, LEAVE_FULL

        def give_back() -> None:
            self._write_bounded(leave)
            with suppress(Unavailable):  # a terminal that is gone needs nothing back
                self._set(saved)

        with before_dying(give_back):
            try:
                self._set(_silent(saved))
                self._write_bounded(enter)
                yield
            finally:
                give_back()

    def forget_input(self) -> None:
        """Discard everything that was typed until now.

        It is read, not flushed: a paste that begins or ends in it must be known.
        """
        try:
            while data := os.read(self._fd, _READ):
                self.pasting = left_open(self.pasting, data)
        except BlockingIOError:
            return
        except OSError as error:
            raise _gone(error) from error

    async def read(self) -> bytes:
        """Wait for what is typed.

        Raises:
            Unavailable: the terminal hung up.
        """
        while True:
            await anyio.wait_readable(self._fd)
            try:
                data = os.read(self._fd, _READ)
            except BlockingIOError:
                continue
            except OSError as error:
                raise _gone(error) from error
            if not data:
                raise _gone(None)
            self.pasting = left_open(self.pasting, data)
            return data

    async def write(self, data: bytes) -> None:
        """Write all of it; a terminal that is slow makes us wait, cancellable."""
        while data:
            data = await self._write_some(data)

    async def _write_some(self, data: bytes) -> bytes:
        """Write what the terminal takes, or wait until it takes something; give the rest."""
        try:
            return data[os.write(self._fd, data) :]
        except BlockingIOError:
            await anyio.wait_writable(self._fd)
        except OSError as error:
            raise _gone(error) from error
        return data

    def _attributes(self) -> list[int | list[bytes | int]]:
        try:
            return termios.tcgetattr(self._fd)
        except termios.error as error:
            raise _gone(error) from error

    def _set(self, attributes: list[int | list[bytes | int]]) -> None:
        """Set the modes and forget what was typed."""
        try:
            # TCSANOW: TCSAFLUSH waits until output is taken, for ever on a stuck terminal.
            termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
            termios.tcflush(self._fd, termios.TCIFLUSH)
        except termios.error as error:
            raise _gone(error) from error

    def _write_bounded(self, data: bytes) -> None:
        """Write from a place that cannot await; gives up on a stuck or vanished terminal."""
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        while data and ready.poll(_LAST_WORDS_MS):
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:
                continue
            except OSError:
                return


def _silent(saved: list[int | list[bytes | int]]) -> list[int | list[bytes | int]]:
    """No echo, no line editing, no flow control, no suspend and quit keys; Ctrl-C as it was."""
    input_modes, output_modes, control, local, in_speed, out_speed, characters = saved
    if not (
        isinstance(input_modes, int) and isinstance(local, int) and isinstance(characters, list)
    ):
        raise TypeError("termios.tcgetattr gave something else")
    input_modes &= ~(termios.IXON | termios.INLCR | termios.IGNCR)
    local &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.IEXTEN | termios.TOSTOP)
    local |= termios.ISIG
    keys = [*characters]
    for index in (termios.VQUIT, termios.VSUSP):
        keys[index] = _NO_KEY
    keys[termios.VMIN], keys[termios.VTIME] = 1, 0
    return [input_modes, output_modes, control, local, in_speed, out_speed, keys]


@contextmanager
def before_dying(act: Callable[[], None]) -> Iterator[None]:
    """Act when SIGTERM or SIGHUP is about to end the process; a handler of others is left alone.

    Whoever handles these signals ends the run by cancelling, and the caller's `finally` acts.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    deadly = [
        number
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is signal.SIG_DFL
    ]

    def die(number: int, _frame: FrameType | None) -> None:
        act()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    for number in deadly:
        signal.signal(number, die)
    try:
        yield
    finally:
        for number in deadly:
            signal.signal(number, signal.SIG_DFL)


def _gone(error: Exception | None) -> Unavailable:
    return Unavailable(
        "there is no terminal to ask at",
        where="/dev/tty",
        why=str(error or "it hung up"),
        fix="answer with `agp approve` or `agp deny` from another terminal",
    )
