"""What the store gives out: frozen rows, each derived from the journal."""

from __future__ import annotations

from typing import Literal

from agp.contracts.base import ApprovalId, CallId, Contract, Digest, RuleId, SessionId
from agp.contracts.channel import ApprovalState
from agp.contracts.policy import Grade


class SessionRow(Contract):
    """One governed session."""

    session_id: SessionId
    intendant: str
    intendant_version: str
    workspace: str
    grade: Grade
    policy_digest: Digest
    operator_uid: int
    status: Literal["open", "ended", "reaped"]
    outcome: str
    """How it ended, or why it was reaped; empty while it is open."""
    started_at: str
    ended_at: str | None
    calls: int
    """Decisions in the journal; the next four are its parts."""
    allowed: int
    asked: int
    denied: int
    let_through: int
    """In observe mode: what a rule would have asked about or denied."""
    observing: bool
    """It is, or ended, in observe mode."""


class ApprovalRow(Contract):
    """One question to people, and how it ended."""

    requested_seq: int
    """The journal line that asked; what identifies the row for ever."""
    approval_id: ApprovalId
    session_id: SessionId
    call_id: CallId
    binding: Digest
    rule_id: RuleId
    approvers: tuple[str, ...] | None
    quorum: int
    granted_by: tuple[str, ...]
    """In the order in which they answered."""
    requested_at: str
    expires_at: str
    state: ApprovalState
    answered_by: str
    """Who ended it; empty while it waits and where nobody did."""
    reason: str
    """Of a denial, or the cause of a cancellation."""
    ended_at: str | None
