"""Group commit: many callers on the loop, one thread that makes their lines durable.

Whatever waits becomes one write and one `fdatasync`. A record belongs to the journal from the
moment it is asked for: the caller who is cancelled cannot take it back. After the first write
error every caller, waiting or later, gets `JournalBroken`, and `run` raises it into the daemon's
task group: a dead journal ends the daemon.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

import anyio
from anyio.lowlevel import checkpoint_if_cancelled
from anyio.to_thread import run_sync

from agp.contracts.journal import KeyRevoked, KeyRotated
from agp.errors import JournalBroken, MessageRefused, NotBuilt, Refusal
from agp.journal.line import Draft, SealedLine, timestamp
from agp.journal.writer import own_kinds, sealed_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus

    from agp.contracts.journal import Clock, Line, Payload, Sealed
    from agp.journal.writer import JournalWriter

MAX_BATCH: Final = 256
"""Lines of one write; bounds what a crash can leave unacknowledged and how long the first waits."""
_KEY_KINDS: Final = frozenset({KeyRotated, KeyRevoked})


class _Waiting:
    """One caller's record on its way; None as draft asks for a checkpoint."""

    def __init__(self, draft: Draft | None) -> None:
        self.draft = draft
        self.done = anyio.Event()
        self.outcome: SealedLine | Refusal | None = None
        self.broken = ""

    def end(self, outcome: SealedLine | Refusal | None, broken: str = "") -> None:
        """Tell the caller; only durable lines come as an outcome."""
        self.outcome = outcome
        self.broken = broken
        self.done.set()


class GroupCommit:
    """Implements `contracts.journal.Record`; `run` must be running for anything to be appended."""

    def __init__(self, writer: JournalWriter, clock: Clock) -> None:
        self._writer = writer
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._wake = anyio.Event()
        self._listeners: list[Callable[[Line], None]] = []
        self._closed = "it is not running yet"

    @property
    def log_id(self) -> str:
        """The random name of this log."""
        return self._writer.log_id

    @property
    def size(self) -> int:
        """Lines that are durable."""
        return self._writer.size

    def on_sealed(self, callback: Callable[[Line], None]) -> None:
        """Call back on the loop with each durable line, in order, before its caller goes on.

        A callback must be quick; its exception ends `run`, and with it the daemon.
        """
        self._listeners.append(callback)

    async def append(self, payload: Payload, *, actor: str) -> Sealed:
        """Seal and store one event; returns after the line is durable, cancelled or not.

        Raises:
            JournalBroken: the line cannot be relied on; nothing may be granted any more.
            MessageRefused: the event cannot be spelled; the journal is unharmed.
            OverLimit: the event is too long; the journal is unharmed.
            NotBuilt: changing keys is not part of this version.
        """
        _check_kind(payload)
        waiting = _Waiting(Draft(payload, actor, timestamp(self._clock.now())))
        outcome = await self._enqueue(waiting)
        if outcome is None:
            raise self._broken_error("no line came of it")
        return sealed_of(outcome)

    async def seal_checkpoint(self) -> Sealed | None:
        """Seal a checkpoint over everything appended before; None where nothing is new.

        Raises:
            JournalBroken: as `append`.
        """
        outcome = await self._enqueue(_Waiting(None))
        return None if outcome is None else sealed_of(outcome)

    async def run(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Commit until cancelled; what was asked for before is made durable first.

        Raises:
            JournalBroken: a write failed; every caller got it as well.
        """
        self._closed = ""
        task_status.started()
        try:
            await self._serve()
        except JournalBroken as error:
            self._closed = error.why
            raise
        finally:
            self._closed = self._closed or "it was stopped"
            self._end_all()

    async def _serve(self) -> None:
        limiter = anyio.CapacityLimiter(1)
        try:
            while True:
                if not self._waiting:
                    self._wake = anyio.Event()
                    await self._wake.wait()
                with anyio.CancelScope(shield=True):
                    await self._commit_batch(limiter)
                await checkpoint_if_cancelled()
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                while self._waiting:
                    await self._commit_batch(limiter)
            raise

    async def _commit_batch(self, limiter: anyio.CapacityLimiter) -> None:
        """Make one batch durable, tell the listeners, then the callers."""
        batch = self._next_batch()
        outcomes = await run_sync(self._commit, batch, limiter=limiter)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            self._waiting.popleft()
            waiting.end(outcome)
        for outcome in outcomes:
            if isinstance(outcome, SealedLine):
                for listener in self._listeners:
                    listener(outcome.line)

    def _next_batch(self) -> list[_Waiting]:
        """Name the records up to the next checkpoint, or one checkpoint alone.

        They leave the queue only when they are durable: whatever ends `run` ends them too.
        """
        batch: list[_Waiting] = []
        for waiting in self._waiting:
            if waiting.draft is None or len(batch) == MAX_BATCH:
                return batch or [waiting]
            batch.append(waiting)
        return batch

    def _commit(self, batch: list[_Waiting]) -> list[SealedLine | Refusal | None]:
        """Run in the commit thread."""
        drafts = [waiting.draft for waiting in batch if waiting.draft is not None]
        if drafts:
            return list(self._writer.append(drafts))
        return [self._writer.seal_checkpoint(timestamp(self._clock.now()))]

    async def _enqueue(self, waiting: _Waiting) -> SealedLine | None:
        if self._closed:
            raise self._broken_error(self._closed)
        self._waiting.append(waiting)
        self._wake.set()
        with anyio.CancelScope(shield=True):
            await waiting.done.wait()
        if waiting.broken:
            raise self._broken_error(waiting.broken)
        if isinstance(waiting.outcome, Refusal):
            raise waiting.outcome
        return waiting.outcome

    def _end_all(self) -> None:
        while self._waiting:
            self._waiting.popleft().end(None, self._closed)

    def _broken_error(self, why: str) -> JournalBroken:
        return JournalBroken(
            "the journal cannot be appended to",
            why=why,
            fix="see `agp daemon status`; run `agp verify` before the next start",
        )


def _check_kind(payload: Payload) -> None:
    """Keep callers from the kinds by which the chain itself is held together."""
    if type(payload) in own_kinds():
        raise MessageRefused("only the journal's writer seals this kind", where=payload.kind)
    if type(payload) in _KEY_KINDS:
        raise NotBuilt("changing the signing key is not built yet", where=payload.kind)
