"""What the launcher carries from its person to the daemon."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from agp.contracts.base import ApprovalId
from agp.contracts.channel import Answer
from agp.daemon.config import Config
from agp.daemon.front import Front
from agp.daemon.home import Home
from agp.daemon.lease import Lease
from agp.daemon.show import Shown
from agp.errors import DaemonAway

ANSWER = Answer(
    approval_id=ApprovalId("otter-3f9c2e1a"),
    verdict="allow",
    approver="uid:1000",
    channel="terminal",
)


def test_an_answer_while_the_daemon_is_away_is_told_at_once_and_not_kept(tmp_path: Path) -> None:
    """It closed the question in silence, and waited for a daemon that might never come."""
    said: list[str] = []

    async def answered() -> None:
        lease = Lease(Home(tmp_path), Config())
        assert lease.away
        with lease._arrived, lease._notices, anyio.fail_after(5):
            await Front(lease, Shown(said.append), None).answer(ANSWER)

    with pytest.raises(DaemonAway, match="AGP's daemon is away; it comes back or the question"):
        anyio.run(answered)
    assert said == []
