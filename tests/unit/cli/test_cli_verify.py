"""The journal as the command line tells it: the verdict first, nothing claimed for nothing."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from agp.cli.app import run_command_line
from agp.cli.doctor import _lines
from agp.cli.findings import Finding, State
from agp.cli.output import Output
from agp.cli.proofs import _claude_code, _journal, _login
from agp.daemon.config import Config
from agp.daemon.home import Home
from agp.errors import ConfigurationError, IntegrityError
from agp.journal.keys import write_key_files
from tests.fakes.journal_logs import SIGNER, segment, write_log


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Give a home with a key and nothing recorded."""
    monkeypatch.setenv("AGP_HOME", str(tmp_path / "home"))
    made = Home(tmp_path / "home")
    made.create()
    write_key_files(made.signing_key, made.public_key, SIGNER)
    return made


def test_a_fresh_home_has_nothing_recorded_and_that_is_no_failure(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["verify"]) == 0
    told = capsys.readouterr().out
    assert run_command_line(["verify", "--json"]) == 0

    assert told.startswith("Nothing recorded yet")
    assert "OK" not in told
    assert json.loads(capsys.readouterr().out)["integrity"] == "NOTHING"
    assert _journal(home).state is State.UNUSED


@pytest.mark.parametrize("left", ["store.db", "daemon.log", "journal/checkpoint"])
def test_a_used_home_without_its_journal_is_damage(left: str, home: Home) -> None:
    """Whoever removes the log must not get "nothing recorded yet" for it."""
    (home.root / left).write_bytes(b"x")

    assert run_command_line(["verify"]) == IntegrityError.exit_code


def test_a_named_place_without_a_journal_is_an_error(home: Home, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    assert run_command_line(["verify", str(empty), "--key", str(home.public_key)]) == 6
    assert run_command_line(["verify", str(tmp_path / "none")]) == ConfigurationError.exit_code


def test_an_anchor_finds_that_everything_was_removed(home: Home, tmp_path: Path) -> None:
    """A kept checkpoint says that there was a log."""
    write_log(home.journal)
    kept = tmp_path / "kept"
    (home.journal / "checkpoint").rename(kept)
    segment(home.journal).unlink()

    assert run_command_line(["verify", "--against", str(kept)]) == IntegrityError.exit_code


def test_without_a_home_verify_names_init(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AGP_HOME", str(tmp_path / "none"))

    assert run_command_line(["verify"]) == ConfigurationError.exit_code
    assert "agp init" in capsys.readouterr().err


def test_a_wrong_key_file_is_no_reason_for_a_new_key(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(home.journal)
    (tmp_path / "no-key").write_text("no key\n")

    for wrong in (tmp_path / "no-key", tmp_path / "none"):
        assert run_command_line(["verify", "--key", str(wrong)]) == ConfigurationError.exit_code
        told = capsys.readouterr().err
        assert "give the public key of this journal" in told
        assert "keygen" not in told


def test_a_missing_anchor_has_a_fix(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    write_log(home.journal)

    assert run_command_line(["verify", "--against", "/nope"]) == ConfigurationError.exit_code
    assert "fix: " in capsys.readouterr().err


def test_the_line_to_keep_a_checkpoint_is_given_once_and_works(
    home: Home, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(home.journal)
    assert run_command_line(["verify"]) == 0
    told = capsys.readouterr().out

    assert told.count(f"cp {home.journal}/checkpoint SOMEWHERE-ELSE") == 1
    kept = tmp_path / "kept"
    kept.write_bytes((home.journal / "checkpoint").read_bytes())
    assert run_command_line(["verify", "--against", str(kept)]) == 0
    anchored = capsys.readouterr().out
    assert "\nANCHORED: " in anchored
    assert "cp " not in anchored


def test_a_failed_verify_begins_with_the_verdict_its_cause_and_the_line(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    write_log(home.journal)
    place = segment(home.journal)
    place.write_bytes(place.read_bytes().replace(b'"n2"', b'"nX"', 1))

    assert run_command_line(["verify"]) == IntegrityError.exit_code

    told = capsys.readouterr().err
    assert told.startswith(f"error[AGP-1200]: INTEGRITY FAILED: edit, line 4 of {place.name}: "), (
        told
    )
    assert f"where: {home.journal}: " in told


def test_doctor_verifies_the_journal_that_is_there(home: Home) -> None:
    write_log(home.journal)
    assert _journal(home).state is State.PROVED

    place = segment(home.journal)
    place.write_bytes(place.read_bytes().replace(b'"n2"', b'"nX"', 1))

    with pytest.raises(IntegrityError) as found:
        _journal(home)
    assert "edit" in found.value.what
    assert found.value.fix


def test_doctor_does_not_call_everything_proved_where_no_harness_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next command would fail: it is named, with its fix, and is no failure."""
    monkeypatch.setenv("PATH", "")

    found = _claude_code(Home(Path("/nonexistent")), Config())
    lines = _lines([found, Finding("x", State.PROVED, "y")], Output(io.StringIO(), io.StringIO()))

    assert found.state is State.TODO
    assert "npm install" in found.fix
    assert lines[-1] == "What was tried is proved. Before a run with Claude Code: claude-code."


@pytest.mark.parametrize(
    ("named", "value", "state"),
    [
        ((), None, State.TODO),
        (("X",), "1", State.TODO),
        (("ANTHROPIC_API_KEY",), None, State.TODO),
        (("ANTHROPIC_API_KEY",), "sk-ant-dummy", State.PROVED),
    ],
)
def test_doctor_says_whether_a_model_key_is_named(
    named: tuple[str, ...],
    value: str | None,
    state: State,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its value is never shown; without a harness nothing is missing."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("ANTHROPIC_API_KEY", value)
    monkeypatch.setenv("PATH", "")

    found = _login(Config(claude_code="/opt/claude", pass_environment=named))

    assert found.state is state
    assert "sk-ant" not in f"{found}"
    assert (found.fix != "") is (state is State.TODO)
    assert _login(Config(pass_environment=named)).state is State.UNUSED
