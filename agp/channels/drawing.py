"""Two ways to draw a question: on the alternate screen, or as rows one after another.

The second sends no sequence at all: for dumb terminals and screen readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from agp.channels.prompt import View, hint
from agp.channels.screen import FIXED_ROWS, full_screen, title, typed_line
from agp.contracts.display import visible

if TYPE_CHECKING:
    from agp.channels.tty import Tty
    from agp.contracts.channel import ApprovalRequest

_ENDLESS: Final = 1 << 30


class Picture(NamedTuple):
    """Everything that one drawing shows."""

    request: ApprovalRequest
    position: tuple[int, int]
    rows: tuple[str, ...]
    view: View


class Drawing(Protocol):
    """Draws pictures of one question, one after the other."""

    def page(self, height: int) -> int:
        """Give how many rows of the question are in sight at once."""
        ...

    async def draw(self, picture: Picture, *, width: int) -> None:
        """Bring the terminal from the picture before to this one."""
        ...


class FullDrawing:
    """Redraws the whole screen each time."""

    def __init__(self, tty: Tty, *, colour: bool) -> None:
        self._tty = tty
        self._colour = colour

    def page(self, height: int) -> int:
        """Leave room for title, hint and input."""
        return max(1, height - FIXED_ROWS)

    async def draw(self, picture: Picture, *, width: int) -> None:
        """Put every row in its place."""
        await self._tty.write(
            full_screen(
                picture.view,
                picture.rows,
                width=width,
                position=picture.position,
                colour=self._colour,
            )
        )


class PlainDrawing:
    """Writes what is new, row after row; nothing is ever taken back."""

    def __init__(self, tty: Tty) -> None:
        self._tty = tty
        self._last: Picture | None = None

    def page(self, height: int) -> int:  # noqa: ARG002 - the other way of drawing needs it
        """Say that everything is in sight: it scrolls by."""
        return _ENDLESS

    async def draw(self, picture: Picture, *, width: int) -> None:
        """Write the question once, again where it changed, and each character as it is typed."""
        last, self._last = self._last, picture
        view = picture.view
        if last is None or last.request != picture.request or last.view.whole != view.whole:
            note = (view.note,) if view.note else ()
            keys = (f"{view.aside}.",) if view.aside else ()
            await self._write_rows(
                (title(picture.position), *picture.rows, *note, *keys, hint(view))
            )
        elif view.note and view.note != last.view.note:
            await self._write_rows((view.note, hint(view)))
        elif view.typed.startswith(last.view.typed):
            await self._tty.write(visible(view.typed[len(last.view.typed) :]).encode())
            return
        await self._tty.write(f"\r\n{typed_line(view, width)}".encode())

    async def _write_rows(self, rows: tuple[str, ...]) -> None:
        await self._tty.write("".join(f"\r\n{row}" for row in rows).encode())
