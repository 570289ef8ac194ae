"""The events of a small governed session, one builder for each."""

from __future__ import annotations

from agp.contracts.base import ApprovalId, CallId, Digest, RuleId, SessionId
from agp.contracts.journal import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    CallDecided,
    ExecutionFinished,
    Payload,
    SessionEnded,
    SessionReaped,
    SessionStarted,
)
from agp.contracts.policy import Decision, Grade, Tier

SESSION = SessionId("s-0123456789ab")
DIGEST = Digest("d" * 64)


def call_id(number: int) -> CallId:
    return CallId(f"c-{number:016x}")


def approval_id(number: int) -> ApprovalId:
    return ApprovalId(f"otter-{number:08x}")


def started(session: SessionId = SESSION) -> SessionStarted:
    return SessionStarted(
        session_id=session,
        intendant="claude-code",
        intendant_version="2.1.329",
        workspace="/w",
        grade=Grade.SHARED,
        policy_digest=DIGEST,
        launch_digest=DIGEST,
        egress=("api.example:443",),
        operator_uid=1000,
    )


def decided(
    number: int, decision: Decision = Decision.REQUIRE, session: SessionId = SESSION
) -> CallDecided:
    return CallDecided(
        session_id=session,
        call_id=call_id(number),
        tool_use_id=f"toolu_{number}",
        tool="Bash",
        cwd="/w",
        decision=decision,
        rule_id=RuleId("ask-first"),
        tier=Tier.USER,
        reason="a person decides",
        effects=("exec(git push)",),
        grade=Grade.SHARED,
        policy_digest=DIGEST,
        commitment=DIGEST,
        arguments='{"command":"git push"}',
    )


def requested(number: int, *, quorum: int = 1, named: int | None = None) -> ApprovalRequested:
    return ApprovalRequested(
        approval_id=approval_id(number if named is None else named),
        session_id=SESSION,
        call_id=call_id(number),
        binding=DIGEST,
        rule_id=RuleId("ask-first"),
        approvers=("uid:1000", "uid:1001") if quorum > 1 else None,
        quorum=quorum,
        expires_at="2026-11-20T13:00:00.000000Z",
        wait_s=600,
    )


def granted(number: int, *, approver: str = "uid:1000", complete: bool = True) -> ApprovalGranted:
    return ApprovalGranted(
        approval_id=approval_id(number),
        call_id=call_id(number),
        approver=approver,
        channel="terminal",
        complete=complete,
    )


def denied(number: int) -> ApprovalDenied:
    return ApprovalDenied(
        approval_id=approval_id(number),
        call_id=call_id(number),
        approver="uid:1000",
        channel="terminal",
        reason="not on a Friday",
    )


def expired(number: int) -> ApprovalExpired:
    return ApprovalExpired(approval_id=approval_id(number), call_id=call_id(number))


def cancelled(number: int) -> ApprovalCancelled:
    return ApprovalCancelled(
        approval_id=approval_id(number), call_id=call_id(number), cause="interrupted"
    )


def finished(number: int) -> ExecutionFinished:
    return ExecutionFinished(session_id=SESSION, call_id=call_id(number), reported_by="harness")


def ended(session: SessionId = SESSION) -> SessionEnded:
    return SessionEnded(
        session_id=session, outcome="finished", calls=1, allowed=0, denied=0, asked=1
    )


def reaped(session: SessionId = SESSION) -> SessionReaped:
    return SessionReaped(session_id=session, reason="its launcher is gone")


def asked(number: int) -> tuple[Payload, ...]:
    """A call that needs a person, and the question."""
    return decided(number), requested(number)
