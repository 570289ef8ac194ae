"""The sandbox provider: the real bubblewrap on this machine, judged from both sides."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from pydantic import ValidationError

from agp.contracts.base import SessionId
from agp.contracts.policy import Grade
from agp.contracts.sandbox import (
    ExecRequest,
    ExecResult,
    PreflightReport,
    Probe,
    ProbeResult,
    SandboxProvider,
)
from agp.errors import NotBuilt, RunRefused
from agp.sandbox.local import LocalProvider
from tests.conformance.clauses import clause
from tests.fakes.views import Stage, processes_marked, stage

pytestmark = pytest.mark.confinement
DEADLINE_S = 30.0
SHELL = ("/bin/sh", "-c")


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        made.places()
        yield made


def provider(scene: Stage) -> SandboxProvider:
    return LocalProvider(agp_home=str(scene.home))


def request(scene: Stage, *argv: str, **more: object) -> ExecRequest:
    given = {"cwd": str(scene.workspace), "workspace": str(scene.workspace)} | more
    return ExecRequest.model_validate(
        {"session_id": SessionId("s-000000000000"), "argv": argv, **given}
    )


def execute(scene: Stage, *argv: str, **more: object) -> ExecResult:
    async def bounded() -> ExecResult:
        with anyio.fail_after(DEADLINE_S):
            return await provider(scene).execute(request(scene, *argv, **more))

    return anyio.run(bounded)


@clause("C-SANDBOX-01")
def test_a_preflight_names_its_probes_each_with_a_control_that_reached(scene: Stage) -> None:
    made = provider(scene)
    report = anyio.run(made.preflight, str(scene.workspace))
    assert (report.provider, report.grade) == (made.name, made.grade)
    assert report.probes
    assert all(probe.control_reached for probe in report.probes)
    assert report.passed


@clause("C-SANDBOX-02")
def test_only_a_blocked_probe_with_a_reached_control_is_a_pass() -> None:
    def passes(*probes: Probe) -> bool:
        return PreflightReport(provider="x", grade=Grade.CONFINED, probes=probes).passed

    good = Probe(name="tcp", control_reached=True, result=ProbeResult.BLOCKED)
    assert passes(good)
    assert not passes()
    for control in (True, False):
        for result in ProbeResult:
            bad = Probe(name="udp", control_reached=control, result=result)
            assert passes(good, bad) is (control and result is ProbeResult.BLOCKED)


@clause("C-SANDBOX-03")
def test_a_write_outside_the_workspace_leaves_no_trace(scene: Stage) -> None:
    name = f"trace-{secrets.token_hex(6)}"
    places = (scene.base, scene.home, Path("/tmp"), Path.home(), Path("/"))
    outside = [place / name for place in places]
    script = "; ".join(f"echo x > {path}" for path in (*outside, scene.workspace / name))
    execute(scene, *SHELL, script)
    assert [path for path in outside if path.exists()] == []
    assert (scene.workspace / name).read_text() == "x\n"


@clause("C-SANDBOX-04")
def test_a_listener_of_this_machine_hears_nothing(scene: Stage) -> None:
    code = (
        "import socket, sys\n"
        "try:\n"
        "    socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=2).close()\n"
        "except OSError:\n"
        "    sys.exit(9)\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        listener.settimeout(2)
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        listener.accept()[0].close()  # the control: from outside it is reached
        listener.setblocking(False)
        done = execute(scene, "/usr/bin/python3", "-ISc", code, str(port))
        assert done.exit_code == 9
        with pytest.raises(BlockingIOError):
            listener.accept()


@clause("C-SANDBOX-05")
def test_streams_and_exit_code_come_back_apart(scene: Stage) -> None:
    done = execute(scene, *SHELL, "cat; echo err >&2; exit 3", stdin=b"in\xff\n")
    assert (done.exit_code, done.stdout, done.stderr) == (3, b"in\xff\n", b"err\n")
    assert execute(scene, *SHELL, "kill -9 $$").exit_code == 137


@clause("C-SANDBOX-06")
def test_time_is_bounded_and_nothing_outlives_it(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    done = execute(scene, *SHELL, f"trap '' TERM; sleep 600 & sleep 600 # {marker}", timeout_s=0.3)
    assert (done.timed_out, done.exit_code) == (True, 137)
    assert processes_marked(marker) == []


@clause("C-SANDBOX-07")
def test_output_is_bounded_and_what_is_left_out_is_counted(scene: Stage) -> None:
    done = execute(scene, "/usr/bin/head", "-c", "300000", "/dev/zero", output_limit=1000)
    assert (len(done.stdout), done.stdout_bytes) == (1000, 300_000)


@clause("C-SANDBOX-08")
def test_what_it_cannot_give_is_refused_and_nothing_runs(scene: Stage) -> None:
    made = scene.workspace / "made"
    with pytest.raises(NotBuilt):
        execute(scene, *SHELL, f"touch {made}", allow_network=True)
    for place in (str(scene.base), "/"):
        with pytest.raises(RunRefused):
            execute(scene, *SHELL, f"touch {made}", cwd=place)
    assert not made.exists()


@clause("C-SANDBOX-09")
def test_cancelled_means_killed_when_the_call_returns(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"

    async def cancelled() -> None:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                words = request(scene, *SHELL, f"sleep 600 & sleep 600 # {marker}")
                tasks.start_soon(provider(scene).execute, words)
                while not processes_marked(marker):
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()

    anyio.run(cancelled)
    assert processes_marked(marker) == []


@clause("C-SANDBOX-10")
def test_the_profile_digest_names_the_configuration(scene: Stage) -> None:
    again = LocalProvider(agp_home=str(scene.home)).profile_digest
    assert provider(scene).profile_digest == again
    toolchain = scene.base / "toolchain"
    toolchain.mkdir()
    other = LocalProvider(agp_home=str(scene.home), toolchains=(str(toolchain),))
    assert other.profile_digest != again


@clause("C-SANDBOX-11")
def test_a_command_without_words_is_no_request(scene: Stage) -> None:
    with pytest.raises(ValidationError):
        request(scene)
    with pytest.raises(ValidationError):
        request(scene, "true", timeout_s=0)


@clause("C-SANDBOX-12")
def test_an_executing_place_cannot_be_written_and_its_parent_cannot_be_renamed(
    scene: Stage,
) -> None:
    script = "echo evil > .git/hooks/pre-commit; mv .git .git-old; mkdir .claude/x; touch after"
    execute(scene, *SHELL, script)
    assert (scene.workspace / "after").exists()
    assert not (scene.workspace / ".git/hooks/pre-commit").exists()
    assert not (scene.workspace / ".git-old").exists()
    assert not (scene.workspace / ".claude/x").exists()
