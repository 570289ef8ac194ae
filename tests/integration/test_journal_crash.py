"""Killed at any point, on a full disk, beside a second writer: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.contracts.journal import ControlPaused
from agp.errors import ConfigurationError, JournalBroken
from agp.journal.keys import format_public_key
from agp.journal.line import Draft, SealedLine, parse_line
from agp.journal.reader import read_events, stored_lines, stored_lines_before_tear
from agp.journal.verify import verify_directory
from tests.fakes import second_verifier
from tests.fakes.journal_logs import SIGNER, TS, drafts, open_writer

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]), "PATH": os.environ["PATH"]}
ROUNDS = 36


@dataclass(frozen=True)
class Crash:
    call: str
    how: str
    latest: int


CRASHES = (
    Crash("pwrite", "before", 8),
    Crash("pwrite", "half", 8),
    Crash("pwrite", "after", 8),
    Crash("fdatasync", "before", 8),
    Crash("fdatasync", "after", 8),
    Crash("rename", "before", 2),
    Crash("rename", "after", 2),
    Crash("fsync", "before", 6),
    Crash("fsync", "after", 6),
    Crash("ftruncate", "before", 1),
    Crash("ftruncate", "after", 1),
    Crash("open", "after", 8),
)
"""Where the child kills itself; `ftruncate` happens only after a tear, else the child ends well."""


def _child(directory: Path, crash: Crash, countdown: int) -> dict[int, str]:
    """Run the child; give the hashes of the lines that it acknowledged, by seq."""
    argv = [sys.executable, str(ROOT / "tests/fakes/journal_child.py"), str(directory), "9"]
    done = subprocess.run(
        [*argv, crash.call, str(countdown), crash.how],
        check=False,
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr.decode()
    pairs = (line.split() for line in done.stdout.decode().splitlines())
    return {int(seq): line_hash for seq, line_hash in pairs}


def test_a_writer_that_is_killed_anywhere_loses_nothing_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    """One journal lives through all the crashes; each start proves and continues it."""
    chance = random.Random(20261120)
    acknowledged: dict[int, str] = {}
    killed = 0
    for index in range(ROUNDS):
        crash = CRASHES[index % len(CRASHES)]
        added = _child(tmp_path, crash, chance.randint(1, crash.latest))
        assert not acknowledged.keys() & added.keys()
        acknowledged |= added
        killed += len(added) < 20
        stored = [parse_line(item.raw) for item in stored_lines_before_tear(tmp_path)]
        held = {line.seq: line.hash for line in stored}
        assert acknowledged.items() <= held.items()
        assert [line.seq for line in stored] == list(range(len(stored)))
    assert killed > ROUNDS // 2
    open_writer(tmp_path).close()
    report = verify_directory(tmp_path, SIGNER.public_key)
    assert report.repairs >= 3
    assert report.segments > 3
    vkey = format_public_key(SIGNER.public_key).decode()
    assert second_verifier.verify(str(tmp_path), vkey)["lines"] == report.lines


def test_every_crash_while_a_journal_is_created_can_be_continued(tmp_path: Path) -> None:
    points = [Crash(call, how, 1) for call in ("open", "fsync", "pwrite", "fdatasync", "rename")
              for how in ("before", "after")]  # fmt: skip
    for number, crash in enumerate([*points, Crash("pwrite", "half", 1)]):
        directory = tmp_path / str(number)
        directory.mkdir()
        acknowledged = _child(directory, crash, 1)
        open_writer(directory).close()
        report = verify_directory(directory, SIGNER.public_key)
        assert report.lines > len(acknowledged)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    before = writer.size
    argv = [sys.executable, str(ROOT / "tests/fakes/journal_child.py"), str(tmp_path), "1"]
    done = subprocess.run(
        [*argv, "none", "0", "-"],
        check=False,
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    assert done.returncode == 1
    assert b"another process writes this journal" in done.stderr
    with pytest.raises(ConfigurationError):
        open_writer(tmp_path)
    writer.close()
    assert len(list(stored_lines(tmp_path))) == before


@contextmanager
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a directory that holds little: a tmpfs for root, a file size limit for others."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() == 0:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], check=True)
        try:
            yield place
        finally:
            subprocess.run(["umount", place], check=True)
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        yield place
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _fill(directory: Path) -> int:
    """Append until it breaks; give the last acknowledged seq."""
    writer = open_writer(directory)
    last = -1
    try:
        while True:
            for item in writer.append([Draft(ControlPaused(reason="x" * 900, by="x"), "agp", TS)]):
                assert isinstance(item, SealedLine)
                last = item.line.seq
            assert last < 1000, "the disk never filled"
    except JournalBroken:
        with pytest.raises(JournalBroken):
            writer.append(drafts(1))
        return last
    finally:
        writer.close()


def test_a_full_disk_breaks_the_journal_and_loses_nothing(tmp_path: Path) -> None:
    with _small_disk(tmp_path) as small:
        last = _fill(small)
        assert last > 10
        stored = [parse_line(item.raw) for item in stored_lines_before_tear(small)]
        assert len(stored) > last
        copy = tmp_path / "roomy"
        copy.mkdir()
        for path in small.iterdir():
            (copy / path.name).write_bytes(path.read_bytes())
    open_writer(copy).close()
    assert verify_directory(copy, SIGNER.public_key).lines > last
    assert [line.seq for line in read_events(copy)][: last + 1] == list(range(last + 1))


def test_a_journal_on_a_full_disk_is_not_opened_half(tmp_path: Path) -> None:
    with _small_disk(tmp_path) as small:
        _fill(small)
        before = {path.name: path.stat().st_size for path in small.iterdir()}
        torn = len(list(stored_lines_before_tear(small)))
        try:
            open_writer(small).close()
        except JournalBroken:
            assert len(list(stored_lines_before_tear(small))) == torn
        assert before.keys() <= {path.name for path in small.iterdir()}
