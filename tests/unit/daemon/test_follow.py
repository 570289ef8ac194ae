"""Following a path as a view would: what this process's own /proc says must not be believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agp.contracts.policy import ExecAction, ReadAction
from agp.daemon.follow import follow
from agp.daemon.survey import HostSurveyor


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = tmp_path.resolve() / "repo"
    made.mkdir()
    return made


NO_ANSWER = (
    "/proc/self/cwd/ls",
    "/proc/1/root/etc/passwd",
    "/proc/../proc/self/exe",
    "/dev/fd/0",
    "/dev/stdin",
    "/sys/kernel/x",
    "through-proc",
    "through-two",
    "loop",
    "not-text",
    "a\0b",
    "x" * 5000,
)


@pytest.mark.parametrize("raw", NO_ANSWER, ids=range(len(NO_ANSWER)))
def test_what_means_something_else_in_a_view_has_no_answer(repo: Path, raw: str) -> None:
    """Attack: `/proc/self/cwd/ls` is the agent's file there, and the host's `/ls` here."""
    (repo / "through-proc").symlink_to("/proc/self/cwd")
    (repo / "through-two").symlink_to("through-proc")
    (repo / "loop").symlink_to("loop")
    os.symlink(b"/tmp/\xff", os.fsencode(repo / "not-text"))  # noqa: PTH211 - bytes

    assert follow(raw, str(repo), str(repo)) is None


def test_a_long_chain_of_links_has_no_answer_and_costs_no_traceback(repo: Path) -> None:
    """Attack: 1500 links made `realpath` raise RecursionError."""
    for number in range(1500):
        (repo / f"c{number}").symlink_to(f"c{number + 1}")

    assert follow("c0", str(repo), str(repo)) is None


def test_elsewhere_it_says_what_realpath_says(repo: Path) -> None:
    """Links, dots, absent tails."""
    (repo / "sub").mkdir()
    (repo / "sub" / "up").symlink_to("..")
    (repo / "etc").symlink_to("/etc")
    for raw in (
        "a",
        "sub/../a",
        "sub/up/sub/up/a",
        "etc/passwd",
        "etc/../usr/bin",
        "/usr/bin/ls",
        "/bin/sh",
        "./sub//up/./x",
        "../repo/sub",
        "/",
    ):
        assert follow(raw, str(repo), str(repo)) == os.path.realpath(repo / raw)


def test_a_view_s_own_place_is_named_and_not_looked_at(repo: Path, tmp_path: Path) -> None:
    """What lies in the host's /tmp is not what lies in the view's."""
    (repo / "out").symlink_to("/home/agent/x")

    assert follow("out/../y", str(repo), str(repo)) == "/home/agent/y"
    assert follow("/var/tmp/a/../b", str(repo), str(repo)) == "/var/tmp/b"


def _world(repo: Path, word: str):  # type: ignore[no-untyped-def]
    surveyor = HostSurveyor(repo.parent / "home", ("/usr/bin", "/bin"))
    return surveyor.survey(
        ExecAction(argv=(word, "x")),
        workspace=str(repo),
        cwd=str(repo),
        session_id="s",
        agent_id=None,
        intendant="scripted",
    )


@pytest.mark.parametrize("word", ["/nonexistent/ls", "/etc/passwd", "/usr", "/proc/self/exe"])
def test_a_program_that_is_none_is_not_found(repo: Path, word: str) -> None:
    """Attack: a slash word was taken for the program that its last part names."""
    (program,) = _world(repo, word).executables

    assert program.resolved is None


def test_a_program_of_the_agent_s_is_writable_whether_or_not_it_is_there_yet(repo: Path) -> None:
    """It may be written between the look and the run."""
    (program,) = _world(repo, "./tool").executables

    assert program.agent_writable


def test_a_path_without_an_answer_is_missing_from_the_world(repo: Path) -> None:
    """The policy then calls the effect opaque."""
    surveyor = HostSurveyor(repo.parent / "home", ("/usr/bin",))
    world = surveyor.survey(
        ReadAction(path="/proc/self/environ"),
        workspace=str(repo),
        cwd=str(repo),
        session_id="s",
        agent_id=None,
        intendant="scripted",
    )

    assert world.paths == ()
