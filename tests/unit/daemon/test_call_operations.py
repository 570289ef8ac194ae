"""What was typed at the harness's screen, as the daemon decides it with the real governor."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from agp.contracts.base import CallId, Digest
from agp.contracts.channel import Answer
from agp.contracts.intendant import Allowed, CallProposed, Denied, SessionOpened, ToolCall
from agp.contracts.policy import Grade
from agp.daemon.call_operations import CallOperations
from agp.errors import AgpError, MessageRefused, OverLimit, RunRefused, Unauthorised
from agp.governor.decide import Decider, Timing
from agp.governor.desk import ApprovalDesk
from agp.governor.loop import Governor
from agp.governor.session import MAX_WAITING, Call, GovernedSession
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
NONCE = "0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Made:
    """The operations over a governor with whole fakes, and one interactive session."""

    def __init__(self, tasks: anyio.abc.TaskGroup) -> None:
        self.record, clock = FakeRecord(), FakeClock()
        self.desk = ApprovalDesk(self.record, clock, FakeAnnouncer())
        decider = Decider(
            self.record, clock, self.desk, FakeBodies(), FakeSurveyor(), lambda _: FakeRules(),
            log_id="0" * 32, timing=Timing(60, 0.1),
        )  # fmt: skip
        self.governor = Governor(
            self.record, clock, self.desk, decider, tasks, reattach_grace_s=0.1
        )
        self.session = GovernedSession(
            SESSION, FakeIntendant(), workspace=WORKSPACE, grade=Grade.CONFINED
        )
        self.session.call_views = self.session.interactive = True
        live: Any = SimpleNamespace(governed=self.session)
        self.operations = CallOperations(self.governor, lambda _: live, lambda *_: None)
        self._nobody: Any = None

    async def type(self, command: str, *, nonce: str = NONCE, cwd: str = WORKSPACE) -> Any:
        args = self._of(nonce) | {"command": command, "cwd": cwd, "profile": "1" * 64}
        return await self.operations.type(args, self._nobody)

    async def withdraw(self, nonce: str = NONCE) -> None:
        await self.operations.withdraw(self._of(nonce), self._nobody)

    def _of(self, nonce: str) -> dict[str, Any]:
        return {"session_id": SESSION, "secret": "0" * 64, "nonce": nonce}

    async def until(self, *, asked: bool) -> None:
        """Wait until a question is open, or none is."""
        with anyio.fail_after(10):
            while bool(self.desk.pending()) is not asked:  # noqa: ASYNC110 - the desk tells nobody
                await anyio.sleep(0.01)


@asynccontextmanager
async def made() -> AsyncIterator[Made]:
    async with anyio.create_task_group() as tasks:
        one = Made(tasks)
        opened = SessionOpened(harness_session="hs-1", source="startup")
        await one.governor.hear(one.session, opened)
        yield one
        tasks.cancel_scope.cancel()


async def test_what_is_allowed_begins_once_in_its_own_words() -> None:
    async with made() as one:
        started = await one.type("make all")
        assert (started["command"], started["cwd"]) == ("make all", WORKSPACE)
        assert one.record.kinds[-2:] == ["call.decided", "execution.started"]
        with pytest.raises(Unauthorised, match="begun before"):
            await one.type("make all")
        with pytest.raises(Unauthorised):
            await one.governor.handed.start(
                one.session, started["call_id"], profile=Digest("1" * 64)
            )
        assert one.record.kinds.count("execution.started") == 1


def _no_hooks(one: Made) -> None:
    one.session.harness_session = None


def _printing(one: Made) -> None:
    one.session.interactive = False


def _paused(one: Made) -> None:
    one.governor.paused = "lunch"


def _uncovered(one: Made) -> None:
    one.session.uncovered = lambda: ("/w/.git/hooks",)


def _ended(one: Made) -> None:
    one.session.ended = True


@pytest.mark.parametrize(
    ("before", "error", "why"),
    [
        (_printing, RunRefused, "own shell runs no commands"),
        (_no_hooks, Unauthorised, "has not opened"),
        (_paused, Unauthorised, "lunch"),
        (_uncovered, Unauthorised, "no longer covered"),
        (_ended, Unauthorised, "ended"),
    ],
)
async def test_where_no_call_may_begin_nothing_that_is_typed_begins(
    before: Callable[[Made], None], error: type[AgpError], why: str
) -> None:
    async with made() as one:
        before(one)
        with pytest.raises(error, match=why):
            await one.type("make")
        assert "execution.started" not in one.record.kinds


@pytest.mark.parametrize(
    ("command", "cwd", "error"),
    [
        ("deny it", WORKSPACE, Unauthorised),
        ("make", "/etc", Unauthorised),
        ("make", f"{WORKSPACE}/../etc", Unauthorised),
        ("", WORKSPACE, MessageRefused),
        ("x" * (1024 * 1024 + 1), WORKSPACE, OverLimit),
    ],
)
async def test_what_is_denied_or_made_elsewhere_or_too_large_does_not_begin(
    command: str, cwd: str, error: type[AgpError]
) -> None:
    async with made() as one:
        with pytest.raises(error):
            await one.type(command, cwd=cwd)
        assert "execution.started" not in one.record.kinds


async def test_a_question_is_put_and_after_its_answer_it_begins() -> None:
    async with made() as one:
        said: list[Any] = []

        async def typing() -> None:
            said.append(await one.type("ask first"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(typing)
            await one.until(asked=True)
            (approval,) = one.desk.pending()
            assert "typed behind !" in approval.request.says
            assert "execution.started" not in one.record.kinds
            await one.desk.answer(
                Answer(
                    approval_id=approval.request.approval_id,
                    binding_digest=approval.request.binding_digest,
                    verdict="allow",
                    approver="uid:0",
                    channel="terminal",
                )
            )
        assert said[0]["command"] == "ask first"
        assert one.record.kinds[-2:] == ["ticket.issued", "execution.started"]


async def test_who_hangs_up_withdraws_the_question_and_nothing_begins() -> None:
    async with made() as one:
        async with anyio.create_task_group() as tasks:

            async def typing() -> None:
                with pytest.raises(RunRefused, match="waits no more"):
                    await one.type("ask first")

            tasks.start_soon(typing)
            await one.until(asked=True)
            await one.withdraw("f" * 16)  # another one's name withdraws nothing
            assert one.desk.pending()
            await one.withdraw()
        await one.until(asked=False)
        await one.withdraw()  # nothing is left to withdraw
        assert "approval.cancelled" in one.record.kinds
        assert "execution.started" not in one.record.kinds


async def test_no_hook_speaks_for_a_typed_call_before_or_after_it() -> None:
    """Attack: code on the hook channel joins the decision, and takes its ticket away with it."""
    async with made() as one:
        await one.type("make")
        known = one.session.calls[f"typed-{NONCE}"].call
        other = tool_call("make", tool_use_id="typed-ffffffffffffffff")
        for claimed in (known, other, _as(other, "mcp-ffffffffffffffff")):
            said = await one.governor.hear(one.session, CallProposed(call=claimed))
            assert isinstance(said.ruling, Denied), claimed
        assert len(one.session.calls) == 1
        control = await one.governor.gate(one.session, tool_call("make"))
        assert isinstance(control.ruling, Allowed)


def _as(call: ToolCall, name: str) -> ToolCall:
    return ToolCall.model_validate(call.model_dump() | {"tool_use_id": name})


async def test_of_many_that_wait_one_more_is_refused() -> None:
    async with made() as one:
        zero = Digest("0" * 64)
        for number in range(MAX_WAITING):
            waits = tool_call("ask", tool_use_id=f"toolu_{number}")
            one.session.admit(Call(CallId(f"c-{number:016x}"), waits, zero, zero))
        with pytest.raises(Unauthorised, match="wait already"):
            await one.type("make")
        assert one.record.kinds == []
