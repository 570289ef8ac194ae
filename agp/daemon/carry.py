"""Looking at a person's own set-up on this machine: what is there, whose it is, what goes back.

Two trusts. What lies in the person's `~/.claude` is theirs: links are followed, but never into the
workspace, where an agent may have written it. What lies in the workspace is the repository's: it
is read without leaving it, and only what the view's own user could read. Nothing here is executed,
and the login is never opened.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.contracts.display import visible
from agp.daemon.survey import is_secret
from agp.errors import RunRefused
from agp.intendants.claude_code.carried import (
    HEAD_FILE,
    MEMORY_LIMIT,
    MOST_FILES,
    SIZE_LIMIT,
    CarriedPart,
    CarriedSet,
    Memory,
    Owner,
    carried_agent,
    carried_set,
    carried_skill,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from agp.daemon.mcp import PlannedServer

LOGIN_FILE: Final = ".claude/.credentials.json"
"""Below a HOME; where Claude Code on Linux keeps the tokens of a subscription."""
REFRESH_TARGET: Final = "platform.claude.com:443"
"""Where it renews them (measured)."""
_DIGEST: Final = re.compile(r":[0-9a-f]{64}$")
_PROJECT_MEMORY: Final = ("CLAUDE.md", ".claude/CLAUDE.md", "CLAUDE.local.md")
_IMPORT: Final = re.compile(r"(?:^|(?<=\s))@((?:~/|\.{0,2}/)?[A-Za-z0-9._][A-Za-z0-9._/-]*)")
_HEADINGS: Final = 4096
"""Bytes kept free for the words around memory."""
_MOST_IMPORTS: Final = 200
"""Names looked at in one memory file."""
_IMPORT_DEPTH: Final = 5
"""As deep as the harness goes itself."""
_FENCE: Final = re.compile(r"^\s*(```|~~~)")
_MOST_REASONS: Final = 20
_DEEPEST: Final = 32
"""Directories below one another that are looked into, in a skill."""


class _Seen(NamedTuple):
    """One file that was read, and what it really is."""

    real: Path
    content: bytes


def look(  # noqa: PLR0913 - one argument for each fact
    words: tuple[str, ...],
    *,
    workspace: str,
    view_uid: int,
    home: Path,
    egress: tuple[str, ...],
    servers: tuple[PlannedServer, ...] = (),
) -> CarriedSet:
    """Read what `carry` asks for; what is there and cannot go back is told, not dropped in silence.

    Raises:
        RunRefused: something asked for by its name is not there, the login is not the view user's,
            or everything together is too much.
    """
    left: list[str] = []
    asked = tuple(dict.fromkeys(words))
    theirs = _Theirs(home, Path(workspace), left)
    repository = _Repository(Path(workspace), view_uid, left)
    memories = [
        *(theirs.memory() if "memory" in asked else ()),
        *(repository.memory() if "project-memory" in asked else ()),
    ]
    parts = [*_own_parts(asked, theirs), *_project_parts(asked, repository)]
    planned = tuple((server.name, server.digest) for server in servers)
    fitting = _fitting(memories, left)
    made = carried_set(fitting, tuple(parts), _few(left), planned)
    if {"login", "login-refresh"}.isdisjoint(asked):
        return made
    login = _login(home, asked, Path(workspace), view_uid, egress)
    name = "login-refresh" if login[2] else "login"
    return CarriedSet.model_validate(
        {**dict(made), "home_files": (login,), "names": (name, *made.names)}
    )


def _fitting(memories: list[Memory], left: list[str]) -> tuple[Memory, ...]:
    """Leave out memory that is too much: a repository's text must not keep a run from starting."""
    kept: list[Memory] = []
    room = MEMORY_LIMIT - _HEADINGS
    for memory in memories:
        room -= len(memory.text.encode()) + _HEADINGS // 8
        if room < 0:
            left.append(f"{memory.name}: with it the memory is larger than {MEMORY_LIMIT} bytes")
        else:
            kept.append(memory)
    return tuple(kept)


def _few(left: list[str]) -> tuple[str, ...]:
    """Keep the first reasons, each once: a repository could cause any number."""
    different = tuple(dict.fromkeys(left))
    more = len(different) - _MOST_REASONS
    return (*different[:_MOST_REASONS], *((f"and {more} more",) if more > 0 else ()))


def told(names: tuple[str, ...], left: tuple[str, ...]) -> tuple[str, ...]:
    """Say in a line what was carried, and in one more for each thing that was left out."""
    short = [_DIGEST.sub("", name) for name in names]
    said = (f"carried: {visible(', '.join(short), limit=600)}",) if short else ()
    return (*said, *(f"not carried: {visible(why, limit=300)}" for why in left))


def _own_parts(asked: tuple[str, ...], theirs: _Theirs) -> Iterator[CarriedPart]:
    for kind, one in (("skills", "skill:"), ("agents", "agent:")):
        named = [word.removeprefix(one) for word in asked if word.startswith(one)]
        make = theirs.skills if kind == "skills" else theirs.agents
        found = {part.name: part for part in make(None if kind in asked else frozenset(named))}
        if missing := [name for name in named if name not in found]:
            raise RunRefused(
                f"there is no {one[:-1]} {missing[0]!r} that can be handed back",
                where=str(theirs.place / kind),
                why="; ".join(theirs.left),
                fix=f"take {one}{missing[0]} out of `carry`, or mend the file",
            )
        yield from found.values()


def _project_parts(asked: tuple[str, ...], repository: _Repository) -> Iterator[CarriedPart]:
    if "project-skills" in asked:
        yield from repository.skills()
    if "project-agents" in asked:
        yield from repository.agents()


class _Theirs:
    """The person's own `~/.claude`."""

    def __init__(self, home: Path, workspace: Path, left: list[str]) -> None:
        self.place = home / ".claude"
        self._home = home
        self._workspace = workspace
        self.left = left

    def memory(self) -> Iterator[Memory]:
        text = self._read(self.place / "CLAUDE.md", MEMORY_LIMIT)
        if text is not None:
            whole = _with_imports(text, self._import, 0, {text.real}, self.left)
            yield Memory(owner="my", name="~/.claude/CLAUDE.md", text=whole)

    def skills(self, named: frozenset[str] | None) -> Iterator[CarriedPart]:
        """Read all, or those named, of `~/.claude/skills`."""
        for directory in _entries(self.place / "skills", named, suffix=""):
            if (top := _real(directory, self.left)) is not None:
                files = _tree(top, lambda path: self._read(path, SIZE_LIMIT), self.left)
                yield from _skill("my", directory.name, files, self.left)

    def agents(self, named: frozenset[str] | None) -> Iterator[CarriedPart]:
        """Read all, or those named, of `~/.claude/agents`."""
        for path in _entries(self.place / "agents", named, suffix=".md"):
            if (seen := self._read(path, SIZE_LIMIT)) is not None:
                yield from _agent("my", path.stem, seen.content, self.left)

    def _import(self, named: str, beside: Path) -> _Seen | None:
        """Read an import that lies in the memory file's own directory, `~/.claude` or below."""
        path = self._home / named[2:] if named.startswith("~/") else beside / named
        real, place = _real(path, self.left), _real(self.place, self.left)
        tops = {beside} if place is None else {beside, place}
        if real is None or tops.isdisjoint(real.parents) or is_secret(str(real)):
            return None
        return self._read(path, MEMORY_LIMIT)

    def _read(self, path: Path, limit: int) -> _Seen | None:
        """Read a file of the person's, links followed; never one that lies in the workspace."""
        real = _real(path, self.left)
        if real is None:
            return None
        if self._workspace == real or self._workspace in real.parents:
            self.left.append(f"{path}: it leads into the workspace")
            return None
        try:
            return _opened(os.open(real, _READING), real, limit, None)
        except OSError as error:
            self.left.append(f"{path}: {error.strerror}")
            return None


class _Repository:
    """The workspace: whatever is in it may have been written by an agent."""

    def __init__(self, workspace: Path, view_uid: int, left: list[str]) -> None:
        self._root = workspace
        self._uid = view_uid
        self._left = left

    def memory(self) -> Iterator[Memory]:
        for name in _PROJECT_MEMORY:
            seen = self._read(self._root / name, MEMORY_LIMIT)
            if seen is not None:
                text = _with_imports(seen, self._import, 0, {seen.real}, self._left)
                yield Memory(owner="project", name=name, text=text)

    def skills(self) -> Iterator[CarriedPart]:
        for directory in _entries(self._root / ".claude/skills", None, suffix=""):
            top = _real(directory, self._left)
            if top is not None and self._root in top.parents:
                files = _tree(directory, lambda path: self._read(path, SIZE_LIMIT), self._left)
                yield from _skill("project", directory.name, files, self._left)

    def agents(self) -> Iterator[CarriedPart]:
        for path in _entries(self._root / ".claude/agents", None, suffix=".md"):
            if (seen := self._read(path, SIZE_LIMIT)) is not None:
                yield from _agent("project", path.stem, seen.content, self._left)

    def _import(self, named: str, beside: Path) -> _Seen | None:
        real = None if named.startswith("~/") else _real(beside / named, self._left)
        if real is None or is_secret(str(real)):
            return None
        return self._read(real, MEMORY_LIMIT)

    def _read(self, path: Path, limit: int) -> _Seen | None:
        """Read a file of the workspace where it really lies, step by step without a link.

        Attack: `CLAUDE.md -> /root/.ssh/id_ed25519`, or a link put there between look and open;
        root would read for the model what the view's user never could.
        """
        real = _real(path, self._left)
        if real is None:
            return None
        if self._root not in real.parents:
            self._left.append(f"{path}: it leads out of the workspace")
            return None
        try:
            return _opened(_open_below(self._root, real), real, limit, self._uid)
        except OSError as error:
            self._left.append(f"{path}: {error.strerror}")
            return None


def _login(
    home: Path, asked: tuple[str, ...], workspace: Path, view_uid: int, egress: tuple[str, ...]
) -> tuple[str, str, bool]:
    """Name the login file for the view: read-only, or writable where it shall be renewed.

    It is bound, not opened. Measured: the harness renews an expired token over the network and
    writes the file in place; one that it cannot write it has renewed all the same, and the person's
    own login is then spent. So a read-only login never meets the place where it is renewed.

    Raises:
        RunRefused: it is not there, not the view user's, not a plain file, or could be spent.
    """
    path = home / LOGIN_FILE
    real = Path(os.path.realpath(path))
    renewed = "login-refresh" in asked
    try:
        state = real.stat()
    except OSError as error:
        raise _no_login(path, error.strerror or "", "log in first: claude /login") from error
    if not stat.S_ISREG(state.st_mode) or workspace in real.parents:
        raise _no_login(path, "it is not a file of your own home", "log in again: claude /login")
    if state.st_uid != view_uid:
        raise _no_login(
            path,
            f"it belongs to uid {state.st_uid}, and the agent runs as uid {view_uid}",
            "start AGP as the user whose login it is, or use --pass-env CLAUDE_CODE_OAUTH_TOKEN",
        )
    if stat.S_IMODE(state.st_mode) & 0o077:
        raise _no_login(path, "others can read or write it", f"chmod 600 {path}")
    if not renewed and REFRESH_TARGET in egress:
        raise _no_login(
            path,
            f"{REFRESH_TARGET} is in `egress`: the login would be renewed, and not be kept",
            'carry "login-refresh" instead, or take the target out of `egress`',
        )
    return str(real), LOGIN_FILE, renewed


def _no_login(path: Path, why: str, fix: str) -> RunRefused:
    return RunRefused("the login cannot be handed over", where=str(path), why=why, fix=fix)


def _real(path: Path, left: list[str]) -> Path | None:
    """Ask the kernel where a path leads; None: nowhere, which is told where a name is there.

    Attack: `CLAUDE.md -> CLAUDE.md`, a thousand links one behind another, or a name too long for
    any file system. Each of Python's own ways to resolve or to look raises something else at one
    of them, and a run would end in a traceback. Nothing is opened for reading.
    """
    try:
        found = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            return Path(f"/proc/self/fd/{found}").readlink()
        finally:
            os.close(found)
    except OSError as error:
        if error.errno not in {errno.ENOENT, errno.ENOTDIR} or os.path.lexists(path):
            left.append(f"{path}: {error.strerror}")
        return None


_READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def _open_below(root: Path, real: Path) -> int:
    """Open a resolved path below `root`, each step without following a link."""
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    *above, name = real.relative_to(root).parts
    for part in above:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            below = os.open(part, flags, dir_fd=here)
        finally:
            os.close(here)
        here = below
    try:
        return os.open(name, _READING, dir_fd=here)
    finally:
        os.close(here)


def _opened(descriptor: int, real: Path, limit: int, view_uid: int | None) -> _Seen | None:
    """Read an open file of at most `limit` bytes; with `view_uid` only what that user could read.

    Raises:
        OSError: it is no plain file, too large, or not that user's to read.
    """
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise OSError(0, "it is not a plain file")
        if view_uid is not None and state.st_uid != view_uid and not state.st_mode & 0o004:
            raise OSError(0, "it is not the agent's to read")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise OSError(0, f"it is larger than {limit} bytes")
    return _Seen(real, content)


def _entries(place: Path, named: frozenset[str] | None, *, suffix: str) -> list[Path]:
    """List what may be a skill (a directory) or an agent (a file), by name."""
    try:
        found = sorted(place.iterdir())
    except OSError:
        return []
    return [
        path
        for path in found
        if not path.name.startswith(".")
        and (named is None or path.name.removesuffix(suffix) in named)
        and path.suffix == (suffix or path.suffix)
        and (stat.S_ISREG if suffix else stat.S_ISDIR)(_mode(path))
    ]


def _mode(path: Path) -> int:
    """Look where a path leads; 0: nowhere that can be looked at."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _tree(top: Path, read: Callable[[Path], _Seen | None], left: list[str]) -> dict[str, bytes]:
    """Read a skill's directory; hidden entries and links stay behind, and what lies too deep."""
    found: dict[str, bytes] = {}
    walked = os.walk(top, onerror=lambda error: left.append(f"{top}: {error.strerror}"))
    for count, (place, directories, names) in enumerate(walked):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        if directories and len(Path(place).parts) - len(top.parts) >= _DEEPEST:
            left.append(f"{top}: what lies more than {_DEEPEST} directories deep")
            directories.clear()
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or os.path.islink(path):  # noqa: PTH114 - Path's may raise
                continue
            if (seen := read(path)) is not None:
                found[str(path.relative_to(top))] = seen.content
            if len(found) > MOST_FILES or sum(map(len, found.values())) > SIZE_LIMIT:
                return found
        if count > MOST_FILES:
            left.append(f"{top}: what lies in more than {MOST_FILES} directories")
            return found
    return found


def _skill(
    owner: Owner, name: str, files: dict[str, bytes], left: list[str]
) -> Iterator[CarriedPart]:
    head = files.pop(HEAD_FILE, None)
    if head is None:
        return
    try:
        yield carried_skill(owner, name, head, tuple(files.items()))
    except RunRefused as error:
        left.append(f"{owner} {error.where}: {error.why}")


def _agent(owner: Owner, stem: str, content: bytes, left: list[str]) -> Iterator[CarriedPart]:
    try:
        yield carried_agent(owner, stem, content)
    except RunRefused as error:
        left.append(f"{owner} {error.where}: {error.why}")


def _with_imports(
    seen: _Seen,
    read: Callable[[str, Path], _Seen | None],
    depth: int,
    above: set[Path],
    left: list[str],
) -> str:
    """Put the text of each `@file` behind the text that names it, bounded in depth and size."""
    text = seen.content.decode("utf-8", "replace")
    said = [text.rstrip()]
    for named in islice(_imports(text), _MOST_IMPORTS):
        if depth >= _IMPORT_DEPTH:
            break
        found = read(named, seen.real.parent)
        if found is None or found.real in above:
            continue
        above.add(found.real)
        inner = _with_imports(found, read, depth + 1, above, left)
        said.append(f"Contents of {named}, which the text above names:\n\n{inner}")
        if sum(map(len, said)) > MEMORY_LIMIT:
            left.append(f"{seen.real}: its imports are too much")
            return text
    return "\n\n".join(said)


def _imports(text: str) -> Iterator[str]:
    """Name the files that a memory text imports; not those in code, as the harness does."""
    fenced = False
    for line in text.splitlines():
        if _FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield from (found[1].rstrip(".") for found in _IMPORT.finditer(_outside_code(line)))


def _outside_code(line: str) -> str:
    return re.sub(r"`[^`]*`", "", line)
