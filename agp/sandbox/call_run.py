"""Running one call in its view while somebody waits for it; ended with all of it when nobody does.

The streams are handed on as they come, in pieces, and held back where the reader is slow. What the
call leaves in the background ends with it: its view has no life of its own.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import subprocess
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

import anyio
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream

from agp.contracts.base import Digest
from agp.errors import Unavailable
from agp.sandbox.run import end, not_started, start
from agp.sandbox.spawn import GONE_TIMEOUT_S, Spawn, opened

if TYPE_CHECKING:
    from anyio.abc import ByteReceiveStream, ByteSendStream, Process

    from agp.sandbox.host import RunAs
    from agp.sandbox.profile import ViewSpec

CHUNK: Final = 64 * 1024
StreamName = Literal["stdout", "stderr"]
Send = Callable[[StreamName, bytes], Awaitable[None]]
"""Hands one piece on; raises anyio's `BrokenResourceError` once nobody takes it."""
Feed = Callable[["ByteSendStream | None"], Awaitable[None]]
"""Writes the call's input where it has one; returns once nobody waits for the call any more."""


@dataclass
class CallRun:
    """What is known of one run; filled while it goes on, so that a cancelled one can be told."""

    exit_code: int | None = None
    """None: nobody waited for its end, or it was cancelled."""
    directory: str = ""
    """Where its shell ended, inside the workspace; empty: not said, or elsewhere."""
    output_bytes: int = 0
    began: float = field(default_factory=time.monotonic)
    _digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def count(self, data: bytes) -> None:
        """Take one piece of output into the digest, in the order in which it is handed on."""
        self.output_bytes += len(data)
        self._digest.update(data)

    @property
    def output_sha256(self) -> Digest:
        """Of both streams' pieces in that order."""
        return Digest(self._digest.hexdigest())

    @property
    def duration_ms(self) -> int:
        """So far."""
        return int((time.monotonic() - self.began) * 1000)


async def run_call(  # noqa: PLR0913 - the view, and each way in and out of it
    spec: ViewSpec,
    who: RunAs,
    run: CallRun,
    *,
    workspace: str,
    send: Send,
    feed: Feed,
    serves: bool,
) -> None:
    """Run it to its end, or until nobody waits; then nothing of it is left.

    `serves`: it reads standard input; other calls have none.

    Raises:
        Unavailable: it was never started.
        IntegrityError: something of the view outlived it.
    """
    with opened(spec, who) as spawn:
        process = await start(spawn, stdin=subprocess.PIPE if serves else subprocess.DEVNULL)
        waited_for = False
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_left, feed, process, tasks.cancel_scope)
                await _relayed(process, run, send, tasks.cancel_scope)
                waited_for = not tasks.cancel_scope.cancel_called
                tasks.cancel_scope.cancel()
        finally:
            await end(process, spawn)
        if waited_for:
            _judge(spawn, run, workspace)


async def _until_left(feed: Feed, process: Process, scope: anyio.CancelScope) -> None:
    await feed(process.stdin)
    scope.cancel()


async def _relayed(process: Process, run: CallRun, send: Send, scope: anyio.CancelScope) -> None:
    """Hand both streams on to their end, which comes when nothing of the view is left."""
    if process.stdout is None or process.stderr is None:
        raise Unavailable("a call in its view has no streams")
    sending = anyio.Lock()

    async def one(name: StreamName, source: ByteReceiveStream) -> None:
        try:
            while True:
                data = await source.receive(CHUNK)
                async with sending:
                    run.count(data)
                    await send(name, data)
        except EndOfStream:
            return
        except (BrokenResourceError, ClosedResourceError):
            scope.cancel()

    async with anyio.create_task_group() as relays:
        relays.start_soon(one, "stdout", process.stdout)
        relays.start_soon(one, "stderr", process.stderr)
        await process.wait()
        # bubblewrap has ended, the kernel kills what it left: the streams end some milliseconds on.
        relays.cancel_scope.deadline = anyio.current_time() + GONE_TIMEOUT_S


def _judge(spawn: Spawn, run: CallRun, workspace: str) -> None:
    report, status = spawn.report(), spawn.status()
    if report:
        raise not_started(os.strerror(int(report)).encode())
    if status.exit_code is None:
        raise not_started(b"bubblewrap ended without a word about it")
    run.exit_code = status.exit_code
    run.directory = inside(spawn.handed_back(), workspace)


def inside(said: bytes, workspace: str) -> str:
    """Read where a shell ended; whatever is no plain directory of the workspace is nothing.

    Anybody in the view may have written it, so it is worth what a `cd` of theirs is worth.
    """
    line, end_of_line, rest = said.partition(b"\n")
    try:
        path = line.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    if rest or not end_of_line or not path.isprintable() or posixpath.normpath(path) != path:
        return ""
    return path if path == workspace or path.startswith(workspace + "/") else ""
