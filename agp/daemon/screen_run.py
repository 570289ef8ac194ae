"""One governed harness at its own screen: the interactive sibling of `harness_run`.

There is no event stream. Model traffic flows once SessionStart was heard on this session's own
ask socket; past the deadline the view is killed. What hooks do not see is taken from the harness's
transcripts, while it runs and at its end, and every call that they show as executed must have a
decision and a redeemed ticket.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from agp.channels.harness_output import text_only
from agp.channels.harness_pty import HarnessPty
from agp.channels.pty_proxy import PtyProxy
from agp.contracts.journal import HarnessObserved
from agp.daemon.harness_run import HarnessRun
from agp.daemon.messages import LiveView
from agp.daemon.transcript_watch import TranscriptWatch
from agp.errors import RunRefused
from agp.intendants.claude_code.seed import SEED_FILE, home_seed
from agp.intendants.claude_code.stream import Executed
from agp.sandbox.host import run_as
from agp.sandbox.view import write_home

if TYPE_CHECKING:
    from anyio.abc import Process

    from agp.daemon.config import Config
    from agp.daemon.front import ScreenFront
    from agp.daemon.home import Home
    from agp.daemon.lease import Lease
    from agp.daemon.plans import Planned
    from agp.sandbox.places import PlacesPlan
    from agp.sandbox.spawn import Spawn
    from agp.sandbox.view import ViewCommand

_SETTLE_S: Final = 1.0
"""From a typed line to a look at what the harness wrote about it."""
_LAST_LINES: Final = 4


class ScreenRun(HarnessRun):
    """One harness in one view, on a terminal that AGP made for it."""

    def __init__(
        self, home: Home, config: Config, planned: Planned, lease: Lease, front: ScreenFront
    ) -> None:
        super().__init__(home, config, planned, lease, front)
        self._screen = front
        self._typed = anyio.Event()
        self._watch: TranscriptWatch | None = None

    def _view(self, places: PlacesPlan) -> ViewCommand:
        view = super()._view(places)
        session_home = Path(self._lease.session.session_directory) / "home"
        launch = self._planned.launch
        seed = home_seed(self._planned.workspace, () if launch is None else launch.environment)
        write_home(session_home / SEED_FILE, seed, view.who)
        self._watch = TranscriptWatch(session_home, run_as(self._planned.workspace).uid)
        return view

    async def _live(self, view: ViewCommand) -> int:
        """Start the view on its terminal, and carry keys and pictures until it has ended."""
        tty = self._screen.tty
        with (
            view.opened() as spawn,
            tty.held(),
            closing(HarnessPty.open(*tty.size())) as pty,
        ):
            process = await anyio.open_process(
                spawn.argv,
                pass_fds=spawn.pass_fds,
                env=spawn.environment,
                cwd="/",
                stdin=pty.given,
                stdout=pty.given,
                stderr=pty.given,
            )
            pty.give()
            proxy = PtyProxy(tty, pty, recalled=self._screen.prompt.recall, entered=self._entered)
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._open_model, process, spawn)
                    tasks.start_soon(self._watch_typed)
                    tasks.start_soon(self._until_ended, process, tasks.cancel_scope)
                    await proxy.run()
                    await process.wait()
                    tasks.cancel_scope.cancel()
            finally:
                self._stderr = _last_words(proxy.tail)
                await spawn.end(process)
        return process.returncode or 0

    @staticmethod
    async def _until_ended(process: Process, scope: anyio.CancelScope) -> None:
        """End with the harness, also where something of its view keeps the terminal open."""
        await process.wait()
        scope.cancel()

    async def _open_model(self, process: Process, spawn: Spawn) -> None:
        """Let model traffic flow once the hooks are heard; kill what stays silent."""
        pid = await spawn.named(process)
        if pid is None:
            self._end_silent(process, "bubblewrap did not name the view's first process")
            return
        try:
            await self._lease.show_hooks_alive(LiveView(pid=pid, places=self._places))
        except RunRefused as error:
            self._end_silent(process, f"{error.what}: {error.why}" if error.why else error.what)
            return
        self._alive.set()

    def _end_silent(self, process: Process, why: str) -> None:
        if process.returncode is None:
            self._killed = why
            process.kill()

    def _entered(self) -> None:
        self._typed.set()

    async def _watch_typed(self) -> None:
        """After each typed line, look what the harness wrote about it."""
        while True:
            await self._typed.wait()
            self._typed = anyio.Event()
            await anyio.sleep(_SETTLE_S)
            await self._look()

    async def _look(self) -> None:
        if self._watch is None:
            return
        for command in await anyio.to_thread.run_sync(self._watch.look):
            await self._lease.note(
                HarnessObserved(
                    session_id=self._session_id,
                    what="shell_escape",
                    detail=f"!{command}"[:_DETAIL],
                    reported_by="harness",
                )
            )

    async def _executed(self) -> tuple[Executed, ...]:
        await self._look()
        found = () if self._watch is None else self._watch.executed_here()
        return tuple(Executed(*one) for one in found)


_DETAIL: Final = 4000
"""Characters that are handed to the daemon, which redacts before it cuts."""


def _last_words(tail: bytes) -> bytes:
    """Give the last lines that a harness drew, without what draws."""
    lines = [line for line in text_only(tail) if line.strip()]
    return "; ".join(lines[-_LAST_LINES:]).encode()
