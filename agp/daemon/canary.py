"""The canary: the launch itself, against a model of AGP's own, with calls that must be refused.

Nothing of a run is replaced but the task, the model and who answers: the view, the settings, the
bridge, the forwarder, the arguments and the environment are those of the launch. The harness gets
a workspace and a HOME that exist for this run only, no login, and no way out but to the model.

1. the calls, their files and their secrets are drawn anew;
2. the harness asks its hooks, AGP's listener answers each call as the table says;
3. what happened is read from the disk, from what the model heard, from the listener, and last from
   the harness's own stream;
4. one probe that fails fails the canary; so does a granted call that did not run.

Source: system.md §10; ADR 0017.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.base import Digest
from agp.contracts.canary import CanaryReport
from agp.daemon.canary_ground import (
    CanaryAnswers,
    Ended,
    canary_model,
    canary_place,
    everything,
    plant,
    witness,
)
from agp.daemon.shipped import shipped
from agp.gateway.ask import AskListener
from agp.intendants.claude_code.canary_calls import canary_calls, judge
from agp.intendants.claude_code.shape import canary_launch, shape_digest
from agp.sandbox.places import create, plan_places
from agp.sandbox.run import Limits, run_view
from agp.sandbox.view import ViewCommand, ViewSeats, build_view

if TYPE_CHECKING:
    from pathlib import Path

    from agp.contracts.intendant import LaunchPlan
    from agp.intendants.claude_code.canary_model import CanaryModel
    from agp.sandbox.host import RunAs

DEADLINE_S: Final = 30.0
"""For the whole run of the harness; the real one needs between one and two."""
OUTPUT: Final = 16 * 1024 * 1024
"""Bytes kept of each stream of the harness; a canary's has some tens of thousands."""


async def prove_harness(
    launch: LaunchPlan,
    who: RunAs,
    *,
    agp_home: str,
    toolchains: tuple[str, ...] = (),
    deadline_s: float = DEADLINE_S,
) -> CanaryReport:
    """Run the canary of one governed launch, as the user that the launch itself will have.

    To be called in the main thread, as every view. The harness reaches nothing but the built-in
    model; nothing that it wrote is kept.

    Raises:
        AgpError: the canary could not be run at all; nothing is proved then.
    """
    started = time.monotonic()
    with canary_place(who) as place:
        work = place / "work"
        calls = canary_calls(str(work), secrets.token_bytes(32))
        plant(work, calls, who)
        places = plan_places(str(work))
        create(places)
        before = everything(work)
        view = build_view(canary_launch(launch), _seats(place, agp_home, toolchains), places)
        heard = (CanaryAnswers(calls), canary_model(calls))
        ended = await _run(view, place / "ask", heard, deadline_s)
        probes = judge(calls, witness(before, everything(work), calls, heard, ended))
    return CanaryReport(
        intendant=launch.intendant,
        version=launch.version,
        harness_digest=Digest(launch.harness_digest),
        shape_digest=shape_digest(launch),
        probes=probes,
        duration_ms=int((time.monotonic() - started) * 1000),
    )


async def _run(
    view: ViewCommand, ask: Path, heard: tuple[CanaryAnswers, CanaryModel], deadline_s: float
) -> Ended:
    """Answer and play the model until nothing of the view is left."""
    answers, model = heard
    listener = AskListener(
        ask / "ask.sock",
        answers,
        on_refused=lambda _: None,
        allowed_uids=frozenset({view.who.uid}),
    )
    async with anyio.create_task_group() as tasks:
        await tasks.start(listener.serve)
        await tasks.start(model.serve_unix, str(ask / "model.sock"))
        limits = Limits(timeout_s=deadline_s, output=OUTPUT)
        done = await run_view(view.spec, view.who, stdin=b"", limits=limits)
        tasks.cancel_scope.cancel()
    return Ended(done.exit_code, done.timed_out, bytes(done.stdout.kept), bytes(done.stderr.kept))


def _seats(place: Path, agp_home: str, toolchains: tuple[str, ...]) -> ViewSeats:
    return ViewSeats(
        agp_home=agp_home,
        session_home=str(place / "home"),
        ask_directory=str(place / "ask"),
        forwarder=shipped("hooks/agp-forward").read_bytes(),
        toolchains=toolchains,
    )
