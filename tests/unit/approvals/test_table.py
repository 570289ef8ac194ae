"""The approval's transition table: a pending approval ends exactly once."""

from __future__ import annotations

import itertools

import pytest

from agp.approvals.table import TRANSITIONS, Step, after
from agp.contracts.channel import ApprovalState


@pytest.mark.parametrize(
    ("state", "step"),
    [
        pair
        for pair in itertools.product(ApprovalState, Step)
        if pair[0] is not ApprovalState.PENDING
    ],
)
def test_nothing_moves_an_approval_that_has_ended(state: ApprovalState, step: Step) -> None:
    """Every step from a terminal state is refused."""
    assert after(state, step) is None


def test_every_step_from_pending_is_in_the_table() -> None:
    """A new step without a row would be refused, and this test says so."""
    assert {step for state, step in TRANSITIONS if state is ApprovalState.PENDING} == set(Step)


def test_only_a_complete_allow_grants() -> None:
    """No other step ends in granted."""
    granting = {step for (_, step), end in TRANSITIONS.items() if end is ApprovalState.GRANTED}
    assert granting == {Step.ALLOW}
