"""The surveyor: resolves for the policy what only the file system knows.

Paths are resolved on the host. Inside a view the workspace, /usr and the toolchains are the same
directories; HOME, /tmp, /run and /dev are the view's own, so that what lies there is resolved by
name only and never counts as the workspace.
"""

from __future__ import annotations

import hashlib
import os
import re
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
from agp.errors import ConfigurationError, OverLimit
from agp.policy.effects import needs
from agp.sandbox.places import GIT_DIRECTORIES, GIT_FILES, TOP_LEVEL

if TYPE_CHECKING:
    from collections.abc import Iterable

VIEW_HOME: Final = "/home/agent"
_VIEW_OWN: Final = (VIEW_HOME, "/tmp", "/var/tmp", "/run", "/dev/shm")  # noqa: S108 - names
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


class HostSurveyor:
    """Looks at this machine; `home` is AGP's own, `search_path` the PATH of every view."""

    def __init__(self, home: Path, search_path: tuple[str, ...]) -> None:
        self._ours = (*_OURS, os.path.realpath(home))
        self._search_path = search_path

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
        return World(
            workspace=workspace,
            cwd=cwd,
            paths=tuple(self._path(raw, workspace, cwd) for raw in needed.paths),
            executables=tuple(self._program(word, workspace, cwd) for word in needed.words),
            intendant=intendant,
            agent_id=agent_id,
            session_id=session_id,
        )

    def hash_files(self, effects: Iterable[Effect], *, workspace: str) -> tuple[FileHash, ...]:
        """Hash the workspace files in exec position; one that cannot be read hashes as absent."""
        paths = sorted({e.subject for e in effects if e.kind is EffectKind.EXEC_WORKSPACE})
        return tuple(
            FileHash(path=path, sha256=_hash(path)) for path in paths if _below(path, workspace)
        )

    def _path(self, raw: str, workspace: str, cwd: str) -> PathFacts:
        resolved = _resolve(raw, cwd, workspace)
        in_workspace = _below(resolved, workspace)
        place = in_workspace and is_executing_place(resolved, workspace)
        return PathFacts(
            raw=raw,
            resolved=resolved,
            in_workspace=in_workspace,
            in_agp=any(_below(resolved, ours) for ours in self._ours),
            executing_place=place,
            agent_writable=not place
            and (in_workspace or any(_below(resolved, own) for own in _VIEW_OWN)),
            secret=is_secret(resolved),
        )

    def _program(self, word: str, workspace: str, cwd: str) -> ExecutableFacts:
        found = _resolve(word, cwd, workspace) if "/" in word else self._on_path(word)
        writable = found is not None and (
            _below(found, workspace) or any(_below(found, own) for own in _VIEW_OWN)
        )
        return ExecutableFacts(word=word, resolved=found, agent_writable=writable)

    def _on_path(self, word: str) -> str | None:
        for directory in self._search_path:
            candidate = Path(directory) / word
            if candidate.is_file() and os.access(candidate, os.X_OK):
                return os.path.realpath(candidate)
        return None


def is_executing_place(resolved: str, workspace: str) -> bool:
    """Tell whether a resolved path lies at or below one of the workspace's executing places."""
    parts = Path(os.path.relpath(resolved, workspace)).parts
    if not parts:
        return False
    if parts[0] in TOP_LEVEL:
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
    return bool(_SECRET_NAME.match(path.name)) or not _SECRET_DIRECTORY.isdisjoint(path.parts)


def _resolve(raw: str, cwd: str, workspace: str) -> str:
    """Follow every link of a path, as the view would: outside the workspace its own places win."""
    joined = os.path.join(cwd, raw)  # noqa: PTH118 - a peer's words, not a path of ours
    lexical = os.path.normpath(joined)
    if not _below(lexical, workspace) and any(_below(lexical, own) for own in _VIEW_OWN):
        return lexical
    return os.path.realpath(joined)


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


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
