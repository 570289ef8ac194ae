"""Claude Code's event stream (`stream-json`): what it shows, and which calls it says were executed.

The stream is `reported_by: harness`: code beside the harness can forge it, so it proves no
absence. It is compared with the journal in one direction only: what it shows as executed must
have been decided.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from agp.contracts.base import Contract
from agp.contracts.gateway import HookEvent
from agp.contracts.intendant import StreamItem
from agp.errors import MessageRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

Line = dict[str, JsonValue]

_INVALID = "<tool_use_error>"
_TELLING = ("command", "file_path", "url", "query", "pattern", "description", "skill")
"""Members of a tool's input that tell a person what it is about, the best first."""


class ClaudeStream:
    """Reads one line at a time; implements `contracts.intendant.StreamReader`."""

    def read(self, line: bytes) -> tuple[StreamItem, ...]:
        """Parse one line; what is not understood is no item.

        Not the strict reader of hook payloads: the stream repeats what the model wrote, lone
        surrogates included, and a line that it cannot read would end the run.

        Raises:
            MessageRefused: the line is not one JSON object.
        """
        try:
            said = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MessageRefused("a line of the event stream is not JSON") from error
        if not isinstance(said, dict):
            raise MessageRefused("a line of the event stream is not an object")
        match said.get("type"):
            case "system":
                return _system(said)
            case "assistant":
                return tuple(_spoken(said))
            case "user":
                return tuple(_results(said))
            case "result":
                ok = said.get("is_error") is False and said.get("subtype") == "success"
                return (StreamItem(type="result", ok=ok, text=_text(said, "result")),)
            case _:
                return ()


class Executed(NamedTuple):
    """One call that the stream shows as executed."""

    tool_use_id: str
    tool: str
    """Empty where the stream never showed the call itself."""


class Reconciliation(Contract):
    """What the stream says about each call; each tool_use_id stands in exactly one place."""

    executed: tuple[Executed, ...]
    refused: tuple[str, ...]
    unknown: tuple[str, ...]
    """Asked for, and no result seen: the run ended before."""


def reconcile(items: Iterable[StreamItem]) -> Reconciliation:
    """Sort every call of the stream into executed, refused, unknown.

    One result that is not a refusal makes a call executed, whatever else is said about it.
    """
    tools: dict[str, str] = {}
    refused: dict[str, bool] = {}
    for item in items:
        if item.type == "tool_use":
            tools.setdefault(item.tool_use_id, item.tool)
        elif item.type == "tool_result":
            tools.setdefault(item.tool_use_id, item.tool)
            refused[item.tool_use_id] = refused.get(item.tool_use_id, True) and item.refused
    return Reconciliation(
        executed=tuple(Executed(i, t) for i, t in tools.items() if refused.get(i) is False),
        refused=tuple(i for i in tools if refused.get(i) is True),
        unknown=tuple(i for i in tools if i not in refused),
    )


def hooks_alive(items: Iterable[StreamItem]) -> bool:
    """Tell whether the SessionStart hook was started and has answered well, in this order."""
    started = False
    for item in items:
        if item.event != HookEvent.SESSION_START.value:
            continue
        if item.type == "hook_finished" and started and item.ok:
            return True
        started = started or item.type == "hook_started"
    return False


def _system(said: Line) -> tuple[StreamItem, ...]:
    match said.get("subtype"):
        case "hook_started":
            return (StreamItem(type="hook_started", event=_text(said, "hook_event")),)
        case "hook_response":
            ok = said.get("outcome") == "success" and said.get("exit_code") == 0
            return (StreamItem(type="hook_finished", event=_text(said, "hook_event"), ok=ok),)
        case "permission_denied":
            return (
                StreamItem(
                    type="tool_result",
                    tool_use_id=_text(said, "tool_use_id"),
                    tool=_text(said, "tool_name"),
                    refused=True,
                    ok=False,
                    text=_text(said, "message"),
                ),
            )
        case "init":
            return tuple(_failed_servers(said))
        case _:
            return ()


def _failed_servers(said: Line) -> Iterable[StreamItem]:
    """Name the MCP servers that are not there; the session goes on without their tools."""
    servers = said.get("mcp_servers")
    for server in servers if isinstance(servers, list) else ():
        if isinstance(server, dict) and server.get("status") == "failed":
            yield StreamItem(type="server_failed", ok=False, text=_text(server, "name"))


def _spoken(said: Line) -> Iterable[StreamItem]:
    for block in _blocks(said):
        if block.get("type") == "tool_use":
            yield StreamItem(
                type="tool_use",
                tool_use_id=_text(block, "id"),
                tool=_text(block, "name"),
                text=_gist(block.get("input")),
            )
        elif block.get("type") == "text":
            yield StreamItem(type="text", text=_text(block, "text"))


def _gist(tool_input: JsonValue) -> str:
    """Give the one member of an input that says most; for a person's eye, nothing is decided."""
    if not isinstance(tool_input, dict):
        return ""
    return next((_text(tool_input, name) for name in _TELLING if name in tool_input), "")


def _results(said: Line) -> Iterable[StreamItem]:
    facts = {_text(m, "id"): m for m in _objects(said.get("tool_result_meta"))}
    for block in _blocks(said):
        if block.get("type") != "tool_result":
            continue
        name = _text(block, "tool_use_id")
        failed, text = block.get("is_error") is True, _content(block.get("content"))
        yield StreamItem(
            type="tool_result",
            tool_use_id=name,
            refused=_did_not_run(facts.get(name), text, failed=failed),
            ok=not failed,
            text=text,
        )


def _did_not_run(fact: Line | None, text: str, *, failed: bool) -> bool:
    """Believe a refusal only where the harness itself says so.

    Measured: an executed call always carries `permission_decision: accept`; a refused one a
    `non_execution_kind` or a `reject`; one that failed its schema or is of no known tool carries
    nothing but an error in the harness's own tag. A tool's output cannot reach these fields.
    """
    if fact is None:
        return failed and text.startswith(_INVALID)
    decision = fact.get("permission_decision")
    rejected = isinstance(decision, dict) and decision.get("decision") == "reject"
    return rejected or isinstance(fact.get("non_execution_kind"), str)


def _blocks(said: Line) -> list[Line]:
    message = said.get("message")
    return _objects(message.get("content")) if isinstance(message, dict) else []


def _objects(value: JsonValue) -> list[Line]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _content(value: JsonValue) -> str:
    if isinstance(value, str):
        return _clean(value)
    return "".join(_text(block, "text") for block in _objects(value))


def _text(value: Line, field: str) -> str:
    found = value.get(field)
    return _clean(found) if isinstance(found, str) else ""


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
