"""The policy files of this machine, loaded and compiled, one set for each workspace.

Tiers, strongest first: `/etc/agp/policy.yaml` (admin), `$AGP_HOME/policy.yaml` (user), the pack
that ships with AGP (default), and the repository's own `.agp/policy.yaml` (workspace), which can
only tighten. A broken file is refused and whatever was in force stays in force.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from agp.contracts.journal import PolicyLoaded
from agp.contracts.policy import Tier
from agp.daemon.files import read_regular
from agp.daemon.shipped import shipped
from agp.errors import ConfigurationError
from agp.policy.language import PolicyFile, load_policy_file
from agp.policy.policyset import PolicySet

if TYPE_CHECKING:
    from agp.daemon.home import Home

ADMIN_POLICY = Path("/etc/agp/policy.yaml")
WORKSPACE_POLICY = Path(".agp/policy.yaml")
SIZE_LIMIT = 1024 * 1024


class PolicyShelf:
    """What is in force. Reloading replaces it whole or not at all."""

    def __init__(self, home: Home, *, admin: Path = ADMIN_POLICY) -> None:
        self._home = home
        self._admin = admin
        self._files: tuple[PolicyFile, ...] = ()
        self._base: PolicySet | None = None
        self._of_workspace: dict[str, PolicySet] = {}
        self._own: dict[str, PolicyFile] = {}
        """The repository's own file as it was when its session opened."""

    @property
    def base(self) -> PolicySet:
        """The set without any workspace file."""
        if self._base is None:
            raise ConfigurationError("no policy is loaded", fix="run `agp policy check`")
        return self._base

    def reload(self) -> PolicyLoaded:
        """Read every file again.

        Raises:
            PolicyError: a file is broken; nothing changed.
        """
        files = [_read(shipped("policies/default.yaml"), Tier.DEFAULT)]
        for path, tier in ((self._admin, Tier.ADMIN), (self._home.policy, Tier.USER)):
            if os.path.lexists(path):
                files.append(_read(path, tier))
        base = PolicySet.build(files)
        workspaces = {
            workspace: PolicySet.build([*files, self._own[workspace]])
            if workspace in self._own
            else base
            for workspace in self._of_workspace
        }
        self._files, self._base, self._of_workspace = tuple(files), base, workspaces
        return self.loaded(base)

    def open_workspace(self, workspace: str) -> PolicySet:
        """Compile the set for one workspace, with the repository's own file where there is one.

        The file is read once, when the session opens: what the agent writes there later has no
        say in this session.
        """
        own = _own_file(workspace)
        policy = self.base if own is None else PolicySet.build([*self._files, own])
        self._of_workspace[workspace] = policy
        if own is None:
            self._own.pop(workspace, None)
        else:
            self._own[workspace] = own
        return policy

    def of(self, workspace: str) -> PolicySet:
        """Give the set in force for an open workspace."""
        return self._of_workspace.get(workspace) or self.base

    @staticmethod
    def loaded(policy: PolicySet) -> PolicyLoaded:
        """Describe a set for the journal."""
        return PolicyLoaded(
            policy_digest=policy.digest,
            files=tuple(f"{f.tier.value}:{f.digest}" for f in policy.files),
            rules=sum(len(f.rules) for f in policy.files),
        )


def _own_file(workspace: str) -> PolicyFile | None:
    path = Path(workspace) / WORKSPACE_POLICY
    return _read(path, Tier.WORKSPACE) if os.path.lexists(path) else None


def _read(path: Path, tier: Tier) -> PolicyFile:
    try:
        text = read_regular(path, limit=SIZE_LIMIT)
    except OSError as error:
        raise ConfigurationError(
            f"the {tier.value} policy cannot be read", where=str(path), why=error.strerror or ""
        ) from error
    return load_policy_file(text, name=str(path), tier=tier)
