"""The launcher's side of the control socket: many calls at once, and the notices between them.

For one command without anyio see `once`.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    Event,
    Lock,
    connect_unix,
    create_memory_object_stream,
    create_task_group,
    get_cancelled_exc_class,
    move_on_after,
)

from agp.contracts.gateway import ControlNotice, ControlOp, ControlReply, ControlRequest
from agp.errors import AgpError, MessageRefused
from agp.gateway.failure import error_of
from agp.gateway.lines import Lines, read_line
from agp.gateway.message import NO_REQUEST, format_control_request, parse_control_answer
from agp.gateway.once import daemon_away

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import TracebackType

    from anyio.abc import SocketStream
    from pydantic import JsonValue

SEND_S = 10.0
"""For the daemon to take one request; after that the connection counts as lost."""


class _Pending:
    """A call that has no reply yet."""

    def __init__(self) -> None:
        self.answered = Event()
        self.reply: ControlReply | None = None


class ControlClient:
    """One connection to the daemon; the lease of a session lives as long as it does.

    Use it as `async with ControlClient(path) as client`. Entering raises `DaemonAway` where nobody
    answers. Once the connection is lost, every call and the notices raise why: `DaemonAway`, or
    what the daemon or the bytes said.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: dict[int, _Pending] = {}
        self._next_id = 0
        self._sending = Lock()
        self._lost: AgpError | None = None
        self._arrived, self._notices = create_memory_object_stream[ControlNotice](math.inf)

    async def __aenter__(self) -> Self:
        try:
            self._stream: SocketStream = await connect_unix(self._path)
        except OSError as error:
            self._arrived.close()
            self._notices.close()
            raise daemon_away(self._path, error.strerror or str(error)) from error
        self._group = create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._read)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """End the connection; an error of the block comes out as itself, not in a group."""
        self._group.cancel_scope.cancel()
        try:
            if isinstance(error, get_cancelled_exc_class()):
                return await self._group.__aexit__(kind, error, trace)
            await self._group.__aexit__(None, None, None)
        finally:
            self._lose(daemon_away(self._path, "the connection was closed here"))
            self._notices.close()
            await self._stream.aclose()
        return None

    async def call(self, op: ControlOp, args: dict[str, JsonValue]) -> dict[str, JsonValue]:
        """Ask one operation and give its result, however long it takes.

        Raises:
            DaemonAway: the connection was lost before the reply.
            AgpError: the daemon's own failure, as the class that its code names.
        """
        if self._lost is not None:
            raise self._lost
        request = ControlRequest(id=self._next_id, op=op, args=args)
        self._next_id += 1
        pending = self._pending[request.id] = _Pending()
        try:
            await self._send(format_control_request(request))
            await pending.answered.wait()
        finally:
            self._pending.pop(request.id, None)
        return self._result(pending.reply)

    async def notices(self) -> AsyncIterator[ControlNotice]:
        """Give the notices as they come; the end of the connection is an error, never silence.

        Raises:
            DaemonAway: the connection was lost.
        """
        async for notice in self._notices:
            yield notice
        raise self._lost or daemon_away(self._path, "the connection ended")

    async def _send(self, line: bytes) -> None:
        """Write one line whole, or lose the connection: half a line would garble the next one."""
        with move_on_after(SEND_S, shield=True) as clock:
            # A daemon that refuses early has said why: the reader finds it, or the end.
            with suppress(BrokenResourceError, ClosedResourceError):
                async with self._sending:
                    await self._stream.send(line)
        if clock.cancelled_caught:
            self._lose(daemon_away(self._path, "it did not take a request"))

    async def _read(self) -> None:
        lines = Lines(self._stream)
        try:
            with suppress(EndOfStream, BrokenResourceError, ClosedResourceError):
                while True:
                    self._take(await read_line(parse_control_answer, await lines.next()))
        except AgpError as error:
            self._lose(error)
        finally:  # also where this task is cancelled: nobody may wait for what nobody reads
            self._lose(daemon_away(self._path, "the connection ended"))

    def _take(self, answer: ControlReply | ControlNotice) -> None:
        if isinstance(answer, ControlNotice):
            self._arrived.send_nowait(answer)
            return
        pending = self._pending.get(answer.id)
        if pending is not None:
            pending.reply = answer
            pending.answered.set()
        elif answer.id == NO_REQUEST:
            self._lose(_refused(answer))

    def _lose(self, why: AgpError) -> None:
        """End every call and the notices, for the first reason that there was."""
        self._lost = self._lost or why
        self._arrived.close()
        for pending in self._pending.values():
            pending.answered.set()

    def _result(self, reply: ControlReply | None) -> dict[str, JsonValue]:
        if reply is None:
            raise self._lost or daemon_away(self._path, "the connection ended")
        if not reply.ok:
            raise _refused(reply)
        return reply.result


def _refused(reply: ControlReply) -> AgpError:
    if reply.failure is None:
        return MessageRefused("the daemon refused and gave no reason")
    return error_of(reply.failure.model_dump())
