"""The workspace's executing places: what runs when a person uses git, an editor or a harness there.

A mask is a read-only bind of the place over itself, and each of its parents below the workspace is
a mount of its own: a mount point cannot be renamed or removed from inside, a plain directory can
(measured: renaming `.git` walks round a mask below it). A mount point must exist, so absent places
are created: the plan names them before anything is created, and the caller journals that list
first. Outside `.git` they are empty directories, also where a file is meant: git does not see
those, and removing one with rmdir can never remove somebody's data.

What already lies below the top (nested repositories, editor places) is masked like the top's own.

Residue, stated: a repository that is made below the workspace during the run (the comparison names
it), a socket in it, and whatever else a person runs there.

Source: system.md §9; ADR 0006; docs/confinement.md.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from agp.contracts.base import Contract
from agp.errors import ConfigurationError, RunRefused
from agp.sandbox.git import (
    GitDirectory,
    hook_places,
    included_files,
    inner_git_directories,
    linked_repository,
    pointed,
    redirected,
)
from agp.sandbox.nested import MOST_DIRECTORIES, TOP_LEVEL, Kind, walk

MOST_NESTED = 128
"""Each needs about eight mounts, and bubblewrap's time grows with their square (measured: 50 start
in 0.4 s, 200 in 4.7 s)."""
GIT_DIRECTORIES = ("hooks", "worktrees")
"""A linked worktree's `commondir` and `config.worktree` lie below `worktrees`."""
GIT_FILES = {"config": b"", "config.worktree": b"", "commondir": b".\n"}
"""`commondir` redirects hooks and config elsewhere (measured: `git status` then runs the other
place's fsmonitor); an empty one breaks git, `.` names the repository itself."""


class Mask(Contract):
    """One mount over the workspace, in mount order; writable for a mere parent."""

    path: str
    writable: bool


class PlacesPlan(Contract):
    """What is masked in one workspace, and what must be created for that."""

    workspace: str
    masks: tuple[Mask, ...]
    created_mount_points: tuple[str, ...]
    """Absolute, parents first. Journal them before `create`."""
    visible: tuple[str, ...] = ()
    """Directories outside the workspace to show read-only: a linked worktree's repository."""
    created_below: tuple[str, ...] = ()
    """Those of `created_mount_points` that belong to nested repositories."""

    @property
    def places(self) -> tuple[str, ...]:
        """The masked places themselves, without their parents."""
        return tuple(mask.path for mask in self.masks if not mask.writable)


def plan_places(workspace: str) -> PlacesPlan:
    """Look at the workspace (resolved, see `check_workspace`) and plan; nothing is changed.

    Raises:
        RunRefused: a place or a parent of one is a link or not what it should be: a mount can
            neither cover a link nor keep it from being replaced.
        ConfigurationError: git is needed to read the repository's configuration and is missing.
    """
    root = Path(workspace)
    draft = _Draft(root)
    for name in TOP_LEVEL:
        draft.mask(root / name)
    visible: tuple[str, ...] = ()
    dot_git = root / ".git"
    if (dot_git / "HEAD").exists() and not dot_git.is_symlink():
        _plan_git(draft, GitDirectory(path=dot_git, work_tree=root))
    else:
        draft.mask(dot_git)
        visible = _plan_linked(draft, dot_git)
    above = frozenset(draft.created)
    _plan_nested(draft)
    return PlacesPlan(
        workspace=workspace,
        masks=tuple(Mask(path=str(path), writable=rw) for path, rw in draft.in_mount_order()),
        created_mount_points=tuple(str(path) for path in sorted(draft.created)),
        visible=visible,
        created_below=tuple(str(path) for path in sorted(draft.created - above)),
    )


def create(plan: PlacesPlan) -> None:
    """Create the planned mount points, owned by the workspace's owner; all of them or none.

    Raises:
        RunRefused: something is there that was not when it was planned.
    """
    done: list[str] = []
    owner = Path(plan.workspace).stat()
    try:
        for path in plan.created_mount_points:
            _create_one(plan.workspace, path, owner)
            done.append(path)
    except OSError as error:
        remove_created(done)
        raise RunRefused(
            "a mount point cannot be created in the workspace",
            where=str(error.filename or plan.workspace),
            why=os.strerror(error.errno or 0),
            fix="see that the workspace is writable and nobody else works in it, then try again",
        ) from error


def remove_created(paths: PlacesPlan | list[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Remove what `create` made, where it is still empty; give back what was removed.

    Takes the plan or, after a crash, the journal's list. Absent, changed and used ones are left.
    Never while another view of this workspace lives: removing a mount point removes its mask there
    too (measured).
    """
    listed = paths.created_mount_points if isinstance(paths, PlacesPlan) else paths
    return tuple(path for path in sorted(listed, reverse=True) if _remove_one(path))


def missing_masks(plan: PlacesPlan, mountinfo: str) -> tuple[str, ...]:
    """Name the masks that a live view has lost, from its `/proc/PID/mountinfo`.

    On the host `git config`, or removing a place, takes the mask away inside (measured); inside
    nothing can. A view with a missing mask must be killed.
    """
    mounted = {_unescape(line.split(" ")[4]) for line in mountinfo.splitlines() if line}
    return tuple(mask.path for mask in plan.masks if mask.path not in mounted)


@dataclass(slots=True)
class _Draft:
    root: Path
    nested: int = 0
    masks: dict[Path, bool] = field(default_factory=dict)
    created: set[Path] = field(default_factory=set)

    def mask(self, place: Path) -> None:
        """Mask a place read-only and make each parent below the workspace a mount.

        A place below a read-only one needs nothing, unless a directory between is writable again.
        """
        covered = False
        for parent in reversed(place.parents):
            if self.root not in parent.parents:
                continue
            if parent in self.masks:
                covered = not self.masks[parent]
            elif not covered:
                self._exists(parent, directory=True)
                self.masks[parent] = True
        if not covered:
            self._exists(place, directory=False)
            self.masks[place] = False

    def covers(self, place: Path) -> bool:
        """Tell whether a place is masked already, itself or by the nearest mount above it."""
        near = (self.masks[path] for path in (place, *place.parents) if path in self.masks)
        return not next(near, True)

    def has(self, git: Path) -> bool:
        """Tell whether a git directory is planned, or lies where nothing can be written."""
        return self.covers(git) or git / "config" in self.masks

    def reopen(self, directory: Path) -> None:
        """Make a directory below a read-only place writable again."""
        self.masks[directory] = True

    def file(self, place: Path) -> None:
        """Plan an absent file inside a git directory, then mask it."""
        if os.path.lexists(place) and not place.is_file():
            raise _not_plain(place)
        self.mask(place)

    def in_mount_order(self) -> list[tuple[Path, bool]]:
        return sorted(self.masks.items(), key=lambda item: (len(item[0].parts), item[0]))

    def _exists(self, place: Path, *, directory: bool) -> None:
        if not _is_utf8(place):
            raise _not_plain(place)
        if not os.path.lexists(place):
            self.created.add(place)
        elif place.is_symlink() or not (place.is_dir() or (place.is_file() and not directory)):
            raise _not_plain(place)


def _plan_git(draft: _Draft, git: GitDirectory) -> None:
    """Mask one git directory and those of its submodules; new submodules cannot be made."""
    common = redirected(git.path)
    if common is not None and git.path.parent.name != "worktrees":
        raise RunRefused(
            "the repository takes its configuration and hooks from another directory",
            where=str(git.path / "commondir"),
            why=f"it names {common}; git writes such a file for linked worktrees only",
            fix=f"look at {common}, then remove {git.path / 'commondir'}",
        )
    for name in GIT_DIRECTORIES:
        draft.mask(git.path / name)
    for name in GIT_FILES:
        draft.file(git.path / name)
    draft.mask(git.path / "modules")
    for inner in inner_git_directories(git.path / "modules"):
        draft.reopen(inner.path)
        _plan_git(draft, inner)
    for place in (*hook_places(git), *included_files(git)):
        if place == draft.root:
            raise RunRefused(
                "core.hooksPath names the workspace itself",
                where=str(git.path / "config"),
                fix="let it name a directory of its own, which can be masked",
            )
        if draft.root in place.parents:
            draft.mask(place)


def _plan_linked(draft: _Draft, dot_git: Path) -> tuple[str, ...]:
    """Follow `.git` as a file: mask where it leads inside, show read-only where it is proved."""
    target = linked_repository(dot_git)
    if target is None:
        return ()
    if draft.root not in target.parents:
        return (str(target),)
    for directory in {target, redirected(target) or target}:
        if draft.root in directory.parents:
            _plan_git(draft, GitDirectory(path=directory, work_tree=draft.root))
    return ()


def _plan_nested(draft: _Draft) -> None:
    """Mask what lies below the top; what cannot be read here the agent cannot read either."""
    for path, kind in walk(str(draft.root)):
        place = Path(path)
        if kind is Kind.BEYOND:
            raise RunRefused(
                "the workspace has too many directories to be looked through",
                where=str(draft.root),
                why=f"a nested repository may hide in each, and the limit is {MOST_DIRECTORIES}",
                fix="start AGP in the directory that the agent shall work on",
            )
        if kind is Kind.UNREAD or draft.covers(place):
            continue
        if kind is Kind.BARE:
            _plan_below(draft, GitDirectory(path=place.parent, work_tree=place.parent))
        elif kind is Kind.GIT and os.path.lexists(place / "HEAD") and not place.is_symlink():
            _plan_below(draft, GitDirectory(path=place, work_tree=place.parent))
        else:
            draft.mask(place)
            target = pointed(place) if kind is Kind.GIT else None
            if target and draft.root in target.parents and not draft.has(target):
                _plan_below(draft, GitDirectory(path=target, work_tree=place.parent))


def _plan_below(draft: _Draft, git: GitDirectory) -> None:
    """Mask a nested git directory like the top's; as a whole where git cannot read its settings."""
    draft.nested += 1
    if draft.nested > MOST_NESTED:
        raise RunRefused(
            f"the workspace has more than {MOST_NESTED} nested repositories",
            where=str(git.path),
            why="each is masked, and a view with so many mounts does not start in time",
            fix="start AGP in the directory that the agent shall work on",
        )
    try:
        _plan_git(draft, git)
    except ConfigurationError:
        if git.path == draft.root:
            raise
        draft.mask(git.path)


def _open_parent(workspace: str, path: str) -> int:
    """Open the parent step by step without following a link that was put there meanwhile."""
    here = os.open(workspace, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for part in PurePosixPath(path).relative_to(workspace).parts[:-1]:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            below = os.open(part, flags, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here


def _create_one(workspace: str, path: str, owner: os.stat_result) -> None:
    name = PurePosixPath(path).name
    parent = _open_parent(workspace, path)
    try:
        content = _file_content(path)
        if content is None:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            made = os.open(name, flags, 0o644, dir_fd=parent)
            os.write(made, content)
            os.close(made)
        if os.geteuid() == 0:
            os.chown(name, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)


def _file_content(path: str) -> bytes | None:
    """Tell a git file's content; None: the mount point is a directory."""
    return GIT_FILES.get(PurePosixPath(path).name)


def _remove_one(path: str) -> bool:
    try:
        os.rmdir(path)  # noqa: PTH106 - beside its siblings of os
    except NotADirectoryError:
        return _remove_file(path)
    except OSError as error:
        if error.errno in (
            errno.ENOENT,
            errno.ENOTEMPTY,
            errno.EACCES,
            errno.EPERM,
            errno.EROFS,
            errno.EBUSY,
        ):
            return False
        raise
    return True


def _remove_file(path: str) -> bool:
    """Remove one of git's files only while it holds exactly what was written."""
    expected = _file_content(path)
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if expected is None or os.read(opened, 16) != expected:
            return False
        os.unlink(path)  # noqa: PTH108 - beside its siblings of os
    finally:
        os.close(opened)
    return True


def _unescape(word: str) -> str:
    """Undo the octal escapes of proc(5)'s mountinfo."""
    for escape, plain in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(escape, plain)
    return word


def _is_utf8(place: Path) -> bool:
    """The journal holds text: a place whose name is not cannot be named in it."""
    try:
        str(place).encode()
    except UnicodeEncodeError:
        return False
    return True


def _not_plain(place: Path) -> RunRefused:
    return RunRefused(
        "an executing place of the workspace cannot be masked",
        where=str(place).encode(errors="replace").decode(),
        why="it is a link, a special file or not UTF-8; a mount can neither cover nor hold a link",
        fix=f"replace it by a plain file or directory, or remove it: rm {place}",
    )
