"""Entering a running harness's view from a test, as its user: what a granted call could do before
calls had views of their own, and what code in the harness itself still could."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.fakes.agp_house import DEADLINE_S, House

HARNESS = b"/opt/agp/claude\0"


def of_view(made: House, words: bytes) -> list[int]:
    """Name the processes of this house's views whose command line begins so."""
    found = []
    for pid in made.view_processes():
        with suppress(OSError):  # it has ended meanwhile
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(words):
                found.append(pid)
    return found


NS_GET_PARENT = 0xB702
"""ioctl_ns(2)."""


@contextmanager
def entering(made: House, *words: str, cwd: str = "/") -> Iterator[tuple[list[str], int]]:
    """Spell a program in the harness's own view as its user; give the descriptor that it needs.

    bubblewrap owns the view by a user namespace around the one in which the harness runs: an
    ordinary user enters through that one, root needs no such way.
    """
    (pid,) = of_view(made, HARNESS)
    uid = str(made.repo.stat().st_uid)
    inner = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
    outer = fcntl.ioctl(inner, NS_GET_PARENT)
    enter = ["nsenter", "-t", str(pid), "-m", "-p", "-n", "-i", f"--wdns={cwd}"]
    if os.geteuid() == 0:
        enter += ["-U", "-S", uid, "-G", uid]
    else:
        enter += [f"--user=/proc/self/fd/{outer}", "--preserve-credentials"]
    try:
        yield [*enter, *words], outer
    finally:
        os.close(inner)
        os.close(outer)


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/home/agent"}


def in_harness_view(made: House, *words: str, cwd: str = "/") -> subprocess.CompletedProcess[str]:
    """Run a program there to its end."""
    with entering(made, *words, cwd=cwd) as (argv, outer):
        return subprocess.run(
            argv,
            env=ENVIRONMENT,
            pass_fds=(outer,),
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * DEADLINE_S,
        )


@contextmanager
def beside_harness(made: House, *words: str) -> Iterator[None]:
    """Have a program run there, in the workspace, while the block runs; then see that it ended."""
    with entering(made, *words, cwd=str(made.repo)) as (argv, outer):
        process = subprocess.Popen(argv, env=ENVIRONMENT, pass_fds=(outer,))
    try:
        yield
        assert process.wait(2 * DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
