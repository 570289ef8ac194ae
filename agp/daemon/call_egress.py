"""The network of one call: a proxy of its own, which dials exactly what the call was granted."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from agp.contracts.journal import EgressAllowed, EgressRefused
from agp.sandbox.call_view import PROXY_NAME
from agp.sandbox.connect import open_tunnel_or_plain, parse_egress
from agp.sandbox.egress import ConnectProxy, Egress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from agp.daemon.lease import Lease


@asynccontextmanager
async def call_egress(
    lease: Lease, targets: tuple[str, ...], tell: Callable[[str], Awaitable[None]]
) -> AsyncIterator[str | None]:
    """Serve a proxy for these targets while the block runs; give its directory.

    None where there are none: such a call has no network at all. `tell` hears what was refused and
    why, for the agent: most programs keep a proxy's own words to themselves.

    Raises:
        ConfigurationError: a target is not `host:port`.
    """
    if not targets:
        yield None
        return
    allowed = parse_egress(targets)
    # Beside the ask directory, whose parents only the operator enters; the view sees this one only.
    directory = tempfile.mkdtemp(prefix="e", dir=Path(lease.session.ask_directory).parent)
    os.chmod(directory, 0o755)  # noqa: PTH101, S103 - for the view's user
    gate = anyio.Event()
    gate.set()
    refused: set[str] = set()

    async def on_allowed(target: str) -> None:
        await lease.note(EgressAllowed(session_id=lease.session.session_id, target=target))

    async def on_refused(target: str, reason: str) -> None:
        if target in refused or len(refused) >= _MOST_TOLD:
            return
        refused.add(target)
        said = EgressRefused(
            session_id=lease.session.session_id, target=target[:300], reason=reason[:300]
        )
        await lease.note(said)
        await tell(refusal(target, reason, targets))

    egress = Egress(
        allowed=allowed,
        gate=gate,
        gate_deadline_s=1.0,
        on_allowed=on_allowed,
        on_refused=on_refused,
    )
    try:
        async with anyio.create_task_group() as tasks:
            proxy = ConnectProxy(f"{directory}/{PROXY_NAME}", egress, open_tunnel_or_plain)
            await tasks.start(proxy.serve)
            yield directory
            tasks.cancel_scope.cancel()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def refusal(target: str, reason: str, granted: tuple[str, ...]) -> str:
    """Say to the agent which connection there was not, and what its call may reach."""
    said = f"agp: no connection to {target}: {reason}; this call was granted {', '.join(granted)}"
    if target in granted and target.startswith(("127.", "[::1]")):
        return f"{said} (the host's; what the call itself serves is at localhost)"
    return said


_MOST_TOLD = 16
"""Refused targets of one call that are journaled and told one by one."""
