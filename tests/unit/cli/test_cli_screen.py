"""`agp run` without a task needs a terminal for the agent's own screen; else a usage error."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Refused:
    claim: str
    words: tuple[str, ...]
    why: str
    terminal: bool = True
    term: str = "xterm-256color"


REFUSED = (
    Refused("no terminal", (), "this is none", terminal=False),
    Refused("no terminal, though asked for", ("--interactive", "--task", "x"), "this is none",
            terminal=False),
    Refused("JSON", ("--json",), "do not go together"),
    Refused("a terminal that cannot be drawn on", (), "cannot be drawn on", term="dumb"),
)  # fmt: skip


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.claim)
def test_where_there_is_no_screen_it_is_a_usage_error(case: Refused, tmp_path) -> None:
    master, slave = pty.openpty()
    stream = slave if case.terminal else subprocess.DEVNULL
    out = subprocess.PIPE if "--json" in case.words else stream
    done = subprocess.run(
        [sys.executable, "-m", "agp", "run", *case.words],
        env={"PATH": os.defpath, "TERM": case.term, "AGP_HOME": str(tmp_path),
             "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=stream, stdout=out, stderr=subprocess.PIPE, timeout=30, check=False,
    )  # fmt: skip
    os.close(master)
    os.close(slave)
    said = " ".join(((done.stdout or b"") + done.stderr).decode().split())
    assert done.returncode == 2
    assert "the agent needs a task, or a terminal for its own screen" in said
    assert case.why in said
    assert list(tmp_path.iterdir()) == []
