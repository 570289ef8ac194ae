"""`status`, `sessions`, `pause`, `resume`, `kill`: how AGP stands, and its brakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli.age import since
from agp.cli.output import table
from agp.cli.wire import ask_daemon, ask_if_running, checked_home, output_of
from agp.contracts.display import visible
from agp.errors import DaemonAway, UsageRefused

if TYPE_CHECKING:
    from datetime import datetime

    from agp.cli.output import Output
    from agp.contracts.base import SessionId
    from agp.contracts.control import ControlState, DaemonStatus, SessionList, SessionSummary

_SESSION_HEADS = (
    "SESSION", "STATUS", "STARTED", "AGENT", "GRADE",
    "CALLS", "ALLOWED", "ASKED", "DENIED", "REPO",
)  # fmt: skip
_WORDS = {
    "away": "its `agp run` is gone; it ends unless that comes back in time",
    "open": "no daemon runs, so it stands still; one that starts ends it or takes it up",
    "reaped": "its `agp run` went away and did not come back; AGP ended it",
}
"""What a status says that a reader cannot guess."""
NOT_RUNNING = "No daemon is running (`agp run` starts one); nothing waits."


def register(app: typer.Typer) -> None:
    """Put this group's commands on the command line."""
    for command in (status, sessions, pause, resume, kill):
        app.command()(command)


def status(ctx: typer.Context) -> None:
    """Show the daemon, its journal, its policy, and what waits."""
    from agp.contracts.control import DaemonStatus
    from agp.contracts.gateway import ControlOp

    output = output_of(ctx)
    state = ask_if_running(ControlOp.DAEMON_STATUS, DaemonStatus)
    if state is None:
        output.show("status", {"running": False}, [NOT_RUNNING])
        return
    document = {"running": True, **state.model_dump(mode="json")}
    output.show("status", document, _status_lines(state, output))


def sessions(ctx: typer.Context) -> None:
    """List governed sessions, the newest first: live ones, then what ended lately."""
    from datetime import UTC, datetime

    from agp.contracts.control import SessionList
    from agp.contracts.gateway import ControlOp
    from agp.daemon.offline import list_sessions

    found = ask_if_running(ControlOp.SESSION_LIST, SessionList)
    listed = _newest_first(found or list_sessions(checked_home()))
    lines = session_lines(listed.sessions, datetime.now(UTC), running=found is not None)
    output_of(ctx).show("sessions", listed.model_dump(mode="json"), lines)


def pause(
    ctx: typer.Context,
    *,
    reason: Annotated[str, typer.Option(help="What the agents and the journal are told.")] = (
        "by the operator"
    ),
) -> None:
    """Give no new grants until `agp resume`; what runs already is listed, not stopped."""
    from agp.contracts.control import ControlState, DaemonStatus, PauseGiven
    from agp.contracts.gateway import ControlOp

    before = ask_daemon(ControlOp.DAEMON_STATUS, DaemonStatus).paused
    given = PauseGiven(reason=reason if before is None else before)
    state = ask_daemon(ControlOp.CONTROL_PAUSE, ControlState, given)
    said = "Paused" if before is None else "It was paused already, and its first reason stays"
    head = f"{said}: {visible(given.reason)}. Nothing is granted until `agp resume`."
    output_of(ctx).show("pause", state.model_dump(mode="json"), [head, *_running(state)])


def resume(ctx: typer.Context) -> None:
    """Give grants again."""
    from agp.contracts.control import ControlState, DaemonStatus
    from agp.contracts.gateway import ControlOp

    before = ask_daemon(ControlOp.DAEMON_STATUS, DaemonStatus).paused
    state = ask_daemon(ControlOp.CONTROL_RESUME, ControlState)
    told = "AGP was not paused" if before is None else f"Resumed (it was: {visible(before)})"
    lines = [f"{told}: grants are given.", *_running(state)]
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
    killed = ask_if_running(ControlOp.SESSION_KILL, Killed, wanted)
    if killed is None:
        _refuse_open(wanted.session_id)
        killed = Killed(sessions=())
    lines = [f"Killed {visible(name)}." for name in killed.sessions] or ["No session is live."]
    output_of(ctx).show("kill", killed.model_dump(mode="json"), lines)


def _refuse_open(wanted: SessionId | None) -> None:
    """Claim no end of a session that the journal has open: its harness may still be there.

    Raises:
        DaemonAway: there is such a session, and nobody who could end it.
    """
    from agp.daemon.offline import list_sessions

    found = [one for one in list_sessions(checked_home()).sessions if one.status == "away"]
    if any(wanted in {None, one.session_id} for one in found):
        raise DaemonAway(
            "no daemon is running, and a session did not end in order",
            where=found[0].session_id,
            why="its harness may still be there; nothing is granted to it without a daemon",
            fix="agp daemon start, then agp kill again",
        )


def _status_lines(state: DaemonStatus, output: Output) -> list[str]:
    standing = (
        output.paint("running", "green")
        if state.paused is None
        else output.paint(f"paused: {visible(state.paused)}", "yellow")
    )
    observing = [
        output.paint(f"OBSERVED   {visible(name)}: its rules are not enforced", "yellow")
        for name in state.observing
    ]
    return [
        f"daemon     {standing}, pid {state.pid}, AGP {visible(state.version)}",
        f"since      {visible(state.started_at)}",
        f"journal    {state.events} events, log {visible(state.log_id)}",
        f"key        {state.signing_key_id}",
        f"policy     {state.rules} rules, {state.policy_digest[:16]}",
        f"sessions   {state.sessions} live",
        *observing,
        f"approvals  {state.approvals} waiting" + (" (agp approvals)" if state.approvals else ""),
    ]


def _newest_first(listed: SessionList) -> SessionList:
    """Order by start, the live ones before those that ended; journal times sort as text."""
    newest = sorted(listed.sessions, key=lambda one: one.started_at, reverse=True)
    ordered = sorted(newest, key=lambda one: one.status in {"ended", "reaped"})
    return listed.model_copy(update={"sessions": tuple(ordered)})


def session_lines(listed: tuple[SessionSummary, ...], now: datetime, *, running: bool) -> list[str]:
    """Give a row for each session; `running`: a daemon told it, so that "away" is known."""
    if not listed:
        return ["No sessions. Start one: agp run --task ... --repo ..."]
    observed = any(one.observing or one.let_through for one in listed)
    rows = [
        (
            visible(one.session_id),
            _standing(one, running=running),
            f"{since(now, one.started_at)} ago",
            visible(one.intendant),
            one.grade.value,
            str(one.calls),
            str(one.allowed),
            str(one.asked),
            str(one.denied),
            *((str(one.let_through),) if observed else ()),
            visible(one.workspace),
        )
        for one in listed
    ]
    heads = (*_SESSION_HEADS[:-1], *(("LET THROUGH",) if observed else ()), _SESSION_HEADS[-1])
    used = {_word(one, running=running) for one in listed}
    meant = [f"{word}: {means}" for word, means in _WORDS.items() if word in used]
    return [*table(heads, rows), *(["", *meant] if meant else [])]


def _standing(one: SessionSummary, *, running: bool) -> str:
    """Say how a session stands, and whether it is observed."""
    return _word(one, running=running) + (", OBSERVED" if one.observing else "")


def _word(one: SessionSummary, *, running: bool) -> str:
    """Say in one word how a session stands: a reaped one's outcome is a sentence, for `--json`."""
    match one.status:
        case "held":
            return "running"
        case "away":
            return "away" if running else "open"
        case "ended":
            return visible(one.outcome.replace("_", " ")) or "ended"
        case "reaped":
            return "reaped"


def _running(state: ControlState) -> list[str]:
    if not state.running:
        return ["No granted call is running."]
    rows = [(visible(c.session_id), visible(c.call_id), visible(c.tool)) for c in state.running]
    return ["Granted before, still running:", *table(("SESSION", "CALL", "TOOL"), rows)]
