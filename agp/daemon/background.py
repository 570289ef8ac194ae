"""Starting a daemon as a process of its own, and waiting until it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from agp.contracts.control import DaemonStatus
from agp.contracts.gateway import ControlOp
from agp.errors import AgpError, DaemonAway, Unavailable
from agp.gateway.failure import error_of, failure_fields
from agp.gateway.once import call_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agp.daemon.home import Home

_ATTEMPTS: Final = 200
_ATTEMPT_S: Final = 0.05
"""Together 10 s: a daemon first proves its journal's head."""
_ANSWER_S: Final = 10.0
_REPORT_LIMIT: Final = 1024 * 1024


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
        AgpError: it ended at once; this is its own error, in its own class.
        Unavailable: it ended without one, or did not answer in time; the log says why.
    """
    report = os.memfd_create("agp-final-error")
    try:
        return _started(home, report, arguments)
    finally:
        os.close(report)


@contextmanager
def reporting(descriptor: int | None) -> Iterator[None]:
    """Write the error of the tree that ends the block to whoever started this process."""
    if descriptor is None:
        yield
        return
    with suppress(OSError):
        os.set_inheritable(descriptor, False)
    try:
        yield
    except AgpError as error:
        with suppress(OSError):  # nobody may listen any more; the log has it as well
            os.write(descriptor, json.dumps(failure_fields(error)).encode())
        raise


def _started(home: Home, report: int, arguments: tuple[str, ...]) -> DaemonStatus:
    with home.log.open("ab") as log:
        home.log.chmod(0o600)
        begin = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "agp", "daemon", "run", f"--report-fd={report}", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            pass_fds=(report,),
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
            error = _reported(report) or _silent(home, begin)
            if error.where != str(home.lock):
                raise error
            time.sleep(_ATTEMPT_S)  # another one took the lock first: it is the daemon, and answers
    child.terminate()
    raise Unavailable(
        "the daemon did not answer in time", where=str(home.log), fix=f"tail {home.log}"
    )


def _reported(report: int) -> AgpError | None:
    """Read the error that the child left; None where it left none, or half of one."""
    os.lseek(report, 0, os.SEEK_SET)
    with os.fdopen(report, "rb", closefd=False) as file:
        said = file.read(_REPORT_LIMIT)
    try:
        fields = json.loads(said)
    except ValueError:
        return None
    if not isinstance(fields, dict):
        return None
    return error_of({name: text for name, text in fields.items() if isinstance(text, str)})


def _silent(home: Home, begin: int) -> Unavailable:
    return Unavailable(
        "the daemon ended at once",
        where=str(home.log),
        why=_last_words(home, begin),
        fix="mend what it says, then try again; `agp doctor` looks at everything",
    )


def _last_words(home: Home, begin: int) -> str:
    with home.log.open("rb") as log:
        log.seek(begin)
        lines = log.read(64_000).decode("utf-8", "replace").strip().splitlines()
    return " / ".join(line.strip() for line in lines[-4:]) or "it said nothing"
