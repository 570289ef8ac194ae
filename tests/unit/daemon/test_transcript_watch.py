"""Transcripts are read as what they are: files that an untrusted user wrote."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from agp.daemon.transcript_watch import LONGEST_LINE, TranscriptWatch


def shell(command: str, **more: object) -> str:
    content = f"<bash-input>{command}</bash-input>"
    return json.dumps({"type": "user", "message": {"content": content}, **more}) + "\n"


def ran(name: str) -> str:
    asked = {"type": "tool_use", "id": name, "name": "Bash"}
    done = {"type": "tool_result", "tool_use_id": name, "content": ""}
    lines = (
        {"type": "assistant", "message": {"content": [asked]}},
        {"type": "user", "message": {"content": [done]}},
    )
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / ".claude/projects/-w"
    made.mkdir(parents=True)
    return made


def test_what_is_added_is_told_once_and_what_was_there_before_not_at_all(
    tmp_path: Path, place: Path
) -> None:
    old, new = place / "a.jsonl", place / "b.jsonl"
    old.write_text(shell("before") + ran("toolu_before"))
    watch = TranscriptWatch(tmp_path, os.getuid())
    assert watch.look() == ()
    with old.open("a") as file:
        file.write(shell("one"))
    sub = place / "a/subagents"
    sub.mkdir(parents=True)
    (sub / "agent-x.jsonl").write_text(ran("toolu_sub"))
    new.write_text(old.read_text() + shell("two")[:-5])
    assert watch.look() == ("one",)
    assert watch.look() == ()
    with new.open("a") as file:
        file.write(shell("two")[-5:])
    assert watch.look() == ("two",)
    assert watch.executed_here() == (("toolu_sub", "Bash"),)


def test_a_home_without_transcripts_tells_nothing(tmp_path: Path) -> None:
    watch = TranscriptWatch(tmp_path / "none", os.getuid())
    assert (watch.look(), watch.executed_here()) == ((), ())


def test_links_pipes_and_files_of_others_are_passed_over(tmp_path: Path, place: Path) -> None:
    """The control is a plain file beside each of them."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.jsonl").write_text(shell("linked"))
    watch = TranscriptWatch(tmp_path, os.getuid())
    (place / "link.jsonl").symlink_to(outside / "x.jsonl")
    (place / "linked").symlink_to(outside)
    os.mkfifo(place / "pipe.jsonl")
    (place / "d.jsonl").mkdir()
    (place / "good.jsonl").write_text(shell("plain"))
    done: list[tuple[str, ...]] = []
    reader = threading.Thread(target=lambda: done.append(watch.look()), daemon=True)
    reader.start()
    reader.join(10)
    assert done == [("plain",)]
    assert TranscriptWatch(tmp_path, os.getuid() + 1).look() == ()


def test_a_link_in_place_of_the_directory_is_not_followed(tmp_path: Path, place: Path) -> None:
    (place / "a.jsonl").write_text(shell("x"))
    home = tmp_path / "home"
    home.mkdir()
    (home / ".claude").symlink_to(tmp_path / ".claude")
    watch = TranscriptWatch(home, os.getuid())
    (place / "b.jsonl").write_text(shell("y"))
    assert watch.look() == ()


def test_a_line_without_end_costs_a_bounded_share_and_hides_nothing_after_it(
    tmp_path: Path, place: Path
) -> None:
    watch = TranscriptWatch(tmp_path, os.getuid())
    with (place / "a.jsonl").open("w") as file:
        file.write("x" * (LONGEST_LINE + 10) + "\n" + shell("after"))
    assert watch.look() == ("after",)


def test_a_file_that_was_cut_is_read_again_and_its_commands_told_once(
    tmp_path: Path, place: Path
) -> None:
    watch = TranscriptWatch(tmp_path, os.getuid())
    path = place / "a.jsonl"
    path.write_text(shell("one") + shell("two"))
    assert watch.look() == ("one", "two")
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write(shell("one"))
    assert watch.look() == ()


def test_a_line_that_never_ends_uses_nothing_up(tmp_path: Path, place: Path) -> None:
    """It was read anew and charged at every look, until nothing else was looked at."""
    watch = TranscriptWatch(tmp_path, os.getuid())
    with (place / "a.jsonl").open("wb") as file:
        file.truncate(LONGEST_LINE - 1)
    for _ in range(40):
        assert watch.look() == ()
    (place / "b.jsonl").write_text(shell("id") + ran("toolu_later"))
    assert watch.look() == ("id",)
    assert watch.executed_here() == (("toolu_later", "Bash"),)
