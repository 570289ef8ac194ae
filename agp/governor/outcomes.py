"""What is written down of a call after it was granted: outcomes, expiries, violations.

What a harness reports is a claim of it (`reported_by: harness`); it can end a call or violate
coverage, it can grant nothing.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Literal

from agp.contracts.base import CallId, Digest
from agp.contracts.journal import (
    CoverageViolated,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionOutcomeUnknown,
    ExecutionStarted,
    TicketExpired,
)
from agp.governor.session import Call, CallState, GovernedSession
from agp.journal.redact import journal_text

if TYPE_CHECKING:
    from agp.contracts.intendant import BatchReported, OutcomeReported
    from agp.contracts.journal import Clock, Record
    from agp.governor.tickets import TicketKey

_ERROR_LIMIT = 2000
_Violation = Literal["executed_without_decision", "executed_without_ticket"]
MAX_VIOLATIONS = 64
"""Coverage violations of one session that are journaled one by one; later ones only count."""


class Outcomes:
    """Closes the books of granted calls."""

    def __init__(self, record: Record, clock: Clock) -> None:
        self._record = record
        self._clock = clock

    async def outcome(self, session: GovernedSession, said: OutcomeReported) -> None:
        """Write down an outcome; one without a redeemed ticket is a coverage violation."""
        call = session.calls.get(said.tool_use_id)
        if call is None and said.tool_use_id in session.executed_before:
            return
        if call is None or call.ticket is None:
            await self._violated(session, "executed_without_decision", said)
            return
        if call.state is CallState.ENDED:
            return
        if session.redeemed[call.ticket] <= 0:
            await self._violated(session, "executed_without_ticket", said)
            return
        if call.handed is not None:
            await self._of_handed(session, call, said)
            return
        if said.background:
            await self._record.append(
                ExecutionStarted(
                    session_id=session.session_id,
                    call_id=call.call_id,
                    reported_by="harness",
                    background=True,
                ),
                actor="harness",
            )
            return
        session.redeemed[call.ticket] -= 1
        call.move(CallState.ENDED)
        await self._drop_surplus(session, call.ticket)
        if said.ok is not False:
            await self._record.append(
                ExecutionFinished(
                    session_id=session.session_id,
                    call_id=call.call_id,
                    reported_by="harness",
                    duration_ms=said.duration_ms,
                    output_sha256=Digest(hashlib.sha256(said.output).hexdigest()),
                    output_bytes=len(said.output),
                ),
                actor="harness",
            )
        else:
            await self.failed(session, call.call_id, said.error, "harness")

    async def _of_handed(self, session: GovernedSession, call: Call, said: OutcomeReported) -> None:
        """AGP runs this call and reports it; what the harness says of it is evidence only.

        A call that never began in its own view cannot have gone well: something else ran.
        """
        if call.started or said.background:
            return
        if call.ticket is not None:
            session.redeemed.pop(call.ticket, None)
        if said.ok is not False:
            await self._violated(session, "executed_without_decision", said)
            await self.unknown(session, call, "the harness says it ran, and AGP did not run it")
            return
        call.move(CallState.ENDED)
        await self.failed(session, call.call_id, said.error, "harness")

    async def batch(self, session: GovernedSession, said: BatchReported) -> None:
        """After a batch, what was granted and not used is taken back."""
        for tool_use_id in said.tool_use_ids:
            call = session.calls.get(tool_use_id)
            if call is None or call.ticket is None or call.state is not CallState.GRANTED:
                continue
            if session.tickets.withdraw(call.call_id) is not None:
                call.move(CallState.REFUSED)
                await self.ticket_expired(session, call.call_id, call.ticket)

    async def sweep(self, session: GovernedSession) -> None:
        """Bury the tickets that nobody redeemed in time."""
        for ticket in session.tickets.sweep(monotonic=self._clock.monotonic()):
            call = session.by_id(ticket.call_id)
            if call is not None and call.state is CallState.GRANTED:
                call.move(CallState.REFUSED)
            await self.ticket_expired(session, ticket.call_id, ticket.key)

    async def _drop_surplus(self, session: GovernedSession, key: TicketKey) -> None:
        """Tickets die with the outcome: no more stay open than twins that may still run.

        Twins are interchangeable, so an outcome may come for one twin while the ticket that was
        redeemed was deposited for the other.
        """
        living = (CallState.GRANTED, CallState.REDEEMED)
        unended = sum(
            1 for call in session.calls.values() if call.ticket == key and call.state in living
        )
        allowed = unended - session.redeemed[key]
        for ticket in session.tickets.trim(key, max(allowed, 0)):
            await self.ticket_expired(session, ticket.call_id, key)

    async def ticket_expired(
        self, session: GovernedSession, call_id: CallId, key: TicketKey
    ) -> None:
        """Journal a ticket that died unused."""
        await self._record.append(
            TicketExpired(session_id=session.session_id, call_id=call_id, key=key.input_digest),
            actor="agp",
        )

    async def failed(
        self, session: GovernedSession, call_id: CallId, error: str, reported_by: str
    ) -> None:
        """Journal a call that ended with an error; its words redacted and bounded."""
        text = spelled(session, error)[:_ERROR_LIMIT]
        await self._record.append(
            ExecutionFailed(
                session_id=session.session_id,
                call_id=call_id,
                reported_by="agp" if reported_by == "agp" else "harness",
                error=text,
            ),
            actor=reported_by,
        )

    async def unknown(self, session: GovernedSession, call: Call, reason: str) -> None:
        """Journal a call that may have run and whose end nobody saw."""
        call.move(CallState.ENDED)
        await self._record.append(
            ExecutionOutcomeUnknown(
                session_id=session.session_id, call_id=call.call_id, reason=reason
            ),
            actor="agp",
        )

    async def _violated(
        self, session: GovernedSession, what: _Violation, said: OutcomeReported
    ) -> None:
        session.violations += 1
        if session.violations > MAX_VIOLATIONS:
            return  # the run has failed long ago; an agent must not fill the journal with it
        detail = spelled(session, f"{said.tool} {said.tool_use_id}"[:500])
        await self._record.append(
            CoverageViolated(session_id=session.session_id, what=what, detail=detail),
            actor="harness",
        )


def spelled(session: GovernedSession, text: str) -> str:
    """Redact a peer's words for the journal; where a known secret survives, nothing is left."""
    shown = journal_text(text, session.secrets)
    return "[redacted]" if shown.survived else shown.text
