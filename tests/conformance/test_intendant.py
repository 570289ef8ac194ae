"""The intendant adapter: what is the same for every harness, and identical governance."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agp.contracts.gateway import HookEvent, HookReply, HookRequest
from agp.contracts.intendant import Allowed, CallProposed, Denied, GrantAsked, Intendant, Noted
from agp.contracts.journal import CallDecided
from agp.contracts.policy import UnknownAction
from agp.errors import ConfigurationError, MessageRefused
from agp.governor.tickets import input_digest
from agp.intendants.claude_code.hooks import ClaudeCode
from agp.intendants.scripted import Scripted, parse_script
from tests.conformance.actions import ACTIONS, Neutral, furnish, through_hooks, through_mediate
from tests.conformance.clauses import clause
from tests.conformance.house import HARNESS_SESSION, house
from tests.fakes.views import Stage, stage
from tests.integration.test_codex_spike import SpikeCodex

INTENDANTS: tuple[Intendant, ...] = (ClaudeCode(), Scripted(), SpikeCodex())
HOOKED: tuple[Intendant, ...] = (ClaudeCode(), SpikeCodex())
DECIDING = (HookEvent.PRE_TOOL_USE, HookEvent.PERMISSION_REQUEST)
OF_ALL = pytest.mark.parametrize("intendant", INTENDANTS, ids=lambda made: made.name)
OF_HOOKED = pytest.mark.parametrize("intendant", HOOKED, ids=lambda made: made.name)
REMOVE = {"tool": "shell", "command": "rm build.log"}
BODIES = st.binary(max_size=200) | st.text(max_size=80).map(str.encode)
CALL = {"command": "touch a", "description": "say"}


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        furnish(made.workspace)
        made.give()
        made.places()
        yield made


def request(intendant: Intendant, event: HookEvent, **more: object) -> HookRequest:
    body = {
        "session_id": HARNESS_SESSION,
        "cwd": "/w",
        "hook_event_name": event.value,
        "tool_name": "Bash",
        "tool_input": CALL,
        "tool_use_id": "toolu_1",
    } | more
    return HookRequest(harness=intendant.name, event=event, body=json.dumps(body).encode())


def lets_run(harness: str, event: HookEvent, reply: HookReply) -> bool:
    """Read a reply as its harness does (ADR 0007, ADR 0008): would the call run, or be asked on?

    Whatever does not block counts as letting it run: the veto of the deciding hook fails open.
    """
    if harness == "claude-code" and reply.stdout:
        said = json.loads(reply.stdout)["hookSpecificOutput"]
        behaviour = said.get("decision", {}).get("behavior")
        return "allow" in {said.get("permissionDecision"), behaviour}
    blocking = 1 if harness == "claude-code" and event is HookEvent.PERMISSION_REQUEST else 2
    return reply.exit_code != blocking


@OF_ALL
@clause("C-INTENDANT-01")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    body=st.binary(max_size=200) | st.text(max_size=80).map(str.encode),
    event=st.sampled_from(HookEvent),
)
def test_any_bytes_are_a_message_or_are_refused(
    intendant: Intendant, body: bytes, event: HookEvent
) -> None:
    try:
        intendant.parse(HookRequest(harness=intendant.name, event=event, body=body))
    except MessageRefused:
        return
    raise AssertionError("random bytes were understood")


@OF_ALL
@clause("C-INTENDANT-02")
def test_only_an_explicit_allow_lets_a_call_run(intendant: Intendant) -> None:
    for event in DECIDING:
        asked = request(intendant, event)
        for ruling in (Denied(reason="no"), Denied(reason=""), Noted()):
            assert not lets_run(intendant.name, event, intendant.format(asked, ruling))
        allowing = intendant.format(asked, Allowed(reason="yes"))
        assert lets_run(intendant.name, event, allowing) is (intendant.name != "scripted")


@OF_HOOKED
@clause("C-INTENDANT-03")
def test_both_hooks_of_one_call_have_one_canonical_input(intendant: Intendant) -> None:
    proposed = intendant.parse(request(intendant, HookEvent.PRE_TOOL_USE))
    turned = dict(reversed(CALL.items()))
    asked = intendant.parse(request(intendant, HookEvent.PERMISSION_REQUEST, tool_input=turned))
    assert isinstance(proposed, CallProposed)
    assert isinstance(asked, GrantAsked)
    call = proposed.call
    assert (call.agent_id, call.cwd, call.tool) == (asked.agent_id, asked.cwd, asked.tool)
    keys = [
        input_digest(intendant.canonical_input(said.tool, said.raw_input, said.cwd))
        for said in (call, asked)
    ]
    assert keys[0] == keys[1]


@OF_ALL
@clause("C-INTENDANT-04")
def test_inputs_that_differ_in_any_value_have_different_canonical_inputs(
    intendant: Intendant,
) -> None:
    inputs: list[dict[str, object]] = [{"command": text} for text in ("a", "a ", "b")]
    inputs += [{"command": "a", "x": value} for value in (1, "1", [1], True)]
    canonical = {intendant.canonical_input("Bash", json.dumps(i).encode(), "/w") for i in inputs}
    assert len(canonical) == len(inputs)


@OF_ALL
@clause("C-INTENDANT-05")
@pytest.mark.parametrize("raw", [b'{"a":1,"a":2}', b'{"a":"\\ud800"}', b"{", b"\xff", b'{"a":NaN}'])
def test_an_input_with_two_readings_has_no_canonical_input(
    intendant: Intendant, raw: bytes
) -> None:
    with pytest.raises(MessageRefused):
        intendant.canonical_input("Bash", raw, "/w")


@OF_HOOKED
@clause("C-INTENDANT-06")
def test_the_raw_input_is_what_the_hook_wrote_byte_for_byte(intendant: Intendant) -> None:
    raw = b'{ "command" :\t"echo \\u00e9", "timeout": 1.50e1 }'
    body = request(intendant, HookEvent.PRE_TOOL_USE, tool_input="HERE").body
    body = body.replace(b'"HERE"', raw)
    said = intendant.parse(
        HookRequest(harness=intendant.name, event=HookEvent.PRE_TOOL_USE, body=body)
    )
    assert isinstance(said, CallProposed)
    assert said.call.raw_input == raw


@OF_HOOKED
@clause("C-INTENDANT-07")
def test_a_refusal_tells_its_reason_to_the_agent(intendant: Intendant) -> None:
    for event in DECIDING:
        reply = intendant.format(request(intendant, event), Denied(reason="use make instead"))
        assert b"use make instead" in reply.stdout + reply.stderr


@OF_ALL
@clause("C-INTENDANT-08")
def test_a_payload_of_another_event_than_its_frame_is_refused(intendant: Intendant) -> None:
    for event in HookEvent:
        other = next(one for one in HookEvent if one is not event)
        with pytest.raises(MessageRefused):
            intendant.parse(request(intendant, event, hook_event_name=other.value))


@OF_ALL
@clause("C-INTENDANT-09")
def test_a_tool_that_the_adapter_does_not_know_is_never_quieter_than_unknown(
    intendant: Intendant,
) -> None:
    if intendant.name == "scripted":
        script = b'{"version":1,"calls":[{"tool":"Frobnicate","command":"ls"}]}'
        with pytest.raises(ConfigurationError):
            parse_script(script, where="script", workspace="/w")
        return
    said = intendant.parse(request(intendant, HookEvent.PRE_TOOL_USE, tool_name="Frobnicate"))
    assert isinstance(said, CallProposed)
    assert isinstance(said.call.action, UnknownAction)


@OF_HOOKED
@clause("C-INTENDANT-10")
def test_nothing_is_granted_before_the_harness_opened_its_session(
    intendant: Intendant, scene: Stage
) -> None:
    async def play() -> None:
        async with house(scene, intendant) as made:
            early = await made.propose("Bash", {"command": "cat README.md"})
            assert not lets_run(made.harness, HookEvent.PRE_TOOL_USE, early)
            grant = await made.redeem("Bash", {"command": "cat README.md"})
            assert not lets_run(made.harness, HookEvent.PERMISSION_REQUEST, grant)
            assert "call.decided" not in made.kinds()
            assert "ticket.redeemed" not in made.kinds()

    anyio.run(play)


@OF_HOOKED
@clause("C-INTENDANT-11")
def test_a_grant_is_redeemed_once_and_a_refused_call_never(
    intendant: Intendant, scene: Stage
) -> None:
    granted, refused = {"command": "cat README.md"}, {"command": "touch /opt/agp/agp-bridge"}

    async def play() -> None:
        async with house(scene, intendant) as made:
            await made.open_harness_session()
            await made.propose("Bash", granted, "toolu_1")
            await made.propose("Bash", refused, "toolu_2")
            replies = [await made.redeem("Bash", words) for words in (granted, granted, refused)]
            event = HookEvent.PERMISSION_REQUEST
            run = [lets_run(made.harness, event, reply) for reply in replies]
            assert run == [True, False, False]
            assert made.kinds().count("ticket.redeemed") == 1

    anyio.run(play)


@dataclass(frozen=True)
class Told:
    """How one path told one action: the verdict and the kinds of its journal."""

    verdict: tuple[str, ...]
    effects: tuple[str, ...]
    policy: str
    kinds: tuple[str, ...]


@cache
def told(path: str, name: str) -> Told:
    """Carry one action down one path in a house of its own, and verify the journal it leaves."""
    neutral = next(one for one in ACTIONS if one.name == name)
    intendant = {made.name: made for made in INTENDANTS}[path]
    with stage() as scene:
        furnish(scene.workspace)
        scene.give()
        scene.places()
        return anyio.run(_told, scene, intendant, neutral)


async def _told(scene: Stage, intendant: Intendant, neutral: Neutral) -> Told:
    async with house(scene, intendant) as made:
        carry = through_mediate if intendant.name == "scripted" else through_hooks
        await carry(made, neutral)
        made.verify()
        (decided,) = [said for said in made.payloads() if isinstance(said, CallDecided)]
        effects = tuple(text.replace(str(scene.base), "") for text in decided.effects)
        verdict = (decided.decision.value, decided.rule_id, decided.tier.value, decided.reason)
        return Told(verdict, effects, decided.policy_digest, tuple(made.kinds()))


ONLY_WHERE_THE_HARNESS_EXECUTES = {"ticket.redeemed"}
ONLY_WHERE_AGP_EXECUTES = {"execution.started"}
EACH = pytest.mark.parametrize("neutral", ACTIONS, ids=lambda one: one.name)


def paths(neutral: Neutral) -> tuple[str, ...]:
    return ("claude-code", "scripted", *(("codex",) if neutral.codex else ()))


@EACH
@clause("C-INTENDANT-12")
@pytest.mark.confinement
def test_the_verdict_is_the_same_whoever_asks(neutral: Neutral) -> None:
    stories = [told(path, neutral.name) for path in paths(neutral)]
    assert stories[0].verdict[0] == neutral.decision
    assert len({story.verdict for story in stories}) == 1
    assert len({story.policy for story in stories}) == 1
    if neutral.action is None:  # a tool nobody knows is named in the harness's own words
        assert len({story.effects for story in stories}) == 1


@EACH
@clause("C-INTENDANT-13")
@pytest.mark.confinement
def test_the_journal_tells_the_same_kinds_whoever_executes(neutral: Neutral) -> None:
    apart = ONLY_WHERE_THE_HARNESS_EXECUTES | ONLY_WHERE_AGP_EXECUTES
    stories = {path: told(path, neutral.name).kinds for path in paths(neutral)}
    common = {tuple(kind for kind in kinds if kind not in apart) for kinds in stories.values()}
    assert len(common) == 1, stories
    for path, kinds in stories.items():
        own = ONLY_WHERE_AGP_EXECUTES if path == "scripted" else ONLY_WHERE_THE_HARNESS_EXECUTES
        assert apart & set(kinds) == (own if neutral.runs else set())


@clause("C-INTENDANT-14")
@pytest.mark.confinement
@pytest.mark.parametrize("answer", ["allow", "deny"])
def test_what_agp_executes_itself_changes_the_disk_only_where_it_was_granted(
    scene: Stage, answer: Literal["allow", "deny"]
) -> None:
    asked = replace(next(one for one in ACTIONS if one.script == REMOVE), answer=answer)

    async def play() -> None:
        async with house(scene, Scripted()) as made:
            await through_mediate(made, asked)

    anyio.run(play)
    assert (scene.workspace / "build.log").exists() is (answer == "deny")
