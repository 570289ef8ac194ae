"""How much one session's peers may cost AGP: counts, bytes, seconds, and a rate."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from agp.contracts.base import Contract
from agp.contracts.gateway import MAX_BODY


class AskLimits(Contract):
    """What one session's ask socket may use; every peer on it is untrusted."""

    connections: Annotated[int, Field(ge=1)] = 32
    """Requests that are read, waited for or answered at once; one more is refused at once."""
    refusals: Annotated[int, Field(ge=0)] = 32
    """Connections that are being told of a refusal at once; one more is closed without a word."""
    body_bytes: Annotated[int, Field(ge=MAX_BODY)] = 64 * 1024 * 1024
    """Sum of the announced bodies of all open requests."""
    request_s: Annotated[float, Field(gt=0)] = 10.0
    """For the whole request to arrive."""
    first_wait_s: Annotated[float, Field(gt=0)] = 0.5
    """Until the first wait line, which tells a bridge that the daemon holds its request."""
    wait_every_s: Annotated[float, Field(gt=0)] = 5.0
    reply_s: Annotated[float, Field(gt=0)] = 5.0
    """For the peer to take the whole reply and to hang up."""
    rate_per_s: Annotated[float, Field(gt=0)] = 200.0
    burst: Annotated[int, Field(ge=1)] = 400


class RefusedBecause(StrEnum):
    """Why the gateway itself refused a peer; counted, and journaled at most once a second."""

    WRONG_UID = "wrong_uid"
    TOO_MANY = "too_many"
    OVER_RATE = "over_rate"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    REFUSED = "refused"
    """The handler refused the message (`Refusal`)."""
    FAILED = "failed"
    """The handler failed; the daemon's log has the error."""


class TokenBucket:
    """A rate with a burst; the clock is an argument."""

    def __init__(self, rate_per_s: float, burst: int, now: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float) -> bool:
        """Take one token, if there is one. A clock that goes back fills nothing."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._rate_per_s)
        self._at = max(self._at, now)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
