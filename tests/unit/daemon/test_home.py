"""A home is its owner's alone, absolute, and short enough for its sockets."""

from __future__ import annotations

import stat
import tempfile
from pathlib import Path

import pytest

from agp.daemon.home import Home
from agp.errors import ConfigurationError


def test_a_home_is_made_for_its_owner_only_and_existing_parts_are_tightened(
    tmp_path: Path,
) -> None:
    home = Home(tmp_path / "deep" / "home")
    home.run.mkdir(parents=True, mode=0o755)

    home.create()

    for directory in (home.root, home.run, home.journal, home.calls, home.root / "keys"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    home.check()


def test_a_home_is_absolute_or_refused() -> None:
    with pytest.raises(ConfigurationError):
        Home.from_environment({"AGP_HOME": "relative/place"})
    assert Home.from_environment({"AGP_HOME": "/x"}).root == Path("/x")


def test_sixty_characters_are_enough_for_a_home_and_ninety_are_not() -> None:
    """Counted to the longest socket of a session, in bytes."""
    with tempfile.TemporaryDirectory(prefix="agp-", dir="/tmp") as short:
        fits = Home(Path(short) / ("h" * (59 - len(short))))
        long = Home(Path(short) / ("h" * (89 - len(short))))
        fits.create()
        long.create()

        assert len(str(fits.root)) == 60
        fits.check()
        with pytest.raises(ConfigurationError, match="too long"):
            long.check()
