"""A home on a file system that runs full: a pause or a clear error, nothing lost, nothing run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.fakes.agp_house import House, house
from tests.fakes.daemon_wire import held, start_daemon

pytestmark = pytest.mark.slow
MIB = 1024 * 1024


@pytest.fixture
def home() -> Iterator[House]:
    """Give a home on a small file system of its own."""
    assert os.geteuid() == 0, "a small file system is mounted by root: scripts/test runs this so"
    with house() as made:
        kept = made.place / "kept"
        shutil.move(made.home.root, kept)
        made.home.root.mkdir(mode=0o700)
        mount = ("mount", "-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", str(made.home.root))
        subprocess.run(mount, check=True, timeout=30)
        try:
            shutil.copytree(kept, made.home.root, dirs_exist_ok=True)
            made.configure(disk_reserve_mib=1)
            yield made
            if made.daemon_pid() is not None:
                made.kill_daemon()
        finally:
            subprocess.run(("umount", "-l", str(made.home.root)), check=True, timeout=30)


def fill(home: House, *, leave: int) -> None:
    """Write until only so many bytes are free."""
    ballast = home.home.root / "ballast"
    with ballast.open("ab") as file:
        while (free := shutil.disk_usage(home.home.root).free) > leave:
            file.write(b"x" * min(65536, free - leave))
            file.flush()


def test_below_the_reserve_nothing_is_granted_until_a_person_resumes(home: House) -> None:
    fill(home, leave=MIB // 2)
    start_daemon(home)
    home.await_event("control.paused")
    with held(home) as session:
        session.begin()
        verdict, told = session.decision(session.hook("PreToolUse", session.bash("git status")))
        session.end()
    (home.home.root / "ballast").unlink()
    assert home.agp("resume").returncode == 0
    with held(home) as session:
        session.begin()
        after, _ = session.decision(session.hook("PreToolUse", session.bash("git status")))
        session.end()

    assert (verdict, after) == ("deny", "allow")
    assert "MiB are free" in told
    assert home.kinds("control.paused", "control.resumed") == ["control.paused", "control.resumed"]


def test_a_full_disk_grants_nothing_and_what_was_written_stays(home: House) -> None:
    """No byte is free: every call is refused, the daemon ends or pauses, the journal verifies."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        first, _ = session.decision(session.hook("PreToolUse", session.bash("git status")))
        before = home.kinds()
        fill(home, leave=0)
        told = [
            session.bridge("PreToolUse", session.bash("git log", use=f"toolu_f{number}"))
            for number in range(2)
        ]
    log = home.home.log.read_text()

    assert first == "allow"
    for one in told:
        assert one.returncode == 2 or b'"deny"' in one.stdout
        assert b'"allow"' not in one.stdout
    (home.home.root / "ballast").unlink()
    assert home.kinds()[: len(before)] == before
    assert "Exception Group" not in log
    if home.daemon_pid() is None:
        start_daemon(home)
    assert home.agp("verify").returncode == 0


def test_a_start_on_a_full_disk_is_a_clear_error(home: House) -> None:
    fill(home, leave=0)

    done = home.agp("daemon", "run")

    assert done.returncode in {3, 5, 13}, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
    assert str(home.home.root) in done.stderr


def test_a_run_whose_journal_breaks_ends_with_a_code_of_its_own(home: House) -> None:
    """The question that waits is never granted, its call never runs, and the message says why."""
    run = home.scripted({"tool": "exec", "argv": ["rm", "README.md"]})
    run.question()
    fill(home, leave=0)
    for _ in range(40):  # each rejected answer is a line, until the last page of the file is full
        home.agp("approve", "otter-00000000")
        if run.process.poll() is not None:
            break

    run.end(code=13)

    assert "the journal broke" in run.said
    assert (home.repo / "README.md").exists()
    (home.home.root / "ballast").unlink()
    start_daemon(home)
    assert "approval.granted" not in home.kinds()
