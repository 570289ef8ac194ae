"""The workspace's executing places around one run: covered before it, compared after it.

The order is what survives a crash: the list of mount points is journaled before the first of them
is created, so that whoever cleans up after a killed launcher knows what to remove.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from agp.contracts.journal import CoverageViolated, SandboxStarted, SandboxStopped
from agp.sandbox.places import create, remove_created
from agp.sandbox.snapshot import compare, take_snapshot
from agp.sandbox.survivors import survivors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agp.contracts.base import Digest
    from agp.contracts.policy import Grade
    from agp.daemon.lease import Lease
    from agp.sandbox.places import PlacesPlan


class Guarded:
    """What the comparison found; filled when the block has ended."""

    def __init__(self) -> None:
        self.changed: tuple[str, ...] = ()
        """Each difference in words; empty: the places are as they were."""


@asynccontextmanager
async def guarded(
    lease: Lease, places: PlacesPlan, *, grade: Grade, profile: Digest
) -> AsyncIterator[Guarded]:
    """Cover the places while the block runs; everything of the view must end within it."""
    found = Guarded()
    session_id = lease.session.session_id
    before = await anyio.to_thread.run_sync(take_snapshot, places)
    await lease.note(
        SandboxStarted(
            session_id=session_id,
            provider="local",
            grade=grade,
            profile_digest=profile,
            created_mount_points=places.created_mount_points,
        )
    )
    try:
        await anyio.to_thread.run_sync(create, places)
        yield found
    finally:
        with anyio.CancelScope(shield=True):
            alive = survivors(lease.session.session_directory)
            # Before anything is said: where the daemon is gone for good, saying it raises.
            removed = await anyio.to_thread.run_sync(remove_created, places)
            found.changed = compare(before, await anyio.to_thread.run_sync(take_snapshot, places))
            if alive:
                await lease.note(
                    CoverageViolated(
                        session_id=session_id, what="survivor", detail=f"processes {alive}"
                    )
                )
            for difference in found.changed:
                await lease.note(
                    CoverageViolated(
                        session_id=session_id,
                        what="executing_place_changed",
                        detail=difference[:500],
                    )
                )
            await lease.note(
                SandboxStopped(
                    session_id=session_id,
                    provider="local",
                    survivors=len(alive),
                    removed_mount_points=removed,
                )
            )
