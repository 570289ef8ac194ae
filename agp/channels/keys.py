"""What was typed, read from a terminal's bytes: characters, a few keys, and nothing else.

Pure. A paste between the marks of bracketed paste is one key, PASTED, without its text: what
somebody prepared elsewhere is no answer. Other sequences (reports that a terminal sends by
itself, unknown keys) are swallowed whole, so that their letters are not taken as typed.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum, auto
from typing import Final

_LONGEST_SEQUENCE: Final = 64
_PASTE_BEGINS: Final = "[200~"
_PASTE_ENDS: Final = "\x1b[201~"


class Key(Enum):
    """A key that is not a character."""

    ENTER = auto()
    RUB_OUT = auto()
    ERASE_LINE = auto()
    UP = auto()
    DOWN = auto()
    PAGE_UP = auto()
    PAGE_DOWN = auto()
    TAB = auto()
    REDRAW = auto()
    INTERRUPT = auto()
    PASTED = auto()


_CONTROLS: Final = {
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x7f": Key.RUB_OUT,
    "\b": Key.RUB_OUT,
    "\x15": Key.ERASE_LINE,
    "\t": Key.TAB,
    "\x0c": Key.REDRAW,
    "\x03": Key.INTERRUPT,
}
_SEQUENCES: Final = {
    "[A": Key.UP,
    "[B": Key.DOWN,
    "OA": Key.UP,
    "OB": Key.DOWN,
    "[5~": Key.PAGE_UP,
    "[6~": Key.PAGE_DOWN,
}
_WHOLE: Final = re.compile(r"\[[0-?]*[ -/]*[@-~]|O.|[^\[O]", re.DOTALL)
"""A finished sequence behind its escape."""


class KeyReader:
    """Reads one terminal; sequences may be split over reads."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._sequence: str | None = None
        """What follows an escape so far; None: no escape was seen."""
        self._paste: str | None = None
        """The last characters of a paste that has not ended; None: there is none."""

    def feed(self, data: bytes) -> list[str | Key]:
        """Give the characters and keys that these bytes finish."""
        keys: list[str | Key] = []
        for char in self._decoder.decode(data):
            key = self._take(char)
            if key is not None:
                keys.append(key)
        return keys

    def _take(self, char: str) -> str | Key | None:
        if self._paste is not None:
            self._paste = (self._paste + char)[-len(_PASTE_ENDS) :]
            if self._paste != _PASTE_ENDS:
                return None
            self._paste = None
            return Key.PASTED
        if char == "\x1b":
            self._sequence = ""
            return None
        if self._sequence is not None:
            return self._continue(self._sequence + char)
        return _CONTROLS.get(char, char if char.isprintable() else None)

    def _continue(self, sequence: str) -> Key | None:
        unfinished = not _WHOLE.fullmatch(sequence) and len(sequence) < _LONGEST_SEQUENCE
        self._sequence = sequence if unfinished else None
        if sequence == _PASTE_BEGINS:
            self._paste = ""
        return _SEQUENCES.get(sequence)
