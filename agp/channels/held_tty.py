"""The operator's terminal, held for a whole session at the harness's own screen.

Raw: every key is the harness's, Ctrl-C too, but for Ctrl-Z, which is AGP's own (a harness that
stopped itself would leave a screen that nobody can bring back). The alternate screen is AGP's; the
harness draws on it through the filter. A question covers it: what the harness wants of the mouse
is switched off, what is typed goes to the question alone, and afterwards everything is as before.
"""

from __future__ import annotations

import signal
import termios
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio

from agp.channels.tty import Look, Tty, before_dying
from agp.errors import Interrupted, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ASIDE: Final = b"\x1a"
"""Ctrl-Z: puts a question aside, and brings it back."""
INTERRUPT: Final = b"\x03"
_MOUSE_OFF: Final = b"\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[?1006l"
_CLEAN: Final = (
    b"\x18\x1b[?2026l\x1b[?7h\x1b[?6l\x1b[r\x1b(B\x0f\x1b[0m\x1b[0 q\x1b[?25h\x1b[2J\x1b[H"
)
"""Whatever was being drawn is cancelled; modes and margins as after a reset; an empty screen."""
_BEGIN: Final = b"\x1b[?1049h\x1b[?2004h" + _CLEAN
_COVER: Final = _MOUSE_OFF + _CLEAN + b"\x1b[?7l\x07"
_END: Final = _MOUSE_OFF + _CLEAN + b"\x1b[?2004l\x1b[?1049l"


class HeldTty(Tty):
    """One terminal between its person, a harness and AGP's questions."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.covered = False
        """A question has the screen: nothing of the harness is drawn, no key reaches it."""
        self.on_change: Callable[[], None] = _nothing
        """Called when a question has covered the screen, and when it has uncovered it."""
        self._begun = False
        self._mouse: frozenset[str] = frozenset()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the terminal while the block runs; give it back whatever happens.

        Raises:
            Unavailable: it is gone.
        """
        saved = self._attributes()

        def give_back() -> None:
            if self._begun:
                self._write_bounded(_END)
            with suppress(Unavailable):  # a terminal that is gone needs nothing back
                self._set(saved)

        # Not ignored: the harness and whatever it starts would inherit that.
        stop = signal.signal(signal.SIGTSTP, lambda *_: None)
        with before_dying(give_back):
            try:
                self._set(_raw(saved))
                yield
            finally:
                give_back()
                self._begun = False
                signal.signal(signal.SIGTSTP, stop)

    async def any_key(self, *, within_s: float) -> bytes:
        """Wait for a key, where nothing holds the terminal yet; give it, empty if none came."""
        with self.held(), anyio.move_on_after(within_s):
            return await self.read()
        return b""

    def begin(self) -> None:
        """Take the screen, when the harness has something to draw."""
        if not self._begun:
            self._begun = True
            self._write_bounded(_BEGIN)

    def want_mouse(self, wanted: frozenset[str]) -> bytes:
        """Give what switches the mouse reports to what the harness wants; nothing: they are."""
        before, self._mouse = self._mouse, wanted
        off = b"".join(b"\x1b[?%bl" % mode.encode() for mode in sorted(before - wanted))
        return off + b"".join(b"\x1b[?%bh" % mode.encode() for mode in sorted(wanted - before))

    def note_mouse(self, wanted: frozenset[str]) -> None:
        """Remember what the harness wants while it has no say over the terminal."""
        self._mouse = wanted

    @contextmanager
    def taken(self, look: Look) -> Iterator[None]:  # noqa: ARG002 - a screen can be drawn on
        """Cover the screen with a question; the terminal is AGP's already."""
        self.begin()
        self.covered = True
        self.on_change()
        try:
            self._write_bounded(_COVER)
            self.forget_input()
            yield
        finally:
            with suppress(Unavailable):
                self.forget_input()
            self._write_bounded(_CLEAN + self._mouse_again())
            self.covered = False
            self.on_change()

    async def read(self) -> bytes:
        """Wait for what is typed; for a question Ctrl-Z is Ctrl-C: both put it aside.

        Raises:
            Interrupted: the terminal hung up; a session at a screen ends with it.
        """
        with _ending():
            data = await super().read()
        return data.replace(ASIDE, INTERRUPT) if self.covered else data

    async def write(self, data: bytes) -> None:
        """Write all of it; raises as `read` does."""
        with _ending():
            await super().write(data)

    async def draw(self, data: bytes) -> None:
        """Write what the harness drew, until a question covers the screen; raises as `read` does.

        Attack: a flood that waits for the terminal wakes before it hears that it was cancelled.
        """
        with _ending():
            while data and not self.covered:
                data = await self._write_some(data)

    def size(self) -> tuple[int, int]:
        """Give columns and rows; raises as `read` does."""
        with _ending():
            return super().size()

    def _mouse_again(self) -> bytes:
        wanted, self._mouse = self._mouse, frozenset()
        return self.want_mouse(wanted)


def _raw(saved: list[int | list[bytes | int]]) -> list[int | list[bytes | int]]:
    """No echo, no editing, no signals, no flow control, no translation: bytes as they are."""
    input_modes, _, control, local, in_speed, out_speed, characters = saved
    if not (
        isinstance(input_modes, int)
        and isinstance(control, int)
        and isinstance(local, int)
        and isinstance(characters, list)
    ):
        raise TypeError("termios.tcgetattr gave something else")
    input_modes &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    input_modes &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    control = (control & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    local &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    keys = [*characters]
    keys[termios.VMIN], keys[termios.VTIME] = 1, 0
    return [input_modes, 0, control, local, in_speed, out_speed, keys]


@contextmanager
def _ending() -> Iterator[None]:
    try:
        yield
    except Unavailable as error:
        raise Interrupted("its terminal went away", why=error.why) from error


def _nothing() -> None:
    return
