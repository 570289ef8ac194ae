"""SQLite never runs on the loop and never in two threads at once."""

from __future__ import annotations

from pathlib import Path

import anyio

from agp.contracts.channel import ApprovalState
from agp.store.off_loop import AsyncStore
from agp.store.projection import Store
from tests.fakes import story
from tests.fakes.journal_lines import LOG_ID, chain


def test_callers_are_served_in_their_order_and_readers_see_whole_lines(tmp_path: Path):
    lines = chain(story.started(), *(e for n in range(20) for e in story.asked(n)))
    store = Store.open(tmp_path / "store.db", LOG_ID)
    seen: list[int] = []

    async def read(shared: AsyncStore) -> None:
        seen.append(len(await shared.approvals(ApprovalState.PENDING)))

    async def main() -> None:
        shared = AsyncStore(store)
        await shared.replay(lines[:2])
        async with anyio.create_task_group() as tasks:
            for line in lines[2:]:
                tasks.start_soon(shared.apply, line)
                tasks.start_soon(read, shared)
        assert len(await shared.sessions()) == 1

    anyio.run(main)
    assert store.last_applied_seq == len(lines) - 1
    assert seen == sorted(seen)
    assert len(store.pending()) == 20
    store.close()
