"""Only a version that was proved starts, and only a file that the agent cannot write."""

from __future__ import annotations

import hashlib
import platform
from datetime import date
from pathlib import Path

import pytest

from agp.errors import ConfigurationError, RunRefused
from agp.intendants.claude_code import version
from agp.intendants.claude_code.version import (
    LOWEST,
    NEWEST,
    PROVED,
    TABLE_PLACE,
    UNSAFE_VERSION,
    check_version,
    find_executable,
    read_table,
)

ROOT = Path(__file__).resolve().parents[4]


def says(tmp: Path, script: str) -> Path:
    made = tmp / "claude"
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(0o755)
    return made


def native(at: Path) -> Path:
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_bytes(b"\x7fELF rest")
    at.chmod(0o755)
    return at


@pytest.mark.parametrize("proved", [entry.version for entry in PROVED])
def test_a_proved_version_is_accepted_and_hashed(proved: str, tmp_path: Path) -> None:
    found = says(tmp_path, f"echo '{proved} (Claude Code)'")
    checked = check_version(found)
    assert (checked.version, checked.unsafe) == (proved, ())
    assert checked.sha256 == hashlib.sha256(found.read_bytes()).hexdigest()


@pytest.mark.parametrize("old", ["2.1.318", "2.0.999", "1.9.9", "0.0.1"])
@pytest.mark.parametrize("unsafe", [False, True])
def test_an_older_version_is_refused_whatever_is_said(
    old: str, unsafe: bool, tmp_path: Path
) -> None:
    with pytest.raises(RunRefused) as refused:
        check_version(says(tmp_path, f"echo '{old} (Claude Code)'"), unsafe_version=unsafe)
    assert NEWEST.version in refused.value.fix
    assert LOWEST.version in (refused.value.why or "")


@pytest.mark.parametrize("new", ["2.1.320", "2.1.328", "2.1.330", "2.1.1000", "2.2.0", "3.0.0"])
def test_a_version_between_or_above_needs_the_unsafe_flag_and_carries_it(
    new: str, tmp_path: Path
) -> None:
    found = says(tmp_path, f"echo '{new} (Claude Code)'")
    with pytest.raises(RunRefused) as refused:
        check_version(found)
    assert "--unsafe-harness-version" in refused.value.fix
    assert check_version(found, unsafe_version=True).unsafe == (UNSAFE_VERSION,)


ENTRY = b"""[[proved]]
version = "2.1.319"
proved = 2026-11-20
test = "tests/a.py"
notes = ["A sentence."]
"""


def test_the_shipped_table_names_tests_that_exist_and_no_day_to_come() -> None:
    for entry in PROVED:
        assert (ROOT / entry.test).is_file()
        assert entry.proved <= date.today()  # noqa: DTZ011 - a day, as it stands in the file
    assert read_table(TABLE_PLACE.read_bytes()) == PROVED


DAMAGED = (
    b"",
    b"proved = []",
    b"\xff",
    b"[[proved]",
    ENTRY.replace(b'"2.1.319"', b'"2.1"'),
    ENTRY.replace(b'"2.1.319"', b'"2.1.319-beta"'),
    ENTRY.replace(b'"2.1.319"', b"2"),
    ENTRY.replace(b"2026-11-20", b'"soon"'),
    ENTRY.replace(b"tests/a.py", b"../a.py"),
    ENTRY.replace(b'["A sentence."]', b'[""]'),
    ENTRY + b'more = "x"\n',
    ENTRY + ENTRY,
    ENTRY + ENTRY.replace(b"2.1.319", b"2.1.318"),
    ENTRY.replace(b"2.1.319", b"2.1.1000") + ENTRY,
)


@pytest.mark.parametrize("data", DAMAGED)
def test_a_damaged_table_is_an_error_of_ours_and_not_an_empty_one(data: bytes) -> None:
    """Versions compare as numbers; one that is doubled or out of order is a mistake of somebody."""
    with pytest.raises(ConfigurationError):
        read_table(data)
    assert read_table(ENTRY)[0].parts == (2, 1, 319)


ODD = (
    "exit 0",
    "echo '2.1.329 (Claude Code)'; exit 1",
    "echo 2.1.329",
    "echo '2.1.329-beta (Claude Code)'",
    "echo '2.1.329 (Claude Code)'; echo more",
    "echo '\uff12.1.329 (Claude Code)'",
    "echo '2.1.329 (Claude Code)' >&2",
    "kill -9 $$",
)


@pytest.mark.parametrize("script", ODD)
def test_what_does_not_say_its_version_plainly_is_refused(script: str, tmp_path: Path) -> None:
    with pytest.raises(RunRefused):
        check_version(says(tmp_path, script), unsafe_version=True)


def test_one_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "ANSWER_TIMEOUT_S", 0.2)
    with pytest.raises(RunRefused):
        check_version(says(tmp_path, "exec tail -f /dev/null"))


def test_it_is_asked_with_an_empty_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-dummy")
    found = says(tmp_path, 'env > "$(dirname "$0")/seen"; echo "2.1.329 (Claude Code)"')
    check_version(found)
    seen = {line.partition("=")[0] for line in (tmp_path / "seen").read_text().splitlines()}
    assert seen <= {"HOME", "PATH", "DISABLE_AUTOUPDATER", "PWD", "OLDPWD", "SHLVL", "_"}


def test_the_configured_path_comes_first_and_links_are_followed(tmp_path: Path) -> None:
    real = native(tmp_path / "real/claude")
    other = native(tmp_path / "bin/claude")
    link = tmp_path / "link"
    link.symlink_to(real)
    found = find_executable(str(link), str(other.parent), workspace=str(tmp_path / "repo"))
    assert found == real


def test_empty_and_relative_entries_of_path_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They name the current directory: a repository could put its own `claude` there."""
    native(tmp_path / "claude")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunRefused):
        find_executable("", ":.:./", workspace="/nowhere")


def test_an_npm_wrapper_is_resolved_to_the_native_binary_beside_it(tmp_path: Path) -> None:
    suffix = {"x86_64": "linux-x64", "aarch64": "linux-arm64"}[platform.machine()]
    scope = tmp_path / "lib/node_modules/@anthropic-ai"
    real = native(scope / f"claude-code-{suffix}/claude")
    wrapper = scope / "claude-code/cli-wrapper.cjs"
    wrapper.parent.mkdir()
    wrapper.write_text("#!/usr/bin/env node\n")
    wrapper.chmod(0o755)
    bin_directory = tmp_path / "bin"
    bin_directory.mkdir()
    (bin_directory / "claude").symlink_to(wrapper)
    assert find_executable("", str(bin_directory), workspace="/nowhere") == real


def test_one_inside_the_workspace_is_refused(tmp_path: Path) -> None:
    real = native(tmp_path / "repo/bin/claude")
    link = tmp_path / "claude"
    link.symlink_to(real)
    for name in (real, link):
        with pytest.raises(RunRefused, match="inside the workspace"):
            find_executable(str(name), "", workspace=str(tmp_path / "repo"))


@pytest.mark.parametrize("configured", ["claude", "./claude", "/nowhere/claude", "/etc/hostname"])
def test_a_configured_path_that_is_no_executable_is_refused(configured: str) -> None:
    with pytest.raises(RunRefused):
        find_executable(configured, "/usr/bin", workspace="/nowhere")


def test_a_script_without_a_native_binary_beside_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunRefused, match="not a native executable"):
        find_executable(str(says(tmp_path, "true")), "", workspace="/nowhere")
