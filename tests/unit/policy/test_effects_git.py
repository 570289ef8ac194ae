"""What real git starts for the questions that are understood: nothing that a repository names."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from agp.contracts.git import GIT_ENVIRONMENT
from agp.contracts.policy import Label, ShellAction
from agp.policy.effects import effects_of
from tests.fakes.policy_world import world_for

if TYPE_CHECKING:
    from pathlib import Path

_AUTHOR = ("-c", "user.name=Ann", "-c", "user.email=ann@localhost")
_ENVIRONMENT = dict(GIT_ENVIRONMENT)
_NAMED = ("diff.external", "diff.evil.command", "diff.evil.textconv", "core.fsmonitor")


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """A repository whose older configuration names a program wherever a diff may start one."""
    repo = tmp_path / "repo"
    repo.mkdir()
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\ntouch {tmp_path}/started\ncat "$1"\n')
    program.chmod(0o755)
    (repo / "a").write_text("1\n")
    (repo / ".gitattributes").write_text("a diff=evil\n")
    ask(repo, "init", "-q")
    ask(repo, "add", ".")
    ask(repo, *_AUTHOR, "commit", "-qm", "x")
    for key in _NAMED:
        ask(repo, "config", key, str(program))
    (repo / "a").write_text("2\n")
    return repo


def ask(repo: Path, *words: str) -> bool:
    """Ask git as a view does; tell whether the repository's program was started."""
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(repo.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        **_ENVIRONMENT,
    }
    subprocess.run(
        ["git", *words],
        cwd=repo,
        env=env,
        capture_output=True,
        check=False,
        timeout=20,
    )
    return (repo.parent / "started").exists()


@pytest.mark.parametrize(
    "command",
    [
        "git status",
        "git log",
        "git log --stat",
        "git log --oneline --name-status",
        "git branch -vv",
        "git diff --stat",
        "git diff --numstat -w",
        "git diff --name-only HEAD",
        "git show --stat",
        "git ls-files -m",
        "git diff --no-ext-diff --no-textconv",
        "git log -p --no-ext-diff --no-textconv",
        "git show --no-ext-diff --no-textconv",
    ],
)
def test_what_is_understood_starts_no_program_of_the_repository(
    hostile: Path, command: str
) -> None:
    """The policy calls it understood, and git keeps to it."""
    action = ShellAction(command=command)
    labels = [effect.labels for effect in effects_of(action, world_for(action))]
    assert any(Label.UNDERSTOOD in one for one in labels)
    assert not ask(hostile, *command.split()[1:])


@pytest.mark.parametrize(
    "command", ["git diff", "git log -p", "git show", "git diff --no-textconv"]
)
def test_a_patch_without_the_flags_starts_one_and_is_not_understood(
    hostile: Path, command: str
) -> None:
    """The positive control: the trap works."""
    action = ShellAction(command=command)
    labels = [effect.labels for effect in effects_of(action, world_for(action))]
    assert not any(Label.UNDERSTOOD in one for one in labels)
    assert ask(hostile, *command.split()[1:])


_HOME_RUNS = """[core]
  attributesFile = {place}/attributes
  hooksPath = {place}/hooks
[filter "evil"]
  clean = {place}/program
[diff]
  external = {place}/program
"""


@pytest.fixture(params=[".gitconfig", ".config/git/config"])
def home_runs(hostile: Path, request: pytest.FixtureRequest) -> Path:
    """The HOME that calls share, as an earlier quiet call left it."""
    home = hostile.parent
    for key in _NAMED:
        ask(hostile, "config", "--unset-all", key)
    (hostile / ".gitattributes").unlink()
    (home / "attributes").write_text("a filter=evil\n")
    (home / "hooks").mkdir()
    (home / "hooks/pre-commit").symlink_to(home / "program")
    (home / request.param).parent.mkdir(parents=True, exist_ok=True)
    (home / request.param).write_text(_HOME_RUNS.format(place=home))
    return hostile


@pytest.mark.parametrize("words", ["status", "diff", "add a", "commit -qam y"])
def test_what_an_earlier_call_left_in_home_turns_no_git_command_into_another(
    home_runs: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the control that it does where nothing keeps git from reading it."""
    assert not ask(home_runs, *_AUTHOR, *words.split())
    (home_runs / "a").write_text("3\n")
    monkeypatch.delitem(_ENVIRONMENT, "GIT_CONFIG_GLOBAL")
    assert ask(home_runs, *_AUTHOR, *words.split())


def test_git_starts_ssh_without_the_configuration_of_home(
    hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: `ProxyCommand` there is a program that runs in the fetch that a person granted."""
    home = hostile.parent
    trace = home / "ssh"
    trace.write_text(f'#!/bin/sh\necho "$@" > {home}/said\n')
    trace.chmod(0o755)
    ask(hostile, "config", "core.sshCommand", str(home / "program"))
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    assert not ask(hostile, "fetch", "git@example.invalid:x/y.git")
    assert (home / "said").read_text().startswith("-F /dev/null ")
