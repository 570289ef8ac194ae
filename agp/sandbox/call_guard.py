"""The first process of a call's view: a watch on the launcher, then the call itself.

    python3 -I -S -c SOURCE LIFELINE REPORT HANDBACK NETWORK MOST COMMAND [ARGUMENT ...]

As `guard.py` does, it starts the command only while the launcher holds the other end of LIFELINE,
and an orphan kills everything in the view once that end closes; REPORT hears an errno if the
command could not be started. HANDBACK stays open for the call's shell, under a number that scripts
do not use: there it says where it ended. With NETWORK `yes` the lifeline stays open as well, for
the forwarder that comes next. MOST bounds the processes of the view. Standard library only.
"""

# This file's text runs as `-c`, in a view that does not have AGP's code.
from __future__ import annotations

import os
import resource
import select
import signal
import sys

HANDED_BACK = 709
LIFELINE = 708


def watch(lifeline: int, others: tuple[int, ...]) -> None:
    """Let go of the command's streams, wait for the launcher's end, end the view."""
    try:
        nothing = os.open("/dev/null", os.O_RDWR)
        for descriptor in (0, 1, 2, *others):
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


def set_watch(lifeline: int, others: tuple[int, ...]) -> None:
    """Fork the watch as an orphan; where it cannot be made the child has reported why."""
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            watch(lifeline, others)
        os._exit(0)
    if os.waitpid(child, 0)[1] != 0:
        os._exit(127)


def main(pipes: list[int], network: str, most: int, command: list[str]) -> None:
    """Set the watch, then become the command; without bound and watch it is never started."""
    lifeline, report, handback = pipes
    state = select.poll()
    state.register(lifeline, select.POLLIN)
    if state.poll(0):
        os._exit(97)
    try:
        bound(most)
        set_watch(lifeline, (report, handback))
        os.dup2(handback, HANDED_BACK)
        os.close(handback)
        if network == "yes":
            os.dup2(lifeline, LIFELINE)
        os.close(lifeline)
        os.set_inheritable(report, False)
        os.execvp(command[0], command)  # noqa: S606 - the granted argv, no shell of ours
    except OSError as error:
        os.write(report, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:4]], sys.argv[4], int(sys.argv[5]), sys.argv[6:])
