"""Claude Code's hooks: what they say, and the exact bytes that they must hear.

Everything that is not understood is refused, and every answer that does not fit its event blocks.
The two blocking exits differ: PreToolUse blocks on exit 2; PermissionRequest reads 2 as "no
opinion", so there it is 1 with `onFailure: "block"` (measured).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from agp.contracts.gateway import MAX_REPLY, HookEvent, HookReply, HookRequest
from agp.contracts.intendant import (
    Allowed,
    BatchReported,
    CallProposed,
    Denied,
    GrantAsked,
    HandedOver,
    HookMessage,
    Noted,
    OutcomeReported,
    PromptSubmitted,
    Ruling,
    SessionClosed,
    SessionOpened,
    ToolCall,
)
from agp.contracts.strict_json import Json, Member, canonical_json, parse_json, parse_object
from agp.errors import MessageRefused
from agp.intendants.claude_code.actions import action_of, says
from agp.intendants.claude_code.canonical import canonical_input, read_input
from agp.intendants.claude_code.hand_over import hand_over
from agp.intendants.claude_code.mentions import brings_picture, mentioned_paths, server_prompt
from agp.intendants.claude_code.settings import HARNESS

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.contracts.base import CallId

Payload = dict[str, Member]

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TOOL = re.compile(r"[\x21-\x7e]{1,256}")
_WORD = re.compile(r"[a-z_]{1,64}")
_MODE = re.compile(r"[A-Za-z_]{1,64}")
REASON_LIMIT = 8000
"""Characters of a reason that reach the agent."""


class ClaudeCode:
    """The daemon's half of the adapter; implements `contracts.intendant.Intendant`."""

    name = HARNESS

    def parse(self, request: HookRequest) -> HookMessage:
        """Read one hook call: strict about what AGP relies on, tolerant of further fields.

        Raises:
            MessageRefused: for anything not understood.
        """
        payload = parse_object(request.body)
        if request.harness != self.name:
            raise MessageRefused("a hook names another harness", why=request.harness)
        if _text(payload, "hook_event_name") != request.event.value:
            raise MessageRefused("a hook's payload is of another event than its call")
        return _PARSERS[request.event](payload)

    def format(self, request: HookRequest, ruling: Ruling) -> HookReply:
        """Write the finished answer; a ruling that does not fit the event blocks."""
        if request.event is HookEvent.PRE_TOOL_USE:
            return _decide(ruling)
        if request.event is HookEvent.PERMISSION_REQUEST:
            return _redeem(ruling)
        if request.event is HookEvent.USER_PROMPT_SUBMIT and isinstance(ruling, Denied):
            return _answered(2, {"decision": "block", "reason": _reason(ruling.reason)})
        if isinstance(ruling, Allowed):
            return _block(2, "there is nothing to allow here")
        return HookReply(exit_code=0, stdout=b"{}")

    def canonical_input(self, tool: str, raw_input: bytes, cwd: str) -> bytes:
        """Give the canonical effective input; both hooks' inputs of one call have the same bytes.

        Raises:
            MessageRefused: the input is not one strict JSON object.
        """
        return canonical_input(tool, raw_input, cwd)

    def hand_over(self, call: ToolCall, call_id: CallId) -> HandedOver | None:
        """Hand every shell over to AGP; the other tools run nothing, and stay the harness's."""
        return hand_over(call, call_id)


def _proposed(payload: Payload) -> HookMessage:
    return CallProposed(call=_call(payload), mode=_mode(payload))


def _prompt(payload: Payload) -> HookMessage:
    session, cwd = _session(payload), _cwd(payload)
    prompt = _text(payload, "prompt")
    mentions = [_read(session, cwd, path) for path in mentioned_paths(prompt)]
    if asked := server_prompt(prompt):
        mentions.append(_mention(session, cwd, asked, {"prompt": prompt}))
    return PromptSubmitted(
        harness_session=session,
        cwd=cwd,
        mode=_mode(payload),
        mentions=tuple(mentions),
        picture=brings_picture(prompt),
    )


def _read(session: str, cwd: str, path: str) -> ToolCall:
    return _mention(session, cwd, "Read", {"file_path": path})


def _mention(session: str, cwd: str, tool: str, tool_input: dict[str, Json]) -> ToolCall:
    """Write a mention as the call that it amounts to; it has no id: no call is made of it."""
    return ToolCall(
        harness_session=session,
        tool_use_id="mention",
        agent_id=None,
        cwd=cwd,
        tool=tool,
        raw_input=canonical_json(tool_input),
        action=action_of(tool, tool_input, cwd, None),
    )


def _opened(payload: Payload) -> HookMessage:
    return SessionOpened(
        harness_session=_session(payload),
        source=_shaped(payload, "source", _WORD),
        cwd=_cwd(payload) if "cwd" in payload else None,
    )


def _closed(payload: Payload) -> HookMessage:
    return SessionClosed(
        harness_session=_session(payload), reason=_shaped(payload, "reason", _WORD)
    )


def _call(payload: Payload) -> ToolCall:
    tool, cwd = _shaped(payload, "tool_name", _TOOL), _cwd(payload)
    raw = _member(payload, "tool_input").raw
    tool_input = read_input(raw)
    return ToolCall(
        harness_session=_session(payload),
        tool_use_id=_shaped(payload, "tool_use_id", _ID),
        agent_id=_agent(payload),
        cwd=cwd,
        tool=tool,
        raw_input=raw,
        action=action_of(tool, tool_input, cwd, _server(payload)),
        says=says(tool_input),
    )


def _grant(payload: Payload) -> GrantAsked:
    raw = _member(payload, "tool_input").raw
    read_input(raw)
    return GrantAsked(
        harness_session=_session(payload),
        agent_id=_agent(payload),
        cwd=_cwd(payload),
        tool=_shaped(payload, "tool_name", _TOOL),
        raw_input=raw,
    )


def _finished(payload: Payload) -> OutcomeReported:
    tool, response = _shaped(payload, "tool_name", _TOOL), _member(payload, "tool_response")
    return OutcomeReported(
        harness_session=_session(payload),
        tool_use_id=_shaped(payload, "tool_use_id", _ID),
        tool=tool,
        ok=True,
        output=response.raw,
        duration_ms=_duration(payload),
        background=_only_started(tool, response.value),
    )


def _failed(payload: Payload) -> OutcomeReported:
    return OutcomeReported(
        harness_session=_session(payload),
        tool_use_id=_shaped(payload, "tool_use_id", _ID),
        tool=_shaped(payload, "tool_name", _TOOL),
        ok=False,
        error=_text(payload, "error"),
        duration_ms=_duration(payload),
    )


def _only_started(tool: str, response: Json) -> bool:
    """Tell a launch from an end: the hook of a background call fires when it is launched."""
    if tool == "Monitor":
        return True
    if not isinstance(response, dict):
        return False
    return "backgroundTaskId" in response or response.get("isAsync") is True


def _batch(payload: Payload) -> BatchReported:
    calls = _member(payload, "tool_calls").value
    if not isinstance(calls, list):
        raise _odd("tool_calls")
    names: list[str] = []
    for item in calls:
        name = item.get("tool_use_id") if isinstance(item, dict) else None
        if not isinstance(name, str) or not _ID.fullmatch(name):
            raise _odd("tool_calls")
        names.append(name)
    return BatchReported(harness_session=_session(payload), tool_use_ids=tuple(names))


_PARSERS: dict[HookEvent, Callable[[Payload], HookMessage]] = {
    HookEvent.PRE_TOOL_USE: _proposed,
    HookEvent.PERMISSION_REQUEST: _grant,
    HookEvent.POST_TOOL_USE: _finished,
    HookEvent.POST_TOOL_USE_FAILURE: _failed,
    HookEvent.POST_TOOL_BATCH: _batch,
    HookEvent.SESSION_START: _opened,
    HookEvent.SESSION_END: _closed,
    HookEvent.USER_PROMPT_SUBMIT: _prompt,
}
"""Every event of the contract; a test asserts that none is missing."""


def _member(payload: Payload, field: str) -> Member:
    member = payload.get(field)
    if member is None:
        raise MessageRefused(f"a hook's payload has no {field!r}")
    return member


def _text(payload: Payload, field: str) -> str:
    value = _member(payload, field).value
    if not isinstance(value, str):
        raise _odd(field)
    return value


def _shaped(payload: Payload, field: str, shape: re.Pattern[str]) -> str:
    value = _text(payload, field)
    if not shape.fullmatch(value):
        raise _odd(field)
    return value


def _session(payload: Payload) -> str:
    return _shaped(payload, "session_id", _ID)


def _cwd(payload: Payload) -> str:
    cwd = _text(payload, "cwd")
    if not cwd.startswith("/") or "\0" in cwd:
        raise _odd("cwd")
    return cwd


def _mode(payload: Payload) -> str:
    return _shaped(payload, "permission_mode", _MODE) if "permission_mode" in payload else ""


def _agent(payload: Payload) -> str | None:
    return _shaped(payload, "agent_id", _ID) if "agent_id" in payload else None


def _server(payload: Payload) -> str | None:
    if "mcp_server" not in payload:
        return None
    value = payload["mcp_server"].value
    name = value.get("name") if isinstance(value, dict) else None
    if not isinstance(name, str) or not name:
        raise _odd("mcp_server")
    return name


def _duration(payload: Payload) -> int | None:
    if "duration_ms" not in payload:
        return None
    value = payload["duration_ms"].value
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _odd("duration_ms")
    return value


def _odd(field: str) -> MessageRefused:
    return MessageRefused(f"a hook's {field!r} has an unexpected form")


def _decide(ruling: Ruling) -> HookReply:
    match ruling:
        case Denied():
            return _answer(2, _decision("deny", ruling.reason))
        case Allowed():
            members = _decision("allow", ruling.reason)
            if ruling.additional_context:
                members["additionalContext"] = ruling.additional_context
            if ruling.updated_input_json is None:
                return _answer(2, members)
            return _edited(members, ruling.updated_input_json)
        case Noted():
            return _block(2, "no decision was made")


def _edited(members: dict[str, Json], text: str) -> HookReply:
    try:
        updated = parse_json(text.encode())
    except (MessageRefused, UnicodeEncodeError):
        return _block(2, "the edited input is not JSON")
    if not isinstance(updated, dict):
        return _block(2, "the edited input is not an object")
    return _answer(2, members | {"updatedInput": updated})


def _redeem(ruling: Ruling) -> HookReply:
    match ruling:
        case Denied():
            decision: Json = {"behavior": "deny", "message": _reason(ruling.reason)}
        case Allowed(updated_input_json=None):
            decision = {"behavior": "allow"}
        case Allowed():
            return _block(1, "an edit belongs to PreToolUse")
        case Noted():
            return _block(1, "no decision was made")
    event = HookEvent.PERMISSION_REQUEST.value
    return _answer(1, {"hookEventName": event, "decision": decision})


def _decision(decision: str, reason: str) -> dict[str, Json]:
    return {
        "hookEventName": HookEvent.PRE_TOOL_USE.value,
        "permissionDecision": decision,
        "permissionDecisionReason": _reason(reason),
    }


def _reason(reason: str) -> str:
    """Never empty, never longer than an agent reads, never a lone surrogate."""
    text = reason.encode("utf-8", "replace").decode()[:REASON_LIMIT]
    return text.strip() or "AGP gave no reason"


def _answer(blocking_exit: int, members: dict[str, Json]) -> HookReply:
    return _answered(blocking_exit, {"hookSpecificOutput": members})


def _answered(blocking_exit: int, whole: dict[str, Json]) -> HookReply:
    stdout = canonical_json(whole)
    if len(stdout) > MAX_REPLY:
        return _block(blocking_exit, "the answer is too large")
    return HookReply(exit_code=0, stdout=stdout)


def _block(exit_code: int, why: str) -> HookReply:
    return HookReply(exit_code=exit_code, stderr=json.dumps(f"AGP refused: {why}").encode())
