"""Places that run, or decide what runs, later: writing there outlives the call.

The surveyor says what lies in the workspace's executing places; this adds what a path's own words
tell: git's own directory, whatever makes a directory look like a git repository, and the start-up
files of a session's HOME and of the machine.

Source: system.md §7 (`persist`), §9 (executing places); ADR 0005 for `commondir` and `HEAD`.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from agp.policy.targets import relative

if TYPE_CHECKING:
    from agp.contracts.policy import World

_HOME_FILES: Final = frozenset(
    {
        ".bash_aliases", ".bash_login", ".bash_logout", ".bash_profile", ".bashrc", ".claude.json",
        ".gitconfig", ".npmrc", ".profile", ".vimrc", ".zlogin", ".zprofile", ".zshenv", ".zshrc",
    }
)  # fmt: skip
_HOME_DIRECTORIES: Final = (
    ".claude/agents", ".claude/commands", ".claude/hooks", ".claude/plugins", ".claude/skills",
    ".claude/settings.json", ".claude/settings.local.json", ".codex", ".config/autostart",
    ".config/fish", ".config/git", ".config/pip", ".config/systemd", ".local/bin", ".ssh", "bin",
)  # fmt: skip
_MACHINE: Final = (
    "/etc", "/usr", "/bin", "/sbin", "/lib", "/lib64", "/boot", "/var/spool/cron", "/var/spool/at",
)  # fmt: skip
_STARTED_ANYWHERE: Final = frozenset(
    {".agp", ".claude", ".codex", ".envrc", ".idea", ".mcp.json", ".vscode"}
)
_OF_EACH_PROCESS: Final = ("/proc", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr")
_WORKSPACE_OF_AGP: Final = ".agp"


def is_ours(path: str, workspace: str) -> bool:
    """Tell whether a path is AGP's own place inside a workspace: the repository's policy."""
    inside = relative(path, workspace)
    return inside is not None and inside.split("/")[0].lower() == _WORKSPACE_OF_AGP


def means_otherwise(path: str, cwd: str) -> bool:
    """Tell whether a path may mean, to the process that uses it, what nobody outside can resolve.

    Found with `/proc/self/cwd/ls`: the daemon's own `cwd` is another one. A `..` after a link leads
    where the words do not say, so with one even the two names are enough.
    """
    spelled = posixpath.normpath("/" + posixpath.join(cwd, path).lstrip("/"))
    parts = set(path.split("/"))
    bent = ".." in parts and not parts.isdisjoint({"proc", "dev"})
    return bent or any(relative(spelled, place) is not None for place in _OF_EACH_PROCESS)


def persists(path: str, world: World) -> bool:
    """Tell whether a write to a resolved path would run, or decide what runs, later.

    A file named HEAD is what turns a directory into a bare repository, whose `config` may name a
    program that the next `git status` in it starts; `.git/commondir` moves the configuration of a
    repository to where the agent writes. Harnesses and editors are started in subdirectories too.
    """
    inside = relative(path, world.workspace)
    if inside is not None and not _STARTED_ANYWHERE.isdisjoint(inside.lower().split("/")):
        return True
    parts = path.lower().split("/")
    if ".git" in parts or parts[-1] == "head":
        return True
    if any(relative(path, place) is not None for place in _MACHINE):
        return True
    inside = relative(path, world.home)
    if inside is None:
        return False
    return inside in _HOME_FILES or any(
        relative(inside, place) is not None for place in _HOME_DIRECTORIES
    )
