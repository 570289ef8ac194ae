"""Ask one question at the terminal and wait for the person, cancellable at any time.

1. Take the terminal over and draw.
2. Discard what was typed before the question was drawn, and for half a second after it.
3. Take keys until a line is an answer; redraw on a resize, an update, and as time runs out.
4. Give the terminal back, on every way out; Ctrl-C then interrupts the run and answers nothing.
"""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, assert_never

import anyio
import anyio.to_thread

from agp.approvals.words import word_of
from agp.channels.drawing import Drawing, FullDrawing, Picture, PlainDrawing
from agp.channels.keys import KeyReader
from agp.channels.layout import NARROWEST, render, render_whole, time_left
from agp.channels.prompt import Allow, Deny, Interrupt, Said, View, laid_out, press
from agp.channels.screen import FIXED_ROWS
from agp.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from anyio.streams.memory import MemoryObjectSendStream

    from agp.channels.tty import Look, Tty
    from agp.contracts.channel import ApprovalRequest

DISCARD_S: Final = 0.5
"""How long after the drawing typed text is still thrown away."""
_TICK_S: Final = 10.0
"""How often the time that is left is drawn anew."""
_ESCAPE_S: Final = 0.05
"""How long the rest of a sequence may be behind its escape; later it was the key."""
_WAKE: Final = b""

Event = bytes | Unavailable


class Question:
    """What is asked; it may change while it is on the screen."""

    def __init__(
        self,
        request: ApprovalRequest,
        *,
        position: tuple[int, int] = (1, 1),
        note: str = "",
        aside: str = "",
    ) -> None:
        self.request = request
        self.position = position
        self.note = note
        """Shown at first: why an answer before this one did not count; safe to show."""
        self.aside = aside
        """What Ctrl-C or Ctrl-Z does here, shown with it."""
        self._listener: MemoryObjectSendStream[Event] | None = None

    def update(self, request: ApprovalRequest, position: tuple[int, int]) -> None:
        """Show the newest state; what was typed stays."""
        self.request, self.position = request, position
        if self._listener is not None:
            _send(self._listener, _WAKE)

    def listen(self, listener: MemoryObjectSendStream[Event]) -> None:
        """Name who is told of updates."""
        self._listener = listener


async def ask(
    tty: Tty, question: Question, *, host: str, look: Look, now: Callable[[], datetime]
) -> Allow | Deny:
    """Ask until there is an answer.

    Raises:
        KeyboardInterrupt: the person typed Ctrl-C.
        Unavailable: the terminal went away; nothing was answered.
    """
    with tty.taken(look):
        said = await _Asking(tty, question, host, look, now).until_said()
    match said:
        case Allow() | Deny():
            return said
        case Interrupt():
            raise KeyboardInterrupt
    assert_never(said)


class _Asking:
    def __init__(
        self, tty: Tty, question: Question, host: str, look: Look, now: Callable[[], datetime]
    ) -> None:
        self._tty = tty
        self._question = question
        self._host = host
        self._look = look
        self._now = now
        full = FullDrawing(tty, colour=look.colour)
        self._drawing: Drawing = full if look.full_screen else PlainDrawing(tty)
        self._tick = _TICK_S if look.full_screen else None
        self._rows: tuple[str, ...] = ()
        word = word_of(question.request.approval_id)
        self._view = View(word=word, rows=0, page=1, note=question.note, aside=question.aside)

    async def until_said(self) -> Said:
        await self._lay_out()
        await anyio.sleep(DISCARD_S)
        self._tty.forget_input()
        failure: Unavailable | None = None
        said: Said | None = None
        send, receive = anyio.create_memory_object_stream[Event](16)
        async with send, receive, anyio.create_task_group() as tasks:
            self._question.listen(send)
            tasks.start_soon(_read, self._tty, send)
            tasks.start_soon(_resizes, send)
            try:
                said = await self._converse(receive.receive)
            except Unavailable as error:  # out of the group: it would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if said is None:
            raise failure or Unavailable("the terminal did not answer")
        return said

    async def _converse(self, receive: Callable[[], Awaitable[Event]]) -> Said:
        keys = KeyReader()
        keys.feed(self._tty.pasting)
        await self._lay_out()
        while True:
            event: Event | None = None
            with anyio.move_on_after(_ESCAPE_S if keys.escaped else self._tick):
                event = await receive()
            if isinstance(event, Unavailable):
                raise event
            if not event:
                await self._lay_out()
            for key in keys.pause() if event is None else keys.feed(event):
                said = press(self._view, key)
                if not isinstance(said, View):
                    if not isinstance(said, Allow) or self._in_time():
                        return said
                    said = replace(self._view, typed="", note="its time is over.")
                await self._change(said)

    def _in_time(self) -> bool:
        return time_left(self._question.request.expires_at, self._now()) > 0

    async def _change(self, view: View) -> None:
        before, self._view = self._view, view
        if view.whole != before.whole:
            await self._lay_out()
        else:
            await self._draw()

    async def _lay_out(self) -> None:
        """Lay the rows out anew, in a thread: a whole call can be megabytes."""
        width, height = self._tty.size()
        make = partial(
            render_whole if self._view.whole else render,
            self._question.request,
            host=self._host,
            width=width,
            now=self._now(),
            colour=self._look.colour,
        )
        self._rows = await anyio.to_thread.run_sync(make)
        page = self._drawing.page(height)
        legible = not self._look.full_screen or (width >= NARROWEST and height > FIXED_ROWS)
        view = replace(self._view, legible=legible)
        self._view = laid_out(view, rows=len(self._rows), page=page)
        await self._draw()

    async def _draw(self) -> None:
        question = self._question
        picture = Picture(question.request, question.position, self._rows, self._view)
        await self._drawing.draw(picture, width=self._tty.size()[0])


async def _read(tty: Tty, send: MemoryObjectSendStream[Event]) -> None:
    try:
        while True:
            await send.send(await tty.read())
    except Unavailable as error:
        await send.send(error)


async def _resizes(send: MemoryObjectSendStream[Event]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # signals arrive there only; the next tick draws the new size
    with anyio.open_signal_receiver(signal.SIGWINCH) as resizes:
        async for _ in resizes:
            _send(send, _WAKE)


def _send(listener: MemoryObjectSendStream[Event], event: Event) -> None:
    try:
        listener.send_nowait(event)
    except (anyio.WouldBlock, anyio.ClosedResourceError, anyio.BrokenResourceError):
        return  # a full inbox holds a wake already; a closed one has no screen any more
