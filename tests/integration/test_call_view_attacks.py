"""Attacks from inside a call's view on the harness, AGP and other calls, with the real Claude Code.

One program (`call_attacks`) tries each way in a granted call, and again in the harness's own view,
or on the host, where it has to work.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agp_house import DEADLINE_S, ORDINARY, ROOT, House, Late, Run, house, own
from tests.fakes.harness_view import in_harness_view, of_view
from tests.fakes.model_server import Call, call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

PROGRAM = (ROOT / "tests/fakes/call_attacks.py").read_text()
OPEN = (
    "id: t-opaque, match: {effect: opaque}, verdict: allow",
    "id: t-exec, match: {effect: exec}, verdict: allow",
    "id: t-code, match: {effect: exec_workspace}, verdict: allow",
    "id: t-ask, match: {effect: write, path: ask.txt}, verdict: require",
    "id: t-no, match: {effect: write, path: no.txt}, verdict: deny, reason: Never.",
)
OTHER = "sleep 4242 & while [ ! -e stop ]; do sleep 0.1; done"


@dataclass(frozen=True)
class Way:
    """One way out of a call's view; the control runs in the harness's view or on the host."""

    name: str
    way: str
    arguments: tuple[object, ...]
    control: str = "harness"


def ways(made: House, port: int) -> tuple[Way, ...]:
    return (
        Way("the harness's HOME", "reads", ("/home/agent/.claude.json",)),
        Way("what the harness logs in with", "environ", ("sk-ant-dummy",)),
        Way("the ask socket", "unix", ("/run/agp/ask.sock",)),
        Way("the call socket", "unix", ("/run/agp/call.sock",)),
        Way("the harness's memory", "memory", ("/opt/agp/claude",)),
        Way("the harness's open files", "descriptors", ("/opt/agp/claude",)),
        Way(
            "the messaging socket",
            "unix",
            ("/tmp/cc-socks/*.sock", "/home/agent/tmp/cc-socks/*.sock"),
        ),
        Way("the model relay", "tcp", ("127.0.0.1", 8080)),
        Way("the session's proxy", "tcp", ("127.0.0.1", 3128)),
        Way("the managed settings", "reads", ("/etc/claude-code/managed-settings.json",)),
        Way("AGP's own files", "exists", ("/opt/agp",)),
        Way("the harness's private files", "exists", ("/home/agent/tmp",)),
        Way("a task's output file", "exists", ("/home/agent/.claude",)),
        Way("another call's process", "process", ("sleep 4242",), "host"),
        Way("a listener of the host", "tcp", ("127.0.0.1", port), "host"),
        Way("git's configuration", "writes", (str(made.repo / ".git/config"),), "host"),
        Way("a git hook", "writes", (str(made.repo / ".git/hooks/pre-commit"),), "host"),
        Way("a descriptor from outside", "inherited", (3,), "descriptor"),
    )


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop = threading.Event()

        def serve() -> None:
            while not stop.is_set():
                server.accept()[0].close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        try:
            yield port
        finally:
            stop.set()
            socket.create_connection(("127.0.0.1", port)).close()
            thread.join(10)


def until(what: Callable[[], Any], why: str) -> Any:
    """Wait for something to become true, bounded."""
    deadline = time.monotonic() + DEADLINE_S
    while not (found := what()):
        if time.monotonic() > deadline:
            raise Late(why)
        time.sleep(0.05)
    return found


def bash(command: str, **more: object) -> Call:
    return call("Bash", command=command, **more)


@dataclass(frozen=True)
class Tried:
    """What each way reached inside and in its control, and what forged requests were told."""

    made: House
    ways: tuple[Way, ...]
    inside: dict[str, str]
    control: dict[str, str]
    asked: dict[str, bytes]
    summary: dict[str, Any]


def ask(made: House, line: bytes, *, wait_s: float = DEADLINE_S) -> bytes:
    """Speak on the call socket from inside the harness's view; give the whole answer."""
    program = (
        "import socket,sys;s=socket.socket(1);s.settimeout(float(sys.argv[2]));"
        "s.connect('/run/agp/call.sock');s.sendall(bytes.fromhex(sys.argv[1]));r=b''\n"
        "while d:=s.recv(65536):r+=d\n"
        "sys.stdout.write(r.hex())"
    )
    done = in_harness_view(
        made, "/usr/bin/python3", "-I", "-S", "-c", program, line.hex(), str(wait_s)
    )
    assert done.returncode == 0, done.stderr
    return bytes.fromhex(done.stdout)


@pytest.fixture(scope="module")
def tried() -> Iterator[Tried]:
    with house({"call_attacks.py": PROGRAM}) as made, listening() as port:
        made.policy(*OPEN)
        listed = ways(made, port)
        lines = [[way.name, way.way, way.arguments] for way in listed]
        (made.repo / "ways.json").write_text(json.dumps(lines))
        own(made.repo)
        run = made.claude(
            say(
                bash(OTHER, run_in_background=True),
                bash("/usr/bin/python3 call_attacks.py ways.json inside.json"),
                call("Write", file_path=str(made.repo / "no.txt"), content="x"),
                call("Write", file_path=str(made.repo / "ask.txt"), content="x"),
                "done",
            )
        )
        run.question("ask.txt")  # everything before it has ended; the harness waits
        calls = {p["tool_use_id"]: p for p in made.payloads("call.decided")}
        by_decision = {p["decision"]: p["call_id"] for p in calls.values()}
        ended = made.payloads("execution.finished")[0]["call_id"]
        running = made.payloads("execution.started")[0]["call_id"]
        marked = made.repo / "marked"
        forged = {
            "a finished call": f"AGPC1 call {ended}\n".encode(),
            "a running call": f"AGPC1 call {running}\n".encode(),
            "a denied call": f"AGPC1 call {by_decision['deny']}\n".encode(),
            "a call that waits for a person": f"AGPC1 call {by_decision['require']}\n".encode(),
            "a guessed call": b"AGPC1 call c-0123456789abcdef\n",
            "a command of its own": f"AGPC1 call {ended} touch {marked}\n".encode(),
            "a server that nobody planned": b"AGPC1 mcp demo\n",
            "another version": b"AGPC2 call c-0123456789abcdef\n",
            "bytes": b"\0" * 256,
        }
        asked = {name: ask(made, line) for name, line in forged.items()}
        control = controls(made, listed)
        (made.repo / "stop").touch()
        run.answer("deny", "ask.txt")
        summary = run.end()
        inside = json.loads((made.repo / "inside.json").read_text())
        assert not marked.exists()
        yield Tried(made, listed, inside, control, asked, summary)


def controls(made: House, listed: tuple[Way, ...]) -> dict[str, str]:
    """Run each way where it must work: the harness's view, the host, with a descriptor left."""
    found: dict[str, str] = {}
    for where in ("harness", "host", "descriptor"):
        mine = [[w.name, w.way, w.arguments] for w in listed if w.control == where]
        given, out = made.repo / f"{where}-ways.json", made.repo / f"{where}.json"
        given.write_text(json.dumps(mine))
        out.touch()
        for path in (given, out):
            os.chown(path, made.repo.stat().st_uid, -1)
        words = ["/usr/bin/python3", str(made.repo / "call_attacks.py"), str(given), str(out)]
        if where == "harness":
            done = in_harness_view(made, *words)
            assert done.returncode == 0, done.stderr
        elif where == "host":
            kept = {p: p.read_bytes() if p.exists() else None for p in spoiled(made)}
            subprocess.run(words, check=True, timeout=DEADLINE_S)
            for path, content in kept.items():
                path.write_bytes(content) if content is not None else path.unlink()
        else:
            with socket.socket() as leaked:
                subprocess.run(words, check=True, timeout=DEADLINE_S, pass_fds=(leaked.fileno(),))
        found |= json.loads(out.read_text())
    return found


def spoiled(made: House) -> tuple[Path, ...]:
    return (made.repo / ".git/config", made.repo / ".git/hooks/pre-commit")


def test_no_way_leads_from_a_call_to_the_harness_to_agp_or_to_another_call(tried: Tried) -> None:
    names = [way.name for way in tried.ways]
    assert [name for name in names if not tried.control[name]] == [], tried.control
    assert {name: tried.inside[name] for name in names if tried.inside[name]} == {}


def test_what_is_asked_for_and_may_not_begin_is_refused_and_counted(tried: Tried) -> None:
    """Replayed, guessed, denied, not yet granted, or no request at all: a refusal, nothing else."""
    assert {n: a for n, a in tried.asked.items() if not a.startswith(b"r")} == {}
    begun = [p["call_id"] for p in tried.made.payloads("execution.started")]
    assert len(begun) == len(set(begun)) == 2
    refused = tried.made.payloads("gateway.refused")
    assert sum(r["count"] for r in refused) >= 5
    assert tried.made.kinds("coverage.violated") == []
    assert tried.summary["outcome"] == "finished"


def test_a_link_planted_in_the_shared_tmp_is_judged_by_where_it_leads() -> None:
    """The harness's own Read would follow it with the harness's rights: to its login, its HOME."""
    with house() as made:
        rule = "id: t-tmp, match: {effect: [read, write], path: /tmp/**}, verdict: allow"
        deny = "id: t-home, match: {effect: [read, write], path: /home/agent/**}, verdict: deny"
        deny += ", reason: Not there."
        made.policy(*OPEN, rule, deny)
        links = "ln -s /home/agent/.claude.json /tmp/a; ln -s /home/agent/.claude /tmp/d"
        run = made.claude(
            say(
                bash(f"{links}; echo plain > /tmp/plain"),
                call("Read", file_path="/tmp/plain"),
                call("Read", file_path="/tmp/a"),
                call("Write", file_path="/tmp/d/planted", content="x"),
                call("Read", file_path="/var/tmp/d/../a"),
                "done",
            )
        )
        summary = run.end()
        assert [c["decision"] for c in summary["calls"]] == [
            "allowed",
            "allowed",
            "denied",
            "denied",
            "denied",
        ]


def test_no_link_that_a_call_plants_leads_the_harness_anywhere() -> None:
    """A call turns it between AGP's look and the harness's open: none is followed there."""
    plant = "ln -s README.md here; ln -s /home/agent/.claude.json away; ln -s /home/agent /tmp/home"
    with house() as made:
        made.policy(*OPEN)
        here, away = made.repo / "here", made.repo / "away"
        run = made.claude(
            say(
                bash(f"{plant}; cat here > seen"),
                call("Read", file_path=str(here)),
                call("Write", file_path=str(away), content="x"),
                call("Read", file_path=str(made.repo / "README.md")),
                bash("sleep 4242"),
                "done",
            )
        )
        until(lambda: of_view(made, SLEEPS), "the call did not begin")

        for path in (str(here), str(away), "/tmp/home/.claude.json"):
            assert "symbolic links" in in_harness_view(made, "cat", path).stderr, path
        assert in_harness_view(made, "cat", "/home/agent/.claude.json").returncode == 0
        assert (made.repo / "seen").read_text() == (made.repo / "README.md").read_text()
        decided = [(d["tool"], d["decision"], d["rule_id"]) for d in made.payloads("call.decided")]
        assert decided[1:3] == [
            ("Read", "deny", "path-through-link"),
            ("Write", "deny", "persistence"),
        ]
        assert decided[3][:2] == ("Read", "allow")
        assert str(made.repo / "README.md") in made.payloads("call.decided")[1]["reason"]
        run.kill()


SLEEPS = b"sleep\x004242"
SHIM = b"/usr/bin/python3\0-I\0-S\0/opt/agp/agp-call"


def begun(made: House) -> Run:
    """Have one long call run."""
    made.policy(*OPEN)
    run = made.claude(say(bash("echo begun; sleep 4242; echo never > never"), "done"))
    until(lambda: of_view(made, SLEEPS), "the call did not begin")
    return run


def test_a_call_ends_with_its_shim() -> None:
    with house() as made:
        run = begun(made)
        (shim,) = of_view(made, SHIM)
        os.kill(shim, signal.SIGKILL)
        until(lambda: not of_view(made, SLEEPS), "the call outlived its shim")
        run.end()
        (failed,) = made.payloads("execution.failed")
        assert failed["reported_by"] == "agp"
        assert not (made.repo / "never").exists()


def test_a_call_ends_with_its_launcher() -> None:
    with house() as made:
        made.configure(reattach_grace_s=1)
        run = begun(made)
        run.kill()
        made.await_no_view()
        made.await_event("session.reaped")
        assert made.kinds("execution.outcome_unknown") == ["execution.outcome_unknown"]


def test_a_call_survives_its_daemon_within_the_grace_and_its_end_is_journaled_once() -> None:
    with house() as made:
        made.policy(*OPEN)
        waits = "touch begun; while [ ! -e go ]; do sleep 0.1; done; echo over"
        run = made.claude(say(bash(waits), "done"))
        # Not merely journaled: one whose launcher has not heard of its start is never begun.
        until((made.repo / "begun").exists, "the call did not begin")
        made.kill_daemon()
        (made.repo / "go").touch()
        subprocess.Popen(
            [sys.executable, "-m", "agp", "daemon", "start"], env=made.env, cwd=made.place
        ).wait(DEADLINE_S)
        summary = run.end()
        assert summary["outcome"] == "finished", run.said
        assert made.kinds("execution.started", "execution.finished", "execution.failed") == [
            "execution.started",
            "execution.finished",
        ]
        assert made.kinds("execution.outcome_unknown") == []


def test_a_call_ends_when_its_daemon_is_gone_for_good() -> None:
    with house() as made:
        made.configure(reattach_grace_s=1)
        run = begun(made)
        made.kill_daemon()
        made.await_no_view()
        run.end(code=None)
        assert not (made.repo / "never").exists()


def test_another_user_may_not_ask_for_a_call() -> None:
    """Root can reach the socket; who it is says the kernel, and what it asks is not even read."""
    if os.geteuid() != 0:
        assert os.geteuid() == ORDINARY, "run as root or as the suite's ordinary user"
        return
    with house() as made:
        run = begun(made)
        (path,) = made.home.root.rglob("call.sock")
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(str(path))
            peer.settimeout(10)
            assert b"this user may not" in peer.recv(4096)
        run.kill()
