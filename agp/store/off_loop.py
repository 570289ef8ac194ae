"""The store off the event loop: one worker thread at a time, in the order of the callers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agp.contracts.channel import ApprovalState
    from agp.contracts.journal import Line
    from agp.store.projection import Store
    from agp.store.rows import ApprovalRow, SessionRow

T = TypeVar("T")


class AsyncStore:
    """The same acts as `Store`, awaited. SQLite has one limiter of one: never two threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._one = anyio.CapacityLimiter(1)

    async def apply(self, line: Line) -> bool:
        """Project one line. Raises as `Store.apply`."""
        return await self._run(lambda: self._store.apply(line))

    async def replay(self, lines: Iterable[Line]) -> int:
        """Project many lines; they are also read in the thread. Raises as `Store.apply`."""
        return await self._run(lambda: self._store.replay(lines))

    async def sessions(self) -> tuple[SessionRow, ...]:
        """List every session."""
        return await self._run(self._store.sessions)

    async def approvals(self, state: ApprovalState | None = None) -> tuple[ApprovalRow, ...]:
        """List approvals."""
        return await self._run(lambda: self._store.approvals(state))

    async def _run(self, act: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(act, limiter=self._one)
