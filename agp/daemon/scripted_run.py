"""Playing a script: each call is proposed to the daemon, which decides and executes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agp.contracts.gateway import ControlOp
from agp.contracts.sandbox import ExecResult
from agp.daemon.ended import Ended
from agp.daemon.messages import MediateCall

if TYPE_CHECKING:
    from agp.daemon.lease import Lease
    from agp.daemon.plans import Planned
    from agp.daemon.show import Shown


async def run_script(planned: Planned, lease: Lease, shown: Shown) -> Ended:
    """Play every call in order; a denied one does not end the script, as it ends no agent."""
    for scripted in planned.calls:
        shown.call(scripted.call)
        said = await lease.ask(
            ControlOp.CALL_MEDIATE,
            MediateCall.model_validate(
                {
                    **lease.claim(),
                    "call": scripted.call,
                    "argv": scripted.argv,
                    "stdin": scripted.stdin,
                }
            ),
        )
        result = None
        if "result" in said:
            result = ExecResult.model_validate_json(json.dumps(said["result"]))
        shown.ruled(allowed=said.get("allowed") is True, reason=str(said["reason"]), result=result)
    return Ended("finished")
