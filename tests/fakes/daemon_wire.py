"""Control and ask sockets spoken by hand: what a launcher says, and what it never would."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from agp.gateway.failure import error_of
from tests.fakes.agp_house import DEADLINE_S, ROOT, House

BRIDGE = ROOT / "hooks" / "agp-bridge"
SYSTEM_PYTHON = "/usr/bin/python3"
HARNESS_SESSION = "00000000-0000-4000-8000-000000000001"
_DIGEST = "0" * 64


class HungUp(AssertionError):
    """The other side closed the connection."""


class Wire:
    """One connection to `control.sock`, line by line."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(DEADLINE_S)
        self._socket.connect(str(path))
        self._rest = b""
        self._next = 0
        self._replies: dict[int, dict[str, Any]] = {}
        self._notices: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def send(self, op: str, **args: object) -> int:
        """Ask without waiting; give the request's number."""
        self._next += 1
        line = {"v": 1, "id": self._next, "op": op, "args": args}
        self.write(json.dumps(line).encode() + b"\n")
        return self._next

    def ask(self, op: str, **args: object) -> dict[str, Any]:
        """Ask and wait; a failure is raised as the error that it names."""
        return self.result(self.send(op, **args))

    def result(self, number: int) -> dict[str, Any]:
        """Wait for the reply to one request."""
        while number not in self._replies:
            self._take()
        reply = self._replies.pop(number)
        if not reply["ok"]:
            raise error_of(reply["failure"])
        result: dict[str, Any] = reply["result"]
        return result

    def notice(self, name: str) -> dict[str, Any]:
        """Wait for a notice of this name."""
        while True:
            for told in self._notices:
                if told["notice"] == name:
                    self._notices.remove(told)
                    return told
            self._take()

    def line(self) -> dict[str, Any]:
        """Read the next line, whatever it is."""
        while b"\n" not in self._rest:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise HungUp
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def _take(self) -> None:
        said = self.line()
        if "notice" in said:
            self._notices.append(said)
        else:
            self._replies[said["id"]] = said


class Held:
    """A session whose launcher is the test: nothing runs in it but what the test says."""

    def __init__(self, wire: Wire, opened: dict[str, Any], workspace: Path) -> None:
        self.wire = wire
        self.opened = opened
        self.workspace = workspace
        self.session_id = str(opened["session_id"])
        self.socket = Path(opened["ask_directory"]) / "ask.sock"

    @property
    def claim(self) -> dict[str, str]:
        """What every message of this session carries."""
        return {"session_id": self.session_id, "secret": str(self.opened["secret"])}

    def end(self, outcome: str = "finished") -> dict[str, Any]:
        """Close the session in order."""
        return self.wire.ask("session.end", **self.claim, outcome=outcome)

    def begin(self) -> None:
        """Let the harness open its session."""
        assert self.hook("SessionStart", self.event("SessionStart", source="startup"))[0] == 0

    def event(self, event: str, **fields: object) -> bytes:
        """Spell a hook's standard input as Claude Code does."""
        body = {
            "session_id": HARNESS_SESSION,
            "transcript_path": "/home/agent/t.jsonl",
            "cwd": str(self.workspace),
            "hook_event_name": event,
        }
        return json.dumps(body | fields).encode()

    def bash(self, command: str, *, use: str = "toolu_1") -> bytes:
        """Spell the deciding hook of one shell command."""
        return self.event(
            "PreToolUse",
            permission_mode="default",
            tool_name="Bash",
            tool_input={"command": command, "description": "x"},
            tool_use_id=use,
        )

    def grant(self, command: str) -> bytes:
        """Spell the grant hook of one shell command."""
        return self.event(
            "PermissionRequest",
            permission_mode="default",
            tool_name="Bash",
            tool_input={"command": command, "description": "x"},
        )

    def hook(self, event: str, body: bytes) -> tuple[int, bytes, bytes]:
        """Speak the frame and read the answer; (exit code, stdout, stderr)."""
        return read_answer(self.start(event, body))

    def start(self, event: str, body: bytes) -> socket.socket:
        """Speak the frame and leave the answer unread."""
        return self.raw(b"AGP1 claude-code %s %d\n" % (event.encode(), len(body)) + body)

    def raw(self, data: bytes) -> socket.socket:
        """Write any bytes to the session's socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE_S)
        connection.connect(str(self.socket))
        connection.sendall(data)
        return connection

    def bridge(self, event: str, body: bytes) -> subprocess.CompletedProcess[bytes]:
        """Carry a hook's input over the real bridge executable."""
        words = ("-I", "-S", str(BRIDGE), "claude-code", event, str(self.socket), "5", "30")
        return subprocess.run(
            [SYSTEM_PYTHON, *words],
            input=body,
            env={},
            capture_output=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def decision(self, answer: tuple[int, bytes, bytes]) -> tuple[str, str]:
        """Read what the deciding hook was told: the permission and its reason."""
        said = json.loads(answer[1])["hookSpecificOutput"]
        return said["permissionDecision"], said["permissionDecisionReason"]


def read_answer(connection: socket.socket) -> tuple[int, bytes, bytes]:
    """Read a reply to its end, passing over the wait lines."""
    data = b""
    with connection:
        while chunk := connection.recv(65536):
            data += chunk
    while data.startswith(b"AGP1 wait\n"):
        data = data[10:]
    head, _, rest = data.partition(b"\n")
    _, code, out, err = head.split(b" ")
    assert len(rest) == int(out) + int(err)
    return int(code), rest[: int(out)], rest[int(out) :]


@contextmanager
def held(
    house: House, workspace: Path | None = None, *, intendant: str = "claude-code"
) -> Iterator[Held]:
    """Open a session and hold its lease while the block runs; end it where the daemon lives."""
    with Wire(house.home.control_socket) as wire:
        yield open_session(wire, workspace or house.repo, intendant=intendant)


def open_session(wire: Wire, workspace: Path, *, intendant: str = "claude-code") -> Held:
    """Ask for a session as a launcher does."""
    opened = wire.ask(
        "session.open",
        intendant=intendant,
        intendant_version="2.1.329",
        workspace=str(workspace),
        grade="shared" if intendant == "claude-code" else "confined",
        launch_digest=_DIGEST,
        launcher_pid=os.getpid(),
        view_uid=os.geteuid(),
    )
    return Held(wire, opened, workspace)


def start_daemon(house: House) -> int:
    """Start the daemon as a person does; its pid."""
    done = house.agp("daemon", "start", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return int(json.loads(done.stdout)["pid"])


def daemon_process(house: House, *, flags: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Be the service manager: `agp daemon run` in the foreground, its streams read by the test."""
    return subprocess.Popen(
        [sys.executable, *flags, "-m", "agp", "daemon", "run"],
        env=house.env,
        cwd=house.place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def write_policy(house: House, *rules: str) -> None:
    """Write the operator's own policy: each rule a flow mapping; the shipped pack stays."""
    listed = "".join(f"  - {{{rule}}}\n" for rule in rules)
    house.home.policy.write_text(f"version: 1\ndefault: require\nrules:\n{listed}")
    house.home.policy.chmod(0o600)
