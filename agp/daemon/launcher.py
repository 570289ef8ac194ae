"""`agp run`: one governed session from its launcher's side.

The harness is a child of this process's main thread (bubblewrap follows the thread that spawned
it), never of the daemon. The launcher holds the lease, reads the harness's event stream, shows
questions at the terminal, and compares at the end what the stream says with what was decided.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.control import RunOutcome, RunRequest, RunSummary
from agp.contracts.gateway import ControlOp
from agp.contracts.journal import SandboxPreflight
from agp.daemon import background
from agp.daemon.carry import told
from agp.daemon.ended import Ended
from agp.daemon.front import open_front, open_screen_front
from agp.daemon.harness_run import HarnessRun
from agp.daemon.lease import Lease, open_lease
from agp.daemon.messages import ClosedSession, EndSession, OpenSession, read_args
from agp.daemon.plans import Planned, plan_claude, plan_scripted
from agp.daemon.proved import prove_first
from agp.daemon.screen_run import ScreenRun
from agp.daemon.scripted_run import run_script
from agp.daemon.show import paused, promises
from agp.daemon.unwrap import find, unwrapped
from agp.errors import (
    HarnessFailed,
    IntegrityError,
    Interrupted,
    JournalBroken,
    RunRefused,
    Ungoverned,
)
from agp.journal.keys import read_public_key
from agp.journal.verify import verify_directory
from agp.sandbox.host import check_workspace, run_as
from agp.sandbox.local import LocalProvider

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import JsonValue

    from agp.contracts.base import SessionId
    from agp.daemon.config import Config
    from agp.daemon.home import Home

_EXIT: dict[RunOutcome, int] = {
    "finished": 0,
    "refused": RunRefused.exit_code,
    "ungoverned": Ungoverned.exit_code,
    "harness_failed": HarnessFailed.exit_code,
    "killed": Interrupted.exit_code,
}
_CLOSE_S: Final = 10.0
"""For closing a session that failed; after that the daemon reaps it."""


def governed_run(
    home: Home,
    config: Config,
    request: RunRequest,
    terminal: bool,  # noqa: FBT001 - a fact
    kept: Callable[[str], None],
) -> RunSummary:
    """Run one governed session to its end.

    A run that fails hands the conversation that was kept, if one was, to `kept` before it raises.

    Raises:
        RunRefused: it was refused before anything started.
        AgpError: anything else that kept it from starting or ending in order.
    """
    started = time.monotonic()
    planned = replace(_plan(home, config, request), observe=request.observe)
    if background.running(home) is None:
        background.start(home, arguments=("--until-idle",))

    async def session() -> tuple[SessionId, Ended, dict[str, JsonValue]]:
        return await _session(home, config, planned, kept, terminal=terminal)

    session_id, ended, said = unwrapped(lambda: anyio.run(session))
    closed = read_args(ClosedSession, said)
    return RunSummary(
        session_id=session_id,
        outcome=ended.outcome,
        exit_code=_EXIT[ended.outcome],
        why=ended.why,
        grade=planned.grade,
        calls=closed.stories,
        events=closed.events,
        journal_verified=_verified(home),
        harness_exit=ended.harness_exit,
        text=ended.text,
        carried=planned.carried,
        resume=ended.resume,
        duration_ms=int((time.monotonic() - started) * 1000),
    )


def _plan(home: Home, config: Config, request: RunRequest) -> Planned:
    """Look at everything that can be refused before a daemon or a harness is started."""
    workspace = check_workspace(request.repo, agp_home=str(home.root))
    if request.intendant == "scripted":
        return plan_scripted(request, workspace)
    return plan_claude(home, config, request, workspace)


async def _session(
    home: Home, config: Config, planned: Planned, kept: Callable[[str], None], *, terminal: bool
) -> tuple[SessionId, Ended, dict[str, JsonValue]]:
    """Open the session, run what is governed in it, close it in order whatever happens."""
    args = OpenSession(
        intendant=planned.intendant,
        intendant_version=planned.version,
        workspace=planned.workspace,
        grade=planned.grade,
        launch_digest=planned.launch_digest,
        egress=planned.egress,
        model_upstream=planned.model_upstream,
        unsafe=planned.unsafe,
        interactive=_is_screen(planned),
        carried=planned.carried,
        observe=planned.observe,
        secrets=planned.secrets,
        call_views=planned.launch is not None,
        launcher_pid=os.getpid(),
        view_uid=run_as(planned.workspace).uid,
    )
    async with open_lease(home, config, args) as lease:
        try:
            ended = await _governed(home, config, planned, lease, terminal=terminal)
        except BaseException as error:
            if lease.conversation:
                kept(lease.conversation)
            killed = find(error, Interrupted)
            if find(error, JournalBroken) is not None:
                raise
            if killed is None:
                with anyio.move_on_after(_CLOSE_S, shield=True):
                    await _end(lease, Ended("refused"))
                raise
            ended = Ended("killed", str(killed), resume=lease.conversation)
        with anyio.CancelScope(shield=True):
            said = await _end(lease, ended)
        return lease.session.session_id, ended, said


async def _end(lease: Lease, ended: Ended) -> dict[str, JsonValue]:
    args = EndSession.model_validate(
        {**lease.claim(), "outcome": ended.outcome, "harness_exit": ended.harness_exit}
    )
    return await lease.ask(ControlOp.SESSION_END, args)


async def _governed(
    home: Home, config: Config, planned: Planned, lease: Lease, *, terminal: bool
) -> Ended:
    """Prove the sandbox, then run the harness or the script beside the lease and the prompt."""
    provider = LocalProvider(agp_home=str(home.root), toolchains=config.toolchains)
    if _is_screen(planned):
        return await _at_its_screen(home, config, planned, lease, provider)
    async with open_front(lease, terminal=terminal) as front:
        for line in (*paused(lease.session.paused), *told(planned.carried, planned.left)):
            front.shown.note(line)
        await _prove(provider, planned, lease)
        if planned.intendant == "scripted":
            return await run_script(planned, lease, front.shown, provider)
        await prove_first(home, config, planned, lease, front.shown.note)
        return await HarnessRun(home, config, planned, lease, front).run()


def _is_screen(planned: Planned) -> bool:
    return planned.launch is not None and planned.launch.interactive


async def _at_its_screen(
    home: Home, config: Config, planned: Planned, lease: Lease, provider: LocalProvider
) -> Ended:
    """Say what this way of running does not promise, prove the sandbox, open the screen."""
    async with open_screen_front(lease) as front:
        session = lease.session
        for line in (
            *promises(session.session_id),
            *paused(session.paused),
            *told(planned.carried, planned.left),
        ):
            front.before(line)
        await _prove(provider, planned, lease)
        await prove_first(home, config, planned, lease, front.before)
        await front.until_read()
        return await ScreenRun(home, config, planned, lease, front).run()


async def _prove(provider: LocalProvider, planned: Planned, lease: Lease) -> None:
    """Try to get out of the sandbox before anything else is in it; any doubt refuses the run."""
    report = await provider.preflight(planned.workspace)
    await lease.note(
        SandboxPreflight(
            session_id=lease.session.session_id,
            provider=report.provider,
            passed=report.passed,
            probes=tuple(f"{probe.name}={probe.result.value}" for probe in report.probes),
        )
    )
    if not report.passed:
        failed = [p for p in report.probes if not p.passed]
        raise RunRefused(
            "the sandbox did not prove itself, so nothing was run in it",
            why="; ".join(f"{p.name}: {p.detail or p.result.value}" for p in failed) or "no probe",
            fix="run `agp doctor`",
        )


def _verified(home: Home) -> bool:
    """Verify the whole journal offline, with the public key only."""
    try:
        verify_directory(home.journal, read_public_key(home.public_key))
    except IntegrityError:
        return False
    return True
