"""What the surveyor says about paths, places, secrets and programs, on a real file system."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.contracts.policy import Effect, EffectKind, ExecAction, PathFacts, ReadAction
from agp.daemon.survey import HostSurveyor, is_executing_place, is_secret
from agp.errors import OverLimit
from agp.sandbox.places import plan_places


@pytest.fixture
def place() -> Iterator[Path]:
    """Give a directory whose name has no link in it, below /tmp as hostile as it can be."""
    with tempfile.TemporaryDirectory(prefix="agp-") as name:
        yield Path(name).resolve()


@pytest.fixture
def repo(place: Path) -> Path:
    """Give a workspace."""
    made = place / "repo"
    made.mkdir()
    return made


def facts(repo: Path, raw: str, *, cwd: Path | None = None) -> PathFacts:
    """Survey one path that a call names."""
    surveyor = HostSurveyor(repo.parent / "home", ("/usr/bin", "/bin"))
    world = surveyor.survey(
        ReadAction(path=raw),
        workspace=str(repo),
        cwd=str(cwd or repo),
        session_id="s-000000000000",
        agent_id=None,
        intendant="scripted",
    )
    return next(known for known in world.paths if known.raw == raw)


def test_a_workspace_below_tmp_is_the_workspace_and_the_rest_of_tmp_is_not(repo: Path) -> None:
    """The view's own /tmp hides everything beside the workspace: names there prove nothing."""
    inside = facts(repo, "a/b.txt")
    beside = facts(repo, f"{repo.parent}/other.txt")

    assert (inside.in_workspace, inside.agent_writable) == (True, True)
    assert (beside.in_workspace, beside.agent_writable) == (False, True)


def test_dots_lead_out_of_the_workspace_and_back(repo: Path) -> None:
    out = facts(repo, "a/../../repo-other/x")
    back = facts(repo, f"../{repo.name}/x")

    assert not out.in_workspace
    assert back.in_workspace
    assert back.resolved == str(repo / "x")


def test_a_sibling_with_the_same_beginning_is_not_below(repo: Path) -> None:
    (repo.parent / "repo-evil").mkdir()

    assert not facts(repo, str(repo.parent / "repo-evil" / "x")).in_workspace


def test_a_link_is_what_it_leads_to(repo: Path) -> None:
    """Out of the workspace, into AGP's home, into a secret, in a loop, and to nothing."""
    home = repo.parent / "home"
    home.mkdir()
    (repo / "out").symlink_to("/etc/hostname")
    (repo / "ours").symlink_to("/opt/agp/agp-bridge")
    (repo / "key").symlink_to("secrets.yaml")
    (repo / "up").symlink_to("/etc")
    (repo / "loop").symlink_to("loop")

    assert facts(repo, "out").resolved == os.path.realpath("/etc/hostname")
    assert not facts(repo, "out").in_workspace
    assert facts(repo, "ours").in_agp
    assert facts(repo, "key").secret
    assert not facts(repo, "up/../etc/passwd").in_workspace


def test_a_link_that_leads_into_an_executing_place_is_one(repo: Path) -> None:
    (repo / ".git").mkdir()
    (repo / "innocent").symlink_to(".git/hooks")

    known = facts(repo, "innocent/pre-commit")

    assert known.executing_place
    assert not known.agent_writable


def test_agps_home_is_known_however_it_is_spelled(repo: Path) -> None:
    (repo.parent / "home").mkdir()
    outside = Path("/var/lib/agp-test-home")
    surveyor = HostSurveyor(outside, ())
    world = surveyor.survey(
        ReadAction(path="/var/lib/./x/../agp-test-home/keys/signing.key"),
        workspace=str(repo), cwd=str(repo), session_id="s", agent_id=None, intendant="scripted",
    )  # fmt: skip

    assert world.paths[0].in_agp


def test_every_place_that_a_view_masks_is_a_place_for_the_policy(repo: Path) -> None:
    """One list: what the sandbox makes read-only, no rule may call an ordinary write."""
    (repo / ".git").mkdir()
    (repo / ".git" / "HEAD").write_text("ref: refs/heads/main\n")

    planned = plan_places(str(repo)).places

    assert planned
    for path in planned:
        assert is_executing_place(path, str(repo)), path
        assert is_executing_place(f"{path}/below", str(repo)), path


@dataclass(frozen=True)
class Place:
    """One path below a workspace, and whether it executes."""

    path: str
    executes: bool


PLACES = (
    Place(".git", executes=True),
    Place(".git/hooks/pre-commit", executes=True),
    Place(".git/config", executes=True),
    Place(".git/commondir", executes=True),
    Place(".git/worktrees/a/gitdir", executes=True),
    Place(".git/modules/sub/hooks/x", executes=True),
    Place("vendored/.git/hooks/x", executes=True),
    Place("vendored/.git/config", executes=True),
    Place(".claude/settings.json", executes=True),
    Place(".mcp.json", executes=True),
    Place(".envrc", executes=True),
    Place(".git/index", executes=False),
    Place(".git/refs/heads/main", executes=False),
    Place(".gitignore", executes=False),
    Place("src/.github/x", executes=False),
    Place("hooks/pre-commit", executes=False),
    Place(".", executes=False),
)


@pytest.mark.parametrize("case", PLACES, ids=lambda case: case.path)
def test_what_runs_by_itself_is_an_executing_place(case: Place) -> None:
    assert is_executing_place(os.path.normpath(f"/w/{case.path}"), "/w") is case.executes


@pytest.mark.parametrize(
    "name",
    [".env", ".env.local", ".ENV", "id_rsa", "server.pem", "a/.ssh/config", "x.kdbx",
     "credentials.json", ".npmrc", "service-account-prod.json", "Secrets.YAML", ".aws/x"],
)  # fmt: skip
def test_a_name_by_which_credentials_are_kept_is_a_secret(name: str) -> None:
    assert is_secret(f"/w/{name}")


@pytest.mark.parametrize(
    "name", [".env.example", ".env.sample", "environment", "id_rsa.pub", "secret_garden.txt", "pem"]
)
def test_a_name_that_only_looks_alike_is_none(name: str) -> None:
    assert not is_secret(f"/w/{name}")


def program(repo: Path, word: str, path: tuple[str, ...]) -> tuple[str | None, bool]:
    """Look one program up as a call would name it."""
    world = HostSurveyor(repo.parent / "home", path).survey(
        ExecAction(argv=(word,)),
        workspace=str(repo), cwd=str(repo), session_id="s", agent_id=None, intendant="scripted",
    )  # fmt: skip
    known = next(known for known in world.executables if known.word == word)
    return known.resolved, known.agent_writable


def test_a_program_is_looked_up_on_the_views_path_only(repo: Path) -> None:
    """Not in the current directory, not where it cannot be executed, first directory first."""
    first, second = repo.parent / "one", repo.parent / "two"
    for directory in (first, second, repo):
        directory.mkdir(exist_ok=True)
        (directory / "tool").write_text("#!/bin/sh\n")
    (second / "tool").chmod(0o755)
    (repo / "tool").chmod(0o755)

    assert program(repo, "tool", (str(first), str(second)))[0] == str(second / "tool")
    assert program(repo, "absent", (str(first),)) == (None, False)
    assert program(repo, "./tool", (str(second),)) == (str(repo / "tool"), True)


def test_a_linked_program_is_the_file_that_runs(repo: Path) -> None:
    (repo.parent / "bin").mkdir()
    (repo / "mine").write_text("#!/bin/sh\n")
    (repo / "mine").chmod(0o755)
    (repo.parent / "bin" / "tool").symlink_to(repo / "mine")

    assert program(repo, "tool", (str(repo.parent / "bin"),)) == (str(repo / "mine"), True)


def run_of(path: Path) -> tuple[Effect, ...]:
    """Say that a call would run this file."""
    return (Effect(kind=EffectKind.EXEC_WORKSPACE, subject=str(path)),)


def test_what_would_run_is_hashed_and_no_pipe_holds_the_daemon(repo: Path) -> None:
    """Regular files by content; a pipe, a socket, a device link and absence are states."""
    script = repo / "run.sh"
    script.write_bytes(b"#!/bin/sh\n")
    os.mkfifo(repo / "pipe")
    (repo / "device").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(repo / "socket"))
    surveyor = HostSurveyor(repo.parent / "home", ())

    def digest(path: Path) -> str:
        (known,) = surveyor.hash_files(run_of(path), workspace=str(repo))
        return known.sha256

    assert digest(script) == hashlib.sha256(b"#!/bin/sh\n").hexdigest()
    special, absent = digest(repo / "pipe"), digest(repo / "absent")
    assert special != absent
    assert digest(repo / "device") == special
    assert digest(repo / "socket") in {special, absent}


def test_a_file_outside_is_not_hashed_and_a_huge_one_is_refused(repo: Path) -> None:
    huge = repo / "huge"
    with huge.open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    surveyor = HostSurveyor(repo.parent / "home", ())

    assert surveyor.hash_files(run_of(Path("/usr/bin/env")), workspace=str(repo)) == ()
    with pytest.raises(OverLimit):
        surveyor.hash_files(run_of(huge), workspace=str(repo))
