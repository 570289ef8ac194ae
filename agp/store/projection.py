"""The store: the journal's fold in one SQLite file, never more than a view.

The journal is the truth, so nothing here is precious: a file that does not read is moved aside
and filled again, and `synchronous=NORMAL` may lose the last transactions to a power failure,
never their order; the replay on start brings them back. A store of another log, or one that a
newer AGP wrote, is refused instead: that is a mistake of setting up, not damage. ADR 0010.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Final, Self

from agp.contracts.channel import ApprovalState
from agp.contracts.journal import JournalOpened, Line
from agp.errors import IntegrityError, StoreDamaged
from agp.store.database import (
    NO_HASH,
    NOTHING_APPLIED,
    move_aside,
    open_database,
    port,
    writing,
)
from agp.store.fold import changes, parse_payload
from agp.store.rows import ApprovalRow, SessionRow
from agp.store.schema import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sqlite_utils import Database

_REPLAY_BATCH: Final = 256

_MOVE_ON = """
    UPDATE meta SET last_applied_seq = :seq, last_applied_hash = :hash
    WHERE one = 1 AND last_applied_seq = :seq - 1
"""
_SESSIONS = """
    SELECT s.session_id, s.intendant, s.intendant_version, s.workspace, s.grade, s.policy_digest,
        s.operator_uid, s.status, s.outcome, s.started_at, s.ended_at, COUNT(c.call_id) AS calls,
        s.observing, COUNT(CASE WHEN c.decision = 'allow' AND c.would_be IS NULL THEN 1 END)
            AS allowed, COUNT(c.would_be) AS let_through,
        COUNT(CASE c.decision WHEN 'require' THEN 1 END) AS asked,
        COUNT(CASE c.decision WHEN 'deny' THEN 1 END) AS denied
    FROM sessions s LEFT JOIN calls c ON c.session_id = s.session_id
    GROUP BY s.session_id ORDER BY s.started_seq
"""
_APPROVALS = """
    SELECT requested_seq, approval_id, session_id, call_id, binding, rule_id, approvers_json,
        quorum, requested_at, expires_at, state, answered_by, reason, ended_at
    FROM approvals WHERE :state IS NULL OR state = :state ORDER BY requested_seq
"""
_GRANTS_GIVEN = "SELECT requested_seq, approver FROM grants_given ORDER BY seq"


class Store:
    """One open projection. Not for two threads at once: see `AsyncStore`."""

    def __init__(self, path: Path, log_id: str, database: Database) -> None:
        self._path = path
        self._log_id = log_id
        self._db = database
        self.moved_aside: Path | None = None
        """Where a damaged predecessor lies; the store is then empty and waits for a replay."""

    @classmethod
    def open(cls, path: Path, log_id: str) -> Self:
        """Open or create the projection of one log, 0600, brought to the newest schema.

        Raises:
            IntegrityError: the store shows another log.
            ConfigurationError: a newer AGP wrote it, or it is not AGP's at all.
            Unavailable: the file system does not let us.
        """
        try:
            return cls(path, log_id, open_database(path, log_id))
        except StoreDamaged:
            aside = move_aside(path)
            store = cls(path, log_id, open_database(path, log_id))
            store.moved_aside = aside
            return store

    def close(self) -> None:
        """Close the file; the last connection also folds the write-ahead log into it."""
        self._db.close()

    @property
    def last_applied_seq(self) -> int:
        """The last journal line whose changes stand here; -1 before line 0."""
        return self._position()[0]

    @property
    def last_applied_hash(self) -> str:
        """The hash of that line, so that a journal that went back in time is noticed."""
        return self._position()[1]

    def apply(self, line: Line) -> bool:
        """Project one line in one transaction; False where it stood here already.

        Raises:
            IntegrityError: a gap, another log, another line under a known number, or an event
                that contradicts the rows; nothing has changed.
            Unavailable: the file cannot be written now.
        """
        with port(self._path), writing(self._db):
            return self._apply(line)

    def replay(self, lines: Iterable[Line]) -> int:
        """Project many lines in order; gives how many were new. Raises as `apply`.

        A batch is one transaction: killed in between, the rows are those of a whole prefix.
        """
        applied = 0
        source = iter(lines)
        while batch := tuple(islice(source, _REPLAY_BATCH)):
            with port(self._path), writing(self._db):
                applied += sum(self._apply(line) for line in batch)
        return applied

    def rebuild(self, lines: Iterable[Line]) -> int:
        """Forget every row and replay from line 0. Raises as `apply`."""
        with port(self._path), writing(self._db):
            for table in TABLES:
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - names of our own schema
            self._db.execute(
                "UPDATE meta SET last_applied_seq = ?, last_applied_hash = ?",
                (NOTHING_APPLIED, NO_HASH),
            )
        return self.replay(lines)

    def sessions(self) -> tuple[SessionRow, ...]:
        """List every session, oldest first, with its calls counted."""
        with port(self._path):
            rows = tuple(self._db.query(_SESSIONS))
        return tuple(
            SessionRow.model_validate_json(json.dumps({**row, "observing": row["observing"] == 1}))
            for row in rows
        )

    def approvals(self, state: ApprovalState | None = None) -> tuple[ApprovalRow, ...]:
        """List approvals in the order in which they were asked."""
        with port(self._path):
            rows = tuple(self._db.query(_APPROVALS, {"state": state}))
            given: dict[int, list[str]] = {}
            for grant in self._db.query(_GRANTS_GIVEN):
                given.setdefault(grant["requested_seq"], []).append(grant["approver"])
        return tuple(_approval(row, given.get(row["requested_seq"], [])) for row in rows)

    def pending(self) -> tuple[ApprovalRow, ...]:
        """List what still waits for people."""
        return self.approvals(ApprovalState.PENDING)

    def _apply(self, line: Line) -> bool:
        seq, last_hash = self._position()
        if line.seq == seq and line.hash != last_hash:
            raise self._mismatch(line, "another line was projected under this number")
        if line.seq <= seq:
            return False
        if line.seq != seq + 1:
            raise self._mismatch(line, f"line {seq + 1} was expected")
        if line.prev_hash != last_hash:
            raise self._mismatch(line, "it does not follow the line that was projected last")
        if line.seq == 0:
            self._check_log(line)
        for change in (*changes(line), (_MOVE_ON, {"seq": line.seq, "hash": line.hash})):
            sql, values = change
            if self._db.execute(sql, dict(values)).rowcount != 1:
                raise self._mismatch(line, f"a {line.kind} event contradicts the rows before it")
        return True

    def _check_log(self, line: Line) -> None:
        opened = parse_payload(line)
        if not isinstance(opened, JournalOpened) or opened.log_id != self._log_id:
            raise self._mismatch(line, f"it does not open log {self._log_id}")

    def _mismatch(self, line: Line, why: str) -> IntegrityError:
        return IntegrityError(
            "a journal line does not fit the store",
            where=f"line {line.seq}, {self._path}",
            why=why,
            fix=f"check the journal with `agp verify`; then move {self._path} away: "
            "it is filled again from the journal",
        )

    def _position(self) -> tuple[int, str]:
        with port(self._path):
            position = self._db.execute("SELECT last_applied_seq, last_applied_hash FROM meta")
            seq, last_hash = position.fetchone()
        return int(seq), str(last_hash)


def _approval(row: dict[str, str | int | None], granted_by: list[str]) -> ApprovalRow:
    approvers = row.pop("approvers_json")
    value = {
        **row,
        "approvers": None if approvers is None else json.loads(str(approvers)),
        "granted_by": granted_by,
    }
    return ApprovalRow.model_validate_json(json.dumps(value))
