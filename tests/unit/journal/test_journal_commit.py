"""Group commit: a record cannot be taken back, and a dead journal answers nobody with yes."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest

from agp.contracts.journal import ControlPaused, EventKind, Line
from agp.errors import JournalBroken, MessageRefused, NotBuilt
from agp.journal.commit import GroupCommit
from agp.journal.verify import verify_directory
from tests.fakes.journal_logs import SIGNER, SteppingClock, open_writer, resumed, sample


def _play(directory: Path, play: Callable[[GroupCommit], Awaitable[None]]) -> list[Line]:
    """Run a play against a running journal, stop it, and give what the listener heard."""
    heard: list[Line] = []
    writer = open_writer(directory)

    async def main() -> None:
        journal = GroupCommit(writer, SteppingClock())
        journal.on_sealed(heard.append)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                await tasks.start(journal.run)
                await play(journal)
                tasks.cancel_scope.cancel()

    try:
        anyio.run(main)
    finally:
        writer.close()
    return heard


def test_many_callers_share_writes_and_are_heard_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (syncs.append(file), real(file)))
    seqs: list[int] = []

    async def one(journal: GroupCommit, index: int) -> None:
        seqs.append((await journal.append(resumed(str(index)), actor="agp")).seq)

    async def play(journal: GroupCommit) -> None:
        async with anyio.create_task_group() as callers:
            for index in range(600):
                callers.start_soon(one, journal, index)

    heard = _play(tmp_path, play)
    assert sorted(seqs) == list(range(1, 601))
    assert [line.seq for line in heard] == list(range(1, 601))
    assert len(syncs) < 20
    assert verify_directory(tmp_path, SIGNER.public_key).lines == 601


def test_a_listener_hears_a_line_before_its_caller_goes_on(tmp_path: Path) -> None:
    order: list[str] = []

    async def play(journal: GroupCommit) -> None:
        journal.on_sealed(lambda _: order.append("heard"))
        await journal.append(resumed(), actor="agp")
        order.append("answered")

    _play(tmp_path, play)
    assert order == ["heard", "answered"]


def test_a_cancelled_caller_cannot_take_its_record_back(tmp_path: Path) -> None:
    async def play(journal: GroupCommit) -> None:
        for _ in range(5):
            with anyio.CancelScope() as scope:
                scope.cancel()
                await journal.append(resumed("cancelled"), actor="agp")
        await journal.append(resumed("after"), actor="agp")

    heard = _play(tmp_path, play)
    assert [line.payload["by"] for line in heard] == ["cancelled"] * 5 + ["after"]


def test_what_was_asked_for_before_the_end_is_made_durable(tmp_path: Path) -> None:
    async def play(journal: GroupCommit) -> None:
        async with anyio.create_task_group() as callers:
            for _ in range(40):
                callers.start_soon(lambda: journal.append(resumed(), actor="agp"))
            await anyio.lowlevel.checkpoint()
            callers.cancel_scope.cancel()

    heard = _play(tmp_path, play)
    assert verify_directory(tmp_path, SIGNER.public_key).lines == 1 + len(heard)
    assert len(heard) == 40


def test_after_the_end_nothing_is_appended(tmp_path: Path) -> None:
    kept: list[GroupCommit] = []

    async def play(journal: GroupCommit) -> None:
        kept.append(journal)

    _play(tmp_path, play)

    async def late() -> None:
        with pytest.raises(JournalBroken):
            await kept[0].append(resumed(), actor="agp")

    anyio.run(late)


def test_before_it_runs_nothing_is_appended_and_nobody_hangs(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)

    async def early() -> None:
        with anyio.fail_after(5), pytest.raises(JournalBroken):
            await GroupCommit(writer, SteppingClock()).append(resumed(), actor="agp")

    anyio.run(early)
    writer.close()


def test_a_write_error_reaches_every_caller_and_ends_the_task_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon's task group dies with the journal: structure, not memory."""
    outcomes: list[str] = []

    async def one(journal: GroupCommit) -> None:
        try:
            await journal.append(resumed(), actor="agp")
        except JournalBroken:
            outcomes.append("broken")
        else:
            outcomes.append("sealed")

    async def play(journal: GroupCommit) -> None:
        await one(journal)

        def fail(file: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fdatasync", fail)
        async with anyio.create_task_group() as callers:
            for _ in range(10):
                callers.start_soon(one, journal)
        await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        _play(tmp_path, play)
    assert caught.group_contains(JournalBroken, match="cannot be appended")
    assert outcomes == ["sealed"] + ["broken"] * 10


def test_a_listener_that_fails_ends_the_journal_after_the_answer(tmp_path: Path) -> None:
    """A projection that cannot follow must stop the daemon, not run behind in silence."""
    answered: list[int] = []

    def fail(line: Line) -> None:
        raise RuntimeError("projection")

    async def play(journal: GroupCommit) -> None:
        journal.on_sealed(fail)
        answered.append((await journal.append(resumed(), actor="agp")).seq)
        await anyio.sleep_forever()

    with pytest.raises(ExceptionGroup) as caught:
        _play(tmp_path, play)
    assert caught.group_contains(RuntimeError, match="projection")
    assert answered in ([1], [])
    assert verify_directory(tmp_path, SIGNER.public_key).lines == 2


def test_one_callers_bad_event_is_his_alone(tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def bad(journal: GroupCommit) -> None:
        with pytest.raises(MessageRefused):
            await journal.append(ControlPaused(reason="\udcff", by="x"), actor="agp")
        outcomes.append("refused")

    async def good(journal: GroupCommit) -> None:
        await journal.append(resumed(), actor="agp")
        outcomes.append("sealed")

    async def play(journal: GroupCommit) -> None:
        async with anyio.create_task_group() as callers:
            for task in (good, bad, good):
                callers.start_soon(task, journal)

    _play(tmp_path, play)
    assert sorted(outcomes) == ["refused", "sealed", "sealed"]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (EventKind.JOURNAL_OPENED, MessageRefused),
        (EventKind.JOURNAL_REPAIRED, MessageRefused),
        (EventKind.CHECKPOINT_SEALED, MessageRefused),
        (EventKind.KEY_ROTATED, NotBuilt),
        (EventKind.KEY_REVOKED, NotBuilt),
    ],
)
def test_the_kinds_that_hold_the_chain_are_the_writers(
    tmp_path: Path, kind: EventKind, error: type[Exception]
) -> None:
    async def play(journal: GroupCommit) -> None:
        with pytest.raises(error):
            await journal.append(sample(kind), actor="agp")

    assert _play(tmp_path, play) == []


def test_a_checkpoint_covers_what_was_appended_before_it(tmp_path: Path) -> None:
    async def play(journal: GroupCommit) -> None:
        await journal.append(resumed(), actor="agp")
        sealed = await journal.seal_checkpoint()
        assert sealed is not None
        assert sealed.seq == 2
        assert await journal.seal_checkpoint() is None
        assert journal.size == 3

    heard = _play(tmp_path, play)
    assert heard[-1].kind == EventKind.CHECKPOINT_SEALED
    assert verify_directory(tmp_path, SIGNER.public_key).local_checkpoint_size == 2
