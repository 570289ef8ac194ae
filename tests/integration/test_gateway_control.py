"""The operator's socket with both of its clients: concurrent, strict, and for one user only."""

# ruff: noqa: ASYNC240 - a temporary directory is looked at while nothing else runs

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio import to_thread
from anyio.abc import TaskStatus
from pydantic import JsonValue

from agp.contracts.gateway import ControlNotice, ControlOp, ControlRequest
from agp.errors import (
    AgpError,
    DaemonAway,
    JournalBroken,
    MessageRefused,
    OverLimit,
    PolicyError,
    Unauthorised,
)
from agp.gateway import control
from agp.gateway.client import ControlClient
from agp.gateway.control import ControlConnection, ControlListener
from agp.gateway.once import MAX_LINE, call_once

LIMIT_S = 20


@pytest.fixture
def path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agp-") as name:
        yield Path(name) / "control.sock"


class Desk:
    """Answers as its operations say; `call.mediate` waits until `approval.answer` came."""

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.waiting = anyio.Event()
        self.cancelled = anyio.Event()
        self.connections: list[ControlConnection] = []

    async def handle(
        self, request: ControlRequest, connection: ControlConnection
    ) -> dict[str, JsonValue]:
        match request.op:
            case ControlOp.CALL_MEDIATE:
                return await self._mediate()
            case ControlOp.APPROVAL_ANSWER:
                self.answered.set()
            case ControlOp.SESSION_ATTACH:
                self.connections.append(connection)
            case ControlOp.POLICY_RELOAD:
                raise PolicyError("no rules", where="p.yaml:3:1", why="it is empty", fix="add one")
            case ControlOp.CONTROL_PAUSE:
                raise JournalBroken("the journal is broken")
            case ControlOp.CONTROL_RESUME:
                raise ValueError("/home/op/.agp/keys/signing.key")
        return dict(request.args)

    async def _mediate(self) -> dict[str, JsonValue]:
        self.waiting.set()
        try:
            await self.answered.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise
        return {"waited": True}


@asynccontextmanager
async def listening(path: Path, desk: Desk):
    listener = ControlListener(path, desk.handle)
    async with anyio.create_task_group() as group:
        await group.start(partial(listener.serve))
        yield
        group.cancel_scope.cancel()


def scenario(act: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        with anyio.fail_after(LIMIT_S):
            await act()

    anyio.run(bounded)


def once(path: Path, op: ControlOp, args: dict[str, JsonValue]) -> Awaitable[dict[str, JsonValue]]:
    return to_thread.run_sync(partial(call_once, path, op, args, timeout_s=LIMIT_S))


def test_a_waiting_call_does_not_hold_up_an_answer_on_the_same_connection(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        results: list[JsonValue] = []

        async def mediate(client: ControlClient) -> None:
            results.append(await client.call(ControlOp.CALL_MEDIATE, {}))

        async with (
            listening(path, desk),
            ControlClient(path) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(mediate, client)
            await desk.waiting.wait()
            args: dict[str, JsonValue] = {"a": [1, 2.5, None]}
            assert await client.call(ControlOp.DAEMON_STATUS, args) == args
            assert results == []
            await client.call(ControlOp.APPROVAL_ANSWER, {})
        assert results == [{"waited": True}]

    scenario(act)


def test_both_clients_get_the_daemons_errors_as_themselves(path: Path) -> None:
    """With every member, and without the text of an error that is not of the tree."""

    async def act() -> None:
        async with listening(path, Desk()), ControlClient(path) as client:
            for call in (client.call, partial(once, path)):
                with pytest.raises(PolicyError) as caught:
                    await call(ControlOp.POLICY_RELOAD, {})
                error = caught.value
                assert (error.what, error.where) == ("no rules", "p.yaml:3:1")
                assert (error.why, error.fix) == ("it is empty", "add one")
                with pytest.raises(JournalBroken):
                    await call(ControlOp.CONTROL_PAUSE, {})
                with pytest.raises(AgpError, match="failed at this request") as caught:
                    await call(ControlOp.CONTROL_RESUME, {})
                assert "signing.key" not in f"{caught.value} {caught.value.fix}"

    scenario(act)


def test_the_socket_is_for_its_owner_only(path: Path) -> None:
    async def act() -> None:
        async with listening(path, Desk()):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()

    scenario(act)


def test_another_user_is_refused_whatever_the_mode_says(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's word counts; root too must ask as the user who runs the daemon."""

    async def act() -> None:
        desk = Desk()
        async with listening(path, desk):
            monkeypatch.setattr(control.os, "geteuid", lambda: os.getuid() + 1)
            with pytest.raises(Unauthorised, match="only the user who runs the daemon"):
                await once(path, ControlOp.SESSION_ATTACH, {})
            async with ControlClient(path) as client:
                with pytest.raises((Unauthorised, DaemonAway)):
                    await client.call(ControlOp.SESSION_ATTACH, {})
        assert desk.connections == []

    scenario(act)


def test_a_lease_learns_of_notices_and_of_the_daemons_end(path: Path) -> None:
    async def act() -> None:
        desk, daemon = Desk(), anyio.CancelScope()

        async def serve(*, task_status: TaskStatus[None]) -> None:
            with daemon:
                await ControlListener(path, desk.handle).serve(task_status=task_status)

        async with anyio.create_task_group() as group:
            await group.start(serve)
            async with ControlClient(path) as client:
                await client.call(ControlOp.SESSION_ATTACH, {})
                notice = ControlNotice(notice="killed", body={"by": "operator"})
                await desk.connections[0].notify(notice)
                notices = client.notices()
                assert await anext(notices) == notice
                daemon.cancel()
                with pytest.raises(DaemonAway):
                    await anext(notices)
                with pytest.raises(DaemonAway):
                    await client.call(ControlOp.DAEMON_STATUS, {})
        assert desk.connections[0].closed

    scenario(act)


def test_a_client_that_hangs_up_ends_its_lease_and_what_it_waits_for(path: Path) -> None:
    async def act() -> None:
        desk = Desk()
        async with listening(path, desk):
            async with anyio.create_task_group() as group, ControlClient(path) as client:
                await client.call(ControlOp.SESSION_ATTACH, {})
                group.start_soon(client.call, ControlOp.CALL_MEDIATE, {})
                await desk.waiting.wait()
                group.cancel_scope.cancel()
            await desk.connections[0].wait_closed()
            await desk.cancelled.wait()
            await desk.connections[0].notify(ControlNotice(notice="reaped"))
            assert await once(path, ControlOp.DAEMON_STATUS, {}) == {}

    scenario(act)


def test_an_error_of_the_callers_block_comes_out_as_itself(path: Path) -> None:
    """Not inside an exception group: the launcher maps it to an exit code."""

    async def act() -> None:
        async with listening(path, Desk()):
            with pytest.raises(PolicyError):
                async with ControlClient(path) as client:
                    await client.call(ControlOp.POLICY_RELOAD, {})

    scenario(act)


@pytest.mark.parametrize(
    ("line", "request_id", "code"),
    [
        (b'{"v":1,"id":7,"op":"no.such"}', 7, "AGP-1103"),
        (b'{"v":2,"id":7,"op":"daemon.status"}', 7, "AGP-1103"),
        (b'{"v":1,"id":7,"op":"daemon.status","extra":1}', 7, "AGP-1103"),
        (b'{"v":1,"id":7,"op":"daemon.status","op":"daemon.stop"}', -1, "AGP-1103"),
        (b'{"v":1,"id":"7","op":"daemon.status"}', -1, "AGP-1103"),
        (b'{"v":1,"id":-7,"op":"daemon.status"}', -1, "AGP-1103"),
        (b'{"v":1,"id":7,"op":"daemon.status","args":{"a":"\\ud800"}}', -1, "AGP-1103"),
        (b'{"v":1,"id":7,"op":"daemon.status","args":{"a":NaN}}', -1, "AGP-1103"),
        (b"[" * 100_000, -1, "AGP-1103"),
        (b"\xff\xfe", -1, "AGP-1103"),
        (b"", -1, "AGP-1103"),
    ],
)
def test_a_line_that_is_no_request_is_refused_and_the_next_one_answered(
    path: Path, line: bytes, request_id: int, code: str
) -> None:
    async def act() -> None:
        async with listening(path, Desk()), await anyio.connect_unix(path) as stream:
            await stream.send(line + b"\n")
            refused = json.loads(await stream.receive())
            assert (refused["id"], refused["ok"], refused["failure"]["code"]) == (
                request_id,
                False,
                code,
            )
            await stream.send(b'{"id":8,"op":"daemon.status"}\n')
            answer = json.loads(await stream.receive())
            assert (answer["id"], answer["ok"]) == (8, True)

    scenario(act)


def test_a_line_above_the_limit_is_refused_and_ends_the_connection(path: Path) -> None:
    async def act() -> None:
        async with listening(path, Desk()), await anyio.connect_unix(path) as stream:
            await stream.send(b"x" * MAX_LINE)
            answer = json.loads(await stream.receive())
            assert (answer["id"], answer["failure"]["code"]) == (-1, "AGP-1105")
            with pytest.raises(anyio.EndOfStream):
                await stream.receive()

    scenario(act)


def test_a_large_request_and_result_cross_whole(path: Path) -> None:
    async def act() -> None:
        args: dict[str, JsonValue] = {"body": "\u00e9" * 4_000_000}
        async with listening(path, Desk()), ControlClient(path) as client:
            assert await client.call(ControlOp.DAEMON_STATUS, args) == args
            assert await once(path, ControlOp.DAEMON_STATUS, args) == args

    scenario(act)


@pytest.mark.parametrize("text", ["\udcff", "a\ud800b"])
def test_an_argument_that_is_no_text_is_refused_by_both_clients(path: Path, text: str) -> None:
    """A byte of a command line that is no UTF-8 arrives in Python as a lone surrogate."""

    async def act() -> None:
        async with listening(path, Desk()), ControlClient(path) as client:
            for call in (client.call, partial(once, path)):
                with pytest.raises(MessageRefused):
                    await call(ControlOp.DAEMON_STATUS, {"reason": text})
                assert await call(ControlOp.DAEMON_STATUS, {"reason": "ok"}) == {"reason": "ok"}

    scenario(act)


def test_a_result_above_the_limit_is_a_failure(path: Path) -> None:
    async def act() -> None:
        async def handle(_: ControlRequest, __: ControlConnection) -> dict[str, JsonValue]:
            return {"body": "x" * MAX_LINE}

        async with anyio.create_task_group() as group:
            await group.start(partial(ControlListener(path, handle).serve))
            with pytest.raises(OverLimit, match="result is longer"):
                await once(path, ControlOp.DAEMON_STATUS, {})
            group.cancel_scope.cancel()

    scenario(act)


def test_too_many_waiting_requests_are_refused_and_the_others_live(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "REQUESTS", 1)

    async def act() -> None:
        desk = Desk()
        async with (
            listening(path, desk),
            ControlClient(path) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(client.call, ControlOp.CALL_MEDIATE, {})
            await desk.waiting.wait()
            with pytest.raises(OverLimit, match="wait already"):
                await client.call(ControlOp.DAEMON_STATUS, {})
            desk.answered.set()

    scenario(act)


def test_too_many_connections_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS", 1)

    async def act() -> None:
        async with listening(path, Desk()), ControlClient(path) as client:
            await client.call(ControlOp.DAEMON_STATUS, {})
            with pytest.raises(OverLimit, match="connected already"):
                await once(path, ControlOp.DAEMON_STATUS, {})

    scenario(act)


def test_a_peer_that_does_not_read_is_hung_up_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A launcher that is stopped must not stop the daemon's own work."""
    monkeypatch.setattr(control, "SEND_S", 0.1)

    async def act() -> None:
        desk = Desk()
        large = ControlNotice(notice="approval", body={"text": "x" * 4_000_000})
        async with listening(path, desk), await anyio.connect_unix(path) as stream:
            await stream.send(b'{"id":1,"op":"session.attach"}\n')
            await stream.receive()
            await desk.connections[0].notify(large)
            assert desk.connections[0].closed

    scenario(act)


def test_where_no_daemon_answers_both_clients_say_so(path: Path) -> None:
    async def act() -> None:
        with pytest.raises(DaemonAway, match="no AGP daemon answers"):
            async with ControlClient(path):
                pass
        with pytest.raises(DaemonAway) as caught:
            await once(path, ControlOp.DAEMON_STATUS, {})
        assert caught.value.fix == "start it with `agp daemon start`"

    scenario(act)


ANSWERS = [
    (b"", DaemonAway),
    (b'{"v":1,"id":1,"ok":true,"result":{}}', DaemonAway),
    (b"garbage\n", MessageRefused),
    (b"[]\n", MessageRefused),
    (b'{"v":2,"id":1,"ok":true,"result":{}}\n', MessageRefused),
    (b'{"v":1,"id":2,"ok":true,"result":{}}\n', MessageRefused),
    (b'{"v":1,"id":1,"ok":1,"result":{}}\n', MessageRefused),
    (b'{"v":1,"id":1,"ok":true}\n', MessageRefused),
    (b'{"v":1,"id":1,"ok":false}\n', MessageRefused),
    (b'{"v":1,"id":1,"ok":true,"result":{},"failure":{"what":"x"}}\n', MessageRefused),
    (b'{"v":1,"id":1,"ok":false,"failure":{"code":"AGP-9999","what":"new"}}\n', AgpError),
]


@pytest.mark.parametrize(("sent", "kind"), ANSWERS)
def test_one_command_believes_nothing_but_an_honest_reply(
    path: Path, sent: bytes, kind: type[AgpError]
) -> None:
    with answering(path, sent), pytest.raises(AgpError) as caught:
        call_once(path, ControlOp.CONTROL_PAUSE, {}, timeout_s=LIMIT_S)
    assert type(caught.value) is kind


def test_one_command_passes_over_notices(path: Path) -> None:
    notice = b'{"v":1,"notice":"daemon_stopping","body":{}}\n'
    with answering(path, notice + notice + b'{"v":1,"id":1,"ok":true,"result":{"a":1}}\n'):
        assert call_once(path, "daemon.status", {}, timeout_s=LIMIT_S) == {"a": 1}


def test_one_command_does_not_wait_longer_than_it_was_told(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(DaemonAway) as caught:
            call_once(path, "daemon.status", {}, timeout_s=0.1)
    assert "did not answer within 0.1 s" in caught.value.why


def answering(path: Path, data: bytes) -> Answering:
    return Answering(path, data)


class Answering:
    """A daemon that answers one connection with these bytes."""

    def __init__(self, path: Path, data: bytes) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._data = data
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(LIMIT_S)
        self._listening.close()

    def _run(self) -> None:
        self._listening.settimeout(LIMIT_S)
        connection, _ = self._listening.accept()
        with closing(connection):
            connection.settimeout(LIMIT_S)
            connection.recv(65536)
            connection.sendall(self._data)


def test_one_command_costs_neither_anyio_nor_pydantic() -> None:
    """The command line pays its imports at every start."""
    code = (
        "import sys, agp.gateway.once;"
        "print([m for m in ('anyio','pydantic','asyncio','structlog') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
