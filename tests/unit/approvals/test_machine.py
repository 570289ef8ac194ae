"""One answer against one approval: an attack table, and the quorum."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from agp.approvals.machine import Approval, Counted, Rejected, advance, weigh
from agp.approvals.table import Step
from agp.contracts.base import ApprovalId, Digest
from agp.contracts.channel import Answer, ApprovalState
from tests.fakes.governed import approval_request

NOW = datetime(2026, 11, 20, 12, 1, tzinfo=UTC)
END = datetime(2026, 11, 20, 12, 10, tzinfo=UTC)


def _answer(
    verdict: str = "allow",
    *,
    approver: str = "uid:1000",
    bound: Digest | None = None,
    approval_id: ApprovalId | None = None,
) -> Answer:
    request = approval_request()
    return Answer(
        approval_id=approval_id or request.approval_id,
        binding_digest=bound,
        verdict="allow" if verdict == "allow" else "deny",
        approver=approver,
        channel="test",
    )


@dataclass(frozen=True)
class Attack:
    """An answer that must not count."""

    name: str
    approval: Approval
    answer: Answer
    now: datetime
    because: str


OPEN = Approval(approval_request(), END)
LISTED = Approval(approval_request(approvers=frozenset({"uid:1"}), quorum=2), END)
ATTACKS = (
    Attack("an answer after the end of its time", OPEN, _answer(), END, "time is over"),
    Attack(
        "an answer to an approval that was granted",
        Approval(approval_request(), END, ApprovalState.GRANTED),
        _answer(),
        NOW,
        "already granted",
    ),
    Attack(
        "a deny of an approval that has expired",
        Approval(approval_request(), END, ApprovalState.EXPIRED),
        _answer("deny"),
        NOW,
        "already expired",
    ),
    Attack(
        "an answer to another call under the same id",
        OPEN,
        _answer(bound=Digest("f" * 64)),
        NOW,
        "not the one that was shown",
    ),
    Attack(
        "an id whose digest part was guessed",
        OPEN,
        _answer(approval_id=ApprovalId("otter-00000000")),
        NOW,
        "not the one that was shown",
    ),
    Attack("somebody who is not an approver", LISTED, _answer(), NOW, "not among its approvers"),
    Attack(
        "nobody is an approver",
        Approval(approval_request(approvers=frozenset()), END),
        _answer(),
        NOW,
        "not among its approvers",
    ),
    Attack(
        "one person twice for a quorum of two",
        Approval(
            approval_request(approvers=frozenset({"uid:1"}), quorum=2), END, granted_by=("uid:1",)
        ),
        _answer(approver="uid:1"),
        NOW,
        "counts once",
    ),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_an_answer_that_may_not_count_is_rejected_with_its_reason(attack: Attack) -> None:
    """The rejection says why, and the approval stays as it was."""
    weighed = weigh(attack.approval, attack.answer, now=attack.now)

    assert isinstance(weighed, Rejected)
    assert attack.because in weighed.reason


def test_the_operator_may_type_the_id_instead_of_the_whole_digest() -> None:
    """The id holds eight digits of the binding, and they are compared."""
    assert weigh(OPEN, _answer(), now=NOW) == Counted(Step.ALLOW)


def test_a_quorum_needs_distinct_people() -> None:
    """Two yeses of two people grant; the first one alone does not."""
    approval = Approval(approval_request(quorum=2), END)

    first = weigh(approval, _answer(approver="uid:1"), now=NOW)
    assert first == Counted(Step.ALLOW_PARTLY)
    after_one = advance(approval, Step.ALLOW_PARTLY, approver="uid:1")
    assert after_one is not None
    assert after_one.state is ApprovalState.PENDING
    second = weigh(after_one, _answer(approver="uid:2"), now=NOW)
    assert second == Counted(Step.ALLOW)


def test_one_deny_wins_over_a_half_met_quorum() -> None:
    """A deny needs no quorum."""
    approval = Approval(approval_request(quorum=3), END, granted_by=("uid:1", "uid:2"))

    assert weigh(approval, _answer("deny", approver="uid:3"), now=NOW) == Counted(Step.DENY)


def test_an_instant_before_the_end_still_counts() -> None:
    """The border belongs to the refusal."""
    just_before = END - timedelta(microseconds=1)

    assert weigh(OPEN, _answer(), now=just_before) == Counted(Step.ALLOW)
