"""Playing a script: each call is proposed to the daemon, which decides and executes it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.control import KillGiven
from agp.contracts.gateway import ControlOp
from agp.contracts.sandbox import ExecResult
from agp.daemon.ended import Ended
from agp.daemon.guard import guarded
from agp.daemon.messages import MediateCall
from agp.errors import AgpError
from agp.sandbox.places import plan_places

if TYPE_CHECKING:
    from agp.contracts.sandbox import SandboxProvider
    from agp.daemon.lease import Lease
    from agp.daemon.plans import Planned
    from agp.daemon.show import Shown
    from agp.intendants.scripted import ScriptedCall

_STOP_S: Final = 10.0


async def run_script(
    planned: Planned, lease: Lease, shown: Shown, provider: SandboxProvider
) -> Ended:
    """Play every call in order; a denied one does not end the script, as it ends no agent."""
    places = plan_places(planned.workspace)
    async with guarded(
        lease, places, grade=provider.grade, profile=provider.profile_digest
    ) as found:
        try:
            for scripted in planned.calls:
                await _play(scripted, lease, shown)
        except BaseException:
            await _stop(lease)
            raise
    if found.changed:
        return Ended("ungoverned", f"an executing place changed: {found.changed[0]}")
    return Ended("finished")


async def _stop(lease: Lease) -> None:
    """Have the daemon end what it executes for this script, before its places are uncovered.

    Without that a call that outlives its launcher writes where its mask was (measured). A daemon
    that is gone has nothing left to end: what it executes dies with it.
    """
    with anyio.move_on_after(_STOP_S, shield=True), suppress(AgpError):
        kill = KillGiven(session_id=lease.session.session_id)
        await lease.ask(ControlOp.SESSION_KILL, kill)


async def _play(scripted: ScriptedCall, lease: Lease, shown: Shown) -> None:
    shown.call(scripted.call)
    args = MediateCall.model_validate(
        {
            **lease.claim(),
            "call": scripted.call,
            "argv": scripted.argv,
            "stdin": scripted.stdin,
        }
    )
    said = await lease.ask(ControlOp.CALL_MEDIATE, args)
    result = None
    if "result" in said:
        result = ExecResult.model_validate_json(json.dumps(said["result"]))
    shown.ruled(allowed=said.get("allowed") is True, reason=str(said["reason"]), result=result)
