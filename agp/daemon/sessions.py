r"""The sessions of one daemon: opened, held by a lease, taken up again, ended, reaped.

| from \\ what | launcher gone | launcher back | grace over | end or kill |
|-------------|---------------|---------------|------------|-------------|
| held        | away          |               |            | ended       |
| away        |               | held          | reaped     | ended       |
"""

from __future__ import annotations

import secrets
import shutil
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import anyio
import anyio.to_thread
import structlog

from agp.contracts.base import SessionId
from agp.contracts.gateway import ControlNotice, HookRequest, Peer
from agp.contracts.intendant import Denied, HookMessage, Intendant, SessionOpened
from agp.contracts.journal import (
    Clock,
    ControlKilled,
    CoverageViolated,
    EgressAllowed,
    EgressRefused,
    GatewayRefused,
    Record,
    SandboxStopped,
    SessionEnded,
    SessionReaped,
    SessionStarted,
)
from agp.contracts.policy import Grade
from agp.contracts.session import SessionLease
from agp.daemon.live import LeaseFile, LiveSession, check_lease
from agp.daemon.messages import (
    AttachSession,
    EndSession,
    LiveView,
    OpenedSession,
    OpenSession,
)
from agp.daemon.removal import Removal
from agp.errors import MessageRefused, Refusal, RunRefused, Unauthorised, Unavailable
from agp.gateway.ask import AskListener, Exchange
from agp.governor.session import GovernedSession
from agp.sandbox.connect import parse_target
from agp.sandbox.egress import ConnectProxy, Egress, ModelRelay
from agp.sandbox.places import missing_masks, remove_created
from agp.sandbox.survivors import survivors

if TYPE_CHECKING:
    from anyio.abc import TaskGroup, TaskStatus
    from pydantic import JsonValue

    from agp.daemon.config import Config
    from agp.daemon.home import Home
    from agp.daemon.shelf import PolicyShelf
    from agp.gateway.control import ControlConnection
    from agp.governor.desk import CancelCause
    from agp.governor.loop import Governor
    from agp.governor.observing import ObservedRecord

Outcome = Literal["finished", "refused", "ungoverned", "harness_failed", "killed"]
MAX_SESSIONS: Final = 64
"""Sessions that one daemon holds at once."""
_LARGE_BODY: Final = 64 * 1024
"""Bytes; more is parsed in a worker thread, because 8 MiB of tiny values take a second."""
_REFUSAL_PERIOD_S: Final = 1.0
"""At most one `gateway.refused` line a session in this time: an agent cannot fill the journal."""


class Sessions:
    """All live sessions, and the only place that opens and closes them."""

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands over its parts
        self,
        home: Home,
        config: Config,
        record: ObservedRecord,
        clock: Clock,
        governor: Governor,
        shelf: PolicyShelf,
        intendants: dict[str, Intendant],
        tasks: TaskGroup,
    ) -> None:
        self._home = home
        self._config = config
        self._record = record
        self._clock = clock
        self._governor = governor
        self._shelf = shelf
        self._intendants = intendants
        self._tasks = tasks
        self._removal = Removal(home.gone)
        tasks.start_soon(self._removal.empty)  # what a daemon before this one did not come to
        self._log = structlog.get_logger()
        self.live: dict[SessionId, LiveSession] = {}
        self.opened = anyio.Event()
        """Set by the first session of this daemon's life."""
        self.emptied = anyio.Event()
        """Set when the last session has ended; for a daemon that ends with its last session."""

    async def open(self, args: OpenSession, connection: ControlConnection) -> OpenedSession:
        """Journal a new session and open its sockets; nothing of the harness runs yet."""
        intendant = self._intendants.get(args.intendant)
        if intendant is None:
            raise RunRefused(
                f"there is no intendant called {args.intendant!r}",
                fix=f"known: {', '.join(sorted(self._intendants))}",
            )
        if len(self.live) >= MAX_SESSIONS:
            raise RunRefused(f"{MAX_SESSIONS} sessions run already", fix="end one: agp kill")
        self._refuse_overlap(args.workspace)
        policy = self._shelf.open_workspace(args.workspace)
        session_id = SessionId(f"s-{secrets.token_hex(6)}")
        started = SessionStarted(
            session_id=session_id,
            intendant=args.intendant,
            intendant_version=args.intendant_version,
            workspace=args.workspace,
            grade=args.grade,
            policy_digest=policy.digest,
            launch_digest=args.launch_digest,
            egress=args.egress,
            operator_uid=connection.peer.uid,
            unsafe=args.unsafe,
            carried=args.carried or None,
            interactive=args.interactive or None,
        )
        if args.observe:
            _check_confined(args.grade)
            self._record.begin(session_id)
        if policy.digest != self._shelf.base.digest:
            await self._record.append(self._shelf.loaded(policy), actor="agp")
        sealed = await self._record.append(started, actor=f"uid:{connection.peer.uid}")
        lease = SessionLease(
            session_id=session_id,
            secret=secrets.token_hex(32),
            fencing_token=1,
            launcher_pid=args.launcher_pid,
            reattach_grace_s=float(self._config.reattach_grace_s),
            status="held",
        )
        live = LiveSession(
            GovernedSession(session_id, intendant, workspace=args.workspace, grade=args.grade),
            started,
            sealed.ts,
            lease,
            args.view_uid,
            args.model_upstream,
        )
        live.governed.secrets = args.secrets
        live.governed.interactive = args.interactive
        live.governed.call_views = args.call_views
        live.governed.observing = partial(self._record.observes, session_id)
        await self.keep(live)
        self.live[session_id] = live
        self.opened.set()
        await self._hold(live, connection)
        return self._opened(live)

    async def keep(self, live: LiveSession) -> None:
        """Store what the session needs after a restart; without it the session ends here.

        Raises:
            Unavailable: AGP's home has no room, or cannot be written.
        """
        directory = self._home.session_directory(live.session_id)
        try:
            directory.mkdir(mode=0o700)
            LeaseFile.of(live).save(self._home, live.session_id)
        except OSError as error:
            shutil.rmtree(directory, ignore_errors=True)
            why = error.strerror or str(error)
            reaped = SessionReaped(session_id=live.session_id, reason=f"no lease kept: {why}")
            await self._record.append(reaped, actor="agp")
            self._record.forget(live.session_id)
            raise Unavailable(
                "the session's lease cannot be stored", where=str(directory), why=why
            ) from error

    def _refuse_overlap(self, workspace: str) -> None:
        """Let one session at a time govern a workspace.

        Removing one session's mount points would uncover them in the other's view (measured), and
        what an attached harness does on the host would too.
        """
        for live in self.live.values():
            other = live.started.workspace
            if Path(workspace).is_relative_to(other) or Path(other).is_relative_to(workspace):
                raise RunRefused(
                    "another session governs this workspace",
                    where=other,
                    why=f"session {live.session_id} runs there",
                    fix="wait for its end, end it with `agp kill`, or use a git worktree elsewhere",
                )

    async def attach(self, args: AttachSession, connection: ControlConnection) -> OpenedSession:
        """Let a launcher take its session back after a break."""
        live = check_lease(self.live.get(args.session_id), args.secret)
        if live.governed.ended:
            raise Refusal("this session was ended while its launcher was away", fix="run again")
        if args.fencing_token != live.lease.fencing_token or live.connection is not None:
            raise Unauthorised("another launcher holds this session")
        live.lease = SessionLease.model_validate(
            live.lease.model_dump() | {"fencing_token": args.fencing_token + 1, "status": "held"}
        )
        LeaseFile.of(live).save(self._home, live.session_id)
        live.governed.secrets = args.secrets
        if args.view is not None:
            self._watch_masks(live, args.view)
            live.gate.set()
        await self._hold(live, connection)
        return self._opened(live)

    def adopt(self, live: LiveSession) -> None:
        """Take a session up after a restart; its launcher has the grace to come back."""
        self.take_in(live)
        if live.started.attached is None:  # nobody launched an attached one, nobody comes back
            self._tasks.start_soon(self._await_return, live)

    def take_in(self, live: LiveSession) -> None:
        """Count a session as live; from here on it is listed, and its calls are decided."""
        live.governed.observing = partial(self._record.observes, live.session_id)
        self.live[live.session_id] = live
        self.opened.set()

    async def hooks_alive(self, live: LiveSession, view: LiveView) -> None:
        """Open the way to the model: the stream *and* this listener have seen SessionStart.

        Raises:
            RunRefused: no SessionStart came in on this session's own socket in time.
        """
        with anyio.move_on_after(self._config.hooks_deadline_s):
            await live.governed.hooks_seen.wait()
        if not live.governed.hooks_seen.is_set():
            await self.violated(live, "hooks_not_alive", "no SessionStart on the ask socket")
            raise RunRefused(
                "the harness's hooks did not show themselves alive",
                why="no SessionStart reached AGP from this session's view",
                fix="run `agp doctor`; nothing was sent to a model",
            )
        LeaseFile.of(live).save(self._home, live.session_id)
        self._watch_masks(live, view)
        live.gate.set()

    @staticmethod
    def _watch_masks(live: LiveSession, view: LiveView) -> None:
        """Look before each grant whether the view's executing places are still covered.

        On the host, `git config` or removing a place takes a mask away inside (measured, ADR 0006).
        """
        live.governed.uncovered = partial(uncovered, view)

    async def violated(self, live: LiveSession, what: str, detail: str) -> None:
        """Journal a coverage violation; one is enough to fail the run."""
        live.governed.violations += 1
        payload = CoverageViolated.model_validate(
            {"session_id": live.session_id, "what": what, "detail": detail[:500]}
        )
        await self._record.append(payload, actor="agp")

    async def end(self, live: LiveSession, args: EndSession) -> None:
        """Close a session in order; its launcher has removed the view."""
        await self.close(live, "session_ended")
        await self.closed(live, args.outcome, harness_exit=args.harness_exit)

    async def closed(
        self, live: LiveSession, outcome: Outcome, *, harness_exit: int | None = None
    ) -> None:
        """Write the last line of a session whose books are closed, and let go of it."""
        counts = live.governed.counts
        await self._record.append(
            SessionEnded(
                session_id=live.session_id,
                outcome=outcome,
                calls=counts.calls,
                allowed=counts.allowed,
                denied=counts.denied,
                asked=counts.asked,
                harness_exit=harness_exit,
                let_through=counts.let_through or None,
            ),
            actor="agp",
        )
        self.forget(live)

    async def kill(self, session_id: SessionId, by: str) -> None:
        """End a session at the operator's word: no more grants, and its launcher kills the view."""
        live = self.live.get(session_id)
        if live is None:
            raise Refusal(
                f"there is no running session {session_id}", fix="list them with `agp sessions`"
            )
        ending = live.governed.ended
        if live.forbid is not None:
            await live.forbid()
        await self._record.append(ControlKilled(session_id=session_id, by=by), actor=by)
        await self._governor.end(live.governed, "killed")
        live.scope.cancel()
        if live.forbid is not None and not ending:  # an attached one has nobody else to end it
            await self._flush_refusals(live)
            await self.closed(live, "killed")
        if live.connection is not None:
            await live.connection.notify(ControlNotice(notice="killed", body={"by": by}))

    async def observe(self, session_id: SessionId, *, on: bool, by: str) -> bool:
        """Let a session through from now on, or enforce again; False: it was so already.

        Raises:
            Refusal: there is no such session, or it has ended.
        """
        live = self.live.get(session_id)
        if live is None:
            raise Refusal(
                f"there is no running session {session_id}", fix="list them with `agp sessions`"
            )
        if on:
            _check_confined(live.governed.grade)
        live.governed.observing = partial(self._record.observes, session_id)
        changed = await self._record.switch(live.governed, on=on, by=by)
        if changed and live.connection is not None:
            notice = ControlNotice(notice="observe", body={"on": on, "by": by})
            await live.connection.notify(notice)
        return changed

    async def tell_broken(self) -> None:
        """Tell every launcher that nothing can be recorded any more: its run ends now."""
        for live in self.live.values():
            live.governed.ended = True
            if live.connection is not None:
                body: dict[str, JsonValue] = {"by": "agp", "cause": "journal_broken"}
                await live.connection.notify(ControlNotice(notice="killed", body=body))

    async def close_all(self) -> None:
        """Tell every launcher that the daemon goes; leases stay, so that they can come back."""
        for live in self.live.values():
            if live.connection is not None:
                await live.connection.notify(ControlNotice(notice="daemon_stopping"))

    async def _hold(self, live: LiveSession, connection: ControlConnection) -> None:
        """Open the session's sockets, where they are not open yet, and watch its launcher."""
        live.connection = connection
        live.attached.set()
        if not live.serving:
            live.scope = anyio.CancelScope()
            await self._tasks.start(self._serve_sockets, live)
        self._tasks.start_soon(self._watch, live, connection)

    async def _serve_sockets(
        self, live: LiveSession, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        directory = self._home.ask_directory(live.session_id)
        directory.parent.mkdir(mode=0o711, exist_ok=True)
        directory.mkdir(mode=0o755, exist_ok=True)
        with live.scope:
            async with anyio.create_task_group() as sockets:
                listener = AskListener(
                    directory / "ask.sock",
                    lambda request, waiter: self.hear(live, request, waiter.peer),
                    allowed_uids=frozenset({live.view_uid}),
                    on_refused=lambda because: self.count_refusal(live, because.value),
                )
                await sockets.start(listener.serve)
                egress = Egress(
                    allowed=frozenset(parse_target(name) for name in live.started.egress),
                    gate=live.gate,
                    gate_deadline_s=float(self._config.hooks_deadline_s),
                    on_allowed=partial(self._egress_allowed, live),
                    on_refused=partial(self._egress_refused, live),
                )
                await sockets.start(ConnectProxy(str(directory / "proxy.sock"), egress).serve)
                if live.model_upstream:
                    relay = ModelRelay(
                        str(directory / "model.sock"), parse_target(live.model_upstream), egress
                    )
                    await sockets.start(relay.serve)
                live.serving = True
                task_status.started()
                try:
                    await anyio.sleep_forever()
                finally:
                    live.serving = False

    async def hear(self, live: LiveSession, request: HookRequest, peer: Peer) -> Exchange:
        """Answer one hook; whatever is not understood is a refusal in the harness's words."""
        intendant = live.governed.intendant
        if request.harness != intendant.name:
            raise MessageRefused("a hook of another harness spoke on this session's socket")
        try:
            if len(request.body) > _LARGE_BODY:
                message = await anyio.to_thread.run_sync(intendant.parse, request)
            else:
                message = intendant.parse(request)
        except MessageRefused as error:
            self.count_refusal(live, error.what)
            denied = Denied(reason=f"AGP did not understand this call: {error}")
            return Exchange(intendant.format(request, denied))
        return await self.answer(live, request, message, peer)

    async def answer(
        self, live: LiveSession, request: HookRequest, message: HookMessage, peer: Peer
    ) -> Exchange:
        """Let the governor answer what a hook said, in the harness's words."""
        exchange = await self._governor.hear(live.governed, message)
        if isinstance(message, SessionOpened):
            LeaseFile.of(live).save(self._home, live.session_id)
        self._log.info(
            "hook",
            session=live.session_id,
            hook=request.event.value,
            pid=peer.pid,
            ruling=exchange.ruling.type,
        )
        reply = live.governed.intendant.format(request, exchange.ruling)
        return Exchange(reply, exchange.undelivered)

    async def _watch(self, live: LiveSession, connection: ControlConnection) -> None:
        """Follow the lease: it is held exactly as long as the launcher's connection lives."""
        await connection.wait_closed()
        if live.connection is connection and live.session_id in self.live:
            live.connection = None
            live.attached = anyio.Event()
            await self._await_return(live)

    async def _await_return(self, live: LiveSession) -> None:
        """Reap a session whose launcher does not come back."""
        with anyio.move_on_after(self._config.reattach_grace_s):
            await live.attached.wait()
            return
        if live.session_id not in self.live:
            return
        await self.close(live, "session_ended")
        await clear_left_overs(self._home, self._record, live.session_id, live.mount_points)
        await self._record.append(
            SessionReaped(session_id=live.session_id, reason="its launcher did not come back"),
            actor="agp",
        )
        self.forget(live)

    async def close(self, live: LiveSession, cause: CancelCause) -> None:
        """Let nothing of a session be granted any more, and write down what was refused."""
        await self._governor.end(live.governed, cause)
        live.scope.cancel()
        await self._flush_refusals(live)

    def forget(self, live: LiveSession) -> None:
        """Let go of a session whose last line is written."""
        del self.live[live.session_id]
        self._record.forget(live.session_id)
        self._removal.take(self._home.session_directory(live.session_id))
        shutil.rmtree(self._home.ask_directory(live.session_id).parent, ignore_errors=True)
        self._tasks.start_soon(self._left, live.connection)

    async def _left(self, connection: ControlConnection | None) -> None:
        """Count the session as gone once nothing lies there, and its launcher has hung up."""
        await self._removal.empty()
        if connection is not None:
            await connection.wait_closed()
        if not self.live:
            self.emptied.set()
            self.emptied = anyio.Event()

    def _opened(self, live: LiveSession) -> OpenedSession:
        return OpenedSession(
            session_id=live.session_id,
            ask_directory=str(self._home.ask_directory(live.session_id)),
            session_directory=str(self._home.session_directory(live.session_id)),
            secret=live.lease.secret,
            fencing_token=live.lease.fencing_token,
            policy_digest=live.started.policy_digest,
            paused=self._governor.paused,
        )

    def count_refusal(self, live: LiveSession, reason: str) -> None:
        """Count what was malformed or too much; journal at most one line a second."""
        live.refused += 1
        live.refusal_reason = reason
        if live.refused == 1:
            self._tasks.start_soon(self._flush_later, live)

    async def _flush_later(self, live: LiveSession) -> None:
        await anyio.sleep(_REFUSAL_PERIOD_S)
        await self._flush_refusals(live)

    async def _flush_refusals(self, live: LiveSession) -> None:
        if live.refused == 0:
            return
        count, live.refused = live.refused, 0
        await self._record.append(
            GatewayRefused(
                session_id=live.session_id, count=count, reason=live.refusal_reason[:500]
            ),
            actor=f"agent:{live.session_id}",
        )

    async def _egress_allowed(self, live: LiveSession, target: str) -> None:
        """Journal the first connection to each target before it is made."""
        await self._record.append(
            EgressAllowed(session_id=live.session_id, target=target), actor="agp"
        )

    async def _egress_refused(self, live: LiveSession, target: str, reason: str) -> None:
        """Journal a refused target once; repeats are counted with the gateway's refusals."""
        if target in live.egress_seen or len(live.egress_seen) >= _MAX_TARGETS:
            self.count_refusal(live, f"egress: {reason}")
            return
        live.egress_seen.add(target)
        await self._record.append(
            EgressRefused(session_id=live.session_id, target=target[:300], reason=reason[:300]),
            actor=f"agent:{live.session_id}",
        )
        if live.connection is not None:
            body: dict[str, JsonValue] = {"target": target[:300], "reason": reason[:300]}
            await live.connection.notify(ControlNotice(notice="egress_refused", body=body))


def _check_confined(grade: Grade) -> None:
    """Let nothing through where only the rules stand between an agent and AGP.

    Attack: a call that is not understood is let through and answers AGP's own questions.

    Raises:
        RunRefused: the session has no view of its own.
    """
    if not grade.at_least(Grade.SHARED):
        raise RunRefused(
            "observe mode needs a session in a view of AGP's own",
            why=f"at the grade {grade.value} the rules alone keep the agent away from AGP itself",
            fix="start it as `agp run --observe`",
        )


def uncovered(view: LiveView) -> tuple[str, ...]:
    """Name the masks that a live view has lost; one that cannot be looked at has lost them all."""
    try:
        mounts = Path(f"/proc/{view.pid}/mountinfo").read_text(errors="surrogateescape")
    except OSError:
        return view.places.places or (view.places.workspace,)
    return missing_masks(view.places, mounts)


async def clear_left_overs(
    home: Home, record: Record, session_id: SessionId, mount_points: tuple[str, ...]
) -> None:
    """Remove what a launcher that died had created in the workspace; its view died with it."""
    alive = survivors(str(home.session_directory(session_id)))
    if alive:
        await record.append(
            CoverageViolated(session_id=session_id, what="survivor", detail=f"processes {alive}"),
            actor="agp",
        )
    if mount_points:
        removed = await anyio.to_thread.run_sync(remove_created, mount_points)
        await record.append(
            SandboxStopped(
                session_id=session_id,
                provider="local",
                survivors=len(alive),
                removed_mount_points=removed,
            ),
            actor="agp",
        )


_MAX_TARGETS: Final = 256
"""Distinct egress targets journaled one by one; what comes after is counted."""
