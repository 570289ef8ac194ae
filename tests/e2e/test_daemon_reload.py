"""`agp policy reload`: a new policy comes into force whole, a broken one not at all."""

from __future__ import annotations

import pytest

from tests.fakes.agp_house import house
from tests.fakes.daemon_wire import start_daemon

pytestmark = pytest.mark.slow


def test_a_reload_is_journaled_and_a_broken_file_changes_nothing() -> None:
    """The error names the file, the line and the column; what was in force stays in force."""
    with house() as home:
        start_daemon(home)
        good = home.agp("policy", "reload")
        loaded = home.kinds().count("policy.loaded")
        with home.home.policy.open("a") as file:
            file.write("\nrules: [\n")
        broken = home.agp("policy", "reload")

        assert good.returncode == 0, good.stderr
        assert "rules of" in good.stdout
        assert broken.returncode == 30
        assert f"{home.home.policy}:" in broken.stderr
        assert "stay in force" in broken.stderr
        assert home.kinds().count("policy.loaded") == loaded == 2
        home.kill_daemon()
