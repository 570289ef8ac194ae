"""The writer: what it acknowledges is there, what it cannot prove it does not continue."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agp.contracts.journal import ControlPaused, EventKind
from agp.errors import ConfigurationError, IntegrityError, JournalBroken, MessageRefused
from agp.journal import writer as writer_module
from agp.journal.keys import Signer
from agp.journal.line import Draft, parse_line
from agp.journal.reader import read_events, stored_lines, stored_lines_before_tear
from agp.journal.verify import verify_directory
from agp.journal.writer import JournalWriter
from tests.fakes.journal_logs import (
    OTHER,
    SIGNER,
    TS,
    HandLog,
    SteppingClock,
    drafts,
    lines_of,
    open_writer,
    resumed,
    segment,
    write_log,
)


def _state(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_new_journal_opens_with_a_random_name_and_a_first_note(tmp_path: Path) -> None:
    names = set()
    for home in ("a", "b"):
        writer = open_writer(tmp_path / home)
        names.add(writer.log_id)
        writer.close()
        report = verify_directory(tmp_path / home, SIGNER.public_key)
        assert (report.lines, report.local_checkpoint_size) == (1, 1)
        assert report.log_id in names
    assert len(names) == 2
    assert segment(tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_journal_continues_where_it_ended(tmp_path: Path) -> None:
    for index in range(3):
        writer = open_writer(tmp_path)
        assert writer.size == 1 + 2 * index
        writer.append(drafts(2, first=2 * index))
        writer.close()
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert (report.lines, report.repairs) == (7, 0)
    kinds = [line.kind for line in read_events(tmp_path, from_seq=5)]
    assert kinds == [EventKind.CONTROL_RESUMED] * 2


def test_a_refused_event_leaves_no_trace_and_harms_no_other(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    bad = Draft(ControlPaused(reason="\udcff", by="x"), "agp", TS)
    outcomes = writer.append([*drafts(1), bad, *drafts(1, first=1)])
    assert isinstance(outcomes[1], MessageRefused)
    writer.close()
    assert verify_directory(tmp_path, SIGNER.public_key).lines == 3


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    with pytest.raises(ConfigurationError, match="another process"):
        open_writer(tmp_path)
    writer.append(drafts(1))
    writer.close()
    open_writer(tmp_path).close()


@pytest.mark.parametrize("sealed", [True, False])
def test_a_truncated_log_is_never_continued(tmp_path: Path, sealed: bool) -> None:
    write_log(tmp_path)
    kept = lines_of(tmp_path)[:5]
    segment(tmp_path).write_bytes(
        b"".join(line + b"\n" for line in kept) + (b"" if sealed else b"{")
    )
    before = _state(tmp_path)
    with pytest.raises(IntegrityError) as caught:
        open_writer(tmp_path)
    assert "truncation" in caught.value.why
    assert _state(tmp_path) == before


def test_a_log_whose_files_are_gone_is_never_begun_again(tmp_path: Path) -> None:
    """Deleting the segments beside a checkpoint must not start a clean chain."""
    write_log(tmp_path)
    segment(tmp_path).unlink()
    before = _state(tmp_path)
    with pytest.raises(IntegrityError):
        open_writer(tmp_path)
    assert _state(tmp_path) == before


def test_a_log_without_its_checkpoint_is_not_continued(tmp_path: Path) -> None:
    write_log(tmp_path)
    (tmp_path / "checkpoint").unlink()
    before = _state(tmp_path)
    with pytest.raises(IntegrityError, match="missing"):
        open_writer(tmp_path)
    assert _state(tmp_path) == before


@pytest.mark.parametrize("number", range(8))
def test_an_edit_anywhere_is_found_before_anything_is_written(tmp_path: Path, number: int) -> None:
    write_log(tmp_path, count=4)
    writer = open_writer(tmp_path)
    writer.append(drafts(2, first=9))
    writer.close()
    lines = lines_of(tmp_path)
    lines[number] = lines[number].replace(b"2026", b"2027", 1)
    segment(tmp_path).write_bytes(b"".join(line + b"\n" for line in lines))
    before = _state(tmp_path)
    with pytest.raises(IntegrityError):
        open_writer(tmp_path)
    assert _state(tmp_path) == before


def test_another_key_or_origin_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    write_log(tmp_path)
    before = _state(tmp_path)
    for signer in (OTHER, Signer(SIGNER.seed, "agp.test/renamed")):
        with pytest.raises(ConfigurationError):
            open_writer(tmp_path, signer)
    with pytest.raises(ConfigurationError, match="not named"):
        JournalWriter.open(tmp_path, SIGNER, origin="agp.test/other", clock=SteppingClock())
    assert _state(tmp_path) == before


def test_a_log_with_a_rotated_key_is_not_continued_by_the_old_one(tmp_path: Path) -> None:
    log = HandLog()
    log.rotate(OTHER)
    log.write(tmp_path)
    for signer in (SIGNER, OTHER):
        with pytest.raises((ConfigurationError, IntegrityError)):
            open_writer(tmp_path, signer)


@pytest.mark.parametrize("length", [1, 40, 300, 5000])
def test_a_torn_tail_is_cut_off_and_said(tmp_path: Path, length: int) -> None:
    write_log(tmp_path)
    whole = segment(tmp_path).read_bytes()
    segment(tmp_path).write_bytes(whole + b"x" * length)
    assert len(list(stored_lines_before_tear(tmp_path))) == 8
    with pytest.raises(IntegrityError):
        list(stored_lines(tmp_path))
    open_writer(tmp_path).close()
    assert segment(tmp_path).read_bytes().startswith(whole)
    repaired = parse_line(lines_of(tmp_path)[-1])
    assert repaired.kind == EventKind.JOURNAL_REPAIRED
    assert repaired.payload["removed_bytes"] == length
    assert verify_directory(tmp_path, SIGNER.public_key).repairs == 1


def test_a_crash_while_the_first_line_was_written_is_repaired(tmp_path: Path) -> None:
    (tmp_path / f"{0:020d}.jsonl").write_bytes(b'{"actor":"a')
    open_writer(tmp_path).close()
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert (report.lines, report.repairs) == (2, 1)


def test_a_crash_before_the_first_note_is_repaired(tmp_path: Path) -> None:
    open_writer(tmp_path).close()
    (tmp_path / "checkpoint").unlink()
    open_writer(tmp_path).close()
    assert verify_directory(tmp_path, SIGNER.public_key).local_checkpoint_size == 1


def test_a_crash_between_rotation_and_first_line_is_continued(tmp_path: Path) -> None:
    write_log(tmp_path)
    (tmp_path / f"{8:020d}.jsonl").write_bytes(b"")
    writer = open_writer(tmp_path)
    writer.append(drafts(1))
    writer.close()
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert (report.lines, report.segments, report.repairs) == (9, 2, 0)


def test_a_segment_that_begins_nowhere_is_not_taken_for_a_new_log(tmp_path: Path) -> None:
    (tmp_path / f"{5:020d}.jsonl").write_bytes(b"")
    with pytest.raises(IntegrityError):
        open_writer(tmp_path)


@pytest.mark.parametrize("change", ["grow", "cut", "unlink", "replace"])
def test_a_segment_that_changes_underneath_breaks_the_journal(tmp_path: Path, change: str) -> None:
    writer = open_writer(tmp_path)
    path = segment(tmp_path)
    if change == "grow":
        path.write_bytes(path.read_bytes() + b"x\n")
    elif change == "cut":
        os.truncate(path, 10)
    elif change == "unlink":
        path.unlink()
    else:
        (tmp_path / "new").write_bytes(path.read_bytes())
        (tmp_path / "new").rename(path)
    with pytest.raises(JournalBroken):
        writer.append(drafts(1))
    with pytest.raises(JournalBroken):
        writer.append(drafts(1))
    writer.close()


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "short"])
def test_any_write_error_breaks_the_journal_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """One failure, then a disk that works again: nothing is appended any more."""
    writer = open_writer(tmp_path)
    real = os.pwrite

    def fail(*arguments: object) -> int:
        raise OSError(5, "Input/output error")

    def short(file: int, data: bytes, offset: int) -> int:
        return real(file, data[: len(data) // 2], offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite" if call == "short" else call, short if call == "short" else fail)
        with pytest.raises(JournalBroken):
            writer.append(drafts(2))
    for attempt in (lambda: writer.append(drafts(1)), lambda: writer.seal_checkpoint(TS)):
        with pytest.raises(JournalBroken):
            attempt()
    writer.close()
    open_writer(tmp_path).close()
    verify_directory(tmp_path, SIGNER.public_key)


def test_a_checkpoint_that_cannot_be_written_breaks_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path)
    writer.append(drafts(1))
    (tmp_path / "checkpoint.new").mkdir()
    with pytest.raises(JournalBroken):
        writer.seal_checkpoint(TS)
    with pytest.raises(JournalBroken):
        writer.append(drafts(1))
    writer.close()


def test_an_idle_log_does_not_grow_by_its_checkpoints(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    assert writer.seal_checkpoint(TS) is None
    writer.append(drafts(1))
    assert writer.seal_checkpoint(TS) is not None
    assert writer.seal_checkpoint(TS) is None
    assert writer.size == 3
    writer.close()


def test_a_crash_between_note_and_line_is_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path)
    writer.append(drafts(2))
    monkeypatch.setattr(writer, "append", lambda _drafts: (_ for _ in ()).throw(JournalBroken("x")))
    with pytest.raises(JournalBroken):
        writer.seal_checkpoint(TS)
    writer.close()
    writer = open_writer(tmp_path)
    writer.append(drafts(1))
    writer.close()
    verify_directory(tmp_path, SIGNER.public_key)


def test_a_link_in_place_of_a_segment_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT_BYTES", 1)
    writer = open_writer(tmp_path / "j")
    (tmp_path / "j" / f"{1:020d}.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalBroken):
        writer.append(drafts(1))
    writer.close()
    assert not (tmp_path / "elsewhere").exists()


def test_a_missing_directory_names_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        JournalWriter.open(tmp_path / "x", SIGNER, origin=SIGNER.name, clock=SteppingClock())
    assert "agp init" in caught.value.fix


def test_a_closed_writer_writes_nothing(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(JournalBroken):
        writer.append([Draft(resumed(), "agp", TS)])


def test_an_idle_log_does_not_grow_by_being_opened_and_sealed_again(tmp_path: Path) -> None:
    write_log(tmp_path)
    for _ in range(2):
        writer = open_writer(tmp_path)
        assert writer.seal_checkpoint(TS) is None
        writer.close()
    assert len(lines_of(tmp_path)) == 8
