"""The first process of a local command's view: a watch on the daemon, then the command itself.

    python3 -I -S -c SOURCE LIFELINE REPORT MOST COMMAND [ARGUMENT ...]

bubblewrap killed while it starts leaves its child running without a parent-death signal (measured:
46 of 150). So the command is started only while the daemon holds the other end of LIFELINE, and
an orphan kills everything in the view once that end closes. REPORT hears an errno if the command
could not be started, and closes if it was. MOST bounds the processes of the view. Standard library
only.
"""

# This file's text runs as `-c`, in a view that does not have AGP's code.
from __future__ import annotations

import os
import resource
import select
import signal
import sys


def watch(lifeline: int, report: int) -> None:
    """Let go of the command's streams, wait for the daemon's end, end the view."""
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2, report):
            os.dup2(nothing, descriptor)
        os.read(lifeline, 1)
    finally:
        os.kill(-1, signal.SIGKILL)
        os._exit(97)


def bound(most: int) -> None:
    """Bound the processes of the view, for good; a core dump is written nowhere.

    Attack: a fork bomb. A limit of one byte also keeps the host's own handler of core dumps from
    being started; with none at all a piped one is.
    """
    for kind, wanted in ((resource.RLIMIT_NPROC, most), (resource.RLIMIT_CORE, 1)):
        hard = resource.getrlimit(kind)[1]
        least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (least, least))


def set_watch(lifeline: int, report: int) -> None:
    """Fork the watch as an orphan; where it cannot be made the child has reported why."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            watch(lifeline, report)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        os._exit(127)


def main(lifeline: int, report: int, most: int, command: list[str]) -> None:
    """Set the watch, then become the command; without bound and watch it is never started."""
    state = select.poll()
    state.register(lifeline, select.POLLIN)
    if state.poll(0):
        os._exit(97)
    try:
        bound(most)
        set_watch(lifeline, report)
        os.close(lifeline)
        os.set_inheritable(report, False)
        os.execvp(command[0], command)  # noqa: S606 - the granted argv, no shell
    except OSError as error:
        os.write(report, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
