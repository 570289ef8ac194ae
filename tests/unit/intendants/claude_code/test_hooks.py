"""The adapter reads what the real binary wrote, refuses the rest, and answers in exact bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.contracts.gateway import MAX_REPLY, HookEvent, HookReply, HookRequest
from agp.contracts.intendant import (
    Allowed,
    BatchReported,
    CallProposed,
    Denied,
    GrantAsked,
    Noted,
    OutcomeReported,
    PromptSubmitted,
    SessionClosed,
    SessionOpened,
)
from agp.contracts.policy import FetchAction, McpAction, ReadAction, ShellAction, WriteAction
from agp.errors import MessageRefused
from agp.intendants.claude_code import hooks
from agp.intendants.claude_code.hooks import ClaudeCode

VECTORS = Path(__file__).parents[3] / "vectors/claude_code"
PRE, GRANT = HookEvent.PRE_TOOL_USE, HookEvent.PERMISSION_REQUEST
SESSION = "00000000-0000-4000-8000-000000000001"


def request(event: HookEvent, body: bytes | dict[str, object]) -> HookRequest:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HookRequest(harness="claude-code", event=event, body=raw)


def sample(name: str) -> HookRequest:
    body = (VECTORS / f"{name}.json").read_bytes()
    return request(HookEvent(name.partition(".")[0]), body)


def base(event: HookEvent = PRE, **changes: object) -> dict[str, object]:
    payload: dict[str, object] = {
        "session_id": "s1",
        "cwd": "/repo",
        "hook_event_name": event.value,
        "tool_name": "Bash",
        "tool_input": {"command": "ls"},
        "tool_use_id": "toolu_1",
    }
    payload |= changes
    return {key: value for key, value in payload.items() if value is not ...}


def test_every_kept_sample_of_the_real_binary_is_understood() -> None:
    names = sorted(path.stem for path in VECTORS.glob("*.json"))
    assert len(names) > 25
    for name in names:
        ClaudeCode().parse(sample(name))


def test_every_event_has_a_parser() -> None:
    assert set(hooks._PARSERS) == set(HookEvent)


ACTIONS = {
    "PreToolUse.Bash": ShellAction(command="echo hi"),
    "PreToolUse.Read": ReadAction(path="/lab/repo/a.txt"),
    "PreToolUse.Edit": WriteAction(path="/lab/repo/a.txt", reads=True),
    "PreToolUse.Write": WriteAction(path="/lab/repo/new.txt"),
    "PreToolUse.WebFetch": FetchAction(url="http://127.0.0.1:9/x"),
    "PreToolUse.mcp__srv__echo": McpAction(server="srv", tool="echo", arguments_json='{"x":"1"}'),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_a_proposed_call_says_what_it_would_do(name: str) -> None:
    said = ClaudeCode().parse(sample(name))
    assert isinstance(said, CallProposed)
    assert said.call.action == ACTIONS[name]
    assert said.call.agent_id is None
    assert said.call.cwd == "/lab/repo"


def test_the_raw_bytes_of_the_input_are_kept_as_the_hook_wrote_them() -> None:
    body = json.dumps(base(tool_input="HERE")).replace('"HERE"', '{ "command" : "l\\u0073" }')
    said = ClaudeCode().parse(request(PRE, body.encode()))
    assert isinstance(said, CallProposed)
    assert said.call.raw_input == b'{ "command" : "l\\u0073" }'
    assert said.call.action == ShellAction(command="ls")


def test_a_sub_agents_call_and_grant_carry_its_id() -> None:
    call = ClaudeCode().parse(sample("PreToolUse.Bash.subagent"))
    grant = ClaudeCode().parse(sample("PermissionRequest.Bash.subagent"))
    assert isinstance(call, CallProposed)
    assert isinstance(grant, GrantAsked)
    assert call.call.agent_id
    assert call.call.agent_id == grant.agent_id


def test_outcomes_tell_an_end_from_a_launch_and_a_failure() -> None:
    adapter = ClaudeCode()
    ended = adapter.parse(sample("PostToolUse.Bash"))
    launched = adapter.parse(sample("PostToolUse.Bash.background"))
    failed = adapter.parse(sample("PostToolUseFailure.Bash"))
    assert isinstance(ended, OutcomeReported)
    assert isinstance(launched, OutcomeReported)
    assert isinstance(failed, OutcomeReported)
    assert (ended.ok, ended.background) == (True, False)
    assert json.loads(ended.output)["stdout"] == "hi"
    assert (launched.ok, launched.background) == (True, True)
    assert (failed.ok, failed.error) == (False, "Exit code 3")


@pytest.mark.parametrize(
    ("tool", "response"),
    [("Monitor", "{}"), ("Agent", '{"isAsync":true}'), ("Bash", '{"backgroundTaskId":"b1"}')],
)
def test_a_launch_is_not_an_end(tool: str, response: str) -> None:
    payload = base(HookEvent.POST_TOOL_USE, tool_name=tool, tool_response=json.loads(response))
    said = ClaudeCode().parse(request(HookEvent.POST_TOOL_USE, payload))
    assert isinstance(said, OutcomeReported)
    assert said.background


def test_the_session_and_the_batch_are_read() -> None:
    adapter = ClaudeCode()
    assert adapter.parse(sample("SessionStart")) == SessionOpened(
        harness_session=SESSION, source="startup", cwd="/lab/repo"
    )
    assert adapter.parse(sample("SessionEnd")) == SessionClosed(
        harness_session=SESSION, reason="other"
    )
    batch = adapter.parse(sample("PostToolBatch"))
    assert isinstance(batch, BatchReported)
    assert len(batch.tool_use_ids) == 1


@dataclass(frozen=True, slots=True)
class Bad:
    claim: str
    body: bytes | dict[str, object]
    event: HookEvent = PRE


TWICE = b'{"session_id":"s1","session_id":"s2","hook_event_name":"PreToolUse"}'
HOSTILE = (
    Bad("no bytes", b""),
    Bad("not JSON", b"{"),
    Bad("not an object", b"[]"),
    Bad("not UTF-8", b'{"a":"\xff"}'),
    Bad("something behind the object", json.dumps(base()).encode() + b"{}"),
    Bad("a key twice", TWICE),
    Bad(
        "a key twice in the input",
        json.dumps(base()).replace('"ls"', '"ls","command":"rm -rf /"').encode(),
    ),
    Bad("a lone surrogate in the command", base(tool_input={"command": "\ud800"})),
    Bad("NaN", json.dumps(base(x=float("nan"))).encode()),
    Bad("nested beyond all measure", b'{"a":' * 3000 + b"1" + b"}" * 3000),
    Bad("another event in the payload", base(GRANT)),
    Bad("no session", base(session_id=...)),
    Bad("an empty session", base(session_id="")),
    Bad("a session with a line feed", base(session_id="s\n1")),
    Bad("no tool_use_id", base(tool_use_id=...)),
    Bad("a tool_use_id that is a number", base(tool_use_id=1)),
    Bad("a tool_use_id with a path", base(tool_use_id="../x")),
    Bad("an endless tool_use_id", base(tool_use_id="t" * 129)),
    Bad("a relative cwd", base(cwd="repo")),
    Bad("a cwd with NUL", base(cwd="/a\0b")),
    Bad("no cwd", base(cwd=...)),
    Bad("a tool with a blank", base(tool_name="Ba sh")),
    Bad("an empty tool", base(tool_name="")),
    Bad("a null agent", base(agent_id=None)),
    Bad("an input that is a list", base(tool_input=["ls"])),
    Bad("no input", base(tool_input=...)),
    Bad("a command that is no text", base(tool_input={"command": ["ls"]})),
    Bad("no command", base(tool_input={})),
    Bad("a command with NUL", base(tool_input={"command": "ls\0"})),
    Bad("a path with NUL", base(tool_name="Read", tool_input={"file_path": "/a\0"})),
    Bad("a server without a name", base(tool_name="mcp__a__b", mcp_server={"source": "x"})),
    Bad("a server that is a text", base(tool_name="mcp__a__b", mcp_server="a")),
    Bad("a grant without an input", base(GRANT, tool_input=...), GRANT),
    Bad("a grant of a list", base(GRANT, tool_input=[]), GRANT),
    Bad(
        "an outcome without a response", base(HookEvent.POST_TOOL_USE), HookEvent.POST_TOOL_USE
    ),
    Bad(
        "a duration that is a truth",
        base(HookEvent.POST_TOOL_USE, tool_response="x", duration_ms=True),
        HookEvent.POST_TOOL_USE,
    ),
    Bad(
        "a batch that is no list",
        base(HookEvent.POST_TOOL_BATCH, tool_calls={}),
        HookEvent.POST_TOOL_BATCH,
    ),
    Bad(
        "a batch with a nameless call",
        base(HookEvent.POST_TOOL_BATCH, tool_calls=[{}]),
        HookEvent.POST_TOOL_BATCH,
    ),
    Bad(
        "a start without a source", base(HookEvent.SESSION_START), HookEvent.SESSION_START
    ),
)  # fmt: skip


@pytest.mark.parametrize("bad", HOSTILE, ids=lambda bad: bad.claim)
def test_what_is_not_understood_is_refused(bad: Bad) -> None:
    with pytest.raises(MessageRefused):
        ClaudeCode().parse(request(bad.event, bad.body))


def test_the_table_of_bad_payloads_starts_from_a_good_one() -> None:
    assert isinstance(ClaudeCode().parse(request(PRE, base(new_field={"x": [1.5]}))), CallProposed)


def test_another_harness_is_refused() -> None:
    body = json.dumps(base()).encode()
    with pytest.raises(MessageRefused):
        ClaudeCode().parse(HookRequest(harness="codex", event=PRE, body=body))


def answer(event: HookEvent, ruling: Allowed | Denied | Noted) -> HookReply:
    return ClaudeCode().format(request(event, b""), ruling)


def test_the_deciding_hook_hears_exactly_these_bytes() -> None:
    allow = b'{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow",'
    deny = allow.replace(b"allow", b"deny")
    assert answer(PRE, Allowed(reason="rule x")) == HookReply(
        exit_code=0, stdout=allow + b'"permissionDecisionReason":"rule x"}}'
    )
    assert answer(PRE, Denied(reason='no "é"')) == HookReply(
        exit_code=0, stdout=deny + '"permissionDecisionReason":"no \\"é\\""}}'.encode()
    )


def test_an_edit_replaces_the_whole_input_and_tells_the_model() -> None:
    ruling = Allowed(reason="r", additional_context="ran x", updated_input_json='{"b":1.50,"a":2}')
    reply = answer(PRE, ruling)
    assert json.loads(reply.stdout)["hookSpecificOutput"] == {
        "hookEventName": "PreToolUse",
        "permissionDecision": "allow",
        "permissionDecisionReason": "r",
        "additionalContext": "ran x",
        "updatedInput": {"a": 2, "b": 1.5},
    }


def test_the_grant_hook_hears_exactly_these_bytes() -> None:
    start = b'{"hookSpecificOutput":{"decision":{"behavior":'
    end = b'"hookEventName":"PermissionRequest"}}'
    assert answer(GRANT, Allowed(reason="r")) == HookReply(
        exit_code=0, stdout=start + b'"allow"},' + end
    )
    assert answer(GRANT, Denied(reason="no ticket")) == HookReply(
        exit_code=0, stdout=start + b'"deny","message":"no ticket"},' + end
    )


DECIDING = {PRE, GRANT, HookEvent.USER_PROMPT_SUBMIT}


@pytest.mark.parametrize("event", [e for e in HookEvent if e not in DECIDING])
@pytest.mark.parametrize("ruling", [Noted(), Denied(reason="x")])
def test_an_observation_hears_an_empty_object(event: HookEvent, ruling: Noted | Denied) -> None:
    assert answer(event, ruling) == HookReply(exit_code=0, stdout=b"{}")


def test_a_prompt_hears_an_empty_object_or_the_reason_that_blocks_it() -> None:
    assert answer(HookEvent.USER_PROMPT_SUBMIT, Noted()) == HookReply(exit_code=0, stdout=b"{}")
    blocked = answer(HookEvent.USER_PROMPT_SUBMIT, Denied(reason="not that file"))
    assert blocked == HookReply(
        exit_code=0, stdout=b'{"decision":"block","reason":"not that file"}'
    )


def test_what_a_prompt_brings_along_is_a_read_a_servers_call_or_a_picture() -> None:
    event = HookEvent.USER_PROMPT_SUBMIT
    prompt = "/mcp__issues__list @/w/a.txt [Image #1]"
    said = ClaudeCode().parse(request(event, base(event, prompt=prompt)))
    assert isinstance(said, PromptSubmitted)
    assert said.picture
    read, asked = said.mentions
    assert read.action == ReadAction(path="/w/a.txt")
    assert isinstance(asked.action, McpAction)
    assert (asked.action.server, asked.action.tool) == ("issues", "list")


MISMATCHES = (
    (HookEvent.USER_PROMPT_SUBMIT, Allowed(reason="r"), 2),
    (PRE, Noted(), 2),
    (PRE, Allowed(reason="r", updated_input_json="[]"), 2),
    (PRE, Allowed(reason="r", updated_input_json="{"), 2),
    (PRE, Allowed(reason="r", updated_input_json='{"a":1,"a":2}'), 2),
    (PRE, Allowed(reason="r", updated_input_json="x" * (MAX_REPLY + 1)), 2),
    (PRE, Allowed(reason="r", updated_input_json=f'{{"a":"{"x" * MAX_REPLY}"}}'), 2),
    (GRANT, Noted(), 1),
    (GRANT, Allowed(reason="r", updated_input_json="{}"), 1),
    (HookEvent.POST_TOOL_USE, Allowed(reason="r"), 2),
    (HookEvent.SESSION_START, Allowed(reason="r"), 2),
)


@pytest.mark.parametrize(("event", "ruling", "code"), MISMATCHES)
def test_a_ruling_that_does_not_fit_blocks(
    event: HookEvent, ruling: Allowed | Noted, code: int
) -> None:
    reply = answer(event, ruling)
    assert reply.exit_code == code
    assert reply.stdout == b""
    assert reply.stderr


@pytest.mark.parametrize("reason", ["", "  ", "x" * 2_000_000, "\ud800", "\n\x1b[2J\x00"])
@pytest.mark.parametrize("event", [PRE, GRANT])
def test_any_reason_leaves_one_whole_json_denial(event: HookEvent, reason: str) -> None:
    ruling = Denied.model_construct(type="denied", reason=reason)
    reply = answer(event, ruling)
    assert reply.exit_code == 0
    assert b"\n" not in reply.stdout
    assert "deny" in json.dumps(json.loads(reply.stdout))
    assert len(reply.stdout) < 20 * hooks.REASON_LIMIT
