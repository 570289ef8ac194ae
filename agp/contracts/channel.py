"""The channel adapter: how a question reaches a person, and how an answer comes back."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Protocol

from pydantic import Field

from agp.contracts.base import ApprovalId, CallId, Contract, Digest, RuleId, SessionId
from agp.contracts.policy import Effect, Grade


class ApprovalState(StrEnum):
    """A pending approval ends exactly once."""

    PENDING = "pending"
    GRANTED = "granted"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class FileHash(Contract):
    """A workspace file in exec position, as it was when the person was asked."""

    path: str
    sha256: Digest


class Binding(Contract):
    """What an approval binds; a digest of exactly these values goes into the journal."""

    log_id: str
    harness: str
    session_id: SessionId
    agent_id: str | None
    cwd: str
    tool_use_id: str
    tool: str
    commitment: Digest
    """Of the raw input."""
    effective_input: Digest
    """SHA-256 of the canonical effective input."""
    effects: tuple[Effect, ...]
    file_hashes: tuple[FileHash, ...]
    grade: Grade
    rule_id: RuleId
    approvers: frozenset[str] | None
    quorum: int


class ApprovalRequest(Contract):
    """Everything a channel may show about one pending approval."""

    approval_id: ApprovalId
    call_id: CallId
    binding_digest: Digest
    session_id: SessionId
    harness: str
    workspace: str
    cwd: str
    agent_id: str | None
    tool: str
    input_json: str
    """The whole input as the harness sent it: untrusted text, shown only through `display`."""
    input_left_out: int = 0
    """Characters that a list of many questions left out of `input_json`; 0: it is whole."""
    effects_left_out: int = 0
    """Likewise, of `effects`."""
    says: str = ""
    """The model's own description: labelled *the agent says*."""
    effects: tuple[Effect, ...]
    cannot_see: tuple[str, ...] = ()
    """What the policy cannot look into, in words."""
    network: tuple[str, ...] | None = None
    """`host:port` names that a yes opens, for this call alone; empty: no network at all. None: the
    call does not run in a view of its own."""
    rule_id: RuleId
    reason: str
    hint: str
    grade: Grade
    approvers: frozenset[str] | None
    quorum: Annotated[int, Field(ge=1)]
    granted_by: tuple[str, ...] = ()
    requested_at: str
    expires_at: str
    state: ApprovalState = ApprovalState.PENDING
    answered_by: str = ""
    answer_reason: str = ""
    """What the person wrote with a deny; untrusted text like any other."""


class Answer(Contract):
    """A person's answer, verified by the channel that carried it."""

    approval_id: ApprovalId
    binding_digest: Digest | None = None
    """What the person saw; None only where the operator typed the id itself (it holds 8 digits)."""
    verdict: Literal["allow", "deny"]
    approver: str
    """`uid:1000` for the operator's terminal, `slack:T..:U..` for Slack."""
    channel: str
    reason: str = ""


class ChannelAdapter(Protocol):
    """One way to reach people. Adapters verify who answers; the approvals actor decides."""

    @property
    def name(self) -> str:
        """Short, stable, as it stands in the journal."""
        ...

    def can_answer(self, session_id: SessionId) -> bool:
        """Tell whether a person could answer here at all."""
        ...

    async def show(self, request: ApprovalRequest) -> None:
        """Put the question, or its newest state, before people; never authoritative."""
        ...
