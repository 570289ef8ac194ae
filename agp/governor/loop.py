"""The governed loop: `gate()` where the harness executes, `mediate()` where AGP does.

`gate` decides and waits (the deciding hook), `redeem` only gives out what was decided (the grant
hook), `observe` writes down what the harness says happened. Only an explicit `Allowed` lets
anything run; every other value, and every exception, is a refusal at the gateway.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from agp.contracts.base import CallId, Digest
from agp.contracts.intendant import (
    Allowed,
    BatchReported,
    CallProposed,
    Denied,
    GrantAsked,
    HookMessage,
    Noted,
    OutcomeReported,
    PromptSubmitted,
    Ruling,
    SessionClosed,
    SessionOpened,
    ToolCall,
)
from agp.contracts.journal import (
    ApprovalRequested,
    Clock,
    CoverageViolated,
    ExecutionFinished,
    ExecutionStarted,
    HarnessObserved,
    Record,
    TicketRedeemed,
    TicketRefused,
)
from agp.errors import AgpError, OverLimit, Unauthorised
from agp.governor.decide import effective_digest, effective_input
from agp.governor.handed import Handed, handed_over, reachable
from agp.governor.outcomes import Outcomes, spelled
from agp.governor.prompts import Prompts
from agp.governor.session import OWN_CALLS, Call, CallState, Execution, GovernedSession
from agp.governor.tickets import TicketKey

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from agp.contracts.sandbox import ExecResult
    from agp.governor.decide import Decider
    from agp.governor.desk import ApprovalDesk, CancelCause

MAX_INPUT = 1024 * 1024
"""Bytes of one call's input. The frame takes 8 MiB; what is decided must also be looked at, by
policy, redaction and people, and may not hold up other sessions."""
_LARGE_INPUT = 16 * 1024
_INTERRUPTED_S = 1.0
"""From the end of an interrupted call's hook to the withdrawal of its question."""


@dataclass(frozen=True)
class Exchange:
    """A ruling, and what takes it back where it could not be written out."""

    ruling: Ruling
    undelivered: Callable[[], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Mediated:
    """What became of a call that AGP executes itself."""

    ruling: Ruling
    result: ExecResult | None = None


class Governor:
    """The loop of all sessions; `tasks` is the daemon's one task group."""

    def __init__(  # noqa: PLR0913 - the composition root hands over its parts
        self,
        record: Record,
        clock: Clock,
        desk: ApprovalDesk,
        decider: Decider,
        tasks: TaskGroup,
        *,
        reattach_grace_s: float,
    ) -> None:
        self._record = record
        self._clock = clock
        self._desk = desk
        self._decider = decider
        self._outcomes = Outcomes(record, clock)
        self.handed = Handed(record, self._outcomes, decider, self.why_not_now)
        self._prompts = Prompts(record, decider)
        self._tasks = tasks
        self._grace_s = reattach_grace_s
        self.paused: str | None = None
        """The operator's reason; None: grants are given."""
        desk.may_grant = self._why_no_grant

    def _why_no_grant(self) -> str | None:
        return None if self.paused is None else f"AGP is paused: {self.paused}"

    async def why_not_now(self, session: GovernedSession) -> str | None:
        """Say why nothing of this session may begin now; None: it may."""
        if session.ended:
            return "this session has ended"
        if lost := session.uncovered():
            return await self._end_uncovered(session, lost)
        return self._why_no_grant()

    async def hear(self, session: GovernedSession, message: HookMessage) -> Exchange:
        """Answer one hook message of one session."""
        await self._outcomes.sweep(session)
        match message:
            case CallProposed(call=call, mode=mode):
                if call.agent_id is None:  # a sub-agent's own mode is no switch of the person's
                    await self._prompts.mode(session, mode)
                return await self.gate(session, call)
            case PromptSubmitted(harness_session=spoken):
                stranger = self._not_of(session, spoken)
                if stranger is not None:
                    return Exchange(Denied(reason=stranger))
                return Exchange(await self._prompts.submitted(session, message))
            case GrantAsked():
                return Exchange(await self.redeem(session, message))
            case OutcomeReported():
                await self._outcomes.outcome(session, message)
            case BatchReported():
                await self._outcomes.batch(session, message)
            case SessionOpened():
                self._bind(session, message)
            case SessionClosed():
                pass  # a claim; the launcher ends the session
        return Exchange(Noted())

    async def told(self, session: GovernedSession, seen: HarnessObserved) -> None:
        """Journal what the launcher saw of the harness, redacted and bounded."""
        await self._prompts.observed(session, seen.what, seen.detail)

    async def gate(self, session: GovernedSession, proposed: ToolCall) -> Exchange:
        """Decide one call and wait for the end of the decision; the harness executes it."""
        stranger = self._not_of(session, proposed.harness_session)
        if stranger is not None:
            return Exchange(Denied(reason=stranger))
        if not session.may_work_in(proposed.cwd):
            return Exchange(Denied(reason="a call is made from within the workspace; cd back"))
        if proposed.tool_use_id.startswith(OWN_CALLS):
            return Exchange(Denied(reason="AGP makes calls of this name itself"))
        fresh = await handed_over(session, await self._fresh(session, proposed))
        call = self._joined(session, fresh)
        if isinstance(call, Denied):
            return Exchange(call)
        await self._wait(session, call)
        return self._deliver(session, call)

    async def mediate(
        self,
        session: GovernedSession,
        proposed: ToolCall,
        execute: Callable[[], Awaitable[ExecResult]],
    ) -> Mediated:
        """Decide one call, and execute it here where it is allowed; once, however often asked.

        A launcher that was cut off asks again after its return, and joins the decision.
        """
        call = self._joined(session, await self._fresh(session, proposed))
        if isinstance(call, Denied):
            return Mediated(call)
        await self._wait(session, call)
        if not isinstance(call.ruling, Allowed) or call.delivered:
            ruling = call.ruling or Denied(reason="no decision was made")
            return Mediated(ruling if isinstance(ruling, Denied) else Denied(reason="used before"))
        call.delivered = True
        return await self._execute(session, call, call.ruling, execute)

    async def serve(
        self,
        session: GovernedSession,
        proposed: ToolCall,
        *,
        profile: Digest,
        network: tuple[str, ...],
    ) -> CallId:
        """Decide a program that the launcher starts for the harness, and write down its beginning.

        Raises:
            Unauthorised: it was denied, or something forbids it now.
        """
        call = await self._granted(session, proposed)
        await self.handed.begin(session, call, profile=profile, network=network)
        return call.call_id

    async def type(self, session: GovernedSession, proposed: ToolCall, *, profile: Digest) -> Call:
        """Decide what somebody typed at the harness's screen, and write down its beginning.

        Nothing about it is trusted: code beside the harness can ask the same. Cancelled while it
        is decided, its question is withdrawn; cancelled later, its beginning is known.

        Raises:
            Unauthorised: it was denied, or something forbids it now.
        """
        stranger = self._not_of(session, proposed.harness_session)
        if stranger is None and not session.may_work_in(proposed.cwd):
            stranger = "a command is run from within the workspace; cd back"
        if stranger is not None:
            raise Unauthorised(stranger)
        call = await self._granted(session, proposed)
        with anyio.CancelScope(shield=True):
            await self.handed.begin(session, call, profile=profile, network=reachable(call.verdict))
        return call

    async def _granted(self, session: GovernedSession, proposed: ToolCall) -> Call:
        """Decide a call that AGP runs and that no hook speaks for; its one start is given away.

        Raises:
            Unauthorised: it was denied, or begun before.
        """
        call = self._joined(session, await self._fresh(session, proposed))
        if isinstance(call, Denied):
            raise Unauthorised(call.reason)
        await self._wait(session, call)
        if not isinstance(call.ruling, Allowed) or call.started:
            said = call.ruling.reason if isinstance(call.ruling, Denied) else "begun before"
            raise Unauthorised(said)
        call.started = call.delivered = True
        call.move(CallState.REDEEMED)
        return call

    async def _fresh(self, session: GovernedSession, proposed: ToolCall) -> Call:
        effective = await self._effective(session, proposed)
        return Call(_new_call_id(), proposed, effective, call_digest(proposed, effective))

    def _joined(self, session: GovernedSession, fresh: Call) -> Call | Denied:
        """Find the call that a request repeats, or take it in and begin to decide it.

        Nothing is awaited here: two requests never make two calls of one.
        """
        name = fresh.call.tool_use_id
        call = session.calls.get(name)
        if call is not None:
            same = call.digest == fresh.digest
            return call if same else Denied(reason="another call had this tool_use_id before")
        if name in session.executed_before:
            return Denied(reason="this call was answered already")
        try:
            session.admit(fresh)
        except OverLimit as error:
            return Denied(reason=error.what)
        self._tasks.start_soon(self._decide, session, fresh)
        return fresh

    async def redeem(self, session: GovernedSession, asked: GrantAsked) -> Ruling:
        """Take a ticket for exactly what the grant hook says; none is a refusal."""
        refusal = self._not_of(session, asked.harness_session)
        refusal = refusal or await self.why_not_now(session)
        ticket = None
        if refusal is None:
            effective = await self._effective(session, asked)
            key = TicketKey(asked.agent_id, asked.cwd, asked.tool, effective)
            ticket = session.tickets.redeem(key, monotonic=self._clock.monotonic())
            refusal = "AGP granted no such call" if ticket is None else None
            if ticket is not None and not await self._decider.still_bound(session, ticket.call_id):
                ticket, refusal = (
                    None,
                    "a file that the call runs was changed since it was approved",
                )
        if ticket is None:
            await self._record.append(
                TicketRefused(
                    session_id=session.session_id,
                    tool=spelled(session, asked.tool),
                    agent_id=asked.agent_id,
                    reason=refusal or "no ticket",
                ),
                actor=f"agent:{session.session_id}",
            )
            return Denied(reason=refusal or "AGP granted no such call")
        await self._record.append(
            TicketRedeemed(
                session_id=session.session_id,
                call_id=ticket.call_id,
                key=ticket.key.input_digest,
            ),
            actor=f"agent:{session.session_id}",
        )
        session.redeemed[ticket.key] += 1
        call = session.by_id(ticket.call_id)
        if call is not None and call.state is CallState.GRANTED:
            call.move(CallState.REDEEMED)
        return Allowed(reason="granted by AGP")

    def restore(
        self,
        session: GovernedSession,
        call: Call,
        asked: ApprovalRequested,
        granted_by: tuple[str, ...],
        commitment: Digest,
    ) -> None:
        """Take a pending call back after a restart; its hook has the grace to come back."""
        session.calls[call.call.tool_use_id] = call
        self._tasks.start_soon(self._resume, session, call, asked, granted_by, commitment)
        self._tasks.start_soon(self._grace, call)

    async def end(self, session: GovernedSession, cause: CancelCause) -> None:
        """Close a session's books: nothing of it can be granted or redeemed any more.

        What AGP itself executes for it has ended when this returns: whoever then uncovers the
        workspace's executing places uncovers them to nobody.
        """
        session.ended = True
        running = [call.execution for call in session.calls.values() if call.execution is not None]
        for execution in running:
            execution.stop.cancel()
        for execution in running:
            await execution.over.wait()
        for call in list(session.calls.values()):
            if call.approval_id is not None:
                await self._desk.cancel(call.approval_id, cause)
        for ticket in session.tickets.clear():
            await self._outcomes.ticket_expired(session, ticket.call_id, ticket.key)
        for call in list(session.calls.values()):
            if call.state is CallState.REDEEMED:
                await self._outcomes.unknown(
                    session, call, "the session ended before an outcome was seen"
                )

    async def _decide(self, session: GovernedSession, call: Call) -> None:
        try:
            call.rule(await self._decider.decide(session, call, paused=self.paused))
        except Exception as error:  # noqa: BLE001 - carried to the waiter, whose gateway refuses
            call.fail(error)

    async def _resume(
        self,
        session: GovernedSession,
        call: Call,
        asked: ApprovalRequested,
        granted_by: tuple[str, ...],
        commitment: Digest,
    ) -> None:
        try:
            call.rule(await self._decider.resume(session, call, asked, granted_by, commitment))
        except Exception as error:  # noqa: BLE001 - carried to the waiter, whose gateway refuses
            call.fail(error)

    async def _wait(self, session: GovernedSession, call: Call) -> None:
        """Wait for the ruling as one of the call's hook connections."""
        call.waiters += 1
        call.attached.set()
        try:
            await call.decided.wait()
        finally:
            call.waiters -= 1
            if call.waiters == 0:
                call.attached = anyio.Event()
                if not call.decided.is_set():
                    interrupted = self._interrupted if session.interactive else self._grace
                    self._tasks.start_soon(interrupted, call)
        if call.failure is not None:
            raise call.failure

    async def _grace(self, call: Call) -> None:
        """Withdraw the question of a hook that does not come back."""
        with anyio.move_on_after(self._grace_s):
            await call.attached.wait()
            return
        if call.approval_id is not None and not call.decided.is_set():
            await self._desk.cancel(call.approval_id, "not_reattached")

    async def _interrupted(self, call: Call) -> None:
        """Withdraw the question of a call that the person interrupted at the harness's screen.

        The hook hung up while this daemon lives: a bridge that ended does not come back. Only for
        the harness's second hook of one call is there a moment.
        """
        with anyio.move_on_after(min(_INTERRUPTED_S, self._grace_s)):
            await call.attached.wait()
            return
        if call.approval_id is not None and not call.decided.is_set():
            await self._desk.cancel(call.approval_id, "interrupted")

    @staticmethod
    async def _effective(session: GovernedSession, said: ToolCall | GrantAsked) -> Digest:
        """Digest the canonical effective input; a large one off the loop.

        Raises:
            OverLimit: it is larger than anybody could look at.
        """
        size = len(effective_input(said))
        if size > MAX_INPUT:
            raise OverLimit(
                f"the call's input is larger than {MAX_INPUT // 1024} KiB",
                fix="do it in smaller steps",
            )
        if size > _LARGE_INPUT:
            return await anyio.to_thread.run_sync(effective_digest, session.intendant, said)
        return effective_digest(session.intendant, said)

    def _deliver(self, session: GovernedSession, call: Call) -> Exchange:
        """Hand out the ruling; an allow with its ticket deposited first, and only one ticket.

        The harness may ask twice for one call before it runs it: the second answer is the same,
        and there is no second ticket. Once the ticket is gone, a repetition is refused.
        """
        ruling = call.ruling
        if not isinstance(ruling, Allowed):
            return Exchange(ruling or Denied(reason="no decision was made"))
        if (
            call.ticket is None
            or session.ended
            or (call.delivered and not self._open(session, call))
        ):
            return Exchange(Denied(reason="this call was answered already"))
        if not call.delivered:
            call.delivered = True
            self._deposit(session, call, call.ticket)

        async def undelivered() -> None:
            self._take_back(session, call)

        return Exchange(ruling, undelivered)

    @staticmethod
    def _open(session: GovernedSession, call: Call) -> bool:
        return call.state is CallState.GRANTED and session.tickets.holds(call.call_id)

    def _deposit(self, session: GovernedSession, call: Call, key: TicketKey) -> None:
        if call.call.granted_by == "answer":
            session.redeemed[key] += 1
        else:
            session.tickets.deposit(key, call.call_id, monotonic=self._clock.monotonic())

    @staticmethod
    def _take_back(session: GovernedSession, call: Call) -> None:
        """Undo a deposit whose answer was not written out; it may be asked for again.

        Attack: two connections wait for one call, the first answer is used, and the second one is
        broken off. What was redeemed stays delivered, or asking again would give a second ticket.
        """
        if call.call.granted_by == "answer" and call.ticket is not None and call.delivered:
            session.redeemed[call.ticket] -= 1
            call.delivered = False
        elif session.tickets.withdraw(call.call_id) is not None:
            call.delivered = False

    async def _execute(
        self,
        session: GovernedSession,
        call: Call,
        ruling: Allowed,
        execute: Callable[[], Awaitable[ExecResult]],
    ) -> Mediated:
        """Intent, effect, outcome: in this order, each durable before the next.

        The scope is known to `end` before the intent is written: a session that was killed
        between the two runs nothing.
        """
        with anyio.CancelScope() as stop:
            call.execution = Execution(stop)
            try:
                return await self._executed(session, call, ruling, execute)
            finally:
                call.execution.over.set()
        return Mediated(Denied(reason="the session was ended while this call ran"))

    async def _executed(
        self,
        session: GovernedSession,
        call: Call,
        ruling: Allowed,
        execute: Callable[[], Awaitable[ExecResult]],
    ) -> Mediated:
        if session.ended:
            return Mediated(Denied(reason="this session has ended"))
        await self._record.append(
            ExecutionStarted(
                session_id=session.session_id, call_id=call.call_id, reported_by="agp"
            ),
            actor="agp",
        )
        call.move(CallState.REDEEMED)
        try:
            result = await execute()
        except AgpError as error:
            await self._outcomes.failed(session, call.call_id, error.what, "agp")
            call.move(CallState.ENDED)
            return Mediated(Denied(reason=f"AGP could not run it: {error.what}"))
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await self._outcomes.unknown(session, call, "it was killed while it ran")
            raise
        output = hashlib.sha256(result.stdout + result.stderr).hexdigest()
        await self._record.append(
            ExecutionFinished(
                session_id=session.session_id,
                call_id=call.call_id,
                reported_by="agp",
                exit_code=result.exit_code,
                duration_ms=result.duration_ms,
                output_sha256=Digest(output),
                output_bytes=result.stdout_bytes + result.stderr_bytes,
            ),
            actor="agp",
        )
        call.move(CallState.ENDED)
        return Mediated(ruling, result)

    @staticmethod
    def _bind(session: GovernedSession, said: SessionOpened) -> None:
        """Bind the harness's session id to this listener: once, or where a person begins anew.

        `/clear` and `/resume` at the harness's own screen go on under another id (measured). The
        id is a claim anyway; whoever makes it is on this session's own socket.
        """
        if session.harness_session is None or (
            session.interactive and not session.is_bound(said.harness_session)
        ):
            session.bind(said.harness_session)

    @staticmethod
    def _not_of(session: GovernedSession, harness_session: str) -> str | None:
        if session.harness_session is None:
            return "the harness has not opened its session with AGP"
        if not session.is_bound(harness_session):
            return "this is not the session that was opened here"
        return None

    async def _end_uncovered(self, session: GovernedSession, lost: tuple[str, ...]) -> str:
        """End a session whose executing places lie open: nothing more is granted in it."""
        session.ended = True
        session.violations += 1
        await self._record.append(
            CoverageViolated(
                session_id=session.session_id,
                what="executing_place_changed",
                detail=f"no longer covered: {', '.join(lost)}"[:500],
            ),
            actor="agp",
        )
        return (
            "an executing place of the workspace is no longer covered (was it changed on the host"
            " meanwhile?); nothing more is granted in this session"
        )


def call_digest(call: ToolCall, effective: Digest) -> Digest:
    """Name a proposed call: a repeated request with the same digest joins its decision.

    The input counts in its canonical spelling: Claude Code runs the deciding hook twice for one
    tool_use_id where it normalised the input in between (measured, ADR 0007).
    """
    digest = hashlib.sha256(b"agp/proposed/v1\0")
    for part in (call.harness_session, call.tool_use_id, call.agent_id or "", call.cwd, call.tool):
        digest.update(b"%d:%b" % (len(part.encode()), part.encode()))
    digest.update(effective.encode())
    return Digest(digest.hexdigest())


def _new_call_id() -> CallId:
    return CallId(f"c-{secrets.token_hex(8)}")
