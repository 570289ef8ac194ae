"""One governed session in the daemon's memory: its calls, its tickets, its limits.

The states of a call, and who moves it:

| from      | deciding  | asking    | granted   | redeemed  |
|-----------|-----------|-----------|-----------|-----------|
| asking    | require   |           |           |           |
| granted   | allow     | released  |           |           |
| refused   | deny      | not granted, not released | undelivered, expired | |
| redeemed  |           |           | grant hook |          |
| ended     |           |           | outcome   | outcome   |
"""

from __future__ import annotations

import posixpath
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.intendant import ToolCall
from agp.errors import IntegrityError, OverLimit
from agp.governor.tickets import TicketBook, TicketKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.contracts.base import ApprovalId, CallId, Digest, SessionId
    from agp.contracts.channel import FileHash
    from agp.contracts.intendant import HandedOver, Intendant, Ruling
    from agp.contracts.policy import Grade, Verdict
    from agp.governor.ports import Surveyor

MAX_WAITING: Final = 24
"""Decisions that may be open at once in one session; below the ask socket's 32 connections, so
that a grant hook always finds one (system.md §6 allows 32)."""
MAX_PENDING_APPROVALS: Final = 8
"""Questions that one session may put to people at once."""
MAX_CALLS_KEPT: Final = 4096
"""Ended calls that stay in memory, so that a repeated request is known for what it is."""


_WORKING_PLACES: Final = ("/tmp", "/home/agent")  # noqa: S108 - the view's own
"""Besides the workspace: a view's private places."""


OWN_CALLS: Final = ("mcp-", "typed-")
"""How the tool_use_ids begin that AGP makes itself; no hook may speak for such a call."""


class CallState(StrEnum):
    """Where one call stands."""

    DECIDING = "deciding"
    ASKING = "asking"
    GRANTED = "granted"
    REDEEMED = "redeemed"
    REFUSED = "refused"
    ENDED = "ended"


CALL_TRANSITIONS: Final = MappingProxyType(
    {
        CallState.DECIDING: frozenset({CallState.ASKING, CallState.GRANTED, CallState.REFUSED}),
        CallState.ASKING: frozenset({CallState.GRANTED, CallState.REFUSED}),
        CallState.GRANTED: frozenset({CallState.REDEEMED, CallState.REFUSED, CallState.ENDED}),
        CallState.REDEEMED: frozenset({CallState.ENDED}),
        CallState.REFUSED: frozenset(),
        CallState.ENDED: frozenset(),
    }
)


@dataclass
class Execution:
    """A call that AGP itself executes."""

    stop: anyio.CancelScope
    over: anyio.Event = field(default_factory=anyio.Event)
    """Set when nothing of it is left and its last line is written."""


@dataclass
class Call:
    """One tool call on its way."""

    call_id: CallId
    call: ToolCall
    effective: Digest
    """Digest of the canonical effective input, as the ticket's key holds it."""
    digest: Digest
    """Of everything that the hook claimed: another claim under the same id is another call."""
    state: CallState = CallState.DECIDING
    verdict: Verdict | None = None
    approval_id: ApprovalId | None = None
    bound_files: tuple[FileHash, ...] = ()
    """The workspace files that an approval bound; looked at once more at redemption."""
    answered_by: str = ""
    """Who ended its approval; several for a quorum."""
    ticket: TicketKey | None = None
    ruling: Ruling | None = None
    failure: Exception | None = None
    """A mistake of ours or a broken journal: raised again in every waiter."""
    decided: anyio.Event = field(default_factory=anyio.Event)
    waiters: int = 0
    """Hook connections that wait for the ruling now."""
    attached: anyio.Event = field(default_factory=anyio.Event)
    """Set while somebody waits; replaced when the last one is gone."""
    execution: Execution | None = None
    handed: HandedOver | None = None
    """AGP runs it in a view of its own; the ticket is for the input that only names it."""
    way_in: Digest | None = None
    """Of the canonical input that the harness gets in its place; the grant hook shows that one."""
    started: bool = False
    """Its one start was given away: it runs, or has run."""
    delivered: bool = False
    """An answer that allows was written out whole; it is never given a second time."""

    def move(self, state: CallState) -> None:
        """Make one transition; anything that the table does not hold is our own mistake."""
        if state not in CALL_TRANSITIONS[self.state]:
            raise IntegrityError(
                "a call was moved against its table", why=f"{self.state} -> {state}"
            )
        self.state = state
        if state in {CallState.REFUSED, CallState.ENDED}:
            self.forget_input()

    def fail(self, error: Exception) -> None:
        """End the decision without a ruling: whoever waits is refused with this error."""
        self.failure = error
        self.state = CallState.REFUSED
        self.forget_input()
        self.decided.set()

    @property
    def key(self) -> TicketKey:
        """What a ticket for this call is keyed by."""
        call = self.call
        return TicketKey(call.agent_id, call.cwd, call.tool, self.way_in or self.effective)

    def forget_input(self) -> None:
        """Let go of what the call said; a call that is over must not hold megabytes."""
        slim = self.call.model_dump() | {
            "raw_input": b"",
            "effective_input": None,
            "action": {"type": "unknown", "tool": self.call.tool, "why": "over"},
            "says": "",
        }
        self.call = ToolCall.model_validate(slim)

    def rule(self, ruling: Ruling) -> None:
        """Set the ruling once and wake who waits."""
        self.ruling = ruling
        self.decided.set()


@dataclass
class Counts:
    """What the summary says."""

    calls: int = 0
    allowed: int = 0
    asked: int = 0
    denied: int = 0
    let_through: int = 0
    """In observe mode: calls that a rule would have asked about or denied."""


class GovernedSession:
    """The session of one listener. Everything the peer says is a claim about it."""

    def __init__(
        self, session_id: SessionId, intendant: Intendant, *, workspace: str, grade: Grade
    ) -> None:
        self.session_id = session_id
        self.intendant = intendant
        self.workspace = workspace
        self.grade = grade
        self.harness_session: str | None = None
        self._bound_before: tuple[str, ...] = ()
        self.calls: dict[str, Call] = {}
        """By the harness's tool_use_id."""
        self.tickets = TicketBook()
        self.redeemed: Counter[TicketKey] = Counter()
        """Redeemed tickets whose outcome has not come yet; twins share a key."""
        self.violations = 0
        """Coverage violations so far; one is enough to fail the run."""
        self.counts = Counts()
        self.executed_before: set[str] = set()
        """Which tool_use_ids may have run before the daemon restarted: never decided again."""
        self.secrets: tuple[str, ...] = ()
        """Values that must not stand in the journal; a call that carries one is refused."""
        self.ended = False
        self.uncovered: Callable[[], tuple[str, ...]] = tuple
        """Names the executing places that the session's view has lost its masks over."""
        self.observing: Callable[[], bool] = bool
        """Tells whether the operator lets this session through and only records; by default no."""
        self.call_views = False
        """Shell calls run in views of their own, started by the launcher outside the harness's."""
        self.interactive = False
        """A person sits at the harness's own screen: it may begin sessions anew, and interrupt."""
        self.mode = ""
        """The harness's own permission mode, as it last said."""
        self.noted = 0
        """Observations so far; beyond a bound they are no longer journaled."""
        self.private_places: tuple[str, ...] = _WORKING_PLACES
        """Where it may work besides the workspace; none, where it has no view."""
        self.surveyor: Surveyor | None = None
        """Its own look at the machine; None: as every view sees it."""
        self.hooks_seen = anyio.Event()
        """Set by the first SessionStart on this listener."""

    def may_work_in(self, cwd: str) -> bool:
        """Tell whether a claimed working directory is one that the view has for work."""
        places = (self.workspace, *self.private_places)
        clean = posixpath.normpath(cwd)
        return any(clean == place or clean.startswith(f"{place}/") for place in places)

    def bind(self, harness_session: str) -> None:
        """Bind the harness's own session id to this listener."""
        self._bound_before = (*self._bound_before, *filter(None, (self.harness_session,)))[-64:]
        self.harness_session = harness_session
        self.hooks_seen.set()

    def is_bound(self, harness_session: str) -> bool:
        """Tell whether this id was bound here; a screen that was cleared has more than one."""
        return harness_session in {self.harness_session, *self._bound_before}

    def admit(self, call: Call) -> None:
        """Take in a new call, or refuse it where too many are open.

        Raises:
            OverLimit: with the sentence that the agent is told.
        """
        waiting = sum(1 for known in self.calls.values() if not known.decided.is_set())
        if waiting >= MAX_WAITING:
            raise OverLimit(f"{waiting} calls of this session wait already; try again later")
        self.calls[call.call.tool_use_id] = call
        self.counts.calls += 1
        self._forget_old()

    def pending_approvals(self) -> int:
        """Count the questions that this session has open."""
        return sum(1 for call in self.calls.values() if call.state is CallState.ASKING)

    def by_id(self, call_id: CallId) -> Call | None:
        """Find a call by AGP's own name for it."""
        return next((call for call in self.calls.values() if call.call_id == call_id), None)

    def _forget_old(self) -> None:
        ended = (CallState.ENDED, CallState.REFUSED)
        surplus = len(self.calls) - MAX_CALLS_KEPT
        if surplus > 0:
            old = [key for key, call in self.calls.items() if call.state in ended]
            for key in old[:surplus]:
                if self.calls[key].state is CallState.ENDED:
                    # Its stream item must still find that it was decided (one id, no body).
                    self.executed_before |= {key}
                del self.calls[key]
