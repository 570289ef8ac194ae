"""Removing what agents made: in a child process, in turn, never raising into the daemon.

Attack: a directory 1500 deep ends a recursive walk with an error, and 150,000 files hold the loop
for seconds: one session would stop every other. So a directory is only renamed on the loop, and
`rm`, which walks without recursion, frees its space beside it. What is left over, because the
daemon ended or the time was up, is removed after the next session or by the next daemon.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from agp.errors import ConfigurationError
from agp.sandbox.host import tool

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE_S: Final = 120.0
"""For one directory."""


class Removal:
    """Removes directories; `place` holds what was taken and not yet removed."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._one_at_a_time = anyio.Lock()

    def take(self, directory: Path) -> None:
        """Take a directory out of its place at once; an absent one is none. Never raises."""
        try:
            self._place.mkdir(mode=0o700, exist_ok=True)
            directory.rename(self._place / f"{directory.name}-{secrets.token_hex(4)}")
        except FileNotFoundError:
            return
        except OSError as error:
            _left_over(directory, os.strerror(error.errno or 0))

    async def empty(self) -> None:
        """Remove everything that was taken, in bounded time. Never raises."""
        async with self._one_at_a_time:
            try:
                taken = sorted(self._place.iterdir())
            except OSError:
                return
            for directory in taken:
                await _remove(directory)


async def _remove(directory: Path) -> None:
    """Remove one tree; where its owner closed a part of it to himself, open it first."""
    steps = (
        ("rm", "-rf", "--one-file-system"),
        ("chmod", "-R", "u+rwX"),
        ("rm", "-rf", "--one-file-system"),
    )
    with anyio.move_on_after(_PATIENCE_S):
        for name, *options in steps:
            if await _ran(name, *options, "--", str(directory)) and name == "rm":
                return
    _left_over(directory, "it could not be removed in time, or not at all")


async def _ran(name: str, *words: str) -> bool:
    try:
        done = await anyio.run_process(
            [tool(name), *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
            cwd="/",
            env={},
        )
    except (OSError, ConfigurationError):  # no room for a process: the next one tries again
        return False
    return done.returncode == 0


def _left_over(directory: Path, why: str) -> None:
    structlog.get_logger().warning("a directory is left over", where=str(directory), why=why)
