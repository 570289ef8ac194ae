"""The launcher's side of call views: whoever asks for a granted call by its name has it run here.

`call.sock` lies in the session's ask directory: the harness's view reaches it, a call's view does
not. A name proves nothing: the daemon knows whether the call is granted and was never begun,
journals that it begins, and only then says what it is. Each connection is one call; when it closes
the call's view is ended, and so it is when the session ends, or this process or the daemon is gone.
"""

from __future__ import annotations

import os
import platform
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
from anyio import BrokenResourceError, ClosedResourceError, EndOfStream
from anyio.abc import SocketAttribute, SocketListener

from agp.contracts.gateway import ControlOp
from agp.daemon.call_egress import call_egress
from agp.daemon.mcp import PlannedServer, check_unchanged
from agp.daemon.messages import (
    Args,
    EndCall,
    ServeProgram,
    StartCall,
    StartedCall,
    TypeCall,
    WithdrawCall,
    read_args,
)
from agp.errors import AgpError, FrameRefused, OverLimit, RunRefused
from agp.gateway.address import accept, bind, peer_of
from agp.gateway.call_wire import (
    MAX_ASKED,
    Asked,
    CallAsked,
    ServerAsked,
    Typed,
    TypedAsked,
    format_exit,
    format_frame,
    parse_asked,
    parse_typed,
    take_frame,
)
from agp.gateway.limits import AskLimits, TokenBucket
from agp.sandbox.call_run import CallRun, StreamName, run_call
from agp.sandbox.call_view import CallSeats, build_call_view, server_seats, shell_argv
from agp.sandbox.profile import ViewSpec, digest_of
from agp.sandbox.seccomp import filter_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import ByteSendStream, SocketStream, TaskStatus

    from agp.contracts.base import CallId
    from agp.daemon.lease import Lease
    from agp.sandbox.host import RunAs
    from agp.sandbox.places import PlacesPlan

SOCKET_NAME: Final = "call.sock"
MAX_CALLS: Final = 64
"""Calls and servers of one session that run at once."""
_ASK_S: Final = 10.0
"""For a shim to say what it asks for."""
_AGAIN_S: Final = 0.2
"""After a withdrawal that overtook what it withdraws; it ends with that one's answer."""
_TELL_S: Final = 5.0
"""For telling the daemon how a call ended, while the session itself ends."""
_GONE: Final = (BrokenResourceError, ClosedResourceError, EndOfStream)
_LEFT: Final = "whoever waited for it was gone, so its view was ended"
_LET_GO: Final = "the harness let go of the server, so its view was ended"
_CUT_OFF: Final = "the session ended while it ran, and its view with it"


class CallDesk:
    """Serves one session's `call.sock`."""

    def __init__(
        self,
        lease: Lease,
        seats: CallSeats,
        places: PlacesPlan,
        who: RunAs,
        servers: tuple[PlannedServer, ...],
    ) -> None:
        self._lease = lease
        self._seats = seats
        self._places = places
        self._who = who
        self._servers = {server.name: server for server in servers}
        self._open = 0
        limits = AskLimits()
        self._rate = TokenBucket(limits.rate_per_s, limits.burst, time.monotonic())
        """For what is decided here, without a hook: the same as for hooks."""
        plain = build_call_view(seats, places, who, argv=("true",), cwd=places.workspace)
        program = filter_program(nesting=False, machine=platform.machine())
        self._profile = digest_of(plain, program)
        """Names what every call's view shows; what one call sees besides is its network."""

    async def serve(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Bind, report started, and serve until cancelled; what runs then is ended.

        Raises:
            ConfigurationError: the socket cannot be bound.
        """
        address = bind(Path(self._lease.session.ask_directory) / SOCKET_NAME, 0o666)
        try:
            listener = await SocketListener.from_socket(address.socket)
            async with listener, anyio.create_task_group() as calls:
                task_status.started()
                while True:
                    calls.start_soon(self._one, await accept(listener))
        finally:
            address.remove()

    async def _one(self, stream: SocketStream) -> None:
        """Serve one connection; every failure is a refusal that the shim shows."""
        self._open += 1
        try:
            async with stream:
                try:
                    await self._answer(stream)
                except AgpError as error:
                    said = ": ".join(filter(None, (error.what, error.why)))
                    await stream.send(format_frame("r", said.encode("utf-8", "replace")[:4000]))
        except _GONE:
            return
        finally:
            self._open -= 1

    async def _answer(self, stream: SocketStream) -> None:
        # Attack: a process of another user; the kernel says who connected.
        peer = peer_of(stream.extra(SocketAttribute.raw_socket))  # noqa: S610 - not Django's
        if peer.uid != self._who.uid:
            raise RunRefused("this user may not ask for this session's calls")
        if self._open > MAX_CALLS:
            raise RunRefused(f"{MAX_CALLS} calls of this session run at once; wait for them")
        match await _asked(stream):
            case CallAsked(call_id=call_id):
                await self._call(stream, call_id)
            case ServerAsked(name=name):
                await self._server(stream, name)
            case TypedAsked() as asked:
                await self._typed(stream, await _typed(stream, asked))

    async def _call(self, stream: SocketStream, call_id: CallId) -> None:
        args = self._args(StartCall, call_id=call_id, profile=self._profile)
        started = read_args(StartedCall, await self._lease.ask(ControlOp.CALL_START, args))
        await self._shell(stream, started)

    async def _typed(self, stream: SocketStream, typed: Typed) -> None:
        """Have decided what was typed, and run it; who hangs up meanwhile withdraws it."""
        if not self._rate.take(time.monotonic()):
            raise OverLimit("too many commands are asked for; wait a moment")
        nonce, gone = secrets.token_hex(8), anyio.Event()
        args = self._args(
            TypeCall,
            nonce=nonce,
            command=typed.command,
            cwd=typed.directory,
            profile=self._profile,
        )

        async def watch() -> None:
            await _until_gone(stream, None)
            gone.set()
            withdrawal = self._args(WithdrawCall, nonce=nonce)
            with suppress(AgpError):
                while True:
                    said = await self._lease.ask(ControlOp.CALL_WITHDRAW, withdrawal)
                    if said["found"]:
                        return
                    await anyio.sleep(_AGAIN_S)

        failure: AgpError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            try:
                said = await self._lease.ask(ControlOp.CALL_TYPED, args)
            except AgpError as error:  # as itself, not in a group
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure
        started = read_args(StartedCall, said)
        if gone.is_set():  # begun in the moment in which it was withdrawn
            await self._ended(started.call_id, CallRun(), _LEFT)
            return
        await self._shell(stream, started)

    async def _shell(self, stream: SocketStream, started: StartedCall) -> None:
        def spec(egress: str | None) -> ViewSpec:
            return build_call_view(
                self._seats,
                self._places,
                self._who,
                argv=shell_argv(started.command),
                cwd=started.cwd,
                egress=egress,
                network=started.network,
            )

        await self._run(stream, started, spec)

    async def _server(self, stream: SocketStream, name: str) -> None:
        server = self._servers.get(name)
        if server is None:
            raise RunRefused("no MCP server of this name belongs to this run")
        args = self._args(
            ServeProgram,
            nonce=secrets.token_hex(8),
            name=server.name,
            argv=server.argv,
            digest=server.digest,
            profile=self._profile,
            network=server.egress,
        )
        started = read_args(StartedCall, await self._lease.ask(ControlOp.CALL_SERVE, args))

        def spec(egress: str | None) -> ViewSpec:
            # After the decision, as near to the start as it can be.
            check_unchanged(server, self._places.workspace)
            return build_call_view(
                server_seats(self._seats, server.name),
                self._places,
                self._who,
                argv=server.argv,
                cwd=self._places.workspace,
                egress=egress,
                network=server.egress,
                shown=server.outside_system,
                environment=tuple(
                    (n, os.environ[n]) for n in server.environment if n in os.environ
                ),
            )

        await self._run(stream, started, spec, serves=True)

    async def _run(
        self,
        stream: SocketStream,
        started: StartedCall,
        spec: Callable[[str | None], ViewSpec],
        *,
        serves: bool = False,
    ) -> None:
        """Run what was begun; its end is journaled before the shim hears of it."""
        run = CallRun()

        sending = anyio.Lock()

        async def send(name: StreamName, data: bytes) -> None:
            async with sending:
                await stream.send(format_frame("o" if name == "stdout" else "e", data))

        async def tell(words: str) -> None:
            """Say it beside the call's own errors; it is no part of what the call wrote."""
            await send("stderr", f"{words}\n".encode("utf-8", "replace"))

        async def feed(sink: ByteSendStream | None) -> None:
            await _until_gone(stream, sink)

        try:
            async with call_egress(self._lease, started.network, tell) as egress:
                view = await anyio.to_thread.run_sync(spec, egress)
                workspace = self._places.workspace
                await run_call(
                    view, self._who, run, workspace=workspace, send=send, feed=feed, serves=serves
                )
        except anyio.get_cancelled_exc_class():
            with anyio.move_on_after(_TELL_S, shield=True), suppress(AgpError):
                await self._ended(started.call_id, run, _CUT_OFF)
            raise
        except AgpError as error:
            await self._ended(started.call_id, run, error.what)
            raise
        await self._ended(started.call_id, run, _LET_GO if serves else _LEFT)
        if run.exit_code is not None:
            await stream.send(format_exit(run.exit_code, run.directory))

    async def _ended(self, call_id: CallId, run: CallRun, why: str) -> None:
        args = self._args(
            EndCall,
            call_id=call_id,
            exit_code=run.exit_code,
            error="" if run.exit_code is not None else why,
            duration_ms=run.duration_ms,
            output_sha256=run.output_sha256,
            output_bytes=run.output_bytes,
        )
        await self._lease.ask(ControlOp.CALL_END, args)

    def _args(self, model: type[Args], **given: object) -> Args:
        return model.model_validate({**self._lease.claim(), **given})


async def _asked(stream: SocketStream) -> Asked:
    """Read the asking line, and not a byte more.

    Raises:
        FrameRefused: it is not one, or does not come in time.
    """
    line = bytearray()
    with anyio.move_on_after(_ASK_S):
        while not line.endswith(b"\n") and len(line) < MAX_ASKED:
            line += await stream.receive(1)
    if not line.endswith(b"\n"):
        raise FrameRefused("nobody said in time what is asked for")
    return parse_asked(bytes(line[:-1]))


async def _typed(stream: SocketStream, asked: TypedAsked) -> Typed:
    """Read what follows the line of a typed command.

    Raises:
        FrameRefused: it is none, or does not come in time.
    """
    data, size = bytearray(), asked.directory_bytes + asked.command_bytes
    with anyio.move_on_after(_ASK_S):
        while len(data) < size:
            data += await stream.receive(size - len(data))
    if len(data) < size:
        raise FrameRefused("nobody said in time what was typed")
    return parse_typed(asked, bytes(data))


async def _until_gone(stream: SocketStream, sink: ByteSendStream | None) -> None:
    """Pass input frames on where the call reads any; return once the shim is gone or misbehaves."""
    held = bytearray()
    try:
        while True:
            held += await stream.receive()
            while (frame := take_frame(held)) is not None:
                if sink is None or frame[0] != "i":
                    return
                with suppress(*_GONE):  # a server that does not read its input is its own business
                    await (sink.send(frame[1]) if frame[1] else sink.aclose())
    except (*_GONE, FrameRefused):
        return
