"""`daemon start|stop|status|run`: the life of the daemon, by hand."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from agp.cli import control
from agp.cli.wire import ask_daemon, checked_home, output_of
from agp.errors import DaemonAway, Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from agp.contracts.control import DaemonStatus
    from agp.daemon.home import Home

app = typer.Typer(help="Start, stop and look at the daemon.", rich_markup_mode=None)

START_ATTEMPTS = 200
ATTEMPT_S = 0.05
"""Together 10 s: a daemon first verifies its journal's head."""
STOP_TIMEOUT_S = 30.0
"""Stopping seals a checkpoint and cancels what waits."""


@app.command()
def start(ctx: typer.Context) -> None:
    """Start the daemon in the background; one that runs already is left as it is."""
    home = checked_home()
    state = _running()
    started = state is None
    if state is None:
        state = _start(home)
    line = f"The daemon {'has started' if started else 'runs already'}, pid {state.pid}."
    document = {"started": started, "pid": state.pid}
    output_of(ctx).show("daemon-start", document, [line])


@app.command()
def stop(ctx: typer.Context) -> None:
    """Stop the daemon: nothing is granted any more, and a checkpoint is sealed."""
    from agp.contracts.gateway import ControlOp
    from agp.gateway.once import call_once

    home = checked_home()
    state = _running()
    if state is not None:
        call_once(home.control_socket, ControlOp.DAEMON_STOP, {}, timeout_s=STOP_TIMEOUT_S)
        await_lock(home.lock, STOP_TIMEOUT_S)
    line = (
        "No daemon was running." if state is None else f"The daemon has stopped, pid {state.pid}."
    )
    output_of(ctx).show("daemon-stop", {"stopped": state is not None}, [line])


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
) -> None:
    """Be the daemon, in the foreground; a service manager starts it so."""
    import anyio

    from agp.daemon.config import load_config
    from agp.daemon.service import serve

    home = checked_home()
    config = load_config(home.config)
    output_of(ctx).note(f"AGP serves {home.root}; stop it with Ctrl-C or `agp daemon stop`.")
    anyio.run(partial(serve, home, config, until_idle=until_idle))


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


def _running() -> DaemonStatus | None:
    from agp.contracts.control import DaemonStatus
    from agp.contracts.gateway import ControlOp

    try:
        return ask_daemon(ControlOp.DAEMON_STATUS, DaemonStatus)
    except DaemonAway:
        return None


def _start(home: Home) -> DaemonStatus:
    """Start a process of its own session and wait until it answers.

    Raises:
        Unavailable: it ended, or did not answer in time; the log says why.
    """
    with home.log.open("ab") as log:
        home.log.chmod(0o600)
        child = subprocess.Popen(
            [sys.executable, "-m", "agp", "daemon", "run"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    for _ in range(START_ATTEMPTS):
        try:
            ended = child.wait(timeout=ATTEMPT_S)
        except subprocess.TimeoutExpired:
            ended = None
        if ended is not None:
            raise Unavailable(
                "the daemon ended at once", where=str(home.log), fix=f"tail {home.log}"
            )
        state = _running()
        if state is not None:
            return state
    child.terminate()
    raise Unavailable(
        "the daemon did not answer in time", where=str(home.log), fix=f"tail {home.log}"
    )
