"""The outside half of egress: nothing before the gate, exactly the named targets after it."""

from __future__ import annotations

import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import ByteStream

from agp.errors import JournalBroken
from agp.sandbox import egress as room
from agp.sandbox.connect import Target, open_tunnel_or_plain, parse_target
from agp.sandbox.egress import ConnectProxy, Egress, ModelRelay


class World:
    """One session's egress, with an upstream that answers and a record of what was told."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.gate = anyio.Event()
        self.gate.set()
        self.deadline_s = 5.0
        self.allowed_told: list[str] = []
        self.refused_told: list[tuple[str, str]] = []
        self.dialled = 0
        self.upstream = Target("127.0.0.1", 0)

    async def allowed(self, target: str) -> None:
        assert self.dialled == 0 or target in self.allowed_told, "told before the first dial"
        self.allowed_told.append(target)

    async def refused(self, target: str, reason: str) -> None:
        self.refused_told.append((target, reason))

    def egress(self, *allowed: str) -> Egress:
        targets = frozenset({self.upstream, *map(parse_target, allowed)})
        return Egress(targets, self.gate, self.deadline_s, self.allowed, self.refused)


@asynccontextmanager
async def world(place: Path) -> AsyncIterator[World]:
    made = World(place)

    async def answer(stream: ByteStream) -> None:
        made.dialled += 1
        async with stream:
            async for chunk in stream:
                await stream.send(chunk.upper())

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    made.upstream = Target("127.0.0.1", listener.extra(anyio.abc.SocketAttribute.local_port))
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, answer)
        with anyio.fail_after(20):
            yield made
        tasks.cancel_scope.cancel()


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agp-eg-", dir="/tmp") as made:
        yield Path(made)


async def ask(path: Path, data: bytes, *, end: bool = True) -> bytes:
    async with await anyio.connect_unix(path) as stream:
        await stream.send(data)
        if end:
            await stream.send_eof()
        said = b""
        try:
            async for chunk in stream:
                said += chunk
        except anyio.BrokenResourceError:
            return said
        return said


def play(place: Path, scene: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with world(place) as made:
            await scene(made)

    anyio.run(run)


@asynccontextmanager
async def serving(*servers: ModelRelay | ConnectProxy) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        for server in servers:
            await tasks.start(server.serve)
        yield
        tasks.cancel_scope.cancel()


def test_the_relay_joins_both_directions_and_is_told_once(place: Path) -> None:
    async def scene(made: World) -> None:
        path = place / "model.sock"
        async with serving(ModelRelay(str(path), made.upstream, made.egress())):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert await ask(path, b"x" * 300_000) == b"X" * 300_000
            assert await ask(path, b"again") == b"AGAIN"
        assert made.allowed_told == [str(made.upstream)]

    play(place, scene)


def test_nothing_reaches_the_model_before_the_gate_opens(place: Path) -> None:
    async def scene(made: World) -> None:
        made.gate = anyio.Event()
        path = place / "model.sock"
        relay = ModelRelay(str(path), made.upstream, made.egress())
        async with serving(relay), await anyio.connect_unix(path) as stream:
            await stream.send(b"early")
            with anyio.move_on_after(0.2) as waited:
                await stream.receive()
            assert waited.cancelled_caught
            assert (made.dialled, made.allowed_told) == (0, [])
            made.gate.set()
            assert await stream.receive() == b"EARLY"

    play(place, scene)


def test_at_the_deadline_a_waiting_connection_is_closed(place: Path) -> None:
    async def scene(made: World) -> None:
        made.gate, made.deadline_s = anyio.Event(), 0.1
        path, proxy = place / "model.sock", place / "proxy.sock"
        egress = made.egress()
        async with serving(
            ModelRelay(str(path), made.upstream, egress), ConnectProxy(str(proxy), egress)
        ):
            assert await ask(path, b"x", end=False) == b""
            assert await ask(proxy, f"CONNECT {made.upstream} HTTP/1.1\r\n\r\n".encode()) == b""
        assert made.dialled == 0
        assert [reason for _, reason in made.refused_told] == [
            "the harness has not shown live hooks"
        ] * 2
        assert egress.connections == 0

    play(place, scene)


def test_the_proxy_connects_an_allowed_target_and_keeps_what_followed_the_head(
    place: Path,
) -> None:
    async def scene(made: World) -> None:
        path = place / "proxy.sock"
        async with serving(ConnectProxy(str(path), made.egress())):
            head = f"CONNECT {made.upstream} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
            said = await ask(path, head + b"tail")
            assert said == b"HTTP/1.1 200 Connection established\r\n\r\nTAIL"

    play(place, scene)


def test_a_call_s_proxy_serves_plain_requests_too_for_the_same_targets_only(place: Path) -> None:
    """The target hears the request as its own, and what followed; nobody else is dialled."""

    async def scene(made: World) -> None:
        path = place / "proxy.sock"
        async with serving(ConnectProxy(str(path), made.egress(), open_tunnel_or_plain)):
            head = f"POST http://{made.upstream}/x HTTP/1.1\r\nX-Y: z\r\n\r\n".encode()
            said = await ask(path, head + b"tail")
            own = (
                f"POST /x HTTP/1.1\r\nHost: {made.upstream}\r\nX-Y: z\r\nConnection: close\r\n\r\n"
            )
            assert said == own.upper().encode() + b"TAIL"
            refused = await ask(path, head.replace(b"127.0.0.1", b"127.0.0.2"))
        assert refused.startswith(b"HTTP/1.1 403")
        assert b"AGP: " in refused
        assert (made.dialled, len(made.refused_told)) == (1, 1)

    play(place, scene)


REFUSED = {
    "another host": (b"CONNECT example.org:443 HTTP/1.1\r\n\r\n", b"403"),
    "another port of the same host": (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", b"403"),
    "a public name that leads inside": (b"CONNECT localhost:80 HTTP/1.1\r\n\r\n", b"403"),
    "another method": (b"GET http://127.0.0.1/ HTTP/1.1\r\n\r\n", b"400"),
    "a head without an end": (b"CONNECT " + b"a" * 9000, b"400"),
    "a head that breaks off": (b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n", b"400"),
}


@pytest.mark.parametrize(("sent", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_everything_else_is_refused_with_a_reason_and_nothing_dialled(
    place: Path, sent: bytes, status: bytes
) -> None:
    async def scene(made: World) -> None:
        path = place / "proxy.sock"
        async with serving(ConnectProxy(str(path), made.egress("localhost:80"))):
            said = await ask(path, sent)
        assert said.startswith(b"HTTP/1.1 " + status)
        assert b"AGP: " in said
        assert (made.dialled, made.allowed_told, len(made.refused_told)) == (0, [], 1)

    play(place, scene)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:220:1::1", True),
        *((a, False) for a in ("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1",
          "169.254.169.254", "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "::1", "::",
          "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::",
          "ff02::1", "192.0.2.1", "64:ff9b::7f00:1")),
    ],
)  # fmt: skip
def test_only_public_addresses_may_be_reached_by_name(address: str, public: bool) -> None:
    assert room._is_public(address) is public


def test_a_slow_head_is_given_up(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HEAD_TIMEOUT_S", 0.1)

    async def scene(made: World) -> None:
        path = place / "proxy.sock"
        async with serving(ConnectProxy(str(path), made.egress())):
            said = await ask(path, b"CONNECT ", end=False)
        assert said.startswith(b"HTTP/1.1 400")

    play(place, scene)


def test_connections_of_one_session_are_counted_over_both_sockets(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "MAX_CONNECTIONS", 2)

    async def scene(made: World) -> None:
        model, proxy = place / "model.sock", place / "proxy.sock"
        egress = made.egress()
        async with serving(
            ModelRelay(str(model), made.upstream, egress), ConnectProxy(str(proxy), egress)
        ):
            async with await anyio.connect_unix(model) as one, await anyio.connect_unix(model):
                await one.send(b"x")
                assert await one.receive() == b"X"
                while egress.connections < 2:
                    await anyio.lowlevel.checkpoint()
                assert await ask(proxy, b"") == b""
            while egress.connections:
                await anyio.lowlevel.checkpoint()
            assert await ask(model, b"y") == b"Y"
        assert made.refused_told == [("-", "more than 2 connections at once")]

    play(place, scene)


def test_a_target_that_is_away_is_a_refusal_and_not_an_end(place: Path) -> None:
    async def scene(made: World) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            away = Target("127.0.0.1", closed.getsockname()[1])
        model, proxy = place / "model.sock", place / "proxy.sock"
        egress = made.egress(str(away))
        async with serving(ModelRelay(str(model), away, egress), ConnectProxy(str(proxy), egress)):
            assert await ask(model, b"x") == b""
            said = await ask(proxy, f"CONNECT {away} HTTP/1.1\r\n\r\n".encode())
            assert said.startswith(b"HTTP/1.1 502")
        assert {target for target, _ in made.refused_told} == {str(away)}

    play(place, scene)


def test_a_broken_journal_ends_the_listener_before_anything_is_dialled(place: Path) -> None:
    """Record before effect: what cannot be written is not dialled, and the traffic stops."""

    async def scene(made: World) -> None:
        async def broken(target: str) -> None:
            raise JournalBroken("the disk is gone")

        path = place / "model.sock"
        egress = made.egress()
        egress.on_allowed = broken
        with pytest.RaisesGroup(JournalBroken, flatten_subgroups=True):
            async with serving(ModelRelay(str(path), made.upstream, egress)):
                await ask(path, b"x")
                await anyio.sleep_forever()
        assert made.dialled == 0

    play(place, scene)
