"""The local provider: each command in a bubblewrap view of its own, without network.

Grade `confined`. Inside are the workspace, the system's read-only files and the configured
toolchains; no ask directory, no HOME but /tmp, no other process, no namespaces to be made. Where
bubblewrap does not work nothing runs: there is no other way through this module.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio.to_thread

from agp.contracts.git import GIT_ENVIRONMENT
from agp.contracts.policy import Grade
from agp.contracts.sandbox import ExecRequest, ExecResult, PreflightReport
from agp.errors import NotBuilt, RunRefused
from agp.sandbox.host import RunAs, check_workspace, our_etc, run_as, system_binds
from agp.sandbox.limits import PROCESSES
from agp.sandbox.places import PlacesPlan, plan_places
from agp.sandbox.preflight import Outside, prove
from agp.sandbox.profile import INTERPRETER, Bind, ViewSpec, digest_of
from agp.sandbox.run import Limits, run_view
from agp.sandbox.seccomp import filter_program
from agp.sandbox.spawn import LIFELINE, REPORT
from agp.sandbox.view import mask_binds, scratch, toolchain_binds

if TYPE_CHECKING:
    from agp.contracts.base import Digest

_GUARD: Final = (
    INTERPRETER,
    "-I",
    "-S",
    "-c",
    (Path(__file__).parent / "guard.py").read_text(encoding="utf-8"),
    LIFELINE,
    REPORT,
    str(PROCESSES),
)
ENVIRONMENT: Final = (
    *GIT_ENVIRONMENT,
    ("HOME", "/tmp"),  # noqa: S108 - the view's own, private /tmp
    ("LANG", "C.UTF-8"),
    ("PATH", "/usr/local/bin:/usr/bin:/bin"),
    ("TMPDIR", "/tmp"),  # noqa: S108 - likewise
)


class LocalProvider:
    """Implements `contracts.sandbox.SandboxProvider` with bubblewrap on this machine."""

    def __init__(self, *, agp_home: str, toolchains: tuple[str, ...] = ()) -> None:
        self._agp_home = agp_home
        self._toolchains = toolchains

    @property
    def name(self) -> str:
        """Name the provider in the journal."""
        return "local"

    @property
    def grade(self) -> Grade:
        """Say what a command in here may count on."""
        return Grade.CONFINED

    @property
    def profile_digest(self) -> Digest:
        """Cover the profile with every path of this configuration, and the filter's bytes."""
        nobody = RunAs(uid=65_534, gid=65_534, staged=False)
        empty = PlacesPlan(workspace="/workspace", masks=(), created_mount_points=())
        spec = self._spec(empty, nobody, cwd="/workspace", argv=_GUARD)
        return digest_of(spec, filter_program(nesting=False, machine=platform.machine()))

    async def preflight(self, workspace: str) -> PreflightReport:
        """Try to get out of a view of this workspace, with a positive control for each way.

        Only the probe runs in it, so that places which do not exist yet need not be created.
        """
        places, who = await anyio.to_thread.run_sync(self._look, workspace)
        present = _without(places, frozenset(places.created_mount_points))
        outside = Outside(agp_run=f"{self._agp_home}/run", homes=(str(Path.home()), "/tmp"))  # noqa: S108 - proved to be hidden
        probes = await prove(
            lambda argv: self._spec(present, who, cwd=places.workspace, argv=argv), who, outside
        )
        return PreflightReport(provider=self.name, grade=self.grade, probes=probes)

    async def execute(self, request: ExecRequest) -> ExecResult:
        """Run one command to its end; cancelled means killed, with all its children.

        Raises:
            NotBuilt: network was asked for.
            RunRefused: the workspace cannot be one, the directory lies outside it, or its places
                were not created (the session's start does that, after journaling them).
            Unavailable: the command was never started.
        """
        if request.allow_network:
            raise NotBuilt(
                "the local provider gives no network to a command",
                fix="run it without a `connect` effect; network for single calls comes with the "
                "Docker sandbox",
            )
        places, who = await anyio.to_thread.run_sync(self._prepare, request.workspace)
        cwd = _inside(request.cwd, places.workspace)
        spec = self._spec(places, who, cwd=cwd, argv=(*_GUARD, *request.argv))
        limits = Limits(request.timeout_s, request.output_limit)
        outcome = await run_view(spec, who, stdin=request.stdin, limits=limits)
        return ExecResult(
            exit_code=outcome.exit_code,
            stdout=bytes(outcome.stdout.kept),
            stderr=bytes(outcome.stderr.kept),
            stdout_bytes=outcome.stdout.total,
            stderr_bytes=outcome.stderr.total,
            duration_ms=outcome.duration_ms,
            timed_out=outcome.timed_out,
        )

    def _prepare(self, named: str) -> tuple[PlacesPlan, RunAs]:
        places, who = self._look(named)
        # A repository that a command has made below is masked as far as it exists; the comparison
        # at the end names it. To refuse every later command would protect nothing more.
        below = frozenset(places.created_below)
        missing = tuple(path for path in places.created_mount_points if path not in below)
        if missing:
            raise RunRefused(
                "the workspace's executing places are not covered",
                where=missing[0],
                why="their mount points are created, and journaled first, when a session starts",
                fix="start a session for this workspace; nobody may remove them while it runs",
            )
        return _without(places, below), who

    def _look(self, named: str) -> tuple[PlacesPlan, RunAs]:
        workspace = check_workspace(named, agp_home=self._agp_home)
        return plan_places(workspace), run_as(workspace)

    def _spec(self, places: PlacesPlan, who: RunAs, *, cwd: str, argv: tuple[str, ...]) -> ViewSpec:
        system, links = system_binds()
        return ViewSpec(
            system=system,
            links=links,
            scratch=scratch(),
            files=our_etc(who),
            binds=(
                *toolchain_binds(self._toolchains, agp_home=self._agp_home),
                *(Bind(source=path, target=path) for path in places.visible),
                Bind(source=places.workspace, target=places.workspace, writable=True),
            ),
            masks=mask_binds(places),
            environment=ENVIRONMENT,
            cwd=cwd,
            argv=argv,
        )


def _without(places: PlacesPlan, absent: frozenset[str]) -> PlacesPlan:
    masks = tuple(mask for mask in places.masks if mask.path not in absent)
    return places.model_copy(update={"masks": masks})


def _inside(cwd: str, workspace: str) -> str:
    real = os.path.realpath(cwd)
    if real != workspace and not real.startswith(workspace + "/"):
        raise RunRefused(
            "the directory to run in lies outside the workspace",
            where=cwd,
            why=f"the workspace is {workspace}",
            fix="name a directory inside it",
        )
    return real
