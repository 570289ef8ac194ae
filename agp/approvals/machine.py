"""One approval and the checks of one answer, as values: nothing here waits or writes.

The checks of `weigh`, in order; the first that fails rejects the answer and changes nothing:
1. the approval is still pending;
2. its time is not over;
3. what the person saw is what is bound;
4. the person may answer it;
5. the person has not said yes before (a quorum counts distinct people).
A deny needs no quorum: one suffices, and it wins.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agp.approvals.table import Step, after
from agp.contracts.channel import Answer, ApprovalRequest, ApprovalState

if TYPE_CHECKING:
    from datetime import datetime

    from agp.contracts.base import Digest


@dataclass(frozen=True)
class Approval:
    """An approval as it stands; every change is a new value."""

    request: ApprovalRequest
    expires_at: datetime
    """UTC, aware; the same instant as `request.expires_at`."""
    state: ApprovalState = ApprovalState.PENDING
    granted_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rejected:
    """An answer that does not count, and why, in words for the person who gave it."""

    reason: str


@dataclass(frozen=True)
class Counted:
    """An answer that counts: the step it makes."""

    step: Step


def weigh(approval: Approval, answer: Answer, *, now: datetime) -> Counted | Rejected:  # noqa: PLR0911 - one argument for each fact
    """Check one answer against one approval."""
    if approval.state is not ApprovalState.PENDING:
        return Rejected(f"it is already {approval.state.value}")
    if now >= approval.expires_at:
        return Rejected("its time is over")
    if not _saw(answer, approval.request.binding_digest):
        return Rejected("the call is not the one that was shown")
    approvers = approval.request.approvers
    if approvers is not None and answer.approver not in approvers:
        return Rejected(f"{answer.approver} is not among its approvers")
    if answer.verdict == "deny":
        return Counted(Step.DENY)
    if answer.approver in approval.granted_by:
        return Rejected("the same person counts once; another approver is needed")
    complete = len(approval.granted_by) + 1 >= approval.request.quorum
    return Counted(Step.ALLOW if complete else Step.ALLOW_PARTLY)


def advance(approval: Approval, step: Step, *, approver: str = "") -> Approval | None:
    """Make one step; None where the table refuses it."""
    state = after(approval.state, step)
    if state is None:
        return None
    allowed = step in {Step.ALLOW, Step.ALLOW_PARTLY}
    granted_by = (*approval.granted_by, approver) if allowed else approval.granted_by
    return replace(approval, state=state, granted_by=granted_by)


def _saw(answer: Answer, bound: Digest) -> bool:
    if answer.binding_digest is None:
        # The operator typed the id, which holds eight digits of the binding.
        return hmac.compare_digest(answer.approval_id.rpartition("-")[2], bound[:8])
    return hmac.compare_digest(answer.binding_digest, bound)
