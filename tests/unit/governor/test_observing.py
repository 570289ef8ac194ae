"""Observe mode in the loop: what is let through, what refuses all the same, and what is marked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import anyio
import anyio.lowlevel
import pytest

from agp.contracts.base import CallId, Digest, SessionId
from agp.contracts.channel import Answer
from agp.contracts.intendant import Allowed, CallProposed, Denied, GrantAsked, Ruling, ToolCall
from agp.contracts.journal import (
    CallAbandoned,
    CallDecided,
    ControlKilled,
    ExecutionFailed,
    ObserveChanged,
    OfSession,
    SessionEnded,
    SessionStarted,
)
from agp.contracts.policy import Decision, Effect, EffectKind, Grade, Tier, Verdict, World
from agp.errors import JournalBroken, Refusal, Unauthorised, Unavailable
from agp.governor.decide import Decider, Timing
from agp.governor.desk import ApprovalDesk
from agp.governor.handed import reachable
from agp.governor.loop import Governor
from agp.governor.observing import ObservedRecord
from agp.governor.recover import recover
from agp.governor.session import Counts, GovernedSession
from agp.policy.observe import liftable, observed
from agp.policy.policyset import PolicySet
from tests.fakes.governed import (
    SESSION,
    WORKSPACE,
    ZERO,
    FakeAnnouncer,
    FakeBodies,
    FakeClock,
    FakeIntendant,
    FakeRecord,
    FakeRules,
    FakeSurveyor,
    tool_call,
)
from tests.fakes.journal_lines import chain
from tests.fakes.policy_world import file_of, rule, shipped_pack

pytestmark = pytest.mark.anyio
OTHER = SessionId("s-ba9876543210")
OPERATOR = "uid:1000"
WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE)
PROFILE = Digest("1" * 64)
SECRET = "hunter2-is-the-secret"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class LiftingRules(FakeRules):
    """The fake rules, with what the real ones say about observe mode."""

    def decide(self, effects: tuple[Effect, ...], *, grade: Grade, world: World) -> Verdict:
        verdict = super().decide(effects, grade=grade, world=world)
        may = liftable(verdict.effects, admin_denies_uncovered=False)
        return Verdict.model_validate(verdict.model_dump() | {"liftable": may})


class FullBodies(FakeBodies):
    """A vault on a disk that is full."""

    def put(self, call_id: CallId, body: bytes, salt: bytes) -> None:
        raise Unavailable("no room", where=f"{call_id}, {len(body) + len(salt)} bytes")


@dataclass
class House:
    """One governor over one session that can be observed."""

    governor: Governor
    session: GovernedSession
    desk: ApprovalDesk
    inner: FakeRecord
    record: ObservedRecord
    bodies: FakeBodies

    async def gate(self, call: ToolCall) -> Ruling:
        said = CallProposed(call=call)
        return (await self.governor.hear(self.session, said)).ruling

    async def redeem(self, call: ToolCall) -> Ruling:
        asked = GrantAsked(
            harness_session=call.harness_session,
            agent_id=call.agent_id,
            cwd=call.cwd,
            tool=call.tool,
            raw_input=call.raw_input,
        )
        return (await self.governor.hear(self.session, asked)).ruling

    async def observe(self, *, on: bool = True) -> bool:
        return await self.record.switch(self.session, on=on, by=OPERATOR)

    def decided(self) -> list[CallDecided]:
        return [said for _, said in self.inner.events if isinstance(said, CallDecided)]


@asynccontextmanager
async def house(bodies: FakeBodies | None = None) -> AsyncIterator[House]:
    inner, clock = FakeRecord(), FakeClock()
    record = ObservedRecord(inner)
    held = bodies or FakeBodies()
    desk = ApprovalDesk(record, clock, FakeAnnouncer())
    rules = LiftingRules()
    decider = Decider(
        record,
        clock,
        desk,
        held,
        FakeSurveyor(),
        lambda _: rules,
        log_id="0" * 32,
        timing=Timing(600, 5.0),
    )
    async with anyio.create_task_group() as tasks:
        governor = Governor(record, clock, desk, decider, tasks, reattach_grace_s=5.0)
        session = GovernedSession(SESSION, FakeIntendant(), workspace=WORKSPACE, grade=Grade.SHARED)
        session.secrets = (SECRET,)
        session.observing = partial(record.observes, SESSION)
        session.bind("hs-1")
        yield House(governor, session, desk, inner, record, held)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("word", "would_be"), [("deny me", Decision.DENY), ("ask me", Decision.REQUIRE)]
)
async def test_what_a_rule_asks_or_denies_runs_and_the_journal_says_so(
    word: str, would_be: Decision
) -> None:
    """Decision, rule and tier stay those of the rule; every event of it is marked."""
    async with house() as h:
        await h.observe()
        ruling = await h.gate(tool_call(word))
        assert isinstance(ruling, Allowed)
        assert isinstance(await h.redeem(tool_call(word)), Allowed)

        (said,) = h.decided()
        assert (said.decision, said.would_be) == (Decision.ALLOW, would_be)
        assert (said.rule_id, said.tier, said.observed) == ("fake-rule", Tier.USER, True)
        assert said.reason == "because the fake says so."
        assert h.desk.pending() == ()
        assert all(p.observed is True for _, p in h.inner.events if isinstance(p, OfSession))
        assert h.session.counts == Counts(calls=1, let_through=1)
        assert "observe" not in ruling.reason
        assert "fake-rule" not in ruling.reason


async def test_a_rules_allow_is_no_observed_allow() -> None:
    """The two are told apart by `would_be`, and counted apart."""
    async with house() as h:
        await h.observe()
        assert isinstance(await h.gate(tool_call("touch a")), Allowed)
        assert h.decided()[0].would_be is None
        assert h.session.counts == Counts(calls=1, allowed=1)


async def test_without_the_operators_word_nothing_is_let_through() -> None:
    """The same calls, enforced: the positive control of everything here."""
    async with house() as h:
        assert isinstance(await h.gate(tool_call("deny me")), Denied)
        (said,) = h.decided()
        assert (said.decision, said.would_be, said.observed) == (Decision.DENY, None, None)


async def test_paused_ended_and_secrets_refuse_in_observe_mode() -> None:
    """What refuses besides the policy is AGP's own brake, and holds."""
    async with house() as h:
        await h.observe()
        h.governor.paused = "lunch"
        assert isinstance(await h.gate(tool_call("deny me", tool_use_id="t1")), Denied)
        h.governor.paused = None
        encoded = SECRET.encode().hex()
        assert isinstance(await h.gate(tool_call(f"ask {encoded}", tool_use_id="t2")), Denied)
        h.session.ended = True
        assert isinstance(await h.gate(tool_call("ask me", tool_use_id="t3")), Denied)

        rules = [(said.rule_id, said.decision, said.would_be) for said in h.decided()]
        assert rules == [
            ("paused", Decision.DENY, None),
            ("secret-in-arguments", Decision.DENY, None),
            ("session-ended", Decision.DENY, None),
        ]
        assert h.session.counts.let_through == 0


async def test_a_full_disk_and_a_broken_journal_refuse_in_observe_mode() -> None:
    """No body, no record: no action."""
    async with house(FullBodies()) as h:
        await h.observe()
        with pytest.raises(Unavailable):
            await h.gate(tool_call("ask me"))
        assert isinstance(await h.redeem(tool_call("ask me")), Denied)
    async with house() as h:
        await h.observe()
        h.inner.broken = True
        with pytest.raises(JournalBroken):
            await h.gate(tool_call("ask me"))
        assert h.session.counts.let_through == 0


async def test_switched_off_the_very_next_call_is_enforced() -> None:
    """And switched on again it is let through again; each switch is one line."""
    async with house() as h:
        assert await h.observe()
        assert not await h.observe()
        assert isinstance(await h.gate(tool_call("deny 1", tool_use_id="t1")), Allowed)
        assert await h.observe(on=False)
        assert isinstance(await h.gate(tool_call("deny 2", tool_use_id="t2")), Denied)
        await h.observe()
        assert isinstance(await h.gate(tool_call("deny 3", tool_use_id="t3")), Allowed)
        switched = [p for _, p in h.inner.events if isinstance(p, ObserveChanged)]
        assert [(p.on, p.by, p.observed) for p in switched] == [
            (True, OPERATOR, True),
            (False, OPERATOR, None),
            (True, OPERATOR, True),
        ]


async def test_switched_off_what_had_not_begun_is_taken_back() -> None:
    """A ticket that only observe mode granted is gone; one that a rule granted stays."""
    async with house() as h:
        await h.observe()
        lifted, plain = tool_call("ask 1", tool_use_id="t1"), tool_call("touch", tool_use_id="t2")
        begun = tool_call("ask 3", tool_use_id="t3")
        for call in (lifted, plain, begun):
            assert isinstance(await h.gate(call), Allowed)
        assert isinstance(await h.redeem(begun), Allowed)

        await h.observe(on=False)

        assert isinstance(await h.redeem(lifted), Denied)
        assert isinstance(await h.redeem(plain), Allowed)
        assert isinstance(await h.gate(lifted), Denied)
        abandoned = [p for _, p in h.inner.events if p.kind.value == "call.abandoned"]
        assert [p.call_id for p in abandoned if hasattr(p, "call_id")] == [h.decided()[0].call_id]


async def handed(h: House, command: str, name: str) -> CallId:
    """Gate and redeem a call that AGP itself begins."""
    call = tool_call(command, tool_use_id=name)
    ruling = await h.gate(call)
    assert isinstance(ruling, Allowed)
    assert ruling.updated_input_json is not None
    edited = call.model_copy(update={"raw_input": ruling.updated_input_json.encode()})
    assert isinstance(await h.redeem(edited), Allowed)
    return h.session.calls[name].call_id


async def start(h: House, call_id: CallId) -> str:
    return (await h.governor.handed.start(h.session, call_id, profile=PROFILE)).command


async def test_switched_off_what_was_redeemed_and_not_begun_does_not_begin() -> None:
    """Taken back by the switch, or found at the start, also where both meet.

    Attack: an agent waits with what was let through until the operator has switched it off.
    """
    async with house() as h:
        h.session.call_views = True
        plain = await handed(h, "touch", "t0")
        await h.observe()
        begun, taken = await handed(h, "deny 1", "t1"), await handed(h, "deny 2", "t2")
        meets = await handed(h, "ask 3", "t3")
        assert await start(h, begun) == "deny 1", "the control"
        h.inner.hold = anyio.Event()
        async with anyio.create_task_group() as tasks:

            async def meet() -> None:
                with pytest.raises(Unauthorised, match="switched off"):
                    await start(h, meets)

            tasks.start_soon(meet)
            with anyio.fail_after(5):
                while not h.session.calls["t3"].started:
                    await anyio.lowlevel.checkpoint()
            tasks.start_soon(partial(h.observe, on=False))
            with anyio.fail_after(5):
                while h.session.observing():
                    await anyio.lowlevel.checkpoint()
            h.inner.hold.set()
        for on in (False, True):
            await h.observe(on=on)
            with pytest.raises(Unauthorised, match="switched off"):
                await start(h, taken)
        assert await start(h, plain) == "touch", "what a rule granted stays"
        gone = [p.call_id for _, p in h.inner.events if isinstance(p, CallAbandoned)]
        failed = [p.call_id for _, p in h.inner.events if isinstance(p, ExecutionFailed)]
        assert (gone, failed) == ([taken], [meets])


async def test_switched_off_while_the_decision_is_written_nothing_is_granted() -> None:
    """The line says what was decided, the next one that nothing came of it."""
    async with house() as h:
        await h.observe()
        h.inner.hold = anyio.Event()
        ruled: list[Ruling] = []

        async def ask() -> None:
            ruled.append(await h.gate(tool_call("deny me")))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(5):
                while not h.session.calls or next(iter(h.session.calls.values())).verdict is None:
                    await anyio.lowlevel.checkpoint()
            tasks.start_soon(partial(h.observe, on=False))
            with anyio.fail_after(5):
                while h.session.observing():
                    await anyio.lowlevel.checkpoint()
            h.inner.hold.set()
        assert isinstance(ruled[0], Denied)
        assert "call.abandoned" in h.inner.kinds
        assert isinstance(await h.redeem(tool_call("deny me")), Denied)


async def test_a_persons_answer_is_never_lifted() -> None:
    """A question that stands when observing begins goes on standing, and a no is a no."""
    async with house() as h:
        call = tool_call("ask me")
        ruled: list[Ruling] = []

        async def ask() -> None:
            ruled.append(await h.gate(call))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            with anyio.fail_after(5):
                while not h.desk.pending():
                    await anyio.lowlevel.checkpoint()
            await h.observe()
            request = h.desk.pending()[0].request
            await h.desk.answer(
                Answer(
                    approval_id=request.approval_id,
                    binding_digest=request.binding_digest,
                    verdict="deny",
                    approver=OPERATOR,
                    channel="test",
                )
            )
        assert isinstance(ruled[0], Denied)
        assert isinstance(await h.redeem(call), Denied)


async def test_a_switch_that_cannot_be_written_lets_nothing_through() -> None:
    """Looser only after the line is durable; stricter whatever becomes of it."""
    async with house() as h:
        h.inner.broken = True
        with pytest.raises(JournalBroken):
            await h.observe()
        assert not h.session.observing()
    async with house() as h:
        await h.observe()
        h.inner.broken = True
        with pytest.raises(JournalBroken):
            await h.observe(on=False)
        assert not h.session.observing()


async def test_a_session_that_has_ended_is_not_observed() -> None:
    """Nothing is switched on where nothing can be decided any more."""
    async with house() as h:
        h.session.ended = True
        with pytest.raises(Refusal, match="ended"):
            await h.observe()
        assert h.inner.events == []


async def test_only_the_record_says_who_is_observed() -> None:
    """A mark that an event brings with it, and another session's mode, count for nothing."""
    async with house() as h:
        claimed = ControlKilled(session_id=OTHER, by="x", observed=True)
        await h.record.append(claimed, actor="x")
        await h.observe()
        await h.record.append(ControlKilled(session_id=OTHER, by="x"), actor="x")
        await h.record.append(ControlKilled(session_id=SESSION, by="x"), actor="x")
        h.record.forget(SESSION)
        await h.record.append(ControlKilled(session_id=SESSION, by="x"), actor="x")
        marks = [p.observed for _, p in h.inner.events if isinstance(p, ControlKilled)]
        assert marks == [None, None, True, None]


STARTED = SessionStarted(
    session_id=SESSION,
    intendant="scripted",
    intendant_version="1",
    workspace="/w",
    grade=Grade.CONFINED,
    policy_digest=ZERO,
    launch_digest=ZERO,
    egress=(),
    operator_uid=1000,
)


def test_a_restart_finds_the_mode_of_each_session_in_the_journal() -> None:
    """It is that session's own, by its start or its last switch, and ends with it."""
    watched = SessionStarted.model_validate(STARTED.model_dump() | {"observed": True})
    other = SessionStarted.model_validate(STARTED.model_dump() | {"session_id": OTHER})
    on = ObserveChanged(session_id=SESSION, on=True, by=OPERATOR)
    off = ObserveChanged(session_id=SESSION, on=False, by=OPERATOR)
    ended = SessionEnded(
        session_id=SESSION, outcome="finished", calls=0, allowed=0, denied=0, asked=0
    )

    def observing(*payloads: OfSession) -> dict[str, bool]:
        return {k: v.observing for k, v in recover(chain(*payloads)).sessions.items()}

    assert observing(STARTED) == {SESSION: False}
    assert observing(watched, other) == {SESSION: True, OTHER: False}
    assert observing(STARTED, other, on) == {SESSION: True, OTHER: False}
    assert observing(watched, off) == {SESSION: False}
    assert observing(watched, ended, other) == {OTHER: False}


def test_a_target_that_a_rule_denies_opens_no_network_for_a_call_that_is_let_through() -> None:
    """What would be asked about is reached, as after a yes; what is denied stays closed."""
    user = file_of(
        Tier.USER, rule("no", "deny", "{effect: connect, host: evil.example}"), default="require"
    )
    policy = PolicySet.build([shipped_pack(), user])
    effects = tuple(
        Effect(kind=EffectKind.CONNECT, subject=host, port=443)
        for host in ("evil.example", "docs.example")
    )
    verdict = policy.decide(effects, grade=Grade.CONFINED, world=WORLD)
    assert reachable(verdict) == ()
    assert reachable(observed(verdict)) == ("docs.example:443",)
