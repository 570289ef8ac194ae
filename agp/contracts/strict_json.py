"""The one way in which a peer's JSON is read, and the canonical text of what was read.

Read strictly: UTF-8, one value, no duplicate keys, no lone surrogates, no NaN or infinities, no
number that is too long to be honest, bounded depth. Anything else is a `MessageRefused`.

Canonical: no insignificant space, keys sorted by code point, strings exact and unescaped wherever
JSON allows, numbers by exact value (`1.0`, `1` and `10e-1` are one number). Two texts have the same
canonical bytes exactly where they are the same value.

Source: system.md §6 (ticket preimage); ADR 0004.
"""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from agp.errors import MessageRefused

Json = None | bool | int | Decimal | str | list["Json"] | dict[str, "Json"]
"""A strictly read value; numbers with a point or an exponent are exact decimals."""

MAX_DEPTH = 64
MAX_EXPONENT = 400
"""Larger exponents are refused: no tool needs them, and their exact text would be huge."""
MAX_DIGITS = 16 * 1024 * 1024
"""Characters that all decimals of one value may need in the canonical text. Attack: a body of
`1e400` again and again would grow seventyfold."""
_SPACE = re.compile(r"[ \t\n\r]*")


class Member(NamedTuple):
    """One member of a top-level object: its value, and its bytes exactly as they were written."""

    value: Json
    raw: bytes


def parse_json(data: bytes) -> Json:
    """Read one JSON value strictly.

    Raises:
        MessageRefused: for any bytes that are not exactly one honest JSON value.
    """
    text = _decode(data)
    try:
        value: Json = _DECODER.decode(text)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise MessageRefused("a JSON text was refused", why=_say(error)) from error
    _check(value, 0)
    return value


def parse_object(data: bytes) -> dict[str, Member]:
    """Read one top-level JSON object strictly, keeping the raw bytes of each member.

    Raises:
        MessageRefused: as `parse_json`, and where the value is not an object.
    """
    text = _decode(data)
    try:
        members = _scan_object(text)
    except (ValueError, RecursionError, InvalidOperation) as error:
        raise MessageRefused("a JSON object was refused", why=_say(error)) from error
    for key, member in members.items():
        _check(key, 0)
        _check(member.value, 1)
    return members


def canonical_json(value: Json) -> bytes:
    """Spell a strictly read value in its one canonical text, as UTF-8.

    Raises:
        MessageRefused: its numbers would need more than `MAX_DIGITS`; or, for a value that did
            not come from `parse_json`, a string holds a lone surrogate (a file name that is not
            UTF-8).
    """
    writer = _Writer()
    writer.write(value)
    try:
        return "".join(writer.parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MessageRefused("a JSON string holds a lone surrogate") from error


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MessageRefused("a JSON text is not UTF-8", where=f"byte {error.start}") from error


def _say(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error) or "?"


def _pairs(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object names one key twice")
    return value


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > MAX_EXPONENT:
        raise ValueError("a number is too large or too small")
    return number


def _constant(text: str) -> Json:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_pairs, parse_float=_number, parse_constant=_constant, strict=True
)


def _scan_object(text: str) -> dict[str, Member]:
    at = _expect(text, _skip(text, 0), "{")
    members: dict[str, Member] = {}
    if text[at : at + 1] == "}":
        return _end(text, at + 1, members)
    while True:
        if text[at : at + 1] != '"':
            raise ValueError("a key was expected")
        key, at = _DECODER.raw_decode(text, at)
        start = _expect(text, _skip(text, at), ":")
        value, at = _DECODER.raw_decode(text, start)
        if key in members:
            raise ValueError("an object names one key twice")
        members[key] = Member(value, text[start:at].encode("utf-8"))
        at = _skip(text, at)
        if text[at : at + 1] == "}":
            return _end(text, at + 1, members)
        at = _expect(text, at, ",")


def _expect(text: str, at: int, sign: str) -> int:
    """Step over one sign and the space behind it."""
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign} was expected at character {at}")
    return _skip(text, at + 1)


def _end(text: str, at: int, members: dict[str, Member]) -> dict[str, Member]:
    if _skip(text, at) != len(text):
        raise ValueError("something follows the object")
    return members


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _check(value: Json, depth: int) -> None:
    """Refuse lone surrogates and depth; the decoder has refused everything else."""
    if depth > MAX_DEPTH:
        raise MessageRefused("a JSON text was refused", why="it is nested too deeply")
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise MessageRefused("a JSON string holds a lone surrogate") from error
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check(key, depth)
            _check(item, depth + 1)


class _Writer:
    """Collects the canonical text, within `MAX_DIGITS`."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._room = MAX_DIGITS

    def write(self, value: Json) -> None:
        """Append the canonical text of one value."""
        if value is None or isinstance(value, bool):
            self.parts.append({None: "null", True: "true", False: "false"}[value])
        elif isinstance(value, int):
            self.parts.append(str(value))
        elif isinstance(value, Decimal):
            self._decimal(value)
        elif isinstance(value, str):
            self.parts.append(json.dumps(value, ensure_ascii=False))
        elif isinstance(value, list):
            self._list(value)
        else:
            self._object(value)

    def _decimal(self, value: Decimal) -> None:
        text = _spell(value)
        self._room -= len(text)
        if self._room < 0:
            raise MessageRefused("a JSON text was refused", why="its numbers are too long")
        self.parts.append(text)

    def _list(self, items: list[Json]) -> None:
        self.parts.append("[")
        for index, item in enumerate(items):
            if index:
                self.parts.append(",")
            self.write(item)
        self.parts.append("]")

    def _object(self, members: dict[str, Json]) -> None:
        self.parts.append("{")
        for index, key in enumerate(sorted(members)):
            if index:
                self.parts.append(",")
            self.parts.append(json.dumps(key, ensure_ascii=False))
            self.parts.append(":")
            self.write(members[key])
        self.parts.append("}")


def _spell(number: Decimal) -> str:
    """Spell an exact decimal without exponent and without trailing zeros; minus zero is zero."""
    if not number:
        return "0"
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
