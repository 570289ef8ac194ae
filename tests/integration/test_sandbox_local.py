"""The local provider: a command in a view of its own, with limits, or nothing at all."""

from __future__ import annotations

import os
import secrets
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agp.contracts.base import SessionId
from agp.contracts.policy import Grade
from agp.contracts.sandbox import ExecRequest, ExecResult, SandboxProvider
from agp.errors import ConfigurationError, NotBuilt, RunRefused, Unavailable
from agp.sandbox import host
from agp.sandbox.local import LocalProvider
from tests.fakes.views import Stage, processes_marked, stage

pytestmark = pytest.mark.confinement


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        made.places()
        yield made


def request(scene: Stage, *argv: str, **more: object) -> ExecRequest:
    given = {"cwd": str(scene.workspace), "workspace": str(scene.workspace)} | more
    return ExecRequest.model_validate(
        {"session_id": SessionId("s-000000000000"), "argv": argv, **given}
    )


def provider(scene: Stage) -> LocalProvider:
    return LocalProvider(agp_home=str(scene.home))


def execute(scene: Stage, *argv: str, **more: object) -> ExecResult:
    return anyio.run(provider(scene).execute, request(scene, *argv, **more))


def test_it_is_a_provider_of_grade_confined(scene: Stage) -> None:
    made: SandboxProvider = provider(scene)
    assert (made.name, made.grade) == ("local", Grade.CONFINED)
    assert made.profile_digest == provider(scene).profile_digest


def test_a_command_runs_in_the_workspace_and_its_words_come_back(scene: Stage) -> None:
    done = execute(
        scene, "/bin/sh", "-c", "cat; pwd; echo $HOME >&2; touch made; exit 3", stdin=b"in\n"
    )
    assert (done.exit_code, done.timed_out) == (3, False)
    assert done.stdout.decode() == f"in\n{scene.workspace}\n"
    assert done.stderr == b"/tmp\n"
    assert (scene.workspace / "made").stat().st_uid == scene.workspace.stat().st_uid


def test_a_signal_is_128_and_its_number(scene: Stage) -> None:
    assert execute(scene, "/bin/sh", "-c", "kill -9 $$").exit_code == 137


def test_there_is_no_ask_directory_no_harness_home_and_no_port(scene: Stage) -> None:
    done = execute(scene, "/bin/sh", "-c", "ls /run/agp /home /opt; cat /proc/net/tcp | wc -l")
    assert done.stdout == b"1\n"
    assert done.stderr.count(b"No such file") == 3


def test_output_beyond_the_limit_is_counted_and_not_kept(scene: Stage) -> None:
    done = execute(scene, "/usr/bin/head", "-c", "3000000", "/dev/zero", output_limit=1000)
    assert (len(done.stdout), done.stdout_bytes, done.exit_code) == (1000, 3_000_000, 0)


def test_a_command_that_reads_nothing_and_one_that_gets_much_both_end(scene: Stage) -> None:
    assert execute(scene, "/bin/true", stdin=b"x" * 1_000_000).exit_code == 0
    done = execute(scene, "/usr/bin/wc", "-c", stdin=b"x" * 1_000_000)
    assert done.stdout.strip() == b"1000000"


STUBBORN = (
    "import os, signal, sys, time\n"
    "[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 15)]\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "print('ready', flush=True)\n"
    "time.sleep(600)\n"
)


def test_the_time_limit_kills_everything_also_what_ignores_signals(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    started = time.monotonic()
    done = execute(scene, "/usr/bin/python3", "-ISc", STUBBORN, marker, timeout_s=0.5)
    assert time.monotonic() - started < 5
    assert (done.timed_out, done.exit_code) == (True, 137)
    assert done.stdout == b"ready\nready\n"
    assert processes_marked(marker) == []


def test_cancelled_means_killed_when_the_call_returns(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"

    async def cancelled() -> None:
        async with anyio.create_task_group() as tasks:
            asked = request(scene, "/usr/bin/python3", "-ISc", STUBBORN, marker)
            tasks.start_soon(provider(scene).execute, asked)
            with anyio.fail_after(5):
                while not processes_marked(marker):
                    await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()

    anyio.run(cancelled)
    assert processes_marked(marker) == []


@pytest.mark.parametrize("moment", range(8))
def test_a_daemon_killed_while_a_command_starts_leaves_no_command(
    scene: Stage, moment: int
) -> None:
    """Measured: bubblewrap alone leaves it running. The effect that must not come is a file."""
    marker = f"mark-{secrets.token_hex(8)}"
    code = "import time, sys; time.sleep(0.3); open('late', 'w').close(); time.sleep(600)"
    asked = request(scene, "/usr/bin/python3", "-ISc", code, marker)
    daemon = os.fork()
    if daemon == 0:
        anyio.run(provider(scene).execute, asked)
        os._exit(0)
    deadline = time.monotonic() + 5
    while not processes_marked(marker) and time.monotonic() < deadline:
        select.select([], [], [], 0.001)
    select.select([], [], [], moment * 0.002)
    os.kill(daemon, signal.SIGKILL)
    os.waitpid(daemon, 0)
    select.select([], [], [], 0.5)
    left = processes_marked(marker)
    for process in left:
        # At most bubblewrap's own child, waiting for ever for its parent: it runs nothing.
        assert Path(f"/proc/{process}/comm").read_text() == "bwrap\n"
        os.kill(process, signal.SIGKILL)
    assert not (scene.workspace / "late").exists()


def test_a_command_s_own_words_are_not_taken_for_ours(scene: Stage) -> None:
    assert execute(scene, "/bin/echo", "@lifeline", "@report").stdout == b"@lifeline @report\n"


def test_the_command_has_three_descriptors(scene: Stage) -> None:
    code = "import os; print(sorted(os.listdir('/proc/self/fd')))"
    assert execute(scene, "/usr/bin/python3", "-ISc", code).stdout == b"['0', '1', '2', '3']\n"


def test_the_end_of_the_command_is_the_end_of_its_children(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    code = STUBBORN.replace("time.sleep(600)\n", "os.getsid(0) == os.getpid() and time.sleep(600)")
    done = execute(scene, "/usr/bin/python3", "-ISc", code, marker, timeout_s=20.0)
    assert done.timed_out or done.exit_code == 0
    assert processes_marked(marker) == []


def test_executing_places_are_read_only_and_namespaces_closed(scene: Stage) -> None:
    done = execute(
        scene, "/bin/sh", "-c",
        "echo x > .git/hooks/pre-commit; mv .git g; mkdir .claude/x; unshare -U true; bwrap true",
    )  # fmt: skip
    assert done.exit_code != 0
    assert not (scene.workspace / ".git/hooks/pre-commit").exists()
    assert b"Operation not permitted" in done.stderr


def test_network_for_a_call_is_not_built_and_says_so(scene: Stage) -> None:
    with pytest.raises(NotBuilt):
        execute(scene, "/bin/true", allow_network=True)


def test_a_directory_outside_the_workspace_is_refused(scene: Stage) -> None:
    (scene.workspace / "out").symlink_to("/etc")
    for cwd in ("/etc", str(scene.workspace / ".."), str(scene.workspace / "out")):
        with pytest.raises(RunRefused):
            execute(scene, "/bin/true", cwd=cwd)


def test_uncovered_places_refuse_the_command(scene: Stage) -> None:
    """A person removed a mount point meanwhile: nothing runs where the mask would be missing."""
    (scene.workspace / ".vscode").rmdir()
    with pytest.raises(RunRefused, match="not covered"):
        execute(scene, "/usr/bin/touch", "ran")
    assert not (scene.workspace / "ran").exists()


def test_a_command_that_does_not_exist_was_not_run(scene: Stage) -> None:
    with pytest.raises(Unavailable, match="could not be started"):
        execute(scene, "/no/such/program")


def test_without_bubblewrap_nothing_runs(scene: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a plain host fallback: the tool is looked for where it is not."""
    monkeypatch.setattr(host, "TOOL_PATH", str(scene.base))
    with pytest.raises(ConfigurationError) as caught:
        execute(scene, "/usr/bin/touch", "ran")
    assert "install" in caught.value.fix
    assert not (scene.workspace / "ran").exists()


def test_a_bubblewrap_that_fails_or_runs_nothing_is_unavailable(
    scene: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No user namespaces: bubblewrap says so and exits; a success that ran nothing is none."""
    for number, script in enumerate(("echo 'No permissions' >&2; exit 1", "exit 0")):
        place = scene.base / f"bin{number}"
        place.mkdir()
        for name in ("setpriv", "unshare", "sh", "git"):
            (place / name).symlink_to(host.tool(name))
        (place / "bwrap").write_text(f"#!/bin/sh\n{script}\n")
        (place / "bwrap").chmod(0o755)
        monkeypatch.setattr(host, "TOOL_PATH", f"{place}:/usr/bin:/bin")
        with pytest.raises(Unavailable, match="did not run"):
            execute(scene, "/usr/bin/touch", "ran")
        assert not (scene.workspace / "ran").exists()


def test_two_commands_at_once_do_not_see_each_other(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    code = "import os,sys,time\nprint(sum(n.isdigit() for n in os.listdir('/proc')))"
    counts: list[bytes] = []

    async def one() -> None:
        done = await provider(scene).execute(
            request(scene, "/usr/bin/python3", "-ISc", code, marker)
        )
        counts.append(done.stdout)

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            tasks.start_soon(one)

    anyio.run(both)
    assert counts == [b"3\n", b"3\n"], "init, the guard, the command"
    assert os.getpid()


PROGRAMS = {
    "core.fsmonitor": ("status", "--porcelain"),
    "core.pager": ("--paginate", "log", "-1", "--format=x"),
    "credential.helper": ("credential", "fill"),
    "core.askPass": ("credential", "fill"),
}
"""Settings of a repository's own configuration, and the question that makes git run them."""


@pytest.mark.parametrize("setting", PROGRAMS)
def test_git_inside_runs_no_program_that_an_older_configuration_names(
    scene: Stage, setting: str
) -> None:
    """Attack: an unpacked archive brings its .git/config; the control is the same git without."""
    program = scene.workspace / "program"
    program.write_text("#!/bin/sh\ntouch RAN\n")
    program.chmod(0o755)
    scene.give()
    scene.git("config", setting, str(program))
    words: tuple[str, ...] = ("git", *PROGRAMS[setting])
    if "--paginate" in words:  # git pages only on a terminal
        words = ("script", "-qec", " ".join(words), "/dev/null")
    stdin = b"protocol=https\nhost=h\n\n"
    ran = scene.workspace / "RAN"
    execute(scene, *words, stdin=stdin)
    assert not ran.exists()
    plain = ("env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp", "TERM=x")
    execute(scene, *plain, *words, stdin=stdin)
    assert ran.exists(), "the control"


def test_git_inside_takes_no_ordinary_directory_for_a_repository() -> None:
    """Attack: a bare repository as plain files, whose config says that it is not bare."""
    with stage(git=False) as bare:
        for name in ("objects", "refs"):
            (bare.workspace / name).mkdir()
        (bare.workspace / "HEAD").write_text("ref: refs/heads/main\n")
        (bare.workspace / "config").write_text(
            "[core]\n\trepositoryformatversion = 0\n\tbare = false\n\tworktree = .\n"
            '\tfsmonitor = "touch RAN;true"\n'
        )
        bare.give()
        ran = bare.workspace / "RAN"
        bare.git("status")
        assert ran.exists(), "the control, outside"
        ran.unlink()
        bare.places()
        execute(bare, "git", "status")
        assert not ran.exists()
        execute(bare, "/bin/sh", "-c", "echo x > config; mv config c; rm -rf hooks; mkdir hooks/x")
        assert "RAN" in (bare.workspace / "config").read_text(), "it is masked like a .git"
        assert not (bare.workspace / "hooks" / "x").exists()


def test_commands_go_on_after_one_has_made_a_nested_repository(scene: Stage) -> None:
    """It is told at the end; until then what exists of it is masked like any other."""
    assert execute(scene, "git", "init", "-q", "nn").exit_code == 0
    done = execute(scene, "/bin/sh", "-c", "echo x >> nn/.git/config || echo masked")
    assert done.stdout == b"masked\n"
