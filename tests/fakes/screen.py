"""A strict little terminal: knows exactly the sequences that AGP sends, and fails on any other.

So a hostile sequence that reaches the terminal raw is a failing test by itself.
"""

from __future__ import annotations

import re

_SEQUENCE = re.compile(
    r"\x1b\[(?P<params>[0-9;?]* ?)(?P<final>[@-~])|\x1b\(B|[\x00-\x1a\x1c-\x1f\x7f-\x9f]"
    r"|[^\x00-\x1f\x7f-\x9f]",
    re.DOTALL,
)
MODES = {"?1049": "alternate", "?2004": "bracketed_paste", "?7": "wrap", "?25": "cursor"}
HARMLESS = {("?6", "l"), ("", "r"), ("0 ", "q"), ("?2026", "l")}
MOUSE = {"?1000", "?1002", "?1003", "?1006"}


class Screen:
    """What the person sees, and in which state the terminal is."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns, self.height = columns, rows
        self.modes = {"alternate": False, "bracketed_paste": False, "wrap": True, "cursor": True}
        self.bells = 0
        self.draws = 0
        """How many pictures were finished (each ends by erasing what is below)."""
        self.main = [""]
        """Lines of the ordinary screen, scrollback included."""
        self._cells: dict[tuple[int, int], str] = {}
        self._at = (1, 1)
        self._rest = b""

    def feed(self, data: bytes) -> None:
        text, self._rest = _whole(self._rest + data)
        at = 0
        while at < len(text):
            match = _SEQUENCE.match(text, at)
            if match is None and len(text) - at < 12:
                self._rest = text[at:].encode() + self._rest
                return
            assert match, f"a sequence that AGP never sends: {text[at : at + 40]!r}"
            at = match.end()
            if match["final"]:
                self._control(match["params"], match["final"])
            elif match[0] != "\x1b(B":
                self._char(match[0])

    def text(self) -> str:
        """The alternate screen, row by row."""
        rows = []
        for row in range(1, self.height + 1):
            cells = [self._cells.get((row, col), " ") for col in range(1, self.columns + 1)]
            rows.append("".join(cells).rstrip())
        return "\n".join(rows)

    def _control(self, params: str, final: str) -> None:
        if final in "hl" and params in MODES:
            self.modes[MODES[params]] = final == "h"
            if params == "?1049":
                self._cells.clear()
        elif final == "H":
            row, _, col = params.partition(";")
            self._at = (int(row or 1), int(col or 1))
        elif final == "K" and params == "2":
            self._erase(lambda row, _: row == self._at[0])
        elif final == "J" and params in {"", "2"}:
            below = self._at if params == "" else (0, 0)
            self._erase(lambda row, col: (row, col) >= below)
            self.draws += params == ""
        else:
            mouse = final in "hl" and params in MOUSE
            assert final == "m" or mouse or (params, final) in HARMLESS, (params, final)

    def _erase(self, where) -> None:
        self._cells = {at: char for at, char in self._cells.items() if not where(*at)}

    def _char(self, char: str) -> None:
        if char == "\x07":
            self.bells += 1
        elif char in "\x0f\x18":
            return
        elif char in "\r\n" and self.modes["alternate"]:
            row, col = self._at
            self._at = (row, 1) if char == "\r" else (row + 1, col)
        elif not self.modes["alternate"]:
            self._main(char)
        else:
            assert char.isprintable(), f"a raw control on the screen: {char!r}"
            row, col = self._at
            assert col <= self.columns or self.modes["wrap"], f"row {row} runs over: {self.text()}"
            self._cells[row, col] = char
            self._at = (row, col + 1)

    def _main(self, char: str) -> None:
        if char == "\n":
            self.main.append("")
        elif char != "\r":
            assert char.isprintable(), f"a raw control on the screen: {char!r}"
            self.main[-1] += char


def _whole(data: bytes) -> tuple[str, bytes]:
    """Decode what is whole UTF-8."""
    for cut in range(4):
        try:
            return data[: len(data) - cut].decode("utf-8"), data[len(data) - cut :]
        except UnicodeDecodeError:
            continue
    raise AssertionError(f"not UTF-8: {data[-80:]!r}")
