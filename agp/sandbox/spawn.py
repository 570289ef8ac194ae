"""Starting a view: descriptors, the command line for this user, and how it ended.

The caller spawns the process itself, from its main thread: `--die-with-parent` follows the thread
that spawned it (measured). Leaving the context closes the lifeline, which ends a harness view.

Source: bwrap(1); ADR 0006.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import anyio

from agp.errors import ConfigurationError
from agp.sandbox.host import TOOL_PATH, RunAs, tool
from agp.sandbox.profile import ViewSpec, bwrap_options, format_options
from agp.sandbox.seccomp import filter_program
from agp.sandbox.staging import own_argv, stage, staging_argv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anyio.abc import Process

LIFELINE = "@lifeline"
"""In a view's argv: replaced by the number of the lifeline's reading end."""
REPORT = "@report"
"""In a view's argv: replaced by the number of a writing end that `Spawn.report` hears."""
HANDBACK = "@handback"
"""In a view's argv: replaced by the number of a writing end that `Spawn.handed_back` hears."""
SPAWN_ENVIRONMENT: Mapping[str, str] = {"PATH": TOOL_PATH, "LC_ALL": "C"}
"""For the tools that build the view; the command inside gets the view's own environment only."""

_OUR_WORDS = 8
"""The placeholders count only among a view's first words; the command behind them may say them."""
GONE_TIMEOUT_S = 5.0
NAMED_TIMEOUT_S = 2.0


class Status(NamedTuple):
    """What bubblewrap says about its child, in the host's numbers; None: not said (yet)."""

    pid: int | None
    """Of the view's pid 1."""
    exit_code: int | None
    """None after the end: the command was never started, or bubblewrap was killed."""


class Spawn:
    """One process to start: pass `argv`, `pass_fds` and `environment` to `anyio.open_process`."""

    def __init__(
        self,
        argv: tuple[str, ...],
        pass_fds: tuple[int, ...],
        status_fd: int,
        report_fd: int,
        handback_fd: int,
    ) -> None:
        self.argv = argv
        self.pass_fds = pass_fds
        self.environment = SPAWN_ENVIRONMENT
        self._status_fd = status_fd
        self._report_fd = report_fd
        self._handback_fd = handback_fd
        self._said = b""
        self._ended = False

    def report(self) -> bytes:
        """Read what the view's first process reported; empty: it became the command."""
        return _read_now(self._report_fd)

    def handed_back(self) -> bytes:
        """Read what the command said on its own descriptor; whoever ran inside may have said it."""
        return _read_now(self._handback_fd)

    def status(self) -> Status:
        """Read what bubblewrap has said so far; never blocks."""
        while chunk := _read_now(self._status_fd):
            self._said += chunk
        pid = exit_code = None
        for line in self._said.splitlines(keepends=True):
            said = json.loads(line) if line.endswith(b"\n") else {}
            pid = said.get("child-pid", pid)
            exit_code = said.get("exit-code", exit_code)
        return Status(pid, exit_code)

    async def end(self, process: Process) -> bool:
        """Kill the view, wait until nothing of it is left; False: something is.

        Its pid 1 is killed, not only bubblewrap: a bubblewrap that is killed while it starts leaves
        its child running (measured: 46 of 150). So a view that is just starting is first given the
        time to name its pid 1. Not to be cancelled.
        """
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                await self._named(process)
                _kill_child(self.status().pid, process.pid)
                with suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
            await process.aclose()
            self._ended = await self.gone()
        return self._ended

    async def named(self, process: Process) -> int | None:
        """Wait, bounded, for the view's pid 1; None: it was not named."""
        await self._named(process)
        return self.status().pid

    async def _named(self, process: Process) -> None:
        """Wait, bounded, until bubblewrap has named its child or has said its last."""
        with anyio.move_on_after(NAMED_TIMEOUT_S):
            while self.status().pid is None and process.returncode is None:
                with anyio.move_on_after(0.05):
                    await anyio.wait_readable(self._status_fd)

    async def gone(self) -> bool:
        """Wait until the view's pid 1 is gone, and with it every process; False: it is not.

        Call it after bubblewrap itself has ended: bubblewrap ends first, the kernel then kills
        pid 1 by its parent-death signal (measured: some milliseconds later).
        """
        pid = self.status().pid
        if pid is None:
            return True
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return True
        try:
            with anyio.move_on_after(GONE_TIMEOUT_S):
                await anyio.wait_readable(descriptor)
                return True
            return False
        finally:
            os.close(descriptor)


@contextmanager
def opened(spec: ViewSpec, who: RunAs) -> Iterator[Spawn]:
    """Open what the view needs from its parent; hold it open for as long as the view may live.

    Raises:
        ConfigurationError: not the main thread, a missing source or tool.
    """
    if threading.current_thread() is not threading.main_thread():
        raise ConfigurationError(
            "a view was started from a thread that is not the main one",
            why="it would be killed when that thread ends, and not when the process does",
        )
    directories = _check_sources(spec)
    with ExitStack() as stack:
        status, said = os.pipe2(os.O_CLOEXEC)
        lifeline, held = os.pipe2(os.O_CLOEXEC)
        heard, report = os.pipe2(os.O_CLOEXEC)
        place, handback = os.pipe2(os.O_CLOEXEC)
        for descriptor in (status, said, lifeline, held, heard, report, place, handback):
            stack.callback(os.close, descriptor)
        for reading in (status, heard, place):
            os.set_blocking(reading, False)
        program = _memory(filter_program(nesting=spec.nesting), stack)
        files = tuple(_memory(file.content, stack) for file in spec.files)
        numbers = {LIFELINE: lifeline, REPORT: report, HANDBACK: handback}
        used = tuple(numbers[word] for word in spec.argv[:_OUR_WORDS] if word in numbers)
        argv = tuple(str(numbers.get(word, word)) for word in spec.argv[:_OUR_WORDS])
        argv += spec.argv[_OUR_WORDS:]
        before, placed = _placed(spec.model_copy(update={"argv": argv}), who, directories)
        options = bwrap_options(placed, seccomp_fd=program, file_fds=files)
        given = _memory(format_options(("--json-status-fd", str(said), *options)), stack)
        words = (*before, tool("bwrap"), "--args", str(given), "--", *placed.argv)
        yield Spawn(words, (said, given, program, *files, *used), status, heard, place)


def _kill_child(pid: int | None, parent: int) -> None:
    """Kill the process if it is still the parent's child; a number used again is somebody else."""
    if pid is None:
        return
    with suppress(OSError), ExitStack() as stack:
        held = os.pidfd_open(pid)
        stack.callback(os.close, held)
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        if int(state[1]) == parent:
            signal.pidfd_send_signal(held, signal.SIGKILL)


def _placed(
    spec: ViewSpec, who: RunAs, directories: frozenset[str]
) -> tuple[tuple[str, ...], ViewSpec]:
    """Give what comes before bubblewrap for this user, and the view with sources he can reach."""
    if not who.staged:
        return own_argv(spec), spec
    placed, staged = stage(spec, directories)
    return staging_argv(staged, who), placed


def _check_sources(spec: ViewSpec) -> frozenset[str]:
    """Name which sources are directories; a missing one is ours to explain, not bubblewrap's."""
    for bind in (*spec.shared, *spec.system, *spec.binds, *spec.masks):
        if not Path(bind.source).exists():
            raise ConfigurationError(
                "something that a view shows does not exist",
                where=bind.source,
                fix="create it, or take it out of the configuration",
            )
    given = (*spec.shared, *spec.binds)
    return frozenset(bind.source for bind in given if Path(bind.source).is_dir())


def _memory(content: bytes, stack: ExitStack) -> int:
    """Hold bytes in an anonymous file, readable from its start."""
    descriptor = os.memfd_create("agp", os.MFD_CLOEXEC)
    stack.callback(os.close, descriptor)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _read_now(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""
