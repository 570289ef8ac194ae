"""kill -9 at any moment: the journal verifies, the store is its fold, no effect is unrecorded."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from agp.errors import AgpError
from agp.journal.reader import read_events
from agp.store.projection import Store
from tests.fakes.agp_house import House, house
from tests.fakes.daemon_wire import Held, HungUp, Wire, open_session, start_daemon

pytestmark = pytest.mark.slow
ROUNDS = 12
ACTS = 14
COMMANDS = ("git status", "git log", "sudo id", "rm README.md", "curl x | sh")
ENDED = ("approval.granted", "approval.denied", "approval.expired", "approval.cancelled")
GONE = (OSError, HungUp, ValueError)


@pytest.fixture
def home() -> Iterator[House]:
    """Give an initialised home and a repository."""
    with house() as made:
        made.configure(reattach_grace_s=600)
        yield made


class Storm:
    """Random operations on one session, cut off by `kill -9` somewhere among them."""

    def __init__(self, home: House, seed: int) -> None:
        self.home = home
        self.random = random.Random(seed)
        self.session: Held | None = None
        self.waiting: list = []
        self.use = 0

    def round(self) -> None:
        """Start, act, kill: the last acts are left unanswered."""
        start_daemon(self.home)
        wire = Wire(self.home.home.control_socket)
        self._take_up(wire)
        for _ in range(self.random.randrange(1, ACTS)):
            self._act(wire)
        self._leave_open(wire)
        self.home.kill_daemon()
        wire.close()
        for connection in self.waiting:
            connection.close()
        self.waiting.clear()

    def _take_up(self, wire: Wire) -> None:
        if self.session is not None:
            token = self.session.opened["fencing_token"]
            with contextlib.suppress(AgpError):
                claim = self.session.claim
                opened = wire.ask("session.attach", **claim, fencing_token=token, view=None)
                self.session = Held(wire, opened, self.home.repo)
                return
        self.session = open_session(wire, self.home.repo)
        self.session.begin()

    def _act(self, wire: Wire) -> None:
        session = self.session
        assert session is not None
        self.use += 1
        command = self.random.choice(COMMANDS)
        match self.random.randrange(7):
            case 0 | 1 | 2:
                body = session.bash(command, use=f"toolu_{self.use}")
                self.waiting.append(session.start("PreToolUse", body))
            case 3:
                session.hook("PermissionRequest", session.grant(command))
            case 4:
                for one in wire.ask("approval.list")["approvals"]:
                    verdict = self.random.choice(("allow", "deny"))
                    with contextlib.suppress(AgpError):
                        wire.ask("approval.answer", approval_id=one["approval_id"], verdict=verdict)
            case 5:
                wire.ask("control.pause", reason="storm")
                wire.ask("control.resume")
            case _:
                session.hook("PreToolUse", b"{")

    def _leave_open(self, wire: Wire) -> None:
        """Ask for several things at once and wait for none: the kill meets them half done."""
        assert self.session is not None
        for _ in range(self.random.randrange(4)):
            self.use += 1
            body = self.session.bash(self.random.choice(COMMANDS), use=f"toolu_{self.use}")
            self.waiting.append(self.session.start("PreToolUse", body))
            wire.send("control.pause", reason="storm")
            wire.send("control.resume")


def rows(store: Store) -> tuple:
    """Everything that a store shows."""
    return store.sessions(), store.approvals(), store.last_applied_seq, store.last_applied_hash


def test_after_any_crash_the_journal_is_whole_and_everything_else_is_its_fold(
    home: House, tmp_path: Path
) -> None:
    """A dozen kills at random points; the seed is fixed, the moment within an append is not."""
    storm = Storm(home, seed=20261120)
    for number in range(ROUNDS):
        storm.round()
        lines = home.events()
        kinds = [line.kind for line in lines]
        assert_record_before_effect(lines)

        start_daemon(home)
        pending = {one["approval_id"] for one in home.inbox()}
        assert pending <= open_questions(home.events())
        assert home.agp("daemon", "stop").returncode == 0
        assert_store_is_the_fold(home, tmp_path / f"fresh-{number}.db")
        assert kinds == [line.kind for line in home.events()][: len(kinds)]

    assert len(home.kinds("call.decided")) > ROUNDS


def test_a_pending_question_is_pending_after_every_crash(home: House) -> None:
    """Five kills while one question waits: the same question, one request line, no end."""
    start_daemon(home)
    wire = Wire(home.home.control_socket)
    session = open_session(wire, home.repo)
    session.begin()
    waiting = session.start("PreToolUse", session.bash("rm README.md"))
    shown = wire.notice("approval")["body"]
    for _ in range(5):
        home.kill_daemon()
        start_daemon(home)
        assert home.inbox() == [shown]
    wire.close()
    waiting.close()

    assert home.kinds("approval.requested", *ENDED) == ["approval.requested"]


def test_bodies_of_ended_calls_are_gone_and_salts_are_kept(home: House) -> None:
    start_daemon(home)
    with Wire(home.home.control_socket) as wire:
        session = open_session(wire, home.repo)
        session.begin()
        for number in range(4):
            session.hook("PreToolUse", session.bash("sudo marked-words", use=f"toolu_{number}"))
        home.kill_daemon()
    start_daemon(home)
    assert home.agp("daemon", "stop").returncode == 0

    kept = [path for path in home.home.calls.rglob("*") if path.is_file()]
    assert len(kept) >= 4
    assert not any(b"marked-words" in path.read_bytes() for path in kept)


def assert_record_before_effect(lines: list) -> None:
    """Each ticket and execution follows the line that allows it; each question ends once."""
    may: set[str] = set()
    asked: dict[str, str] = {}
    ended: set[str] = set()
    for line in lines:
        said = line.payload
        call = said.get("call_id", "")
        match line.kind:
            case "call.decided" if said["decision"] == "allow":
                may.add(call)
            case "approval.requested":
                asked[said["approval_id"]] = call
            case "approval.granted":
                assert said["approval_id"] in asked
            case "ticket.issued":
                assert said["approval_id"] in asked
                may.add(call)
            case "ticket.redeemed" | "execution.started":
                assert call in may
        if line.kind in ENDED and said.get("complete", True):
            assert said["approval_id"] not in ended
            ended.add(said["approval_id"])


def open_questions(lines: list) -> set[str]:
    """Fold the journal by hand: questions without an end."""
    open_now: set[str] = set()
    for line in lines:
        if line.kind == "approval.requested":
            open_now.add(line.payload["approval_id"])
        elif line.kind in ENDED and line.payload.get("complete", True):
            open_now.discard(line.payload["approval_id"])
    return open_now


def assert_store_is_the_fold(home: House, fresh: Path) -> None:
    """The store as the daemon left it equals one that is filled from nothing."""
    log_id = str(home.payloads("journal.opened")[0]["log_id"])
    lived = Store.open(home.home.store, log_id)
    rebuilt = Store.open(fresh, log_id)
    try:
        lived.replay(read_events(home.home.journal))
        rebuilt.replay(read_events(home.home.journal))
        assert lived.moved_aside is None
        assert rows(lived) == rows(rebuilt)
    finally:
        lived.close()
        rebuilt.close()
