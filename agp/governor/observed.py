"""What observe mode has seen: a fold of proved journal lines to bounded counts, pure.

A line is folded as it is proved; the counts mean something only once the whole journal is. Memory
is bounded whatever agents wrote: names beyond a limit are counted together, texts are cut, and of
distinct calls that would have asked only so many are kept to be decided again.

Source: ADR 0019.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.contracts.journal import CallDecided, EventKind, SessionStarted
from agp.contracts.policy import Decision
from agp.errors import MessageRefused
from agp.governor.shapes import shape_of
from agp.journal.line import read_payload

if TYPE_CHECKING:
    from agp.contracts.base import SessionId
    from agp.journal.line import Members

MAX_NAMES: Final = 512
"""Distinct rules, tools, shapes that are counted one by one."""
MAX_DISTINCT: Final = 2048
"""Distinct calls that are kept to be decided again."""
MAX_ARGUMENTS: Final = 4096
"""Characters of one call's arguments that are kept; a longer one is counted."""
MAX_LISTED: Final = 200
"""Denied calls that are listed one by one; the count is exact."""
_CUT: Final = 160
_OTHERS: Final = "(others)"
_OF_INTEREST: Final = frozenset(
    {
        EventKind.SESSION_STARTED.value,
        EventKind.CALL_DECIDED.value,
    }
)
_CHANGED: Final = re.compile(r"\[redacted:|more, see the commitment\]|\[left out\]")
"""What redaction leaves in arguments: what stood there cannot be decided again."""


class Denied(NamedTuple):
    """One call that a rule denies, whether it was let through or refused."""

    seq: int
    ts: str
    session_id: str
    tool: str
    rule: str
    """`tier/id`."""
    what: str
    """Its effects in words, cut; untrusted text."""


class Asking(NamedTuple):
    """A call that would have asked, as far as the journal says it."""

    intendant: str
    workspace: str
    grade: str
    tool: str
    cwd: str
    arguments: str
    effects: tuple[str, ...]


@dataclass
class Span:
    """Which part of the journal counts."""

    since: str = ""
    """A journal time; earlier lines are proved and not counted."""
    session: str = ""
    """A session's id; empty: every session."""

    def holds(self, ts: str, session_id: str) -> bool:
        """Tell whether an event counts; journal times sort as text."""
        return ts >= self.since and self.session in {"", session_id}


@dataclass
class Seen:
    """The counts."""

    span: Span = field(default_factory=Span)
    observed_sessions: set[str] = field(default_factory=set)
    calls: int = 0
    """Observed ones; the next five are its parts."""
    quiet: int = 0
    would_ask: int = 0
    would_deny: int = 0
    held: int = 0
    """Refused although observed: the floor, an admin's deny, or a failure of AGP."""
    asked: int = 0
    enforced: int = 0
    """Calls of the same time that were decided without observe mode."""
    not_understood: int = 0
    first_ts: str = ""
    last_ts: str = ""
    rules: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (`require` or `deny`, `tier/id`)."""
    tools: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (`quiet`, `require`, `deny`; tool)."""
    shapes: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (`require` or `deny`, shape of the command)."""
    asks_by_hour: Counter[str] = field(default_factory=Counter)
    active_hours: set[str] = field(default_factory=set)
    denied: list[Denied] = field(default_factory=list)
    refused: list[Denied] = field(default_factory=list)
    asking: Counter[Asking] = field(default_factory=Counter)
    redacted: int = 0
    """Asking calls that redaction changed."""
    too_long: int = 0
    too_many: int = 0
    """Asking calls beyond `MAX_DISTINCT` distinct ones."""
    policies: set[str] = field(default_factory=set)
    _started: dict[SessionId, tuple[str, str]] = field(default_factory=dict)

    def knows(self, session_id: SessionId) -> bool:
        """Tell whether a session began among the lines so far, in the span or before it."""
        return session_id in self._started

    def take(self, members: Members) -> None:
        """Fold one proved line; one that this version does not understand is counted."""
        if members["kind"] not in _OF_INTEREST:
            return
        try:
            payload = read_payload(str(members["kind"]), members["payload"])
        except MessageRefused:
            self.not_understood += 1
            return
        if isinstance(payload, SessionStarted):
            self._started[payload.session_id] = (payload.intendant, payload.workspace)
        elif isinstance(payload, CallDecided):
            self._call(payload, int(str(members["seq"])), str(members["ts"]))

    def _call(self, said: CallDecided, seq: int, ts: str) -> None:
        if not self.span.holds(ts, said.session_id):
            return
        if said.observed is None and said.would_be is None:
            self.enforced += 1
            return
        self.calls += 1
        self.first_ts, self.last_ts = self.first_ts or ts, ts
        self.observed_sessions.add(said.session_id)
        self.active_hours.add(ts[:13])
        self._count(said, seq, ts)

    def _count(self, said: CallDecided, seq: int, ts: str) -> None:
        answer = "quiet" if said.would_be is None else said.would_be.value
        match said.decision, said.would_be:
            case Decision.ALLOW, None:
                self.quiet += 1
            case Decision.ALLOW, Decision.REQUIRE:
                self.would_ask += 1
                self.asks_by_hour[ts[:13]] += 1
                self._keep(said)
            case Decision.ALLOW, _:
                self.would_deny += 1
                self._list(self.denied, said, seq, ts)
            case Decision.DENY, _:
                self.held += 1
                answer = "held"
                self._list(self.refused, said, seq, ts)
            case _:
                self.asked += 1
                answer = "asked"
        _add(self.tools, (answer, said.tool[:_CUT]))
        if said.would_be is not None:
            _add(self.rules, (said.would_be.value, f"{said.tier.value}/{said.rule_id}"))
            shape = shape_of(said.tool, said.arguments or "", said.effects, self._workspace(said))
            _add(self.shapes, (said.would_be.value, shape[:_CUT]))

    def _keep(self, said: CallDecided) -> None:
        """Keep what would have asked, so that it can be decided again."""
        self.policies.add(said.policy_digest)
        intendant, workspace = self._started.get(said.session_id, ("", ""))
        arguments = said.arguments or ""
        if not arguments or _CHANGED.search(f"{said.cwd} {arguments}"):
            self.redacted += 1
        elif len(arguments) > MAX_ARGUMENTS:
            self.too_long += 1
        else:
            key = Asking(
                intendant, workspace, said.grade.value, said.tool, said.cwd, arguments, said.effects
            )
            if key in self.asking or len(self.asking) < MAX_DISTINCT:
                self.asking[key] += 1
            else:
                self.too_many += 1

    def _list(self, listed: list[Denied], said: CallDecided, seq: int, ts: str) -> None:
        if len(listed) >= MAX_LISTED:
            return
        what = "; ".join(said.effects[:8]) or said.arguments or ""
        if workspace := self._workspace(said):
            what = what.replace(f"{workspace}/", "")
        rule = f"{said.tier.value}/{said.rule_id}"
        listed.append(Denied(seq, ts, said.session_id, said.tool[:_CUT], rule, what[:_CUT]))

    def _workspace(self, said: CallDecided) -> str:
        return self._started.get(said.session_id, ("", ""))[1]


def _add(counter: Counter[tuple[str, str]], key: tuple[str, str]) -> None:
    """Count a name, or the rest together where there are too many."""
    counter[key if key in counter or len(counter) < MAX_NAMES else (key[0], _OTHERS)] += 1
