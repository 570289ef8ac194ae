"""A model endpoint of AGP's own: it asks for the canary's calls once, then it has nothing to say.

One path of the Messages API over a Unix socket or loopback, as an event stream or whole. Whatever
is not `POST /v1/messages` with the canary's key is refused and remembered. It keeps no transcript:
only what became of each call, and which planted secrets came back.

Source: the Messages API's streaming format; measured with Claude Code 2.1.329.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from agp.errors import MessageRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio.abc import ByteStream, TaskStatus
    from pydantic import JsonValue

CANARY_KEY: Final = "sk-ant-agp-canary-is-no-key"
"""The only key that the endpoint takes: a real one that arrives here is a finding."""
MAX_HEAD: Final = 64 * 1024
MAX_BODY: Final = 16 * 1024 * 1024
REQUEST_S: Final = 10.0
LAST_WORDS: Final = "that was all"
_MODEL_PATH: Final = "/v1/messages"
Object = dict[str, "JsonValue"]


class ModelCall(NamedTuple):
    """One tool call that the model asks for."""

    tool_use_id: str
    tool: str
    tool_input: dict[str, str]


class ToolResult(NamedTuple):
    """What the harness told the model about one call."""

    is_error: bool
    text: str


class CanaryModel:
    """Asks for every call in its first turn, and says its last words in the second."""

    def __init__(self, calls: Iterable[ModelCall], secrets: Iterable[str]) -> None:
        self._calls = tuple(calls)
        self._secrets = tuple(secrets)
        self.results: dict[str, ToolResult] = {}
        self.leaked: set[str] = set()
        """The planted secrets that stood anywhere in what the harness sent."""
        self.refused: list[str] = []
        """Why requests were refused, in the order of arrival."""
        self.asked = False
        self.finished = False
        """The last words were asked for, with the results of the calls."""

    async def serve_unix(
        self, path: str, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen at a socket in the ask directory of a view until cancelled."""
        listener = await anyio.create_unix_listener(path, mode=0o666)
        async with listener:
            task_status.started()
            await listener.serve(self._serve)

    async def serve_loopback(
        self, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen on a free port of 127.0.0.1 until cancelled; starts with its number."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - not Django's
            task_status.started(port)
            await listener.serve(self._serve)

    def answer(self, head: bytes, body: bytes) -> bytes:
        """Give the whole HTTP answer to one request."""
        try:
            _check_head(head)
            said = _read_body(body)
        except MessageRefused as error:
            self.refused.append(error.what)
            refusal = {"type": "invalid_request_error", "message": error.what}
            return _http(
                b"400 Bad Request",
                b"application/json",
                json.dumps({"type": "error", "error": refusal}).encode(),
            )
        self.leaked |= {secret for secret in self._secrets if secret.encode() in body}
        blocks, stop = self._turn(said)
        name = said["model"]
        if said.get("stream") is True:
            return _http(b"200 OK", b"text/event-stream", _events(blocks, stop, name))
        whole = {**_message(name), "content": blocks, "stop_reason": stop}
        return _http(b"200 OK", b"application/json", json.dumps(whole).encode())

    def _turn(self, said: Object) -> tuple[list[Object], str]:
        """Choose by what the request already holds: a request that is sent again is no new turn."""
        messages = said["messages"]
        if not said.get("tools") or not isinstance(messages, list):
            return [{"type": "text", "text": "a canary"}], "end_turn"
        spoken = any(isinstance(m, dict) and m.get("role") == "assistant" for m in messages)
        if not spoken:
            self.asked = True
            return [_tool_use(call) for call in self._calls], "tool_use"
        self.results |= {name: result for m in messages for name, result in _results(m)}
        self.finished = True
        return [{"type": "text", "text": LAST_WORDS}], "end_turn"

    async def _serve(self, stream: ByteStream) -> None:
        """Answer one request and close; whoever breaks off is not answered."""
        async with stream:
            buffered = BufferedByteReceiveStream(stream)
            try:
                with anyio.fail_after(REQUEST_S):
                    head = await buffered.receive_until(b"\r\n\r\n", MAX_HEAD)
                    body = await buffered.receive_exactly(_length(head))
                await stream.send(self.answer(head, body))
            except (MessageRefused, anyio.DelimiterNotFound, TimeoutError):
                self.refused.append("a request that is not whole, or too long")
            except (OSError, anyio.IncompleteRead, anyio.EndOfStream, anyio.BrokenResourceError):
                return


def _length(head: bytes) -> int:
    """Read the body's length; none is none.

    Raises:
        MessageRefused: it is no number, or too large.
    """
    text = _headers(head).get("content-length", "0")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MAX_BODY))):
        raise MessageRefused("a request's length is not a number")
    if int(text) > MAX_BODY:
        raise MessageRefused("a request is too long")
    return int(text)


def _headers(head: bytes) -> dict[str, str]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _check_head(head: bytes) -> None:
    method, _, rest = head.decode("latin-1").partition("\r\n")[0].partition(" ")
    path = rest.partition(" ")[0].partition("?")[0]
    if (method, path) != ("POST", _MODEL_PATH):
        raise MessageRefused(f"the harness asked for {method[:16]} {path[:200]}")
    headers = _headers(head)
    if CANARY_KEY not in {
        headers.get("x-api-key"),
        headers.get("authorization", "").removeprefix("Bearer "),
    }:
        raise MessageRefused("the harness came without the canary's key")


def _read_body(body: bytes) -> Object:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MessageRefused("a request's body is not JSON") from error
    if not isinstance(said, dict) or not isinstance(said.get("model"), str):
        raise MessageRefused("a request names no model")
    if not isinstance(said.get("messages"), list):
        raise MessageRefused("a request holds no messages")
    return said


def _results(message: JsonValue) -> Iterable[tuple[str, ToolResult]]:
    content = message.get("content") if isinstance(message, dict) else None
    for block in content if isinstance(content, list) else ():
        if not isinstance(block, dict) or block.get("type") != "tool_result":
            continue
        text = json.dumps(block.get("content", ""), ensure_ascii=False)
        yield str(block.get("tool_use_id")), ToolResult(block.get("is_error") is True, text)


def _tool_use(call: ModelCall) -> Object:
    tool_input: Object = dict(call.tool_input)
    return {"type": "tool_use", "id": call.tool_use_id, "name": call.tool, "input": tool_input}


def _message(model: JsonValue) -> Object:
    usage: Object = {"input_tokens": 1, "output_tokens": 1}
    return {
        "id": "msg_agp_canary",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def _events(blocks: list[Object], stop: str, model: JsonValue) -> bytes:
    """Write one turn as server-sent events: each block whole, in one delta."""
    events: list[Object] = [{"type": "message_start", "message": _message(model)}]
    for index, block in enumerate(blocks):
        tool = block["type"] == "tool_use"
        start: Object = {**block, "input": {}} if tool else {**block, "text": ""}
        delta: Object = (
            {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
            if tool
            else {"type": "text_delta", "text": block["text"]}
        )
        events += [
            {"type": "content_block_start", "index": index, "content_block": start},
            {"type": "content_block_delta", "index": index, "delta": delta},
            {"type": "content_block_stop", "index": index},
        ]
    ended: Object = {"stop_reason": stop, "stop_sequence": None}
    events += [
        {"type": "message_delta", "delta": ended, "usage": {"output_tokens": 1}},
        {"type": "message_stop"},
    ]
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), json.dumps(event).encode())
        for event in events
    )


def _http(status: bytes, kind: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, kind, len(body)) + body
