"""The launcher's lease: one connection to the daemon, taken up again after a break.

The session lives as long as this connection. When it breaks, the launcher has the daemon's own
`reattach_grace_s` to come back; after that it kills its view, as the daemon reaps the session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.gateway import ControlNotice, ControlOp
from agp.daemon.messages import (
    AttachSession,
    NoteSession,
    OfSession,
    OpenedSession,
    OpenSession,
    read_args,
    write_value,
)
from agp.errors import AgpError, DaemonAway, Interrupted
from agp.gateway.client import ControlClient

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.contracts.base import Contract
    from agp.contracts.journal import Payload
    from agp.daemon.config import Config
    from agp.daemon.home import Home

_RETRY_S: Final = 0.2
Notice = Callable[[ControlNotice], Awaitable[None]]


class Lease:
    """One open session, seen from its launcher."""

    def __init__(
        self,
        home: Home,
        config: Config,
        client: ControlClient,
        opened: OpenedSession,
        connection: AsyncExitStack,
    ) -> None:
        self._home = home
        self._config = config
        self._client = client
        self._connection = connection
        self._back = anyio.Event()
        self._back.set()
        self.session = opened
        self.hooks_alive = False

    async def ask(self, op: ControlOp, args: Contract) -> dict[str, JsonValue]:
        """Ask one operation for this session; after a break it waits for the daemon's return.

        Raises:
            AgpError: the daemon's own failure, or the end of the lease.
        """
        await self._back.wait()
        return await self._client.call(op, write_value(args))

    def claim(self) -> dict[str, str]:
        """Give what every message of this session carries."""
        return {"session_id": self.session.session_id, "secret": self.session.secret}

    async def note(self, payload: Payload) -> None:
        """Have the daemon journal what only the launcher sees."""
        note = NoteSession.model_validate(
            {**self.claim(), "kind": payload.kind.value, "payload": _absent_dropped(payload)}
        )
        await self.ask(ControlOp.SESSION_NOTE, note)

    async def show_hooks_alive(self) -> None:
        """Say that the stream shows live hooks; returns once model traffic may flow."""
        await self.ask(ControlOp.SESSION_HOOKS_ALIVE, OfSession.model_validate(self.claim()))
        self.hooks_alive = True

    async def follow(self, heard: Notice) -> None:
        """Hand on notices for ever, across breaks.

        Raises:
            Interrupted: the daemon did not come back in time, or does not know us any more.
        """
        while True:
            try:
                async for notice in self._client.notices():
                    await heard(notice)
            except DaemonAway:
                self._back = anyio.Event()
                await self._come_back()
                self._back.set()

    async def _come_back(self) -> None:
        await self._connection.aclose()
        with anyio.move_on_after(self._config.reattach_grace_s):
            while True:
                try:
                    await self._attach()
                except DaemonAway:
                    await anyio.sleep(_RETRY_S)
                except AgpError as error:
                    raise Interrupted(
                        "the daemon does not know this session any more", why=error.what
                    ) from error
                else:
                    return
        raise Interrupted(
            "the daemon was away for too long; the run was ended",
            fix="look into daemon.log, then run again",
        )

    async def _attach(self) -> None:
        connection = AsyncExitStack()
        client = await connection.enter_async_context(ControlClient(self._home.control_socket))
        args = AttachSession.model_validate(
            {
                **self.claim(),
                "fencing_token": self.session.fencing_token,
                "hooks_alive": self.hooks_alive,
            }
        )
        said = await client.call(ControlOp.SESSION_ATTACH, write_value(args))
        self.session = read_args(OpenedSession, said)
        self._client, self._connection = client, connection

    async def close(self) -> None:
        """Let the session go."""
        await self._connection.aclose()


@asynccontextmanager
async def open_lease(home: Home, config: Config, args: OpenSession) -> AsyncIterator[Lease]:
    """Open a session and hold it while the block runs."""
    connection = AsyncExitStack()
    client = await connection.enter_async_context(ControlClient(home.control_socket))
    try:
        said = await client.call(ControlOp.SESSION_OPEN, write_value(args))
        lease = Lease(home, config, client, read_args(OpenedSession, said), connection)
    except BaseException:
        await connection.aclose()
        raise
    try:
        yield lease
    finally:
        await lease.close()


def _absent_dropped(payload: Payload) -> dict[str, JsonValue]:
    return {key: value for key, value in write_value(payload).items() if value is not None}
