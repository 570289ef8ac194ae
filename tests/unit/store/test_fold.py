"""The fold is pure: what one line changes depends on that line alone."""

from __future__ import annotations

import pytest

from agp.contracts.journal import ALL_PAYLOADS, ExecutionStarted, GatewayRefused
from agp.errors import IntegrityError
from agp.store.fold import changes, parse_payload
from tests.fakes import story
from tests.fakes.journal_lines import line_after, opened


def test_each_kind_that_leaves_a_row_makes_one_change_and_a_complete_grant_two():
    counts = {
        story.started(): 1,
        story.decided(1): 1,
        story.requested(1): 1,
        story.granted(1, complete=False): 1,
        story.granted(1): 2,
        story.denied(1): 1,
        story.expired(1): 1,
        story.cancelled(1): 1,
        story.finished(1): 1,
        story.ended(): 1,
        story.reaped(): 1,
        opened(): 0,
        GatewayRefused(session_id=story.SESSION, count=3, reason="short"): 0,
    }
    for payload, count in counts.items():
        assert len(changes(line_after(None, payload))) == count, payload.kind


def test_an_outcome_is_named_as_its_kind_is():
    payload = ExecutionStarted(
        session_id=story.SESSION, call_id=story.call_id(1), reported_by="harness", background=True
    )
    (change,) = changes(line_after(None, payload))
    assert change.values["outcome"] == "started"


def test_a_kind_that_this_agp_does_not_know_changes_nothing():
    assert changes(line_after(None, story.started(), kind="session.teleported")) == ()


def test_a_line_version_that_this_agp_does_not_know_changes_nothing():
    line = line_after(None, story.started())
    assert changes(line.model_copy(update={"v": 2})) == ()


def test_a_payload_that_breaks_its_contract_is_an_integrity_error_naming_the_line():
    line = line_after(None, story.started(), kind="approval.requested")
    with pytest.raises(IntegrityError, match="journal line 0"):
        changes(line)


def test_every_payload_of_the_vocabulary_can_be_read_back():
    assert parse_payload(line_after(None, story.requested(7))) == story.requested(7)
    assert len(ALL_PAYLOADS) == len({payload.kind for payload in ALL_PAYLOADS})
