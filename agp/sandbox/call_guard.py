"""The first process of a call's view: a watch on the launcher, then the call itself.

    python3 -I -S -c SOURCE LIFELINE REPORT HANDBACK NETWORK COMMAND [ARGUMENT ...]

As `guard.py` does, it starts the command only while the launcher holds the other end of LIFELINE,
and an orphan kills everything in the view once that end closes; REPORT hears an errno if the
command could not be started. HANDBACK stays open for the call's shell, under a number that scripts
do not use: there it says where it ended. With NETWORK `yes` the lifeline stays open as well, for
the forwarder that comes next. Standard library only.
"""

# This file's text runs as `-c`, in a view that does not have AGP's code.
from __future__ import annotations

import os
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


def main(lifeline: int, report: int, handback: int, network: str, command: list[str]) -> None:
    """Fork the watch as an orphan, then become the command."""
    state = select.poll()
    state.register(lifeline, select.POLLIN)
    if state.poll(0):
        os._exit(97)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            watch(lifeline, (report, handback))
        os._exit(0)
    os.waitpid(child, 0)
    os.dup2(handback, HANDED_BACK)
    os.close(handback)
    if network == "yes":
        os.dup2(lifeline, LIFELINE)
    os.close(lifeline)
    os.set_inheritable(report, False)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the granted argv, no shell of ours
    except OSError as error:
        os.write(report, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:])
