"""What a restarted daemon takes up again: a fold of the journal, pure.

Sessions without an end, questions without an answer, calls that were redeemed and whose outcome
nobody has seen, and whether grants are paused. Tickets are not among it: they died with the daemon.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agp.contracts.journal import (
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    CallDecided,
    ControlPaused,
    ControlResumed,
    CoverageViolated,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionOutcomeUnknown,
    ExecutionStarted,
    Line,
    ObserveChanged,
    Payload,
    SandboxStarted,
    SandboxStopped,
    SessionEnded,
    SessionReaped,
    SessionStarted,
    TicketRedeemed,
)
from agp.contracts.policy import Decision
from agp.governor.session import Counts
from agp.journal.line import read_payload

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agp.contracts.base import ApprovalId, CallId, SessionId

_FOLDED = (
    SessionStarted,
    SessionEnded,
    SessionReaped,
    CallDecided,
    TicketRedeemed,
    ExecutionStarted,
    ExecutionFinished,
    ExecutionFailed,
    ExecutionOutcomeUnknown,
    ApprovalRequested,
    ApprovalGranted,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalCancelled,
    ControlPaused,
    ControlResumed,
    SandboxStarted,
    SandboxStopped,
    CoverageViolated,
    ObserveChanged,
)
_KINDS = frozenset(model.kind.value for model in _FOLDED)


@dataclass
class OpenSession:
    """A session that has started and not ended, as far as the journal knows."""

    started: SessionStarted
    started_at: str
    redeemed: dict[CallId, TicketRedeemed] = field(default_factory=dict)
    """Redeemed calls without an outcome."""
    executing: set[CallId] = field(default_factory=set)
    """Calls that the daemon itself executed when it went down: they died with it."""
    asked: dict[ApprovalId, ApprovalRequested] = field(default_factory=dict)
    """Questions without an end."""
    granted_by: dict[ApprovalId, list[str]] = field(default_factory=dict)
    """Who said yes so far, for a quorum that is not met."""
    decided: dict[CallId, str] = field(default_factory=dict)
    """Each call's tool_use_id."""
    counts: Counts = field(default_factory=Counts)
    executed: set[str] = field(default_factory=set)
    """Which tool_use_ids were redeemed or begun: they may have run, and are not run again."""
    violations: int = 0
    observing: bool = False
    """The operator let it through when the daemon went down; only the journal can say so."""
    mount_points: tuple[str, ...] = ()
    """Created by the view that is not known to have stopped."""


@dataclass
class Recovery:
    """Everything that was open when the daemon went down."""

    sessions: dict[SessionId, OpenSession] = field(default_factory=dict)
    paused: str | None = None
    journaled: set[CallId] = field(default_factory=set)
    """Every call that the journal knows: their salts are kept."""

    def living(self) -> frozenset[CallId]:
        """Name the calls whose bodies are still needed."""
        return frozenset(
            call_id
            for session in self.sessions.values()
            for call_id in (
                *session.redeemed,
                *session.executing,
                *(asked.call_id for asked in session.asked.values()),
            )
        )


def recover(lines: Iterable[Line]) -> Recovery:
    """Fold the journal, oldest line first.

    Raises:
        IntegrityError: a line of a kind that we know does not hold what that kind holds.
    """
    recovery = Recovery()
    for line in lines:
        if line.kind in _KINDS:
            _fold(recovery, read_payload(line.kind, line.payload), line.ts)
    return recovery


def _fold(recovery: Recovery, said: Payload, at: str) -> None:  # noqa: C901, PLR0912
    sessions = recovery.sessions
    match said:
        case SessionStarted():
            sessions[said.session_id] = OpenSession(said, at, observing=said.observed is True)
        case ObserveChanged() if said.session_id in sessions:
            sessions[said.session_id].observing = said.on
        case SessionEnded() | SessionReaped():
            sessions.pop(said.session_id, None)
        case ControlPaused():
            recovery.paused = said.reason
        case ControlResumed():
            recovery.paused = None
        case SandboxStarted() if said.session_id in sessions:
            sessions[said.session_id].mount_points = said.created_mount_points
        case SandboxStopped() if said.session_id in sessions:
            sessions[said.session_id].mount_points = ()
        case CallDecided():
            recovery.journaled.add(said.call_id)
            if said.session_id in sessions:
                _count(sessions[said.session_id], said)
        case CoverageViolated() if said.session_id in sessions:
            sessions[said.session_id].violations += 1
        case TicketRedeemed() if said.session_id in sessions:
            session = sessions[said.session_id]
            session.redeemed[said.call_id] = said
            session.executed.add(session.decided.get(said.call_id, ""))
        case ExecutionStarted(reported_by="agp") if said.session_id in sessions:
            session = sessions[said.session_id]
            session.executing.add(said.call_id)
            session.executed.add(session.decided.get(said.call_id, ""))
        case ExecutionFinished() | ExecutionFailed() | ExecutionOutcomeUnknown():
            if said.session_id in sessions:
                sessions[said.session_id].redeemed.pop(said.call_id, None)
                sessions[said.session_id].executing.discard(said.call_id)
        case ApprovalRequested() if said.session_id in sessions:
            sessions[said.session_id].asked[said.approval_id] = said
        case ApprovalGranted() if not said.complete:
            for session in sessions.values():
                if said.approval_id in session.asked:
                    session.granted_by.setdefault(said.approval_id, []).append(said.approver)
        case ApprovalGranted() | ApprovalDenied() | ApprovalExpired() | ApprovalCancelled():
            for session in sessions.values():
                ended = session.asked.pop(said.approval_id, None)
                if ended is not None and not isinstance(said, ApprovalGranted):
                    session.counts.denied += 1
        case _:
            pass


def _count(session: OpenSession, said: CallDecided) -> None:
    """Take one decision into the session's books, as the loop did when it was made."""
    session.decided[said.call_id] = said.tool_use_id
    counts = session.counts
    counts.calls += 1
    match said.decision:
        case Decision.ALLOW if said.would_be is not None:
            counts.let_through += 1
        case Decision.ALLOW:
            counts.allowed += 1
        case Decision.REQUIRE:
            counts.asked += 1
        case Decision.DENY:
            counts.denied += 1
