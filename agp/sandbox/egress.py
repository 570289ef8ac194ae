"""The outside half of a view's only way out: a relay to the model, and a CONNECT proxy.

Both listen on sockets in the session's ask directory and run in the daemon. Nothing is forwarded
before the gate opens (this session's hooks have shown themselves alive); what waits is closed at
the deadline. The proxy dials exactly the `host:port` pairs that the session's egress names, at an
address that it resolved and judged itself: a public name that leads to a private address is
refused, unless that very address was named.

Residue, stated: whoever holds a key for an allowed host can send data there; the TLS name is not
compared with the CONNECT host yet.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from agp.errors import OverLimit, Refusal, Unauthorised, Unavailable
from agp.sandbox.connect import MAX_HEAD, Opening, Target, open_tunnel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

MAX_CONNECTIONS = 64
"""Of one session, over relay and proxy together."""
HEAD_TIMEOUT_S = 10.0
DIAL_TIMEOUT_S = 15.0
CHUNK = 65_536
_ENDS = (OSError, anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
"""How either end of a connection may leave; none of it concerns anybody else."""


class Gate(Protocol):
    """Opens once, when the session's hooks are alive; an `anyio.Event` is one."""

    def is_set(self) -> bool:
        """Tell whether it is open."""
        ...

    async def wait(self) -> object:
        """Return when it opens."""
        ...


@dataclass(slots=True)
class Egress:
    """What one session may reach, who is told, and how many connections it holds.

    `on_allowed` is awaited once for each target, before it is dialled for the first time: what it
    raises ends the listener, so that a broken journal stops the traffic.
    """

    allowed: frozenset[Target]
    gate: Gate
    gate_deadline_s: float
    on_allowed: Callable[[str], Awaitable[None]]
    on_refused: Callable[[str, str], Awaitable[None]]
    told: set[Target] = field(default_factory=set)
    connections: int = 0

    async def enter(self) -> bool:
        """Count a connection; False: close it, there are too many."""
        if self.connections >= MAX_CONNECTIONS:
            await self.on_refused("-", f"more than {MAX_CONNECTIONS} connections at once")
            return False
        self.connections += 1
        return True

    async def gate_opened(self) -> bool:
        """Wait for the gate until the deadline; False: close the connection."""
        with anyio.move_on_after(self.gate_deadline_s):
            await self.gate.wait()
        if not self.gate.is_set():
            await self.on_refused("-", "the harness has not shown live hooks")
        return self.gate.is_set()

    def leave(self) -> None:
        """Give the place back."""
        self.connections -= 1

    async def permit(self, target: Target) -> None:
        """Tell the first use of a target; a target counts as told once the telling returned."""
        if target not in self.told:
            await self.on_allowed(str(target))
            self.told.add(target)


class ModelRelay:
    """Joins each connection with the model's endpoint, byte for byte."""

    def __init__(self, socket_path: str, upstream: Target, egress: Egress) -> None:
        self._socket_path = socket_path
        self._upstream = upstream
        self._egress = egress

    async def serve(
        self, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; the socket is there once this has started."""
        await _serve(self._socket_path, self._egress, self._handle, task_status)

    async def _handle(self, client: ByteStream) -> None:
        try:
            address = await _resolve(self._upstream, public=False)
            await self._egress.permit(self._upstream)
            upstream = await _dial(address, self._upstream.port)
        except Unavailable as error:
            await self._egress.on_refused(str(self._upstream), str(error))
            return
        async with upstream:
            await _splice(client, upstream)


class ConnectProxy:
    """Answers CONNECT for the session's targets and refuses everything else.

    `read` says what else is served besides CONNECT; the targets stay the same.
    """

    def __init__(
        self, socket_path: str, egress: Egress, read: Callable[[bytes], Opening] = open_tunnel
    ) -> None:
        self._socket_path = socket_path
        self._egress = egress
        self._open = read

    async def serve(
        self, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen until cancelled; the socket is there once this has started."""
        await _serve(self._socket_path, self._egress, self._handle, task_status)

    async def _handle(self, client: ByteStream) -> None:
        said = "-"
        try:
            head, rest = await _read_head(client)
            target, answer, first = self._open(head)
            said = str(target)
            if target not in self._egress.allowed:
                raise Unauthorised("this target is not in the session's egress")
            address = await _resolve(target, public=not _is_address(target.host))
            await self._egress.permit(target)
            upstream = await _dial(address, target.port)
        except (Refusal, Unavailable) as error:
            await self._egress.on_refused(said, str(error))
            await _answer(client, error)
            return
        async with upstream:
            if answer:
                await client.send(answer)
            if first or rest:
                await upstream.send(first + rest)
            await _splice(client, upstream)


async def _serve(
    path: str,
    egress: Egress,
    handle: Callable[[ByteStream], Awaitable[None]],
    task_status: anyio.abc.TaskStatus[None],
) -> None:
    async def one(client: ByteStream) -> None:
        async with client:
            if not await egress.enter():
                return
            try:
                if await egress.gate_opened():
                    await handle(client)
            except _ENDS:
                return
            finally:
                egress.leave()

    # 0666: the view may run as another uid; the directories above are the operator's, 0700.
    listener = await anyio.create_unix_listener(path, mode=0o666)
    async with listener:
        task_status.started()
        await listener.serve(one)


async def _read_head(client: ByteStream) -> tuple[bytes, bytes]:
    """Read to the empty line; give the head and what came after it.

    Raises:
        OverLimit: more than 8 KiB, or slower than ten seconds.
    """
    buffered = BufferedByteReceiveStream(client)
    try:
        with anyio.fail_after(HEAD_TIMEOUT_S):
            head = await buffered.receive_until(b"\r\n\r\n", MAX_HEAD)
    except TimeoutError as error:
        raise OverLimit("a proxy request took too long") from error
    except (anyio.DelimiterNotFound, anyio.IncompleteRead) as error:
        raise OverLimit(f"a proxy request has no end within {MAX_HEAD} bytes") from error
    return head, buffered.buffer


async def _resolve(target: Target, *, public: bool) -> str:
    """Give the one address that will be dialled: never resolved a second time (DNS rebinding).

    Raises:
        Unauthorised: `public` was asked for, and the name leads to an address that is not.
        Unavailable: it cannot be resolved.
    """
    try:
        with anyio.fail_after(DIAL_TIMEOUT_S):
            found = await anyio.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise Unavailable("the target cannot be resolved", why=str(error) or "timeout") from error
    addresses = [str(entry[4][0]) for entry in found]
    if not addresses:
        raise Unavailable("the target has no address")
    if public and not all(_is_public(address) for address in addresses):
        raise Unauthorised("the name leads to an address that is not public")
    return addresses[0]


async def _dial(address: str, port: int) -> ByteStream:
    try:
        with anyio.fail_after(DIAL_TIMEOUT_S):
            return await anyio.connect_tcp(address, port)
    except (OSError, TimeoutError) as error:
        raise Unavailable("the target cannot be reached", why=str(error) or "timeout") from error


async def _splice(client: ByteStream, upstream: ByteStream) -> None:
    """Move bytes both ways until both ends are done; either end's failure ends both."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_copy, client, upstream, tasks.cancel_scope)
        tasks.start_soon(_copy, upstream, client, tasks.cancel_scope)


async def _copy(source: ByteStream, target: ByteStream, both: anyio.CancelScope) -> None:
    try:
        async for chunk in source:
            await target.send(chunk)
        await target.send_eof()
    except _ENDS:
        both.cancel()


async def _answer(client: ByteStream, error: Refusal | Unavailable) -> None:
    """Say no in HTTP, with the reason: it tells the agent what it may not."""
    status = "403 Forbidden" if isinstance(error, Unauthorised) else "502 Bad Gateway"
    if isinstance(error, Refusal) and not isinstance(error, Unauthorised):
        status = "400 Bad Request"
    body = f"AGP: {error.what}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    await client.send(f"{head}Connection: close\r\n\r\n".encode() + body)


_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""Source: RFC 4291 §2.4, IANA IPv6 address space."""


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_public(address: str) -> bool:
    """Judge the address that will be dialled.

    Of IPv6 only global unicast outside 6to4: mapped, translated (64:ff9b::/96) and tunnelled
    addresses hide an IPv4 address that could be private.
    """
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and (
        parsed not in _GLOBAL_UNICAST or parsed.sixtofour or parsed.teredo
    ):
        return False
    return parsed.is_global and not parsed.is_multicast
