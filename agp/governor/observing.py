"""Observe mode, the loop's half: who is observed, and what says so in the journal.

Which sessions are observed is known here and nowhere else. Every event of such a session passes
this record and is marked on its way, whoever wrote it; an event that claims it by itself is put
right. Looser only after the line is durable, stricter before it is written.

Source: system.md §7; ADR 0019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agp.contracts.intendant import Denied
from agp.contracts.journal import CallAbandoned, ObserveChanged, OfSession, Payload, Record, Sealed
from agp.errors import Refusal
from agp.governor.handed import NOT_BEGUN, close
from agp.governor.session import Call, CallState, GovernedSession

if TYPE_CHECKING:
    from agp.contracts.base import SessionId


class ObservedRecord:
    """Implements `contracts.journal.Record`: each event of an observed session says that it is."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._observed: set[SessionId] = set()
        self._lock = anyio.Lock()

    def observes(self, session_id: SessionId) -> bool:
        """Tell whether a session is let through now."""
        return session_id in self._observed

    def begin(self, session_id: SessionId) -> None:
        """Let a session through: it starts so, or the journal says that it did before a restart."""
        self._observed.add(session_id)

    def forget(self, session_id: SessionId) -> None:
        """Let go of a session that has ended."""
        self._observed.discard(session_id)

    async def append(self, payload: Payload, *, actor: str) -> Sealed:
        """Append an event, marked where it belongs to an observed session. Raises as the record."""
        if isinstance(payload, OfSession):
            turns_on = isinstance(payload, ObserveChanged) and payload.on
            payload = _marked(payload, observed=turns_on or self.observes(payload.session_id))
        return await self._record.append(payload, actor=actor)

    async def switch(self, session: GovernedSession, *, on: bool, by: str) -> bool:
        """Let a session through from now on, or enforce again; False: it was so already.

        Raises:
            Refusal: the session has ended.
            JournalBroken: nothing is let through that the journal does not say.
        """
        async with self._lock:
            if session.ended:
                raise Refusal("this session has ended", fix="list what runs: agp sessions")
            if on is self.observes(session.session_id):
                return False
            changed = ObserveChanged(session_id=session.session_id, on=on, by=by)
            if on:
                await self.append(changed, actor=by)
                if not session.ended:  # it may have ended while the line was written
                    self.begin(session.session_id)
                return True
            self.forget(session.session_id)
            withdrawn = _withdraw(session)
            await self.append(changed, actor=by)
            for call in withdrawn:
                await self.append(
                    CallAbandoned(
                        session_id=session.session_id, call_id=call.call_id, reason=NOT_BEGUN
                    ),
                    actor="agp",
                )
            return True


def _marked(payload: OfSession, *, observed: bool) -> OfSession:
    """Give an event with the mark that its session has now."""
    if (payload.observed is True) is observed:
        return payload
    mark = True if observed else None
    return type(payload).model_validate(payload.model_dump() | {"observed": mark})


def _withdraw(session: GovernedSession) -> list[Call]:
    """Take back what was let through and has not begun; nothing is awaited in between."""
    taken = [call for call in session.calls.values() if _taken_back(session, call)]
    for call in taken:
        call.ruling = Denied(reason=f"{NOT_BEGUN}; ask again, and the rules decide")
        if call.state is CallState.REDEEMED:
            close(session, call)
        else:
            call.move(CallState.REFUSED)
    return taken


def _taken_back(session: GovernedSession, call: Call) -> bool:
    """Take back one call that nothing but observe mode granted; False: it is none, or has begun.

    An answer that was written out without a ticket left means that the call may run already, unless
    AGP runs it itself and has not been asked to.
    """
    if call.verdict is None or call.verdict.would_be is None or call.execution is not None:
        return False
    match call.state:
        case CallState.GRANTED:
            return session.tickets.withdraw(call.call_id) is not None or not call.delivered
        case CallState.REDEEMED:
            return call.handed is not None and not call.started
        case _:
            return False
