"""The spelling of patterns: each function reads one text of the file or says what is wrong with it.

What could one day mean more is refused today (brackets, braces, backslashes, a placeholder inside
a word), so that no pattern ever changes its meaning.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from agp.policy.targets import (
    STAR,
    ArgvTarget,
    HostTarget,
    NameTarget,
    Part,
    PathTarget,
    Place,
    PortTarget,
    Root,
    Word,
)

MAX_TEXT: Final = 4096
LAST_PORT: Final = 65_535
_RESERVED: Final = re.compile(r"[\[\]{}\\]")
_SHELL_SIGNS: Final = re.compile(r"[\"'`$*?\\|&;()]")
_PLACEHOLDER: Final = re.compile(r"<([a-z]+)(\.\.\.)?>")
_HOST: Final = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
                          r"(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")  # fmt: skip


class PatternError(ValueError):
    """Why a pattern is not acceptable; the caller knows where it stands."""


def path_target(text: str) -> PathTarget:
    """Read a path glob: workspace-relative unless it begins with `/` or `~/`."""
    _refuse_controls(text)
    if text == STAR:
        return PathTarget(text, Root.MACHINE, ("**",))
    if _RESERVED.search(text) or text.startswith("!"):
        raise PatternError("[ ] { } \\ and a leading ! have no meaning in a path pattern yet")
    root, rest = _root(text)
    parts = tuple(rest.split("/")) if rest else ()
    for part in parts:
        if part in {"", ".", ".."} or ("**" in part and part != "**"):
            raise PatternError(
                f"the component {part!r} is not allowed; paths are matched after `..` and links "
                "are resolved, and `**` stands alone between slashes"
            )
    return PathTarget(text, root, parts)


def _root(text: str) -> tuple[Root, str]:
    if text.startswith("/"):
        return Root.MACHINE, text[1:]
    if text == "~" or text.startswith("~/"):
        return Root.HOME, text[2:]
    if text.startswith("~"):
        raise PatternError("`~name` is not known here; `~/` is the HOME of the session")
    if text == ".":
        return Root.WORKSPACE, ""
    rest = text.removeprefix("./")
    if not rest:
        raise PatternError("an empty path matches nothing; the workspace itself is `.`")
    return Root.WORKSPACE, rest


def argv_of_text(text: str) -> ArgvTarget:
    """Read a command pattern written as one text: words between single spaces."""
    _refuse_controls(text)
    if text == STAR:
        return ArgvTarget(text, ())
    if _SHELL_SIGNS.search(text):
        raise PatternError(
            "this is no shell: quotes, * and other signs have no meaning here; use <any>, or write "
            "the command as a list of words"
        )
    return argv_of_words(tuple(text.split(" ")))


def argv_of_words(words: tuple[str, ...]) -> ArgvTarget:
    """Read a command pattern written as a list of words."""
    for word in words:
        _refuse_controls(word)
    places = tuple(_place(word) for word in words)
    first = places[0]
    if first.many or first.word not in {None, Word.ANY} or first.literal.startswith("-"):
        raise PatternError("a command pattern begins with the name of a program")
    return ArgvTarget(" ".join(words), places)


def _place(word: str) -> Place:
    found = _PLACEHOLDER.fullmatch(word)
    if found:
        known = ", ".join(f"<{one.value}>" for one in Word)
        if found[1] not in set(Word):
            raise PatternError(
                f"there is no placeholder {word}; known: {known}, each also as <x...>"
            )
        return Place(word=Word(found[1]), many=found[2] is not None)
    if _PLACEHOLDER.search(word):
        raise PatternError("a placeholder is a whole word; inside a word it has no meaning yet")
    if not word:
        raise PatternError("an empty word; words stand between single spaces")
    return Place(literal=word)


def host_target(text: str) -> HostTarget:
    """Read a host pattern: a name, an address, `*.name`, or `*`."""
    name = text.lower()
    if text == STAR or is_host(name.removeprefix("*.")):
        if name.startswith("*.") and is_address(name[2:]):
            raise PatternError("an address has no names below it")
        return HostTarget(name)
    raise PatternError("a host is a name in ASCII (punycode), an address, `*.name` or `*`")


def is_host(name: str) -> bool:
    """Tell whether a text is a host in canonical spelling: a lower-case name or an address."""
    if is_address(name):
        return True
    last = name.rpartition(".")[2]
    # `127.1`, `0x7f000001` and the like are addresses for some resolvers and names for others.
    return bool(_HOST.fullmatch(name)) and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", last)


def is_address(name: str) -> bool:
    """Tell whether a text is an IP address exactly as it is canonically written."""
    try:
        return str(ipaddress.ip_address(name)) == name and "%" not in name
    except ValueError:
        return False


def port_target(text: str) -> PortTarget:
    """Read a port, a range `first-last`, or `*`."""
    if text == STAR:
        return PortTarget(text, 0, LAST_PORT)
    found = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text, re.ASCII)
    if not found:
        raise PatternError("a port is a number, a range like 8000-8999, or '*'")
    first, last = int(found[1]), int(found[2] or found[1])
    if not 0 < first <= last <= LAST_PORT:
        raise PatternError(f"ports are 1 to {LAST_PORT}, the smaller first")
    return PortTarget(text, first, last)


def name_target(text: str, part: Part) -> NameTarget:
    """Read a name in which `*` stands for any characters."""
    _refuse_controls(text)
    if not text or _RESERVED.search(text) or "?" in text:
        raise PatternError("only * is a wildcard in a name; ? [ ] { } \\ have no meaning yet")
    return NameTarget(text, part)


def _refuse_controls(text: str) -> None:
    if len(text) > MAX_TEXT or any(sign < " " or sign == "\x7f" for sign in text):
        raise PatternError(f"control characters, or more than {MAX_TEXT} characters")
