"""Only regular files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agp.daemon.files import open_regular, read_regular
from agp.errors import ConfigurationError, OverLimit


def test_only_regular_files_are_read_and_no_more_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")

    assert read_regular(tmp_path / "file", limit=5) == b"12345"
    with pytest.raises(OverLimit):
        read_regular(tmp_path / "file", limit=4)
    for odd in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(ConfigurationError):
            open_regular(odd)
