"""A transcript leaves a HOME as a plain file of the agent's, and returns to its workspace only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agp.daemon.transcripts import MOST_KEPT, PROJECTS, SIZE_LIMIT, find, keep, seed, shelf_of
from agp.errors import RunRefused
from agp.sandbox.host import RunAs

ME = RunAs(uid=os.geteuid(), gid=os.getegid(), staged=False)
NAME = "0f0e0d0c-0000-4000-8000-000000000001"


def transcript(home: Path, name: str = NAME, text: str = "words", slug: str = "-w") -> Path:
    path = home.joinpath(*PROJECTS, slug, f"{name}.jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def numbered(number: int) -> str:
    return f"0f0e0d0c-0000-4000-8000-{number:012x}"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return shelf_of(tmp_path / "harness", "/w")


def stored(shelf: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in shelf.glob("*/*")}


def test_what_is_kept_comes_back_the_same_and_private(home: Path, shelf: Path) -> None:
    written = transcript(home)
    os.utime(written, (1000, 1000))
    assert keep(home, shelf, ME.uid) == NAME
    found = find(shelf, NAME)
    fresh = home.parent / "fresh"
    fresh.mkdir()
    seed(found, fresh, ME)
    back = fresh.joinpath(*PROJECTS, "-w", f"{NAME}.jsonl")
    assert (back.read_text(), back.stat().st_mtime, back.stat().st_mode & 0o777) == (
        "words",
        1000,
        0o600,
    )
    assert all(path.stat().st_mode & 0o077 == 0 for path in shelf.rglob("*"))


def test_the_newest_goes_on_and_only_it_is_seeded(home: Path, shelf: Path) -> None:
    for number in (1, 2, 3):
        written = transcript(home, numbered(number), str(number))
        os.utime(written, (number % 3 * 100, number % 3 * 100))
    assert keep(home, shelf, ME.uid) == numbered(2)
    found = find(shelf, None)
    assert found.conversation == numbered(2)
    fresh = home.parent / "fresh"
    fresh.mkdir()
    seed(found, fresh, ME)
    assert [path.stem for path in fresh.rglob("*.jsonl")] == [numbered(2)]


def test_another_workspace_finds_nothing(home: Path, shelf: Path, tmp_path: Path) -> None:
    transcript(home)
    keep(home, shelf, ME.uid)
    other = shelf_of(tmp_path / "harness", "/w2")
    for name in (NAME, None):
        with pytest.raises(RunRefused):
            find(other, name)


def test_a_transcript_that_changed_after_the_plan_is_not_seeded(home: Path, shelf: Path) -> None:
    transcript(home)
    keep(home, shelf, ME.uid)
    found = find(shelf, NAME)
    Path(found.path).write_text("other")
    fresh = home.parent / "fresh"
    fresh.mkdir()
    with pytest.raises(RunRefused):
        seed(found, fresh, ME)
    assert list(fresh.iterdir()) == []


TRICKS = (
    "a link to a file",
    "a link in place of the directory",
    "a link in place of the projects",
    "a pipe",
    "a directory",
    "a huge file",
    "another name",
    "another directory's name",
    "a file of somebody else",
)


@pytest.mark.parametrize("trick", TRICKS)
def test_whatever_is_no_plain_transcript_of_the_agent_stays(
    home: Path, shelf: Path, trick: str
) -> None:
    """Attack: a HOME that makes the launcher copy a file which only the launcher may read."""
    secret = home.parent / f"{NAME}.jsonl"
    secret.write_text("SECRET")
    place = home.joinpath(*PROJECTS, "-w", secret.name)
    uid = ME.uid
    match trick:
        case "a link to a file":
            place.parent.mkdir(parents=True)
            place.symlink_to(secret)
        case "a link in place of the directory":
            place.parent.parent.mkdir(parents=True)
            place.parent.symlink_to(home.parent)
        case "a link in place of the projects":
            (home / ".claude").mkdir()
            transcript(home.parent / "x")
            (home / ".claude/projects").symlink_to(home.parent.joinpath("x", *PROJECTS))
        case "a pipe":
            place.parent.mkdir(parents=True)
            os.mkfifo(place)
        case "a directory":
            place.mkdir(parents=True)
        case "a huge file":
            with transcript(home).open("r+b") as file:
                file.truncate(SIZE_LIMIT + 1)
        case "another name":
            transcript(home, "settings")
            transcript(home, "../../x")
        case "another directory's name":
            transcript(home, slug="a.b")
        case _:
            transcript(home)
            uid += 1
    assert keep(home, shelf, uid) == ""
    assert stored(shelf) == {}


def test_only_so_many_are_kept_and_the_oldest_go(home: Path, shelf: Path) -> None:
    for batch in (0, 1):
        for number in range(MOST_KEPT):
            written = transcript(home, numbered(batch * MOST_KEPT + number))
            os.utime(written, (batch * 1000 + number, batch * 1000 + number))
        keep(home, shelf, ME.uid)
    assert sorted(stored(shelf)) == [numbered(MOST_KEPT + number) for number in range(MOST_KEPT)]


def test_a_shelf_that_cannot_be_written_fails_no_run(home: Path, shelf: Path) -> None:
    transcript(home)
    shelf.parent.parent.mkdir(parents=True)
    shelf.parent.write_text("a file where a directory is needed")
    assert keep(home, shelf, ME.uid) == ""
