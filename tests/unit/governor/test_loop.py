"""The governed loop against whole fakes of its ports: order, refusals, replays, twins."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from agp.contracts.base import Digest
from agp.contracts.channel import Answer, FileHash
from agp.contracts.intendant import (
    Allowed,
    BatchReported,
    CallProposed,
    Denied,
    GrantAsked,
    OutcomeReported,
    Ruling,
    SessionOpened,
    ToolCall,
)
from agp.contracts.journal import CallDecided
from agp.contracts.policy import Decision, Grade
from agp.contracts.sandbox import ExecResult
from agp.errors import JournalBroken, OverLimit, Refusal, Unavailable
from agp.governor.decide import Decider, Timing
from agp.governor.desk import ApprovalDesk
from agp.governor.loop import MAX_INPUT, Exchange, Governor
from agp.governor.outcomes import MAX_VIOLATIONS
from agp.governor.session import (
    MAX_CALLS_KEPT,
    MAX_PENDING_APPROVALS,
    MAX_WAITING,
    CallState,
    GovernedSession,
)
from agp.governor.tickets import TICKET_LIFE_S
from tests.fakes.governed import (
    SESSION,
    WORKSPACE,
    FakeAnnouncer,
    FakeBodies,
    FakeClock,
    FakeIntendant,
    FakeRecord,
    FakeRules,
    FakeSurveyor,
    tool_call,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@dataclass
class House:
    """One governor with everything around it in a test's hand."""

    governor: Governor
    session: GovernedSession
    desk: ApprovalDesk
    record: FakeRecord
    clock: FakeClock
    rules: FakeRules
    surveyor: FakeSurveyor
    announcer: FakeAnnouncer
    bodies: FakeBodies

    async def gate(self, call: ToolCall) -> Exchange:
        return await self.governor.hear(self.session, CallProposed(call=call))

    async def redeem(self, call: ToolCall) -> Ruling:
        asked = GrantAsked(
            harness_session=call.harness_session,
            agent_id=call.agent_id,
            cwd=call.cwd,
            tool=call.tool,
            raw_input=call.raw_input,
        )
        return (await self.governor.hear(self.session, asked)).ruling

    async def outcome(self, call: ToolCall, *, background: bool = False) -> None:
        await self.governor.hear(
            self.session,
            OutcomeReported(
                harness_session=call.harness_session,
                tool_use_id=call.tool_use_id,
                tool=call.tool,
                ok=True,
                output=b"done",
                background=background,
            ),
        )

    async def until_asked(self, count: int = 1) -> None:
        with anyio.fail_after(5):
            while len(self.desk.pending()) < count:
                await anyio.lowlevel.checkpoint()

    async def say(self, verdict: str, *, approver: str = "uid:1000", reason: str = "") -> None:
        request = self.desk.pending()[0].request
        await self.desk.answer(
            Answer(
                approval_id=request.approval_id,
                binding_digest=request.binding_digest,
                verdict="allow" if verdict == "allow" else "deny",
                approver=approver,
                channel="test",
                reason=reason,
            )
        )


@asynccontextmanager
async def house(*, opened: bool = True, grace_s: float = 5.0) -> AsyncIterator[House]:
    record, clock, announcer = FakeRecord(), FakeClock(), FakeAnnouncer()
    rules, surveyor, bodies = FakeRules(), FakeSurveyor(), FakeBodies()
    desk = ApprovalDesk(record, clock, announcer)
    decider = Decider(
        record,
        clock,
        desk,
        bodies,
        surveyor,
        lambda _: rules,
        log_id="0" * 32,
        timing=Timing(600, grace_s),
    )
    async with anyio.create_task_group() as tasks:
        governor = Governor(record, clock, desk, decider, tasks, reattach_grace_s=grace_s)
        session = GovernedSession(SESSION, FakeIntendant(), workspace=WORKSPACE, grade=Grade.SHARED)
        session.secrets = ("hunter2-is-the-secret",)
        if opened:
            session.bind("hs-1")
        yield House(governor, session, desk, record, clock, rules, surveyor, announcer, bodies)
        tasks.cancel_scope.cancel()


async def test_an_allowed_call_is_recorded_before_it_is_answered_and_runs_once() -> None:
    """Decision, redemption, outcome: three events, in this order."""
    async with house() as h:
        call = tool_call("touch a")

        exchange = await h.gate(call)
        assert h.record.kinds == ["call.decided"]
        assert isinstance(exchange.ruling, Allowed)
        assert isinstance(await h.redeem(call), Allowed)
        await h.outcome(call)

        assert h.record.kinds == ["call.decided", "ticket.redeemed", "execution.finished"]
        assert isinstance(await h.redeem(call), Denied)
        assert h.record.kinds[-1] == "ticket.refused"


async def test_a_denied_call_leaves_no_ticket() -> None:
    """The reason names the rule and what to do instead."""
    async with house() as h:
        call = tool_call("deny me")

        exchange = await h.gate(call)

        assert isinstance(exchange.ruling, Denied)
        assert "fake-rule" in exchange.ruling.reason
        assert isinstance(await h.redeem(call), Denied)
        assert h.record.kinds == ["call.decided", "ticket.refused"]


async def test_a_required_call_waits_and_runs_after_an_allow() -> None:
    """The ticket is journaled after the approval and before the answer."""
    async with house() as h, anyio.create_task_group() as tasks:
        call = tool_call("ask me")
        got: list[Exchange] = []

        async def ask() -> None:
            got.append(await h.gate(call))

        tasks.start_soon(ask)
        await h.until_asked()
        assert isinstance(await h.redeem(call), Denied)
        await h.say("allow")
        with anyio.fail_after(5):
            while not got:
                await anyio.lowlevel.checkpoint()

        assert isinstance(got[0].ruling, Allowed)
        assert isinstance(await h.redeem(call), Allowed)
        assert h.record.kinds == [
            "call.decided",
            "approval.requested",
            "ticket.refused",
            "approval.granted",
            "ticket.issued",
            "ticket.redeemed",
        ]


@pytest.mark.parametrize(
    ("end", "words"),
    [("deny", "denied by uid:1000: too risky"), ("expire", "timed out, nobody answered")],
)
async def test_a_refused_require_is_a_denial_that_tells_the_truth(end: str, words: str) -> None:
    """A `require` that nobody granted is delivered as a denial, never as a `require`."""
    async with house() as h, anyio.create_task_group() as tasks:
        got: list[Exchange] = []

        async def ask() -> None:
            got.append(await h.gate(tool_call("ask me")))

        tasks.start_soon(ask)
        await h.until_asked()
        if end == "deny":
            await h.say("deny", reason="too risky")
        else:
            tasks.start_soon(h.desk.run)
            h.clock.advance(601)
            h.desk._changed.set()
        with anyio.fail_after(5):
            while not got:
                await anyio.lowlevel.checkpoint()

        assert isinstance(got[0].ruling, Denied)
        assert words in got[0].ruling.reason
        assert len(h.session.tickets) == 0
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("expires_s", "stands_s"), [(None, 600), (60, 60), (4 * 3600, 4 * 3600), (86_400, 82_800)]
)
async def test_a_rule_may_let_a_question_stand_for_hours_but_never_past_the_hook(
    expires_s: int | None, stands_s: int
) -> None:
    """The configured time is for rules that name none; the cap lies below the hook's timeout."""
    async with house() as h, anyio.create_task_group() as tasks:
        h.rules.expires_s = expires_s
        tasks.start_soon(h.gate, tool_call("ask me"))
        await h.until_asked()

        left = h.desk.pending()[0].expires_at - h.clock.now()

        assert left.total_seconds() == stands_s
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("change", ["file", "policy denies", "approvers", "paused", "ended"])
async def test_what_changes_between_question_and_release_is_not_released(change: str) -> None:
    """What the human saw is what runs, or nothing runs."""
    async with house() as h, anyio.create_task_group() as tasks:
        h.rules.override = Decision.REQUIRE
        got: list[Exchange] = []

        async def ask() -> None:
            got.append(await h.gate(tool_call("pytest -q")))

        tasks.start_soon(ask)
        await h.until_asked()
        match change:
            case "file":
                h.surveyor.hashes = (FileHash(path="/w/conftest.py", sha256=Digest("e" * 64)),)
            case "policy denies":
                h.rules.override = Decision.DENY
            case "approvers":
                h.rules.approvers = frozenset({"uid:7"})
            case "ended":
                h.session.ended = True
            case _:
                pass
        if change == "paused":
            h.governor.paused = "lunch"
            with pytest.raises(Refusal):
                await h.say("allow")
            h.governor.paused = None
            await h.say("deny")
        else:
            await h.say("allow")
        with anyio.fail_after(5):
            while not got:
                await anyio.lowlevel.checkpoint()

        assert isinstance(got[0].ruling, Denied)
        assert len(h.session.tickets) == 0


async def test_a_broken_journal_answers_nothing() -> None:
    """No record, no action: the exception reaches the gateway, which refuses."""
    async with house() as h:
        h.record.broken = True

        with pytest.raises(JournalBroken):
            await h.gate(tool_call("touch a"))

        assert len(h.session.tickets) == 0


async def test_a_broken_journal_redeems_nothing() -> None:
    """The ticket is spent, the grant is not given."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)
        h.record.broken = True

        with pytest.raises(JournalBroken):
            await h.redeem(call)


async def test_a_repeated_request_gets_the_same_answer_and_no_second_ticket() -> None:
    """Claude Code asks twice where it normalised the input; a replay gains nothing by it."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)

        again = await h.gate(call)

        assert isinstance(again.ruling, Allowed)
        assert len(h.session.tickets) == 1
        assert h.record.kinds == ["call.decided"]


async def test_a_request_replayed_after_its_ticket_was_redeemed_is_refused() -> None:
    """The call has run; repeating its question does not run it again."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)
        await h.redeem(call)

        again = await h.gate(call)

        assert isinstance(again.ruling, Denied)
        assert len(h.session.tickets) == 0


async def test_an_undelivered_allow_takes_its_ticket_back_and_may_be_asked_for_again() -> None:
    """The bridge died while the answer was written: nothing may be redeemed meanwhile."""
    async with house() as h:
        call = tool_call("touch a")
        exchange = await h.gate(call)
        assert exchange.undelivered is not None

        await exchange.undelivered()

        assert isinstance(await h.redeem(call), Denied)
        again = await h.gate(call)
        assert isinstance(again.ruling, Allowed)
        assert isinstance(await h.redeem(call), Allowed)


async def test_a_second_waiter_that_hangs_up_after_the_redemption_gives_no_second_ticket() -> None:
    """Approved code can join a call of the harness, and break its own connection off later."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)
        joined = await h.gate(call)
        assert joined.undelivered is not None
        assert isinstance(await h.redeem(call), Allowed)

        await joined.undelivered()

        assert isinstance((await h.gate(call)).ruling, Denied)
        assert isinstance(await h.redeem(call), Denied)


async def test_what_ran_before_a_restart_is_neither_decided_again_nor_a_violation() -> None:
    """The journal says which tool_use_ids were redeemed; their late words are no news."""
    async with house() as h:
        call = tool_call("touch a")
        h.session.executed_before = {call.tool_use_id}

        assert isinstance((await h.gate(call)).ruling, Denied)
        await h.outcome(call)

        assert h.record.kinds == []


async def test_another_call_under_a_known_id_is_refused() -> None:
    """The id of an allowed call does not carry another command."""
    async with house() as h:
        await h.gate(tool_call("touch a"))

        exchange = await h.gate(tool_call("touch b"))

        assert isinstance(exchange.ruling, Denied)
        assert h.record.kinds == ["call.decided"]


async def test_two_identical_calls_one_granted_run_once() -> None:
    """Twins of which a person allows one."""
    async with house() as h, anyio.create_task_group() as tasks:
        one, two = (tool_call("ask me", tool_use_id=f"toolu_{n}") for n in (1, 2))
        got: list[Exchange] = []

        async def ask(call: ToolCall) -> None:
            got.append(await h.gate(call))

        tasks.start_soon(ask, one)
        tasks.start_soon(ask, two)
        await h.until_asked(2)
        await h.say("allow")
        await h.until_asked(1)
        await h.say("deny")
        with anyio.fail_after(5):
            while len(got) < 2:
                await anyio.lowlevel.checkpoint()

        results = [await h.redeem(one), await h.redeem(two)]
        assert sorted(ruling.type for ruling in results) == ["allowed", "denied"]


async def test_twins_both_allowed_both_run_whatever_the_order_of_their_outcomes() -> None:
    """The outcome of one twin may come while the other's ticket was the one redeemed."""
    async with house() as h:
        one, two = (tool_call("touch a", tool_use_id=f"toolu_{n}") for n in (1, 2))
        await h.gate(one)
        await h.gate(two)

        assert isinstance(await h.redeem(one), Allowed)
        await h.outcome(two)
        assert isinstance(await h.redeem(one), Allowed)
        await h.outcome(one)

        assert isinstance(await h.redeem(one), Denied)
        assert "coverage.violated" not in h.record.kinds


@pytest.mark.parametrize("case", ["never proposed", "denied", "not redeemed"])
async def test_an_outcome_without_a_redeemed_ticket_is_a_coverage_violation(case: str) -> None:
    """Something ran that AGP did not grant: the run fails."""
    async with house() as h:
        call = tool_call("deny me" if case == "denied" else "touch a")
        if case != "never proposed":
            await h.gate(call)

        await h.outcome(call)

        assert h.record.kinds[-1] == "coverage.violated"
        assert h.session.violations == 1


async def test_a_grant_that_the_batch_shows_as_unused_is_taken_back() -> None:
    """The harness refused it for a reason of its own; its ticket must not linger."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)

        await h.governor.hear(
            h.session, BatchReported(harness_session="hs-1", tool_use_ids=("toolu_1",))
        )

        assert isinstance(await h.redeem(call), Denied)
        assert "ticket.expired" in h.record.kinds


async def test_a_ticket_of_age_is_journaled_and_gone() -> None:
    """Sixty monotonic seconds."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)
        h.clock.advance(TICKET_LIFE_S)

        assert isinstance(await h.redeem(call), Denied)
        assert h.record.kinds == ["call.decided", "ticket.expired", "ticket.refused"]


async def test_nothing_is_granted_before_the_harness_opened_its_session() -> None:
    """Nor to another harness session on the same socket, nor after a second claim to it."""
    async with house(opened=False) as h:
        assert isinstance((await h.gate(tool_call("touch a"))).ruling, Denied)
        await h.governor.hear(h.session, SessionOpened(harness_session="hs-1", source="startup"))
        await h.governor.hear(h.session, SessionOpened(harness_session="hs-2", source="startup"))

        stranger = await h.gate(tool_call("touch a", harness_session="hs-2"))
        own = await h.gate(tool_call("touch a"))

        assert isinstance(stranger.ruling, Denied)
        assert isinstance(own.ruling, Allowed)


async def test_paused_means_no_new_grant_and_no_redemption() -> None:
    """A ticket that was given out before is not redeemed while AGP is paused."""
    async with house() as h:
        before = tool_call("touch a")
        await h.gate(before)
        h.governor.paused = "lunch"

        new = await h.gate(tool_call("touch b", tool_use_id="toolu_2"))

        assert isinstance(new.ruling, Denied)
        assert "AGP is paused: lunch." in new.ruling.reason
        assert "wait" in new.ruling.reason
        assert "do not retry" not in new.ruling.reason
        assert isinstance(await h.redeem(before), Denied)


async def test_a_known_secret_is_redacted_from_the_journal_and_its_call_decided_as_any() -> None:
    """What redaction removes needs no refusal; the commitment covers what really ran."""
    async with house() as h:
        exchange = await h.gate(tool_call("echo hunter2-is-the-secret"))

        assert isinstance(exchange.ruling, Allowed)
        assert "hunter2-is-the-secret" not in repr(h.record.events)
        assert "[redacted:known]" in repr(h.record.events)


async def test_a_known_secret_that_survives_redaction_refuses_the_call_unrecorded() -> None:
    """Encoded it matches no pattern: only the commitment is recorded, and nothing may run."""
    async with house() as h:
        encoded = base64.b64encode(b"hunter2-is-the-secret").decode()
        call = tool_call(f"echo {encoded}")
        exchange = await h.gate(call)

        assert isinstance(exchange.ruling, Denied)
        decided = h.record.events[0][1]
        assert isinstance(decided, CallDecided)
        assert decided.arguments is None
        assert decided.rule_id == "secret-in-arguments"
        assert encoded not in repr(h.record.events)
        assert isinstance(await h.redeem(call), Denied)


async def test_more_questions_than_the_limit_are_refused_at_once() -> None:
    """An agent cannot bury a person under cards."""
    async with house() as h, anyio.create_task_group() as tasks:
        for n in range(MAX_PENDING_APPROVALS):
            tasks.start_soon(h.gate, tool_call(f"ask {n}", tool_use_id=f"t{n}"))
        await h.until_asked(MAX_PENDING_APPROVALS)

        exchange = await h.gate(tool_call("ask more", tool_use_id="more"))

        assert isinstance(exchange.ruling, Denied)
        tasks.cancel_scope.cancel()


async def test_more_open_decisions_than_the_limit_are_refused_at_once() -> None:
    """Nor can it fill the memory."""
    async with house() as h, anyio.create_task_group() as tasks:
        h.record.hold = anyio.Event()
        for n in range(MAX_WAITING):
            tasks.start_soon(h.gate, tool_call(f"touch {n}", tool_use_id=f"t{n}"))
        with anyio.fail_after(5):
            while len(h.session.calls) < MAX_WAITING:
                await anyio.lowlevel.checkpoint()

        exchange = await h.gate(tool_call("touch more", tool_use_id="more"))

        assert isinstance(exchange.ruling, Denied)
        h.record.hold.set()
        tasks.cancel_scope.cancel()


async def test_a_waiter_that_does_not_come_back_cancels_its_question() -> None:
    """And the call can never run later."""
    async with house(grace_s=0.01) as h:
        call = tool_call("ask me")
        with anyio.move_on_after(0.05):
            await h.gate(call)
        with anyio.fail_after(5):
            while "approval.cancelled" not in h.record.kinds:
                await anyio.lowlevel.checkpoint()

        assert isinstance((await h.gate(call)).ruling, Denied)
        assert isinstance(await h.redeem(call), Denied)


async def test_a_repeated_request_joins_the_waiting_decision() -> None:
    """One question, one answer, although the bridge asked twice."""
    async with house() as h, anyio.create_task_group() as tasks:
        call = tool_call("ask me")
        with anyio.move_on_after(0.01):
            await h.gate(call)
        got: list[Exchange] = []

        async def ask() -> None:
            got.append(await h.gate(call))

        tasks.start_soon(ask)
        await h.until_asked()
        await anyio.lowlevel.checkpoint()
        await h.say("allow")
        with anyio.fail_after(5):
            while not got:
                await anyio.lowlevel.checkpoint()

        assert isinstance(got[0].ruling, Allowed)
        assert h.record.kinds.count("approval.requested") == 1


async def test_an_answer_for_a_waiter_that_is_gone_releases_nothing() -> None:
    """Granted during the grace, nobody re-attached: abandoned, and journaled as that."""
    async with house(grace_s=0.2) as h:
        call = tool_call("ask me")
        with anyio.move_on_after(0.01):
            await h.gate(call)
        await h.until_asked()
        await h.say("allow")
        with anyio.fail_after(5):
            while "call.abandoned" not in h.record.kinds:
                await anyio.lowlevel.checkpoint()

        assert len(h.session.tickets) == 0


async def test_the_end_of_a_session_closes_all_its_books() -> None:
    """Questions cancelled, tickets expired, running calls with an unknown outcome."""
    async with house() as h, anyio.create_task_group() as tasks:
        ran, granted, asked = (
            tool_call(command, tool_use_id=command) for command in ("touch a", "touch b", "ask me")
        )
        await h.gate(ran)
        await h.redeem(ran)
        await h.gate(granted)
        tasks.start_soon(h.gate, asked)
        await h.until_asked()

        await h.governor.end(h.session, "session_ended")

        assert {"approval.cancelled", "ticket.expired", "execution.outcome_unknown"} <= set(
            h.record.kinds
        )
        assert isinstance(await h.redeem(granted), Denied)
        tasks.cancel_scope.cancel()


async def test_mediate_records_the_intent_before_the_effect() -> None:
    """A crash between the two leaves an intent without an outcome, never the reverse."""
    async with house() as h:
        seen: list[list[str]] = []

        async def execute() -> ExecResult:
            seen.append(list(h.record.kinds))
            return ExecResult(
                exit_code=0, stdout=b"x", stderr=b"", stdout_bytes=1, stderr_bytes=0, duration_ms=1
            )

        done = await h.governor.mediate(h.session, tool_call("touch a"), execute)

        assert isinstance(done.ruling, Allowed)
        assert seen == [["call.decided", "execution.started"]]
        assert h.record.kinds[-1] == "execution.finished"


async def test_mediate_never_executes_what_was_denied() -> None:
    """The executor is not even called."""
    async with house() as h:

        async def execute() -> ExecResult:
            raise AssertionError("executed a denied call")

        done = await h.governor.mediate(h.session, tool_call("deny me"), execute)

        assert isinstance(done.ruling, Denied)
        assert done.result is None


async def test_mediate_journals_a_sandbox_that_failed() -> None:
    """The agent hears it, and the journal has it."""
    async with house() as h:

        async def execute() -> ExecResult:
            raise Unavailable("the sandbox is gone")

        done = await h.governor.mediate(h.session, tool_call("touch a"), execute)

        assert isinstance(done.ruling, Denied)
        assert h.record.kinds[-1] == "execution.failed"


async def test_a_background_call_is_recorded_as_started_and_its_end_as_unknown() -> None:
    """A hook reports it at launch only."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)
        await h.redeem(call)

        await h.outcome(call, background=True)
        assert h.record.kinds[-1] == "execution.started"
        await h.governor.end(h.session, "session_ended")

        assert h.record.kinds[-1] == "execution.outcome_unknown"
        assert h.session.calls["toolu_1"].state is CallState.ENDED


async def test_a_session_whose_masks_are_lost_redeems_nothing_more() -> None:
    """On the host a mask can be taken away; the next grant hook finds out."""
    async with house() as h:
        call = tool_call("touch a")
        await h.gate(call)
        h.session.uncovered = lambda: ("/w/.git/hooks",)

        assert isinstance(await h.redeem(call), Denied)
        h.session.uncovered = tuple
        assert isinstance(await h.redeem(call), Denied)

        violated = [p for _, p in h.record.events if p.kind.value == "coverage.violated"]
        assert len(violated) == 1
        assert h.session.violations == 1


async def test_an_input_that_nobody_could_look_at_is_refused_before_it_costs_anything() -> None:
    """The gateway counts the refusal; nothing is decided, kept or journaled for it."""
    async with house() as h:
        with pytest.raises(OverLimit):
            await h.gate(tool_call("x" * (MAX_INPUT + 1)))

        assert h.record.kinds == []
        assert h.session.calls == {}


async def test_a_call_that_is_over_holds_nothing_of_its_input() -> None:
    """Thousands of denied calls of a megabyte each must not stay in memory."""
    async with house() as h:
        h.rules.override = Decision.DENY
        await h.gate(tool_call("x" * 100_000))

        assert h.session.calls["toolu_1"].call.raw_input == b""


async def test_a_long_input_is_journaled_by_its_head_and_its_commitment() -> None:
    """An agent cannot fill the journal with one call."""
    async with house() as h:
        await h.gate(tool_call("touch " + "x" * 500_000))

        decided = h.record.events[0][1]
        assert isinstance(decided, CallDecided)
        assert decided.arguments is not None
        assert len(decided.model_dump_json()) < 8_000


async def test_invented_outcomes_are_counted_and_stop_filling_the_journal() -> None:
    """The run has failed at the first of them."""
    async with house() as h:
        for number in range(MAX_VIOLATIONS + 20):
            await h.outcome(tool_call("x", tool_use_id=f"invented-{number}"))

        assert h.session.violations == MAX_VIOLATIONS + 20
        assert h.record.kinds.count("coverage.violated") == MAX_VIOLATIONS


async def test_a_file_changed_after_the_approval_was_released_is_not_run() -> None:
    """A ticket lives for a minute; what it runs is looked at once more when it is taken."""
    async with house() as h, anyio.create_task_group() as tasks:
        h.rules.override = Decision.REQUIRE
        bound = (FileHash(path="/w/x.py", sha256=Digest("a" * 64)),)
        h.surveyor.hashes = bound
        call = tool_call("python3 x.py")
        got: list[Exchange] = []

        async def ask() -> None:
            got.append(await h.gate(call))

        tasks.start_soon(ask)
        await h.until_asked()
        await h.say("allow")
        with anyio.fail_after(5):
            while not got:
                await anyio.lowlevel.checkpoint()
        assert isinstance(got[0].ruling, Allowed)
        h.surveyor.hashes = (FileHash(path="/w/x.py", sha256=Digest("b" * 64)),)

        assert isinstance(await h.redeem(call), Denied)
        h.surveyor.hashes = bound
        assert isinstance(await h.redeem(call), Denied)


async def test_a_call_from_outside_the_workspace_is_refused() -> None:
    """A claimed working directory would bend every relative path."""
    async with house() as h:
        for cwd in ("/", "/etc", "/w/../etc", "/wother"):
            call = tool_call("touch a").model_dump() | {"cwd": cwd, "tool_use_id": cwd}
            exchange = await h.gate(ToolCall.model_validate(call))
            assert isinstance(exchange.ruling, Denied)

        assert h.record.kinds == []


async def test_an_evicted_call_is_still_known_to_have_been_decided() -> None:
    """A long session must not end ungoverned because its first calls were forgotten."""
    async with house() as h:
        first = tool_call("touch a", tool_use_id="first")
        await h.gate(first)
        await h.redeem(first)
        await h.outcome(first)
        h.rules.override = Decision.DENY
        for number in range(MAX_CALLS_KEPT + 1):
            await h.gate(tool_call("x", tool_use_id=f"t{number}"))

        assert "first" not in h.session.calls
        assert "first" in h.session.executed_before
