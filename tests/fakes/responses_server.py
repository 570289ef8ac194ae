"""A local OpenAI Responses API server: scripted, strict, streaming, loopback or Unix socket only.

A script names conversations by a marker that stands in the first user message which holds one;
each conversation is a sequence of turns, each turn the output items of one response. A request
that the script does not expect, that does not stream, or that does not hand back exactly one output
for every call of the turn before is refused with 400 and stands in `refused`, so that a test that
ends with `server.check()` cannot pass by accident.

Source: the request and event shapes that codex-cli 0.169.0 sends and accepts (ADR 0008).
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

MAX_REQUEST = 32 * 1024 * 1024
"""Bytes of one request body; a real first request is about 60 KiB."""
USAGE = {
    "input_tokens": 100,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 20,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 120,
}


@dataclass(frozen=True)
class FunctionCall:
    """A call of a declared function; arguments as an object, or made from the outputs so far."""

    call_id: str
    name: str
    arguments: Mapping[str, object] | Callable[[Mapping[str, str]], Mapping[str, object]]
    namespace: str | None = None

    def item(self, outputs: Mapping[str, str]) -> dict[str, object]:
        """Spell the output item."""
        arguments = self.arguments(outputs) if callable(self.arguments) else self.arguments
        shape: dict[str, object] = {
            "type": "function_call",
            "id": f"fc_{self.call_id}",
            "call_id": self.call_id,
            "name": self.name,
            "arguments": json.dumps(arguments),
        }
        if self.namespace is not None:
            shape["namespace"] = self.namespace
        return shape


@dataclass(frozen=True)
class CustomCall:
    """A call of a free-form tool such as `apply_patch`."""

    call_id: str
    name: str
    text: str

    def item(self, _: Mapping[str, str]) -> dict[str, object]:
        """Spell the output item."""
        return {
            "type": "custom_tool_call",
            "id": f"ct_{self.call_id}",
            "call_id": self.call_id,
            "name": self.name,
            "input": self.text,
        }


@dataclass(frozen=True)
class Say:
    """Text for the user; a turn that holds nothing else ends the conversation."""

    text: str

    def item(self, _: Mapping[str, str]) -> dict[str, object]:
        """Spell the output item."""
        return {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "content": [{"type": "output_text", "text": self.text}],
        }


Turn = tuple[FunctionCall | CustomCall | Say, ...]
Script = dict[str, tuple[Turn, ...]]


@dataclass
class _Conversation:
    turns: tuple[Turn, ...]
    at: int = 0

    def open_calls(self) -> tuple[str, ...]:
        last = self.turns[self.at - 1] if self.at else ()
        return tuple(one.call_id for one in last if not isinstance(one, Say))


class _RefusedError(Exception):
    """The request is not what the script expects; the text says why."""


@dataclass
class ResponsesServer:
    """Plays a script; `async with` serves it. One event loop, no threads, bounded requests."""

    script: Script
    unix_path: Path | None = None
    """Listen on this Unix socket instead of a free loopback port."""
    port: int = 0
    outputs: dict[str, str] = field(default_factory=dict)
    """What the harness handed back for each call id, as text."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """What the last request declared."""
    refused: list[str] = field(default_factory=list)
    requests: int = 0

    def __post_init__(self) -> None:
        self._conversations = {name: _Conversation(turns) for name, turns in self.script.items()}
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self.unix_path is not None:
            self._server = await asyncio.start_unix_server(self._serve, str(self.unix_path))
            self.unix_path.chmod(0o666)
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    def check(self) -> None:
        """Raise AssertionError unless every turn was played and nothing was refused."""
        if self.refused:
            raise AssertionError(f"refused: {self.refused}")
        for name, conversation in self._conversations.items():
            if conversation.at != len(conversation.turns):
                raise AssertionError(
                    f"{name!r} played {conversation.at} of {len(conversation.turns)} turns"
                )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one_request(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (h.partition(":") for h in head[1:] if h)}
        length = int(headers.get("content-length", "0"))
        try:
            _check_length(length)
            answer = self._answer(head[0], headers, await reader.readexactly(length))
        except _RefusedError as error:
            self.refused.append(str(error))
            body = json.dumps({"error": {"message": str(error), "type": "invalid_request_error"}})
            writer.write(_http(400, "application/json", body.encode()))
            await writer.drain()
            return False
        writer.write(_http(200, "text/event-stream", answer))
        await writer.drain()
        return True

    def _answer(self, line: str, headers: dict[str, str], body: bytes) -> bytes:
        if line != "POST /v1/responses HTTP/1.1":
            raise _RefusedError(f"unexpected request {line!r}")
        if headers.get("content-encoding") or "chunked" in headers.get("transfer-encoding", ""):
            raise _RefusedError("only a plain body with its length is understood")
        try:
            request = json.loads(body)
            items: list[dict[str, Any]] = request["input"]
            streams = request["stream"]
        except (ValueError, KeyError, TypeError) as error:
            raise _RefusedError(f"the body is no Responses request: {error!r}") from error
        if streams is not True:
            raise _RefusedError("the request does not ask for a stream")
        turn = self._next_turn(items)
        self.tools = request.get("tools", [])
        self.requests += 1
        return _events(f"resp_{self.requests}", tuple(one.item(self.outputs) for one in turn))

    def _next_turn(self, items: list[dict[str, Any]]) -> Turn:
        conversation = self._find(items)
        if conversation.at >= len(conversation.turns):
            raise _RefusedError("the script has no further turn")
        handed = Counter(
            item["call_id"] for item in items if str(item.get("type")).endswith("call_output")
        )
        for call_id in conversation.open_calls():
            if handed[call_id] != 1:
                raise _RefusedError(f"{handed[call_id]} outputs for call {call_id!r}, not one")
        self.outputs |= {
            item["call_id"]: _text(item["output"])
            for item in items
            if str(item.get("type")).endswith("call_output")
        }
        conversation.at += 1
        return conversation.turns[conversation.at - 1]

    def _find(self, items: list[dict[str, Any]]) -> _Conversation:
        for item in items:
            if item.get("type") == "message" and item.get("role") == "user":
                for marker, conversation in self._conversations.items():
                    if marker in _text(item.get("content", "")):
                        return conversation
        raise _RefusedError("no user message holds a marker of the script")


def _check_length(length: int) -> None:
    if length > MAX_REQUEST:
        raise _RefusedError("the body is too large")


def _text(value: object) -> str:
    """Join the texts of a string, or of a list of content parts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "".join(str(part.get("text", "")) for part in value if isinstance(part, dict))
    return json.dumps(value)


def _http(status: int, kind: str, body: bytes) -> bytes:
    reason = {200: "OK", 400: "Bad Request"}[status]
    head = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def _events(response_id: str, items: tuple[dict[str, object], ...]) -> bytes:
    """Spell one streamed response: created, each item done, completed with its usage."""
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": {"id": response_id}},
        *(
            {"type": "response.output_item.done", "output_index": index, "item": item}
            for index, item in enumerate(items)
        ),
        {"type": "response.completed", "response": {"id": response_id, "usage": USAGE}},
    ]
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )
