"""Any bytes give a value or our error; what a hook hears is always one JSON object or a block."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from agp.contracts.gateway import HookEvent, HookRequest
from agp.contracts.intendant import Allowed, CallProposed, Denied, GrantAsked
from agp.errors import ConfigurationError, MessageRefused
from agp.intendants.claude_code.canonical import canonical_input, effective_path
from agp.intendants.claude_code.hooks import ClaudeCode
from agp.intendants.claude_code.stream import ClaudeStream, reconcile
from agp.intendants.scripted import parse_script

if TYPE_CHECKING:
    from agp.contracts.intendant import Ruling

TEXT = st.text(st.characters(exclude_categories=("Cs",)))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
EVENTS = st.sampled_from(list(HookEvent))
FIELDS = st.sampled_from(
    ["session_id", "cwd", "hook_event_name", "tool_name", "tool_input", "tool_use_id", "agent_id",
     "mcp_server", "tool_response", "tool_calls", "error", "source", "reason", "duration_ms",
     "prompt", "permission_mode"]
)  # fmt: skip
GOOD = {
    "session_id": "s",
    "cwd": "/r",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "tool_use_id": "t",
    "tool_response": {},
    "tool_calls": [],
    "error": "e",
    "source": "startup",
    "reason": "other",
    "prompt": "see @a.txt",
    "permission_mode": "default",
}


def read(event: HookEvent, body: bytes) -> None:
    try:
        ClaudeCode().parse(HookRequest(harness="claude-code", event=event, body=body))
    except MessageRefused:
        return


@given(EVENTS, st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(event: HookEvent, body: bytes) -> None:
    read(event, body)


@given(
    EVENTS,
    st.dictionaries(FIELDS, JSON, max_size=4),
    st.sampled_from(["Read", "Agent", "mcp__a__b", "Monitor"]),
)
def test_any_payload_near_a_good_one_is_a_message_or_refused(
    event: HookEvent, changes: dict[str, object], tool: str
) -> None:
    payload = GOOD | {"hook_event_name": event.value, "tool_name": tool} | changes
    read(event, json.dumps(payload).encode())


@given(st.text(), st.booleans())
def test_a_hook_hears_one_json_object_whatever_the_reason(reason: str, deny: bool) -> None:
    kind = Denied if deny else Allowed
    ruling: Ruling = kind.model_construct(reason=reason)
    for event in (HookEvent.PRE_TOOL_USE, HookEvent.PERMISSION_REQUEST):
        request = HookRequest(harness="claude-code", event=event, body=b"")
        reply = ClaudeCode().format(request, ruling)
        assert reply.exit_code == 0
        said = json.loads(reply.stdout)["hookSpecificOutput"]
        verdict = said.get("permissionDecision") or said["decision"]["behavior"]
        assert verdict == ("deny" if deny else "allow")


@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_both_hooks_of_a_call_agree_however_they_spell_it(tool_input: dict[str, object]) -> None:
    plain = {"session_id": "s", "cwd": "/r", "tool_name": "mcp__a__b", "tool_use_id": "t"}
    proposed = json.dumps(plain | {"hook_event_name": "PreToolUse", "tool_input": tool_input})
    turned = dict(reversed(list(tool_input.items())))
    asked = json.dumps(
        plain | {"hook_event_name": "PermissionRequest", "tool_input": turned}, ensure_ascii=False
    )
    first = ClaudeCode().parse(
        HookRequest(harness="claude-code", event=HookEvent.PRE_TOOL_USE, body=proposed.encode())
    )
    second = ClaudeCode().parse(
        HookRequest(harness="claude-code", event=HookEvent.PERMISSION_REQUEST, body=asked.encode())
    )
    assert isinstance(first, CallProposed)
    assert isinstance(second, GrantAsked)
    one = ClaudeCode().canonical_input(first.call.tool, first.call.raw_input, "/r")
    assert one == ClaudeCode().canonical_input(second.tool, second.raw_input, "/r")
    assert one == canonical_input(second.tool, one, "/r")


@given(TEXT.filter(lambda text: "\0" not in text))
def test_an_effective_path_is_absolute_plain_and_final(path: str) -> None:
    effective = effective_path(path, "/r/s")
    assert effective.startswith("/")
    assert not {"", ".", ".."} & set(effective.strip("/").split("/")) or effective == "/"
    assert effective_path(effective.rstrip() or "/", "/q") == (effective.rstrip() or "/")


@given(st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_any_line_of_the_stream_is_items_or_refused(line: bytes) -> None:
    try:
        reconcile(ClaudeStream().read(line))
    except MessageRefused:
        return


@given(
    st.binary(max_size=300) | JSON.map(lambda v: json.dumps({"version": 1, "calls": v}).encode())
)
def test_any_script_is_calls_or_a_configuration_error(data: bytes) -> None:
    try:
        assert parse_script(data, where="f", workspace="/w")
    except ConfigurationError:
        return
