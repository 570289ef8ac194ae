"""Between the operator's terminal and the harness's: keys in, pictures out through the filter.

While a question covers the screen nothing of the harness is drawn and no key reaches it. What it
draws meanwhile is read, so that it does not stand still, and dropped: afterwards its terminal is
made one row smaller and as large as before, upon which it draws everything anew (measured: to the
character, the colour and the cursor).
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import anyio

from agp.channels.harness_output import HarnessOutput
from agp.channels.held_tty import ASIDE

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.channels.harness_pty import HarnessPty
    from agp.channels.held_tty import HeldTty

_HEARD_S: Final = 0.5
"""How long a harness may take to draw after its terminal changed its size."""
_TRIES: Final = 4
_TAIL: Final = 4000
"""Bytes of the last pictures that are kept: the last words of a harness that failed."""
_LINE_END: Final = b"\r"


class PtyProxy:
    """Joins one harness to one held terminal; `run` is its one task."""

    def __init__(
        self,
        tty: HeldTty,
        pty: HarnessPty,
        *,
        recalled: Callable[[], None],
        entered: Callable[[], None],
    ) -> None:
        self._tty = tty
        self._pty = pty
        self._recalled = recalled
        """Called at Ctrl-Z while the harness has the screen."""
        self._entered = entered
        """Called when a line was typed."""
        self._filter = HarnessOutput()
        self._hiding = False
        """Pictures of the wrong size are not shown."""
        self._stale = False
        """The screen does not show what the harness drew."""
        self._drawn = anyio.Event()
        """Set when the harness drew something; replaced by whoever waits for it."""
        self._turn = anyio.Event()
        """Set when a question came or went."""
        self._writing = anyio.CancelScope()
        self.tail = b""

    async def run(self) -> None:
        """Carry keys and pictures until the harness's end of its terminal is closed.

        Raises:
            Unavailable: the operator's terminal went away.
        """
        self._tty.on_change = self._changed
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._turns)
            await self._pictures()
            tasks.cancel_scope.cancel()

    def _changed(self) -> None:
        """Hear that a question came or went: whatever is under way for the harness ends."""
        self._stale = True
        self._turn.set()
        self._writing.cancel()

    async def _pictures(self) -> None:
        while data := await self._pty.read():
            shown = self._filter.feed(data)
            self.tail = (self.tail + shown)[-_TAIL:]
            self._drawn.set()
            if self._tty.covered or self._hiding:
                self._tty.note_mouse(self._filter.mouse)
                continue
            self._tty.begin()
            with anyio.CancelScope() as self._writing:
                await self._tty.write(self._tty.want_mouse(self._filter.mouse) + shown)

    async def _turns(self) -> None:
        """Give keys and sizes to the harness, except while a question has the screen."""
        while True:
            self._turn = anyio.Event()
            if self._tty.covered:
                await self._turn.wait()
                continue
            if self._stale:
                self._stale = False
                await self._redraw()
                continue
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._keys)
                tasks.start_soon(self._sizes)
                await self._turn.wait()
                tasks.cancel_scope.cancel()

    async def _keys(self) -> None:
        while True:
            typed = await self._tty.read()
            if ASIDE in typed:
                typed = typed.replace(ASIDE, b"")
                self._recalled()
            await self._pty.write(typed)
            if _LINE_END in typed:
                self._entered()

    async def _sizes(self) -> None:
        self._pty.resize(*self._tty.size())
        with anyio.open_signal_receiver(signal.SIGWINCH) as resizes:
            async for _ in resizes:
                self._pty.resize(*self._tty.size())

    async def _redraw(self) -> None:
        """Have the harness draw everything: it does when its size changes, so it changes twice.

        A question that comes meanwhile ends this; after it everything is drawn once more.
        """
        for _ in range(_TRIES):
            if self._tty.covered:
                return
            columns, rows = self._tty.size()
            self._hiding = True
            await self._sized(columns, rows - 1 if rows > 2 else rows + 1)  # noqa: PLR2004
            self._hiding = False
            if await self._sized(columns, rows):
                return

    async def _sized(self, columns: int, rows: int) -> bool:
        """Set a size and wait for a picture; False: none came."""
        self._drawn = anyio.Event()
        self._pty.resize(columns, rows)
        with anyio.move_on_after(_HEARD_S):
            await self._drawn.wait()
            return True
        return False
