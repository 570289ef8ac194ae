"""The ask socket of one session: bridges ask here, a handler answers, every failure refuses.

The channel is untrusted: any process in the session's view can speak on it. Therefore:

1. one connection carries one request, whole within seconds, or it is refused;
2. connections, bytes and rate are bounded for the session, and more than that is refused, counted,
   and slowed down at the accept, so that one session cannot starve another of the loop;
3. who asks comes from the kernel, and the session from the listener, never from what is said;
4. a peer that hangs up cancels its handler; a reply that it did not take is taken back;
5. an exception of the handler is a refusal with a generic reason.

Source: system.md §6; ADR 0004.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from anyio import (
    TASK_STATUS_IGNORED,
    BrokenResourceError,
    CancelScope,
    EndOfStream,
    create_task_group,
    current_time,
    fail_after,
    move_on_after,
    sleep,
)
from anyio.abc import SocketAttribute, SocketListener

from agp.contracts.gateway import MAX_BODY, HookReply, HookRequest, Peer
from agp.errors import FrameRefused, OverLimit, Refusal
from agp.gateway.address import accept, bind, peer_of
from agp.gateway.frame import (
    MAX_HEAD,
    WAIT_LINE,
    RequestHead,
    format_reply,
    parse_request_head,
    refusal,
)
from agp.gateway.limits import AskLimits, RefusedBecause, TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from anyio.abc import SocketStream, TaskStatus

_CHUNK = 65_536
_MOST_DRAINED = 2 * MAX_BODY
"""Bytes of a refused request that are thrown away before its peer is cut off."""
_LONGEST_PAUSE_S = 0.05
_HUNG_UP = (EndOfStream, BrokenResourceError)
_LOG = structlog.get_logger("agp.gateway.ask")

_REASONS = {
    RefusedBecause.WRONG_UID: "this user may not ask on this session's socket",
    RefusedBecause.TOO_MANY: "too many calls of this session wait at once; wait for them first",
    RefusedBecause.OVER_RATE: "this session asks too often; slow down",
    RefusedBecause.TOO_SLOW: "the hook's request did not arrive in time",
    RefusedBecause.MALFORMED: "the hook wrote more, or closed its side, before it was answered",
    RefusedBecause.FAILED: "AGP failed while it decided; the operator finds why in daemon.log",
}


class Waiter:
    """Who waits for an answer, and whether it still does.

    A handler that is cancelled reads `gone`: true, the peer hung up (the harness interrupted the
    call, or the bridge died and may re-attach); false, the daemon or the session is stopping.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.gone = False


@dataclass(frozen=True)
class Exchange:
    """A handler's answer, and how it is undone where the peer did not take it."""

    reply: HookReply
    undelivered: Callable[[], Awaitable[None]] | None = None
    """Called at most once, shielded from cancellation; it must not wait for long."""


AskHandler = Callable[[HookRequest, Waiter], Awaitable[Exchange]]


class AskListener:
    """One session's ask socket.

    Once a handler has returned, its reply is taken by the peer or `undelivered` is called, also
    where the listener is cancelled at that moment. What a handler does before it returns it must
    undo itself when it is cancelled.
    """

    def __init__(  # noqa: PLR0913 - one argument for each fact
        self,
        path: Path,
        handler: AskHandler,
        *,
        on_refused: Callable[[RefusedBecause], None],
        allowed_uids: frozenset[int] | None = None,
        limits: AskLimits | None = None,
        mode: int = 0o666,
    ) -> None:
        self._path = path
        self._mode = mode
        self._handler = handler
        self._on_refused = on_refused
        self._allowed_uids = allowed_uids
        self._limits = limits or AskLimits()
        self._open = 0
        self._refusing = 0
        self._body_bytes = 0

    async def serve(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Bind, report started, and answer until cancelled; the socket is removed at the end.

        Raises:
            ConfigurationError: the socket cannot be bound.
        """
        address = bind(self._path, self._mode)
        try:
            listener = await SocketListener.from_socket(address.socket)
            async with listener, create_task_group() as group:
                task_status.started()
                bucket = TokenBucket(self._limits.rate_per_s, self._limits.burst, current_time())
                while True:
                    stream = await accept(listener)
                    if bucket.take(current_time()):
                        group.start_soon(self._serve, stream)
                    else:
                        group.start_soon(self._turn_away, stream, RefusedBecause.OVER_RATE)
                        await sleep(min(_LONGEST_PAUSE_S, 1 / self._limits.rate_per_s))
        finally:
            address.remove()

    async def _serve(self, stream: SocketStream) -> None:
        peer = peer_of(stream.extra(SocketAttribute.raw_socket))  # noqa: S610 - not Django's
        if self._allowed_uids is not None and peer.uid not in self._allowed_uids:
            await self._turn_away(stream, RefusedBecause.WRONG_UID)
        elif self._open >= self._limits.connections:
            await self._turn_away(stream, RefusedBecause.TOO_MANY)
        else:
            self._open += 1
            try:
                async with stream:
                    await self._answer(stream, peer)
            finally:
                self._open -= 1

    async def _turn_away(self, stream: SocketStream, because: RefusedBecause) -> None:
        """Refuse without reading more than the first line, which chooses the exit code."""
        self._on_refused(because)
        async with stream:
            if self._refusing >= self._limits.refusals:
                return
            self._refusing += 1
            try:
                incoming = _Incoming(stream)
                with move_on_after(self._limits.reply_s), suppress(*_HUNG_UP, Refusal):
                    await incoming.head()
                await self._deliver(stream, refusal(incoming.line, _REASONS[because]))
            finally:
                self._refusing -= 1

    async def _answer(self, stream: SocketStream, peer: Peer) -> None:
        incoming = _Incoming(stream)
        try:
            with ExitStack() as held:
                with fail_after(self._limits.request_s):
                    head = await incoming.head()
                    held.enter_context(self._room_for(head.length))
                    body = await incoming.body(head.length)
                request = HookRequest(harness=head.harness, event=head.event, body=body)
                await self._exchange(stream, request, Waiter(peer), incoming.line)
        except TimeoutError:
            reason = _REASONS[RefusedBecause.TOO_SLOW]
            await self._refuse(stream, incoming, RefusedBecause.TOO_SLOW, reason)
        except OverLimit as error:
            await self._refuse(stream, incoming, RefusedBecause.TOO_LARGE, error.what)
        except FrameRefused as error:
            await self._refuse(stream, incoming, RefusedBecause.MALFORMED, error.what)
        except _HUNG_UP:
            if incoming.line:
                self._on_refused(RefusedBecause.MALFORMED)

    async def _refuse(
        self, stream: SocketStream, incoming: _Incoming, because: RefusedBecause, reason: str
    ) -> None:
        self._on_refused(because)
        await self._deliver(stream, refusal(incoming.line, reason))

    @contextmanager
    def _room_for(self, length: int) -> Iterator[None]:
        """Hold a share of the session's memory, before a byte of the body is read."""
        if self._body_bytes + length > self._limits.body_bytes:
            raise OverLimit("the calls of this session that wait hold too much data; wait for them")
        self._body_bytes += length
        try:
            yield
        finally:
            self._body_bytes -= length

    async def _exchange(
        self, stream: SocketStream, request: HookRequest, waiter: Waiter, line: bytes
    ) -> None:
        """Run the handler beside a watch on the peer; deliver, or take back."""
        exchange: Exchange | None = None
        taken = False
        try:
            async with create_task_group() as group:
                group.start_soon(self._watch, stream, waiter, group.cancel_scope)
                exchange = await self._handle(request, waiter, line)
                group.cancel_scope.cancel()
            if waiter.gone:
                await self._deliver(stream, refusal(line, _REASONS[RefusedBecause.MALFORMED]))
            elif exchange is not None:
                taken = await self._deliver(stream, exchange.reply)
        finally:
            if exchange is not None and not taken:
                await self._take_back(exchange)

    async def _handle(self, request: HookRequest, waiter: Waiter, line: bytes) -> Exchange:
        try:
            return await self._handler(request, waiter)
        except Refusal as error:
            self._on_refused(RefusedBecause.REFUSED)
            reason = f"{error.what}; {error.fix}" if error.fix else error.what
            return Exchange(refusal(line, reason))
        except Exception:  # noqa: BLE001 - the gateway's connection boundary: deny, log, close
            _LOG.exception("ask_handler_failed", harness=request.harness, hook=request.event)
            self._on_refused(RefusedBecause.FAILED)
            return Exchange(refusal(line, _REASONS[RefusedBecause.FAILED]))

    async def _watch(self, stream: SocketStream, waiter: Waiter, scope: CancelScope) -> None:
        """Say that we are still here; learn that the peer is not, or that it broke the frame."""
        pause = self._limits.first_wait_s
        with suppress(*_HUNG_UP):
            while True:
                with move_on_after(pause):
                    await stream.receive(1)
                    self._on_refused(RefusedBecause.MALFORMED)
                    break
                with move_on_after(self._limits.wait_every_s):
                    await stream.send(WAIT_LINE)
                pause = self._limits.wait_every_s
        waiter.gone = True
        scope.cancel()

    async def _deliver(self, stream: SocketStream, reply: HookReply) -> bool:
        """Write a reply and its end, and see that the peer took all of it.

        A Unix socket that is closed with unread bytes resets its peer: a clean end after our own
        proves that the reply was read, a reset or silence that it may not have been.
        """
        try:
            with move_on_after(self._limits.reply_s, shield=True):
                await stream.send(format_reply(reply))
                await stream.send_eof()
                drained = 0
                while drained <= _MOST_DRAINED:
                    drained += len(await stream.receive(_CHUNK))
        except EndOfStream:
            return True
        except (BrokenResourceError, OSError):
            pass
        return False

    async def _take_back(self, exchange: Exchange) -> None:
        if exchange.undelivered is None:
            return
        with CancelScope(shield=True):
            try:
                await exchange.undelivered()
            except Exception:  # noqa: BLE001 - the gateway's connection boundary: deny, log, close
                _LOG.exception("ask_take_back_failed")


class _Incoming:
    """One request as it arrives."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._rest = b""
        self.line = b""
        """The first line, or what there is of it."""

    async def head(self) -> RequestHead:
        while b"\n" not in self.line:
            if len(self.line) >= MAX_HEAD:
                raise FrameRefused("the first line is too long for an AGP1 frame")
            received = await self._stream.receive(_CHUNK)
            line, newline, self._rest = received.partition(b"\n")
            self.line += line[:MAX_HEAD] + newline
        return parse_request_head(self.line)

    async def body(self, length: int) -> bytes:
        chunks = [self._rest]
        missing = length - len(self._rest)
        if missing < 0:
            raise FrameRefused("the request is longer than it announces")
        while missing > 0:
            chunks.append(await self._stream.receive(min(missing, _CHUNK)))
            missing -= len(chunks[-1])
        self._rest = b""
        return b"".join(chunks)
