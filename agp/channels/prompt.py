"""The prompt as a machine: what was typed so far, which key changes what, when it is an answer.

Pure. Only two lines are answers: the word of the id alone allows once; `deny`, alone or before a
reason, refuses. Enter on anything else answers nothing. The word counts only when the question
has been on the screen to its last row: a call that is padded until its end is out of sight must
be paged through first. A refusal needs no reading.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, assert_never

from agp.channels.keys import Key
from agp.contracts.display import visible

LONGEST_LINE: Final = 400
"""Characters; what is typed beyond is not taken."""
_DENY: Final = "deny"
_HINTS: Final = (
    "Type {} to allow this once, or deny, or deny and a reason. Then Enter.",
    "Type {} to allow once, or deny and a reason. Then Enter.",
    "Type {} to allow, or deny. Enter.",
    "{}, or deny",
    "{}/deny",
)
"""With the word, the longest that fits."""
_NOTHING: Final = {
    Key.PASTED: "pasted text does not count; type it.",
    Key.ESCAPE: "Esc answers nothing.",
}
"""What is said of keys that answer nothing."""


@dataclass(frozen=True)
class Allow:
    """The person typed the word."""


@dataclass(frozen=True)
class Deny:
    """The person refused."""

    reason: str


@dataclass(frozen=True)
class Interrupt:
    """The person wants the run to end; it answers nothing."""


Said = Allow | Deny | Interrupt


@dataclass(frozen=True)
class View:
    """What is on the screen of one question."""

    word: str
    rows: int
    """Rows of the question as it is laid out now."""
    page: int
    """Rows that fit."""
    typed: str = ""
    top: int = 0
    """First row that is shown."""
    whole: bool = False
    """Every character of the call is laid out."""
    read: bool = False
    """The last row has been on the screen."""
    legible: bool = True
    """False: the window is too small, rows are cut at its edge; nobody can have read this."""
    note: str = ""
    """Why the last line answered nothing; safe to show."""
    aside: str = ""
    """What Ctrl-C or Ctrl-Z does here, shown with the question."""


def laid_out(view: View, *, rows: int, page: int) -> View:
    """Fit the view to a new layout: a resize, a longer or shorter question."""
    page = max(1, page)
    top = min(view.top, max(0, rows - page))
    read = view.legible and (view.read or top + page >= rows)
    return replace(view, rows=rows, page=page, top=top, read=read)


def press(view: View, key: str | Key) -> View | Said:
    """Take one key."""
    if isinstance(key, str):
        return replace(view, typed=(view.typed + key)[:LONGEST_LINE], note="")
    after: View | Said
    match key:
        case Key.ENTER:
            after = _enter(view)
        case Key.INTERRUPT:
            after = Interrupt()
        case Key.RUB_OUT:
            after = replace(view, typed=view.typed[:-1])
        case Key.ERASE_LINE:
            after = replace(view, typed="")
        case Key.PASTED | Key.ESCAPE:
            after = replace(view, note=_NOTHING[key])
        case Key.UP | Key.DOWN | Key.PAGE_UP | Key.PAGE_DOWN:
            moved = replace(view, top=max(0, view.top + _distance(view, key)))
            after = laid_out(moved, rows=view.rows, page=view.page)
        case Key.TAB:
            after = replace(view, whole=not view.whole, top=0)
        case Key.REDRAW:
            after = view
        case _:
            assert_never(key)
    return after


def hint(view: View, width: int | None = None) -> str:
    """Say what can be typed; in these columns never half a word of it. None: it may wrap."""
    said = [line.format(view.word) for line in _HINTS]
    fitting = (line for line in said if width is None or len(line) <= width)
    return next(fitting, "")


def _enter(view: View) -> View | Said:
    line = view.typed.strip()
    first, _, reason = line.partition(" ")
    if first.lower() == _DENY:
        return Deny(reason.strip())
    if line.lower() == view.word:
        if view.read:
            return Allow()
        below = view.rows - view.top - view.page
        unread = f"read it first: {below} rows are below (PgDn)."
        too_small = "the window is too small to read it."
        return replace(view, typed="", note=unread if view.legible else too_small)
    if not line:
        return replace(view, typed="", note="")
    return replace(view, typed="", note=f"“{visible(line, limit=40)}” answers nothing.")


def _distance(view: View, key: Key) -> int:
    step = max(1, view.page - 1) if key in {Key.PAGE_UP, Key.PAGE_DOWN} else 1
    return -step if key in {Key.UP, Key.PAGE_UP} else step
