r"""What a harness writes, made fit for the operator's terminal.

A terminal that is sent a query answers on its *input*, as if the person had typed; one that is
sent a title, a clipboard or a device string obeys. So the filter passes by allow-list only: text,
and the few sequences that draw. All else is dropped whole: operating-system, device, privacy and
application strings, queries, resets, character sets, key and mouse reports, the bell (it is
AGP's), the alternate screen (it is AGP's).

Input is UTF-8; a byte that is not, below 0xA0, counts as the 8-bit control that a terminal may
take it for, and any other becomes U+FFFD. Every output is a run of whole allowed sequences, however
the input was split. Source: ECMA-48; xterm's ctlseqs; system.md §8; ADR 0009.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum, auto
from typing import Final

from agp.contracts.display import visible_lines

_LONGEST_SEQUENCE: Final = 64
"""Characters of parameters that are remembered; a longer sequence is dropped."""
_CSI: Final = (
    r"(?:[0-9;:]{0,64}m"  # colour
    r"|[0-9;]{0,64}[@A-HK-MPSTXdfr`]"  # move, erase in a line, insert, delete, scroll
    r"|[0-2]?J"  # erase on the screen; 3 would erase the person's own lines above it
    r"|\?(?:7|12|25|2026)[hl]"  # wrap, blink, cursor, synchronised update
    r"|[0-6]? q)"  # the cursor's shape
)
_ALLOWED_CSI: Final = re.compile(_CSI)
_MOUSE: Final = re.compile(r"\?((?:1000|1002|1003|1006)(?:;(?:1000|1002|1003|1006))*)([hl])")
_HARMLESS: Final = re.compile(rf"[ -~\b\t\n\r\u00a0-\ud7ff\ue000-\U0010ffff]+|\x1b\[{_CSI}")
"""What passes between sequences, many characters at a time; the machine below says the same."""
_ALLOWED_ESCAPES: Final = frozenset("78DEM")
"""Save and restore the cursor; index, next line, reverse index."""
_ALLOWED_CONTROLS: Final = frozenset("\b\t\n\r")
_INTRODUCER: Final = {"\x9b": "[", "\x90": "P", "\x98": "X", "\x9d": "]", "\x9e": "^", "\x9f": "_"}
"""8-bit controls and the letter that says the same behind an escape."""
_STRING_INTRODUCERS: Final = frozenset("PX]^_")
_CANCEL: Final = frozenset("\x18\x1a")
_BELL: Final = "\x07"
_STRING_TERMINATOR: Final = "\x9c"
_FIRST_PRINTABLE: Final = " "
_FIRST_8_BIT: Final = "\x7f"
_LAST_8_BIT: Final = "\x9f"
_REPLACEMENT: Final = "�"


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    ESCAPE_INTERMEDIATE = auto()
    CSI = auto()
    STRING = auto()


class HarnessOutput:
    """The filter for one stream, from the first byte to the last."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._state = _State.TEXT
        self._held = ""
        self._out: list[str] = []
        self.mouse: frozenset[str] = frozenset()
        """The mouse reports that the harness asked for last. They are never passed on: whoever
        holds the terminal may switch them on, and then switches them off before a question."""

    def feed(self, data: bytes) -> bytes:
        """Give what may be written of these bytes and of what was held before."""
        return self._through(self._decoder.decode(data))

    def end(self) -> bytes:
        """Give what is left at the end of the stream; an unfinished sequence is dropped."""
        out = self._through(self._decoder.decode(b"", final=True))
        self._state = _State.TEXT
        return out

    def _through(self, text: str) -> bytes:
        at = 0
        while at < len(text):
            run = _HARMLESS.match(text, at) if self._state is _State.TEXT else None
            if run is None:
                self._take(_as_terminal(text[at]))
                at += 1
            else:
                self._out.append(run[0])
                at = run.end()
        out = "".join(self._out)
        self._out.clear()
        return out.encode("utf-8")

    def _take(self, char: str) -> None:
        """Step the machine; what starts or cancels a sequence does so in every state."""
        if char == "\x1b":
            self._state = _State.ESCAPE
        elif char in _CANCEL:
            self._state = _State.TEXT
        elif _FIRST_8_BIT < char <= _LAST_8_BIT:
            self._begin(_INTRODUCER.get(char, ""))
        elif self._state is _State.TEXT:
            self._text(char)
        elif self._state is _State.ESCAPE:
            self._escape(char)
        elif self._state is _State.ESCAPE_INTERMEDIATE:
            self._intermediate(char)
        elif self._state is _State.CSI:
            self._csi(char)
        elif char == _BELL:
            self._state = _State.TEXT

    def _begin(self, introducer: str) -> None:
        if introducer == "[":
            self._state = _State.CSI
            self._held = ""
        else:
            string = introducer in _STRING_INTRODUCERS
            self._state = _State.STRING if string else _State.TEXT

    def _text(self, char: str) -> None:
        if char in _ALLOWED_CONTROLS or (char >= _FIRST_PRINTABLE and char != _FIRST_8_BIT):
            self._out.append(char)

    def _escape(self, char: str) -> None:
        if char in {"[", *_STRING_INTRODUCERS}:
            self._begin(char)
        elif " " <= char <= "/":
            self._state = _State.ESCAPE_INTERMEDIATE
        elif char >= _FIRST_PRINTABLE:
            self._state = _State.TEXT
            if char in _ALLOWED_ESCAPES:
                self._out.append(f"\x1b{char}")

    def _intermediate(self, char: str) -> None:
        if char > "/":
            self._state = _State.TEXT

    def _csi(self, char: str) -> None:
        if char < _FIRST_PRINTABLE:
            return
        if len(self._held) <= _LONGEST_SEQUENCE:
            self._held += char
        if char >= "@":
            self._state = _State.TEXT
            if _ALLOWED_CSI.fullmatch(self._held):
                self._out.append(f"\x1b[{self._held}")
            elif found := _MOUSE.fullmatch(self._held):
                named = frozenset(found[1].split(";"))
                self.mouse = self.mouse | named if found[2] == "h" else self.mouse - named


def text_only(data: bytes, *, limit: int = 100_000) -> tuple[str, ...]:
    """Show bytes where nothing may draw at all (a pipe, a log): lines of visible text."""
    return visible_lines(data.decode("utf-8", "surrogateescape"), limit=limit)


def _as_terminal(char: str) -> str:
    """Read a byte that is not UTF-8 as a terminal in 8-bit mode would."""
    if not "\udc80" <= char <= "\udcff":
        return char
    byte = chr(ord(char) - 0xDC00)
    return byte if byte <= _LAST_8_BIT else _REPLACEMENT
