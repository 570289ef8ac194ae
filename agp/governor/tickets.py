r"""Tickets: one-use grants that the deciding hook deposits and the grant hook redeems.

A ticket is keyed by what both hooks say about a call: (session of the listener, agent id or none,
cwd, tool name as the grant hook says it, digest of the effective input). The digest's preimage is
frozen (ADR 0004): SHA-256 over `agp/ticket/v1\\0` and the canonical *effective* input, after any
edit. Identical twins are interchangeable, so the book is a counted multiset; there is one book
for each session, which is how the session is part of the key. Source: system.md §6.
"""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from agp.contracts.base import CallId, Digest

TICKET_LIFE_S = 60.0
"""Monotonic seconds between the deposit and the last moment in which it can be redeemed."""
_DOMAIN = b"agp/ticket/v1\0"


class TicketKey(NamedTuple):
    """What may run once."""

    agent_id: str | None
    cwd: str
    tool: str
    input_digest: Digest


def input_digest(canonical_input: bytes) -> Digest:
    """Digest a canonical effective input for a ticket's key."""
    return Digest(hashlib.sha256(_DOMAIN + canonical_input).hexdigest())


@dataclass(frozen=True)
class Ticket:
    """One permission to run one call once."""

    key: TicketKey
    call_id: CallId
    dies_at: float
    """Monotonic seconds."""


class TicketBook:
    """The open tickets of one session. In memory only: they die with the daemon."""

    def __init__(self) -> None:
        self._open: dict[TicketKey, deque[Ticket]] = {}

    def __len__(self) -> int:
        return sum(len(pile) for pile in self._open.values())

    def deposit(self, key: TicketKey, call_id: CallId, *, monotonic: float) -> Ticket:
        """Put one ticket in; it must lie here before the deciding hook is answered."""
        ticket = Ticket(key, call_id, monotonic + TICKET_LIFE_S)
        self._open.setdefault(key, deque()).append(ticket)
        return ticket

    def redeem(self, key: TicketKey, *, monotonic: float) -> Ticket | None:
        """Take the oldest living ticket for this key; None means: nothing was granted."""
        pile = self._open.get(key)
        while pile:
            ticket = pile.popleft()
            if not pile:
                del self._open[key]
            if monotonic < ticket.dies_at:
                return ticket
        return None

    def withdraw(self, call_id: CallId) -> Ticket | None:
        """Take back the ticket of one call: undelivered, interrupted, or its outcome came."""
        for key, pile in self._open.items():
            for ticket in pile:
                if ticket.call_id == call_id:
                    pile.remove(ticket)
                    if not pile:
                        del self._open[key]
                    return ticket
        return None

    def holds(self, call_id: CallId) -> bool:
        """Tell whether a ticket of this call lies here."""
        return any(ticket.call_id == call_id for pile in self._open.values() for ticket in pile)

    def trim(self, key: TicketKey, keep: int) -> tuple[Ticket, ...]:
        """Remove and return the youngest tickets of one key beyond a number."""
        pile = self._open.get(key, deque())
        surplus = tuple(pile.pop() for _ in range(max(len(pile) - keep, 0)))
        if not pile:
            self._open.pop(key, None)
        return surplus

    def sweep(self, *, monotonic: float) -> tuple[Ticket, ...]:
        """Remove and return what has died of age."""
        dead = tuple(
            ticket for pile in self._open.values() for ticket in pile if monotonic >= ticket.dies_at
        )
        for ticket in dead:
            self.withdraw(ticket.call_id)
        return dead

    def clear(self) -> tuple[Ticket, ...]:
        """Remove and return everything: the session ended."""
        tickets = tuple(ticket for pile in self._open.values() for ticket in pile)
        self._open.clear()
        return tickets
