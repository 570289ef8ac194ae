"""Prompts before they reach a model, the harness's mode, and what is written down of them."""

from __future__ import annotations

import anyio
import pytest

from agp.contracts.intendant import CallProposed, Denied, Noted, PromptSubmitted, SessionOpened
from agp.contracts.journal import HarnessObserved
from agp.contracts.policy import ReadAction
from agp.governor.prompts import MAX_OBSERVED
from tests.fakes.governed import SESSION, WORKSPACE, tool_call
from tests.unit.governor.test_loop import House, house

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def prompt(*paths: str, mode: str = "", cwd: str = WORKSPACE) -> PromptSubmitted:
    reads = tuple(
        tool_call("true").model_copy(
            update={"tool": "Read", "action": ReadAction(path=path), "cwd": cwd}
        )
        for path in paths
    )
    return PromptSubmitted(harness_session="hs-1", cwd=cwd, mode=mode, mentions=reads)


def observed(made: House) -> list[tuple[str, str]]:
    return [(p.what, p.detail) for _, p in made.record.events if isinstance(p, HarnessObserved)]


async def submit(made: House, said: PromptSubmitted):
    return (await made.governor.hear(made.session, said)).ruling


async def test_a_prompt_that_mentions_only_what_may_be_read_passes_and_is_noted() -> None:
    async with house() as made:
        assert await submit(made, prompt("/w/a.txt")) == Noted()
        assert observed(made) == [("file_mention", "/w/a.txt: allow (rule fake-rule)")]


@pytest.mark.parametrize(("path", "word"), [("/w/deny.txt", "denied"), ("/w/ask.txt", "asked")])
async def test_one_denied_or_asked_mention_blocks_the_prompt_and_nobody_is_asked(
    path: str, word: str
) -> None:
    async with house() as made:
        ruling = await submit(made, prompt("/w/a.txt", path, "/w/b.txt"))
        assert isinstance(ruling, Denied)
        assert path in ruling.reason
        assert word in ruling.reason
        assert made.desk.pending() == ()
        assert len(observed(made)) == 3


async def test_a_prompt_with_a_picture_is_blocked_whatever_else_it_says() -> None:
    async with house() as made:
        said = prompt("/w/a.txt").model_copy(update={"picture": True})
        ruling = await submit(made, said)
        assert isinstance(ruling, Denied)
        assert "ask the agent to read it" in ruling.reason
        assert observed(made)[0] == ("file_mention", "a picture, pasted: deny")


async def test_a_prompt_of_another_session_is_blocked() -> None:
    async with house() as made:
        stranger = prompt("/w/a.txt").model_copy(update={"harness_session": "h-2"})
        assert isinstance(await submit(made, stranger), Denied)
        assert observed(made) == []


async def test_a_mention_from_outside_the_workspace_is_blocked() -> None:
    async with house() as made:
        assert isinstance(await submit(made, prompt("/w/a.txt", cwd="/etc")), Denied)


async def test_a_mode_other_than_before_is_written_down_once_and_grants_nothing() -> None:
    async with house() as made:
        for mode in ("default", "default", "plan", "plan", "", "default"):
            await submit(made, prompt(mode=mode))
        assert observed(made) == [
            ("mode_changed", "from default to plan"),
            ("mode_changed", "from plan to default"),
        ]
        proposed = CallProposed(call=tool_call("deny this"), mode="bypassPermissions")
        exchange = await made.governor.hear(made.session, proposed)
        assert isinstance(exchange.ruling, Denied)
        assert observed(made)[-1] == ("mode_changed", "from default to bypassPermissions")


async def test_observations_are_bounded_and_secrets_redacted() -> None:
    async with house() as made:
        made.session.secrets = ("hunter2hunter2",)
        seen = HarnessObserved(
            session_id=SESSION, what="shell_escape", detail="!echo hunter2hunter2",
            reported_by="harness",
        )  # fmt: skip
        for _ in range(MAX_OBSERVED + 5):
            await made.governor.told(made.session, seen)
        assert len(observed(made)) == MAX_OBSERVED
        assert "hunter2" not in str(observed(made))


async def test_only_a_screen_may_begin_its_session_anew() -> None:
    async with house() as made:
        again = SessionOpened(harness_session="h-2", source="clear")
        call = tool_call("true").model_copy(update={"harness_session": "h-2"})
        await made.governor.hear(made.session, again)
        assert isinstance((await made.gate(call)).ruling, Denied)
        made.session.interactive = True
        await made.governor.hear(made.session, again)
        fresh = call.model_copy(update={"tool_use_id": "toolu_fresh"})
        assert (await made.gate(fresh)).ruling.type == "allowed"


async def test_an_interrupted_question_of_a_screen_is_withdrawn_before_the_grace() -> None:
    async with house() as made:
        made.session.interactive = True
        with anyio.CancelScope() as hook:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(made.gate, tool_call("ask me"))
                await made.until_asked()
                hook.cancel()
        with anyio.fail_after(5):
            while made.desk.pending():
                await anyio.lowlevel.checkpoint()
        cancelled = [p for _, p in made.record.events if p.kind.value == "approval.cancelled"]
        assert [p.cause for p in cancelled] == ["interrupted"]
