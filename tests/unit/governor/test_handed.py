"""Handed-over calls: one start each, from the daemon's memory, and one end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from agp.contracts.base import CallId, Digest
from agp.contracts.channel import FileHash
from agp.contracts.intendant import Allowed, Denied, GrantAsked, OutcomeReported, SessionOpened
from agp.contracts.policy import Grade
from agp.errors import Unauthorised
from agp.governor.decide import Decider, Timing
from agp.governor.desk import ApprovalDesk
from agp.governor.handed import Ending
from agp.governor.loop import Governor
from agp.governor.session import GovernedSession
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
    digest_of,
    tool_call,
)

PROFILE = Digest("1" * 64)
ENDED = Ending(0, "", 5, Digest("2" * 64), 3)


class Loop:
    """A governor over whole fakes, with one session that has call views."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.record, self.clock, self.surveyor = FakeRecord(), FakeClock(), FakeSurveyor()
        self.desk = ApprovalDesk(self.record, self.clock, FakeAnnouncer())
        decider = Decider(
            self.record,
            self.clock,
            self.desk,
            FakeBodies(),
            self.surveyor,
            lambda _: FakeRules(),
            log_id="0" * 32,
            timing=Timing(60, 1.0),
        )
        self.governor = Governor(
            self.record, self.clock, self.desk, decider, tasks, reattach_grace_s=1.0
        )
        self.session = GovernedSession(
            SESSION, FakeIntendant(), workspace=WORKSPACE, grade=Grade.CONFINED
        )
        self.session.call_views = True

    async def granted(self, command: str = "make", name: str = "toolu_1") -> CallId:
        """Decide one call and redeem its ticket, as the harness's two hooks do."""
        exchange = await self.governor.gate(self.session, tool_call(command, tool_use_id=name))
        assert isinstance(exchange.ruling, Allowed)
        edited = exchange.ruling.updated_input_json
        assert edited is not None
        asked = GrantAsked(
            harness_session="hs-1",
            agent_id=None,
            cwd=WORKSPACE,
            tool="Bash",
            raw_input=edited.encode(),
        )
        assert isinstance(await self.governor.redeem(self.session, asked), Allowed)
        return self.session.calls[name].call_id

    async def start(self, call_id: CallId) -> str:
        begun = await self.governor.handed.start(self.session, call_id, profile=PROFILE)
        return begun.command

    def reported(self, name: str, *, ok: bool, background: bool = False) -> OutcomeReported:
        return OutcomeReported(
            harness_session="hs-1", tool_use_id=name, tool="Bash", ok=ok, background=background
        )


@asynccontextmanager
async def loop() -> AsyncIterator[Loop]:
    async with anyio.create_task_group() as tasks:
        made = Loop(tasks)
        await made.governor.hear(
            made.session, SessionOpened(harness_session="hs-1", source="startup")
        )
        yield made
        tasks.cancel_scope.cancel()


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_redeemed_call_begins_once_with_the_command_that_was_decided() -> None:
    async with loop() as made:
        call_id = await made.granted("make all")
        assert await made.start(call_id) == "make all"
        assert made.record.kinds[-3:] == ["call.decided", "ticket.redeemed", "execution.started"]
        with pytest.raises(Unauthorised):
            await made.start(call_id)
        await made.governor.handed.end(made.session, call_id, ENDED)
        await made.governor.handed.end(made.session, call_id, ENDED)
        with pytest.raises(Unauthorised):
            await made.start(call_id)
        assert made.record.kinds.count("execution.started") == 1
        assert made.record.kinds.count("execution.finished") == 1


async def test_of_two_who_ask_at_once_one_begins() -> None:
    async with loop() as made:
        call_id = await made.granted()
        begun: list[str] = []

        async def one() -> None:
            try:
                begun.append(await made.start(call_id))
            except Unauthorised:
                begun.append("")

        async with anyio.create_task_group() as both:
            both.start_soon(one)
            both.start_soon(one)
        assert sorted(begun) == ["", "make"]
        assert made.record.kinds.count("execution.started") == 1


async def test_the_ticket_is_for_the_input_that_names_the_call_and_for_nothing_else() -> None:
    """Attack: the harness (or code on its hook channel) redeems the model's own input."""
    async with loop() as made:
        await made.governor.gate(made.session, tool_call("make"))
        own = GrantAsked(
            harness_session="hs-1",
            agent_id=None,
            cwd=WORKSPACE,
            tool="Bash",
            raw_input=tool_call("make").raw_input,
        )
        assert isinstance(await made.governor.redeem(made.session, own), Denied)


@pytest.mark.parametrize("name", ["c-0123456789abcdef", "", "toolu_1"])
async def test_a_name_that_is_no_call_of_this_session_begins_nothing(name: str) -> None:
    async with loop() as made:
        await made.granted()
        with pytest.raises(Unauthorised):
            await made.start(CallId(name))
        assert "execution.started" not in made.record.kinds


async def test_a_call_that_is_not_redeemed_or_was_denied_does_not_begin() -> None:
    async with loop() as made:
        await made.governor.gate(made.session, tool_call("make"))
        waiting = made.session.calls["toolu_1"].call_id
        await made.governor.gate(made.session, tool_call("deny it", tool_use_id="toolu_2"))
        denied = made.session.calls["toolu_2"].call_id
        for call_id in (waiting, denied):
            with pytest.raises(Unauthorised):
                await made.start(call_id)
        assert "execution.started" not in made.record.kinds


async def test_what_forbids_it_now_ends_the_call_unbegun() -> None:
    """Paused, ended, uncovered between redemption and start: nothing begins, also not later."""
    async with loop() as made:
        call_id = await made.granted()
        made.governor.paused = "lunch"
        with pytest.raises(Unauthorised, match="lunch"):
            await made.start(call_id)
        made.governor.paused = None
        with pytest.raises(Unauthorised):
            await made.start(call_id)
        second = await made.granted(name="toolu_2")
        made.session.uncovered = lambda: ("/w/.git/hooks",)
        with pytest.raises(Unauthorised, match="no longer covered"):
            await made.start(second)
        assert made.session.ended
        assert "execution.started" not in made.record.kinds
        assert made.record.kinds.count("execution.failed") == 2


async def test_a_file_that_changed_since_its_approval_is_not_run() -> None:
    async with loop() as made:
        call_id = await made.granted()
        call = made.session.by_id(call_id)
        assert call is not None
        call.bound_files = (FileHash(path="/w/run.sh", sha256=digest_of("as approved")),)
        made.surveyor.hashes = (FileHash(path="/w/run.sh", sha256=digest_of("changed")),)
        with pytest.raises(Unauthorised, match="changed"):
            await made.start(call_id)
        assert "execution.started" not in made.record.kinds


async def test_what_the_harness_says_of_a_begun_call_is_not_written_twice() -> None:
    async with loop() as made:
        call_id = await made.granted()
        await made.start(call_id)
        await made.governor.hear(made.session, made.reported("toolu_1", ok=True))
        await made.governor.handed.end(made.session, call_id, ENDED)
        await made.governor.hear(made.session, made.reported("toolu_1", ok=True))
        ends = [k for k in made.record.kinds if k.startswith("execution.")]
        assert ends == ["execution.started", "execution.finished"]
        assert made.session.violations == 0


async def test_a_success_of_a_call_that_never_began_is_a_violation() -> None:
    async with loop() as made:
        await made.granted()
        await made.governor.hear(made.session, made.reported("toolu_1", ok=True))
        assert "coverage.violated" in made.record.kinds
        assert made.session.violations == 1


async def test_a_failure_of_a_call_that_never_began_ends_it() -> None:
    async with loop() as made:
        call_id = await made.granted()
        await made.governor.hear(made.session, made.reported("toolu_1", ok=False))
        assert made.record.kinds[-1] == "execution.failed"
        with pytest.raises(Unauthorised):
            await made.start(call_id)
        assert made.session.violations == 0


async def test_a_launch_in_the_background_is_no_outcome() -> None:
    async with loop() as made:
        call_id = await made.granted()
        await made.governor.hear(made.session, made.reported("toolu_1", ok=True, background=True))
        assert await made.start(call_id) == "make"


async def test_without_call_views_nothing_is_handed_over() -> None:
    async with loop() as made:
        made.session.call_views = False
        exchange = await made.governor.gate(made.session, tool_call("make"))
        assert isinstance(exchange.ruling, Allowed)
        assert exchange.ruling.updated_input_json is None
