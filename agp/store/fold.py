"""The fold: one journal line to the changes that it makes, as a pure function.

Each change is one written statement that must touch exactly one row; a journal that asks for
anything else (a second end of an approval, an outcome without a decision) is not a story that
AGP writes, and the store refuses it. Kinds that leave no row, and kinds and versions that this
AGP does not know, make no change. Source: system.md §2 principle 4, §8.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from agp.contracts.journal import (
    LINE_VERSION,
    PAYLOAD_OF,
    ApprovalCancelled,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    CallAbandoned,
    CallDecided,
    EventKind,
    ExecutionFailed,
    ExecutionFinished,
    ExecutionOutcomeUnknown,
    ExecutionStarted,
    Line,
    ObserveChanged,
    Payload,
    SessionEnded,
    SessionReaped,
    SessionStarted,
)
from agp.errors import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int | None


class Change(NamedTuple):
    """One statement with its values; applied, it changes exactly one row."""

    sql: str
    values: Mapping[str, Value]


_START_SESSION = """
    INSERT INTO sessions VALUES (:session_id, :intendant, :intendant_version, :workspace, :grade,
        :policy_digest, :operator_uid, 'open', '', :ts, NULL, :seq, NULL, :observing)
"""
_OBSERVE = """
    UPDATE sessions SET observing = :observing WHERE session_id = :session_id
"""
_END_SESSION = """
    UPDATE sessions SET status = :status, outcome = :outcome, ended_at = :ts, ended_seq = :seq
    WHERE session_id = :session_id
"""
_DECIDE_CALL = """
    INSERT INTO calls VALUES (:call_id, :session_id, :tool_use_id, :tool, :decision, :rule_id,
        NULL, :ts, :seq, NULL, :would_be)
"""
_CALL_OUTCOME = """
    UPDATE calls SET outcome = :outcome, outcome_seq = :seq WHERE call_id = :call_id
"""
_REQUEST_APPROVAL = """
    INSERT INTO approvals VALUES (:seq, :approval_id, :session_id, :call_id, :binding, :rule_id,
        :approvers_json, :quorum, :ts, :expires_at, 'pending', '', '', NULL, NULL)
"""
_COUNT_GRANT = """
    INSERT INTO grants_given SELECT :seq, requested_seq, :approver, :channel
    FROM approvals WHERE approval_id = :approval_id AND state = 'pending'
"""
_END_APPROVAL = """
    UPDATE approvals SET state = :state, answered_by = :answered_by, reason = :reason,
        ended_at = :ts, ended_seq = :seq
    WHERE approval_id = :approval_id AND state = 'pending'
"""


def changes(line: Line) -> tuple[Change, ...]:
    """Say what one line changes.

    Raises:
        IntegrityError: the payload of a kind that we know breaks its contract.
    """
    payload = parse_payload(line)
    if payload is None:
        return ()
    at: dict[str, Value] = {"seq": line.seq, "ts": line.ts}
    return tuple(Change(sql, {**at, **values}) for sql, values in _statements(payload))


def parse_payload(line: Line) -> Payload | None:
    """Read a line's payload; None where this AGP does not know its kind or version.

    Raises:
        IntegrityError: it breaks the contract of its kind.
    """
    if line.v != LINE_VERSION or line.kind not in _KNOWN:
        return None
    model = PAYLOAD_OF[EventKind(line.kind)]
    try:
        return model.model_validate_json(json.dumps(line.payload))
    except ValidationError as error:
        raise IntegrityError(
            f"a {line.kind} event does not say what its kind must say",
            where=f"journal line {line.seq}",
            why=error.errors()[0]["msg"],
            fix="check the journal with `agp verify`",
        ) from error


_SESSION_FIELDS = {
    "session_id",
    "intendant",
    "intendant_version",
    "workspace",
    "grade",
    "policy_digest",
    "operator_uid",
}
_CALL_FIELDS = {"call_id", "session_id", "tool_use_id", "tool", "decision", "rule_id", "would_be"}
_KNOWN = frozenset(kind.value for kind in EventKind)
_Statements = tuple[tuple[str, dict[str, Value]], ...]


def _statements(payload: Payload) -> _Statements:
    match payload:
        case SessionStarted() | ObserveChanged() | SessionEnded() | SessionReaped():
            return (_session_statement(payload),)
        case CallDecided():
            return ((_DECIDE_CALL, payload.model_dump(mode="json", include=_CALL_FIELDS)),)
        case (
            CallAbandoned()
            | ExecutionStarted()
            | ExecutionFinished()
            | ExecutionFailed()
            | ExecutionOutcomeUnknown()
        ):
            outcome = payload.kind.value.partition(".")[2]
            return ((_CALL_OUTCOME, {"call_id": payload.call_id, "outcome": outcome}),)
        case _:
            return _approval_statements(payload)


def _approval_statements(payload: Payload) -> _Statements:
    match payload:
        case ApprovalRequested():
            return (_requested(payload),)
        case ApprovalGranted():
            counted: dict[str, Value] = {
                "approval_id": payload.approval_id,
                "approver": payload.approver,
                "channel": payload.channel,
            }
            ended = _approval_over(payload.approval_id, "granted", payload.approver, "")
            return ((_COUNT_GRANT, counted), *((ended,) if payload.complete else ()))
        case ApprovalDenied():
            by, reason = payload.approver, payload.reason
            return (_approval_over(payload.approval_id, "denied", by, reason),)
        case ApprovalExpired():
            return (_approval_over(payload.approval_id, "expired", "", ""),)
        case ApprovalCancelled():
            return (_approval_over(payload.approval_id, "cancelled", "", payload.cause),)
        case _:
            return ()


def _session_statement(
    payload: SessionStarted | ObserveChanged | SessionEnded | SessionReaped,
) -> tuple[str, dict[str, Value]]:
    match payload:
        case SessionStarted():
            started = payload.model_dump(mode="json", include=_SESSION_FIELDS)
            return _START_SESSION, started | {"observing": int(payload.observed is True)}
        case ObserveChanged():
            return _OBSERVE, {"session_id": payload.session_id, "observing": int(payload.on)}
        case SessionEnded():
            return _session_over(payload.session_id, "ended", payload.outcome)
        case SessionReaped():
            return _session_over(payload.session_id, "reaped", payload.reason)


def _session_over(session_id: str, status: str, outcome: str) -> tuple[str, dict[str, Value]]:
    return _END_SESSION, {"session_id": session_id, "status": status, "outcome": outcome}


def _requested(payload: ApprovalRequested) -> tuple[str, dict[str, Value]]:
    return _REQUEST_APPROVAL, {
        "approval_id": payload.approval_id,
        "session_id": payload.session_id,
        "call_id": payload.call_id,
        "binding": payload.binding,
        "rule_id": payload.rule_id,
        "approvers_json": None if payload.approvers is None else json.dumps(payload.approvers),
        "quorum": payload.quorum,
        "expires_at": payload.expires_at,
    }


def _approval_over(
    approval_id: str, state: str, answered_by: str, reason: str
) -> tuple[str, dict[str, Value]]:
    return _END_APPROVAL, {
        "approval_id": approval_id,
        "state": state,
        "answered_by": answered_by,
        "reason": reason,
    }
