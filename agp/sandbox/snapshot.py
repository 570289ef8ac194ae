"""The executing places before and after a run, compared: a difference is a coverage violation.

The masks prevent; this tells. It also sees what a person or another program changed meanwhile, and
says only that something changed, never who did it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from agp.errors import OverLimit
from agp.sandbox.gitlinks import gitlinks
from agp.sandbox.nested import Kind, walk
from agp.sandbox.places import GIT_FILES, PlacesPlan

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_ENTRIES = 20_000
MOST_DIFFERENCES = 100
"""Told one by one; each is a line in the journal."""
READ_WHOLE = 4 * 1024 * 1024
"""Bytes; a larger file is compared by size and change time, which its owner cannot set."""


class Fact(NamedTuple):
    """One file, link or non-empty directory of an executing place; names need not be UTF-8."""

    path: str
    mode: int
    content: str
    """SHA-256 of a file, target of a link, or size and change time; empty for the rest."""


class Snapshot(NamedTuple):
    """All executing places of one workspace at one time."""

    facts: tuple[Fact, ...]
    nested: tuple[Fact, ...] = ()
    """Each repository and place below the top: where it is and of which type."""
    gitlinks: tuple[str, ...] = ()
    """Of the index: a person's `git status` at the top enters the repository at each."""


def take_snapshot(plan: PlacesPlan) -> Snapshot:
    """Read every executing place; links are read, never followed; blocking.

    An absent place, an empty directory and a file that `create` wrote are the same: nothing.

    Raises:
        OverLimit: a place holds more than anybody can look at.
    """
    facts: list[Fact] = []
    for place in (*plan.places, f"{plan.workspace}/HEAD"):
        # HEAD: a bare repository at the workspace's root, which git would take for one.
        for fact in _walk(place):
            facts.append(fact)
            if len(facts) > MOST_ENTRIES:
                raise OverLimit(
                    f"an executing place holds more than {MOST_ENTRIES} files",
                    where=place,
                    fix="let core.hooksPath name a directory that holds hooks only",
                )
    return Snapshot(
        facts=tuple(sorted(set(facts), key=lambda fact: fact.path)),
        nested=tuple(_nested(plan.workspace)),
        gitlinks=tuple(f"{plan.workspace}/{path}" for path in gitlinks(plan.workspace)),
    )


def compare(before: Snapshot, after: Snapshot) -> tuple[str, ...]:
    """Say each difference in words, sorted; empty means that nothing changed."""
    found = {
        *_differences(before.facts, after.facts),
        *_differences(before.nested, after.nested),
        *(f"{path}: a gitlink was added" for path in set(after.gitlinks) - set(before.gitlinks)),
    }
    # The journal holds text, and an agent chooses names.
    told = sorted(os.fsencode(text).decode(errors="backslashreplace") for text in found)
    more = len(told) - MOST_DIFFERENCES
    return (*told[:MOST_DIFFERENCES], *([f"and {more} more differences"] if more > 0 else []))


def _differences(before: tuple[Fact, ...], after: tuple[Fact, ...]) -> Iterator[str]:
    old = {fact.path: fact for fact in before}
    new = {fact.path: fact for fact in after}
    for path in sorted(old.keys() | new.keys()):
        if path not in old:
            yield f"{path} was added"
        elif path not in new:
            yield f"{path} was removed"
        elif old[path] != new[path]:
            yield f"{path} was changed"


def _nested(workspace: str) -> Iterator[Fact]:
    """Tell what is nested by type; of a file also the content, of a directory nothing more."""
    for path, kind in walk(workspace):
        try:
            state = os.lstat(path)
            plain = kind in (Kind.GIT, Kind.PLACE) and not stat.S_ISDIR(state.st_mode)
            content = _content(path, state) if plain else kind.value
        except OSError as error:
            yield Fact(path=path, mode=0, content=os.strerror(error.errno or 0))
        else:
            yield Fact(path=path, mode=stat.S_IFMT(state.st_mode), content=content)


def _walk(top: str) -> Iterator[Fact]:
    """Tell everything at and below a place; what cannot be looked at is told as that.

    Attack: a thousand directories inside one another, beyond what a path or a recursion can reach.
    """
    waiting = [top]
    while waiting:
        place = waiting.pop()
        try:
            fact, names = _look(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            fact, names = Fact(path=place, mode=0, content=os.strerror(error.errno or 0)), []
        if fact is not None:
            yield fact
        waiting += [f"{place}/{name}" for name in names]


def _look(place: str) -> tuple[Fact | None, list[str]]:
    """Tell one entry, and what lies in it; None: there is nothing of anybody's.

    Raises:
        OSError: it cannot be looked at, or is gone.
    """
    state = os.lstat(place)
    if stat.S_ISDIR(state.st_mode):
        names = os.listdir(place)  # noqa: PTH208 - names, not paths
        return (Fact(path=place, mode=state.st_mode, content="") if names else None), names
    if _is_ours(place, state):
        return None, []
    return Fact(path=place, mode=state.st_mode, content=_content(place, state)), []


def _content(path: str, state: os.stat_result) -> str:
    if stat.S_ISLNK(state.st_mode):
        return os.readlink(path)  # noqa: PTH115 - its exact text
    if not stat.S_ISREG(state.st_mode):
        return ""
    if state.st_size > READ_WHOLE:
        return f"{state.st_size} bytes, changed {state.st_ctime_ns}"
    return hashlib.sha256(_read(path)).hexdigest()


def _is_ours(path: str, state: os.stat_result) -> bool:
    expected = GIT_FILES.get(path.rpartition("/")[2])
    if expected is None or not stat.S_ISREG(state.st_mode) or state.st_size != len(expected):
        return False
    return _read(path) == expected


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        return file.read(READ_WHOLE)
