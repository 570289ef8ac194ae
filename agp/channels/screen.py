"""One screen of the prompt as bytes: title, a window on the question, the line that is typed.

Pure. Only sequences of ours are in it; every row is shorter than the screen is wide, and wrapping
is off besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agp.channels.layout import BOLD, NARROWEST, PLAIN, WARN, fit
from agp.channels.prompt import View, hint
from agp.contracts.display import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

FIXED_ROWS: Final = 5
"""Title, rule, where in the text, hint, input."""
_ASCII_ONLY: Final = "-"


def full_screen(
    view: View, rows: Sequence[str], *, width: int, position: tuple[int, int], colour: bool
) -> bytes:
    """Draw everything, each row at its own place; the cursor ends behind what was typed."""
    width = max(width, NARROWEST)
    shown = rows[view.top : view.top + view.page]
    lines = [
        _style(_title(position, width, view.aside), BOLD, colour=colour),
        _ASCII_ONLY * (width - 1),
        *shown,
        *([""] * (view.page - len(shown))),
        _style(_status(view, width), WARN if view.note else "", colour=colour),
        hint(view, width - 1),
        typed_line(view, width),
    ]
    body = "".join(f"\x1b[{at};1H{PLAIN}\x1b[2K{line}" for at, line in enumerate(lines, 1))
    return f"{body}{PLAIN}\x1b[J".encode()


def typed_line(view: View, width: int) -> str:
    """Draw what was typed ourselves: the terminal's echo is off."""
    return f"> {fit(visible(view.typed), width - 4)}"


def title(position: tuple[int, int]) -> str:
    """Say who asks, and which of several questions this is."""
    at, of = position
    which = f" ({at} of {of})" if of > 1 else ""
    return f"AGP asks{which}: may the agent do this?"


def _title(position: tuple[int, int], width: int, aside: str) -> str:
    """Put what Ctrl-C or Ctrl-Z does at the right edge, where there is room for both."""
    said = title(position)
    room = width - 1 - len(said) - len(aside)
    return f"{said}{' ' * room}{aside}" if aside and room > 1 else said[: width - 1]


def _status(view: View, width: int) -> str:
    bottom = min(view.top + view.page, view.rows)
    below = view.rows - bottom
    where = f"rows {view.top + 1}-{bottom} of {view.rows}"
    more = f", {below} below: PgDn" if below else ""
    tab = "Tab: cut it again" if view.whole else "Tab: the whole call"
    text = view.note or (f"{where}{more}. {tab}")
    return fit_left(text, width - 1)


def fit_left(text: str, width: int) -> str:
    """Cut a text that is safe to show to one row, from the right."""
    while len(fit(text, width)) < len(text):
        text = text[:-1]
    return text


def _style(text: str, style: str, *, colour: bool) -> str:
    return f"{style}{text}{PLAIN}" if colour and style else text
