"""The program as a process: how fast it answers, how it ends, what it leaves on the screen."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
AGP = (sys.executable, "-m", "agp")
VERSION_LIMIT_S = 0.15
ATTEMPTS = 5


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Give a clean environment with a home of its own."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AGP_HOME": str(tmp_path / "agp"),
        "PYTHONPATH": str(ROOT),
        "LANG": "C.UTF-8",
    }


def run(*words: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command line to its end."""
    return subprocess.run(
        [*AGP, *words], env=env, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_version_answers_in_under_0_15_s(environment: dict[str, str]) -> None:
    """The best of five: the limit is for the program, not for a busy machine."""
    times = []
    for _ in range(ATTEMPTS):
        began = time.perf_counter()
        done = run("--version", env=environment)
        times.append(time.perf_counter() - began)
        assert done.returncode == 0
        assert done.stdout.startswith("agp ")

    assert min(times) < VERSION_LIMIT_S, times


def test_a_mistake_is_told_without_the_cost_of_the_contracts(environment: dict[str, str]) -> None:
    """Help and refusals import no contract of ours and no foreign adapter."""
    probe = (
        "import sys; from agp.cli.app import run_command_line; run_command_line(['verfy']);"
        "print(sorted(m for m in sys.modules if m in"
        " {'agp.contracts.base', 'anyio', 'docker', 'nacl', 'ruamel', 'sqlite_utils'}))"
    )

    done = subprocess.run(
        [sys.executable, "-c", probe],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.stdout == "[]\n", done.stderr


def test_a_reader_that_goes_away_is_met_in_silence(environment: dict[str, str]) -> None:
    """`agp help | head -1` leaves no traceback."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as broken:
        done = subprocess.run(
            [*AGP, "help"], env=environment, stdout=broken, stderr=subprocess.PIPE,
            check=False, timeout=60,
        )  # fmt: skip

    assert done.stderr == b""
    assert done.returncode == 141


def test_ctrl_c_ends_quietly(environment: dict[str, str], tmp_path: Path) -> None:
    """A command that waits for its input ends with 130 and no traceback."""
    assert run("init", env=environment).returncode == 0
    reads_stdin = subprocess.Popen(
        [*AGP, "verify", "--against", "-"],
        env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_for_read(reads_stdin.pid)

    reads_stdin.send_signal(signal.SIGINT)
    _, said = reads_stdin.communicate(timeout=30)

    assert reads_stdin.returncode == 130
    assert b"Traceback" not in said


def wait_for_read(pid: int) -> None:
    """Wait until a process sleeps in a read of its standard input."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        call = Path(f"/proc/{pid}/syscall").read_text().split()
        if call[:2] == ["0", "0x0"]:
            return
    raise AssertionError("the process never read its input")


def test_hostile_arguments_reach_the_screen_escaped(environment: dict[str, str]) -> None:
    done = run("verfy\x1b]0;x\x07", env=environment)

    assert done.returncode == 2
    assert "\x1b" not in done.stderr
    assert "\x07" not in done.stderr


def test_a_foreign_home_is_refused(environment: dict[str, str], tmp_path: Path) -> None:
    """A home that others can enter, or that is somebody else's, is no home."""
    place = tmp_path / "agp"
    place.mkdir(mode=0o755)

    done = run("status", env=environment)

    assert done.returncode == 3
    assert f"chmod 700 {place}" in done.stderr


def test_init_doctor_and_an_empty_daemon(environment: dict[str, str], tmp_path: Path) -> None:
    """A newcomer's first minute: make a home, prove it, start and stop the daemon, verify."""
    for line in ("init", "doctor", "daemon start", "status", "approvals", "daemon stop", "verify"):
        done = run(*line.split(), env=environment)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    assert "INTEGRITY OK" in done.stdout
    assert "UNANCHORED" in done.stdout


def test_a_second_daemon_is_refused(environment: dict[str, str]) -> None:
    assert run("init", env=environment).returncode == 0
    assert run("daemon", "start", env=environment).returncode == 0
    try:
        done = run("daemon", "run", env=environment)
    finally:
        stopped = run("daemon", "stop", env=environment)

    assert done.returncode == 3
    assert "a daemon runs at this home already" in done.stderr
    assert stopped.returncode == 0


def test_doctor_names_the_fix_for_each_failure(environment: dict[str, str], tmp_path: Path) -> None:
    """Without a home every part that needs one fails with its own fix, and nothing is made."""
    done = run("doctor", env=environment)

    assert done.returncode == 3
    assert "agp init" in done.stdout
    assert not (tmp_path / "agp").exists()
