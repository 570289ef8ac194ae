"""`daemon start|stop|status|run`: the life of the daemon, by hand."""

from __future__ import annotations

import fcntl
import signal
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from agp.cli import control
from agp.cli.wire import ask_daemon, check_keys, checked_home, output_of
from agp.contracts.display import visible
from agp.errors import DaemonAway, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from agp.cli.output import Output
    from agp.daemon.home import Home

app = typer.Typer(help="Start, stop and look at the daemon.", rich_markup_mode=None)

STOP_TIMEOUT_S = 30.0
"""Stopping seals a checkpoint and cancels what waits."""


@app.command()
def start(ctx: typer.Context) -> None:
    """Start the daemon in the background; one that runs already is left as it is."""
    from agp.daemon import background

    home = checked_home()
    found = background.running(home)
    state = found or background.start(home)
    line = f"The daemon {'runs already' if found else 'has started'}, pid {state.pid}."
    output_of(ctx).show("daemon-start", {"started": found is None, "pid": state.pid}, [line])


@app.command()
def stop(ctx: typer.Context) -> None:
    """Stop the daemon: nothing is granted any more, and a checkpoint is sealed."""
    from agp.contracts.gateway import ControlOp
    from agp.daemon import background
    from agp.gateway.once import call_once

    home = checked_home()
    found = background.running(home)
    cut = _Cut([], []) if found is None else _cut()
    line = "No daemon was running."
    if found is not None:
        # One that stops may hang up before its answer is out; the lock tells the truth.
        with suppress(DaemonAway):
            call_once(home.control_socket, ControlOp.DAEMON_STOP, {}, timeout_s=STOP_TIMEOUT_S)
        await_lock(home.lock, STOP_TIMEOUT_S)
        line = f"The daemon has stopped, pid {found.pid}."
    lines = [line, *_cut_lines(cut, home)]
    document = {"stopped": found is not None, **cut._asdict()}
    output_of(ctx).show("daemon-stop", document, lines)


class _Cut(NamedTuple):
    sessions: list[str]
    approvals: list[str]


def _cut() -> _Cut:
    """Name what lives while the daemon stops; one that does not answer is stopped all the same."""
    from agp.contracts.control import ApprovalList, SessionList
    from agp.contracts.gateway import ControlOp

    cut = _Cut([], [])
    with suppress(DaemonAway):
        listed = ask_daemon(ControlOp.SESSION_LIST, SessionList).sessions
        cut.sessions.extend(one.session_id for one in listed if one.status in {"held", "away"})
        asked = ask_daemon(ControlOp.APPROVAL_LIST, ApprovalList).approvals
        cut.approvals.extend(one.approval_id for one in asked)
    return cut


def _cut_lines(cut: _Cut, home: Home) -> list[str]:
    """Say what stands still now, and until when a daemon finds it again."""
    from agp.daemon.config import load_config

    if not cut.sessions:
        return []
    grace = f"{load_config(home.config).reattach_grace_s:g} s"
    return [
        f"It held session {visible(', '.join(cut.sessions))}: nothing is granted there now.",
        *([f"Waiting there: {visible(', '.join(cut.approvals))}"] if cut.approvals else []),
        f"A daemon that starts within {grace} takes this up again; after that the runs end.",
    ]


@app.command()
def status(ctx: typer.Context) -> None:
    """Show what `agp status` shows."""
    control.status(ctx)


@app.command()
def run(
    ctx: typer.Context,
    *,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when the last session has ended.")
    ] = False,
    report_fd: Annotated[int | None, typer.Option("--report-fd", hidden=True)] = None,
) -> None:
    """Be the daemon, in the foreground; a service manager starts it so."""
    from agp.daemon.background import reporting

    with reporting(report_fd):
        _serve(output_of(ctx), until_idle=until_idle)


def _serve(output: Output, *, until_idle: bool) -> None:
    import anyio

    from agp.daemon.config import load_config
    from agp.daemon.lock import exclusive
    from agp.daemon.service import serve
    from agp.daemon.unwrap import unwrapped

    home = checked_home()
    config = load_config(home.config)
    check_keys(home)
    home.create()
    with exclusive(home.lock):
        pass  # another daemon is named before anything else is said; `serve` takes it for good
    output.note(f"AGP serves {visible(str(home.root))}; stop it: agp daemon stop")
    unwrapped(partial(anyio.run, partial(serve, home, config, until_idle=until_idle)))


def await_lock(path: Path, timeout_s: float) -> None:
    """Wait until the daemon has let go of its home: only then has it written its last line.

    Raises:
        Unavailable: it still holds on.
    """

    def give_up(*_: object) -> None:
        raise Unavailable(
            "the daemon did not stop in time",
            where=str(path),
            fix="look into daemon.log; its pid stands in the lock file",
        )

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, timeout_s)
    try:
        with path.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
