"""The journal's port: the real group commit and its fake keep the same promises."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import anyio
import pytest

from agp.contracts.journal import ControlResumed, EventKind, Payload, Record
from agp.errors import AgpError, JournalBroken, MessageRefused, NotBuilt
from agp.journal.commit import GroupCommit
from agp.journal.line import read_payload
from agp.journal.reader import read_events
from tests.fakes.governed import FakeRecord
from tests.fakes.journal_logs import SteppingClock, open_writer, resumed, sample

DEADLINE_S = 20.0


class Journal(Protocol):
    """One implementation in a test's hand."""

    record: Record

    def stored(self) -> list[tuple[str, Payload]]: ...

    def break_(self) -> None: ...


@dataclass
class Fake:
    """In memory."""

    record: FakeRecord = field(default_factory=FakeRecord)

    def stored(self) -> list[tuple[str, Payload]]:
        return list(self.record.events)

    def break_(self) -> None:
        self.record.broken = True


@dataclass
class Real:
    """On the disk."""

    record: GroupCommit
    directory: Path
    patch: pytest.MonkeyPatch

    def stored(self) -> list[tuple[str, Payload]]:
        lines = list(read_events(self.directory))[1:]
        return [(line.actor, read_payload(line.kind, line.payload)) for line in lines]

    def break_(self) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch.setattr(os, "fdatasync", full)


@asynccontextmanager
async def fake(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    yield Fake()


@asynccontextmanager
async def real(directory: Path, patch: pytest.MonkeyPatch) -> AsyncIterator[Journal]:
    writer = open_writer(directory)
    record = GroupCommit(writer, SteppingClock())

    async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
        try:
            await record.run(task_status=task_status)
        except JournalBroken:
            return  # the daemon would end here; the test looks at what its callers hear

    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(run)
            yield Real(record, directory, patch)
            tasks.cancel_scope.cancel()
    finally:
        writer.close()


Play = Callable[[Callable[[Journal], Awaitable[None]]], None]


@pytest.fixture(params=[fake, real], ids=["fake", "real"])
def play(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    def run(act: Callable[[Journal], Awaitable[None]]) -> None:
        async def main() -> None:
            with anyio.fail_after(DEADLINE_S):
                async with request.param(tmp_path, monkeypatch) as journal:
                    await act(journal)

        anyio.run(main)

    return run


def test_what_was_appended_stands_there_in_order_with_its_actor(play: Play) -> None:
    async def act(journal: Journal) -> None:
        sealed = [await journal.record.append(resumed(f"n{i}"), actor=f"a{i}") for i in range(3)]
        assert [one.seq for one in sealed] == [1, 2, 3]
        assert len({one.hash for one in sealed}) == 3
        expected = [(f"a{i}", ControlResumed(by=f"n{i}")) for i in range(3)]
        assert journal.stored() == expected

    play(act)


def test_callers_at_once_have_a_place_each(play: Play) -> None:
    async def act(journal: Journal) -> None:
        places: dict[int, str] = {}

        async def one(name: str) -> None:
            places[(await journal.record.append(resumed(name), actor="agp")).seq] = name

        async with anyio.create_task_group() as callers:
            for index in range(20):
                callers.start_soon(one, f"n{index}")
        stored = [payload for _, payload in journal.stored()]
        assert stored == [ControlResumed(by=places[seq]) for seq in range(1, 21)]

    play(act)


def test_a_caller_who_is_cancelled_cannot_take_his_record_back(play: Play) -> None:
    async def act(journal: Journal) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.record.append(resumed("gone"), actor="agp")
        assert journal.stored() == [("agp", ControlResumed(by="gone"))]

    play(act)


@pytest.mark.parametrize("kind", EventKind)
def test_the_same_kinds_are_taken_and_refused(play: Play, kind: EventKind) -> None:
    refused: dict[EventKind, type[AgpError]] = {
        EventKind.JOURNAL_OPENED: MessageRefused,
        EventKind.JOURNAL_REPAIRED: MessageRefused,
        EventKind.CHECKPOINT_SEALED: MessageRefused,
        EventKind.KEY_ROTATED: NotBuilt,
        EventKind.KEY_REVOKED: NotBuilt,
    }

    async def act(journal: Journal) -> None:
        payload = sample(kind)
        if kind in refused:
            with pytest.raises(refused[kind]):
                await journal.record.append(payload, actor="agp")
            assert journal.stored() == []
        else:
            await journal.record.append(payload, actor="agp")
            assert journal.stored() == [("agp", payload)]

    play(act)


@pytest.mark.parametrize(("by", "actor"), [("\ud800", "agp"), ("x", ""), ("x", "\ud800")])
def test_an_event_that_cannot_be_spelled_is_its_callers_alone(
    play: Play, by: str, actor: str
) -> None:
    async def act(journal: Journal) -> None:
        with pytest.raises(MessageRefused):
            await journal.record.append(resumed(by), actor=actor)
        assert (await journal.record.append(resumed("after"), actor="agp")).seq == 1
        assert journal.stored() == [("agp", ControlResumed(by="after"))]

    play(act)


def test_once_broken_it_refuses_for_good(play: Play) -> None:
    async def act(journal: Journal) -> None:
        await journal.record.append(resumed("before"), actor="agp")
        journal.break_()
        for _ in range(3):
            with pytest.raises(JournalBroken):
                await journal.record.append(resumed("after"), actor="agp")

    play(act)
