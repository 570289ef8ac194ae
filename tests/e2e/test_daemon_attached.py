"""Attached sessions: hooks that a person installed ask a running daemon, on one socket for all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from agp.daemon.attached import MAX_ATTACHED
from tests.fakes.agp_house import DEADLINE_S, House, house
from tests.fakes.daemon_wire import read_answer, start_daemon

Answer = tuple[int, bytes, bytes]
_QUICK_S = 10.0
RULES = (
    "id: t-touch, match: {effect: write, path: asked}, verdict: require",
    "id: t-rm, match: {effect: delete}, verdict: require",
)


@dataclass
class Harness:
    """A harness that a person started, as its hooks show it."""

    house: House
    name: str
    cwd: Path
    agent: dict[str, str] = field(default_factory=dict)

    def body(self, event: str, **members: object) -> bytes:
        common = {"session_id": self.name, "cwd": str(self.cwd), "hook_event_name": event}
        return json.dumps(common | self.agent | members).encode()

    def start(self, event: str, body: bytes) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(DEADLINE_S)
        connection.connect(str(self.house.home.hooks_socket))
        connection.sendall(b"AGP1 claude-code %s %d\n" % (event.encode(), len(body)) + body)
        return connection

    def hook(self, event: str, **members: object) -> Answer:
        return read_answer(self.start(event, self.body(event, **members)))

    def begin(self) -> Answer:
        return self.hook("SessionStart", source="startup")

    def propose(self, use: str, tool: str, **tool_input: object) -> socket.socket:
        body = self.body("PreToolUse", tool_name=tool, tool_input=tool_input, tool_use_id=use)
        return self.start("PreToolUse", body)

    def decide(self, use: str, tool: str, **tool_input: object) -> tuple[str, str]:
        connection = self.propose(use, tool, **tool_input)
        watch = threading.Timer(_QUICK_S, connection.shutdown, (socket.SHUT_RDWR,))
        watch.start()  # a decision that asks a person would wait for minutes
        try:
            return verdict(read_answer(connection))
        finally:
            watch.cancel()

    def redeem(self, tool: str, **tool_input: object) -> str:
        code, out, err = self.hook("PermissionRequest", tool_name=tool, tool_input=tool_input)
        assert code == 0, err
        return str(json.loads(out)["hookSpecificOutput"]["decision"]["behavior"])


def verdict(answer: Answer) -> tuple[str, str]:
    """Read what the deciding hook was told; a block by the gateway is its standard error."""
    code, out, err = answer
    if code != 0:
        return "blocked", err.decode()
    said = json.loads(out)["hookSpecificOutput"]
    return said["permissionDecision"], said["permissionDecisionReason"]


@pytest.fixture(scope="module")
def lively() -> Iterator[House]:
    """One daemon for all tests that leave it as it is."""
    with house() as made:
        made.policy(*RULES)
        start_daemon(made)
        yield made


@pytest.fixture
def fresh() -> Iterator[House]:
    """A daemon of the test's own."""
    with house() as made:
        made.policy(*RULES)
        start_daemon(made)
        yield made


def sessions(made: House) -> list[dict[str, Any]]:
    done = made.agp("sessions", "--json")
    assert done.returncode == 0, done.stderr
    listed: list[dict[str, Any]] = json.loads(done.stdout)["sessions"]
    return listed


def question(made: House, text: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        for asked in made.inbox():
            if text in asked["input_json"]:
                return asked
        threading.Event().wait(0.02)
    raise AssertionError(f"no question holds {text!r}")


def approve(made: House, text: str) -> None:
    done = made.agp("approve", str(question(made, text)["approval_id"]))
    assert done.returncode == 0, done.stderr


def test_a_session_opens_is_decided_and_ends(lively: House) -> None:
    """SessionStart opens it, journaled as attached and advisory; SessionEnd closes its books."""
    mine = Harness(lively, "whole", lively.repo)
    readme = str(lively.repo / "README.md")

    assert mine.begin()[0] == 0
    assert mine.decide("u1", "Read", file_path=readme)[0] == "allow"
    assert mine.redeem("Read", file_path=readme) == "allow"
    assert mine.redeem("Read", file_path=readme) == "deny", "a ticket is used once"
    mine.hook("PostToolUse", tool_name="Read", tool_use_id="u1", tool_input={}, tool_response={})
    assert mine.decide("u2", "Bash", command="sudo id")[0] == "deny"
    assert mine.hook("SessionEnd", reason="other")[0] == 0

    started = next(p for p in lively.payloads("session.started") if p["attached"])
    assert (started["grade"], started["workspace"]) == ("advisory", str(lively.repo))
    lively.await_event("session.ended")
    ended = next(
        p for p in lively.payloads("session.ended") if p["session_id"] == started["session_id"]
    )
    assert (ended["outcome"], ended["allowed"], ended["denied"]) == ("finished", 1, 1)


def test_a_call_of_a_session_that_nobody_announced_opens_it(lively: House) -> None:
    """A lost SessionStart, or a daemon that was away: the first call opens the session."""
    mine = Harness(lively, "unannounced", lively.repo)
    readme = str(lively.repo / "README.md")

    assert mine.redeem("Read", file_path=readme) == "deny", "a grant alone opens nothing"
    assert mine.decide("u1", "Read", file_path=readme)[0] == "allow"
    live = [one for one in sessions(lively) if one["status"] == "held"]
    assert len([one for one in live if one["workspace"] == str(lively.repo)]) >= 1


def test_two_sessions_in_one_workspace_mix_no_tickets(lively: House) -> None:
    """What was approved for one session is redeemed by no other, and once."""
    one, two = (Harness(lively, name, lively.repo) for name in ("left", "right"))
    one.begin()
    two.begin()
    waiting = one.propose("u1", "Bash", command="rm README.md")
    other = two.propose("u1", "Bash", command="rm notes")
    approve(lively, "rm README.md")

    assert verdict(read_answer(waiting))[0] == "allow"
    assert two.redeem("Bash", command="rm README.md") == "deny"
    assert two.redeem("Bash", command="rm notes") == "deny"
    assert one.redeem("Bash", command="rm README.md") == "allow"
    assert one.redeem("Bash", command="rm README.md") == "deny"
    assert one.decide("u1", "Bash", command="rm README.md")[0] == "deny"
    done = lively.agp("deny", str(question(lively, "rm notes")["approval_id"]), "--reason", "no")
    assert done.returncode == 0
    assert verdict(read_answer(other)) == ("deny", f"denied by uid:{os.geteuid()}: no")


def test_only_a_sub_agent_s_own_grant_is_its_own(lively: House) -> None:
    """A ticket of the main thread is not found by a sub-agent of the same session."""
    main = Harness(lively, "family", lively.repo)
    child = Harness(lively, "family", lively.repo, {"agent_id": "a1"})
    readme = str(lively.repo / "README.md")

    assert main.decide("u1", "Read", file_path=readme)[0] == "allow"
    assert child.redeem("Read", file_path=readme) == "deny"
    assert main.redeem("Read", file_path=readme) == "allow"


@dataclass(frozen=True)
class Reach:
    """One call with which an agent would lift its own governance."""

    name: str
    tool: str
    tool_input: dict[str, str]


REACHES = (
    Reach("it answers its own question", "Bash", {"command": "agp approve otter-01234567"}),
    Reach("it stops the daemon", "Bash", {"command": "/usr/local/bin/agp daemon stop"}),
    Reach("it edits the person's settings", "Write", {"file_path": "{home}/.claude/settings.json"}),
    Reach("it edits the repository's", "Write", {"file_path": "{repo}/.claude/settings.json"}),
    Reach("it edits them by a link", "Write", {"file_path": "{repo}/link/settings.json"}),
    Reach("it edits the machine's", "Write", {"file_path": "/etc/claude-code/x.json"}),
    Reach("it reads AGP's key", "Read", {"file_path": "{agp}/keys/signing.key"}),
    Reach("it rewrites the bridge", "Write", {"file_path": "{agp}/hooks/agp-bridge"}),
)


@pytest.mark.parametrize("reach", REACHES, ids=lambda reach: reach.name)
def test_what_would_lift_its_governance_is_refused_by_the_floor(
    lively: House, reach: Reach
) -> None:
    """Recognised, it is refused above every rule; the control is the same tool elsewhere."""
    mine = Harness(lively, "reaching", lively.repo)
    link = lively.repo / "link"
    if not link.is_symlink():
        link.symlink_to(lively.place / ".claude")
    names = {"home": lively.place, "repo": lively.repo, "agp": lively.home.root}
    given = {key: text.format(**names) for key, text in reach.tool_input.items()}
    more = {"content": "x"} if reach.tool == "Write" else {}

    decision, reason = mine.decide(f"r{REACHES.index(reach)}", reach.tool, **given, **more)

    assert decision == "deny"
    assert "rule floor" in reason or "AGP itself" in reason or "govern" in reason, reason
    control = {"Write": {"file_path": str(lively.repo / "fine"), "content": "x"}}
    fine = control.get(reach.tool, {"file_path": str(lively.repo / "README.md")})
    tool = reach.tool if reach.tool == "Write" else "Read"
    assert mine.decide(f"c{REACHES.index(reach)}", tool, **fine)[0] == "allow"


def test_a_link_in_tmp_is_followed_where_there_is_no_view(lively: House) -> None:
    """Attack: without a view `/tmp` is the machine's; a link there leads to AGP's key."""
    mine = Harness(lively, "links", lively.repo)
    link = lively.place / "innocent"
    link.symlink_to(lively.home.signing_key)

    assert mine.decide("u1", "Read", file_path=str(link))[0] == "deny"


@pytest.mark.parametrize("place", ["/", "{home}", "/usr", "{agp}"])
def test_a_place_that_is_no_project_is_refused(lively: House, place: str) -> None:
    """A home directory or the system is no workspace; the agent is told so."""
    where = place.format(home=lively.place, agp=lively.home.root)
    mine = Harness(lively, f"at-{abs(hash(place))}", Path(where))

    decision, reason = mine.decide("u1", "Read", file_path="/etc/hostname")

    assert decision == "blocked"
    assert "workspace" in reason


def test_a_call_from_outside_the_workspace_is_refused(lively: House) -> None:
    """The workspace is fixed when the session opens; a later directory is a claim."""
    mine = Harness(lively, "wanderer", lively.repo)
    mine.begin()
    mine.cwd = Path("/tmp")

    assert mine.decide("u1", "Read", file_path="/tmp/x")[0] == "deny"


def test_garbage_on_the_socket_is_a_refusal_and_opens_nothing(lively: House) -> None:
    """Any bytes are answered with a block."""
    before = len(lively.payloads("session.started"))
    mine = Harness(lively, "x", lively.repo)
    for body in (b"", b"{}", b"[]", b'{"session_id":"x"}', b"\xff"):
        code, _, _ = read_answer(mine.start("PreToolUse", body))
        assert code == 2
    assert len(lively.payloads("session.started")) == before


def test_the_socket_is_for_the_operator_alone(lively: House) -> None:
    """Nobody else reaches it: the directory is 0700."""
    directory = lively.home.hooks_socket.parent
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.stat().st_uid == os.geteuid()


def test_sessions_are_opened_within_a_rate_and_a_number(fresh: House) -> None:
    """One process cannot open thousands; those that are open go on."""
    first = Harness(fresh, "first", fresh.repo)
    first.begin()
    refused = 0
    for number in range(MAX_ATTACHED + 4):
        code, _, err = Harness(fresh, f"many-{number}", fresh.repo).begin()
        refused += code != 0 and b"too fast" in err
    assert refused >= MAX_ATTACHED // 3
    assert len(sessions(fresh)) <= MAX_ATTACHED
    readme = str(fresh.repo / "README.md")
    assert first.decide("u1", "Read", file_path=readme)[0] == "allow"


def test_a_killed_session_stays_refused_also_after_a_restart(fresh: House) -> None:
    """`agp kill`: from then on every call is denied, whatever its harness says of itself."""
    mine = Harness(fresh, "doomed", fresh.repo)
    mine.begin()
    waiting = mine.propose("u1", "Bash", command="rm README.md")
    question(fresh, "rm README.md")
    killed = fresh.agp("kill", sessions(fresh)[0]["session_id"])
    assert killed.returncode == 0, killed.stderr

    assert verdict(read_answer(waiting))[0] == "deny"
    mine.hook("SessionEnd", reason="other")
    mine.begin()
    readme = str(fresh.repo / "README.md")
    decision, reason = mine.decide("u2", "Read", file_path=readme)
    assert (decision, "agp kill" in reason) == ("deny", True)
    fresh.kill_daemon()
    start_daemon(fresh)
    assert mine.decide("u3", "Read", file_path=readme)[0] == "deny"
    assert Harness(fresh, "next", fresh.repo).decide("u1", "Read", file_path=readme)[0] == "allow"
    assert fresh.payloads("session.ended")[0]["outcome"] == "killed"


def test_a_question_survives_kill_9_of_the_daemon_and_its_call_runs_once(fresh: House) -> None:
    """The bridge finds the new daemon, the session goes on, the answer releases one call."""
    mine = Harness(fresh, "patient", fresh.repo)
    mine.begin()
    body = mine.body(
        "PreToolUse",
        tool_name="Bash",
        tool_input={"command": "rm README.md"},
        tool_use_id="u1",
    )
    words = ("-I", "-S", str(Path("hooks/agp-bridge").resolve()), "claude-code", "PreToolUse")
    with subprocess.Popen(
        ["/usr/bin/python3", *words, str(fresh.home.hooks_socket), "30", "60"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as bridge:
        assert bridge.stdin is not None
        bridge.stdin.write(body)
        bridge.stdin.close()
        bridge.stdin = None
        asked = question(fresh, "rm README.md")
        fresh.kill_daemon()
        start_daemon(fresh)
        again = question(fresh, "rm README.md")
        assert again["approval_id"] == asked["approval_id"]
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and not _open_hooks(fresh):
            threading.Event().wait(0.02)
        approve(fresh, "rm README.md")
        out, err = bridge.communicate(timeout=DEADLINE_S)
    assert verdict((bridge.returncode, out, err))[0] == "allow"
    assert mine.redeem("Bash", command="rm README.md") == "allow"
    assert mine.redeem("Bash", command="rm README.md") == "deny"
    assert len(fresh.payloads("session.started")) == 1


def _open_hooks(made: House) -> bool:
    """Tell whether somebody is connected to the standing socket."""
    path = str(made.home.hooks_socket)
    lines = Path("/proc/net/unix").read_text().splitlines()
    return sum(line.endswith(path) for line in lines) > 1


def test_agp_run_and_an_attached_session_do_not_share_a_workspace(fresh: House) -> None:
    """What happens outside a view would uncover it; whoever comes second is told."""
    Harness(fresh, "here", fresh.repo).begin()

    run = fresh.scripted({"tool": "read", "path": "README.md"})
    run.end(code=10)

    assert "another session governs this workspace" in run.said
