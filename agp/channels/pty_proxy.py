"""Between the operator's terminal and the harness's: keys in, pictures out through the filter.

While a question covers the screen nothing of the harness is drawn and no key reaches it. What it
draws meanwhile is read, so that it does not stand still, and dropped: afterwards its terminal is
made one row smaller and as large as before, upon which it draws everything anew (measured: to the
character, the colour and the cursor). It begins that by erasing the screen. Only this shows that it
has seen a size: a spinner draws at any time, and two changes that it sees as one are none.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import anyio

from agp.channels.harness_output import HarnessOutput
from agp.channels.held_tty import ASIDE
from agp.channels.pastes import BEGINS, ENDS, behind, left_open

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.channels.harness_pty import HarnessPty
    from agp.channels.held_tty import HeldTty

_HEARD_S: Final = (0.5, 1.0, 2.0, 4.0)
"""How long a harness may take to see a new size; each time that it does not, longer."""
_ERASED: Final = b"\x1b[2J"
"""How it begins to draw everything (measured with 2.1.329: at each change of its size)."""
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
        self._waiting = False
        """Nothing is shown until everything is drawn: pieces on an empty screen say nothing."""
        self._stale = False
        """The screen does not show what the harness drew."""
        self._erased = anyio.Event()
        """Set when the harness began to draw everything; replaced by whoever waits for it."""
        self._given = b""
        """The paste that the harness has the beginning of; see `left_open`."""
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
        self._erased.set()
        self._writing.cancel()

    async def _pictures(self) -> None:
        while data := await self._pty.read():
            shown = self._filter.feed(data)
            self.tail = (self.tail + shown)[-_TAIL:]
            if (at := shown.find(_ERASED)) >= 0:
                self._erased.set()
                shown, self._waiting = shown[at:] if self._waiting else shown, False
            if self._tty.covered:
                self._tty.note_mouse(self._filter.mouse)
            if self._tty.covered or self._hiding or self._waiting:
                continue
            self._tty.begin()
            with anyio.CancelScope() as self._writing:
                await self._tty.draw(self._tty.want_mouse(self._filter.mouse) + shown)

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
        """Give what is typed; of a paste that a question cut, the harness gets its end, no rest."""
        if self._given.startswith(BEGINS):
            self._given = b""
            await self._pty.write(ENDS)
        cut = self._tty.pasting
        while True:
            typed = await self._tty.read()
            if cut:
                typed, cut = behind(cut, typed)
            if ASIDE in typed:
                typed = typed.replace(ASIDE, b"")
                self._recalled()
            self._given = left_open(self._given, typed)
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
        for heard_s in _HEARD_S:
            columns, rows = self._tty.size()
            self._hiding = True
            await self._sized(columns, rows - 1 if rows > 2 else rows + 1, heard_s)  # noqa: PLR2004
            self._hiding, self._waiting = False, not self._tty.covered
            drawn = self._tty.covered or await self._sized(columns, rows, heard_s)
            self._waiting = False
            if drawn:
                return

    async def _sized(self, columns: int, rows: int, heard_s: float) -> bool:
        """Set a size and wait until everything is drawn, or a question comes; False: neither."""
        self._erased = anyio.Event()
        self._pty.resize(columns, rows)
        with anyio.move_on_after(heard_s):
            await self._erased.wait()
            return True
        return False
