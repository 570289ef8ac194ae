"""Hostile bytes on both sockets of a live daemon: refused, counted, and the session lives on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agp.errors import AgpError, Unauthorised
from tests.fakes.agp_house import DEADLINE_S, House, house, own
from tests.fakes.daemon_wire import (
    Held,
    HungUp,
    Wire,
    held,
    open_session,
    read_answer,
    start_daemon,
)

pytestmark = pytest.mark.slow
STRANGER = 4002
MIB = 1024 * 1024


@pytest.fixture
def home() -> Iterator[House]:
    """Give a home with a running daemon."""
    with house() as made:
        start_daemon(made)
        yield made


@pytest.fixture
def session(home: House) -> Iterator[Held]:
    """Give a session whose hooks are alive."""
    with held(home) as one:
        one.begin()
        yield one


@dataclass(frozen=True)
class Body:
    """Bytes that a hook might be given on its standard input."""

    name: str
    data: bytes


def _proposal(inner: bytes) -> bytes:
    return (
        b'{"session_id":"00000000-0000-4000-8000-000000000001","transcript_path":"/t","cwd":"/w",'
        b'"hook_event_name":"PreToolUse","permission_mode":"default","tool_name":"Bash",'
        b'"tool_use_id":"toolu_x","tool_input":' + inner + b"}"
    )


BODIES = (
    Body("nothing", b""),
    Body("not JSON", b"{"),
    Body("two objects", b"{}{}"),
    Body("an array", b"[1]"),
    Body("not UTF-8", _proposal(b'{"command":"\xff\xfe"}')),
    Body("UTF-16", '{"hook_event_name":"PreToolUse"}'.encode("utf-16")),
    Body("a key twice", _proposal(b'{"command":"git status","command":"sudo id"}')),
    Body("the tool twice", b'{"tool_name":"Read",' + _proposal(b'{"command":"x"}')[1:]),
    Body("nesting without end", _proposal(b"[" * 100_000 + b"]" * 100_000)),
    Body("objects without end", _proposal(b'{"a":' * 50_000 + b"1" + b"}" * 50_000)),
    Body("a lone surrogate", _proposal(b'{"command":"\\ud800"}')),
    Body("a number beyond every range", _proposal(b'{"command":"x","timeout":1e999}')),
    Body("a million digits", _proposal(b'{"command":"x","timeout":' + b"9" * MIB + b"}")),
    Body("not a number", _proposal(b'{"command":"x","timeout":NaN}')),
    Body("a NUL in a command", _proposal(b'{"command":"git status\\u0000; id"}')),
    Body("a command that is no text", _proposal(b'{"command":["git","status"]}')),
    Body("another event", _proposal(b'{"command":"x"}').replace(b"PreToolUse", b"PostToolUse")),
    Body("another session", _proposal(b'{"command":"x"}').replace(b"000001", b"000009")),
)  # fmt: skip


def lives(session: Held, use: str) -> bool:
    """Tell whether a good call is still allowed."""
    return session.decision(session.hook("PreToolUse", session.bash("git status", use=use)))[0] == (
        "allow"
    )


@pytest.mark.parametrize("how", ["raw", "bridge"])
def test_what_is_not_understood_is_denied_and_the_session_lives_on(
    home: House, session: Held, how: str
) -> None:
    """Every body, through the bridge executable and by hand: no allow, no harm, few lines."""
    began = time.monotonic()
    for number, body in enumerate(BODIES):
        if how == "raw":
            code, out, err = session.hook("PreToolUse", body.data)
        else:
            done = session.bridge("PreToolUse", body.data)
            code, out, err = done.returncode, done.stdout, done.stderr
        denied = b'"permissionDecision":"deny"' in out or b'"permissionDecision":"ask"' in out
        assert code == 2 or denied, (body.name, code, out, err)
        assert b"Traceback" not in err
        assert lives(session, f"toolu_after_{number}"), body.name
    seconds = time.monotonic() - began
    session.end()
    refused = home.payloads("gateway.refused")

    assert 1 <= len(refused) <= seconds + 2
    assert sum(one["count"] for one in refused) >= len(BODIES) - 4
    assert "Traceback" not in home.home.log.read_text()


def test_ten_mebibytes_block_at_the_bridge_and_at_the_socket(home: House, session: Held) -> None:
    large = session.bash("git status").replace(b"git status", b"x" * 10 * MIB)

    done = session.bridge("PreToolUse", large)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        code, out, _ = session.hook("PreToolUse", large)
        assert code == 2
        assert b'"allow"' not in out

    assert done.returncode == 2
    assert b"larger than 8 MiB" in done.stderr
    assert lives(session, "after")


@pytest.mark.parametrize("kib", [64, 900])
def test_a_large_input_is_put_before_a_person_whole(session: Held, kib: int) -> None:
    """It is parsed and redacted beside the loop, and shown; nothing of it is lost."""
    words = b"x" * kib * 1024
    waiting = session.start("PreToolUse", session.bash("y").replace(b'"y"', b'"%b"' % words))
    with waiting:
        told = session.wire.notice("approval")["body"]
        name = told["approval_id"]
        session.wire.ask("approval.answer", approval_id=name, verdict="deny", reason="too much")
        assert b"too much" in read_answer(waiting)[1]

    assert words.decode() in told["input_json"]
    assert lives(session, "after")


def test_an_input_too_large_to_be_shown_is_refused(session: Held) -> None:
    code, out, err = session.hook(
        "PreToolUse", session.bash("y").replace(b'"y"', b'"%b"' % (b"x" * 7 * MIB))
    )

    assert code == 2
    assert out == b""
    assert b"larger than" in err
    assert lives(session, "after")


FRAMES = (
    b"GET / HTTP/1.1\r\n\r\n",
    b"AGP1 claude-code PreToolUse -1\n",
    b"AGP1 claude-code PreToolUse 99999999999999999999\n",
    b"AGP1 claude-code NoSuchEvent 2\n{}",
    b"AGP1 ../../x PreToolUse 2\n{}",
    b"AGP1 codex PreToolUse 2\n{}",
    b"AGP2 claude-code PreToolUse 2\n{}",
    b"\x00" * 4096,
    b"A" * 100_000,
)


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: repr(frame[:30]))
def test_what_is_no_frame_is_refused(session: Held, frame: bytes) -> None:
    told = b""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection = session.raw(frame)
        with connection:
            told = b"".join(iter(lambda: connection.recv(65536), b""))

    assert b"allow" not in told
    assert not told.startswith(b"AGP1 0 ")
    assert lives(session, "after")


CONTROL = (
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b'{"v":1,"id":1,"op":"daemon.status","op":"daemon.stop","args":{}}',
    b'{"v":2,"id":1,"op":"daemon.status","args":{}}',
    b'{"v":1,"id":1,"op":"daemon.explode","args":{}}',
    b'{"v":1,"id":1,"op":"daemon.status","args":{"x":1}}',
    b'{"v":1,"id":1,"op":"daemon.status","args":[]}',
    b'{"v":1,"id":-1,"op":"daemon.status","args":{}}',
    b'{"v":1,"id":1,"op":"daemon.status","args":{},"extra":1}',
    b'{"v":1,"id":1,"op":"session.kill","args":{"session_id":"../../etc"}}',
    b'{"v":1,"id":1,"op":"session.open","args":{"workspace":7}}',
    b'{"v":1,"id":1,"op":"approval.answer","args":{"approval_id":"x-0","verdict":"allow","approver":"uid:1"}}',
    b'{"v":1,"id":1,"op":"control.pause","args":{"reason":"\\ud800"}}',
    b"[" * 200_000,
)


@pytest.mark.parametrize("line", CONTROL, ids=lambda line: repr(line[:40]))
def test_a_control_line_that_is_no_request_is_told_so(home: House, line: bytes) -> None:
    """An error of the tree comes back, on a connection that goes on working."""
    with Wire(home.home.control_socket) as wire:
        wire.write(line + b"\n")
        said = wire.line()

        assert said["ok"] is False
        assert said["failure"]["code"].startswith("AGP-1")
        assert wire.ask("daemon.status")["paused"] is None


def test_a_control_line_of_twenty_mebibytes_is_cut_off(home: House) -> None:
    with Wire(home.home.control_socket) as wire:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            wire.write(b"x" * 20 * MIB + b"\n")
        with contextlib.suppress(HungUp, ConnectionResetError):
            assert wire.line()["failure"]["code"] == "AGP-1105"

    assert home.daemon_pid() is not None


def test_only_the_holder_of_a_lease_acts_for_its_session(home: House) -> None:
    """Another session's secret, none, and a replayed fencing token."""
    other_repo = home.place / "other"
    other_repo.mkdir()
    own(other_repo)
    with Wire(home.home.control_socket) as one, Wire(home.home.control_socket) as two:
        mine = open_session(one, home.repo)
        theirs = open_session(two, other_repo)
        swapped = {"session_id": theirs.session_id, "secret": mine.claim["secret"]}
        for op, more in (
            ("session.end", {"outcome": "finished"}),
            ("session.reconcile", {"executed": []}),
            ("session.hooks_alive", {"view": None}),
            ("session.attach", {"fencing_token": 1, "view": None}),
        ):
            with pytest.raises(AgpError) as refused:
                one.ask(op, **swapped, **more)
            assert refused.value.code in {Unauthorised.code, "AGP-1103"}
        with pytest.raises(Unauthorised):
            one.ask("session.end", **swapped, outcome="finished")
        with pytest.raises(Unauthorised):
            one.ask("session.attach", **mine.claim, fencing_token=1, view=None)
        assert one.ask("daemon.status")["sessions"] == 2
        mine.end()
        theirs.end()

    assert len(home.kinds("session.ended")) == 2


def test_a_note_is_about_its_own_session_and_of_its_own_kinds(home: House, session: Held) -> None:
    """A launcher cannot journal a grant, a verdict, or somebody else's end."""
    for kind, payload in (
        ("approval.granted", {}),
        ("control.resumed", {"by": "uid:0"}),
        ("sandbox.stopped", {"session_id": "s-000000000000", "provider": "local", "survivors": 0}),
        ("sandbox.stopped", {"session_id": session.session_id, "survivors": "many"}),
    ):
        with pytest.raises(AgpError) as refused:
            session.wire.ask("session.note", **session.claim, kind=kind, payload=payload)
        assert refused.value.code == "AGP-1103"
    session.end()

    assert home.kinds("approval.granted", "control.resumed", "sandbox.stopped") == []


def test_another_user_reaches_neither_socket(home: House, session: Held) -> None:
    """Not even where every mode lets it through: the kernel says who asks."""
    probe = (
        "import socket,sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(20)\n"
        "try:\n"
        "    s.connect(sys.argv[1]); s.sendall(sys.argv[2].encode() + b'\\n')\n"
        "    sys.stdout.write(s.recv(9000).decode())\n"
        "except OSError as error:\n"
        "    sys.stdout.write(type(error).__name__)\n"
    )
    if os.geteuid() != 0:
        pytest.fail("this claim is shown as root: scripts/test runs it so")
    home.home.root.chmod(0o711)
    home.home.run.chmod(0o711)
    home.home.control_socket.chmod(0o666)
    said = []
    for path, words in (
        (home.home.control_socket, json.dumps({"v": 1, "id": 1, "op": "daemon.stop", "args": {}})),
        (session.socket, "AGP1 claude-code PreToolUse 2"),
    ):
        done = subprocess.run(
            ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups",
             "/usr/bin/python3", "-c", probe, str(path), words],
            capture_output=True, text=True, check=True, timeout=DEADLINE_S, cwd="/",
        )  # fmt: skip
        said.append(done.stdout)
    home.home.root.chmod(0o700)

    assert "only the user who runs the daemon may command it" in said[0]
    assert "this user may not ask" in said[1]
    assert home.daemon_pid() is not None
    assert lives(session, "after")


def test_a_flood_is_refused_and_journaled_in_a_few_lines(home: House, session: Held) -> None:
    """Six hundred bad calls leave at most one line a second, and the next good call is decided."""
    began = time.monotonic()
    for _ in range(600):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            session.hook("PreToolUse", b"{")
    seconds = time.monotonic() - began
    session.end()
    refused = home.payloads("gateway.refused")

    assert len(refused) <= seconds + 2
    assert sum(one["count"] for one in refused) == 600
    assert "Traceback" not in home.home.log.read_text()
    assert sys.getsizeof(home.home.log.read_bytes()) < MIB
