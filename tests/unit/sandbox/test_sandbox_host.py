"""Which directories may be a workspace, and who lives in a view."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agp.errors import ConfigurationError, RunRefused
from agp.sandbox.host import RunAs, check_workspace, our_etc, run_as, tool
from agp.sandbox.view import toolchain_binds


@pytest.fixture
def home(tmp_path: Path) -> Path:
    made = tmp_path / "ground" / "agp-home"
    made.mkdir(parents=True)
    return made


@pytest.mark.parametrize(
    "place",
    ["/", "/usr", "/usr/lib", "/etc", "/etc/ssl", "/proc", "/dev", "/dev/shm", "/sys", "/run",
     "/tmp", "/home", "/var", "/bin", "/boot", "/nonexistent/x"],
)  # fmt: skip
def test_a_place_of_the_system_is_refused(home: Path, place: str) -> None:
    with pytest.raises(RunRefused):
        check_workspace(place, agp_home=str(home))


def test_a_home_directory_and_what_contains_one_are_refused(home: Path) -> None:
    own = Path.home().resolve()
    for place in {own, own.parent}:
        with pytest.raises(RunRefused):
            check_workspace(str(place), agp_home=str(home))


def test_agp_s_home_is_refused_from_above_from_below_and_itself(home: Path) -> None:
    (home / "sub").mkdir()
    for place in (home, home.parent, home / "sub"):
        with pytest.raises(RunRefused, match="cannot be a workspace"):
            check_workspace(str(place), agp_home=str(home))


def test_a_link_is_resolved_before_it_is_judged(home: Path, tmp_path: Path) -> None:
    (tmp_path / "innocent").symlink_to(home)
    (tmp_path / "project").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "project")
    with pytest.raises(RunRefused):
        check_workspace(str(tmp_path / "innocent"), agp_home=str(home))
    found = check_workspace(str(tmp_path / "link"), agp_home=str(home))
    assert found == str((tmp_path / "project").resolve())


def test_a_name_that_is_not_utf8_is_refused(home: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    Path(odd).mkdir()
    with pytest.raises(RunRefused, match="cannot be a workspace"):
        check_workspace(odd, agp_home=str(home))


def test_an_agent_never_runs_as_root(tmp_path: Path) -> None:
    """Root lends the view to the workspace's owner; everybody else is himself."""
    if os.geteuid() != 0:
        assert run_as(str(tmp_path)).uid == os.geteuid()
        return
    with pytest.raises(RunRefused) as caught:
        run_as(str(tmp_path))
    assert "chown" in caught.value.fix
    os.chown(tmp_path, 4001, 4001)
    assert run_as(str(tmp_path)) == RunAs(uid=4001, gid=4001, staged=True)
    os.chown(tmp_path, 4001, 0)
    with pytest.raises(RunRefused):
        run_as(str(tmp_path))


def test_a_missing_tool_is_an_error_that_names_its_package() -> None:
    with pytest.raises(ConfigurationError) as caught:
        tool("no-such-tool-of-agp")
    assert "apt-get install" in caught.value.fix


def test_the_view_s_own_user_files_name_nobody_of_the_host() -> None:
    files = {
        file.path: file.content.decode() for file in our_etc(RunAs(uid=7, gid=8, staged=False))
    }
    assert "agent:x:7:8:" in files["/etc/passwd"]
    assert files["/etc/hosts"] == "127.0.0.1 localhost agp\n::1 localhost\n"
    assert "dns" not in files["/etc/nsswitch.conf"]


def test_a_toolchain_that_would_show_agp_s_home_is_refused(home: Path, tmp_path: Path) -> None:
    for named in (str(home), str(home.parent), "/", "relative", str(tmp_path / "absent")):
        with pytest.raises(ConfigurationError):
            toolchain_binds((named,), agp_home=str(home))
    (tmp_path / "tools").mkdir()
    (bind,) = toolchain_binds((str(tmp_path / "tools"),), agp_home=str(home))
    assert not bind.writable
