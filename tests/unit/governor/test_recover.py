"""The fold that a restarted daemon begins with."""

from __future__ import annotations

import json

from agp.contracts.base import ApprovalId, CallId, Digest, RuleId, SessionId
from agp.contracts.journal import (
    ApprovalCancelled,
    ApprovalGranted,
    ApprovalRequested,
    CallDecided,
    ControlPaused,
    ControlResumed,
    CoverageViolated,
    ExecutionFinished,
    ExecutionStarted,
    Line,
    Payload,
    SandboxStarted,
    SandboxStopped,
    SessionEnded,
    SessionStarted,
    TicketRedeemed,
)
from agp.contracts.policy import Decision, Grade, Tier
from agp.governor.recover import Recovery, recover
from agp.governor.session import Counts

ZERO = Digest("0" * 64)
SESSION = SessionId("s-0123456789ab")
CALL = CallId("c-0123456789abcdef")
ASKED = ApprovalId("otter-00000000")


def _fold(*payloads: Payload) -> Recovery:
    return recover(
        Line(
            v=1,
            seq=seq,
            ts="2026-11-20T12:00:00.000000Z",
            kind=payload.kind.value,
            actor="agp",
            payload=json.loads(payload.model_dump_json(exclude_none=True)),
            prev_hash=ZERO,
            hash=ZERO,
            signing_key_id=ZERO,
            signature="",
        )
        for seq, payload in enumerate(payloads)
    )


STARTED = SessionStarted(
    session_id=SESSION,
    intendant="scripted",
    intendant_version="1",
    workspace="/w",
    grade=Grade.CONFINED,
    policy_digest=ZERO,
    launch_digest=ZERO,
    egress=(),
    operator_uid=0,
)
REQUESTED = ApprovalRequested(
    approval_id=ASKED,
    session_id=SESSION,
    call_id=CALL,
    binding=ZERO,
    rule_id=RuleId("r"),
    quorum=2,
    expires_at="2026-11-20T12:10:00.000000Z",
    wait_s=600,
)
REDEEMED = TicketRedeemed(session_id=SESSION, call_id=CALL, key=ZERO)
FINISHED = ExecutionFinished(session_id=SESSION, call_id=CALL, reported_by="harness")
MADE = SandboxStarted(
    session_id=SESSION,
    provider="local",
    grade=Grade.CONFINED,
    profile_digest=ZERO,
    created_mount_points=("/w/.envrc",),
)


def test_an_ended_session_is_not_taken_up() -> None:
    """Nothing of it is open."""
    ended = SessionEnded(
        session_id=SESSION, outcome="finished", calls=0, allowed=0, denied=0, asked=0
    )

    assert _fold(STARTED, REQUESTED, ended).sessions == {}


def test_a_question_without_an_end_is_open_with_those_who_said_yes() -> None:
    """Half a quorum survives a restart."""
    partly = ApprovalGranted(
        approval_id=ASKED, call_id=CALL, approver="uid:1", channel="cli", complete=False
    )

    opened = _fold(STARTED, REQUESTED, partly).sessions[SESSION]

    assert opened.asked == {ASKED: REQUESTED}
    assert opened.granted_by == {ASKED: ["uid:1"]}


def test_every_end_of_a_question_closes_it() -> None:
    """A complete allow as well as a cancellation."""
    complete = ApprovalGranted(
        approval_id=ASKED, call_id=CALL, approver="uid:2", channel="cli", complete=True
    )
    cancelled = ApprovalCancelled(approval_id=ASKED, call_id=CALL, cause="superseded")

    for end in (complete, cancelled):
        assert _fold(STARTED, REQUESTED, end).sessions[SESSION].asked == {}


def test_a_redeemed_call_without_an_outcome_may_still_report_one() -> None:
    """Otherwise its outcome after a restart would look like an ungoverned call."""
    assert CALL in _fold(STARTED, REDEEMED).sessions[SESSION].redeemed
    assert _fold(STARTED, REDEEMED, FINISHED).sessions[SESSION].redeemed == {}


def test_what_was_decided_redeemed_and_violated_is_counted_again() -> None:
    """Else a run that lived through a restart would end as one without calls or violations."""
    decided = CallDecided(
        session_id=SESSION,
        call_id=CALL,
        tool_use_id="t-1",
        tool="exec",
        cwd="/w",
        decision=Decision.REQUIRE,
        rule_id=RuleId("r"),
        tier=Tier.DEFAULT,
        reason="",
        effects=(),
        grade=Grade.CONFINED,
        policy_digest=ZERO,
        commitment=ZERO,
    )
    violated = CoverageViolated(session_id=SESSION, what="survivor", detail="1")
    cancelled = ApprovalCancelled(approval_id=ASKED, call_id=CALL, cause="superseded")

    opened = _fold(STARTED, decided, REQUESTED, cancelled, REDEEMED, violated).sessions[SESSION]

    assert opened.executed == {"t-1"}
    assert opened.violations == 1
    assert opened.counts == Counts(calls=1, allowed=0, asked=1, denied=1)


def test_mount_points_of_a_view_that_did_not_stop_are_known() -> None:
    """Somebody has to remove them."""
    stopped = SandboxStopped(session_id=SESSION, provider="local", survivors=0)

    assert _fold(STARTED, MADE).sessions[SESSION].mount_points == ("/w/.envrc",)
    assert _fold(STARTED, MADE, stopped).sessions[SESSION].mount_points == ()


def test_a_pause_survives_a_restart() -> None:
    """And only a resume ends it."""
    paused = ControlPaused(reason="lunch", by="uid:0")

    assert _fold(paused).paused == "lunch"
    assert _fold(paused, ControlResumed(by="uid:0")).paused is None


def test_the_bodies_that_are_needed_are_those_of_open_calls() -> None:
    """Everything else in the vault is an orphan."""
    assert _fold(STARTED, REDEEMED).living() == {CALL}
    assert _fold(STARTED, REDEEMED, FINISHED).living() == frozenset()


def test_what_agp_began_is_never_begun_again() -> None:
    """Whether it ended or not: a launcher that asks again after a restart is refused."""
    decided = CallDecided(
        session_id=SESSION,
        call_id=CALL,
        tool_use_id="scripted-0",
        tool="exec",
        cwd="/w",
        decision=Decision.ALLOW,
        rule_id=RuleId("r"),
        tier=Tier.USER,
        reason="r",
        effects=(),
        grade=Grade.CONFINED,
        policy_digest=ZERO,
        commitment=ZERO,
    )
    begun = ExecutionStarted(session_id=SESSION, call_id=CALL, reported_by="agp")
    ended = ExecutionFinished(session_id=SESSION, call_id=CALL, reported_by="agp", exit_code=0)

    assert _fold(STARTED, decided).sessions[SESSION].executed == set()
    for told in ((begun,), (begun, ended)):
        assert _fold(STARTED, decided, *told).sessions[SESSION].executed == {"scripted-0"}
