"""What a session keeps for its next daemon."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from agp.contracts.base import SessionId
from agp.daemon.home import Home
from agp.daemon.live import LeaseFile
from agp.errors import IntegrityError

SESSION = SessionId("s-0123456789ab")


def test_a_lease_file_comes_back_as_it_was_and_is_the_owners_only(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.session_directory(SESSION).mkdir(parents=True)
    lease = LeaseFile("5" * 64, 3, 4001, "127.0.0.1:8000", None)

    lease.save(home, SESSION)

    path = LeaseFile.path(home, SESSION)
    assert LeaseFile.load(home, SESSION) == lease
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["lease.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "7", '{"secret": "x"}', '{"odd": 1}'])
def test_a_lease_file_that_is_not_ours_is_an_integrity_error(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    home.session_directory(SESSION).mkdir(parents=True)
    LeaseFile.path(home, SESSION).write_text(text)

    with pytest.raises(IntegrityError):
        LeaseFile.load(home, SESSION)
