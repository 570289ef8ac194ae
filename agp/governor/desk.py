"""The approvals actor: one at a time, record first, then tell.

Every change of an approval passes this desk. Under one lock it checks the transition table in
memory, appends the event, and only then changes its memory: the durable append *is* the decision.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import anyio

from agp.approvals.machine import Approval, Rejected, advance, weigh
from agp.approvals.table import Step
from agp.contracts.channel import Answer, ApprovalRequest, ApprovalState
from agp.contracts.journal import (
    ApprovalCancelled,
    ApprovalClickRejected,
    ApprovalDenied,
    ApprovalExpired,
    ApprovalGranted,
    ApprovalRequested,
    Clock,
    Payload,
    Record,
)
from agp.errors import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.contracts.base import ApprovalId
    from agp.governor.ports import Announcer

CancelCause = Literal[
    "interrupted", "superseded", "session_ended", "body_gone", "killed", "not_reattached"
]
KEEP_ENDED: Final = 256
"""Ended approvals that stay listed, so that a late answer hears what became of it."""
_LONGEST_SLEEP_S: Final = 30.0
"""The wall clock can jump (a laptop sleeps): look at it again at least this often."""


_SLEPT_S: Final = 60.0
"""A wait in which the wall clock gained more than this on the monotonic one was slept through."""


class _Slot:
    """One approval, its end, and both clocks at its beginning.

    The wall clock says when it is over after a laptop's sleep; the monotonic one, which does not
    count sleep, keeps a wall clock that is set back from making it stand for longer.
    """

    def __init__(self, approval: Approval, clock: Clock, wait_s: float) -> None:
        self.approval = approval
        self.ended = anyio.Event()
        self._began = clock.now()
        self._ticks = clock.monotonic()
        self._wait_s = wait_s

    def left_s(self, clock: Clock) -> float:
        """Give the seconds until it is over by the first of both clocks."""
        by_wall = (self.approval.expires_at - clock.now()).total_seconds()
        return min(by_wall, self._ticks + self._wait_s - clock.monotonic())

    def slept_s(self, clock: Clock) -> float:
        """Give how much of the wait this machine slept, as far as this daemon saw it begin."""
        waited = (clock.now() - self._began).total_seconds()
        return max(0.0, waited - (clock.monotonic() - self._ticks))


class ApprovalDesk:
    """Pending approvals of all sessions, and the way in for every answer."""

    def __init__(self, record: Record, clock: Clock, announcer: Announcer) -> None:
        self._record = record
        self._clock = clock
        self._announcer = announcer
        self._lock = anyio.Lock()
        self._slots: dict[ApprovalId, _Slot] = {}
        self._changed = anyio.Event()
        self.may_grant: Callable[[], str | None] = lambda: None
        """Gives a reason why nothing can be granted now (paused), or None."""

    async def open(self, approval: Approval, *, wait_s: int) -> None:
        """Journal the question, then put it before people."""
        request = approval.request
        async with self._lock:
            await self._record.append(_requested(request, wait_s), actor="agp")
            self._hold(approval, wait_s)

    def restore(self, approval: Approval, *, wait_s: int) -> None:
        """Take back a pending approval after a restart; its question stands in the journal."""
        self._hold(approval, wait_s)

    async def outcome(self, approval_id: ApprovalId) -> Approval:
        """Wait for the end of one approval; granted, denied, expired or cancelled."""
        slot = self._slots[approval_id]
        await slot.ended.wait()
        return slot.approval

    async def answer(self, answer: Answer) -> Approval:
        """Count one answer.

        Raises:
            Refusal: the answer does not count; journaled, and nothing changed.
        """
        async with self._lock:
            approval = self.get(answer.approval_id)
            if approval is None:
                raise await self._reject(answer, "there is no such approval")
            approval = await self._expired(answer.approval_id) or approval
            blocked = self.may_grant() if answer.verdict == "allow" else None
            if blocked is not None:
                raise await self._reject(answer, blocked, fix="agp resume")
            weighed = weigh(approval, answer, now=self._clock.now())
            if isinstance(weighed, Rejected):
                raise await self._reject(answer, weighed.reason)
            payload = _answered(approval, answer, weighed.step)
            return await self._step(
                approval, weighed.step, payload, by=answer.approver, reason=answer.reason
            )

    async def cancel(self, approval_id: ApprovalId, cause: CancelCause) -> None:
        """End a pending approval that lost its meaning; one that has ended stays as it is."""
        async with self._lock:
            approval = self.get(approval_id)
            if approval is None or approval.state is not ApprovalState.PENDING:
                return
            payload = ApprovalCancelled(
                approval_id=approval_id, call_id=approval.request.call_id, cause=cause
            )
            await self._step(approval, Step.CANCEL, payload, by="agp", reason=_WHY[cause])

    def get(self, approval_id: ApprovalId) -> Approval | None:
        """Give one approval, pending or lately ended."""
        slot = self._slots.get(approval_id)
        return None if slot is None else slot.approval

    def pending(self) -> tuple[Approval, ...]:
        """List what waits, the next to expire first."""
        approvals = (slot.approval for slot in self._slots.values())
        waiting = [a for a in approvals if a.state is ApprovalState.PENDING]
        return tuple(sorted(waiting, key=lambda approval: approval.expires_at))

    async def run(self) -> None:
        """Expire what nobody answered; runs as long as the daemon."""
        while True:
            self._changed = anyio.Event()
            for approval in self.pending():
                async with self._lock:
                    await self._expired(approval.request.approval_id)
            with anyio.move_on_after(self._until_next()):
                await self._changed.wait()

    def _until_next(self) -> float:
        left = [self._slots[a.request.approval_id].left_s(self._clock) for a in self.pending()]
        return min(max(min(left, default=_LONGEST_SLEEP_S), 0.0), _LONGEST_SLEEP_S)

    async def _expired(self, approval_id: ApprovalId) -> Approval | None:
        """Expire one approval whose time is over by either clock; the caller holds the lock."""
        slot = self._slots[approval_id]
        approval = slot.approval
        if approval.state is not ApprovalState.PENDING or slot.left_s(self._clock) > 0:
            return None
        payload = ApprovalExpired(approval_id=approval_id, call_id=approval.request.call_id)
        slept = slot.slept_s(self._clock)
        reason = "" if slept < _SLEPT_S else f"this machine slept {slept / 60:.0f} min of it"
        return await self._step(approval, Step.EXPIRE, payload, by="agp", reason=reason)

    async def _step(
        self, approval: Approval, step: Step, payload: Payload, *, by: str, reason: str = ""
    ) -> Approval:
        """Journal, then remember, then tell; in this order."""
        advanced = advance(approval, step, approver=by)
        if advanced is None:  # the table is asked once more: it is the only authority
            raise Refusal("the approval does not take this step", why=approval.state.value)
        await self._record.append(payload, actor=by)
        shown = approval.request.model_dump()
        ended = advanced.state is not ApprovalState.PENDING
        shown |= {
            "state": advanced.state,
            "granted_by": advanced.granted_by,
            "answered_by": by if ended else "",
            "answer_reason": reason,
        }
        advanced = replace(advanced, request=ApprovalRequest.model_validate(shown))
        self._put(advanced)
        return advanced

    def _hold(self, approval: Approval, wait_s: float) -> None:
        self._slots[approval.request.approval_id] = _Slot(approval, self._clock, wait_s)
        self._put(approval)

    def _put(self, approval: Approval) -> None:
        slot = self._slots[approval.request.approval_id]
        slot.approval = approval
        if approval.state is not ApprovalState.PENDING:
            slot.ended.set()
        self._forget_old()
        self._changed.set()
        self._announcer.announce(approval.request)

    def _forget_old(self) -> None:
        ended = [key for key, slot in self._slots.items() if slot.ended.is_set()]
        for approval_id in ended[:-KEEP_ENDED]:
            del self._slots[approval_id]

    async def _reject(
        self, answer: Answer, reason: str, *, fix: str = "look at what waits with `agp approvals`"
    ) -> Refusal:
        await self._record.append(
            ApprovalClickRejected(
                approval_id=answer.approval_id[:128],
                approver=answer.approver,
                channel=answer.channel,
                reason=reason,
            ),
            actor=answer.approver,
        )
        return Refusal(
            f"the answer to {answer.approval_id} does not count",
            why=reason,
            fix=fix,
        )


_WHY: Final[dict[CancelCause, str]] = {
    "interrupted": "the call was interrupted",
    "superseded": "what it would do is no longer what was shown",
    "session_ended": "the session ended",
    "body_gone": "AGP was restarted and the call's record was gone",
    "killed": "the operator ended the session",
    "not_reattached": "AGP was restarted, and nobody came back for the answer in time",
}
"""For the agent and the person: why a question ended without an answer."""


def _requested(request: ApprovalRequest, wait_s: int) -> ApprovalRequested:
    return ApprovalRequested(
        approval_id=request.approval_id,
        session_id=request.session_id,
        call_id=request.call_id,
        binding=request.binding_digest,
        rule_id=request.rule_id,
        approvers=None if request.approvers is None else tuple(sorted(request.approvers)),
        quorum=request.quorum,
        expires_at=request.expires_at,
        wait_s=wait_s,
    )


def _answered(approval: Approval, answer: Answer, step: Step) -> Payload:
    call_id = approval.request.call_id
    if step is Step.DENY:
        return ApprovalDenied(
            approval_id=answer.approval_id,
            call_id=call_id,
            approver=answer.approver,
            channel=answer.channel,
            reason=answer.reason,
        )
    return ApprovalGranted(
        approval_id=answer.approval_id,
        call_id=call_id,
        approver=answer.approver,
        channel=answer.channel,
        complete=step is Step.ALLOW,
    )


def utc_text(moment: datetime) -> str:
    """Spell an instant as the journal does."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def from_utc_text(text: str) -> datetime:
    """Read an instant that `utc_text` spelled."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
