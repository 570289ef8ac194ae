"""A home is made once, for its owner alone, and nothing that is there is ever overwritten."""

from __future__ import annotations

import json
import os
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.cli.app import run_command_line
from agp.cli.config_template import CONFIG_TEMPLATE
from agp.cli.setup import write_new
from agp.daemon.config import Config
from agp.errors import ConfigurationError, NotBuilt, PolicyError, RunRefused, UsageRefused


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a home that is not there yet."""
    place = tmp_path / "home"
    monkeypatch.setenv("AGP_HOME", str(place))
    return place


def contents(place: Path) -> dict[str, tuple[int, bytes]]:
    """Give the mode and the bytes of everything below a directory."""
    return {
        str(path.relative_to(place)): (
            stat.S_IMODE(path.stat().st_mode),
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (place, *place.rglob("*"))
    }


def test_init_makes_everything_private(home: Path) -> None:
    """Directories are 0700 and files 0600; the public key, which is public, may be read."""
    umask = os.umask(0)
    try:
        assert run_command_line(["init"]) == 0
    finally:
        os.umask(umask)

    for name, (mode, _) in contents(home).items():
        expected = 0o700 if (home / name).is_dir() else 0o600
        assert mode == expected or name == "keys/signing.pub", name
    assert {"config.toml", "policy.yaml", "keys/signing.key", "keys/signing.pub"} <= set(
        contents(home)
    )


def test_the_policy_s_first_line_names_a_schema_that_is_there(home: Path) -> None:
    """An editor finds it without any setting."""
    assert run_command_line(["init"]) == 0

    named = (home / "policy.yaml").read_text().partition("$schema=")[2].partition("\n")[0]

    assert json.loads((home / named).read_bytes())["properties"]


def test_init_twice_changes_nothing(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["init"]) == 0
    before = contents(home)
    capsys.readouterr()

    assert run_command_line(["init", "--json"]) == 0

    assert contents(home) == before
    assert json.loads(capsys.readouterr().out)["made"] == []


def test_init_keeps_what_a_person_wrote(home: Path) -> None:
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("version = 1\napproval_timeout_s = 99\n")

    assert run_command_line(["init"]) == 0

    assert (home / "config.toml").read_text() == "version = 1\napproval_timeout_s = 99\n"


def test_init_without_a_key_makes_none(home: Path) -> None:
    assert run_command_line(["init", "--no-key"]) == 0

    assert not (home / "keys" / "signing.key").exists()


def test_init_derives_a_public_key_that_a_crash_kept_from_being_written(home: Path) -> None:
    assert run_command_line(["init"]) == 0
    public = home / "keys" / "signing.pub"
    before = public.read_bytes()
    public.unlink()

    assert run_command_line(["init"]) == 0

    assert public.read_bytes() == before


def test_init_refuses_a_directory_that_holds_other_things(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`AGP_HOME=/tmp agp init` must not close /tmp for everybody."""
    home.mkdir(mode=0o755)
    (home / "photo.jpg").write_bytes(b"x")
    before = contents(home)

    assert run_command_line(["init"]) == ConfigurationError.exit_code

    assert contents(home) == before
    assert "photo.jpg" in capsys.readouterr().err


def test_init_names_the_line_of_a_broken_policy_and_leaves_it(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)
    broken = "version: 1\nrules:\n  - id: a\n    id: b\n"
    (home / "policy.yaml").write_text(broken)

    assert run_command_line(["init"]) == PolicyError.exit_code

    assert "policy.yaml:4:" in capsys.readouterr().err
    assert (home / "policy.yaml").read_text() == broken
    assert not (home / "keys" / "signing.key").exists()


def test_init_names_a_wrong_setting(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text("aproval_timeout_s = 5\n")

    assert run_command_line(["init"]) == ConfigurationError.exit_code

    assert "aproval_timeout_s" in capsys.readouterr().err


def test_a_home_that_cannot_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file stands where the home's parent should be: also root cannot write there."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AGP_HOME", str(tmp_path / "file" / "home"))

    assert run_command_line(["init"]) == ConfigurationError.exit_code

    told = capsys.readouterr().err
    assert "AGP_HOME" in told
    assert "Traceback" not in told


def test_init_with_a_path_too_long_for_a_socket_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / ("x" * 120)
    monkeypatch.setenv("AGP_HOME", str(place))

    assert run_command_line(["init"]) == ConfigurationError.exit_code

    assert "shorter path" in capsys.readouterr().err
    assert not place.exists()


def test_init_says_how_the_harness_gets_its_key(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["init"]) == 0

    assert "--pass-env ANTHROPIC_API_KEY" in capsys.readouterr().out
    assert "ANTHROPIC_API_KEY" in (home / "config.toml").read_text()


@pytest.mark.parametrize("setting", ["slack", "docker", "codex"])
def test_a_setting_for_what_is_not_built_says_so(
    setting: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home.mkdir(mode=0o700)
    (home / "config.toml").write_text(f"[{setting}]\nuse = true\n")

    assert run_command_line(["init"]) == NotBuilt.exit_code

    assert "not built yet" in capsys.readouterr().err


@dataclass(frozen=True)
class Loss:
    """Keys that are gone, what else is there, and the way back."""

    says: str
    gone: tuple[str, ...]
    journal: bool
    fix: str


LOSSES = (
    Loss("both, beside a journal", ("signing.key", "signing.pub"), True, "restore keys/"),
    Loss("the private one, beside a journal", ("signing.key",), True, "restore keys/"),
    Loss("both, and no journal", ("signing.key", "signing.pub"), False, "agp keygen"),
    Loss("the public one only", ("signing.pub",), True, "agp init"),
)


@pytest.mark.parametrize("command", ["run", "daemon"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.says)
def test_nothing_is_started_without_its_keys(
    loss: Loss, command: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new key beside an old journal would be the wrong advice."""
    script = home.parent / "script.json"
    script.write_text('{"version": 1, "calls": [{"tool": "read", "path": "x"}]}')
    assert run_command_line(["init"]) == 0
    for name in loss.gone:
        (home / "keys" / name).unlink()
    if loss.journal:
        (home / "journal" / "00000000000000000000.jsonl").write_bytes(b"line\n")
    lines = {
        "run": ["run", "--intendant", "scripted", "--script", str(script)],
        "daemon": ["daemon", "run"],
    }
    capsys.readouterr()

    assert run_command_line(lines[command]) == ConfigurationError.exit_code

    told = capsys.readouterr().err
    assert loss.fix in told.split("fix: ")[1]
    assert "AGP serves" not in told
    assert not (home / "daemon.log").exists()


def test_a_run_notes_once_that_no_key_is_handed_over(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything starts, on stderr; not where the line or the configuration names one."""
    assert run_command_line(["init"]) == 0
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-dummy")
    repo = home.parent / "repo"
    repo.mkdir()
    line = ["run", "--task", "x", "--repo", str(repo)]
    told = []
    capsys.readouterr()

    for words in (line, [*line, "--pass-env", "ANTHROPIC_API_KEY"]):
        assert run_command_line(words) == RunRefused.exit_code
        told.append(capsys.readouterr().err)
    (home / "config.toml").write_text('pass_environment = ["ANTHROPIC_API_KEY"]\n')
    assert run_command_line(line) == RunRefused.exit_code
    told.append(capsys.readouterr().err)

    assert [text.count("--pass-env ANTHROPIC_API_KEY") for text in told] == [1, 0, 0]


def test_keygen_never_overwrites(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["init"]) == 0
    before = contents(home)

    assert run_command_line(["keygen"]) == ConfigurationError.exit_code

    assert contents(home) == before
    assert "not overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["fix the tests"], ["fix", "the", "tests"]])
def test_a_task_without_its_option_is_named_as_that(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A newcomer's first try; a harness's own argument begins with a dash and is no such word."""
    assert run_command_line(["run", *words]) == UsageRefused.exit_code
    assert 'fix: agp run --task "fix the tests"' in capsys.readouterr().err

    assert run_command_line(["run", "--", "--continue"]) == UsageRefused.exit_code
    assert "words without an option" not in capsys.readouterr().err


@pytest.mark.parametrize("command", ["init", "keygen"])
def test_a_lost_key_is_not_replaced_beside_its_journal(command: str, home: Path) -> None:
    """A second key could not continue the journal, and its owner would notice too late."""
    assert run_command_line(["init", "--no-key"]) == 0
    (home / "journal" / "000000.jsonl").write_bytes(b"line\n")

    assert run_command_line([command]) == ConfigurationError.exit_code

    assert list((home / "keys").iterdir()) == []


def test_keygen_prints_what_a_verifier_needs(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["init", "--no-key"]) == 0
    capsys.readouterr()

    assert run_command_line(["keygen", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["public_key"] + "\n" == (home / "keys" / "signing.pub").read_text()
    assert len(told["key_id"]) == 64


def test_the_written_configuration_is_the_defaults() -> None:
    """Every setting stands in the file with the value that it has without the file."""
    shown = "\n".join(
        line.removeprefix("# ") for line in CONFIG_TEMPLATE.splitlines() if " = " in line
    )
    loaded = tomllib.loads(shown)
    defaults = json.loads(Config().model_dump_json())

    assert loaded == defaults
    assert tomllib.loads(CONFIG_TEMPLATE) == {"version": 1}


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    """An existing one wins, and no draft stays behind."""
    target = tmp_path / "x"

    assert write_new(target, b"one") is True
    assert write_new(target, b"two") is False

    assert target.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [target]
