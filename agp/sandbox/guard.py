"""The first process of a local command's view: a watch on the daemon, then the command itself.

    python3 -I -S -c SOURCE LIFELINE REPORT COMMAND [ARGUMENT ...]

bubblewrap killed while it starts leaves its child running without a parent-death signal (measured:
46 of 150). So the command is started only while the daemon holds the other end of LIFELINE, and
an orphan kills everything in the view once that end closes. REPORT hears an errno if the command
could not be started, and closes if it was. Standard library only.
"""

# This file's text runs as `-c`, in a view that does not have AGP's code.
from __future__ import annotations

import os
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


def main(lifeline: int, report: int, command: list[str]) -> None:
    """Fork the watch as an orphan, then become the command."""
    state = select.poll()
    state.register(lifeline, select.POLLIN)
    if state.poll(0):
        os._exit(97)
    child = os.fork()
    if child == 0:
        if os.fork() == 0:
            watch(lifeline, report)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(lifeline)
    os.set_inheritable(report, False)
    try:
        os.execvp(command[0], command)  # noqa: S606 - the granted argv, no shell
    except OSError as error:
        os.write(report, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
