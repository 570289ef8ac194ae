"""Every command line ends in an exit code and at most one error, never in a traceback."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.cli.app import run_command_line
from agp.errors import ConfigurationError, DaemonAway


@dataclass(frozen=True)
class Mistake:
    """A command line with a mistake, and what a person is told."""

    says: str
    line: str
    told: str


MISTAKES = (
    Mistake("an unknown command", "verfy", "Did you mean 'verify'?"),
    Mistake("an unknown sub-command", "daemon strat", "Did you mean 'start'"),
    Mistake("an unknown option", "verify --againt x", "--against"),
    Mistake("a missing argument", "approve", "Missing argument"),
    Mistake("an unknown intendant", "run --intendant codex --task x", "claude-code"),
    Mistake("an unknown help topic", "help me", "agp help exit-codes"),
    Mistake("a kill of nothing", "kill", "name one session, or say --all"),
    Mistake("a kill of one and all", "kill s-1 --all", "name one session, or say --all"),
    Mistake("a task that is missing", "run", "the agent needs a task"),
    Mistake("a script that is missing", "run --intendant scripted", "plays a file"),
    Mistake("a script for another", "run --task x --script y", "--intendant scripted"),
    Mistake("a tier that is none", "policy check x --tier root", "known: admin"),
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every command line a home that is not there yet."""
    place = tmp_path / "home"
    monkeypatch.setenv("AGP_HOME", str(place))
    return place


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.says)
def test_a_mistake_exits_2_and_says_what_to_write(
    mistake: Mistake, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run_command_line(mistake.line.split())

    told = capsys.readouterr()
    assert (code, told.out) == (2, "")
    assert told.err.startswith("error[AGP-1101]: ")
    assert mistake.told in told.err
    assert not home.exists()


def test_a_mistake_is_a_document_for_a_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["verfy", "--json"]) == 2

    told = json.loads(capsys.readouterr().out)
    assert (told["schema"], told["code"]) == ("agp/error/v1", "AGP-1101")


def test_an_unconfined_run_is_not_built_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["run", "--task", "x", "--unsafe-unconfined"]) == 44

    assert "not built yet" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["status", "sessions", "approvals", "pause", "resume"])
def test_without_a_home_every_command_names_init(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line([command]) == ConfigurationError.exit_code

    assert "agp init" in capsys.readouterr().err


@pytest.mark.parametrize(
    "line", ["status", "approvals", "pause", "resume", "approve otter-1", "kill --all"]
)
def test_without_a_daemon_every_question_says_that_it_is_away(
    line: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)

    assert run_command_line(line.split()) == DaemonAway.exit_code
    assert "error[AGP-1301]" in capsys.readouterr().err


def test_a_bare_agp_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([]) == 0

    shown = capsys.readouterr().out
    assert all(name in shown for name in ("init", "doctor", "run", "approvals", "verify"))


def test_the_version_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--json", "--version"]) == 0

    assert json.loads(capsys.readouterr().out)["schema"] == "agp/version/v1"
