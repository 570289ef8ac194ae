"""One holder at a time, named, and none that is dead."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agp.daemon.lock import exclusive
from agp.errors import ConfigurationError


def test_a_lock_names_its_holder_and_is_let_go_with_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path):
        with pytest.raises(ConfigurationError) as refused, exclusive(path):
            raise AssertionError
        assert refused.value.why == f"its pid is {os.getpid()}"
    with exclusive(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import sys, signal, os; from pathlib import Path; from agp.daemon.lock import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], check=False, timeout=30,
        cwd=Path(__file__).parents[3],
    )  # fmt: skip

    assert done.returncode == -9
    with exclusive(path):
        assert path.read_text() == f"{os.getpid()}\n"


@pytest.mark.parametrize("how", ["link", "directory", "gone"])
def test_a_lock_that_cannot_be_written_is_an_error_of_the_tree(tmp_path: Path, how: str) -> None:
    path = tmp_path / "lock"
    target = tmp_path / "victim"
    target.write_text("mine")
    match how:
        case "link":
            path.symlink_to(target)
        case "directory":
            path.mkdir()
        case _:
            path = tmp_path / "absent" / "lock"

    with pytest.raises(ConfigurationError) as refused, exclusive(path):
        raise AssertionError

    assert refused.value.where == str(path)
    assert target.read_text() == "mine"
