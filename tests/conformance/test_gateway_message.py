"""The gateway message: the frame on a real socket, with the real bridge at the other end."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from agp.contracts.gateway import (
    MAX_BODY,
    ControlOp,
    ControlRequest,
    HookEvent,
    HookReply,
    HookRequest,
)
from agp.errors import JournalBroken
from agp.gateway.ask import AskListener, Exchange, Waiter
from agp.gateway.control import ControlConnection, ControlListener
from agp.gateway.limits import RefusedBecause
from tests.conformance.clauses import clause
from tests.conformance.house import BRIDGE

BODY = b'{"tool_input": {"command":"\\u00e9"},\r\n "broken": \xff}\x00'
REPLY = HookReply(exit_code=7, stdout=b'{"a":1}\xff\x00', stderr=b"why\n")
DEADLINE_S = 20.0


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agp-") as name:
        yield Path(name) / "ask.sock"


@dataclass
class Desk:
    """Answers every hook with one reply, after it was told to."""

    reply: HookReply = REPLY
    failure: Exception | None = None
    held: bool = False
    heard: list[HookRequest] = field(default_factory=list)
    refused: list[RefusedBecause] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.asked, self.go, self.undone = anyio.Event(), anyio.Event(), anyio.Event()

    async def handle(self, request: HookRequest, _: Waiter) -> Exchange:
        self.heard.append(request)
        self.asked.set()
        if self.held:
            await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return Exchange(self.reply, self._undo)

    async def _undo(self) -> None:
        self.undone.set()


@asynccontextmanager
async def listening(path: Path, desk: Desk) -> AsyncIterator[None]:
    listener = AskListener(path, desk.handle, on_refused=desk.refused.append)
    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(listener.serve)
            yield
            tasks.cancel_scope.cancel()


async def say(path: Path, sent: bytes) -> bytes:
    data = b""
    async with await anyio.connect_unix(path) as stream:
        await stream.send(sent)
        async for chunk in stream:
            data += chunk
    return data


def run_bridge(path: Path, event: str = "PreToolUse") -> subprocess.CompletedProcess[bytes]:
    """Start the shipped executable as a harness does."""
    words = [sys.executable, "-I", "-S", str(BRIDGE), "claude-code", event, str(path), "0.2", "10"]
    return subprocess.run(
        words, input=BODY, env={}, capture_output=True, check=False, timeout=DEADLINE_S
    )


async def bridge(path: Path, event: str = "PreToolUse") -> subprocess.CompletedProcess[bytes]:
    return await anyio.to_thread.run_sync(run_bridge, path, event)


def play(act: Callable[[], Awaitable[None]]) -> None:
    anyio.run(act)


def refuses(data: bytes, why: str) -> bool:
    head, _, rest = data.partition(b"\n")
    return (
        head.startswith(b"AGP1 2 0 ") and rest.startswith(b"AGP refused: ") and why.encode() in rest
    )


@clause("C-GATEWAY-01")
def test_what_the_harness_wrote_reaches_the_daemon_untouched(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        async with listening(path, desk):
            await bridge(path)
        expected = HookRequest(harness="claude-code", event=HookEvent.PRE_TOOL_USE, body=BODY)
        assert desk.heard == [expected]

    play(act)


@clause("C-GATEWAY-02")
def test_what_the_daemon_wrote_reaches_the_harness_untouched(path: Path) -> None:
    async def act() -> None:
        async with listening(path, Desk()):
            done = await bridge(path)
        assert (done.returncode, done.stdout, done.stderr) == (7, REPLY.stdout, REPLY.stderr)

    play(act)


@clause("C-GATEWAY-03")
@pytest.mark.parametrize("event", HookEvent)
def test_without_a_daemon_the_bridge_blocks_with_a_reason(path: Path, event: HookEvent) -> None:
    done = run_bridge(path, event.value)
    blocking = 1 if event is HookEvent.PERMISSION_REQUEST else 2
    assert (done.returncode, done.stdout) == (blocking, b"")
    assert done.stderr.strip()


@clause("C-GATEWAY-04")
@pytest.mark.parametrize(
    "reply", [b"", b"AGP1 0 5 0\n{}", b"AGP1 0 2 0\n{}more", b"AGP2 0 2 0\n{}", b"AGP1 00 2 0\n{}"]
)
def test_a_reply_that_is_not_exactly_one_frame_blocks(path: Path, reply: bytes) -> None:
    async def act() -> None:
        async def misbehave(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                await stream.receive()
                await stream.send(reply)

        with anyio.fail_after(DEADLINE_S):
            listener = await anyio.create_unix_listener(path)
            async with listener, anyio.create_task_group() as tasks:
                tasks.start_soon(listener.serve, misbehave)
                done = await bridge(path)
                tasks.cancel_scope.cancel()
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.strip()

    play(act)


@clause("C-GATEWAY-05")
def test_a_connection_carries_one_request(path: Path) -> None:
    async def act() -> None:
        desk = Desk(held=True)
        async with listening(path, desk):
            data = await say(
                path, b"AGP1 claude-code PreToolUse 2\n{}AGP1 claude-code PreToolUse 2\n{}"
            )
        assert refuses(data, "longer than it announces")
        assert desk.heard == []
        assert desk.refused == [RefusedBecause.MALFORMED]

    play(act)


@clause("C-GATEWAY-06")
def test_a_body_above_the_limit_is_refused_before_it_is_read(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        async with listening(path, desk):
            data = await say(path, b"AGP1 claude-code PreToolUse %d\n" % (MAX_BODY + 1))
        assert refuses(data, str(MAX_BODY))
        assert (desk.heard, desk.refused) == ([], [RefusedBecause.TOO_LARGE])

    play(act)


@clause("C-GATEWAY-07")
def test_another_version_is_refused_in_a_sentence_that_names_both(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        async with listening(path, desk):
            data = await say(path, b"AGP2 claude-code PreToolUse 2\n{}")
        assert refuses(data, "AGP1")
        assert refuses(data, "AGP2")
        assert desk.heard == []

    play(act)


@clause("C-GATEWAY-08")
@pytest.mark.parametrize(
    "failure", [JournalBroken("broken"), RuntimeError("inner workings")], ids=str
)
def test_a_handler_that_fails_is_a_refusal_without_its_inner_workings(
    path: Path, failure: Exception
) -> None:
    async def act() -> None:
        async with listening(path, Desk(failure=failure)):
            done = await bridge(path)
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"AGP refused: ")
        assert b"inner workings" not in done.stderr

    play(act)


@clause("C-GATEWAY-09")
def test_an_answer_that_its_peer_did_not_take_is_taken_back(path: Path) -> None:
    async def act() -> None:
        desk = Desk(reply=HookReply(exit_code=0, stdout=b"x" * 1_000_000), held=True)
        async with listening(path, desk):
            stream = await anyio.connect_unix(path)
            await stream.send(b"AGP1 claude-code PreToolUse 2\n{}")
            await desk.asked.wait()
            desk.go.set()
            await stream.receive(10)
            await stream.aclose()
            await desk.undone.wait()

    play(act)


@clause("C-GATEWAY-10")
def test_a_decision_that_waits_says_so_and_says_nothing_else(path: Path) -> None:
    async def act() -> None:
        desk = Desk(held=True)
        async with listening(path, desk), await anyio.connect_unix(path) as stream:
            await stream.send(b"AGP1 claude-code PreToolUse 2\n{}")
            assert await stream.receive() == b"AGP1 wait\n"
            desk.go.set()
            data = b""
            async for chunk in stream:
                data += chunk
        out = REPLY.stdout + REPLY.stderr
        assert data == b"AGP1 7 %d %d\n" % (len(REPLY.stdout), len(REPLY.stderr)) + out

    play(act)


@clause("C-GATEWAY-11")
def test_an_event_outside_the_vocabulary_is_refused(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        async with listening(path, desk):
            data = await say(path, b"AGP1 claude-code PreCompact 2\n{}")
        assert refuses(data, "PreCompact")
        assert desk.heard == []

    play(act)


@dataclass(frozen=True)
class Garbled:
    """A line on the operator's socket that is no request of the contract."""

    name: str
    line: bytes


GARBLED = (
    Garbled("it is no JSON", b"hello\n"),
    Garbled("it names an unknown operation", b'{"v":1,"id":1,"op":"session.own","args":{}}\n'),
    Garbled("it has an unknown member", b'{"v":1,"id":1,"op":"daemon.status","args":{},"x":1}\n'),
    Garbled("it is of another version", b'{"v":2,"id":1,"op":"daemon.status","args":{}}\n'),
    Garbled("it has one member twice", b'{"v":1,"id":1,"id":2,"op":"daemon.status","args":{}}\n'),
)


@asynccontextmanager
async def controlled(path: Path, heard: list[ControlRequest]) -> AsyncIterator[None]:
    async def handle(request: ControlRequest, _: ControlConnection) -> dict[str, object]:
        heard.append(request)
        return {"op": request.op.value}

    with anyio.fail_after(DEADLINE_S):
        async with anyio.create_task_group() as tasks:
            await tasks.start(ControlListener(path, handle).serve)
            yield
            tasks.cancel_scope.cancel()


@clause("C-GATEWAY-12")
@pytest.mark.parametrize("garbled", GARBLED, ids=lambda case: case.name)
def test_a_control_line_that_is_no_request_reaches_no_operation(
    path: Path, garbled: Garbled
) -> None:
    async def act() -> None:
        heard: list[ControlRequest] = []
        async with controlled(path, heard), await anyio.connect_unix(path) as stream:
            await stream.send(garbled.line)
            reply = json.loads(await stream.receive())
        assert heard == []
        assert (reply["v"], reply["ok"]) == (1, False)
        assert reply["failure"]["what"]

    play(act)


@clause("C-GATEWAY-13")
def test_a_control_reply_carries_the_id_of_its_request(path: Path) -> None:
    async def act() -> None:
        heard: list[ControlRequest] = []
        async with controlled(path, heard), await anyio.connect_unix(path) as stream:
            for number in (7, 3):
                request = ControlRequest(id=number, op=ControlOp.DAEMON_STATUS)
                await stream.send(request.model_dump_json().encode() + b"\n")
                reply = json.loads(await stream.receive())
                assert (reply["id"], reply["ok"]) == (number, True)
        assert [request.id for request in heard] == [7, 3]

    play(act)
