"""The one way in which untrusted text is shown, on every surface.

A terminal obeys what it is sent, and people read what they see: whatever could steer the one or
deceive the other is shown as a visible escape, and a long text keeps its head *and* its tail
around a mark that says how much is missing.

Escaped are: controls (C0, C1), formats (zero width, bidirectional overrides, tags), line and
paragraph separators, surrogates, private and unassigned code points, every space but the plain
one, characters that draw nothing whatever their category (Unicode's Default_Ignorable, blank
fillers), letters that run from right to left (a display that reorders them shows the words of a
command in an order in which they do not run), combining marks without a letter or beyond two on
one, and the brackets of our own mark. A backslash is doubled, so that no text imitates an escape.

Source: system.md §8; Unicode UAX 9, UTR 36, UTS 39; ADR 0009.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Final

_HIDDEN_CATEGORIES: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_RIGHT_TO_LEFT: Final = frozenset({"R", "AL", "AN"})
_DRAWS_NOTHING: Final = (
    (0x034F, 0x034F),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFFA0, 0xFFA0),
    (0xFFFC, 0xFFFC),
    (0x13441, 0x13446),
    (0x16FE4, 0x16FE4),
    (0x1D159, 0x1D159),
    (0xE0000, 0xE0FFF),
)
"""First and last of each run that is blank although its category is a letter, mark or symbol."""
_SHORT: Final = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\x1b": "\\e"}
_MARK: Final = frozenset("⟪⟫")
_MARKS_ON_A_LETTER: Final = 2
_LATIN_1: Final = 0xFF
_BASIC_PLANE: Final = 0xFFFF
_SPECIAL: Final = re.compile(r"[ -\[\]-~]?[^ -\[\]-~]+")
"""A run of anything but printable ASCII, with the character on which its marks would stand."""


def visible(text: str, *, limit: int = 4000) -> str:
    """Show untrusted text on one line: what could steer a terminal or an eye is escaped.

    `limit` counts characters of the result without the mark; a cut text keeps two thirds head and
    one third tail, never half an escape, and the mark holds the number of source characters left
    out and the head of a SHA-256 of the whole. Costs O(limit), but for the digest.
    """
    return _show(text, limit, newline="\\n")


_LONG = 200
"""Characters; from here on a text may be a mark longer than its limit, where that shows it all."""


def visible_lines(text: str, *, limit: int = 4000) -> tuple[str, ...]:
    """Show untrusted text keeping its line breaks; each line is then as `visible` shows it.

    The mark of a cut stands on a line of its own.
    """
    return tuple(_show(text, limit, newline="\n").split("\n"))


def _show(text: str, limit: int, *, newline: str) -> str:
    if len(text) <= limit:
        shown = _SPECIAL.sub(lambda run: "".join(_units(run[0], newline)), text)
        if len(shown) <= limit:
            return shown
    head = _take(_units(text[:limit], newline), limit * 2 // 3)
    tail = _take(_units(text[max(0, len(text) - limit) :], newline)[::-1], limit // 3)[::-1]
    left_out = len(text) - len(head) - len(tail)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    around = newline if newline == "\n" else " "
    mark = f"{around}⟪{left_out} characters left out, sha256 {digest}⟫{around}"
    if limit >= _LONG and left_out <= len(mark):
        whole = "".join(_units(text, newline))
        if len(whole) <= limit + len(mark):
            return whole  # a mark that takes more room than what it stands for helps nobody
    return "".join((*head, mark, *tail))


def _take(units: list[str], budget: int) -> list[str]:
    """Keep as many whole units as fit into the budget of characters."""
    for index, unit in enumerate(units):
        budget -= len(unit)
        if budget < 0:
            return units[:index]
    return units


def _units(text: str, newline: str) -> list[str]:
    """Show each character; a unit is what one source character became."""
    units: list[str] = []
    room_for_marks = 0
    for char in text:
        if char == "\n":
            units.append(newline)
            room_for_marks = 0
        elif unicodedata.category(char) in {"Mn", "Me"} and _is_safe(char):
            units.append(char if room_for_marks else _escape(char))
            room_for_marks = max(0, room_for_marks - 1)
        else:
            shown = char if _is_safe(char) else _escape(char)
            units.append(shown)
            carries = shown == char and unicodedata.category(char).startswith("L")
            room_for_marks = _MARKS_ON_A_LETTER if carries else 0
    return units


@lru_cache(maxsize=4096)
def _is_safe(char: str) -> bool:
    if " " <= char <= "~":
        return char != "\\"
    point = ord(char)
    category = unicodedata.category(char)
    return not (
        category in _HIDDEN_CATEGORIES
        or category == "Zs"
        or unicodedata.bidirectional(char) in _RIGHT_TO_LEFT
        or char in _MARK
        or any(first <= point <= last for first, last in _DRAWS_NOTHING)
    )


def _escape(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    point = ord(char)
    if point <= _LATIN_1:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= _BASIC_PLANE else f"\\U{point:08x}"
