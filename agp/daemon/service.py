"""The daemon: start order, stop order, one task group.

Start: recover, journal, store, approvals, sessions, control last. A dead journal cancels
everything, because its commit task lives in the same group. Stop: the control socket first, then
the sessions' sockets (their launchers are told and may come back), a checkpoint, the journal.
"""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import structlog

import agp
from agp.contracts.base import CallId, Digest
from agp.contracts.control import DaemonStatus, SessionSummary
from agp.contracts.gateway import ControlNotice
from agp.contracts.journal import ConfigInForce, ControlPaused, EventKind, Line
from agp.contracts.policy import Decision
from agp.daemon.attached import Attached
from agp.daemon.clock import SystemClock
from agp.daemon.config import Config, digest_of
from agp.daemon.lock import exclusive
from agp.daemon.log import configure_log
from agp.daemon.messages import write_value
from agp.daemon.offline import summary_of
from agp.daemon.operations import Operations
from agp.daemon.recovery import Restorer
from agp.daemon.sessions import Sessions
from agp.daemon.shelf import PolicyShelf
from agp.daemon.survey import SEARCH_PATH, HostSurveyor
from agp.errors import IntegrityError, JournalBroken, Unavailable
from agp.gateway.control import ControlListener
from agp.governor.decide import Decider, Timing
from agp.governor.desk import ApprovalDesk, utc_text
from agp.governor.loop import Governor
from agp.governor.observing import ObservedRecord
from agp.governor.recover import recover
from agp.intendants.claude_code.hooks import ClaudeCode
from agp.intendants.scripted import Scripted
from agp.journal.calls import CallVault
from agp.journal.commit import GroupCommit
from agp.journal.keys import read_signer
from agp.journal.reader import read_events
from agp.journal.writer import JournalWriter
from agp.sandbox.local import LocalProvider
from agp.store.off_loop import AsyncStore
from agp.store.projection import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskGroup, TaskStatus
    from anyio.streams.memory import MemoryObjectReceiveStream

    from agp.contracts.channel import ApprovalRequest
    from agp.contracts.intendant import Intendant
    from agp.contracts.sandbox import SandboxProvider
    from agp.daemon.home import Home
    from agp.governor.ports import Rules
    from agp.governor.session import GovernedSession

_DISK_PERIOD_S: Final = 5.0
_STORE_RETRY_S: Final = 2.0
_TELL_S: Final = 2.0
"""For telling launchers that the journal is broken."""
_MIB: Final = 1024 * 1024
_TERMINAL: Final = frozenset(
    {
        EventKind.CALL_ABANDONED.value,
        EventKind.APPROVAL_DENIED.value,
        EventKind.APPROVAL_EXPIRED.value,
        EventKind.APPROVAL_CANCELLED.value,
        EventKind.TICKET_EXPIRED.value,
        EventKind.EXECUTION_FINISHED.value,
        EventKind.EXECUTION_FAILED.value,
        EventKind.EXECUTION_OUTCOME_UNKNOWN.value,
    }
)
"""After one of these a call's body is not needed any more."""


async def serve(home: Home, config: Config, *, until_idle: bool) -> None:
    """Run the daemon until it is stopped; with `until_idle`, until its last session has ended.

    Raises:
        ConfigurationError: the home, the key or a policy is not fit to start with.
        IntegrityError: the journal does not fit its last checkpoint.
        JournalBroken: the journal could not be written; hooks refuse from that moment on.
    """
    configure_log()
    home.check()
    home.create()
    with exclusive(home.lock):
        async with _daemon(home, config) as daemon:
            await daemon.run(until_idle=until_idle)


@dataclass
class _Daemon:
    """The composed parts."""

    home: Home
    config: Config
    tasks: TaskGroup
    key_id: Digest
    commit: GroupCommit
    record: ObservedRecord
    desk: ApprovalDesk
    governor: Governor
    sessions: Sessions
    shelf: PolicyShelf
    store: AsyncStore
    started_at: str
    stopping: anyio.Event = field(default_factory=anyio.Event)

    async def run(self, *, until_idle: bool) -> None:
        """Open the operator's socket, then wait for the end."""
        operations = Operations(
            self.record,
            self.governor,
            self.desk,
            self.sessions,
            self.shelf,
            self._sandbox,
            self.status,
            self.seal,
            self.stopping.set,
            self._ended,
            call_timeout_s=self.config.call_timeout_s,
        )
        server = ControlListener(self.home.control_socket, operations)
        attached = Attached(self.home, self.sessions, self.record, self.shelf, self.tasks)
        async with anyio.create_task_group() as front:
            await front.start(server.serve)
            await front.start(attached.serve)
            self.tasks.start_soon(self._signals)
            if until_idle:
                self.tasks.start_soon(self._until_idle)
            structlog.get_logger().info("daemon ready", pid=os.getpid(), home=str(self.home.root))
            await self.stopping.wait()
            await self.sessions.close_all()
            front.cancel_scope.cancel()
        await self.seal()

    def status(self) -> DaemonStatus:
        """Describe the daemon for `agp status`."""
        policy = self.shelf.base
        return DaemonStatus(
            version=agp.__version__,
            pid=os.getpid(),
            started_at=self.started_at,
            log_id=self.commit.log_id,
            signing_key_id=self.key_id,
            events=self.commit.size,
            policy_digest=policy.digest,
            rules=self.shelf.loaded(policy).rules,
            paused=self.governor.paused,
            sessions=len(self.sessions.live),
            approvals=len(self.desk.pending()),
            observing=tuple(
                name for name, live in self.sessions.live.items() if live.governed.observing()
            ),
        )

    async def seal(self) -> None:
        """Seal a checkpoint over everything written so far."""
        await self.commit.seal_checkpoint()

    def _sandbox(self) -> SandboxProvider:
        return LocalProvider(toolchains=self.config.toolchains, agp_home=str(self.home.root))

    async def _ended(self) -> tuple[SessionSummary, ...]:
        rows = await self.store.sessions()
        return tuple(summary_of(row) for row in rows if row.status != "open")

    async def _signals(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async for _ in signals:
                self.stopping.set()

    async def _until_idle(self) -> None:
        """End with the last session; where nobody opens one in time, end as well."""
        with anyio.move_on_after(self.config.reattach_grace_s):
            await self.sessions.opened.wait()
        if self.sessions.opened.is_set():
            await self.sessions.emptied.wait()
        self.stopping.set()

    async def checkpoints(self) -> None:
        """Seal by time and by number of events, whichever comes first."""
        grown = _Grown(self.config.checkpoint_every_events)
        self.commit.on_sealed(grown.count)
        while True:
            with anyio.move_on_after(self.config.checkpoint_every_s):
                await grown.enough.wait()
            if grown.since:
                await self.seal()
                grown.reset()

    async def watch_disk(self) -> None:
        """Pause before the journal can break."""
        reserve = self.config.disk_reserve_mib * _MIB
        while True:
            free = (await anyio.to_thread.run_sync(shutil.disk_usage, self.home.root)).free
            if free < reserve and self.governor.paused is None:
                reason = f"less than {self.config.disk_reserve_mib} MiB are free at AGP's home"
                self.governor.paused = reason
                await self.commit.append(ControlPaused(reason=reason, by="agp"), actor="agp")
            await anyio.sleep(_DISK_PERIOD_S)


class _Grown:
    """Counts lines since the last checkpoint."""

    def __init__(self, threshold: int) -> None:
        self._threshold = threshold
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self.since = 0
        self.enough = anyio.Event()

    def count(self, _: Line) -> None:
        """Count one durable line."""
        self.since += 1
        if self.since >= self._threshold:
            self.enough.set()


class _BrokenJournal:
    """Runs the commit task; where the journal breaks, every launcher is told before all ends."""

    def __init__(self, commit: GroupCommit) -> None:
        self._commit = commit
        self.sessions: Sessions | None = None

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit until cancelled. Raises `JournalBroken`, which ends the daemon."""
        try:
            await self._commit.run(task_status=task_status)
        except JournalBroken:
            if self.sessions is not None:
                with anyio.move_on_after(_TELL_S, shield=True):
                    await self.sessions.tell_broken()
            raise


class _Announcer:
    """Pushes the state of an approval to the launcher of its session; never raises, never waits."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self.sessions: Sessions | None = None

    def announce(self, request: ApprovalRequest) -> None:
        """Show the newest state at the launcher's terminal."""
        if self.sessions is None:
            return
        live = self.sessions.live.get(request.session_id)
        if live is not None and live.connection is not None:
            notice = ControlNotice(notice="approval", body=write_value(request))
            self._tasks.start_soon(live.connection.notify, notice)


@asynccontextmanager
async def _daemon(home: Home, config: Config) -> AsyncIterator[_Daemon]:
    """Compose the parts in start order and take them apart in reverse."""
    clock = SystemClock()
    signer = read_signer(home.signing_key)
    shelf = PolicyShelf(home)
    loaded = await anyio.to_thread.run_sync(shelf.reload)
    async with AsyncExitStack() as stack:
        journal = await anyio.to_thread.run_sync(
            lambda: JournalWriter.open(home.journal, signer, origin=config.origin, clock=clock)
        )
        stack.callback(journal.close)
        recovery = await anyio.to_thread.run_sync(lambda: recover(read_events(home.journal)))
        vault = CallVault(home.calls)
        await anyio.to_thread.run_sync(
            lambda: vault.remove_orphans(live=recovery.living(), journaled=recovery.journaled)
        )
        projection = await anyio.to_thread.run_sync(_caught_up, home, journal)
        stack.callback(projection.close)
        store = AsyncStore(projection)
        sealed, unprojected = anyio.create_memory_object_stream[Line](float("inf"))
        # Closed after the group: the commit task hands over its last lines while it is stopped.
        stack.enter_context(sealed)
        stack.enter_context(unprojected)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        commit = GroupCommit(journal, clock)
        broken = _BrokenJournal(commit)
        await tasks.start(broken.run)
        commit.on_sealed(sealed.send_nowait)
        tasks.start_soon(_project, unprojected, store, vault)
        announcer = _Announcer(tasks)
        record = ObservedRecord(commit)
        desk = ApprovalDesk(record, clock, announcer)
        surveyor = HostSurveyor(home.root, SEARCH_PATH)

        def rules_of(session: GovernedSession) -> Rules:
            return shelf.of(session.workspace)

        decider = Decider(
            record,
            clock,
            desk,
            vault,
            surveyor,
            rules_of,
            log_id=journal.log_id,
            timing=Timing(config.approval_timeout_s, float(config.reattach_grace_s)),
        )
        governor = Governor(
            record, clock, desk, decider, tasks, reattach_grace_s=float(config.reattach_grace_s)
        )
        intendants: dict[str, Intendant] = {"claude-code": ClaudeCode(), "scripted": Scripted()}
        sessions = Sessions(home, config, record, clock, governor, shelf, intendants, tasks)
        announcer.sessions = sessions
        broken.sessions = sessions
        await commit.append(
            ConfigInForce(config_digest=digest_of(config), version=agp.__version__), actor="agp"
        )
        await commit.append(loaded, actor="agp")
        tasks.start_soon(desk.run)
        await Restorer(home, config, record, governor, sessions, shelf, vault, intendants).restore(
            recovery
        )
        daemon = _Daemon(
            home,
            config,
            tasks,
            signer.key_id,
            commit,
            record,
            desk,
            governor,
            sessions,
            shelf,
            store,
            utc_text(clock.now()),
        )
        tasks.start_soon(daemon.checkpoints)
        tasks.start_soon(daemon.watch_disk)
        yield daemon
        tasks.cancel_scope.cancel()


def _caught_up(home: Home, journal: JournalWriter) -> Store:
    """Open the store and bring it up to the journal, which is the truth; blocking.

    Raises:
        IntegrityError: the journal is shorter than what was projected from it before: lines that
            were durable are gone, and that is not the store's to mend.
    """
    store = Store.open(home.store, journal.log_id)
    last = store.last_applied_seq
    if last >= journal.size:
        store.close()
        raise IntegrityError(
            "the journal has lost lines that were durable",
            where=str(home.journal),
            why=f"it holds {journal.size} lines, and line {last} was seen before",
            fix=f"restore the journal from a copy; {home.store} remembers what was there",
        )
    try:
        store.replay(read_events(home.journal, from_seq=max(0, last)))
    except IntegrityError as error:
        structlog.get_logger().warning("store rebuilt from the journal", why=str(error))
        store.rebuild(read_events(home.journal))
    return store


async def _project(
    lines: MemoryObjectReceiveStream[Line], store: AsyncStore, vault: CallVault
) -> None:
    """Feed the store, and drop the bodies of ended calls, in journal order, off the hot path."""
    async for line in lines:
        await _applied(store, line)
        if (call_id := _ended_call(line)) is not None:
            await anyio.to_thread.run_sync(vault.drop_body, call_id)


async def _applied(store: AsyncStore, line: Line) -> None:
    """Apply one line, however long the store cannot be written: it is a view and may lag.

    The journal alone decides whether anything is granted; a full disk ends that soon enough.
    """
    while True:
        try:
            await store.apply(line)
        except Unavailable as error:
            structlog.get_logger().warning("the store lags behind the journal", why=str(error))
            await anyio.sleep(_STORE_RETRY_S)
        else:
            return


def _ended_call(line: Line) -> CallId | None:
    """Name the call whose last line this is."""
    denied = (
        line.kind == EventKind.CALL_DECIDED.value
        and line.payload.get("decision") == Decision.DENY.value
    )
    call_id = line.payload.get("call_id")
    if (denied or line.kind in _TERMINAL) and isinstance(call_id, str):
        return CallId(call_id)
    return None
