"""The journal event: closed kinds, one typed payload each, and the sealed line.

Exact bytes and preimages: `docs/journal-format.md`. Payloads hold only strings, integers below
2^53, booleans, lists and objects of these; never a float and never null: an absent field is
absent. Tool arguments appear as one string member holding their redacted JSON text.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Protocol

from pydantic import Field, JsonValue

from agp.contracts.base import ApprovalId, CallId, Contract, Digest, RuleId, SessionId
from agp.contracts.policy import Decision, Grade, Tier

if TYPE_CHECKING:
    from datetime import datetime

LINE_VERSION = 1


class EventKind(StrEnum):
    """Closed vocabulary, `noun.verb`; listed once more in `docs/journal-format.md`."""

    JOURNAL_OPENED = "journal.opened"
    JOURNAL_REPAIRED = "journal.repaired"
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    SESSION_REAPED = "session.reaped"
    CALL_DECIDED = "call.decided"
    CALL_ABANDONED = "call.abandoned"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_GRANTED = "approval.granted"
    APPROVAL_DENIED = "approval.denied"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_CANCELLED = "approval.cancelled"
    APPROVAL_CLICK_REJECTED = "approval.click_rejected"
    TICKET_ISSUED = "ticket.issued"
    TICKET_REDEEMED = "ticket.redeemed"
    TICKET_REFUSED = "ticket.refused"
    TICKET_EXPIRED = "ticket.expired"
    GRANT_CREATED = "grant.created"
    GRANT_USED = "grant.used"
    GRANT_REVOKED = "grant.revoked"
    EXECUTION_STARTED = "execution.started"
    EXECUTION_FINISHED = "execution.finished"
    EXECUTION_FAILED = "execution.failed"
    EXECUTION_OUTCOME_UNKNOWN = "execution.outcome_unknown"
    SANDBOX_STARTED = "sandbox.started"
    SANDBOX_PREFLIGHT = "sandbox.preflight"
    SANDBOX_STOPPED = "sandbox.stopped"
    EGRESS_ALLOWED = "egress.allowed"
    EGRESS_REFUSED = "egress.refused"
    POLICY_LOADED = "policy.loaded"
    CONFIG_IN_FORCE = "config.in_force"
    KEY_ROTATED = "key.rotated"
    KEY_REVOKED = "key.revoked"
    CONTROL_PAUSED = "control.paused"
    CONTROL_RESUMED = "control.resumed"
    CONTROL_KILLED = "control.killed"
    COVERAGE_VIOLATED = "coverage.violated"
    CHECKPOINT_SEALED = "checkpoint.sealed"
    GATEWAY_REFUSED = "gateway.refused"
    CANARY_FINISHED = "canary.finished"
    HARNESS_OBSERVED = "harness.observed"
    OBSERVE_CHANGED = "observe.changed"


Reporter = Literal["agp", "harness"]
"""`harness`: what a hook or the event stream said; code beside the harness can forge it."""


class Payload(Contract):
    """What one kind of event says; `kind` names it."""

    kind: ClassVar[EventKind]


class OfSession(Payload):
    """An event of one session."""

    session_id: SessionId
    observed: Literal[True] | None = None
    """The session runs in observe mode: what a rule would have asked or denied was let through."""


class JournalOpened(Payload):
    """Line 0: who signs, and which log this is."""

    kind: ClassVar[EventKind] = EventKind.JOURNAL_OPENED
    log_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    """Random 128 bits: lines cannot be moved between logs."""
    origin: str
    """The checkpoint's origin line and key name."""
    public_key: str
    """Standard base64 of the 32 raw Ed25519 bytes."""


class JournalRepaired(Payload):
    """A torn tail was cut off before the first append."""

    kind: ClassVar[EventKind] = EventKind.JOURNAL_REPAIRED
    segment: str
    removed_bytes: int
    removed_sha256: Digest


class SessionStarted(OfSession):
    """A governed session was opened; written before the harness starts."""

    kind: ClassVar[EventKind] = EventKind.SESSION_STARTED
    intendant: str
    intendant_version: str
    workspace: str
    grade: Grade
    policy_digest: Digest
    launch_digest: Digest
    """Over argv, settings, bridge and harness hashes; see the intendant."""
    egress: tuple[str, ...]
    """`host:port` names that the session's relay may dial."""
    operator_uid: int
    unsafe: tuple[str, ...] = ()
    """Every check that the operator switched off for this run, by its flag."""
    attached: Literal[True] | None = None
    """A person started the harness; AGP sees it through installed hooks only."""
    interactive: Literal[True] | None = None
    """The harness's own screen: there is no event stream to compare with."""
    carried: tuple[str, ...] | None = None
    """What of the person's own set-up was handed back: `login`, `memory:PATH`, `mcp:NAME`..."""


class SessionEnded(OfSession):
    """A session ended in an orderly way."""

    kind: ClassVar[EventKind] = EventKind.SESSION_ENDED
    outcome: Literal["finished", "refused", "ungoverned", "harness_failed", "killed"]
    calls: int
    allowed: int
    denied: int
    asked: int
    harness_exit: int | None = None
    let_through: int | None = None
    """In observe mode: calls that a rule would have asked about or denied; not among `allowed`."""


class SessionReaped(OfSession):
    """The launcher was gone; the daemon closed what it had left."""

    kind: ClassVar[EventKind] = EventKind.SESSION_REAPED
    reason: str


class CallDecided(OfSession):
    """The verdict about one tool call; for an allow this is also the intent and the ticket."""

    kind: ClassVar[EventKind] = EventKind.CALL_DECIDED
    call_id: CallId
    tool_use_id: str
    agent_id: str | None = None
    tool: str
    cwd: str
    decision: Decision
    rule_id: RuleId
    tier: Tier
    reason: str
    effects: tuple[str, ...]
    """`Effect.describe()` of each, redacted."""
    grade: Grade
    policy_digest: Digest
    commitment: Digest
    arguments: str | None = None
    """The redacted JSON text of the input; absent where a known secret survived redaction."""
    edited_arguments: str | None = None
    """The redacted JSON text of the effective input, where AGP rewrote it."""
    would_be: Decision | None = None
    """In observe mode only: what `rule_id` says, where the call was allowed all the same."""


class CallAbandoned(OfSession):
    """A granted call whose waiter did not come back; nothing runs."""

    kind: ClassVar[EventKind] = EventKind.CALL_ABANDONED
    call_id: CallId
    reason: str


class ApprovalRequested(OfSession):
    """A person is asked; the binding is what the person sees."""

    kind: ClassVar[EventKind] = EventKind.APPROVAL_REQUESTED
    approval_id: ApprovalId
    call_id: CallId
    binding: Digest
    rule_id: RuleId
    approvers: tuple[str, ...] | None = None
    quorum: int
    expires_at: str
    """UTC, the journal's time format."""
    wait_s: int


class ApprovalGranted(Payload):
    """A person said yes; one event each, the last one completes the quorum."""

    kind: ClassVar[EventKind] = EventKind.APPROVAL_GRANTED
    approval_id: ApprovalId
    call_id: CallId
    approver: str
    channel: str
    complete: bool


class ApprovalDenied(Payload):
    """A person said no."""

    kind: ClassVar[EventKind] = EventKind.APPROVAL_DENIED
    approval_id: ApprovalId
    call_id: CallId
    approver: str
    channel: str
    reason: str


class ApprovalExpired(Payload):
    """Nobody answered in time."""

    kind: ClassVar[EventKind] = EventKind.APPROVAL_EXPIRED
    approval_id: ApprovalId
    call_id: CallId


class ApprovalCancelled(Payload):
    """The question lost its meaning before it was answered, or the answer its call."""

    kind: ClassVar[EventKind] = EventKind.APPROVAL_CANCELLED
    approval_id: ApprovalId
    call_id: CallId
    cause: Literal[
        "interrupted", "superseded", "session_ended", "body_gone", "killed", "not_reattached"
    ]


class ApprovalClickRejected(Payload):
    """Somebody who may not answer tried to, or answered something that is not open."""

    kind: ClassVar[EventKind] = EventKind.APPROVAL_CLICK_REJECTED
    approval_id: str
    approver: str
    channel: str
    reason: str


class TicketIssued(OfSession):
    """A one-use grant was deposited after an approval, before the answer is written."""

    kind: ClassVar[EventKind] = EventKind.TICKET_ISSUED
    call_id: CallId
    key: Digest
    approval_id: ApprovalId


class TicketRedeemed(OfSession):
    """The grant hook took its ticket; the harness may run the call now."""

    kind: ClassVar[EventKind] = EventKind.TICKET_REDEEMED
    call_id: CallId
    key: Digest


class TicketRefused(OfSession):
    """The grant hook asked for something that was not granted."""

    kind: ClassVar[EventKind] = EventKind.TICKET_REFUSED
    tool: str
    agent_id: str | None = None
    reason: str


class TicketExpired(OfSession):
    """A ticket was not taken in time, or its call ended without it."""

    kind: ClassVar[EventKind] = EventKind.TICKET_EXPIRED
    call_id: CallId
    key: Digest


class GrantCreated(OfSession):
    """Reserved for reusable approvals."""

    kind: ClassVar[EventKind] = EventKind.GRANT_CREATED
    grant_id: str
    approval_id: ApprovalId
    expires_at: str


class GrantUsed(Payload):
    """Reserved for reusable approvals."""

    kind: ClassVar[EventKind] = EventKind.GRANT_USED
    grant_id: str
    call_id: CallId


class GrantRevoked(Payload):
    """Reserved for reusable approvals."""

    kind: ClassVar[EventKind] = EventKind.GRANT_REVOKED
    grant_id: str
    reason: str


class ExecutionStarted(OfSession):
    """AGP starts a call itself, or a harness reported a call that goes on in the background."""

    kind: ClassVar[EventKind] = EventKind.EXECUTION_STARTED
    call_id: CallId
    reported_by: Reporter
    background: bool = False
    profile_digest: Digest | None = None
    """The view of its own in which AGP runs the call."""
    network: tuple[str, ...] | None = None
    """`host:port` names that the call's view may reach; absent: none."""


class ExecutionFinished(OfSession):
    """A call ended and gave a result."""

    kind: ClassVar[EventKind] = EventKind.EXECUTION_FINISHED
    call_id: CallId
    reported_by: Reporter
    exit_code: int | None = None
    duration_ms: int | None = None
    output_sha256: Digest | None = None
    output_bytes: int | None = None


class ExecutionFailed(OfSession):
    """A call ended with an error."""

    kind: ClassVar[EventKind] = EventKind.EXECUTION_FAILED
    call_id: CallId
    reported_by: Reporter
    error: str
    """Redacted, at most 2,000 characters."""


class ExecutionOutcomeUnknown(OfSession):
    """A call may have run; nobody saw how it ended."""

    kind: ClassVar[EventKind] = EventKind.EXECUTION_OUTCOME_UNKNOWN
    call_id: CallId
    reason: str


class SandboxStarted(OfSession):
    """A view is about to be built; mount points that it creates are named for their removal."""

    kind: ClassVar[EventKind] = EventKind.SANDBOX_STARTED
    provider: str
    grade: Grade
    profile_digest: Digest
    created_mount_points: tuple[str, ...] = ()


class SandboxPreflight(OfSession):
    """What the probes proved; `passed` only where each has its positive control."""

    kind: ClassVar[EventKind] = EventKind.SANDBOX_PREFLIGHT
    provider: str
    passed: bool
    probes: tuple[str, ...]
    """`name=blocked|reached|doubtful`."""


class SandboxStopped(OfSession):
    """A view ended; survivors were looked for and executing places compared."""

    kind: ClassVar[EventKind] = EventKind.SANDBOX_STOPPED
    provider: str
    survivors: int
    removed_mount_points: tuple[str, ...] = ()


class EgressAllowed(OfSession):
    """The relay or the proxy dialled for the session; the first connection of each target."""

    kind: ClassVar[EventKind] = EventKind.EGRESS_ALLOWED
    target: str


class EgressRefused(OfSession):
    """The proxy refused a target; at most one event a second and session."""

    kind: ClassVar[EventKind] = EventKind.EGRESS_REFUSED
    target: str
    reason: str


class PolicyLoaded(Payload):
    """A policy came into force."""

    kind: ClassVar[EventKind] = EventKind.POLICY_LOADED
    policy_digest: Digest
    files: tuple[str, ...]
    """`tier:sha256` of each file, in tier order."""
    rules: int


class ConfigInForce(Payload):
    """The configuration with which the daemon runs."""

    kind: ClassVar[EventKind] = EventKind.CONFIG_IN_FORCE
    config_digest: Digest
    version: str
    unsafe: tuple[str, ...] = ()


class KeyRotated(Payload):
    """The next line begins a new era."""

    kind: ClassVar[EventKind] = EventKind.KEY_ROTATED
    public_key: str
    new_key_signature: str


class KeyRevoked(Payload):
    """A key is no longer trusted after `last_trusted_seq`."""

    kind: ClassVar[EventKind] = EventKind.KEY_REVOKED
    revoked_key_id: Digest
    reason: str
    last_trusted_seq: int
    checkpoint: str


class ControlPaused(Payload):
    """No new grants until it is resumed."""

    kind: ClassVar[EventKind] = EventKind.CONTROL_PAUSED
    reason: str
    by: str


class ControlResumed(Payload):
    """Grants are given again."""

    kind: ClassVar[EventKind] = EventKind.CONTROL_RESUMED
    by: str


class ControlKilled(OfSession):
    """The operator ended a session."""

    kind: ClassVar[EventKind] = EventKind.CONTROL_KILLED
    by: str


class CoverageViolated(OfSession):
    """Something happened that no decision of AGP covers."""

    kind: ClassVar[EventKind] = EventKind.COVERAGE_VIOLATED
    what: Literal[
        "executed_without_decision",
        "executed_without_ticket",
        "hooks_not_alive",
        "executing_place_changed",
        "survivor",
    ]
    detail: str


class CheckpointSealed(Payload):
    """The signed note that was written over the log *before* this line."""

    kind: ClassVar[EventKind] = EventKind.CHECKPOINT_SEALED
    note: str
    """The whole signed note."""


class GatewayRefused(OfSession):
    """Malformed or over-rate requests, counted; at most one event a second and session."""

    kind: ClassVar[EventKind] = EventKind.GATEWAY_REFUSED
    count: int
    reason: str
    """The last one's."""


class CanaryFinished(Payload):
    """A harness was asked to run one call that must be refused, against a model of AGP's own."""

    kind: ClassVar[EventKind] = EventKind.CANARY_FINISHED
    intendant: str
    version: str
    harness_digest: Digest
    shape_digest: Digest
    """Over the arguments and settings of a launch, without what differs from run to run."""
    passed: bool
    detail: str
    duration_ms: int


class HarnessObserved(OfSession):
    """Something that no hook can decide was seen in what the harness says about itself."""

    kind: ClassVar[EventKind] = EventKind.HARNESS_OBSERVED
    what: Literal["shell_escape", "file_mention", "mode_changed", "instructions_loaded"]
    detail: str
    """Redacted, at most 500 characters."""
    reported_by: Reporter


class ObserveChanged(OfSession):
    """The operator switched observe mode on or off for one session."""

    kind: ClassVar[EventKind] = EventKind.OBSERVE_CHANGED
    on: bool
    by: str


ALL_PAYLOADS: tuple[type[Payload], ...] = (
    JournalOpened,
    JournalRepaired,
    SessionStarted,
    SessionEnded,
    SessionReaped,
    CallDecided,
    CallAbandoned,
    ApprovalRequested,
    ApprovalGranted,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalCancelled,
    ApprovalClickRejected,
    TicketIssued,
    TicketRedeemed,
    TicketRefused,
    TicketExpired,
    GrantCreated,
    GrantUsed,
    GrantRevoked,
    ExecutionStarted,
    ExecutionFinished,
    ExecutionFailed,
    ExecutionOutcomeUnknown,
    SandboxStarted,
    SandboxPreflight,
    SandboxStopped,
    EgressAllowed,
    EgressRefused,
    PolicyLoaded,
    ConfigInForce,
    KeyRotated,
    KeyRevoked,
    ControlPaused,
    ControlResumed,
    ControlKilled,
    CoverageViolated,
    CheckpointSealed,
    GatewayRefused,
    CanaryFinished,
    HarnessObserved,
    ObserveChanged,
)
"""One payload for each kind; a test holds the two lists together."""

PAYLOAD_OF: dict[EventKind, type[Payload]] = {model.kind: model for model in ALL_PAYLOADS}


class Line(Contract):
    """One sealed event, parsed; the stored bytes remain what is verified."""

    v: int
    seq: Annotated[int, Field(ge=0, lt=2**53)]
    ts: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$")]
    kind: str
    """A string, not the enum: integrity is verified without knowing kinds."""
    actor: str
    payload: dict[str, JsonValue]
    prev_hash: Digest
    hash: Digest
    signing_key_id: Digest
    signature: str
    tenant_id: str | None = None
    approval_binding_type: str | None = None
    intendant_identity_uri: str | None = None
    on_behalf_of: str | None = None
    correlation_id: str | None = None


class Sealed(Contract):
    """What an append gives back once the line is durable."""

    seq: int
    hash: Digest
    ts: str


class Record(Protocol):
    """Where the governor writes; a call returns only after the line is durable.

    A caller that is cancelled cannot cancel its own record. Raises `JournalBroken`, for good,
    after any write error.
    """

    async def append(self, payload: Payload, *, actor: str) -> Sealed:
        """Seal and store one event; `actor` is who caused it, e.g. `agp` or `agent:s-..`."""
        ...


class Clock(Protocol):
    """The time, handed in."""

    def now(self) -> datetime:
        """UTC, aware."""
        ...

    def monotonic(self) -> float:
        """Seconds."""
        ...
