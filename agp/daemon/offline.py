"""What can be read without a daemon: the sessions, from the journal by way of its projection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agp.contracts.control import SessionList, SessionSummary
from agp.contracts.journal import JournalOpened
from agp.journal.line import read_payload
from agp.journal.reader import read_events
from agp.store.projection import Store

if TYPE_CHECKING:
    from agp.daemon.home import Home
    from agp.store.rows import SessionRow


def list_sessions(home: Home) -> SessionList:
    """List every session of a home whose daemon is not running; blocking.

    Raises:
        IntegrityError: the journal cannot be read.
        Unavailable: the store cannot be written.
    """
    if not any(home.journal.glob("*.jsonl")):
        return SessionList(sessions=())
    first = next(read_events(home.journal))
    opened = read_payload(first.kind, first.payload)
    log_id = opened.log_id if isinstance(opened, JournalOpened) else ""
    store = Store.open(home.store, log_id)
    try:
        store.replay(read_events(home.journal, from_seq=max(0, store.last_applied_seq)))
        rows = store.sessions()
    finally:
        store.close()
    return SessionList(sessions=tuple(summary_of(row) for row in rows))


def summary_of(row: SessionRow) -> SessionSummary:
    """Tell a projected session as `session.list` does; an open one has no launcher here."""
    status = {"open": "away", "ended": "ended", "reaped": "reaped"}[row.status]
    return SessionSummary.model_validate(
        {
            "session_id": row.session_id,
            "intendant": row.intendant,
            "workspace": row.workspace,
            "grade": row.grade,
            "status": status,
            "outcome": row.outcome,
            "started_at": row.started_at,
            "calls": row.calls,
            "allowed": row.allowed,
            "asked": row.asked,
            "denied": row.denied,
            "observing": row.observing,
            "let_through": row.let_through,
        }
    )
