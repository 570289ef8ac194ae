"""What a canary costs: its whole time against one bare `claude -p` of the same conversation.

The floor is the harness without AGP, with every tool allowed, asked for the same calls by the same
model, in the same run, in turns with the canary. The canary adds the view, the workspace's masks,
about thirty hooks and the judgement. The second ratio is the canary of installed hooks.

    python bench/canary.py [ROUNDS]          needs scripts/fetch-harness, bubblewrap
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from agp.contracts.base import Digest
from agp.daemon.canary import prove_harness
from agp.daemon.canary_ground import canary_model, plant
from agp.daemon.canary_installed import HookScope, prove_installed
from agp.intendants.claude_code.canary_calls import canary_calls
from agp.intendants.claude_code.canary_model import CANARY_KEY
from agp.intendants.claude_code.installation import HookPlace, format_document, install
from agp.intendants.claude_code.launch import LaunchRequest, plan_launch
from agp.intendants.claude_code.version import NEWEST, Executable
from agp.sandbox.host import RunAs, run_as
from tests.fakes.agp_house import NATIVE, ORDINARY, ROOT

WORDS = ("-p", "--allowedTools", "Bash,Read,Write", "--setting-sources", "", "--", "do it")
SOCKET = "/run/agp-bench/ask.sock"


def made(place: str, name: str) -> Path:
    path = Path(place, name)
    path.mkdir()
    return path


async def bare() -> float:
    """Run the harness as it is to the end of the canary's conversation; milliseconds."""
    with tempfile.TemporaryDirectory(prefix="agp-bench-") as place:
        work, home = made(place, "work"), made(place, "home")
        calls = canary_calls(str(work), os.urandom(32))
        plant(work, calls, RunAs(uid=os.geteuid(), gid=os.getegid(), staged=False))
        model = canary_model(calls)
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(model.serve_loopback)
            environment = {
                "HOME": str(home),
                "PATH": "/usr/bin:/bin",
                "ANTHROPIC_API_KEY": CANARY_KEY,
                "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{port}",
                "DISABLE_AUTOUPDATER": "1",
                "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            }
            begin = time.perf_counter()
            await anyio.run_process(
                [str(NATIVE), *WORDS], env=environment, cwd=work, stdin=subprocess.DEVNULL
            )
            took = (time.perf_counter() - begin) * 1e3
            tasks.cancel_scope.cancel()
        ran = sum(not result.is_error for result in model.results.values())
        if not model.finished or ran != len(calls):
            raise SystemExit(f"bare, {ran} of {len(calls)} calls ran")
        return took


async def governed(who: RunAs) -> float:
    plan = plan_launch(
        LaunchRequest(
            task="bench",
            executable=str(NATIVE),
            executable_sha256=Digest("0" * 64),
            version=NEWEST.version,
            bridge=(ROOT / "hooks/agp-bridge").read_bytes(),
            forwarder=(ROOT / "hooks/agp-forward").read_bytes(),
            reconnect_s=30,
            model_relay=True,
            git_name="bench",
            git_email="bench@example.invalid",
        )
    )
    report = await prove_harness(plan, who, agp_home="/nowhere")
    if not report.passed:
        raise SystemExit(report.detail)
    return float(report.duration_ms)


async def installed() -> float:
    place = HookPlace(
        interpreter="/usr/bin/python3",
        bridge=str(ROOT / "hooks/agp-bridge"),
        socket=SOCKET,
        reconnect_s=5,
    )
    executable = Executable(path=str(NATIVE), version=NEWEST.version, sha256=Digest("0" * 64))
    settings = format_document(install({}, place).document)
    report = await prove_installed(executable, settings, SOCKET, HookScope.USER)
    if not report.passed:
        raise SystemExit(report.detail)
    return float(report.duration_ms)


def told(name: str, times: list[float], floor: list[float]) -> str:
    median, ratio = statistics.median(times), statistics.median(times) / statistics.median(floor)
    return f"{name:22} {median:7.0f} ms   worst {max(times):7.0f} ms   {ratio:4.2f} x"


def main(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        if os.geteuid() == 0:
            os.chown(place, ORDINARY, ORDINARY)
        who = run_as(place)
    floor, canary, hooks = [], [], []
    for number in range(rounds + 1):
        one = (anyio.run(bare), anyio.run(functools.partial(governed, who)), anyio.run(installed))
        if number:  # the first of each warms up
            for times, took in zip((floor, canary, hooks), one, strict=True):
                times.append(took)
    print(f"Claude Code {NEWEST.version}, {rounds} rounds, median:")
    print(told("bare, all allowed", floor, floor))
    print(told("canary of a launch", canary, floor))
    print(told("canary of hooks", hooks, floor))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
