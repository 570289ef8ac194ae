"""One governed harness, from its view to the comparison at its end.

1. the executing places are planned, and photographed;
2. the mount points that will be created are journaled, then created;
3. the view is started, its stream read line by line;
4. once the stream shows the SessionStart hook started and answered, and the daemon has seen it on
   this session's socket, model traffic may flow; past the deadline the view is killed;
5. at the end nothing of the view survives, the mount points are removed, the places compared;
6. every call that the stream shows as executed must have a decision.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from agp.contracts.display import visible
from agp.contracts.gateway import ControlOp
from agp.daemon.call_desk import CallDesk
from agp.daemon.ended import Ended
from agp.daemon.guard import guarded
from agp.daemon.messages import LiveView, ReconcileSession
from agp.daemon.shipped import shipped
from agp.daemon.transcripts import keep, seed, shelf_of
from agp.errors import MessageRefused, RunRefused
from agp.intendants.claude_code.environment import call_environment
from agp.intendants.claude_code.stream import (
    ClaudeStream,
    Executed,
    hooks_alive,
    reconcile,
)
from agp.sandbox.call_view import CallSeats, prepare_servers
from agp.sandbox.host import run_as
from agp.sandbox.places import PlacesPlan, plan_places
from agp.sandbox.view import (
    CARRIED_IN_VIEW,
    ViewCommand,
    ViewSeats,
    build_view,
    prepare_home,
    prepare_tmp,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import ByteReceiveStream, Process, TaskGroup

    from agp.contracts.base import SessionId
    from agp.contracts.intendant import StreamItem
    from agp.daemon.config import Config
    from agp.daemon.front import Front
    from agp.daemon.home import Home
    from agp.daemon.lease import Lease
    from agp.daemon.plans import Planned
    from agp.sandbox.spawn import Spawn

_LINE_LIMIT: Final = 64 * 1024 * 1024
_STDERR_KEPT: Final = 4000
CALL_HOME: Final = "call-home"
SERVERS: Final = "servers"
_GRACE_S: Final = 5.0
"""Between the harness's last line and its end."""


class HarnessRun:
    """One harness in one view, for one lease."""

    def __init__(
        self, home: Home, config: Config, planned: Planned, lease: Lease, front: Front
    ) -> None:
        self._home = home
        self._config = config
        self._planned = planned
        self._lease = lease
        self._front = front
        self._items: list[StreamItem] = []
        self._alive = anyio.Event()
        self._stderr = b""
        self._killed = ""
        self._places = plan_places(planned.workspace)

    async def run(self) -> Ended:
        """Carry the run through its six steps."""
        places = self._places
        view = self._view(places)
        try:
            async with (
                guarded(
                    self._lease, places, grade=self._planned.grade, profile=view.digest
                ) as found,
                anyio.create_task_group() as beside,
            ):
                await beside.start(self._desk().serve)
                exit_code = await self._live(view)
                beside.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                kept = self._lease.conversation = await anyio.to_thread.run_sync(self._kept)
        return replace(await self._judged(exit_code, found.changed), resume=kept)

    def _kept(self) -> str:
        """Keep what a resume needs, now that nothing of the view is left to change it."""
        session_home = Path(self._lease.session.session_directory) / "home"
        shelf = shelf_of(self._home.harness, self._planned.workspace)
        return keep(session_home, shelf, run_as(self._planned.workspace).uid)

    def _view(self, places: PlacesPlan) -> ViewCommand:
        launch = self._planned.launch
        if launch is None:
            raise RunRefused("there is no launch plan for this harness")
        session = Path(self._lease.session.session_directory)
        who = run_as(self._planned.workspace)
        prepare_home(session / "home", who)
        if self._planned.transcript is not None:
            seed(self._planned.transcript, session / "home", who)
        prepare_home(session / "home/tmp", who)
        prepare_home(session / CALL_HOME, who)
        prepare_tmp(session / "tmp", who)
        names = tuple(server.name for server in self._planned.servers)
        prepare_servers(session / SERVERS, names, who)
        seats = ViewSeats(
            agp_home=str(self._home.root),
            session_home=str(session / "home"),
            session_tmp=str(session / "tmp"),
            ask_directory=self._lease.session.ask_directory,
            forwarder=shipped("hooks/agp-forward").read_bytes(),
            toolchains=self._config.toolchains,
        )
        return build_view(launch, seats, places)

    def _desk(self) -> CallDesk:
        """Give what runs this session's granted calls, outside the harness's view."""
        launch = self._planned.launch
        session = Path(self._lease.session.session_directory)
        seats = CallSeats(
            agp_home=str(self._home.root),
            call_home=str((session / CALL_HOME).resolve()),
            session_tmp=str((session / "tmp").resolve()),
            servers=str((session / SERVERS).resolve()),
            forwarder=shipped("hooks/agp-forward").read_bytes(),
            carried=None if launch is None else _carried(launch.files, session / "carried"),
            toolchains=self._config.toolchains,
            environment=() if launch is None else call_environment(launch.environment),
        )
        who = run_as(self._planned.workspace)
        return CallDesk(self._lease, seats, self._places, who, self._planned.servers)

    async def _live(self, view: ViewCommand) -> int:
        """Start the view, read it to its end, and see that it has ended."""
        with view.opened() as spawn:
            process = await anyio.open_process(
                spawn.argv,
                pass_fds=spawn.pass_fds,
                env=spawn.environment,
                cwd="/",
                stdin=subprocess.DEVNULL,
            )
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._deadline, process)
                    await self._read(process, spawn, tasks)
                    tasks.cancel_scope.cancel()
            finally:
                await spawn.end(process)
        return process.returncode or 0

    async def _read(self, process: Process, spawn: Spawn, tasks: TaskGroup) -> None:
        if process.stdout is None or process.stderr is None:
            raise RunRefused("the harness has no streams")
        tasks.start_soon(self._keep_stderr, process.stderr)
        stream = ClaudeStream()
        async for line in _lines(process.stdout):
            if not line.strip():
                continue
            for item in stream.read(line):
                self._items.append(item)
                self._front.shown.item(item)
            if not self._alive.is_set() and hooks_alive(self._items):
                pid = spawn.status().pid
                if pid is None:
                    raise RunRefused("bubblewrap did not name the view's first process")
                await self._lease.show_hooks_alive(LiveView(pid=pid, places=self._places))
                self._alive.set()
        with anyio.move_on_after(_GRACE_S):
            await process.wait()

    async def _keep_stderr(self, stream: ByteReceiveStream) -> None:
        async for chunk in stream:
            self._stderr = (self._stderr + chunk)[-_STDERR_KEPT:]

    async def _deadline(self, process: Process) -> None:
        """Kill a harness whose hooks do not show themselves: it never reached a model."""
        with anyio.move_on_after(self._config.hooks_deadline_s):
            await self._alive.wait()
        if not self._alive.is_set():
            self._killed = "its hooks did not show themselves alive in time"
            process.kill()

    async def _judged(self, exit_code: int, changed: tuple[str, ...]) -> Ended:
        """Compare the stream with the decisions; one violation makes the run ungoverned."""
        executed = await self._executed()
        said = await self._lease.ask(
            ControlOp.SESSION_RECONCILE,
            ReconcileSession.model_validate(
                {
                    **self._lease.claim(),
                    "executed": tuple(
                        {"tool_use_id": call.tool_use_id, "tool": call.tool} for call in executed
                    ),
                }
            ),
        )
        text = next((i.text for i in reversed(self._items) if i.type == "result"), "")
        if changed:
            return Ended("ungoverned", f"an executing place changed: {changed[0]}", exit_code, text)
        if said["violations"]:
            ran = "something ran that AGP did not grant; see coverage.violated in the journal"
            why = self._killed or ran
            return Ended("ungoverned", why, exit_code, text)
        if not self._alive.is_set():
            why = self._killed or self._last_words() or "its hooks were never seen alive"
            failed = exit_code not in {0, None} and not self._killed
            return Ended("harness_failed" if failed else "ungoverned", why, exit_code, text)
        if exit_code != 0:
            return Ended("harness_failed", self._last_words(), exit_code, text)
        return Ended("finished", "", exit_code, text)

    async def _executed(self) -> tuple[Executed, ...]:
        """Name what the harness says about itself that it executed."""
        return reconcile(self._items).executed

    def _last_words(self) -> str:
        return visible(self._stderr.decode("utf-8", "replace").strip()[-500:], limit=500)

    @property
    def _session_id(self) -> SessionId:
        return self._lease.session.session_id


def _carried(files: tuple[tuple[str, bytes], ...], place: Path) -> str | None:
    """Lay out what was carried once, for all calls to see; only the operator can change it."""
    own = [(Path(p).relative_to(CARRIED_IN_VIEW), c) for p, c in files if _is_carried(p)]
    for path, content in own:
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o555)
    return str(place.resolve()) if own else None


def _is_carried(path: str) -> bool:
    return path.startswith(f"{CARRIED_IN_VIEW}/")


async def _lines(stream: ByteReceiveStream) -> AsyncIterator[bytes]:
    """Cut a byte stream into lines of a bounded length; an unended last line counts."""
    held = bytearray()
    async for chunk in stream:
        held += chunk
        while (end := held.find(b"\n")) >= 0:
            yield bytes(held[:end])
            del held[: end + 1]
        if len(held) > _LINE_LIMIT:
            raise MessageRefused("a line of the harness's stream is too long")
    if held:
        yield bytes(held)
