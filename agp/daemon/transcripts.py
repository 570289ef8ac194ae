"""What a resume needs: the conversation's own file, kept for one workspace and for no other.

A transcript was written by an agent. It is taken from the session's HOME only after nothing of the
view is left, as a plain file of the view's user, by name, bounded; and it goes back only into a run
of the same workspace that asks for it. It is text for a model: what it says that was granted, is
not (a resumed call is decided anew, measured).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agp.contracts.base import Contract, Digest
from agp.errors import RunRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agp.sandbox.host import RunAs

PROJECTS: Final = (".claude", "projects")
"""Below a HOME."""
SIZE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of one transcript."""
TOTAL_LIMIT: Final = 256 * 1024 * 1024
"""Bytes taken out of one HOME."""
MOST_KEPT: Final = 64
"""Of one workspace; the oldest go first."""
_SLUG: Final = re.compile(r"[A-Za-z0-9-]{1,255}")
_FILE: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.jsonl")
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Transcript(Contract):
    """One kept conversation."""

    path: str
    """On the host."""
    slug: str
    """The harness's name of the directory that it worked in."""
    conversation: str
    """The harness's session id, a UUID."""
    sha256: Digest

    @property
    def said(self) -> str:
        """Name it for the journal."""
        return f"transcript:{self.conversation}:{self.sha256}"


def shelf_of(harness_root: Path, workspace: str) -> Path:
    """Name the directory of one workspace's transcripts; by its path, resolved."""
    name = hashlib.sha256(b"agp/workspace/v1\0" + os.fsencode(workspace)).hexdigest()[:32]
    return harness_root / "claude-code" / name


def find(shelf: Path, conversation: str | None) -> Transcript:
    """Find a kept conversation by its id; None: the newest.

    Raises:
        RunRefused: this workspace has none of that name.
    """
    kept = [p for p in _kept(shelf) if conversation in {None, p.stem}]
    if not kept:
        raise RunRefused(
            "there is no kept conversation to go on with"
            if conversation is None
            else f"there is no kept conversation {conversation}",
            where=str(shelf),
            why="conversations are kept for the workspace in which they were led, and no other",
            fix="run without --resume and --continue; the run's end prints the line that goes on",
        )
    path = kept[-1]
    return Transcript(
        path=str(path),
        slug=path.parent.name,
        conversation=path.stem,
        sha256=Digest(hashlib.sha256(path.read_bytes()).hexdigest()),
    )


def seed(transcript: Transcript, home: Path, who: RunAs) -> None:
    """Put one conversation into a session's new, still empty HOME.

    Raises:
        RunRefused: the file is not what was planned and journaled.
    """
    source = Path(transcript.path)
    content = source.read_bytes()
    if hashlib.sha256(content).hexdigest() != transcript.sha256:
        raise RunRefused(
            "the kept conversation changed after the run was planned",
            where=transcript.path,
            fix="start the run again",
        )
    place = home
    for part in (*PROJECTS, transcript.slug):
        place /= part
        place.mkdir(mode=0o700)
        _own(place, who)
    target = place / source.name
    target.touch(mode=0o600)
    target.write_bytes(content)
    _own(target, who)
    state = source.stat()
    os.utime(target, ns=(state.st_atime_ns, state.st_mtime_ns))


def keep(home: Path, shelf: Path, view_uid: int) -> str:
    """Take the transcripts out of a session's HOME; give the newest conversation's id, or nothing.

    Attack: a link in place of a directory or a file, a pipe, a file of somebody else, a huge one.
    Each is passed over; call this only when nothing of the view is left. A shelf that cannot be
    written keeps nothing: a run that has ended is not failed by it.
    """
    try:
        newest = _keep_all(home, shelf, view_uid)
        for path in _kept(shelf)[:-MOST_KEPT]:
            path.unlink()
    except OSError:
        return ""
    return newest


def _keep_all(home: Path, shelf: Path, view_uid: int) -> str:
    newest = (0, "")
    total = 0
    for slug, name, content, modified in _found(home, view_uid):
        total += len(content)
        if total > TOTAL_LIMIT:
            break
        place = shelf / slug
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place / f".{name}"
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)
        draft.write_bytes(content)
        os.utime(draft, ns=(modified, modified))
        draft.replace(place / name)
        newest = max(newest, (modified, name.removesuffix(".jsonl")))
    return newest[1]


def _kept(shelf: Path) -> list[Path]:
    """List what is kept, the oldest first."""
    found = [path for path in shelf.glob("*/*.jsonl") if _FILE.fullmatch(path.name)]
    return sorted(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _found(home: Path, view_uid: int) -> Iterator[tuple[str, str, bytes, int]]:
    """Read each transcript of a HOME: slug, name, content, when it was last written (ns)."""
    opened: list[int] = []
    try:
        here = os.open(home, _DIRECTORY)
        opened.append(here)
        for part in PROJECTS:
            here = os.open(part, _DIRECTORY, dir_fd=here)
            opened.append(here)
        for slug in sorted(filter(_SLUG.fullmatch, os.listdir(here))):  # noqa: PTH208 - of a descriptor
            with suppress(OSError):
                yield from _of_slug(here, slug, view_uid)
    except OSError:
        return
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _of_slug(projects: int, slug: str, view_uid: int) -> Iterator[tuple[str, str, bytes, int]]:
    place = os.open(slug, _DIRECTORY, dir_fd=projects)
    try:
        for name in _newest(place):
            read = _read(place, name, view_uid)
            if read is not None:
                yield slug, name, *read
    finally:
        os.close(place)


def _newest(place: int) -> list[str]:
    """Name the transcripts of an open directory: the latest written, at most as many as kept."""
    names = filter(_FILE.fullmatch, os.listdir(place))
    dated = sorted(
        (os.stat(name, dir_fd=place, follow_symlinks=False).st_mtime_ns, name) for name in names
    )
    return [name for _, name in dated[-MOST_KEPT:]]


def _read(place: int, name: str, view_uid: int) -> tuple[bytes, int] | None:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, dir_fd=place)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(file.fileno())
        if not stat.S_ISREG(state.st_mode) or state.st_uid != view_uid:
            return None
        content = file.read(SIZE_LIMIT + 1)
    return None if len(content) > SIZE_LIMIT else (content, state.st_mtime_ns)


def _own(path: Path, who: RunAs) -> None:
    if who.staged:
        os.chown(path, who.uid, who.gid, follow_symlinks=False)
