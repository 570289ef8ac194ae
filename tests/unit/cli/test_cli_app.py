"""Every command line ends in an exit code and at most one error, never in a traceback."""

from __future__ import annotations

import json
import socket
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from socket import AF_UNIX

import pytest

from agp.cli.app import run_command_line
from agp.cli.error_help import ERROR_HELP
from agp.cli.explain import all_errors
from agp.errors import AgpError, ConfigurationError, DaemonAway, NotBuilt


@dataclass(frozen=True)
class Mistake:
    """A command line with a mistake, and what a person is told."""

    says: str
    line: str
    told: str


_PLAYS = f"run --intendant scripted --script {__file__}"
MISTAKES = (
    Mistake("an unknown command", "verfy", "Did you mean 'verify'?"),
    Mistake("an unknown sub-command", "daemon strat", "Did you mean 'start'"),
    Mistake("an unknown option", "verify --againt x", "--against"),
    Mistake("a missing argument", "approve", "Missing argument"),
    Mistake("an unknown intendant", "run --intendant gemini --task x", "claude-code"),
    Mistake("an unknown help topic", "help me", "agp help exit-codes"),
    Mistake("a kill of nothing", "kill", "name one session, or say --all"),
    Mistake("a kill of one and all", "kill s-1 --all", "name one session, or say --all"),
    Mistake("a task that is missing", "run", "the agent needs a task"),
    Mistake("a script that is missing", "run --intendant scripted", "plays a file"),
    Mistake("a script that is not there", "run --intendant scripted --script no", "docs/harn"),
    Mistake("a task for a script", f"{_PLAYS} --task x", "cannot use --task"),
    Mistake("a model for a script", f"{_PLAYS} --model x", "cannot use --model"),
    Mistake("a model's place for a script", f"{_PLAYS} --model-url x", "cannot use --model-url"),
    Mistake("a variable for a script", f"{_PLAYS} --pass-env X", "cannot use --pass-env"),
    Mistake("a version for a script", f"{_PLAYS} --unsafe-harness-version", "cannot use --unsafe"),
    Mistake("arguments for a script", f"{_PLAYS} -- --continue", "behind --"),
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


@pytest.mark.parametrize(
    "line",
    [
        "run --task x --unsafe-unconfined",
        "run --task x --intendant codex",
        "keygen --rotate",
    ],
)
def test_what_is_not_built_is_refused_with_a_sentence_that_says_so(
    line: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(line.split()) == NotBuilt.exit_code

    told = capsys.readouterr().err
    assert "not built yet" in told
    assert "fix: " in told
    assert not home.exists()


@pytest.mark.parametrize("command", ["status", "sessions", "approvals", "pause", "resume"])
def test_without_a_home_every_command_names_init(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line([command]) == ConfigurationError.exit_code

    assert "agp init" in capsys.readouterr().err


@pytest.mark.parametrize("line", ["pause", "resume", "approve otter-1", "deny otter-1"])
def test_without_a_daemon_what_needs_one_says_that_it_is_away(
    line: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)

    assert run_command_line(line.split()) == DaemonAway.exit_code
    assert "error[AGP-1301]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "told", "document"),
    [
        ("status", "No daemon is running", {"running": False}),
        ("approvals", "nothing waits", {"approvals": []}),
        ("approvals otter-1", "nothing waits", {"approvals": []}),
        ("kill --all", "No session is live", {"sessions": []}),
        ("kill s-0123456789ab", "No session is live", {"sessions": []}),
    ],
)
def test_without_a_daemon_a_look_is_no_error(
    line: str,
    told: str,
    document: dict[str, object],
    home: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A loop over `agp approvals --json` meets an empty list, before the first run and after it."""
    home.mkdir(mode=0o700)

    assert run_command_line(line.split()) == 0
    assert told in capsys.readouterr().out
    assert run_command_line([*line.split(), "--json"]) == 0
    assert document.items() <= json.loads(capsys.readouterr().out).items()


def hang_up(listener: socket.socket, times: int) -> None:
    """Accept and close, as a daemon does that dies with a question in its hands."""
    for _ in range(times):
        listener.accept()[0].close()


def test_a_daemon_that_does_not_answer_is_not_called_absent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Something listens at the home's socket and hangs up."""
    lines = ("status", "approvals", "kill --all", "sessions")
    with tempfile.TemporaryDirectory(prefix="agp-") as place, socket.socket(AF_UNIX) as listener:
        monkeypatch.setenv("AGP_HOME", place)
        (Path(place) / "run").mkdir(mode=0o700)
        listener.bind(f"{place}/run/control.sock")
        listener.listen()
        listener.settimeout(30)
        peer = threading.Thread(target=hang_up, args=(listener, len(lines)), daemon=True)
        peer.start()
        codes = [run_command_line(line.split()) for line in lines]
        peer.join(30)

    assert codes == [DaemonAway.exit_code] * len(lines)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", ["run", "daemon start", "policy check"])
def test_help_of_a_command_is_its_own_help(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["help", *command.split()]) == 0
    told = capsys.readouterr().out
    assert run_command_line([*command.split(), "-h"]) == 0

    assert told == capsys.readouterr().out
    assert f"agp {command}" in told


@pytest.mark.parametrize("error", all_errors(), ids=lambda cls: cls.code)
def test_help_of_a_code_says_cause_and_fix(
    error: type[AgpError], capsys: pytest.CaptureFixture[str]
) -> None:
    """And the table of texts has no entry for a code that does not exist."""
    assert run_command_line(["help", error.code.lower()]) == 0

    told = capsys.readouterr().out
    assert f"{error.code}, exit code {error.exit_code}: " in told
    assert "cause: " in told
    assert "fix: " in told
    assert set(ERROR_HELP) == {cls.code for cls in all_errors()}


def test_a_bare_agp_shows_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line([]) == 0

    shown = capsys.readouterr().out
    assert all(name in shown for name in ("init", "doctor", "run", "approvals", "verify"))


def test_the_version_is_a_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["--json", "--version"]) == 0

    assert json.loads(capsys.readouterr().out)["schema"] == "agp/version/v1"
