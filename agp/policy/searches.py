"""Programs that search: which files they read, and where they read all that lies below.

In Claude Code's shell `grep`, `find` and `rg` are functions around programs of its own, which
descend into a directory without being told to (seen in 2.1.329). Whether an operand is a directory
is not known here, so there each of them is read with all below it. A path (`/usr/bin/grep`) names
the system's program under every harness, and so does the bare word where a call runs in a view of
its own: no function of the harness is there (`World.harness_shell`).
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.policy import EffectKind
from agp.policy.meaning import CWD, Args, Meaning, Touch

if TYPE_CHECKING:
    from collections.abc import Mapping

_FUNCTIONS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {"claude-code": frozenset({"grep", "egrep", "fgrep", "find", "rg"})}
)
_GREP_LETTERS: Final = frozenset("nivclEFGwxHhoqsr")


def below(paths: Args) -> tuple[Touch, ...]:
    """Read each path, or the current directory, with all that lies below it."""
    return tuple(Touch(EffectKind.READ, path, recursive=True) for path in paths or (CWD,))


def grep(args: Args) -> Meaning:
    """Read the named files; `-r` and a directory's spelling mean all below. No `-R`: it follows."""
    end = args.index("--") if "--" in args else len(args)
    flags = [arg for arg in args[:end] if arg.startswith("-")]
    pattern, *paths = (*(a for a in args[:end] if a not in flags), *args[end + 1 :], *("",))
    paths = paths[:-1]
    if not all(arg == "--recursive" or _short(arg) for arg in flags):
        return search(args)
    deep = any(arg == "--recursive" or "r" in arg for arg in flags)
    if not paths:
        return Meaning(below(()), understood=deep and bool(pattern))
    return Meaning(
        tuple(Touch(EffectKind.READ, path, deep or _directory(path)) for path in paths),
        understood=True,
    )


def _short(arg: str) -> bool:
    return len(arg) > 1 and _GREP_LETTERS.issuperset(arg[1:])


def _directory(path: str) -> bool:
    return path.rpartition("/")[2] in {"", ".", ".."}


def search(args: Args) -> Meaning:
    """Say what a search that is not understood reads: any word may be a path, or the pattern."""
    words = tuple(arg for arg in args if arg and not arg.startswith("-"))
    return Meaning((*below(words), *(below(()) if len(words) <= 1 else ())))


def find(args: Args) -> Meaning:
    """Read below the starting points; tests and actions follow, and may run anything."""
    rest = itertools.dropwhile(lambda arg: arg in {"-H", "-L", "-P"}, args)
    starts = itertools.takewhile(lambda arg: not arg.startswith(("-", "(", "!", ",")), rest)
    return Meaning(below(tuple(starts)), opaque="find runs what its words say")


def as_called(meaning: Meaning, word: str, intendant: str) -> Meaning:
    """Let a harness's own function under this name read below every path that it reads."""
    if word not in _FUNCTIONS.get(intendant, frozenset()):
        return meaning
    touches = (
        replace(touch, recursive=True) if touch.kind is EffectKind.READ else touch
        for touch in meaning.touches
    )
    return replace(meaning, touches=tuple(touches))
