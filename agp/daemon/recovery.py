"""Taking up what was open when the daemon went down, or closing it with the truth."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
from pydantic import ValidationError

from agp.contracts.intendant import Denied, Intendant, ToolCall
from agp.contracts.journal import (
    ApprovalCancelled,
    ApprovalRequested,
    ExecutionOutcomeUnknown,
    SessionReaped,
)
from agp.contracts.session import SessionLease
from agp.daemon.attached import live_outside
from agp.daemon.live import LeaseFile, LiveSession
from agp.daemon.sessions import clear_left_overs
from agp.errors import AgpError, IntegrityError
from agp.governor.decide import effective_digest
from agp.governor.handed import handed_over
from agp.governor.loop import Governor, call_digest
from agp.governor.session import Call, CallState, GovernedSession
from agp.journal.commitment import commitment as commit

if TYPE_CHECKING:
    from agp.contracts.base import CallId, Digest
    from agp.daemon.config import Config
    from agp.daemon.home import Home
    from agp.daemon.sessions import Sessions
    from agp.daemon.shelf import PolicyShelf
    from agp.governor.observing import ObservedRecord
    from agp.governor.recover import OpenSession, Recovery
    from agp.journal.calls import CallVault


@dataclass(frozen=True)
class Restorer:
    """What recovery needs of the daemon."""

    home: Home
    config: Config
    record: ObservedRecord
    governor: Governor
    sessions: Sessions
    shelf: PolicyShelf
    vault: CallVault
    intendants: dict[str, Intendant]

    async def restore(self, recovery: Recovery) -> None:
        """Take up every open session; what cannot be taken up is closed and journaled."""
        self.governor.paused = recovery.paused
        for opened in recovery.sessions.values():
            if opened.observing:
                self.record.begin(opened.started.session_id)
            try:
                live = self._live(opened)
                self.shelf.open_workspace(opened.started.workspace)
            except AgpError as error:
                await self._close(opened, f"it could not be taken up: {error.what}")
                continue
            live.mount_points = opened.mount_points
            await self._executing(live, opened)
            await self._redeemed(live, opened)
            await self._asked(live, opened)
            self.sessions.adopt(live)

    def _live(self, opened: OpenSession) -> LiveSession:
        started = opened.started
        intendant = self.intendants.get(started.intendant)
        if intendant is None:
            raise IntegrityError(f"the intendant {started.intendant!r} is not known here")
        kept = LeaseFile.load(self.home, started.session_id)
        governed = GovernedSession(
            started.session_id, intendant, workspace=started.workspace, grade=started.grade
        )
        if kept.harness_session is not None:
            governed.bind(kept.harness_session)
        governed.call_views = kept.call_views
        if started.attached is not None:
            live_outside(governed, self.home)
        governed.interactive = started.interactive is not None
        governed.counts = opened.counts
        governed.violations = opened.violations
        governed.executed_before = set(opened.executed)
        lease = SessionLease(
            session_id=started.session_id,
            secret=kept.secret,
            fencing_token=kept.fencing_token,
            launcher_pid=0,
            reattach_grace_s=float(self.config.reattach_grace_s),
            status="away",
        )
        return LiveSession(
            governed, started, opened.started_at, lease, kept.view_uid, kept.model_upstream
        )

    async def _executing(self, live: LiveSession, opened: OpenSession) -> None:
        """Calls that the daemon executed itself died with it: said, and never executed again."""
        # In views of their own the launcher runs them: they are taken up with the redeemed ones.
        for call_id in () if live.governed.call_views else sorted(opened.executing):
            # Read before it is journaled: the line that ends a call also lets go of its body.
            with suppress(AgpError):
                call, _ = await self._call(live.governed, call_id)
                call.state = CallState.ENDED
                call.rule(Denied(reason="AGP ended while this call ran; see what it has done"))
                live.governed.calls[call.call.tool_use_id] = call
            await self._unknown(opened, call_id, "the daemon ended while it ran")

    async def _redeemed(self, live: LiveSession, opened: OpenSession) -> None:
        """Calls that may be running: their outcome is still welcome.

        One that was handed over and not begun is over: what an approval bound is not known any
        more, so that nobody can look once more whether it is as it was.
        """
        running = opened.executing if live.governed.call_views else ()
        for call_id in dict.fromkeys((*opened.redeemed, *running)):
            try:
                call, _ = await self._call(live.governed, call_id)
            except AgpError:
                why = "the daemon restarted and the call's body is gone"
                await self._unknown(opened, call_id, why)
                continue
            call.state = CallState.REDEEMED
            call.delivered = True
            call.decided.set()
            call.started = call_id in running
            if call.handed is not None and not call.started:
                call.state = CallState.ENDED
                await self._unknown(opened, call_id, "AGP ended before it began; it was not begun")
            if call.ticket is not None:
                live.governed.redeemed[call.ticket] += 1
            live.governed.calls[call.call.tool_use_id] = call

    async def _asked(self, live: LiveSession, opened: OpenSession) -> None:
        for asked in opened.asked.values():
            try:
                call, commitment = await self._call(live.governed, asked.call_id)
            except AgpError:
                await self._cancel(asked)
                continue
            granted_by = tuple(opened.granted_by.get(asked.approval_id, ()))
            self.governor.restore(live.governed, call, asked, granted_by, commitment)

    async def _call(self, governed: GovernedSession, call_id: CallId) -> tuple[Call, Digest]:
        """Read one call back.

        Raises:
            AgpError: its body or its salt is gone, or is not what was stored.
        """
        kept = await anyio.to_thread.run_sync(self.vault.get, call_id)
        if kept is None or kept.body is None:
            raise IntegrityError("a call's body is gone", where=call_id)
        try:
            tool_call = ToolCall.model_validate_json(kept.body)
        except ValidationError as error:
            raise IntegrityError("a call's body is not what was stored", where=call_id) from error
        effective = await anyio.to_thread.run_sync(effective_digest, governed.intendant, tool_call)
        fresh = Call(call_id, tool_call, effective, call_digest(tool_call, effective))
        call = await handed_over(governed, fresh)
        call.ticket = call.key
        return call, commit(kept.salt, tool_call.raw_input)

    async def _cancel(self, asked: ApprovalRequested) -> None:
        await self.record.append(
            ApprovalCancelled(
                approval_id=asked.approval_id, call_id=asked.call_id, cause="body_gone"
            ),
            actor="agp",
        )

    async def _unknown(self, opened: OpenSession, call_id: CallId, reason: str) -> None:
        await self.record.append(
            ExecutionOutcomeUnknown(
                session_id=opened.started.session_id, call_id=call_id, reason=reason
            ),
            actor="agp",
        )

    async def _close(self, opened: OpenSession, reason: str) -> None:
        for asked in opened.asked.values():
            await self._cancel(asked)
        for call_id in sorted({*opened.redeemed, *opened.executing}):
            await self._unknown(opened, call_id, "its session could not be taken up")
        await clear_left_overs(
            self.home, self.record, opened.started.session_id, opened.mount_points
        )
        await self.record.append(
            SessionReaped(session_id=opened.started.session_id, reason=reason[:500]), actor="agp"
        )
        self.record.forget(opened.started.session_id)
