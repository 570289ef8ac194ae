"""The launcher's lease: one connection to the daemon, taken up again after a break.

The session lives as long as this connection. When it breaks, the launcher has the daemon's own
`reattach_grace_s` to come back; after that it kills its view, as the daemon reaps the session.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.gateway import ControlNotice, ControlOp
from agp.daemon.messages import (
    AttachSession,
    HooksAlive,
    LiveView,
    NoteSession,
    OpenedSession,
    OpenSession,
    read_args,
    write_value,
)
from agp.errors import AgpError, DaemonAway, Interrupted, Unauthorised
from agp.gateway.client import ControlClient

if TYPE_CHECKING:
    from anyio.abc import TaskStatus
    from pydantic import JsonValue

    from agp.contracts.base import Contract
    from agp.contracts.journal import Payload
    from agp.daemon.config import Config
    from agp.daemon.home import Home

_RETRY_S: Final = 0.2
Notice = Callable[[ControlNotice], Awaitable[None]]


class Lease:
    """One open session, seen from its launcher."""

    def __init__(self, home: Home, config: Config) -> None:
        self._home = home
        self._config = config
        self._client: ControlClient
        self._back = anyio.Event()
        """Set while a daemon answers, and once none ever will."""
        self._secrets: tuple[str, ...] = ()
        self._over: AgpError | None = None
        """Why the lease has ended; from then on everything raises it."""
        self._arrived, self._notices = anyio.create_memory_object_stream[ControlNotice](math.inf)
        self.session: OpenedSession
        self._view: LiveView | None = None
        self.conversation = ""
        """What was kept of the harness at its end, to go on with; empty: nothing was."""

    @property
    def away(self) -> bool:
        """Tell whether no daemon answers just now; who asks waits for the next one."""
        return not self._back.is_set()

    async def ask(self, op: ControlOp, args: Contract) -> dict[str, JsonValue]:
        """Ask one operation for this session; after a break it is asked again of the next daemon.

        Nothing runs twice by that: a call is joined to its decision, the rest is notes.

        Raises:
            AgpError: the daemon's own failure, or the end of the lease.
        """
        while True:
            await self._back.wait()
            if self._over is not None:
                raise self._over
            client = self._client
            try:
                return await client.call(op, write_value(args))
            except DaemonAway:
                self._broken(client)

    def abandon(self, why: AgpError) -> None:
        """End the lease at once, for good: nobody is left who could answer."""
        self._over = why
        self._back.set()

    def claim(self) -> dict[str, str]:
        """Give what every message of this session carries."""
        return {"session_id": self.session.session_id, "secret": self.session.secret}

    async def note(self, payload: Payload) -> None:
        """Have the daemon journal what only the launcher sees."""
        note = NoteSession.model_validate(
            {**self.claim(), "kind": payload.kind.value, "payload": _absent_dropped(payload)}
        )
        await self.ask(ControlOp.SESSION_NOTE, note)

    async def show_hooks_alive(self, view: LiveView) -> None:
        """Say that the stream shows live hooks; returns once model traffic may flow."""
        args = HooksAlive.model_validate({**self.claim(), "view": view})
        await self.ask(ControlOp.SESSION_HOOKS_ALIVE, args)
        self._view = view

    async def follow(self, heard: Notice) -> None:
        """Hand on notices for ever, across breaks.

        Raises:
            AgpError: the daemon did not come back in time, or does not know us any more.
        """
        async for notice in self._notices:
            await heard(notice)
        raise self._over or DaemonAway("the lease has ended")

    async def hold(
        self, args: OpenSession, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the session, then hold its connection and take it up again after a break.

        One task opens and closes every connection: a task group must be left where it was entered.

        Raises:
            AgpError: the session could not be opened; later ends are kept for who asks.
        """
        self._secrets = args.secrets
        async with ControlClient(self._home.control_socket) as client:
            self._take(client, await client.call(ControlOp.SESSION_OPEN, write_value(args)))
            task_status.started()
            try:
                await self._pump(client)
            except AgpError as error:
                self._over = error
        if self._over is None:
            self._over = await self._come_back()
        self._back.set()
        self._arrived.close()

    def _take(self, client: ControlClient, said: dict[str, JsonValue]) -> None:
        self.session = read_args(OpenedSession, said)
        self._client = client
        self._back.set()

    async def _pump(self, client: ControlClient) -> None:
        """Pass notices on until the connection breaks; from then on whoever asks waits."""
        try:
            async for notice in client.notices():
                self._arrived.send_nowait(notice)
        except DaemonAway:
            self._broken(client)

    def _broken(self, client: ControlClient) -> None:
        """Let whoever asks wait: this connection has ended, whoever notices it first."""
        if client is self._client and self._back.is_set() and self._over is None:
            self._back = anyio.Event()

    async def _come_back(self) -> AgpError:
        """Attach again after each break, until one lasts too long; give the reason of the end."""
        grace = self._config.reattach_grace_s
        deadline = anyio.current_time() + grace
        while (left := deadline - anyio.current_time()) > 0:
            try:
                async with ControlClient(self._home.control_socket) as client:
                    with anyio.move_on_after(left):
                        await self._attach(client)
                    if self._back.is_set():
                        await self._pump(client)
                        deadline = anyio.current_time() + grace
            except (DaemonAway, Unauthorised):
                # Unauthorised also while the daemon has not yet seen the old connection end.
                await anyio.sleep(_RETRY_S)
            except AgpError as error:
                return Interrupted("the daemon does not know this session any more", why=error.what)
        return DaemonAway(
            "the daemon was away for too long; the run was ended",
            where=str(self._home.control_socket),
            fix="look into daemon.log, then run again",
        )

    async def _attach(self, client: ControlClient) -> None:
        args = AttachSession.model_validate(
            {
                **self.claim(),
                "fencing_token": self.session.fencing_token,
                "secrets": self._secrets,
                "view": self._view,
            }
        )
        self._take(client, await client.call(ControlOp.SESSION_ATTACH, write_value(args)))


@asynccontextmanager
async def open_lease(home: Home, config: Config, args: OpenSession) -> AsyncIterator[Lease]:
    """Open a session and hold it while the block runs."""
    lease = Lease(home, config)
    async with anyio.create_task_group() as tasks:
        await tasks.start(lease.hold, args)
        yield lease
        tasks.cancel_scope.cancel()


def _absent_dropped(payload: Payload) -> dict[str, JsonValue]:
    return {key: value for key, value in write_value(payload).items() if value is not None}
