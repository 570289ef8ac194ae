"""The canary as `doctor` runs it: the launch that `agp run` would start, in a place of its own."""

from __future__ import annotations

import functools
import json
import os
import tempfile
from typing import TYPE_CHECKING

from agp.cli.findings import Finding, State
from agp.errors import DaemonAway

if TYPE_CHECKING:
    from agp.contracts.canary import CanaryReport
    from agp.daemon.config import Config
    from agp.daemon.home import Home

_SCRATCH = "/tmp"  # noqa: S108 - of our own name, 0700, removed at once
_NOBODY = 65534
"""Whose the throw-away workspace is where root runs this: AGP runs no agent as root."""
_ANSWER_S = 10.0


def prove_claude_code(home: Home, config: Config) -> Finding:
    """Run the canary of the configured Claude Code, and say what it did call by call.

    Raises:
        AgpError: the harness did not pass, or could not be tried.
    """
    import anyio

    from agp.contracts.control import RunRequest
    from agp.daemon.canary import prove_harness
    from agp.daemon.plans import plan_claude
    from agp.daemon.proved import refusal
    from agp.daemon.unwrap import unwrapped
    from agp.errors import ConfigurationError
    from agp.sandbox.host import run_as

    with tempfile.TemporaryDirectory(prefix="agp-", dir=_SCRATCH) as workspace:
        if os.geteuid() == 0:
            os.chown(workspace, _NOBODY, _NOBODY)
        request = RunRequest(intendant="claude-code", task="canary", repo=workspace)
        launch = plan_claude(home, _without_unset(config), request, workspace).launch
        who = run_as(workspace)
    if launch is None:
        raise ConfigurationError("there is no launch plan for this harness")
    prove = functools.partial(
        prove_harness, launch, who, agp_home=str(home.root), toolchains=config.toolchains
    )
    report = unwrapped(lambda: anyio.run(prove))
    _keep(home, report)
    if not report.passed:
        raise refusal(report)
    seconds = report.duration_ms / 1000
    what = f"version {report.version} passed its canary in {seconds:.1f} s: {report.detail}"
    names = ", ".join(probe.name for probe in report.probes)
    return Finding("claude-code", State.PROVED, what, launch.harness_files[0][0], names)


def _without_unset(config: Config) -> Config:
    """Leave out variables that are named and not set: they are the login's finding, not this."""
    named = tuple(name for name in config.pass_environment if name in os.environ)
    return type(config).model_validate(config.model_dump() | {"pass_environment": named})


def _keep(home: Home, report: CanaryReport) -> None:
    """Have a running daemon journal it; what is in no journal is not remembered as a proof."""
    from agp.contracts.gateway import ControlOp
    from agp.daemon.proved import finished, remember
    from agp.gateway.once import call_once

    said = json.loads(finished(report).model_dump_json())
    try:
        call_once(home.control_socket, ControlOp.CANARY_RECORD, said, timeout_s=_ANSWER_S)
    except DaemonAway:
        return
    if report.passed:
        remember(home, report)
