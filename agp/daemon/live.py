"""A live session in the daemon: the governed session, its lease, its sockets."""

from __future__ import annotations

import hmac
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from agp.contracts.control import CallStory, SessionSummary
from agp.contracts.policy import Decision
from agp.errors import IntegrityError, Unauthorised

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from agp.contracts.base import SessionId
    from agp.contracts.journal import SessionStarted
    from agp.contracts.session import SessionLease
    from agp.daemon.home import Home
    from agp.gateway.control import ControlConnection
    from agp.governor.session import Call, GovernedSession


@dataclass
class LiveSession:
    """Everything that the daemon holds for one session."""

    governed: GovernedSession
    started: SessionStarted
    started_at: str
    lease: SessionLease
    view_uid: int
    model_upstream: str
    connection: ControlConnection | None = None
    """The launcher's, while it is there."""
    gate: anyio.Event = field(default_factory=anyio.Event)
    """Set once the hooks have shown themselves alive: model traffic may flow."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    """Around the session's sockets."""
    serving: bool = False
    """The sockets are open: they outlive a launcher that went away and comes back."""
    attached: anyio.Event = field(default_factory=anyio.Event)
    """Set by a launcher that came back; replaced when it goes away."""
    refused: int = 0
    """Malformed or over-rate requests not journaled yet."""
    refusal_reason: str = ""
    """The last one's."""
    mount_points: tuple[str, ...] = ()
    """Created in the workspace by the view that has not been said to have stopped."""
    egress_seen: set[str] = field(default_factory=set)
    forbid: Callable[[], Awaitable[None]] | None = None
    """For an attached session: make sure that its harness is never granted anything again."""

    @property
    def session_id(self) -> SessionId:
        """The session's name."""
        return self.governed.session_id

    def summary(self, *, status: str = "", outcome: str = "") -> SessionSummary:
        """Describe the session for `agp sessions`."""
        counts = self.governed.counts
        here = self.connection is not None or self.started.attached is not None
        held = "held" if here else "away"
        return SessionSummary.model_validate(
            {
                "session_id": self.session_id,
                "intendant": self.started.intendant,
                "workspace": self.started.workspace,
                "grade": self.governed.grade,
                "status": status or held,
                "outcome": outcome,
                "started_at": self.started_at,
                "calls": counts.calls,
                "allowed": counts.allowed,
                "asked": counts.asked,
                "denied": counts.denied,
                "observing": self.governed.observing(),
                "let_through": counts.let_through,
            }
        )


@dataclass(frozen=True)
class LeaseFile:
    """What a session needs to be taken up again after a restart; beside it, 0600."""

    secret: str
    fencing_token: int
    view_uid: int
    model_upstream: str
    harness_session: str | None
    call_views: bool = False

    @staticmethod
    def path(home: Home, session_id: SessionId) -> Path:
        """Name the file; it lies outside everything that a view sees."""
        return home.session_directory(session_id) / "lease.json"

    @classmethod
    def of(cls, live: LiveSession) -> LeaseFile:
        """Take the values that are worth keeping."""
        return cls(
            live.lease.secret,
            live.lease.fencing_token,
            live.view_uid,
            live.model_upstream,
            live.governed.harness_session,
            live.governed.call_views,
        )

    def save(self, home: Home, session_id: SessionId) -> None:
        """Replace the file in one step."""
        path = self.path(home, session_id)
        fresh = path.with_suffix(".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(self.__dict__, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)

    @classmethod
    def load(cls, home: Home, session_id: SessionId) -> LeaseFile:
        """Read the file back.

        Raises:
            IntegrityError: it is missing or not ours; the session cannot be taken up.
        """
        path = cls.path(home, session_id)
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise IntegrityError(
                "a session's lease cannot be read", where=str(path), why=str(error)
            ) from error


def check_lease(live: LiveSession | None, secret: str) -> LiveSession:
    """Let only the launcher that holds the lease act for a session.

    Raises:
        Unauthorised: no such session, or another's.
    """
    known = "" if live is None else live.lease.secret
    if live is None or not hmac.compare_digest(known, secret):
        raise Unauthorised("this session is not yours", fix="start a new run")
    return live


def story_of(call: Call) -> CallStory:
    """Tell one call in one line, for the summary of the run."""
    verdict = call.verdict
    ruling = call.ruling
    allowed = ruling is not None and ruling.type == "allowed"
    would_be = None if verdict is None or not allowed else verdict.would_be
    asked = call.approval_id is not None
    decision = (
        ("granted" if allowed else "refused") if asked else ("allowed" if allowed else "denied")
    )
    if would_be is not None:
        decision = "observed"
    what = "; ".join(e.effect.describe() for e in verdict.effects) if verdict else call.call.tool
    reason = "" if ruling is None or ruling.type == "noted" else ruling.reason
    rule = verdict.rule_id if verdict else "none"
    return CallStory.model_validate(
        {
            "tool": call.call.tool,
            "what": what,
            "decision": decision,
            "by": (call.answered_by or "nobody") if asked else rule,
            "rule_id": rule,
            "reason": reason,
            "would_be": None if would_be is None else would_be.value,
        }
    )


def is_running(call: Call) -> bool:
    """Tell whether a call was granted and has not been seen to end."""
    decided = call.verdict is not None and call.verdict.decision is not Decision.DENY
    return decided and call.state.value in {"granted", "redeemed"}
