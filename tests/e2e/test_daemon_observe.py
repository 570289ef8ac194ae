"""Observe mode across processes: an operator's word for one session, and nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agp.errors import RunRefused
from tests.fakes.agp_house import House, Run, house
from tests.fakes.daemon_wire import Held, Wire, held, open_session, start_daemon

pytestmark = pytest.mark.slow
ADMIN_AT = """\
import sys
if any(word in sys.orig_argv for word in ("daemon", "run", "observe")):
    from pathlib import Path
    from agp.daemon.shelf import PolicyShelf
    PolicyShelf.__init__.__kwdefaults__["admin"] = Path({path!r})
"""
"""The admin's file lies at one place of the machine; this house has a place of its own for it."""
ADMIN = """\
version: 1
default: require
rules:
  - {id: never, match: {effect: exec, argv: touch never}, verdict: deny, reason: Not ever.}
"""
MINE = "id: mine, match: {effect: exec, argv: touch mine}, verdict: deny, reason: Not that."
TOUCH_MINE = {"tool": "exec", "argv": ["touch", "mine"]}
TOUCH_NEVER = {"tool": "exec", "argv": ["touch", "never"]}
REMOVE = {"tool": "exec", "argv": ["rm", "README.md"]}


@pytest.fixture
def home() -> Iterator[House]:
    """Give a house whose admin and whose user each deny one command."""
    with house() as made:
        site = made.place / "site"
        site.mkdir()
        (site / "admin.yaml").write_text(ADMIN)
        (site / "sitecustomize.py").write_text(ADMIN_AT.format(path=str(site / "admin.yaml")))
        made.env["PYTHONPATH"] = f"{site}:{made.env['PYTHONPATH']}"
        made.policy(MINE)
        yield made


def observed_run(home: House, *calls: dict[str, Any]) -> Run:
    """Play calls under `agp run --observe`."""
    return home.scripted(*calls, flags=("--observe",))


def observing(home: House) -> dict[str, bool]:
    """Ask which sessions are observed, as `agp sessions` tells it."""
    done = home.agp("sessions", "--json")
    return {one["session_id"]: one["observing"] for one in json.loads(done.stdout)["sessions"]}


def test_an_observed_run_lets_through_what_the_user_denies_and_the_next_one_enforces(
    home: House,
) -> None:
    """The admin's deny and the floor hold; every event says that it was observed; it ends there."""
    inside = {"tool": "write", "path": str(home.home.policy), "content": "x"}
    run = observed_run(home, TOUCH_MINE, TOUCH_NEVER, REMOVE, inside)
    summary = run.end()

    assert [call["decision"] for call in summary["calls"]] == [
        "observed",
        "denied",
        "observed",
        "denied",
    ]
    assert [call["would_be"] for call in summary["calls"]] == ["deny", None, "require", None]
    assert (home.repo / "mine").exists()
    assert not (home.repo / "never").exists()
    assert not (home.repo / "README.md").exists()
    assert "OBSERVE MODE" in run.files[1].read_text()
    decided = home.payloads("call.decided")
    assert [(d["decision"], d.get("would_be"), d["tier"], d["rule_id"]) for d in decided] == [
        ("allow", "deny", "user", "mine"),
        ("deny", None, "admin", "never"),
        ("allow", "require", "default", "deletes"),
        ("deny", None, "floor", "agp-floor"),
    ]
    of_session = [line.payload for line in home.events() if "session_id" in line.payload]
    assert all(payload.get("observed") is True for payload in of_session)
    (ended,) = home.payloads("session.ended")
    assert (ended["calls"], ended["allowed"], ended["denied"], ended["let_through"]) == (4, 0, 2, 2)
    assert "2 calls ran against a rule, in observe mode" in home.agp("verify").stdout
    listed = home.agp("sessions").stdout
    assert "OBSERVED" in listed
    assert "LET THROUGH" in listed

    (home.repo / "mine").unlink()
    later = home.scripted(TOUCH_MINE).end()
    assert [call["decision"] for call in later["calls"]] == ["denied"]
    assert not (home.repo / "mine").exists()
    last = home.payloads("session.started")[-1]
    assert "observed" not in last


def test_the_operator_switches_one_live_session_and_the_very_next_call_feels_it(
    home: House,
) -> None:
    """On, off and on again from another process; what had a ticket and had not begun is refused."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        assert asked_hook(session, "touch mine", "t1") == "deny"
        assert home.agp("observe", "on", session.session_id).returncode == 0
        assert session.wire.notice("observe")["body"]["on"] is True
        assert session.session_id in home.agp("status").stdout
        assert asked_hook(session, "touch mine", "t2") == "allow"
        assert asked_hook(session, "touch never", "t3") == "deny"
        assert home.agp("observe", "off", session.session_id).returncode == 0
        late = session.hook("PermissionRequest", session.grant("touch mine"))
        assert b'"allow"' not in late[1]
        assert asked_hook(session, "touch mine", "t4") == "deny"
        again = home.agp("observe", "off", session.session_id)
        assert "already" in again.stdout
        session.end()
    assert len(home.kinds("observe.changed")) == 2
    assert home.kinds("call.abandoned") == ["call.abandoned"]
    unknown = home.agp("observe", "on", session.session_id)
    assert unknown.returncode != 0
    assert "no running session" in unknown.stderr


def test_neither_an_agent_nor_a_repository_nor_a_setting_switches_it_on(home: House) -> None:
    """The ask socket has no such word, the policy no such field, the configuration no such key."""
    (home.repo / ".agp").mkdir()
    (home.repo / ".agp/policy.yaml").write_text(
        "version: 1\nobserve: true\nrules:\n  - {id: r, match: {effect: write}, verdict: require}\n"
    )
    refused = home.scripted(TOUCH_MINE)
    refused.end(code=None)
    assert "observe" in refused.said
    assert not (home.repo / "mine").exists()
    (home.repo / ".agp/policy.yaml").unlink()

    start_daemon(home)
    with held(home) as session:
        session.begin()
        on = {"v": 1, "id": 1, "op": "session.observe"}
        line = json.dumps(on | {"args": {"session_id": session.session_id, "on": True}}).encode()
        frame = b"AGP1 claude-code session.observe %d\n" % len(line) + line
        for data in (line + b"\n", frame):
            with session.raw(data) as spoken:
                assert b'"ok":true' not in _all_of(spoken)
        assert asked_hook(session, "touch mine", "t1") == "deny"
        with Wire(home.home.control_socket) as wire:
            weak = _open_weak(wire, home.place)
            with pytest.raises(RunRefused):
                wire.ask("session.observe", session_id=weak, on=True)
        assert not any(observing(home).values())
        session.end()
    assert home.kinds("observe.changed") == []

    home.agp("daemon", "stop")
    home.configure(observe="true")
    assert home.agp("daemon", "start").returncode != 0


def test_a_crash_keeps_the_mode_of_its_session_and_gives_it_to_no_other(home: House) -> None:
    """Killed twice: observed before, enforced after a switch; a new session is enforced."""
    start_daemon(home)
    wire = Wire(home.home.control_socket)
    session = open_session(wire, home.repo)
    session.begin()
    assert home.agp("observe", "on", session.session_id).returncode == 0
    home.kill_daemon()
    wire.close()
    start_daemon(home)
    with Wire(home.home.control_socket) as back:
        session.wire = back
        back.ask("session.attach", **session.claim, fencing_token=1, view=None)
        assert asked_hook(session, "touch mine", "t1") == "allow"
        other_place = home.place / "other"
        other_place.mkdir()
        with held(home, other_place) as other:
            other.begin()
            assert asked_hook(other, "touch mine", "t1") == "deny"
            assert observing(home) == {session.session_id: True, other.session_id: False}
            other.end()
        assert home.agp("observe", "off", session.session_id).returncode == 0
        home.kill_daemon()
    start_daemon(home)
    with Wire(home.home.control_socket) as last:
        session.wire = last
        last.ask("session.attach", **session.claim, fencing_token=2, view=None)
        assert asked_hook(session, "touch mine", "t5") == "deny"
        session.end()
    marks = [line.payload.get("observed") for line in home.events() if line.kind == "call.decided"]
    assert marks == [True, None, None]


def test_the_report_is_of_a_proved_journal_and_its_rules_quiet_what_it_says(home: House) -> None:
    """Put into force, the proposed rules make the next enforced run quiet; damage is refused."""
    calls = [
        REMOVE,
        {"tool": "exec", "argv": ["openssl", "version"]},
        {"tool": "shell", "command": "ls | cat"},
        {"tool": "exec", "argv": ["cat", "/etc/hostname"]},
        {"tool": "exec", "argv": ["openssl", "passwd", "--password=abcdefgh1234"]},
        TOUCH_MINE,
        TOUCH_NEVER,
    ]
    observed_run(home, *calls).end()
    told = home.agp("observe", "report")
    assert told.returncode == 0, told.stderr
    assert "RAN that a rule denies" in told.stdout
    assert "user/mine" in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 80
    made = json.loads(home.agp("observe", "report", "--json").stdout)
    assert made["calls"] | {"not_understood": 0} == made["calls"]
    assert (made["calls"]["would_ask"], made["calls"]["would_deny"]) == (5, 1)
    assert made["calls"]["refused"] == 1
    proof = made["proof"]
    assert (proof["decided_again"], proof["redacted"], proof["quieted"]) == (4, 1, 2)
    assert proof["still"] == 2
    (denied,) = made["would_be_denied"]
    at = {line.seq: line for line in home.events()}[denied["seq"]]
    assert (at.kind, at.payload["rule_id"]) == ("call.decided", "mine")
    proposed = {one["id"]: one["quiets"] for one in made["proposals"]}
    assert proposed == {"observed-exec-openssl-version": 1, "observed-delete": 1}

    home.home.policy.write_text(made["policy"])
    (home.repo / "README.md").write_text("again\n")
    quiet = home.scripted(*calls[:2]).end()
    assert [call["decision"] for call in quiet["calls"]] == ["allowed", "allowed"]

    unknown = home.agp("observe", "report", "--session", "s-000000000000")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no session s-000000000000" in unknown.stderr

    (segment,) = sorted(Path(home.home.journal).glob("*.jsonl"))
    data = segment.read_bytes()
    segment.write_bytes(data.replace(b'"would_be":"deny"', b'"would_be":"none"'))
    broken = home.agp("observe", "report")
    assert broken.returncode == 6
    assert "Questions" not in broken.stdout


def asked_hook(session: Held, command: str, use: str) -> str:
    """Put one command to the deciding hook; give the answer."""
    return session.decision(session.hook("PreToolUse", session.bash(command, use=use)))[0]


def _all_of(spoken: Any) -> bytes:
    data = b""
    while chunk := spoken.recv(65536):
        data += chunk
    return data


def _open_weak(wire: Wire, place: Path) -> str:
    """Open a session that runs in no view."""
    weak = place / "weak"
    weak.mkdir()
    opened = wire.ask(
        "session.open",
        intendant="scripted",
        intendant_version="1",
        workspace=str(weak),
        grade="advisory",
        launch_digest="0" * 64,
        launcher_pid=1,
        view_uid=0,
    )
    return str(opened["session_id"])
