"""Typed reading of nodes: every function gives a value or a `PolicyError` with its place."""

from __future__ import annotations

import difflib
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from agp.policy.document import Items, Node, Scalar, Table, wrong
from agp.policy.patterns import PatternError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agp.errors import PolicyError

MAX_SENTENCE: Final = 1000

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


def fields(
    node: Node, what: str, known: Iterable[str], later: Iterable[str] = ()
) -> dict[str, Node]:
    """Read a map whose keys are all known; `later` names keys of a version to come."""
    if not isinstance(node, Table):
        raise wrong(node.at, f"{what} is a map, this is a {node.kind}", "write `name: value` lines")
    known, later = tuple(known), frozenset(later)
    for key, _ in node.entries:
        if key.text in later:
            raise wrong(
                key.at,
                f"{key.text!r} is not built yet",
                "remove it",
                "this version would ignore it",
            )
        if key.text not in known:
            raise _unknown(key, f"{what} has no field", known)
    return {key.text: value for key, value in node.entries}


def need(found: Mapping[str, Node], name: str, what: str, where: Node) -> Node:
    """Give a mandatory field."""
    if name not in found:
        raise wrong(where.at, f"{what} needs the field {name!r}", f"add `{name}: ...`")
    return found[name]


def text(node: Node, what: str) -> str:
    """Read a text; what YAML takes for something else must stand in quotes."""
    if not isinstance(node, Scalar):
        raise wrong(node.at, f"{what} is a text, this is a {node.kind}")
    if node.kind != "text":
        raise wrong(
            node.at,
            f"{what} is a text, but YAML reads {node.text or 'nothing'!r} as {node.kind}",
            f"put it in quotes: '{node.text}'",
        )
    return node.text


def sentence(node: Node, what: str) -> str:
    """Read a sentence for people: not empty, bounded, without control characters."""
    value = " ".join(text(node, what).split())
    if not value or len(value) > MAX_SENTENCE or not value.isprintable():
        raise wrong(node.at, f"{what} is 1 to {MAX_SENTENCE} printable characters")
    return value


def integer(node: Node, what: str, first: int, last: int) -> int:
    """Read a whole number in a closed range."""
    if isinstance(node, Scalar) and node.plain and node.text.isascii() and node.text.isdigit():
        digits = node.text.lstrip("0") or "0"
        if len(digits) <= len(str(last)) and first <= int(digits) <= last:
            return int(digits)
    raise wrong(node.at, f"{what} is a whole number from {first} to {last}")


def one_of(node: Node, what: str, kind: type[E], allowed: Iterable[E] | None = None) -> E:
    """Read one word of a closed list."""
    words = [member.value for member in (kind if allowed is None else allowed)]
    if text(node, what) not in words:
        assert isinstance(node, Scalar)  # noqa: S101 - `text` has just refused anything else
        raise _unknown(node, f"{what} cannot be", words)
    return kind(text(node, what))


def alternatives(node: Node, what: str) -> tuple[Node, ...]:
    """Read a list of alternatives; a single value is one. An empty list is an error."""
    if not isinstance(node, Items):
        return (node,)
    if not node.items:
        raise wrong(node.at, f"{what} names nothing", "name at least one, or remove the field")
    return node.items


def pattern(node: Node, what: str, read: Callable[[str], T], value: str | None = None) -> T:
    """Read a pattern with a function of `patterns`."""
    written = text(node, what) if value is None else value
    try:
        return read(written)
    except PatternError as error:
        raise wrong(node.at, f"{what} {written!r} is not acceptable", why=str(error)) from error


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which known name was probably meant, or list the names."""
    names = sorted(known)
    close = difflib.get_close_matches(word[:80], names, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names) or 'none'}"


def _unknown(node: Scalar, what: str, known: Iterable[str]) -> PolicyError:
    return wrong(node.at, f"{what} {node.text[:80]!r}", nearest(node.text, known))
