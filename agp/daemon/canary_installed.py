"""The canary of hooks that are installed where a person starts the harness without `agp run`.

There is no view here: the harness runs as its person starts it, from the settings of one scope, in
a HOME and a workspace that exist for this run only, from an empty environment. Its processes live
in a process namespace of their own, so that none survives. The daemon is not asked: a copy of the
settings leads AGP's hooks to a socket of the canary's.

Not proved by it: that the daemon's own socket answers, and what other people's hooks and a
repository's settings add; the caller plants what it wants to see tried.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio

from agp.contracts.canary import CanaryReport
from agp.daemon.canary import DEADLINE_S, OUTPUT
from agp.daemon.canary_ground import (
    CanaryAnswers,
    Ended,
    canary_model,
    canary_place,
    everything,
    plant,
    witness,
)
from agp.errors import Unavailable
from agp.gateway.ask import AskListener
from agp.intendants.claude_code.canary_calls import canary_calls, judge
from agp.intendants.claude_code.canary_model import CANARY_KEY
from agp.intendants.claude_code.canary_settings import canary_settings
from agp.intendants.claude_code.settings import HARNESS
from agp.intendants.claude_code.shape import TASK, installed_digest
from agp.sandbox.host import RunAs, tool
from agp.sandbox.run import KILLED, Captured

if TYPE_CHECKING:
    from agp.intendants.claude_code.canary_model import CanaryModel
    from agp.intendants.claude_code.version import Executable


class HookScope(StrEnum):
    """Whose settings hold the hooks; the harness reads all of them."""

    USER = "user"
    PROJECT = "project"
    MANAGED = "managed"


Planted = tuple[tuple[str, bytes], ...]
_SOCKET_IN_DIGEST: Final = "/run/agp/ask.sock"
_PLACES: Final = {
    HookScope.USER: "home/.claude/settings.json",
    HookScope.PROJECT: "work/.claude/settings.local.json",
    HookScope.MANAGED: "etc/managed-settings.d/agp.json",
}
_ENVIRONMENT: Final = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "ANTHROPIC_API_KEY": CANARY_KEY,
    "DISABLE_AUTOUPDATER": "1",
    "DISABLE_ERROR_REPORTING": "1",
    "DISABLE_TELEMETRY": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
}
_ARGUMENTS: Final = (
    "-p",
    "--output-format",
    "stream-json",
    "--verbose",
    "--include-hook-events",
    "--",
    TASK,
)


async def prove_installed(  # noqa: PLR0913 - what is installed, where, against what, how long
    executable: Executable,
    settings: bytes,
    socket: str,
    scope: HookScope,
    *,
    planted: Planted = (),
    deadline_s: float = DEADLINE_S,
) -> CanaryReport:
    """Run the canary of hooks that stand in one scope's settings and ask at `socket`.

    `planted` is what a repository brings along, by its path below the workspace: with it the report
    says whether the hooks hold against that. Read the report by topic: a scope without the floor
    can hold `denied` and not `silent`.

    Raises:
        ConfigurationError: no hook in these settings asks at that socket.
        Unavailable: the harness could not be started.
    """
    started = time.monotonic()
    who = RunAs(uid=os.geteuid(), gid=os.getegid(), staged=False)
    shaped = canary_settings(settings, socket=socket, instead=_SOCKET_IN_DIGEST)
    with canary_place(who) as place:
        work = place / "work"
        calls = canary_calls(str(work), secrets.token_bytes(32))
        plant(work, calls, who)
        ours = canary_settings(settings, socket=socket, instead=str(place / "ask" / "ask.sock"))
        _write(place, (*((f"work/{name}", data) for name, data in planted), (_PLACES[scope], ours)))
        _write(place, (("home/.claude.json", _trusted(work)),))
        before = everything(work)
        heard = (CanaryAnswers(calls), canary_model(calls))
        ended = await _run(executable, place, scope, heard, deadline_s)
        probes = judge(calls, witness(before, everything(work), calls, heard, ended))
    return CanaryReport(
        intendant=HARNESS,
        version=executable.version,
        harness_digest=executable.sha256,
        shape_digest=installed_digest(shaped, version=executable.version, scope=scope.value),
        probes=probes,
        duration_ms=int((time.monotonic() - started) * 1000),
    )


async def _run(
    executable: Executable,
    place: Path,
    scope: HookScope,
    heard: tuple[CanaryAnswers, CanaryModel],
    deadline_s: float,
) -> Ended:
    answers, model = heard
    ask = place / "ask" / "ask.sock"
    mine = frozenset({os.geteuid()})
    listener = AskListener(ask, answers, on_refused=lambda _: None, allowed_uids=mine)
    async with anyio.create_task_group() as tasks:
        await tasks.start(listener.serve)
        port = await tasks.start(model.serve_loopback)
        environment = {
            **_ENVIRONMENT,
            "HOME": str(place / "home"),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        argv = (*_mounts(place, scope), executable.path, *_ARGUMENTS)
        ended = await _to_its_end(argv, environment, str(place / "work"), deadline_s)
        tasks.cancel_scope.cancel()
    return ended


async def _to_its_end(
    argv: tuple[str, ...], environment: dict[str, str], cwd: str, deadline_s: float
) -> Ended:
    """Run it in a process group of its own, which is killed whole at the deadline.

    Its other processes end with the namespace: the harness's first process is their pid 1's child.
    """
    stdout, stderr = Captured(OUTPUT), Captured(OUTPUT)
    timed_out = True
    try:
        with anyio.CancelScope(shield=True):
            process = await anyio.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                env=environment,
                cwd=cwd,
                start_new_session=True,
            )
    except OSError as error:
        raise Unavailable("the harness could not be started", where=argv[0]) from error
    try:
        with anyio.move_on_after(deadline_s):
            async with anyio.create_task_group() as tasks:
                if process.stdout is not None and process.stderr is not None:
                    tasks.start_soon(stdout.fill, process.stdout)
                    tasks.start_soon(stderr.fill, process.stderr)
                await process.wait()
            timed_out = False
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            await process.aclose()
    code = KILLED if process.returncode is None else process.returncode
    return Ended(code, timed_out, bytes(stdout.kept), bytes(stderr.kept))


def _mounts(place: Path, scope: HookScope) -> tuple[str, ...]:
    """Keep the machine as it is, in a process namespace; managed settings need a private /etc."""
    words = [tool("bwrap"), "--die-with-parent", "--unshare-pid", "--dev-bind", "/", "/"]
    words += ["--proc", "/proc"]
    if scope is HookScope.MANAGED:
        words += ["--tmpfs", "/etc"]
        for entry in sorted(Path("/etc").iterdir()):
            if entry.name != "claude-code":
                words += ["--ro-bind-try", str(entry), str(entry)]
        words += ["--ro-bind", str(place / "etc"), "/etc/claude-code"]
    return (*words, "--")


def _write(place: Path, files: Planted) -> None:
    for name, data in files:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _trusted(work: Path) -> bytes:
    """Say that the person trusts the workspace, as they would: untrusted rules count for less."""
    project = {"hasTrustDialogAccepted": True}
    return json.dumps({"hasCompletedOnboarding": True, "projects": {str(work): project}}).encode()
