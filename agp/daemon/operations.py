"""What `control.sock` understands: one function for each operation, arguments read strictly.

Every caller is the operator (the socket is the operator's, the kernel names the peer's uid). What
a launcher asks for its session carries the lease's secret besides.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from pydantic import JsonValue, ValidationError

from agp.contracts.channel import Answer, ApprovalRequest
from agp.contracts.control import (
    AnswerGiven,
    AnswerTaken,
    ApprovalList,
    ApprovalsAsked,
    ControlState,
    DaemonStatus,
    Killed,
    KillGiven,
    ObserveGiven,
    ObserveState,
    PauseGiven,
    RunningCall,
    SessionList,
    SessionSummary,
)
from agp.contracts.gateway import ControlOp, ControlRequest
from agp.contracts.intendant import Allowed
from agp.contracts.journal import (
    PAYLOAD_OF,
    CanaryFinished,
    ControlPaused,
    ControlResumed,
    CoverageViolated,
    EventKind,
    HarnessObserved,
    Record,
    SandboxStarted,
    SandboxStopped,
)
from agp.contracts.sandbox import ExecRequest, SandboxProvider
from agp.daemon.call_operations import CallOperations
from agp.daemon.live import LiveSession, check_lease, is_running, story_of
from agp.daemon.messages import (
    AttachSession,
    ClosedSession,
    EndSession,
    HooksAlive,
    MediateCall,
    NoArgs,
    NoteSession,
    OfSession,
    OpenSession,
    ReconcileSession,
    read_args,
    write_value,
)
from agp.errors import MessageRefused, Refusal, RunRefused
from agp.gateway.control import ControlConnection
from agp.governor.session import CallState

if TYPE_CHECKING:
    from agp.daemon.sessions import Sessions
    from agp.daemon.shelf import PolicyShelf
    from agp.governor.desk import ApprovalDesk
    from agp.governor.loop import Governor

Reply = dict[str, JsonValue]
Operation = Callable[[dict[str, JsonValue], ControlConnection], Awaitable[Reply]]
_LISTED_INPUT: Final = 8 * 1024
"""Characters of an input that a list of questions shows."""
_LISTED_EFFECTS: Final = 32
_EXECUTED: Final = frozenset({CallState.REDEEMED, CallState.ENDED})


class Operations:
    """The operator's operations over one running daemon."""

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands over its parts
        self,
        record: Record,
        governor: Governor,
        desk: ApprovalDesk,
        sessions: Sessions,
        shelf: PolicyShelf,
        sandbox: Callable[[], SandboxProvider],
        status: Callable[[], DaemonStatus],
        seal: Callable[[], Awaitable[None]],
        stop: Callable[[], None],
        ended: Callable[[], Awaitable[tuple[SessionSummary, ...]]],
        *,
        call_timeout_s: int,
    ) -> None:
        self._record = record
        self._governor = governor
        self._desk = desk
        self._sessions = sessions
        self._shelf = shelf
        self._sandbox = sandbox
        self._status = status
        self._seal = seal
        self._stop = stop
        self._ended = ended
        self._call_timeout_s = call_timeout_s
        calls = CallOperations(governor, self._mine, sessions.count_refusal)
        self._operations: dict[ControlOp, Operation] = {
            ControlOp.DAEMON_STATUS: self._daemon_status,
            ControlOp.DAEMON_STOP: self._daemon_stop,
            ControlOp.SESSION_OPEN: self._session_open,
            ControlOp.SESSION_ATTACH: self._session_attach,
            ControlOp.SESSION_HOOKS_ALIVE: self._session_hooks_alive,
            ControlOp.SESSION_NOTE: self._session_note,
            ControlOp.SESSION_RECONCILE: self._session_reconcile,
            ControlOp.SESSION_END: self._session_end,
            ControlOp.SESSION_LIST: self._session_list,
            ControlOp.SESSION_KILL: self._session_kill,
            ControlOp.SESSION_OBSERVE: self._session_observe,
            ControlOp.CALL_MEDIATE: self._call_mediate,
            ControlOp.CALL_START: calls.start,
            ControlOp.CALL_SERVE: calls.serve,
            ControlOp.CALL_TYPED: calls.type,
            ControlOp.CALL_WITHDRAW: calls.withdraw,
            ControlOp.CALL_END: calls.end,
            ControlOp.APPROVAL_LIST: self._approval_list,
            ControlOp.APPROVAL_ANSWER: self._approval_answer,
            ControlOp.CONTROL_PAUSE: self._control_pause,
            ControlOp.CONTROL_RESUME: self._control_resume,
            ControlOp.POLICY_RELOAD: self._policy_reload,
            ControlOp.CANARY_RECORD: self._canary_record,
        }

    async def __call__(self, request: ControlRequest, connection: ControlConnection) -> Reply:
        """Carry out one operation."""
        return await self._operations[request.op](request.args, connection)

    async def _daemon_status(self, args: Reply, _: ControlConnection) -> Reply:
        read_args(NoArgs, args)
        return write_value(self._status())

    async def _daemon_stop(self, args: Reply, _: ControlConnection) -> Reply:
        read_args(NoArgs, args)
        self._stop()
        return write_value(self._status())

    async def _session_open(self, args: Reply, connection: ControlConnection) -> Reply:
        return write_value(await self._sessions.open(read_args(OpenSession, args), connection))

    async def _session_attach(self, args: Reply, connection: ControlConnection) -> Reply:
        return write_value(await self._sessions.attach(read_args(AttachSession, args), connection))

    async def _session_hooks_alive(self, args: Reply, _: ControlConnection) -> Reply:
        said = read_args(HooksAlive, args)
        await self._sessions.hooks_alive(self._mine(said), said.view)
        return {}

    async def _session_note(self, args: Reply, _: ControlConnection) -> Reply:
        note = read_args(NoteSession, args)
        live = self._mine(note)
        model = PAYLOAD_OF[EventKind(note.kind)]
        try:
            payload = model.model_validate_json(json.dumps(note.payload))
        except ValidationError as error:
            raise MessageRefused("this note does not hold what its kind holds") from error
        if getattr(payload, "session_id", None) != live.session_id:
            raise MessageRefused("a note is about the session of its lease only")
        if isinstance(payload, HarnessObserved):
            await self._governor.told(live.governed, payload)
            return {}
        await self._record.append(payload, actor=f"launcher:{live.session_id}")
        match payload:
            case CoverageViolated():
                live.governed.violations += 1
            case SandboxStarted():
                live.mount_points = payload.created_mount_points
            case SandboxStopped():
                live.mount_points = ()
            case _:
                pass
        return {}

    async def _session_reconcile(self, args: Reply, _: ControlConnection) -> Reply:
        """Hold the harness's own stream against the decisions; the converse is not claimed."""
        said = read_args(ReconcileSession, args)
        live = self._mine(said)
        for executed in said.executed:
            call = live.governed.calls.get(executed.tool_use_id)
            if call is None and executed.tool_use_id in live.governed.executed_before:
                continue
            if call is None or call.state not in _EXECUTED:
                what = "executed_without_decision" if call is None else "executed_without_ticket"
                await self._sessions.violated(
                    live, what, f"stream: {executed.tool} {executed.tool_use_id}"
                )
        return {"violations": live.governed.violations, "calls": live.governed.counts.calls}

    async def _session_end(self, args: Reply, _: ControlConnection) -> Reply:
        said = read_args(EndSession, args)
        live = self._mine(said)
        stories = tuple(story_of(call) for call in live.governed.calls.values())
        await self._sessions.end(live, said)
        await self._seal()
        return write_value(
            ClosedSession(
                stories=stories,
                events=self._status().events,
                violations=live.governed.violations,
            )
        )

    async def _session_list(self, args: Reply, _: ControlConnection) -> Reply:
        read_args(NoArgs, args)
        live = tuple(session.summary() for session in self._sessions.live.values())
        return write_value(SessionList(sessions=live + await self._ended()))

    async def _session_kill(self, args: Reply, connection: ControlConnection) -> Reply:
        given = read_args(KillGiven, args)
        by = _uid(connection)
        chosen = tuple(self._sessions.live) if given.session_id is None else (given.session_id,)
        for session_id in chosen:
            await self._sessions.kill(session_id, by)
        return write_value(Killed(sessions=chosen))

    async def _session_observe(self, args: Reply, connection: ControlConnection) -> Reply:
        given = read_args(ObserveGiven, args)
        changed = await self._sessions.observe(given.session_id, on=given.on, by=_uid(connection))
        return write_value(
            ObserveState(session_id=given.session_id, observing=given.on, changed=changed)
        )

    async def _call_mediate(self, args: Reply, _: ControlConnection) -> Reply:
        """Decide one call of a scripted session and run it in the sandbox."""
        said = read_args(MediateCall, args)
        live = self._mine(said)
        if live.governed.intendant.name != "scripted":
            raise RunRefused("AGP executes calls for the scripted intendant only")
        provider = self._sandbox()
        request = ExecRequest(
            session_id=live.session_id,
            argv=said.argv,
            cwd=said.call.cwd,
            workspace=live.governed.workspace,
            stdin=said.stdin,
            timeout_s=float(self._call_timeout_s),
        )
        done = await self._governor.mediate(
            live.governed, said.call, lambda: provider.execute(request)
        )
        reply: Reply = {
            "allowed": isinstance(done.ruling, Allowed),
            "reason": "" if done.ruling.type == "noted" else done.ruling.reason,
        }
        if done.result is not None:
            reply["result"] = write_value(done.result)
        return reply

    async def _approval_list(self, args: Reply, _: ControlConnection) -> Reply:
        asked = read_args(ApprovalsAsked, args).approval_id
        waiting = tuple(approval.request for approval in self._desk.pending())
        if asked is None:
            return write_value(ApprovalList(approvals=tuple(map(_listed, waiting))))
        one = tuple(request for request in waiting if request.approval_id == asked)
        if not one:
            raise Refusal(f"nothing waits under {asked}", fix="list what waits: agp approvals")
        return write_value(ApprovalList(approvals=one))

    async def _approval_answer(self, args: Reply, connection: ControlConnection) -> Reply:
        given = read_args(AnswerGiven, args)
        answer = Answer(
            approval_id=given.approval_id,
            binding_digest=given.binding_digest,
            verdict=given.verdict,
            approver=_uid(connection),
            channel=given.channel,
            reason=given.reason,
        )
        approval = await self._desk.answer(answer)
        return write_value(AnswerTaken(approval=_listed(approval.request)))

    async def _control_pause(self, args: Reply, connection: ControlConnection) -> Reply:
        given = read_args(PauseGiven, args)
        if self._governor.paused is not None:
            return self._control_state()  # the first reason stays
        # Paused in memory first: a grant between the two would be one too many.
        self._governor.paused = given.reason
        await self._record.append(
            ControlPaused(reason=given.reason, by=_uid(connection)), actor=_uid(connection)
        )
        return self._control_state()

    async def _control_resume(self, args: Reply, connection: ControlConnection) -> Reply:
        read_args(NoArgs, args)
        if self._governor.paused is None:
            return self._control_state()
        await self._record.append(ControlResumed(by=_uid(connection)), actor=_uid(connection))
        self._governor.paused = None
        return self._control_state()

    async def _policy_reload(self, args: Reply, connection: ControlConnection) -> Reply:
        read_args(NoArgs, args)
        loaded = await anyio.to_thread.run_sync(self._shelf.reload)
        await self._record.append(loaded, actor=_uid(connection))
        return write_value(loaded)

    async def _canary_record(self, args: Reply, connection: ControlConnection) -> Reply:
        """Journal a canary that the operator's side ran; only then may it count as a proof."""
        finished = read_args(CanaryFinished, args)
        sealed = await self._record.append(finished, actor=_uid(connection))
        return {"seq": sealed.seq}

    def _control_state(self) -> Reply:
        running = tuple(
            RunningCall(session_id=live.session_id, call_id=call.call_id, tool=call.call.tool)
            for live in self._sessions.live.values()
            for call in live.governed.calls.values()
            if is_running(call)
        )
        return write_value(ControlState(paused=self._governor.paused, running=running))

    def _mine(self, args: OfSession) -> LiveSession:
        return check_lease(self._sessions.live.get(args.session_id), args.secret)


def _listed(request: ApprovalRequest) -> ApprovalRequest:
    """Give a question for a list: its input bounded, so that many of them fit one reply.

    An agent's inputs must not make the inbox unreadable for another session's question.
    """
    cut = {
        "input_json": request.input_json[:_LISTED_INPUT],
        "input_left_out": max(0, len(request.input_json) - _LISTED_INPUT),
        "says": request.says[:500],
        "effects": request.effects[:_LISTED_EFFECTS],
        "effects_left_out": max(0, len(request.effects) - _LISTED_EFFECTS),
    }
    return ApprovalRequest.model_validate(request.model_dump() | cut)


def _uid(connection: ControlConnection) -> str:
    return f"uid:{connection.peer.uid}"
