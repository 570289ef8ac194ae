"""The channel adapter: the terminal prompt on a real pty, and the actor that weighs its answers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import anyio
import pytest

from agp.contracts.channel import Answer, ApprovalState
from agp.contracts.gateway import HookReply
from agp.contracts.journal import ApprovalClickRejected, ApprovalDenied, ApprovalGranted
from agp.contracts.policy import Tier
from agp.errors import Refusal
from agp.intendants.claude_code.hooks import ClaudeCode
from agp.policy.policyset import PolicySet
from tests.conformance.clauses import clause
from tests.conformance.house import House, house
from tests.fakes.policy_world import file_of, rule
from tests.fakes.requests import request
from tests.fakes.views import Stage, stage
from tests.integration.test_channels_terminal import Operator

COMMAND = {"command": "./build.sh"}
HOSTILE = "\x1b[2J\x1b]0;title\x07\x1b]52;c;AAAA\x07\x9b6n\x1b[6n\r\u202e\u200b\x08"


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage(git=False) as made:
        build = made.workspace / "build.sh"
        build.write_text("#!/bin/sh\necho built\n")
        build.chmod(0o755)
        yield made


@pytest.fixture
def operator() -> Iterator[Operator]:
    person = Operator()
    try:
        person.report("ready")
        yield person
    finally:
        person.close()


def asking(approvers: str = "", quorum: int = 1) -> PolicySet:
    """Ask for everything, of these people."""
    more = f", approvers: [{approvers}], quorum: {quorum}" if approvers else ""
    match = "{effect: [exec, exec_workspace, read, opaque]}"
    own = rule("ask", "require", match, f", reason: Ask.{more}")
    return PolicySet.build([file_of(Tier.DEFAULT, own)])


@dataclass
class Asked:
    """One question on the way, and what its hook heard in the end."""

    made: House
    reply: HookReply | None = None

    async def gate(self) -> None:
        self.reply = await self.made.propose("Bash", COMMAND)

    async def answer(self, verdict: str, approver: str, **change: object) -> None:
        shown = self.made.announcer.shown[0]
        given = {
            "approval_id": shown.approval_id,
            "binding_digest": shown.binding_digest,
            "verdict": verdict,
            "approver": approver,
            "channel": "terminal",
            "reason": "because",
        }
        await self.made.desk.answer(Answer.model_validate(given | change))

    @property
    def allowed(self) -> bool:
        assert self.reply is not None
        said = json.loads(self.reply.stdout)["hookSpecificOutput"]
        return said["permissionDecision"] == "allow"


def play(
    scene: Stage, act: Callable[[Asked], Awaitable[None]], policy: PolicySet | None = None
) -> Asked:
    """Put one question before people, let them act, and hear the hook's answer."""

    async def main() -> Asked:
        async with house(scene, ClaudeCode(), policy or asking()) as made:
            await made.open_harness_session()
            asked = Asked(made)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(asked.gate)
                await made.until_asked()
                await act(asked)
            made.verify()
            return asked

    return anyio.run(main)


@clause("C-CHANNEL-01")
@pytest.mark.parametrize("verdict", ["allow", "deny"])
def test_the_journal_names_channel_and_person(scene: Stage, verdict: str) -> None:
    async def act(asked: Asked) -> None:
        await asked.answer(verdict, "uid:1000")

    asked = play(scene, act)
    kinds = (ApprovalGranted, ApprovalDenied)
    (said,) = [one for one in asked.made.payloads() if isinstance(one, kinds)]
    assert (said.channel, said.approver) == ("terminal", "uid:1000")
    assert asked.allowed is (verdict == "allow")


@clause("C-CHANNEL-02")
def test_a_state_that_is_shown_decides_nothing(operator: Operator) -> None:
    operator.asked(request())
    operator.show(request(state=ApprovalState.GRANTED, answered_by="uid:1000"))
    operator.gone()
    operator.show(request(approval_id="badger-3f9c2e1b"))
    operator.sees("badger-3f9c2e1b")
    drawn = operator.screen.draws
    operator.until(lambda: operator.screen.draws > drawn, "the second drawing")
    operator.type("deny end\r")
    assert operator.report("answer")["id"] == "badger-3f9c2e1b"
    assert not operator.reported("answer")


@clause("C-CHANNEL-03")
def test_an_answer_carries_the_digest_of_what_was_shown(operator: Operator) -> None:
    shown = request(binding_digest="3f9c2e1a" + "7" * 56)
    operator.asked(shown)
    operator.type("otter\r")
    answer = operator.report("answer")
    assert (answer["id"], answer["binding"]) == (shown.approval_id, shown.binding_digest)
    assert answer["verdict"] == "allow"


@clause("C-CHANNEL-04")
def test_enter_alone_is_no_answer(operator: Operator) -> None:
    operator.asked(request())
    operator.type("\r\r\n\r")
    operator.type("deny end\r")
    assert operator.report("answer")["verdict"] == "deny"
    assert not operator.reported("answer")


@clause("C-CHANNEL-05")
@pytest.mark.parametrize(
    "change",
    [{"binding_digest": "0" * 64}, {"approval_id": "nobody-00000000"}],
    ids=lambda c: next(iter(c)),
)
def test_an_answer_about_something_else_does_not_count(
    scene: Stage, change: dict[str, object]
) -> None:
    async def act(asked: Asked) -> None:
        with pytest.raises(Refusal):
            await asked.answer("allow", "uid:1000", **change)
        assert len(asked.made.desk.pending()) == 1
        await asked.answer("deny", "uid:1000")

    asked = play(scene, act)
    assert not asked.allowed
    assert asked.made.kinds().count("approval.click_rejected") == 1


@clause("C-CHANNEL-06")
@pytest.mark.parametrize(("first", "second"), [("allow", "deny"), ("deny", "allow")])
def test_the_first_answer_ends_a_question(scene: Stage, first: str, second: str) -> None:
    async def act(asked: Asked) -> None:
        await asked.answer(first, "uid:1000")
        with pytest.raises(Refusal) as late:
            await asked.answer(second, "uid:1001")
        assert late.value.why

    asked = play(scene, act)
    assert asked.allowed is (first == "allow")
    ends = [k for k in asked.made.kinds() if k in {"approval.granted", "approval.denied"}]
    assert ends == ["approval.granted" if first == "allow" else "approval.denied"]


@clause("C-CHANNEL-07")
def test_who_may_not_answer_changes_nothing_and_is_journaled(scene: Stage) -> None:
    async def act(asked: Asked) -> None:
        for verdict in ("allow", "deny"):
            with pytest.raises(Refusal):
                await asked.answer(verdict, "uid:6666")
        assert asked.made.desk.pending()[0].state is ApprovalState.PENDING
        await asked.answer("allow", "ann")

    asked = play(scene, act, asking("ann"))
    assert asked.allowed
    tried = [one for one in asked.made.payloads() if isinstance(one, ApprovalClickRejected)]
    assert [one.approver for one in tried] == ["uid:6666", "uid:6666"]


@clause("C-CHANNEL-08")
def test_one_person_is_not_two(scene: Stage) -> None:
    async def act(asked: Asked) -> None:
        await asked.answer("allow", "ann")
        with pytest.raises(Refusal):
            await asked.answer("allow", "ann")
        assert asked.made.desk.pending()[0].state is ApprovalState.PENDING
        await asked.answer("allow", "ben")

    asked = play(scene, act, asking("ann, ben, cleo", 2))
    assert asked.allowed
    given = [one for one in asked.made.payloads() if isinstance(one, ApprovalGranted)]
    assert [(one.approver, one.complete) for one in given] == [("ann", False), ("ben", True)]


@clause("C-CHANNEL-09")
def test_a_change_is_shown_after_it_was_journaled(scene: Stage) -> None:
    told: list[tuple[str, str]] = []

    async def act(asked: Asked) -> None:
        shown = asked.made.announcer.shown
        told.append((asked.made.kinds()[-1], shown[-1].state.value))
        await asked.answer("deny", "uid:1000")
        assert "approval.denied" in asked.made.kinds()
        told.append(("approval.denied", shown[-1].state.value))
        assert (shown[-1].answered_by, shown[-1].answer_reason) == ("uid:1000", "because")

    play(scene, act)
    assert told == [("approval.requested", "pending"), ("approval.denied", "denied")]


@clause("C-CHANNEL-10")
def test_a_file_that_changed_after_it_was_shown_is_not_run(scene: Stage) -> None:
    """Attack: the agent swaps the script while the person reads."""

    async def act(asked: Asked) -> None:
        (scene.workspace / "build.sh").write_text("#!/bin/sh\necho swapped\n")
        await asked.answer("allow", "uid:1000")

    asked = play(scene, act)
    assert not asked.allowed
    assert "ticket.issued" not in asked.made.kinds()


@clause("C-CHANNEL-11")
def test_nothing_of_an_agent_reaches_the_terminal_as_a_control(operator: Operator) -> None:
    """The screen fails on every sequence that is not AGP's own."""
    operator.asked(
        request(
            input_json=json.dumps({"command": f"echo {HOSTILE}"}),
            says=HOSTILE,
            tool=f"Bash{HOSTILE}",
            cwd=f"/w/{HOSTILE}",
            agent_id=HOSTILE,
        )
    )
    for control in HOSTILE.replace("\r", "").replace("\x1b", ""):
        if not control.isascii() or ord(control) < 32:
            assert control not in operator.screen.text()
    assert b"title\x07" not in operator.raw
    operator.type("deny end\r")
    assert operator.report("answer")["verdict"] == "deny"
