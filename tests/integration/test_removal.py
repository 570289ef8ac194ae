"""What an agent left is removed beside the loop, whatever it is, and never raises."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from agp.daemon.removal import Removal


def deep(place: Path) -> None:
    """1500 levels: more than Python's stack, and more than a path holds."""
    subprocess.run(
        ["/usr/bin/python3", "-c", "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"],
        cwd=place,
        check=True,
    )


def closed(place: Path) -> None:
    (place / "a/b").mkdir(parents=True)
    (place / "a/b/file").write_text("x")
    (place / "a/b").chmod(0)
    (place / "a").chmod(0o500)


def leading_out(place: Path) -> None:
    (place / "out").symlink_to(place.parent / "kept")
    (place / "-rf").mkdir()


@dataclass(frozen=True)
class Left:
    name: str
    make: Callable[[Path], None]


CASES = (Left("a deep tree", deep), Left("closed", closed), Left("links and options", leading_out))


@pytest.fixture
def left(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("mine")
    (tmp_path / "session").mkdir()
    yield tmp_path / "session"
    subprocess.run(["rm", "-rf", str(tmp_path / "session"), str(tmp_path / "gone")], check=False)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_taken_is_gone_at_once_and_removed_whatever_it_is(case: Left, left: Path) -> None:
    case.make(left)
    removal = Removal(left.parent / "gone")
    removal.take(left)
    assert not left.exists()
    assert len([*(left.parent / "gone").iterdir()]) == 1, "the control: it was only moved"
    anyio.run(removal.empty)
    assert not [*(left.parent / "gone").iterdir()]
    assert (left.parent / "kept/file").read_text() == "mine"


def test_the_loop_goes_on_while_a_tree_is_removed(left: Path) -> None:
    for number in range(20_000):
        os.close(os.open(left / str(number), os.O_CREAT | os.O_WRONLY, 0o600))
    removal = Removal(left.parent / "gone")
    turns = 0

    async def main() -> None:
        nonlocal turns
        async with anyio.create_task_group() as tasks:
            removal.take(left)
            tasks.start_soon(removal.empty)
            while any((left.parent / "gone").iterdir()):
                await anyio.sleep(0.001)
                turns += 1

    anyio.run(main)
    assert turns > 3


def test_nothing_there_and_nothing_possible_raise_nothing(tmp_path: Path) -> None:
    removal = Removal(tmp_path / "gone")
    anyio.run(removal.empty)
    removal.take(tmp_path / "absent")
    (tmp_path / "session").mkdir()
    blocked = Removal(tmp_path / "a file" / "gone")
    (tmp_path / "a file").write_text("")
    blocked.take(tmp_path / "session")
    anyio.run(blocked.empty)
    assert (tmp_path / "session").is_dir(), "left over, and said so in the log"
