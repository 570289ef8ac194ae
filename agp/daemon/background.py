"""Starting a daemon as a process of its own, and waiting until it answers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from agp.contracts.control import DaemonStatus
from agp.contracts.gateway import ControlOp
from agp.errors import DaemonAway, Unavailable
from agp.gateway.once import call_once

if TYPE_CHECKING:
    from agp.daemon.home import Home

_ATTEMPTS: Final = 200
_ATTEMPT_S: Final = 0.05
"""Together 10 s: a daemon first proves its journal's head."""
_ANSWER_S: Final = 10.0


def running(home: Home) -> DaemonStatus | None:
    """Ask the daemon of this home how it is; None: nobody answers."""
    try:
        said = call_once(home.control_socket, ControlOp.DAEMON_STATUS, {}, timeout_s=_ANSWER_S)
    except DaemonAway:
        return None
    return DaemonStatus.model_validate_json(json.dumps(said))


def start(home: Home, *, arguments: tuple[str, ...] = ()) -> DaemonStatus:
    """Start a daemon in a session of its own and wait until it answers.

    Raises:
        Unavailable: it ended at once, or did not answer in time; the log says why.
    """
    with home.log.open("ab") as log:
        home.log.chmod(0o600)
        begin = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "agp", "daemon", "run", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    for _ in range(_ATTEMPTS):
        try:
            ended = child.wait(timeout=_ATTEMPT_S)
        except subprocess.TimeoutExpired:
            ended = None
        state = running(home)
        if state is not None:
            return state
        if ended is not None:
            raise Unavailable(
                "the daemon ended at once",
                where=str(home.log),
                why=_last_words(home, begin),
                fix="mend what it says, then try again; `agp doctor` looks at everything",
            )
    child.terminate()
    raise Unavailable(
        "the daemon did not answer in time", where=str(home.log), fix=f"tail {home.log}"
    )


def _last_words(home: Home, begin: int) -> str:
    with home.log.open("rb") as log:
        log.seek(begin)
        lines = log.read(64_000).decode("utf-8", "replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-4:]) or "it said nothing"
