"""Strict YAML to nodes that know their line and column; nothing is constructed, nothing guessed.

A policy is text, numbers, lists and maps. Everything by which YAML can say one thing and mean
another is refused: anchors, aliases, merge keys, tags, directives, a second document, a key twice
(the last of two `verdict` lines would win silently in most readers).

Source: YAML 1.2.2 §10.3 (core schema); ADR 0005.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from agp.errors import PolicyError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 12
"""A policy nests five deep; the scanner's cost is quadratic in the depth of flow collections."""
MAX_NODES: Final = 100_000
_NULL: Final = re.compile(r"~|null|Null|NULL|")
_BOOLEAN: Final = re.compile(r"true|True|TRUE|false|False|FALSE")
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)


class Mark(NamedTuple):
    """A place in a policy file; line and column count from 1."""

    name: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.name}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Scalar:
    """One scalar as written; `plain` is false where it stood in quotes or as a block."""

    text: str
    plain: bool
    at: Mark

    @property
    def kind(self) -> str:
        """Say what YAML 1.2 takes it for: text, number, boolean or null."""
        if not self.plain:
            return "text"
        if _NULL.fullmatch(self.text):
            return "null"
        if _BOOLEAN.fullmatch(self.text):
            return "boolean"
        if _INTEGER.fullmatch(self.text) or _FLOAT.fullmatch(self.text):
            return "number"
        return "text"


@dataclass(frozen=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    at: Mark
    kind: str = "list"


@dataclass(frozen=True)
class Table:
    """A map; its keys are distinct texts, in the order of the file."""

    entries: tuple[tuple[Scalar, Node], ...]
    at: Mark
    kind: str = "map"


Node = Scalar | Items | Table


def parse_document(data: bytes, name: str) -> Node:
    """Read exactly one document.

    Raises:
        PolicyError: with file, line and column, for anything that is not strict YAML.
    """
    if len(data) > MAX_BYTES:
        raise wrong(Mark(name, 1, 1), f"the file is larger than {MAX_BYTES} bytes", "split it")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = error.start - (before.rfind(b"\n") + 1) + 1
        at = Mark(name, before.count(b"\n") + 1, column)
        raise wrong(at, "the file is not UTF-8", "save it as UTF-8") from error
    try:
        return _Reader(YAML(typ="safe", pure=True).parse(text), name).document()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise wrong(_mark(mark, name), f"this is not YAML: {error.problem}") from error
    except (YAMLError, ValueError, RecursionError, IndexError, TypeError, AttributeError) as error:
        # The scanner's own defects on hostile text; the text is refused whatever they are.
        raise wrong(Mark(name, 1, 1), f"this is not YAML: {_first_line(error)}") from error


def wrong(at: Mark, what: str, fix: str = "", why: str = "") -> PolicyError:
    """Make the one error of this room, with its place."""
    return PolicyError(what, where=str(at), why=why, fix=fix)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _mark(mark: StringMark | None, name: str) -> Mark:
    return Mark(name, 1, 1) if mark is None else Mark(name, mark.line + 1, mark.column + 1)


class _Reader:
    """Walks the events of one stream; each method leaves behind what it read."""

    def __init__(self, events: Iterator[Event], name: str) -> None:
        self._events = events
        self._name = name
        self._nodes = 0

    def document(self) -> Node:
        """Read the only document of the stream."""
        next(self._events)
        start = next(self._events)
        if not isinstance(start, DocumentStartEvent):
            raise wrong(Mark(self._name, 1, 1), "the policy is empty", "write version and rules")
        if start.version or start.tags:
            raise wrong(self._at(start), "YAML directives are not part of a policy", "remove it")
        node = self._node(next(self._events), 0)
        end = next(self._events)
        after = next(self._events)
        if not isinstance(end, DocumentEndEvent) or not isinstance(after, StreamEndEvent):
            raise wrong(self._at(after), "a policy is one document", "remove the others")
        return node

    def _node(self, event: Event, depth: int) -> Node:
        at = self._at(event)
        self._nodes += 1
        if depth > MAX_DEPTH or self._nodes > MAX_NODES:
            raise wrong(at, "the file is nested too deeply or holds too much", "split it")
        _refuse_indirection(event, at)
        if isinstance(event, ScalarEvent):
            return Scalar(event.value, event.style in {None, ""}, at)
        if isinstance(event, SequenceStartEvent):
            return Items(tuple(self._items(depth + 1)), at)
        if isinstance(event, MappingStartEvent):
            return Table(tuple(self._entries(depth + 1)), at)
        raise wrong(at, "this is no value")

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), SequenceEndEvent):
            yield self._node(event, depth)

    def _entries(self, depth: int) -> Iterator[tuple[Scalar, Node]]:
        seen: dict[str, Mark] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._node(event, depth)
            if not isinstance(key, Scalar) or key.kind != "text":
                raise wrong(key.at, "a key is one word of text", "write `name: value`")
            if key.text == "<<":
                raise wrong(key.at, "merge keys are not part of a policy", "write the values out")
            if key.text in seen:
                first = seen[key.text].line
                raise wrong(
                    key.at, f"the key {key.text!r} stands here twice, first in line {first}"
                )
            seen[key.text] = key.at
            yield key, self._node(next(self._events), depth)

    def _at(self, event: Event) -> Mark:
        return _mark(event.start_mark, self._name)


def _refuse_indirection(event: Event, at: Mark) -> None:
    if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
        raise wrong(at, "anchors and aliases are not part of a policy", "write the value out")
    if getattr(event, "ctag", None) is not None:
        raise wrong(at, "tags are not part of a policy", "quote the text instead")
