"""How a command speaks: one JSON document for a script, lines for a person, errors for both."""

from __future__ import annotations

import json
import os
import unicodedata
from typing import TYPE_CHECKING, TextIO

from agp.contracts.display import visible

if TYPE_CHECKING:  # pydantic costs 100 ms that a refused command line need not pay
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import JsonValue

    from agp.errors import AgpError

    Document = Mapping[str, JsonValue]

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "dim": "2"}
_WIDE = frozenset({"W", "F"})


class ReaderGoneError(Exception):
    """Whoever read our stdout has gone; typer would turn a BrokenPipeError into exit 1."""


class Output:
    """The two streams of one command, and how they are written to."""

    def __init__(
        self,
        stdout: TextIO,
        stderr: TextIO,
        *,
        as_json: bool = False,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.as_json = as_json
        self._stdout = stdout
        self._stderr = stderr
        self._plain = bool(environment.get("NO_COLOR")) or environment.get("TERM") == "dumb"

    def show(self, schema: str, document: Document, lines: Iterable[str]) -> None:
        """Give the document `agp/<schema>/v1` where a script asked for it, else the lines."""
        if self.as_json:
            self._write_document(schema, document)
            return
        self._write("".join(f"{line}\n" for line in lines))

    def note(self, line: str) -> None:
        """Tell a person something beside the result: always on stderr."""
        self._stderr.write(line + "\n")
        self._stderr.flush()

    def fail(self, error: AgpError) -> None:
        """Show an error of the tree: what, where, why, fix."""
        if self.as_json:
            self._write_document("error", error_document(error))
            return
        head = self._paint(f"error[{error.code}]:", "red", self._stderr)
        lines = (f"{head} {visible(error.what)}", *_error_details(error))
        self._stderr.write("\n".join(lines) + "\n")
        self._stderr.flush()

    def paint(self, text: str, colour: str) -> str:
        """Colour a text for stdout, where stdout is a terminal that wants it."""
        return self._paint(text, colour, self._stdout)

    def _paint(self, text: str, colour: str, stream: TextIO) -> str:
        if self._plain or self.as_json or not stream.isatty():
            return text
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"

    def _write_document(self, schema: str, document: Document) -> None:
        text = json.dumps({"schema": f"agp/{schema}/v1", **document}, indent=2)
        # json leaves DEL as it is; a terminal must not get it from an agent's text.
        self._write(text.replace("\x7f", "\\u007f") + "\n")

    def _write(self, text: str) -> None:
        try:
            self._stdout.write(text)
            self._stdout.flush()
        except BrokenPipeError as error:
            raise ReaderGoneError from error


def error_document(error: AgpError) -> dict[str, JsonValue]:
    """Say an error to a script."""
    return {
        "code": error.code,
        "exit_code": error.exit_code,
        "what": error.what,
        "where": error.where,
        "why": error.why,
        "fix": error.fix,
    }


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Align rows under their heads; two spaces between columns, nothing behind the last."""
    cells = [tuple(heads), *(tuple(row) for row in rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(heads))]
    return [
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(row, widths, strict=True)
        ).rstrip()
        for row in cells
    ]


def _error_details(error: AgpError) -> list[str]:
    parts = (("where", error.where), ("why", error.why), ("fix", error.fix))
    return [f"  {name}: {visible(text)}" for name, text in parts if text]


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in _WIDE else 1 for char in text)
