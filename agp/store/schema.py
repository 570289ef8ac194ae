"""The written schema: every version of it, as the statements that lead there.

Portable on purpose (SQLite today, PostgreSQL beyond one machine): plain types, foreign keys, one
partial index. Each row names the journal `seq` from which it comes. A version, once released, is
never edited; the next one is appended.
"""

from __future__ import annotations

from typing import Final

APPLICATION_ID: Final = 0x41475031
"""`AGP1` in the file's header: tells our file from any other SQLite database."""

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE meta (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            log_id TEXT NOT NULL,
            last_applied_seq INTEGER NOT NULL,
            last_applied_hash TEXT NOT NULL
        ) STRICT
        """,
        """
        CREATE TABLE sessions (
            session_id TEXT PRIMARY KEY,
            intendant TEXT NOT NULL,
            intendant_version TEXT NOT NULL,
            workspace TEXT NOT NULL,
            grade TEXT NOT NULL,
            policy_digest TEXT NOT NULL,
            operator_uid INTEGER NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('open', 'ended', 'reaped')),
            outcome TEXT NOT NULL,
            started_at TEXT NOT NULL,
            ended_at TEXT,
            started_seq INTEGER NOT NULL UNIQUE,
            ended_seq INTEGER
        ) STRICT
        """,
        """
        CREATE TABLE calls (
            call_id TEXT PRIMARY KEY,
            session_id TEXT NOT NULL REFERENCES sessions (session_id),
            tool_use_id TEXT NOT NULL,
            tool TEXT NOT NULL,
            decision TEXT NOT NULL CHECK (decision IN ('allow', 'require', 'deny')),
            rule_id TEXT NOT NULL,
            outcome TEXT CHECK (outcome IN
                ('abandoned', 'started', 'finished', 'failed', 'outcome_unknown')),
            decided_at TEXT NOT NULL,
            decided_seq INTEGER NOT NULL UNIQUE,
            outcome_seq INTEGER
        ) STRICT
        """,
        "CREATE INDEX calls_of_session ON calls (session_id, decision)",
        """
        CREATE TABLE approvals (
            requested_seq INTEGER PRIMARY KEY,
            approval_id TEXT NOT NULL,
            session_id TEXT NOT NULL REFERENCES sessions (session_id),
            call_id TEXT NOT NULL REFERENCES calls (call_id),
            binding TEXT NOT NULL,
            rule_id TEXT NOT NULL,
            approvers_json TEXT,
            quorum INTEGER NOT NULL,
            requested_at TEXT NOT NULL,
            expires_at TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN
                ('pending', 'granted', 'denied', 'expired', 'cancelled')),
            answered_by TEXT NOT NULL,
            reason TEXT NOT NULL,
            ended_at TEXT,
            ended_seq INTEGER
        ) STRICT
        """,
        # An id may come again after years; among what waits it is one.
        "CREATE UNIQUE INDEX one_pending ON approvals (approval_id) WHERE state = 'pending'",
        """
        CREATE TABLE grants_given (
            seq INTEGER PRIMARY KEY,
            requested_seq INTEGER NOT NULL REFERENCES approvals (requested_seq),
            approver TEXT NOT NULL,
            channel TEXT NOT NULL,
            UNIQUE (requested_seq, approver)
        ) STRICT
        """,
        """
        CREATE TABLE outbox (
            delivery_id TEXT PRIMARY KEY,
            cause_seq INTEGER NOT NULL,
            channel TEXT NOT NULL,
            body_json TEXT NOT NULL,
            state TEXT NOT NULL CHECK (state IN ('pending', 'delivered', 'dead')),
            attempts INTEGER NOT NULL,
            not_before TEXT NOT NULL
        ) STRICT
        """,
    ),
    (
        # Rows of before have no observed event behind them: no release could write one.
        """
        ALTER TABLE sessions ADD COLUMN observing INTEGER NOT NULL DEFAULT 0
            CHECK (observing IN (0, 1))
        """,
        """
        ALTER TABLE calls ADD COLUMN would_be TEXT CHECK (would_be IN ('require', 'deny'))
        """,
    ),
)

TABLES: Final = ("outbox", "grants_given", "approvals", "calls", "sessions")
"""Everything that is folded, children first: the order in which a rebuild empties them."""
