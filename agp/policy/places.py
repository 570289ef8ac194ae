"""Places that run, or decide what runs, later: writing there outlives the call.

The surveyor says what lies in the workspace's executing places; this adds what a path's own words
tell: git's own directory, whatever makes a directory look like a git repository, and the start-up
files of a session's HOME and of the machine.

Source: system.md §7 (`persist`), §9 (executing places); ADR 0005 for `commondir` and `HEAD`.
"""

from __future__ import annotations

from typing import Final

from agp.policy.targets import relative

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
_WORKSPACE_OF_AGP: Final = ".agp"


def is_ours(path: str, workspace: str) -> bool:
    """Tell whether a path is AGP's own place inside a workspace: the repository's policy."""
    inside = relative(path, workspace)
    return inside is not None and inside.split("/")[0].lower() == _WORKSPACE_OF_AGP


def persists(path: str, home: str) -> bool:
    """Tell whether a write to a resolved path would run, or decide what runs, later.

    A file named HEAD is what turns a directory into a bare repository, whose `config` may name a
    program that the next `git status` in it starts; `.git/commondir` moves the configuration of a
    repository to where the agent writes.
    """
    parts = path.lower().split("/")
    if ".git" in parts or parts[-1] == "head":
        return True
    if any(relative(path, place) is not None for place in _MACHINE):
        return True
    inside = relative(path, home)
    if inside is None:
        return False
    return inside in _HOME_FILES or any(
        relative(inside, place) is not None for place in _HOME_DIRECTORIES
    )
