"""The journal event: what every line promises, read from the files on the disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from nacl.signing import VerifyKey

from agp.contracts.journal import (
    ALL_PAYLOADS,
    PAYLOAD_OF,
    ControlResumed,
    EventKind,
    KeyRevoked,
    KeyRotated,
)
from agp.errors import IntegrityError, JournalBroken, MessageRefused, NotBuilt
from agp.journal.commit import GroupCommit
from agp.journal.line import read_payload
from agp.journal.reader import read_events
from agp.journal.verify import Completeness, Integrity, verify_directory
from tests.conformance.clauses import clause
from tests.fakes.journal_logs import (
    OTHER,
    SIGNER,
    SteppingClock,
    lines_of,
    open_writer,
    resumed,
    sample,
    segment,
    write_log,
)

OF_THE_WRITER = {EventKind.JOURNAL_OPENED, EventKind.JOURNAL_REPAIRED, EventKind.CHECKPOINT_SEALED}
OF_A_KEY = {KeyRotated.kind, KeyRevoked.kind}
DEADLINE_S = 20.0


def play(directory: Path, act: Callable[[GroupCommit], Awaitable[None]]) -> None:
    """Run one act against the real journal of a directory."""
    writer = open_writer(directory)

    async def main() -> None:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                journal = GroupCommit(writer, SteppingClock())
                await tasks.start(journal.run)
                await act(journal)
                tasks.cancel_scope.cancel()

    try:
        anyio.run(main)
    finally:
        writer.close()


@clause("C-JOURNAL-01")
@pytest.mark.parametrize("kind", EventKind)
def test_each_kind_has_one_payload_that_comes_back_as_it_was_written(
    kind: EventKind, tmp_path: Path
) -> None:
    assert [model.kind for model in ALL_PAYLOADS].count(kind) == 1
    payload = sample(kind)
    assert type(payload) is PAYLOAD_OF[kind]

    async def act(journal: GroupCommit) -> None:
        if kind in OF_THE_WRITER | OF_A_KEY:
            with pytest.raises((MessageRefused, NotBuilt)):
                await journal.append(payload, actor="agp")
            return
        sealed = await journal.append(payload, actor="agp")
        (line,) = read_events(tmp_path, from_seq=sealed.seq)
        assert (line.kind, line.hash) == (kind.value, sealed.hash)
        assert read_payload(line.kind, line.payload) == payload

    play(tmp_path, act)


@clause("C-JOURNAL-02")
def test_an_append_returns_after_its_line_was_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    real = os.fdatasync

    def watched(file: int) -> None:
        real(file)
        synced.append(b"".join(path.read_bytes() for path in tmp_path.glob("*.jsonl")))

    monkeypatch.setattr(os, "fdatasync", watched)

    async def act(journal: GroupCommit) -> None:
        for index in range(3):
            sealed = await journal.append(resumed(f"n{index}"), actor="agp")
            assert sealed.hash.encode() in synced[-1]

    play(tmp_path, act)


@clause("C-JOURNAL-03")
def test_lines_are_numbered_from_0_and_each_names_the_hash_before(tmp_path: Path) -> None:
    write_log(tmp_path, 5)
    before = "0" * 64
    for seq, raw in enumerate(lines_of(tmp_path)):
        line = json.loads(raw)
        assert (line["seq"], line["prev_hash"]) == (seq, before)
        before = line["hash"]


@clause("C-JOURNAL-04")
def test_a_line_has_one_spelling_and_holds_no_null_and_no_fraction(tmp_path: Path) -> None:
    async def act(journal: GroupCommit) -> None:
        for kind in set(EventKind) - OF_THE_WRITER - OF_A_KEY:
            await journal.append(sample(kind), actor="agp")

    play(tmp_path, act)
    for raw in lines_of(tmp_path):
        value = json.loads(raw)
        spelled = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert spelled.encode() == raw
        json.loads(raw, parse_float=pytest.fail)
        assert b":null" not in raw


@clause("C-JOURNAL-05")
def test_hash_and_signature_cover_the_line_and_its_key(tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    key = SIGNER.public_key.raw
    for raw in lines_of(tmp_path):
        line = json.loads(raw)
        said, signature = line.pop("hash"), line.pop("signature")
        body = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        digest = hashlib.sha256(b"agp/line/v1\0" + body).digest()
        assert digest.hex() == said
        assert line["signing_key_id"] == hashlib.sha256(key).hexdigest()
        import base64

        VerifyKey(key).verify(b"agp/event/v1\0" + digest, base64.b64decode(signature))


@clause("C-JOURNAL-06")
def test_a_change_of_any_byte_is_damage(tmp_path: Path) -> None:
    write_log(tmp_path, 3)
    path = segment(tmp_path)
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            verify_directory(tmp_path, SIGNER.public_key)
    path.write_bytes(whole)
    assert verify_directory(tmp_path, SIGNER.public_key).integrity is Integrity.OK


@clause("C-JOURNAL-07")
def test_a_log_shorter_than_its_checkpoint_is_refused_and_completeness_needs_an_anchor(
    tmp_path: Path,
) -> None:
    write_log(tmp_path, 4)
    path, kept = segment(tmp_path), lines_of(tmp_path)
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert report.completeness is Completeness.UNANCHORED
    anchor = (tmp_path / "checkpoint").read_bytes()
    anchored = verify_directory(tmp_path, SIGNER.public_key, anchor)
    assert anchored.completeness is Completeness.ANCHORED
    path.write_bytes(b"".join(line + b"\n" for line in kept[:-2]))
    with pytest.raises(IntegrityError):
        verify_directory(tmp_path, SIGNER.public_key)


@clause("C-JOURNAL-08")
def test_after_one_write_error_nothing_is_appended_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fdatasync
    writer = open_writer(tmp_path)
    before = segment(tmp_path).read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    async def main() -> None:
        journal = GroupCommit(writer, SteppingClock())
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                await tasks.start(journal.run)
                monkeypatch.setattr(os, "fdatasync", full)
                with pytest.raises(JournalBroken):
                    await journal.append(resumed("first"), actor="agp")
                monkeypatch.setattr(os, "fdatasync", real)
                with pytest.raises(JournalBroken):
                    await journal.append(resumed("second"), actor="agp")

    with pytest.raises(ExceptionGroup) as ended:
        anyio.run(main)
    assert ended.group_contains(JournalBroken)
    writer.close()
    assert b"second" not in segment(tmp_path).read_bytes()
    assert segment(tmp_path).read_bytes().startswith(before)


@clause("C-JOURNAL-09")
def test_a_caller_who_is_cancelled_cannot_take_his_record_back(tmp_path: Path) -> None:
    async def act(journal: GroupCommit) -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await journal.append(resumed("gone"), actor="agp")

    play(tmp_path, act)
    last = list(read_events(tmp_path))[-1]
    assert read_payload(last.kind, last.payload) == ControlResumed(by="gone")


@clause("C-JOURNAL-10")
def test_a_log_verifies_only_with_a_key_that_is_given(tmp_path: Path) -> None:
    write_log(tmp_path, 2)
    with pytest.raises(IntegrityError):
        verify_directory(tmp_path, OTHER.public_key)


@clause("C-JOURNAL-11")
def test_an_event_that_cannot_be_spelled_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    async def act(journal: GroupCommit) -> None:
        size = journal.size
        with pytest.raises(MessageRefused):
            await journal.append(resumed("\ud800"), actor="agp")
        assert journal.size == size
        await journal.append(resumed("after"), actor="agp")

    play(tmp_path, act)
    assert verify_directory(tmp_path, SIGNER.public_key).integrity is Integrity.OK
