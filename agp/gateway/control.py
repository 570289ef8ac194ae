"""The operator's socket: commands in, results and notices out, many at once on one connection.

Only the daemon's own user may speak here, the kernel says who that is, and no view of an agent
shows this socket. A waiting command does not hold up another one; a connection that ends cancels
what it still waits for, and with it ends the lease that lives on it.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from anyio import (
    TASK_STATUS_IGNORED,
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    Lock,
    create_task_group,
    move_on_after,
    to_thread,
)
from anyio.abc import SocketAttribute, SocketListener
from pydantic import JsonValue

from agp.contracts.gateway import ControlNotice, ControlReply, ControlRequest, Peer
from agp.errors import AgpError, OverLimit, Unauthorised
from agp.gateway.address import accept, bind, peer_of
from agp.gateway.lines import Lines, read_line
from agp.gateway.message import (
    NO_REQUEST,
    claimed_id,
    failed,
    format_control_answer,
    parse_control_request,
)
from agp.gateway.once import MAX_LINE

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import SocketStream, TaskGroup, TaskStatus

CONNECTIONS = 64
REQUESTS = 64
"""Requests that wait at once on one connection."""
SEND_S = 10.0
"""For a peer to take one line; after that it is hung up on."""
_LOG = structlog.get_logger("agp.gateway.control")


class ControlConnection:
    """One operator's connection; a lease lives exactly as long as it does."""

    def __init__(self, stream: SocketStream, peer: Peer, scope: CancelScope) -> None:
        self.peer = peer
        self.waiting = 0
        """Requests that have no reply yet; kept by the listener."""
        self._stream = stream
        self._scope = scope
        self._sending = Lock()
        self._closed = Event()

    async def notify(self, notice: ControlNotice) -> None:
        """Push one notice; a peer that is gone or does not read is hung up on, without an error."""
        await self.send(format_control_answer(notice))

    async def wait_closed(self) -> None:
        """Return once nothing can be said or heard here any more."""
        await self._closed.wait()

    @property
    def closed(self) -> bool:
        """Tell whether the connection has ended."""
        return self._closed.is_set()

    async def reply(self, reply: ControlReply) -> None:
        """Answer one request, under the same promise."""
        await self.send(format_control_answer(reply))

    async def send(self, line: bytes) -> None:
        """Write one line whole, or end the connection: half a line would garble the next one."""
        with move_on_after(SEND_S, shield=True):
            try:
                async with self._sending:
                    await self._stream.send(line)
            except (BrokenResourceError, ClosedResourceError):
                pass
            else:
                return
        self.end()

    def end(self) -> None:
        """Hang up: what waits here is cancelled, and the lease that lives here ends."""
        self._closed.set()
        self._scope.cancel()


ControlHandler = Callable[[ControlRequest, ControlConnection], Awaitable[dict[str, JsonValue]]]


class ControlListener:
    """The control socket; `handler` gives an operation's result or raises an error of the tree."""

    def __init__(self, path: Path, handler: ControlHandler) -> None:
        self._path = path
        self._handler = handler
        self._open = 0

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Bind (0600), report started, and answer until cancelled.

        Raises:
            ConfigurationError: the socket cannot be bound, or another daemon answers there.
        """
        address = bind(self._path, 0o600)
        try:
            listener = await SocketListener.from_socket(address.socket)
            async with listener, create_task_group() as group:
                task_status.started()
                while True:
                    group.start_soon(self._serve, await accept(listener))
        finally:
            address.remove()

    async def _serve(self, stream: SocketStream) -> None:
        self._open += 1
        try:
            async with stream, create_task_group() as group:
                peer = peer_of(stream.extra(SocketAttribute.raw_socket))  # noqa: S610 - not Django's
                connection = ControlConnection(stream, peer, group.cancel_scope)
                try:
                    await self._read(stream, connection, group)
                finally:
                    connection.end()
        finally:
            self._open -= 1

    async def _read(
        self, stream: SocketStream, connection: ControlConnection, group: TaskGroup
    ) -> None:
        """Take lines until the peer hangs up, and answer each in a task of its own."""
        lines = Lines(stream)
        try:
            self._admit(connection.peer)
            while True:
                line = await lines.next()
                if connection.waiting >= REQUESTS:
                    error = OverLimit(f"{REQUESTS} requests of this connection wait already")
                    await connection.reply(failed(claimed_id(line), error))
                    continue
                connection.waiting += 1
                group.start_soon(self._answer, connection, line)
        except (Unauthorised, OverLimit) as error:
            await connection.reply(failed(NO_REQUEST, error))
            await self._drain(stream)
        except (EndOfStream, BrokenResourceError):
            return

    async def _drain(self, stream: SocketStream) -> None:
        """Take what the peer still sends: closed with it unread, our reason would be reset away."""
        with move_on_after(SEND_S), suppress(EndOfStream, BrokenResourceError, OSError):
            await stream.send_eof()
            while True:
                await stream.receive()

    def _admit(self, peer: Peer) -> None:
        """Refuse another user (root too: who is root asks as the daemon's user), and a crowd."""
        if peer.uid != os.geteuid():
            raise Unauthorised(
                "only the user who runs the daemon may command it",
                why=f"you are uid {peer.uid}, the daemon is uid {os.geteuid()}",
                fix="run the command as that user",
            )
        if self._open > CONNECTIONS:
            raise OverLimit(f"{CONNECTIONS} commands are connected already")

    async def _answer(self, connection: ControlConnection, line: bytes) -> None:
        request_id = await read_line(claimed_id, line)
        try:
            answer = await self._result(connection, line)
        except AgpError as error:
            answer = format_control_answer(failed(request_id, error))
        except Exception:  # noqa: BLE001 - the gateway's connection boundary: deny, log, close
            _LOG.exception("control_handler_failed", request=request_id)
            generic = AgpError("the daemon failed at this request", fix="look into daemon.log")
            answer = format_control_answer(failed(request_id, generic))
        finally:
            connection.waiting -= 1
        await connection.send(answer)

    async def _result(self, connection: ControlConnection, line: bytes) -> bytes:
        request = await read_line(parse_control_request, line)
        result = await self._handler(request, connection)
        reply = ControlReply(id=request.id, ok=True, result=result)
        answer = await to_thread.run_sync(format_control_answer, reply)
        if len(answer) > MAX_LINE:
            raise OverLimit(f"the result is longer than {MAX_LINE} bytes")
        return answer
