"""The session lease: who owns a governed session, and until when."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from agp.contracts.base import Contract, SessionId


class SessionLease(Contract):
    """A launcher's claim on one session, held as long as its control connection lives.

    The fencing token grows by one with every re-attachment; a message that carries an older one
    is refused, so that two launchers never own one session.
    """

    session_id: SessionId
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Known to the launcher and the daemon only; kept in the operator's home, 0600."""
    fencing_token: Annotated[int, Field(ge=1)]
    launcher_pid: int
    reattach_grace_s: float
    status: Literal["held", "away", "ended"]
