"""The patterns of one matcher, and what each of them covers.

Source: docs/policy.md (the language); ADR 0005.
"""

from __future__ import annotations

import itertools
import posixpath
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from agp.contracts.policy import Effect, EffectKind, FlowSink, FlowSource, Label, World

STAR: Final = "*"
"""The whole pattern: any target, also one that is not known statically."""


class Side(StrEnum):
    """Which way a rule pulls; it decides who wins in doubt."""

    TIGHTENS = "tightens"
    LOOSENS = "loosens"


class Target(Protocol):
    """One pattern of one matcher."""

    @property
    def text(self) -> str:
        """The pattern as the file wrote it; `*` is the explicit star."""
        ...

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Tell whether the pattern matches an effect of a kind that it speaks about."""
        ...


class Root(StrEnum):
    """What a path pattern is relative to."""

    WORKSPACE = "workspace"
    HOME = "home"
    MACHINE = "machine"


@dataclass(frozen=True)
class PathTarget:
    """A path glob, matched against resolved paths: `*` and `?` stay inside one component."""

    text: str
    root: Root
    parts: tuple[str, ...] = ()
    """Its components, relative to the root; `**` is any number of components, also none."""

    @property
    def deep(self) -> bool:
        """It ends in `**`: whatever it matches, it also matches everything below."""
        return self.parts[-1:] == ("**",)

    @property
    def prefix(self) -> str:
        """The leading components without a wildcard."""
        literal = itertools.takewhile(lambda part: not set(part) & set("*?"), self.parts)
        return "/".join(literal)

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Match the effect's resolved path; a recursive effect as the module says."""
        if self.text == STAR:
            return True
        recursive = Label.RECURSIVE in effect.labels
        base = {Root.WORKSPACE: world.workspace, Root.HOME: world.home, Root.MACHINE: "/"}
        return self._below(effect.subject, base[self.root], side, recursive=recursive)

    def _below(self, path: str, base: str, side: Side, *, recursive: bool) -> bool:
        inside = relative(path, base)
        if inside is None:
            above = recursive and relative(base, path) is not None
            return above and side is Side.TIGHTENS
        if glob_components(self.parts, tuple(inside.split("/")) if inside else ()):
            return not recursive or side is Side.TIGHTENS or self.deep
        return recursive and side is Side.TIGHTENS and akin(inside, self.prefix)


def relative(path: str, base: str) -> str | None:
    """Give a path relative to a directory, empty for itself, None where it lies outside."""
    if path == base:
        return ""
    start = base.rstrip("/") + "/"
    return path[len(start) :] if path.startswith(start) else None


def akin(one: str, other: str) -> bool:
    """Tell whether one of two relative paths lies at or below the other."""
    return (
        "" in {one, other} or f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")
    )


def glob_components(pattern: tuple[str, ...], path: tuple[str, ...]) -> bool:
    """Match path components, `**` being any number of them: O(pattern * path) component matches.

    Not a regular expression: a repository's policy and its agent's file names together would make
    one backtrack for hours.
    """
    at = step = 0
    star: tuple[int, int] | None = None
    while step < len(path):
        if at < len(pattern) and pattern[at] == "**":
            star, at = (at, step), at + 1
        elif at < len(pattern) and glob_text(pattern[at], path[step]):
            at, step = at + 1, step + 1
        elif star is not None:
            star = (star[0], star[1] + 1)
            at, step = star[0] + 1, star[1]
        else:
            return False
    return all(part == "**" for part in pattern[at:])


def glob_text(pattern: str, text: str) -> bool:
    """Match one text, `*` being any characters and `?` one: O(pattern * text)."""
    at = step = 0
    star: tuple[int, int] | None = None
    while step < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, at = (at, step), at + 1
        elif at < len(pattern) and pattern[at] in {"?", text[step]}:
            at, step = at + 1, step + 1
        elif star is not None:
            star = (star[0], star[1] + 1)
            at, step = star[0] + 1, star[1]
        else:
            return False
    return set(pattern[at:]) <= {"*"}


class Word(StrEnum):
    """The typed placeholders of an argv pattern; `...` after the type: any number of them."""

    ANY = "any"
    """Any word."""
    WORD = "word"
    """A word that does not begin with `-`."""
    FLAG = "flag"
    """A word that begins with `-`."""
    INT = "int"
    """Decimal digits."""
    PATH = "path"
    """A word that, resolved, lies in the workspace and is neither secret nor executing."""


@dataclass(frozen=True)
class Place:
    """One place of an argv pattern: a literal word, or a placeholder, possibly repeated."""

    literal: str = ""
    word: Word | None = None
    many: bool = False

    def covers(self, word: str, world: World, side: Side) -> bool:
        """Match one word."""
        match self.word:
            case None:
                return word == self.literal
            case Word.ANY:
                return True
            case Word.WORD:
                return not word.startswith("-")
            case Word.FLAG:
                return word.startswith("-")
            case Word.INT:
                return word.isascii() and word.isdigit()
            case Word.PATH:
                return _is_plain_path(word, world, side)


def _is_plain_path(word: str, world: World, side: Side) -> bool:
    if word.startswith("-"):
        return False
    for facts in world.paths:
        if facts.raw == word:
            return facts.in_workspace and not (
                facts.secret or facts.executing_place or facts.in_agp
            )
    return side is Side.TIGHTENS


@dataclass(frozen=True)
class ArgvTarget:
    """Words of a command. The first names the program: by name, or with `/` by resolved path."""

    text: str
    places: tuple[Place, ...]

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Match all words of an exec effect from the first to the last."""
        if self.text == STAR:
            return True
        if not effect.argv or not self._names(effect, side):
            return False
        return _words_match(self.places[1:], effect.argv[1:], world, side)

    def _names(self, effect: Effect, side: Side) -> bool:
        first = self.places[0]
        if first.word is not None:
            return True
        if "/" in first.literal:
            return effect.subject == first.literal
        called = posixpath.basename(effect.argv[0])
        return first.literal == called or (
            side is Side.TIGHTENS and first.literal in program_names(effect)
        )

    @property
    def program(self) -> str | None:
        """The name without which the pattern cannot match, where there is one."""
        if not self.places or self.places[0].word is not None:
            return None
        name = self.places[0].literal
        return None if "/" in name else name


def program_names(effect: Effect) -> frozenset[str]:
    """Give the names by which a program is known: as it was called, and as it resolved."""
    if not effect.argv:
        return frozenset()
    return frozenset(map(posixpath.basename, (effect.argv[0], effect.subject)))


def _words_match(
    places: tuple[Place, ...], words: tuple[str, ...], world: World, side: Side
) -> bool:
    """Run all readings of the pattern at once: O(places * words), whatever repeats."""
    alive = _skip_repeats(places, {0})
    for word in words:
        reached: set[int] = set()
        for at in alive:
            if at < len(places) and places[at].covers(word, world, side):
                reached.add(at if places[at].many else at + 1)
        alive = _skip_repeats(places, reached)
    return len(places) in alive


def _skip_repeats(places: tuple[Place, ...], alive: set[int]) -> set[int]:
    for at in range(len(places)):
        if at in alive and places[at].many:
            alive.add(at + 1)
    return alive


@dataclass(frozen=True)
class HostTarget:
    """A host name or address in canonical spelling, or `*.name` for every name below one."""

    text: str

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Match the effect's host."""
        del world, side
        if self.text.startswith("*."):
            return effect.subject.endswith(self.text[1:])
        return self.text in {STAR, effect.subject}


@dataclass(frozen=True)
class PortTarget:
    """A port or a closed range of ports."""

    text: str
    first: int
    last: int

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Match the effect's port; one that is not known is matched by what tightens."""
        del world
        if effect.port is None:
            return side is Side.TIGHTENS or self.text == STAR
        return self.first <= effect.port <= self.last


class Part(StrEnum):
    """Which part of an effect's subject a name pattern reads."""

    WHOLE = "whole"
    SERVER = "server"
    TOOL = "tool"


@dataclass(frozen=True)
class NameTarget:
    """A name in which `*` stands for any characters."""

    text: str
    part: Part

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Match the name that the field is about; `server/tool` parts at its first slash."""
        del world, side
        subject = effect.subject
        if effect.kind is EffectKind.MCP and self.part is not Part.WHOLE:
            server, _, tool = subject.partition("/")
            subject = server if self.part is Part.SERVER else tool
        return glob_text(self.text, subject)


@dataclass(frozen=True)
class FlowTarget:
    """One end of a flow."""

    text: str
    end: FlowSource | FlowSink

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Match the end of the flow of the same type."""
        del world, side
        return self.end in {effect.source, effect.sink}
