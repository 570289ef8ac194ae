"""Waits of hours: a laptop that sleeps, a wall clock that is set, a daemon that comes back."""

from __future__ import annotations

from datetime import timedelta

import anyio
import pytest

from agp.approvals.machine import Approval
from agp.contracts.channel import Answer, ApprovalState
from agp.errors import Refusal
from agp.governor.desk import ApprovalDesk, utc_text
from tests.fakes.governed import FakeAnnouncer, FakeClock, FakeRecord, approval_request

pytestmark = pytest.mark.anyio

HOUR = 3600


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Desk:
    """One desk with one question that may stand for four hours."""

    def __init__(self) -> None:
        self.record, self.clock = FakeRecord(), FakeClock()
        self.desk = ApprovalDesk(self.record, self.clock, FakeAnnouncer())
        expires_at = self.clock.now() + timedelta(hours=4)
        request = approval_request().model_dump() | {
            "requested_at": utc_text(self.clock.now()),
            "expires_at": utc_text(expires_at),
        }
        request_of = type(approval_request())
        self.approval = Approval(request_of.model_validate(request), expires_at)
        self.id = self.approval.request.approval_id

    def state(self) -> ApprovalState:
        held = self.desk.get(self.id)
        assert held is not None
        return held.state

    def yes(self) -> Answer:
        request = self.approval.request
        return Answer(
            approval_id=self.id,
            binding_digest=request.binding_digest,
            verdict="allow",
            approver="uid:1000",
            channel="test",
        )

    async def until_ended(self) -> str:
        with anyio.fail_after(5):
            return (await self.desk.outcome(self.id)).request.answer_reason


async def test_an_answer_after_three_hours_counts() -> None:
    d = Desk()
    await d.desk.open(d.approval, wait_s=4 * HOUR)
    d.clock.advance(3 * HOUR)

    await d.desk.answer(d.yes())

    assert d.state() is ApprovalState.GRANTED


async def test_sleep_counts_as_waiting_and_is_said() -> None:
    """The monotonic clock stands still while a laptop sleeps; the question is over all the same."""
    d = Desk()
    await d.desk.open(d.approval, wait_s=4 * HOUR)
    d.clock.at += timedelta(hours=9)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(d.desk.run)
        why = await d.until_ended()
        tasks.cancel_scope.cancel()

    assert d.state() is ApprovalState.EXPIRED
    assert why == "this machine slept 540 min of it"


async def test_a_sleep_that_ends_in_time_leaves_the_question_open() -> None:
    d = Desk()
    await d.desk.open(d.approval, wait_s=4 * HOUR)
    d.clock.at += timedelta(hours=3)

    await d.desk.answer(d.yes())

    assert d.state() is ApprovalState.GRANTED


async def test_an_answer_right_after_waking_up_too_late_is_journaled_as_expired_first() -> None:
    """The desk may not have looked yet; the answer must find the question over, not open."""
    d = Desk()
    await d.desk.open(d.approval, wait_s=4 * HOUR)
    d.clock.at += timedelta(hours=9)

    with pytest.raises(Refusal, match="does not count"):
        await d.desk.answer(d.yes())

    assert d.record.kinds == [
        "approval.requested",
        "approval.expired",
        "approval.click_rejected",
    ]


async def test_a_wall_clock_that_is_set_back_does_not_make_a_question_stand_longer() -> None:
    d = Desk()
    await d.desk.open(d.approval, wait_s=4 * HOUR)
    d.clock.at -= timedelta(days=30)
    d.clock.ticks += 4 * HOUR

    with pytest.raises(Refusal):
        await d.desk.answer(d.yes())

    assert d.state() is ApprovalState.EXPIRED


@pytest.mark.parametrize(("away_h", "counts"), [(3, True), (5, False)])
async def test_a_restart_takes_nothing_from_the_wait_and_adds_nothing(
    away_h: int, *, counts: bool
) -> None:
    """After a restart the wall clock alone knows how long it has stood."""
    before = Desk()
    await before.desk.open(before.approval, wait_s=4 * HOUR)
    after = Desk()
    after.clock.at = before.clock.at + timedelta(hours=away_h)
    after.clock.ticks = 1.0
    after.desk.restore(before.approval, wait_s=4 * HOUR)

    if counts:
        await after.desk.answer(before.yes())
    else:
        with pytest.raises(Refusal):
            await after.desk.answer(before.yes())

    assert after.state() is (ApprovalState.GRANTED if counts else ApprovalState.EXPIRED)


async def test_a_withdrawn_question_says_why() -> None:
    d = Desk()
    await d.desk.open(d.approval, wait_s=4 * HOUR)

    await d.desk.cancel(d.id, "not_reattached")

    assert "AGP was restarted" in await d.until_ended()
