"""The transition table of an approval: a pending one ends exactly once.

| state   | allow, quorum open | allow, quorum met | deny   | expire  | cancel    |
|---------|--------------------|-------------------|--------|---------|-----------|
| pending | pending            | granted           | denied | expired | cancelled |
| others  | refused            | refused           | refused| refused | refused   |
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final

from agp.contracts.channel import ApprovalState


class Step(StrEnum):
    """What can happen to an approval."""

    ALLOW_PARTLY = "allow_partly"
    """One of several approvers said yes."""
    ALLOW = "allow"
    """The last approver that the quorum needs said yes."""
    DENY = "deny"
    EXPIRE = "expire"
    CANCEL = "cancel"


TRANSITIONS: Final = MappingProxyType(
    {
        (ApprovalState.PENDING, Step.ALLOW_PARTLY): ApprovalState.PENDING,
        (ApprovalState.PENDING, Step.ALLOW): ApprovalState.GRANTED,
        (ApprovalState.PENDING, Step.DENY): ApprovalState.DENIED,
        (ApprovalState.PENDING, Step.EXPIRE): ApprovalState.EXPIRED,
        (ApprovalState.PENDING, Step.CANCEL): ApprovalState.CANCELLED,
    }
)
"""Everything that is not here is refused."""


def after(state: ApprovalState, step: Step) -> ApprovalState | None:
    """Give the state after a step, or None where the step is refused."""
    return TRANSITIONS.get((state, step))
