"""Tickets: one use, one minute, interchangeable twins."""

from __future__ import annotations

from agp.contracts.base import CallId
from agp.governor.tickets import TICKET_LIFE_S, TicketBook, TicketKey, input_digest

KEY = TicketKey(None, "/w", "Bash", input_digest(b'{"command":"make"}'))
A, B = CallId("c-a"), CallId("c-b")


def test_a_ticket_is_redeemed_once() -> None:
    """The second try finds nothing: a replay grants nothing."""
    book = TicketBook()
    book.deposit(KEY, A, monotonic=0.0)

    first = book.redeem(KEY, monotonic=1.0)
    second = book.redeem(KEY, monotonic=1.0)

    assert first is not None
    assert first.call_id == A
    assert second is None
    assert len(book) == 0


def test_a_ticket_dies_after_its_minute() -> None:
    """The border belongs to the refusal."""
    book = TicketBook()
    book.deposit(KEY, A, monotonic=0.0)

    assert book.redeem(KEY, monotonic=TICKET_LIFE_S) is None


def test_another_agent_directory_tool_or_input_finds_nothing() -> None:
    """Every part of the key counts."""
    book = TicketBook()
    book.deposit(KEY, A, monotonic=0.0)

    for other in (
        KEY._replace(agent_id="sub"),
        KEY._replace(cwd="/w/sub"),
        KEY._replace(tool="Write"),
        KEY._replace(input_digest=input_digest(b'{"command":"make all"}')),
    ):
        assert book.redeem(other, monotonic=1.0) is None
    assert len(book) == 1


def test_two_identical_calls_of_which_one_is_granted_run_once() -> None:
    """The book counts; it does not merely remember."""
    book = TicketBook()
    book.deposit(KEY, A, monotonic=0.0)

    redeemed = [book.redeem(KEY, monotonic=1.0) for _ in range(2)]

    assert [ticket is not None for ticket in redeemed] == [True, False]


def test_a_withdrawn_ticket_cannot_be_redeemed() -> None:
    """An answer that was not delivered leaves nothing behind."""
    book = TicketBook()
    book.deposit(KEY, A, monotonic=0.0)
    book.deposit(KEY, B, monotonic=0.0)

    withdrawn = book.withdraw(A)
    left = book.redeem(KEY, monotonic=1.0)

    assert withdrawn is not None
    assert left is not None
    assert left.call_id == B
    assert book.redeem(KEY, monotonic=1.0) is None


def test_sweep_gives_back_exactly_the_dead() -> None:
    """So that each is journaled once."""
    book = TicketBook()
    book.deposit(KEY, A, monotonic=0.0)
    book.deposit(KEY, B, monotonic=10.0)

    dead = book.sweep(monotonic=TICKET_LIFE_S + 1)

    assert [ticket.call_id for ticket in dead] == [A]
    assert len(book) == 1


def test_trim_keeps_as_many_as_may_still_run() -> None:
    """After one twin's outcome the other keeps its ticket, and no more."""
    book = TicketBook()
    for call_id in (A, B):
        book.deposit(KEY, call_id, monotonic=0.0)

    assert [ticket.call_id for ticket in book.trim(KEY, 1)] == [B]
    assert book.trim(KEY, 1) == ()
    assert len(book) == 1


def test_the_preimage_is_the_frozen_one() -> None:
    """ADR 0004: SHA-256 over the domain and the canonical effective input."""
    assert input_digest(b'{"command":"make"}') == (
        __import__("hashlib").sha256(b'agp/ticket/v1\0{"command":"make"}').hexdigest()
    )
