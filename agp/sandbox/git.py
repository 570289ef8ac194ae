"""What git itself says about one repository: where its hooks, includes and submodules are.

Reads only; git is asked with an explicit directory and never runs anything for it. The agent
cannot have written the configuration while it was masked.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from agp.errors import ConfigurationError, RunRefused
from agp.sandbox.host import TOOL_PATH, tool

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_SUBMODULES = 256
_READ_TIMEOUT_S = 10.0
_POINTER_LIMIT = 8192
"""Bytes read of a file that names a directory: twice the longest path."""
_DEEPEST = 64
"""Directories below one another in which submodules' git directories are looked for."""


class GitDirectory(NamedTuple):
    """A git directory and where its relative `core.hooksPath` starts from."""

    path: Path
    work_tree: Path


class _Setting(NamedTuple):
    origin: str
    key: str
    value: str


def hook_places(git: GitDirectory) -> tuple[Path, ...]:
    """Name every directory that core.hooksPath names, for yourself and for the owner."""
    return tuple(
        _join(git.work_tree, setting.value)
        for setting in _settings(git)
        if setting.key == "core.hookspath" and setting.value
    )


def included_files(git: GitDirectory) -> tuple[Path, ...]:
    """Name the files that the configuration includes: whoever writes one writes configuration."""
    found = {
        _join(Path(setting.origin.removeprefix("file:")).parent, setting.value)
        for setting in _settings(git)
        if setting.key == "include.path"
        or (setting.key.startswith("includeif.") and setting.key.endswith(".path"))
    }
    return tuple(sorted(found))


def inner_git_directories(modules: Path) -> Iterator[GitDirectory]:
    """Find the submodules' git directories, nested names included, links never followed.

    Raises:
        RunRefused: more than anybody has; the view would have too many mounts.
    """
    if modules.is_symlink() or not modules.is_dir():
        return
    found = 0
    for here, directories, files in os.walk(modules, followlinks=False):
        if "HEAD" not in files:
            _check_depth(here, modules)
            continue
        directories.clear()
        found += 1
        if found > MOST_SUBMODULES:
            raise RunRefused(
                f"the repository has more than {MOST_SUBMODULES} submodules",
                where=str(modules),
                fix="start AGP in the one that the agent shall work on",
            )
        path = Path(here)
        yield GitDirectory(path=path, work_tree=_join(path, _work_tree(path)))


def _check_depth(here: str, modules: Path) -> None:
    """Attack: a thousand directories inside one another end the walk itself."""
    if len(Path(here).parts) - len(modules.parts) > _DEEPEST:
        raise RunRefused(
            f"the repository's modules are more than {_DEEPEST} directories deep",
            where=str(modules),
            why="submodules could hide below, and would not be masked",
            fix=f"look at {modules}, and remove what git did not put there",
        )


def linked_repository(dot_git: Path) -> Path | None:
    """Follow a `.git` file to the repository of a linked worktree; None where it is not one.

    Believed only where the repository points back here from `worktrees/NAME` below itself: whoever
    forged that can write into the directory that would be shown.
    """
    target = _pointer(dot_git, "gitdir: ")
    if target is None:
        return None
    if dot_git.parent in target.parents:
        return target
    back = _pointer(target / "gitdir", "")
    if target.parent.name != "worktrees" or back != dot_git:
        return None
    return target.parent.parent


def pointed(dot_git: Path) -> Path | None:
    """Give the git directory that a `.git` file names, if it is one."""
    target = _pointer(dot_git, "gitdir: ")
    return target if target is not None and os.path.lexists(target / "HEAD") else None


def redirected(git: Path) -> Path | None:
    """Give the other directory that a git directory takes its configuration from, if any."""
    common = _pointer(git / "commondir", "")
    return None if common is None or common == git else common


def _pointer(file: Path, prefix: str) -> Path | None:
    """Read where a file of git's points; a loop of links gives the name itself, for the mask.

    Attack: a nested `.git` that names a loop, or holds a NUL, ends every later run in a traceback.
    """
    if file.is_symlink() or not file.is_file():
        return None
    with file.open(encoding="utf-8", errors="surrogateescape") as opened:
        text = opened.read(_POINTER_LIMIT).partition("\0")[0].rstrip("\n")
    if not text.startswith(prefix) or not text.removeprefix(prefix):
        return None
    named = _join(file.parent, text.removeprefix(prefix))
    try:
        return named.resolve()
    except (RuntimeError, OSError):  # a loop, a chain without end, a name too long
        return named


def _join(start: Path, named: str) -> Path:
    """Resolve `~`, relative names and `..` by text; links are the mask's business."""
    return Path(os.path.normpath(start / os.path.expanduser(named)))  # noqa: PTH111 - ~user as git


def _work_tree(git: Path) -> str:
    named = [s.value for s in _list(git, str(Path.home())) if s.key == "core.worktree"]
    return named[-1] if named else "."


def _settings(git: GitDirectory) -> tuple[_Setting, ...]:
    owner = git.path.stat().st_uid
    homes = {str(Path.home())}
    with suppress(KeyError):  # an owner without an account has no configuration of his own
        homes.add(pwd.getpwuid(owner).pw_dir)
    return tuple(setting for home in sorted(homes) for setting in _list(git.path, home))


def _list(git: Path, home: str) -> tuple[_Setting, ...]:
    command = [tool("git"), f"--git-dir={git}", "config", "--list", "-z", "--show-origin"]
    command.append("--includes")
    environment = {"PATH": TOOL_PATH, "HOME": home, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd="/",
            capture_output=True,
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=_READ_TIMEOUT_S,
        )
    except (subprocess.SubprocessError, OSError) as error:
        raise ConfigurationError(
            "git cannot read this repository's configuration",
            where=str(git / "config"),
            why=getattr(error, "stderr", b"").decode(errors="replace").strip() or str(error),
            fix=f"make `git --git-dir={git} config --list` work",
        ) from error
    words = done.stdout.decode("utf-8", errors="surrogateescape").split("\0")
    return tuple(_setting(words[i], words[i + 1]) for i in range(0, len(words) - 1, 2))


def _setting(origin: str, text: str) -> _Setting:
    key, _, value = text.partition("\n")
    section, dot, name = key.rpartition(".")
    first, second, rest = section.partition(".")
    return _Setting(origin, f"{first.lower()}{second}{rest}{dot}{name.lower()}", value)
