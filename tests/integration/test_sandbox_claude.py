"""The real Claude Code takes a whole session inside the view: hooks, model, git, tools."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest

from agp.contracts.base import Digest
from agp.intendants.claude_code.launch import LaunchRequest, plan_launch
from agp.sandbox.connect import parse_target
from agp.sandbox.egress import Egress, ModelRelay
from agp.sandbox.host import run_as
from agp.sandbox.snapshot import compare, take_snapshot
from agp.sandbox.view import ViewSeats, build_view, prepare_home
from tests.fakes.model_server import call, say
from tests.fakes.model_server import serve as serve_model
from tests.fakes.views import FORWARDER, ROOT, Stage, run_command, stage

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

BRIDGE = b"""
import json, sys
event = sys.argv[2]
sys.stdin.read()
answer = {
    "PreToolUse": {"permissionDecision": "allow"},
    "PermissionRequest": {"decision": {"behavior": "allow"}},
}.get(event)
print(json.dumps({"hookSpecificOutput": {"hookEventName": event, **answer}} if answer else {}))
"""
"""Grants everything: here the view is on trial, not the gate."""

COMMANDS = (
    "echo x > file && git add -A && git commit -qm second && echo committed",
    "echo evil > .git/hooks/pre-commit; git config a.b c; mv .git .g; echo tried",
    "cat /opt/agp/agp-bridge | wc -l; ls /run/agp; echo evil > /etc/claude-code/x; echo over",
)


@contextmanager
def relay(path: Path, port: int) -> Iterator[None]:
    """Run the outside half of egress beside the test, on a thread of its own."""
    started, stop = threading.Event(), threading.Event()

    async def nothing(*_: str) -> None:
        return

    async def serve() -> None:
        gate = anyio.Event()
        gate.set()
        egress = Egress(frozenset(), gate, 5.0, nothing, nothing)
        async with anyio.create_task_group() as tasks:
            server = ModelRelay(str(path), parse_target(f"127.0.0.1:{port}"), egress)
            await tasks.start(server.serve)
            started.set()
            await anyio.to_thread.run_sync(stop.wait)
            tasks.cancel_scope.cancel()

    thread = threading.Thread(target=anyio.run, args=(serve,))
    thread.start()
    assert started.wait(10)
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def native(scene: Stage) -> Path:
    """Give the pinned binary at a place that this user can read."""
    found = next((ROOT / ".harness").glob("node_modules/@anthropic-ai/claude-code-linux-*/claude"))
    return found if os.geteuid() == 0 else Path(shutil.copy(found, scene.base / "claude"))


def test_a_whole_session_runs_in_the_view_and_changes_no_executing_place() -> None:
    script = say(*(call("Bash", command=command) for command in COMMANDS), "done")
    with stage() as scene, serve_model(script) as server:
        plan = plan_launch(
            LaunchRequest(
                task="do what the script says",
                arguments=(),
                executable=str(native(scene)),
                executable_sha256=Digest("0" * 64),
                version="2.1.329",
                bridge=BRIDGE,
                forwarder=FORWARDER.read_bytes(),
                reconnect_s=30,
                model_relay=True,
                git_name="Agent",
                git_email="agent@example.invalid",
                named_environment=(("ANTHROPIC_API_KEY", "sk-ant-dummy"),),
            )
        )
        home = scene.home / "sessions" / "claude"
        prepare_home(home, run_as(str(scene.workspace)))
        seats = ViewSeats(
            agp_home=str(scene.home),
            session_home=str(home),
            ask_directory=str(scene.ask),
            forwarder=FORWARDER.read_bytes(),
        )
        places = scene.places()
        before = take_snapshot(places)
        with relay(scene.ask / "model.sock", server.port):
            done = run_command(build_view(plan, seats, places))
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert lines[-1]["subtype"] == "success"
        said = done.stdout.decode()
        for word in ("committed", "tried", "over", "Device or resource busy", "Read-only file"):
            assert word in said
        assert compare(before, take_snapshot(places)) == ()
        assert scene.git("log", "--format=%s").split() == ["second", "first"]
        assert scene.git("show", "--format=", "--name-only").split() == ["file"]
