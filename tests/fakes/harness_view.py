"""Entering a running harness's view from a test, as its user: what a granted call could do before
calls had views of their own, and what code in the harness itself still could."""

from __future__ import annotations

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


def entering(made: House, *words: str, cwd: str = "/") -> list[str]:
    """Spell a program in the harness's own view, with its namespaces, its user, no capability."""
    (pid,) = of_view(made, HARNESS)
    uid = str(made.repo.stat().st_uid)
    enter = ["nsenter", "-t", str(pid), "-U", "-m", "-p", "-n", "-i", f"--wdns={cwd}"]
    enter += ["-S", uid, "-G", uid] if os.geteuid() == 0 else ["--preserve-credentials"]
    return [*enter, *words]


ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/home/agent"}


def in_harness_view(made: House, *words: str, cwd: str = "/") -> subprocess.CompletedProcess[str]:
    """Run a program there to its end."""
    return subprocess.run(
        entering(made, *words, cwd=cwd),
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * DEADLINE_S,
    )


@contextmanager
def beside_harness(made: House, *words: str) -> Iterator[None]:
    """Have a program run there, in the workspace, while the block runs; then see that it ended."""
    process = subprocess.Popen(entering(made, *words, cwd=str(made.repo)), env=ENVIRONMENT)
    try:
        yield
        assert process.wait(2 * DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
