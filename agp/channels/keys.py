"""What was typed, read from a terminal's bytes: characters, a few keys, and nothing else.

Pure. A paste between the marks of bracketed paste is one key, PASTED, without its text: what
somebody prepared elsewhere is no answer. Other sequences (reports that a terminal sends by
itself, unknown keys) are swallowed whole, so that their letters are not taken as typed. An escape
that begins none is a key of its own: before a character that begins no sequence, and where
nothing follows it for a while.
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
    ESCAPE = auto()
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
_BEGINS: Final = frozenset(" !\"#$%&'()*+,-./NOPX[\\]^_")
"""What begins a sequence behind an escape. Source: ECMA-35 13.2, ECMA-48 5.3."""


class KeyReader:
    """Reads one terminal; sequences may be split over reads."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        self._sequence: str | None = None
        """What follows an escape so far; None: no escape was seen."""
        self._paste: str | None = None
        """The last characters of a paste that has not ended; None: there is none."""
        self._typed = ""
        """The last characters that stood alone: a mark whose escape was taken for the key."""

    @property
    def escaped(self) -> bool:
        """Tell whether an escape was read and nothing behind it yet."""
        return self._sequence == ""

    def feed(self, data: bytes) -> list[str | Key]:
        """Give the characters and keys that these bytes finish."""
        keys: list[str | Key] = []
        for char in self._decoder.decode(data):
            if self.escaped and char not in _BEGINS:
                keys += self.pause()
            key = self._take(char)
            if key is not None:
                keys.append(key)
        return keys

    def pause(self) -> list[str | Key]:
        """Hear that nothing came for a while: an escape that still stands alone was the key.

        A sequence that has begun goes on however late: its letters are never taken as typed.
        """
        if not self.escaped:
            return []
        self._sequence = None
        return [Key.ESCAPE]

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
        self._typed = (self._typed + char)[-len(_PASTE_BEGINS) :]
        if self._typed == _PASTE_BEGINS:
            self._paste = ""
            return None
        return _CONTROLS.get(char, char if char.isprintable() else None)

    def _continue(self, sequence: str) -> Key | None:
        unfinished = not _WHOLE.fullmatch(sequence) and len(sequence) < _LONGEST_SEQUENCE
        self._sequence = sequence if unfinished else None
        if sequence == _PASTE_BEGINS:
            self._paste = ""
        return _SEQUENCES.get(sequence)
