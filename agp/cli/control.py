"""`status`, `sessions`, `pause`, `resume`, `kill`: how AGP stands, and its brakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.output import table
from agp.cli.wire import ask_daemon, checked_home, output_of
from agp.contracts.display import visible
from agp.errors import DaemonAway, UsageRefused

if TYPE_CHECKING:
    from agp.cli.output import Output
    from agp.contracts.control import ControlState, DaemonStatus, SessionSummary


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    for command in (status, sessions, pause, resume, kill):
        app.command()(command)


def status(ctx: typer.Context) -> None:
    """Show the daemon, its journal, its policy, and what waits."""
    from agp.contracts.control import DaemonStatus
    from agp.contracts.gateway import ControlOp

    output = output_of(ctx)
    state = ask_daemon(ControlOp.DAEMON_STATUS, DaemonStatus)
    output.show("status", state.model_dump(mode="json"), _status_lines(state, output))


def sessions(ctx: typer.Context) -> None:
    """List governed sessions: live ones first, then what ended lately."""
    from agp.contracts.control import SessionList
    from agp.contracts.gateway import ControlOp
    from agp.daemon.offline import list_sessions

    try:
        listed = ask_daemon(ControlOp.SESSION_LIST, SessionList)
    except DaemonAway:
        listed = list_sessions(checked_home())
    lines = _session_lines(listed.sessions)
    output_of(ctx).show("sessions", listed.model_dump(mode="json"), lines)


def pause(
    ctx: typer.Context,
    *,
    reason: Annotated[str, typer.Option(help="What the agents and the journal are told.")] = (
        "paused by the operator"
    ),
) -> None:
    """Give no new grants until `agp resume`; what runs already is listed, not stopped."""
    from agp.contracts.control import ControlState, PauseGiven
    from agp.contracts.gateway import ControlOp

    state = ask_daemon(ControlOp.CONTROL_PAUSE, ControlState, PauseGiven(reason=reason))
    head = f"Paused: {visible(reason)}. Nothing is granted until `agp resume`."
    output_of(ctx).show("pause", state.model_dump(mode="json"), [head, *_running(state)])


def resume(ctx: typer.Context) -> None:
    """Give grants again."""
    from agp.contracts.control import ControlState
    from agp.contracts.gateway import ControlOp

    state = ask_daemon(ControlOp.CONTROL_RESUME, ControlState)
    lines = ["Resumed: grants are given again.", *_running(state)]
    output_of(ctx).show("resume", state.model_dump(mode="json"), lines)


def kill(
    ctx: typer.Context,
    session: Annotated[str | None, typer.Argument(help="The session's id.")] = None,
    *,
    all_sessions: Annotated[bool, typer.Option("--all", help="Every live session.")] = False,
) -> None:
    """End a session now, with everything that runs in it."""
    from agp.contracts.base import SessionId
    from agp.contracts.control import Killed, KillGiven
    from agp.contracts.gateway import ControlOp

    if (session is None) is not all_sessions:
        raise UsageRefused(
            "name one session, or say --all", fix="agp sessions lists them; agp kill SESSION"
        )
    wanted = KillGiven(session_id=None if session is None else SessionId(session))
    killed = ask_daemon(ControlOp.SESSION_KILL, Killed, wanted)
    lines = [f"Killed {visible(name)}." for name in killed.sessions] or ["No session was live."]
    output_of(ctx).show("kill", killed.model_dump(mode="json"), lines)


def _status_lines(state: DaemonStatus, output: Output) -> list[str]:
    standing = (
        output.paint("running", "green")
        if state.paused is None
        else output.paint(f"paused: {visible(state.paused)}", "yellow")
    )
    return [
        f"daemon     {standing}, pid {state.pid}, AGP {visible(state.version)}",
        f"since      {visible(state.started_at)}",
        f"journal    {state.events} events, log {visible(state.log_id)}",
        f"key        {state.signing_key_id}",
        f"policy     {state.rules} rules, {state.policy_digest[:16]}",
        f"sessions   {state.sessions} live",
        f"approvals  {state.approvals} waiting" + (" (agp approvals)" if state.approvals else ""),
    ]


def _session_lines(listed: tuple[SessionSummary, ...]) -> list[str]:
    if not listed:
        return ["No sessions. Start one: agp run --task ... --repo ..."]
    heads = ("SESSION", "STATUS", "AGENT", "GRADE", "CALLS", "ALLOWED", "ASKED", "DENIED", "REPO")
    rows = [
        (
            visible(one.session_id),
            visible(one.outcome or one.status),
            visible(one.intendant),
            one.grade.value,
            str(one.calls),
            str(one.allowed),
            str(one.asked),
            str(one.denied),
            visible(one.workspace),
        )
        for one in listed
    ]
    return table(heads, rows)


def _running(state: ControlState) -> list[str]:
    if not state.running:
        return ["No granted call is running."]
    rows = [(visible(c.session_id), visible(c.call_id), visible(c.tool)) for c in state.running]
    return ["Granted before, still running:", *table(("SESSION", "CALL", "TOOL"), rows)]
