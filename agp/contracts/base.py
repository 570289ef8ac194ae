"""What all contracts share: frozen, closed, and named identifiers."""

from __future__ import annotations

from typing import NewType

from pydantic import BaseModel, ConfigDict

SessionId = NewType("SessionId", str)
"""`s-` and 12 lower-case hex digits, random; also the name of the session's directory."""
CallId = NewType("CallId", str)
"""`c-` and 16 lower-case hex digits, random: AGP's own name of one tool call."""
ApprovalId = NewType("ApprovalId", str)
"""`<word>-<8 hex digits of the binding digest>`, for example `otter-3f9c2e1a`."""
RuleId = NewType("RuleId", str)
"""Kebab-case, unique within one policy file."""
Digest = NewType("Digest", str)
"""64 lower-case hex digits of a SHA-256."""


class Contract(BaseModel):
    """A frozen value that refuses what it does not know.

    Frozen is shallow in pydantic: fields are tuples, frozensets and nested contracts. Numbers,
    strings and booleans are never coerced into one another.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, ser_json_bytes="base64", val_json_bytes="base64"
    )
