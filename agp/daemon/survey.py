"""The surveyor: resolves for the policy what only the file system knows.

Paths are resolved on the host. Inside a view the workspace, /usr and the toolchains are the same
directories; HOME, /tmp, /run and /dev are the view's own, so that what lies there is resolved by
name only and never counts as the workspace.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from agp.contracts.base import Digest
from agp.contracts.channel import FileHash
from agp.contracts.policy import (
    Action,
    Effect,
    EffectKind,
    ExecutableFacts,
    PathFacts,
    World,
)
from agp.daemon.files import open_regular
from agp.daemon.follow import VIEW_HOME, VIEW_OWN, Places, below, follow, is_view_own
from agp.errors import ConfigurationError, OverLimit
from agp.policy.effects import needs
from agp.sandbox.nested import TOP_LEVEL
from agp.sandbox.places import GIT_DIRECTORIES, GIT_FILES

if TYPE_CHECKING:
    from collections.abc import Iterable

SEARCH_PATH: Final[Places] = ("/usr/local/bin", "/usr/bin", "/bin")
"""PATH of every view."""
_OURS: Final = ("/opt/agp", "/run/agp", "/etc/claude-code", "/etc/codex")
_HASH_LIMIT: Final = 64 * 1024 * 1024
_SECRET_NAME: Final = re.compile(
    r"^(\.env(\..+)?|\.envrc|\.netrc|\.pgpass|\.npmrc|\.pypirc|\.git-credentials|credentials(\.json)?"
    r"|id_(rsa|dsa|ecdsa|ed25519)|.+\.(pem|key|p12|pfx|jks|keystore|kdbx)|secrets?\.(ya?ml|json|toml)"
    r"|service[-_]account.*\.json|\.htpasswd|kubeconfig)$",
    re.IGNORECASE,
)
_NOT_SECRET: Final = re.compile(r"^\.env\.(example|sample|template|dist)$", re.IGNORECASE)
_SECRET_DIRECTORY: Final = frozenset(
    {".ssh", ".aws", ".gnupg", ".kube", ".azure", ".docker", ".password-store", "gcloud"}
)
_GIT_PLACES: Final = frozenset({*GIT_DIRECTORIES, *GIT_FILES, "modules"})
"""What a view masks in a git directory, and the submodules' own git directories."""


_PLACES_ANYWHERE: Final = frozenset(TOP_LEVEL)
"""At any depth: an editor or an agent that is opened in a directory reads what lies there."""


class HostSurveyor:
    """Looks at this machine as a view sees it; `home` is AGP's, `search_path` every view's PATH."""

    view_own: Places = VIEW_OWN
    """Where the harness has its own files, not the host's."""
    user_home: str = VIEW_HOME

    def __init__(self, home: Path, search_path: Places, *, ours: Places = ()) -> None:
        self._ours = (*_OURS, os.path.realpath(home), *ours)
        self._search_path = search_path
        self._sessions = home / "sessions"

    def survey(  # noqa: PLR0913 - one argument for each fact
        self,
        action: Action,
        *,
        workspace: str,
        cwd: str,
        session_id: str,
        agent_id: str | None,
        intendant: str,
    ) -> World:
        """Resolve every path and program that the action names."""
        needed = needs(action)
        shared = self._shared(session_id)
        return World(
            workspace=workspace,
            cwd=cwd,
            home=self.user_home,
            paths=tuple(
                facts
                for raw in needed.paths
                if (facts := self._path(raw, workspace, cwd, shared)) is not None
            ),
            executables=tuple(self._program(word, workspace, cwd, shared) for word in needed.words),
            intendant=intendant,
            agent_id=agent_id,
            session_id=session_id,
            harness_shell=shared is None,
        )

    def hash_files(self, effects: Iterable[Effect], *, workspace: str) -> tuple[FileHash, ...]:
        """Hash the workspace files in exec position; one that cannot be read hashes as absent."""
        paths = sorted({e.subject for e in effects if e.kind is EffectKind.EXEC_WORKSPACE})
        return tuple(
            FileHash(path=path, sha256=_hash(path)) for path in paths if below(path, workspace)
        )

    def _shared(self, session_id: str) -> str | None:
        """Find what the session's views have as /tmp; None: each has its own, or there is none."""
        place = self._sessions / session_id / "tmp"
        return str(place) if place.is_dir() else None

    def _path(self, raw: str, workspace: str, cwd: str, shared: str | None) -> PathFacts | None:
        """Resolve one path; None where it cannot be told, which makes the call opaque."""
        resolved = follow(raw, cwd, workspace, own=self.view_own, shared=shared)
        if resolved is None:
            return None
        in_workspace = below(resolved, workspace)
        place = in_workspace and is_executing_place(resolved, workspace)
        return PathFacts(
            raw=raw,
            resolved=resolved,
            in_workspace=in_workspace,
            in_agp=any(below(resolved, ours) for ours in self._ours),
            executing_place=place,
            agent_writable=not place and (in_workspace or self._is_own(resolved, workspace)),
            secret=is_secret(resolved),
        )

    def _program(self, word: str, workspace: str, cwd: str, shared: str | None) -> ExecutableFacts:
        """Find a program; one that is not there, or is no program, is not found."""
        found = (
            follow(word, cwd, workspace, own=self.view_own, shared=shared)
            if "/" in word
            else self._on_path(word)
        )
        if found is None:
            return ExecutableFacts(word=word, resolved=None, agent_writable=False)
        writable = below(found, workspace) or self._is_own(found, workspace)
        if not writable and not _is_program(found):
            return ExecutableFacts(word=word, resolved=None, agent_writable=False)
        return ExecutableFacts(word=word, resolved=found, agent_writable=writable)

    def _is_own(self, found: str, workspace: str) -> bool:
        """Tell whether the agent could have put this there, outside the workspace."""
        return is_view_own(found, workspace, own=self.view_own)

    def _on_path(self, word: str) -> str | None:
        for directory in self._search_path:
            candidate = f"{directory}/{word}"
            if _is_program(candidate):
                return os.path.realpath(candidate)
        return None


def _is_program(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode) and os.access(path, os.X_OK)  # noqa: PTH116
    except (OSError, ValueError):
        return False


def is_executing_place(resolved: str, workspace: str) -> bool:
    """Tell whether a resolved path lies at or below one of the workspace's executing places."""
    parts = Path(os.path.relpath(resolved, workspace)).parts
    if not parts:
        return False
    if not _PLACES_ANYWHERE.isdisjoint(parts):
        return True
    if ".git" in parts:
        after = parts[parts.index(".git") + 1 :]
        return not after or after[0] in _GIT_PLACES
    return False


def is_secret(resolved: str) -> bool:
    """Tell whether a path holds credentials by convention; names only, no content is read."""
    path = Path(resolved)
    if _NOT_SECRET.match(path.name):
        return False
    if path.name == "config" and path.parent.name == ".git":
        return True  # a remote's URL may hold a token
    return bool(_SECRET_NAME.match(path.name)) or not _SECRET_DIRECTORY.isdisjoint(path.parts)


def _hash(path: str) -> Digest:
    """Hash a regular file; anything else, and absence, is a state of its own.

    Raises:
        OverLimit: the file is too large to be bound.
    """
    try:
        file = open_regular(Path(path))
    except OSError:
        return Digest(hashlib.sha256(b"agp/absent/v1\0").hexdigest())
    except ConfigurationError:
        return Digest(hashlib.sha256(b"agp/special/v1\0").hexdigest())
    with file:
        if os.fstat(file.fileno()).st_size > _HASH_LIMIT:
            raise OverLimit("a file that the call would run is too large to be bound", where=path)
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())
