"""The operator's operations: what `control.sock` is asked and answers, and what a run is.

`gateway` holds the envelope of a control message; here are the values inside, for the operations
that a person or a script uses. What a launcher asks for its session is in `agp.daemon.messages`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agp.contracts.base import ApprovalId, CallId, Contract, Digest, RuleId, SessionId
from agp.contracts.channel import ApprovalRequest
from agp.contracts.policy import Grade

RunOutcome = Literal[
    "finished", "refused", "ungoverned", "harness_failed", "killed", "journal_broken"
]


class DaemonStatus(Contract):
    """`daemon.status`: what the daemon is and how it stands."""

    version: str
    pid: int
    started_at: str
    log_id: str
    signing_key_id: Digest
    events: int
    """Lines in the journal."""
    policy_digest: Digest
    rules: int
    paused: str | None = None
    """Why nothing is granted now; None while grants are given."""
    sessions: int
    approvals: int
    """Pending ones."""
    observing: tuple[SessionId, ...] = ()
    """Sessions that are let through now and only recorded."""


class SessionSummary(Contract):
    """One session as `session.list` shows it."""

    session_id: SessionId
    intendant: str
    workspace: str
    grade: Grade
    status: Literal["held", "away", "ended", "reaped"]
    outcome: str = ""
    started_at: str
    calls: int
    allowed: int
    asked: int
    denied: int
    observing: bool = False
    """It is, or ended, in observe mode."""
    let_through: int = 0
    """Calls that a rule would have asked about or denied; `allowed` does not count them."""


class SessionList(Contract):
    """`session.list`: live sessions first, then what ended lately."""

    sessions: tuple[SessionSummary, ...]


class ApprovalsAsked(Contract):
    """`approval.list` asked by the operator: all that wait, long inputs cut; or one, whole."""

    approval_id: ApprovalId | None = None


class ApprovalList(Contract):
    """`approval.list`: what waits, the next to expire first."""

    approvals: tuple[ApprovalRequest, ...]


class AnswerGiven(Contract):
    """`approval.answer` asked by the operator; who answers is the socket's peer, not a claim."""

    approval_id: ApprovalId
    verdict: Literal["allow", "deny"]
    reason: Annotated[str, Field(max_length=2000)] = ""
    binding_digest: Digest | None = None
    """What the person saw; None where only the id was typed (it holds 8 digits of it)."""
    channel: Literal["terminal", "cli"] = "cli"


class AnswerTaken(Contract):
    """`approval.answer`: the approval as it stands after the answer."""

    approval: ApprovalRequest


class RunningCall(Contract):
    """A call that was granted and has not been seen to end."""

    session_id: SessionId
    call_id: CallId
    tool: str


class PauseGiven(Contract):
    """`control.pause` asked by the operator."""

    reason: Annotated[str, Field(max_length=500)] = "by the operator"


class ControlState(Contract):
    """`control.pause` and `control.resume`: pausing gives no new grants, it stops nothing."""

    paused: str | None
    running: tuple[RunningCall, ...]


class KillGiven(Contract):
    """`session.kill` asked by the operator; None means every session."""

    session_id: SessionId | None = None


class Killed(Contract):
    """`session.kill`: which sessions are ended now."""

    sessions: tuple[SessionId, ...]


class ObserveGiven(Contract):
    """`session.observe` asked by the operator: let a session through, or enforce again."""

    session_id: SessionId
    on: bool


class ObserveState(Contract):
    """`session.observe`: how the session stands now."""

    session_id: SessionId
    observing: bool
    changed: bool
    """False: it was so already, and nothing was journaled."""


class RunRequest(Contract):
    """One governed run, as the command line asks for it."""

    intendant: Literal["claude-code", "scripted"]
    task: str = ""
    repo: str
    """Absolute path of the workspace."""
    script: str | None = None
    """Absolute path; for `scripted` only."""
    model_url: str | None = None
    """A model endpoint to reach through AGP's relay instead of the vendor's."""
    model: str | None = None
    pass_environment: tuple[str, ...] = ()
    unsafe_harness_version: bool = False
    """Run a harness version that was not proved; journaled."""
    observe: bool = False
    """Let through and record what rules would ask about or deny; journaled."""
    interactive: bool = False
    """Open the harness's own screen; a task is then its first prompt."""
    extra: tuple[str, ...] = ()
    """Arguments for the harness; the intendant's allow-list judges them."""
    carry: tuple[str, ...] = ()
    """What of the person's set-up goes back besides what the configuration says."""


class CallStory(Contract):
    """What became of one call, told in one line."""

    tool: str
    what: str
    """Its effects in words; untrusted text."""
    decision: Literal["allowed", "granted", "denied", "refused", "observed"]
    """`allowed` and `denied` by a rule; `granted` and `refused` after a person was asked;
    `observed`: let through against a rule, in observe mode."""
    by: str
    """The rule's id, or the approver."""
    rule_id: RuleId
    reason: str = ""
    would_be: Literal["require", "deny"] | None = None
    """Of an observed call: what the rule says."""


class RunSummary(Contract):
    """How a governed run ended."""

    session_id: SessionId
    outcome: RunOutcome
    exit_code: Annotated[int, Field(ge=0, le=255)]
    """AGP's own, from the error tree; 0 for `finished`."""
    why: str = ""
    grade: Grade
    calls: tuple[CallStory, ...]
    events: int
    """Lines in the journal now."""
    journal_verified: bool
    harness_exit: int | None = None
    text: str = ""
    """What the agent said last; untrusted text."""
    carried: tuple[str, ...] = ()
    """What of the person's set-up went back, as journaled."""
    resume: str = ""
    """The harness's own id of the conversation that was kept; empty: none was."""
    duration_ms: int
