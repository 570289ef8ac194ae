"""The ask socket over real connections: bounded, cancelled by a hang-up, and fail-closed."""

# ruff: noqa: ASYNC240 - a temporary directory is looked at while nothing else runs

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from agp.contracts.gateway import MAX_BODY, HookEvent, HookReply, HookRequest
from agp.errors import ConfigurationError, JournalBroken, MessageRefused
from agp.gateway.ask import AskHandler, AskListener, Exchange, Waiter
from agp.gateway.frame import WAIT_LINE, format_request, parse_reply
from agp.gateway.limits import AskLimits, RefusedBecause

BRIDGE = Path(__file__).parents[2] / "hooks" / "agp-bridge"
REQUEST = HookRequest(harness="claude-code", event=HookEvent.PRE_TOOL_USE, body=b"{}\xff")
GRANT = HookRequest(harness="claude-code", event=HookEvent.PERMISSION_REQUEST, body=b"{}")
ALLOW = HookReply(exit_code=0, stdout=b'{"allow":1}\xff', stderr=b"")
LIMIT_S = 20


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agp-") as name:
        yield Path(name) / "ask.sock"


class Desk:
    """A handler of ours: it keeps what it was asked, and can be told to wait or to fail."""

    def __init__(self, *, waits: bool = False, raises: Exception | None = None) -> None:
        self.asked: list[HookRequest] = []
        self.waiters: list[Waiter] = []
        self.cancelled: list[bool] = []
        self.taken_back = 0
        self.begun = anyio.Event()
        self.ended = anyio.Event()
        self.answer = anyio.Event()
        self.undone = anyio.Event()
        if not waits:
            self.answer.set()
        self._raises = raises

    async def handle(self, request: HookRequest, waiter: Waiter) -> Exchange:
        self.asked.append(request)
        self.waiters.append(waiter)
        self.begun.set()
        try:
            await self.answer.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.append(waiter.gone)
            self.ended.set()
            raise
        if self._raises is not None:
            raise self._raises
        return Exchange(ALLOW, self.take_back)

    async def take_back(self) -> None:
        self.taken_back += 1
        self.undone.set()


class Refused:
    """Counts what the gateway refused by itself."""

    def __init__(self) -> None:
        self.because: list[RefusedBecause] = []
        self.any = anyio.Event()

    def __call__(self, because: RefusedBecause) -> None:
        self.because.append(because)
        self.any.set()


@asynccontextmanager
async def listening(
    path: Path,
    handler: AskHandler,
    refused: Refused,
    limits: AskLimits | None = None,
    uids: frozenset[int] | None = None,
):
    listener = AskListener(path, handler, on_refused=refused, limits=limits, allowed_uids=uids)
    async with anyio.create_task_group() as group:
        await group.start(partial(listener.serve))
        yield
        group.cancel_scope.cancel()


async def everything(stream: SocketStream) -> bytes:
    data = b""
    try:
        while True:
            data += await stream.receive()
    except anyio.EndOfStream:
        return data


async def ask(path: Path, sent: bytes) -> bytes:
    async with await anyio.connect_unix(path) as stream:
        await stream.send(sent)
        return await everything(stream)


def scenario(act: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(LIMIT_S):
            await act()

    anyio.run(bounded)


def assert_refused(data: bytes, reason: str, code: int = 2) -> None:
    reply = parse_reply(data)
    assert reply.exit_code == code
    assert reply.stdout == b""
    assert reply.stderr.startswith(b"AGP refused: ")
    assert reply.stderr.count(b"\n") == 1
    assert reason in reply.stderr.decode()


def test_a_request_reaches_the_handler_and_its_reply_the_peer(path: Path) -> None:
    """Untouched both ways, with the kernel's word on who asks; nothing is taken back."""

    async def act() -> None:
        desk, refused = Desk(), Refused()
        async with listening(path, desk.handle, refused):
            assert stat.S_IMODE(path.stat().st_mode) == 0o666
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW
        assert desk.asked == [REQUEST]
        peer = desk.waiters[0].peer
        assert (peer.pid, peer.uid, peer.gid) == (os.getpid(), os.geteuid(), os.getegid())
        assert desk.taken_back == 0
        assert refused.because == []
        assert not path.exists()

    scenario(act)


def test_a_body_of_8_mib_is_taken_and_one_byte_more_is_refused(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(), Refused()
        largest = HookRequest(harness="codex", event=HookEvent.PRE_TOOL_USE, body=b"x" * MAX_BODY)
        head = b"AGP1 codex PreToolUse %d\n" % (MAX_BODY + 1)
        async with listening(path, desk.handle, refused):
            assert parse_reply(await ask(path, format_request(largest))) == ALLOW
            assert_refused(await ask(path, head), "at most 8388608")
            assert_refused(await ask(path, head + b"x" * (MAX_BODY + 1)), "at most 8388608")
        assert desk.asked == [largest]
        assert refused.because == [RefusedBecause.TOO_LARGE] * 2

    scenario(act)


@dataclass(frozen=True)
class Garbage:
    """Bytes that are no request, and how they are refused."""

    name: str
    sent: bytes
    reason: str
    code: int = 2


GARBAGE = (
    Garbage("bare JSON", b'{"tool":"Bash"}\n', "not that of an AGP1 frame"),
    Garbage("bytes", b"\x00\xff\n", "not that of an AGP1 frame"),
    Garbage("a line without an end", b"A" * 500, "too long"),
    Garbage("another version", b"AGP2 codex PreToolUse 1\nx", "speaks AGP1, the peer speaks AGP2"),
    Garbage(
        "another version of the grant hook",
        b"AGP2 claude-code PermissionRequest 1\nx",
        "speaks AGP1, the peer speaks AGP2",
        1,
    ),
    Garbage("an unknown event", b"AGP1 codex Stop 1\nx", "'Stop' is not one"),
    Garbage("a word for a length", b"AGP1 codex PreToolUse many\n", "not that of an AGP1 frame"),
    Garbage("a negative length", b"AGP1 codex PreToolUse -1\n", "not that of an AGP1 frame"),
    Garbage("more than announced", b"AGP1 codex PreToolUse 1\nxyz", "longer than it announces"),
)


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: garbage.name)
def test_what_is_no_request_is_refused_and_counted(path: Path, garbage: Garbage) -> None:
    async def act() -> None:
        desk, refused = Desk(), Refused()
        async with listening(path, desk.handle, refused):
            assert_refused(await ask(path, garbage.sent), garbage.reason, garbage.code)
        assert desk.asked == []
        assert refused.because == [RefusedBecause.MALFORMED]

    scenario(act)


def test_a_request_that_trickles_in_is_refused_in_time(path: Path) -> None:
    """Slowloris: head or body, the clock runs for the whole request."""

    async def act() -> None:
        desk, refused = Desk(), Refused()
        async with listening(path, desk.handle, refused, AskLimits(request_s=0.1)):
            assert_refused(await ask(path, b"AGP1 codex "), "did not arrive in time")
            assert_refused(await ask(path, b"AGP1 codex PreToolUse 9\nx"), "in time")
            assert_refused(
                await ask(path, b"AGP1 claude-code PermissionRequest 9\n"), "in time", code=1
            )
        assert desk.asked == []
        assert refused.because == [RefusedBecause.TOO_SLOW] * 3

    scenario(act)


def test_one_connection_too_many_is_refused_at_once(path: Path) -> None:
    """The ones that wait are not disturbed, and their place is free again afterwards."""

    async def act() -> None:
        desk, refused = Desk(waits=True), Refused()
        async with (
            listening(path, desk.handle, refused, AskLimits(connections=1)),
            await anyio.connect_unix(path) as first,
        ):
            await first.send(format_request(REQUEST))
            await desk.begun.wait()
            assert_refused(await ask(path, format_request(REQUEST)), "too many calls")
            assert_refused(await ask(path, format_request(GRANT)), "too many calls", code=1)
            desk.answer.set()
            assert parse_reply(await everything(first)) == ALLOW
            await first.aclose()
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW
        assert refused.because == [RefusedBecause.TOO_MANY] * 2

    scenario(act)


def test_beyond_the_refusals_at_once_a_connection_is_closed_without_a_word(path: Path) -> None:
    """So that a flood of peers who do not read their refusals costs nothing either."""

    async def act() -> None:
        desk, refused = Desk(waits=True), Refused()
        limits = AskLimits(connections=1, refusals=0)
        async with (
            listening(path, desk.handle, refused, limits),
            await anyio.connect_unix(path) as first,
        ):
            await first.send(format_request(REQUEST))
            await desk.begun.wait()
            async with await anyio.connect_unix(path) as second:
                assert await everything(second) == b""
        assert refused.because == [RefusedBecause.TOO_MANY]

    scenario(act)


def test_the_bodies_of_a_session_share_one_bound(path: Path) -> None:
    """An announced body counts before a byte of it was sent, and is given back at the end."""

    async def act() -> None:
        desk, refused = Desk(), Refused()
        announced = b"AGP1 codex PreToolUse %d\n" % MAX_BODY
        async with listening(path, desk.handle, refused, AskLimits(body_bytes=MAX_BODY)):
            async with await anyio.connect_unix(path) as first:
                await first.send(announced + b"x")
                await anyio.wait_all_tasks_blocked()
                assert_refused(await ask(path, format_request(REQUEST)), "too much data")
            await refused_count(refused, 2)
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW
        assert refused.because == [RefusedBecause.TOO_LARGE, RefusedBecause.MALFORMED]

    scenario(act)


async def refused_count(refused: Refused, count: int) -> None:
    while len(refused.because) < count:
        refused.any = anyio.Event()
        await refused.any.wait()


def test_more_than_the_rate_is_refused(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(), Refused()
        async with listening(path, desk.handle, refused, AskLimits(rate_per_s=0.001, burst=2)):
            for _ in range(2):
                assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW
            assert_refused(await ask(path, format_request(REQUEST)), "asks too often")
            assert_refused(await ask(path, format_request(GRANT)), "asks too often", code=1)
        assert refused.because == [RefusedBecause.OVER_RATE] * 2
        assert len(desk.asked) == 2

    scenario(act)


def test_another_user_is_refused(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(), Refused()
        others = frozenset({os.geteuid() + 1})
        async with listening(path, desk.handle, refused, uids=others):
            assert_refused(await ask(path, format_request(REQUEST)), "this user may not ask")
        assert desk.asked == []
        assert refused.because == [RefusedBecause.WRONG_UID]

    scenario(act)


def test_wait_lines_come_while_the_handler_waits(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(waits=True), Refused()
        limits = AskLimits(first_wait_s=0.01, wait_every_s=0.01)
        async with (
            listening(path, desk.handle, refused, limits),
            await anyio.connect_unix(path) as stream,
        ):
            await stream.send(format_request(REQUEST))
            data = b""
            while len(data) < 3 * len(WAIT_LINE):
                data += await stream.receive()
            desk.answer.set()
            data += await everything(stream)
            assert data.startswith(WAIT_LINE * 3)
            assert parse_reply(data) == ALLOW

    scenario(act)


def test_a_peer_that_hangs_up_cancels_its_handler(path: Path) -> None:
    """This is how an interruption is learned; the handler can tell it from a stopping daemon."""

    async def act() -> None:
        desk, refused = Desk(waits=True), Refused()
        async with listening(path, desk.handle, refused):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(format_request(REQUEST))
                await desk.begun.wait()
            await desk.ended.wait()
        assert desk.cancelled == [True]
        assert desk.taken_back == 0

    scenario(act)


def test_a_stopping_listener_cancels_its_handler_with_the_peer_still_there(path: Path) -> None:
    """The bridge sees a break, not a reply, and asks the next daemon."""

    async def act() -> None:
        desk, refused = Desk(waits=True), Refused()
        async with listening(path, desk.handle, refused):
            stream = await anyio.connect_unix(path)
            await stream.send(format_request(REQUEST))
            await desk.begun.wait()
        async with stream:
            assert await everything(stream) == b""
        assert desk.cancelled == [False]

    scenario(act)


@pytest.mark.parametrize("half_close", [False, True])
def test_a_peer_that_goes_on_before_its_answer_is_refused(path: Path, half_close: bool) -> None:
    """More bytes, or a half-close, are no part of the frame; the handler is cancelled."""

    async def act() -> None:
        desk, refused = Desk(waits=True), Refused()
        async with (
            listening(path, desk.handle, refused),
            await anyio.connect_unix(path) as stream,
        ):
            await stream.send(format_request(REQUEST))
            await desk.begun.wait()
            if half_close:
                await stream.send_eof()
            else:
                await stream.send(b"x")
            assert_refused(await everything(stream), "before it was answered")
        assert desk.cancelled == [True]

    scenario(act)


@pytest.mark.parametrize("size", [10, 1024 * 1024], ids=["small", "larger than the socket"])
def test_a_reply_that_was_not_read_is_taken_back(path: Path, size: int) -> None:
    """The peer dies between the handler's return and its reading: the ticket must not stay."""

    async def act() -> None:
        undone = anyio.Event()
        stream: SocketStream

        async def take_back() -> None:
            undone.set()

        async def handle(request: HookRequest, waiter: Waiter) -> Exchange:
            return Exchange(HookReply(exit_code=0, stdout=b"x" * size), take_back)

        async with listening(path, handle, Refused()):
            stream = await anyio.connect_unix(path)
            await stream.send(format_request(REQUEST))
            assert await stream.receive(1) == b"A"
            await stream.aclose()
            await undone.wait()

    scenario(act)


def test_a_reply_that_the_peer_does_not_take_in_time_is_taken_back(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(), Refused()
        async with (
            listening(path, desk.handle, refused, AskLimits(reply_s=0.1)),
            await anyio.connect_unix(path) as stream,
        ):
            await stream.send(format_request(REQUEST))
            await desk.undone.wait()
        assert desk.taken_back == 1

    scenario(act)


def test_a_handler_that_ends_while_its_peer_hangs_up_is_taken_back(path: Path) -> None:
    """The answer exists, nobody hears it: shielded work of the handler may finish too late."""

    async def act() -> None:
        begun, go_on, undone = anyio.Event(), anyio.Event(), anyio.Event()

        async def take_back() -> None:
            undone.set()

        async def handle(request: HookRequest, waiter: Waiter) -> Exchange:
            with anyio.CancelScope(shield=True):
                begun.set()
                await go_on.wait()
            return Exchange(ALLOW, take_back)

        async with listening(path, handle, Refused()):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(format_request(REQUEST))
                await begun.wait()
            await anyio.wait_all_tasks_blocked()
            go_on.set()
            await undone.wait()

    scenario(act)


def test_a_handler_that_fails_is_a_refusal_without_its_words(path: Path) -> None:
    """An exception's text may hold what the agent must not read; the log has it."""

    async def act() -> None:
        refused = Refused()
        for error in (ValueError("/home/op/.agp/keys"), JournalBroken("the disk is full")):
            desk = Desk(raises=error)
            async with listening(path, desk.handle, refused):
                data = await ask(path, format_request(REQUEST))
                assert_refused(data, "AGP failed while it decided")
                assert str(error).encode() not in data
                assert_refused(await ask(path, format_request(GRANT)), "AGP failed", code=1)
        assert refused.because == [RefusedBecause.FAILED] * 4

    scenario(act)


def test_a_handlers_refusal_is_told_to_the_peer_on_one_visible_line(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(raises=MessageRefused("bad\x1b[2J\ninput", where="/secret")), Refused()
        async with listening(path, desk.handle, refused):
            data = await ask(path, format_request(REQUEST))
        assert_refused(data, "bad\\e[2J\\ninput")
        assert b"/secret" not in data
        assert refused.because == [RefusedBecause.REFUSED]

    scenario(act)


def test_an_undo_that_fails_does_not_end_the_listener(path: Path) -> None:
    async def act() -> None:
        failed = anyio.Event()

        async def take_back() -> None:
            failed.set()
            raise ValueError("broken")

        async def handle(request: HookRequest, waiter: Waiter) -> Exchange:
            return Exchange(ALLOW, take_back)

        async with listening(path, handle, Refused()):
            stream = await anyio.connect_unix(path)
            await stream.send(format_request(REQUEST))
            assert await stream.receive(1) == b"A"
            await stream.aclose()
            await failed.wait()
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW

    scenario(act)


def test_a_peer_that_says_nothing_and_leaves_is_no_event(path: Path) -> None:
    async def act() -> None:
        desk, refused = Desk(), Refused()
        async with listening(path, desk.handle, refused):
            await (await anyio.connect_unix(path)).aclose()
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW
        assert refused.because == []

    scenario(act)


@pytest.mark.parametrize("python", ["/usr/bin/python3"])
def test_the_real_bridge_and_the_real_listener_understand_each_other(
    path: Path, python: str
) -> None:
    """An allow, a refusal of the gateway, and a wait across a restart of the listener."""

    async def bridge(event: str = "PreToolUse", body: bytes = REQUEST.body) -> tuple[int, bytes]:
        argv = [python, "-I", "-S", str(BRIDGE), "claude-code", event, str(path), "5", "10"]
        done = await anyio.run_process(argv, input=body, check=False)
        return done.returncode, done.stdout

    async def act() -> None:
        waiting, second, refused = Desk(waits=True), Desk(), Refused()
        quick = AskLimits(first_wait_s=0.01)
        results: list[tuple[int, bytes]] = []

        async def ask_across() -> None:
            results.append(await bridge())

        async with anyio.create_task_group() as group:
            async with listening(path, waiting.handle, refused, quick):
                group.start_soon(ask_across)
                await waiting.begun.wait()
            async with listening(path, second.handle, refused, quick):
                await second.begun.wait()
                while not results:
                    await anyio.lowlevel.checkpoint()
                assert await bridge("PermissionRequest") == (0, ALLOW.stdout)
                failing = Desk(raises=ValueError("x"))
            async with listening(path, failing.handle, refused, quick):
                assert await bridge() == (2, b"")
                assert await bridge("PermissionRequest") == (1, b"")
        assert results == [(0, ALLOW.stdout)]
        assert waiting.asked == second.asked[:1] == [REQUEST]
        assert second.taken_back == waiting.taken_back == 0

    scenario(act)


def test_a_stale_socket_of_ours_is_replaced(path: Path) -> None:
    async def act() -> None:
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        desk = Desk()
        async with listening(path, desk.handle, Refused()):
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW

    scenario(act)


def test_a_socket_that_somebody_answers_is_left_alone(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        async with listening(path, desk.handle, Refused()):
            second = AskListener(path, desk.handle, on_refused=Refused())
            with pytest.raises(ConfigurationError, match="somebody already answers"):
                await second.serve()
            assert parse_reply(await ask(path, format_request(REQUEST))) == ALLOW

    scenario(act)


@pytest.mark.parametrize("place", ["file", "link", "directory"])
def test_what_is_no_socket_of_ours_is_never_removed(path: Path, place: str) -> None:
    """An attacker's link at the place must not become our unlink or our bind elsewhere."""

    async def act() -> None:
        if place == "file":
            path.write_bytes(b"precious")
        elif place == "link":
            path.symlink_to(path.parent / "elsewhere")
        else:
            path.mkdir()
        before = path.lstat()
        with pytest.raises(ConfigurationError, match="not a socket of ours"):
            await AskListener(path, Desk().handle, on_refused=Refused()).serve()
        assert path.lstat() == before
        assert not (path.parent / "elsewhere").exists()

    scenario(act)


def test_a_directory_that_others_may_write_is_refused(path: Path) -> None:
    async def act() -> None:
        path.parent.chmod(0o777)
        with pytest.raises(ConfigurationError, match="others could replace"):
            await AskListener(path, Desk().handle, on_refused=Refused()).serve()
        assert not path.exists()

    scenario(act)


def test_too_long_a_path_and_a_missing_directory_are_refused(path: Path) -> None:
    async def act() -> None:
        for wrong in (path.parent / ("x" * 120), path.parent / "none" / "a.sock"):
            with pytest.raises(ConfigurationError):
                await AskListener(wrong, Desk().handle, on_refused=Refused()).serve()

    scenario(act)


def test_a_socket_that_was_replaced_is_not_removed_at_the_end(path: Path) -> None:
    async def act() -> None:
        async with listening(path, Desk().handle, Refused()):
            path.unlink()
            path.write_bytes(b"another's")
        assert path.read_bytes() == b"another's"

    scenario(act)
