"""Running one command in a view to its end, with limits; cancelled means killed, with all of it."""

from __future__ import annotations

import math
import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

import anyio

from agp.errors import IntegrityError, Unavailable
from agp.sandbox.spawn import Spawn, opened

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from agp.sandbox.host import RunAs
    from agp.sandbox.profile import ViewSpec

KILLED = 128 + 9


class Limits(NamedTuple):
    """What one command may use."""

    timeout_s: float
    output: int
    """Bytes kept of each stream; the rest is read and counted."""


class Captured:
    """One output stream: its head within the limit, and how long it was."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.kept = bytearray()
        self.total = 0

    async def fill(self, stream: ByteReceiveStream) -> None:
        """Read to the end; beyond the limit bytes are counted and dropped."""
        async for chunk in stream:
            self.total += len(chunk)
            self.kept += chunk[: max(0, self._limit - len(self.kept))]


class Outcome(NamedTuple):
    """How a command ended."""

    exit_code: int
    stdout: Captured
    stderr: Captured
    duration_ms: int
    timed_out: bool


async def run_view(spec: ViewSpec, who: RunAs, *, stdin: bytes, limits: Limits) -> Outcome:
    """Start the view and wait until nothing of it is left.

    Raises:
        Unavailable: the command was never started: no bubblewrap that works, or no such command.
        IntegrityError: something of the view outlived it.
    """
    stdout, stderr = Captured(limits.output), Captured(limits.output)
    started = time.monotonic()
    with opened(spec, who) as spawn:
        process = await start(spawn)
        timed_out = True
        try:
            with anyio.move_on_after(limits.timeout_s):
                await _converse(process, stdin, stdout, stderr)
                timed_out = False
        finally:
            await end(process, spawn)
        status, report = spawn.status(), spawn.report()
    duration_ms = math.ceil((time.monotonic() - started) * 1000)
    if timed_out:
        return Outcome(KILLED, stdout, stderr, duration_ms, timed_out=True)
    if report:
        raise not_started(os.strerror(int(report)).encode())
    if status.exit_code is None:
        raise not_started(bytes(stderr.kept))
    return Outcome(status.exit_code, stdout, stderr, duration_ms, timed_out=False)


async def start(spawn: Spawn, *, stdin: int = subprocess.PIPE) -> Process:
    """Start it, not to be cancelled: asyncio would leave a started process without an owner.

    Raises:
        Unavailable: it could not be started.
    """
    process: Process | None = None
    try:
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                spawn.argv,
                stdin=stdin,
                pass_fds=spawn.pass_fds,
                env=spawn.environment,
                cwd="/",
            )
    except OSError as error:
        raise not_started(str(error).encode()) from error
    if process is None:
        raise not_started(b"its start was cancelled")
    return process


async def _converse(process: Process, stdin: bytes, stdout: Captured, stderr: Captured) -> None:
    if process.stdin is None or process.stdout is None or process.stderr is None:
        raise Unavailable("a command in the sandbox has no streams")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_feed, process.stdin, stdin)
        tasks.start_soon(stdout.fill, process.stdout)
        tasks.start_soon(stderr.fill, process.stderr)
        await process.wait()


async def _feed(stream: ByteSendStream, data: bytes) -> None:
    try:
        await stream.send(data)
        await stream.aclose()
    except anyio.BrokenResourceError:
        return  # the command does not read its input; that is its business


async def end(process: Process, spawn: Spawn) -> None:
    """End the view whatever it does; a survivor is worse than an error.

    Raises:
        IntegrityError: something of it is left.
    """
    if not await spawn.end(process):
        raise IntegrityError(
            "processes of a sandbox outlived it",
            where=f"process {spawn.status().pid}",
            fix="look at it and its children with ps, and end them",
        )


def not_started(said: bytes) -> Unavailable:
    """Say that a command never ran, in bubblewrap's own words."""
    return Unavailable(
        "a command could not be started in the sandbox; it did not run",
        where="bwrap",
        why=said.decode(errors="replace").strip()[-500:],
        fix="run `agp doctor`; bubblewrap needs user namespaces "
        "(sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile for bwrap)",
    )
