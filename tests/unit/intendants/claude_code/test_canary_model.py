"""The canary's model: one path, one key, one conversation."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import anyio
import pytest

from agp.intendants.claude_code.canary_model import CANARY_KEY, CanaryModel, ModelCall, ToolResult

HEAD = f"POST /v1/messages?beta=true HTTP/1.1\r\nX-Api-Key: {CANARY_KEY}\r\n\r\n".encode()
CALL = ModelCall("toolu_1", "Bash", {"command": "touch a"})
USER = {"role": "user", "content": "x"}


def model() -> CanaryModel:
    return CanaryModel((CALL,), ("a-secret", "another"))


def body(*messages: dict[str, Any], stream: bool = False, tools: bool = True) -> bytes:
    said = {"model": "m", "messages": [USER, *messages], "tools": [{}] if tools else []}
    return json.dumps(said | {"stream": stream}).encode()


def answered(results: list[dict[str, Any]], *, stream: bool = False) -> bytes:
    return body(
        {"role": "assistant", "content": []}, {"role": "user", "content": results}, stream=stream
    )


def whole(reply: bytes) -> Any:
    return json.loads(reply.partition(b"\r\n\r\n")[2])


def test_the_first_turn_asks_for_every_call_and_the_second_for_none() -> None:
    """A request that is sent again is the same turn: nothing is counted."""
    played = model()
    for _ in range(2):
        first = whole(played.answer(HEAD, body()))
        assert first["stop_reason"] == "tool_use"
        assert [block["input"] for block in first["content"]] == [CALL.tool_input]
        assert not played.finished
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "no", "is_error": True}
    assert whole(played.answer(HEAD, answered([result])))["stop_reason"] == "end_turn"
    assert played.finished
    assert played.results == {"toolu_1": ToolResult(is_error=True, text='"no"')}


def test_a_streamed_turn_holds_what_a_whole_one_holds() -> None:
    """The events, put together, are the same call."""
    reply = model().answer(HEAD, body(stream=True))
    events = [
        json.loads(line[6:])
        for line in reply.partition(b"\r\n\r\n")[2].splitlines()
        if line.startswith(b"data: ")
    ]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert json.loads(events[2]["delta"]["partial_json"]) == CALL.tool_input
    assert events[1]["content_block"]["name"] == "Bash"


def test_a_secret_counts_wherever_it_stands() -> None:
    """Also in a request that is no turn, and in one that holds no results."""
    played = model()
    played.answer(HEAD, json.dumps({"model": "a-secret", "messages": [USER]}).encode())
    assert played.leaked == {"a-secret"}
    assert not played.asked


@dataclass(frozen=True)
class Odd:
    """One request that is not taken, and what is remembered of it."""

    name: str
    head: bytes
    body: bytes
    why: str


KEY = f"x-api-key: {CANARY_KEY}".encode()
ODD = (
    Odd("another path", b"POST /v1/models HTTP/1.1\r\n" + KEY, body(), "asked for POST /v1/models"),
    Odd("a longer path", b"POST /v1/messages/count HTTP/1.1\r\n" + KEY, body(), "count"),
    Odd("another method", b"GET /v1/messages HTTP/1.1\r\n" + KEY, b"", "asked for GET"),
    Odd("no key", b"POST /v1/messages HTTP/1.1\r\n", body(), "without the canary's key"),
    Odd("a key of somebody", b"POST /v1/messages HTTP/1.1\r\nx-api-key: k", body(), "without"),
    Odd("no JSON", HEAD, b"{", "not JSON"),
    Odd("nested without end", HEAD, b"[" * 200_000, "not JSON"),
    Odd("not an object", HEAD, b"[]", "no model"),
    Odd("no messages", HEAD, b'{"model": "m"}', "no messages"),
    Odd("nothing at all", b"", b"", "asked for"),
)


@pytest.mark.parametrize("row", ODD, ids=lambda row: row.name)
def test_whatever_else_is_refused_and_remembered(row: Odd) -> None:
    """And nothing is said to it that could be taken for a turn."""
    played = model()
    assert played.answer(row.head, row.body).startswith(b"HTTP/1.1 400 ")
    assert row.why in played.refused[0]
    assert not played.asked


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /v1/messages HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\ncontent-length: 99999999999999\r\n\r\n",
        b"POST /v1/messages HTTP/1.1\r\nx: " + b"x" * 70_000,
    ],
    ids=["a negative length", "too long a body", "a head without end"],
)
def test_a_broken_request_ends_itself_and_not_the_listener(sent: bytes) -> None:
    """The next one is served as if nothing had been."""

    async def talk() -> tuple[bytes, list[str]]:
        played = model()
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(played.serve_loopback)
            async with await anyio.connect_tcp("127.0.0.1", port) as odd:
                await odd.send(sent)
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await odd.receive()
            async with await anyio.connect_tcp("127.0.0.1", port) as good:
                asked = body()
                head = HEAD.replace(b"\r\n\r\n", b"\r\ncontent-length: %d\r\n\r\n" % len(asked))
                await good.send(head + asked)
                said = await good.receive()
            tasks.cancel_scope.cancel()
        return said, played.refused

    said, refused = anyio.run(talk)
    assert said.startswith(b"HTTP/1.1 200 OK")
    assert refused == ["a request that is not whole, or too long"]
