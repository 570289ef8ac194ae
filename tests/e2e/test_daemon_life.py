"""The daemon's life as a person sees it: start, stop, what stands in its way, what it says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.errors import DaemonAway, Unauthorised, Unavailable
from agp.gateway.once import call_once
from tests.fakes.agp_house import DEADLINE_S, House, house
from tests.fakes.daemon_wire import Wire, daemon_process, held, open_session, start_daemon

pytestmark = pytest.mark.slow
STRANGER = 4002


@pytest.fixture
def home() -> Iterator[House]:
    """Give an initialised home and a repository."""
    with house() as made:
        yield made


def refused(made: House, *words: str, code: int) -> str:
    """Run a command that must fail with this code and no traceback; give what it said."""
    done = made.agp(*words)
    said = done.stdout + done.stderr
    assert done.returncode == code, said
    assert "Traceback" not in said
    assert "Exception Group" not in said
    return said


def test_start_stop_status_tell_the_truth(home: House) -> None:
    absent = json.loads(home.agp("daemon", "status", "--json").stdout)
    assert absent == {"schema": "agp/status/v1", "running": False}
    pid = start_daemon(home)

    again = json.loads(home.agp("daemon", "start", "--json").stdout)
    status = json.loads(home.agp("daemon", "status", "--json").stdout)
    stopped = home.agp("daemon", "stop")

    assert again == {"schema": "agp/daemon-start/v1", "started": False, "pid": pid}
    assert (status["pid"], status["sessions"], status["paused"]) == (pid, 0, None)
    assert str(pid) in stopped.stdout
    assert "No daemon was running." in home.agp("daemon", "stop").stdout
    assert home.daemon_pid() is None
    assert home.kinds()[-1] == "checkpoint.sealed"


def test_a_second_daemon_is_told_the_pid_of_the_first(home: House) -> None:
    pid = start_daemon(home)

    said = refused(home, "daemon", "run", code=3)

    assert f"its pid is {pid}" in said
    assert home.daemon_pid() == pid


def test_a_term_signal_seals_a_checkpoint_and_leaves_no_socket(home: House) -> None:
    """And no task, no socket and no file of it is left unclosed: warnings are errors there."""
    process = daemon_process(home, flags=("-W", "error"))
    try:
        await_daemon(home, process)
        with held(home) as session:
            session.begin()
            assert session.hook("PreToolUse", session.bash("git status"))[0] == 0
            session.end()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
        process.communicate()

    assert process.returncode == 0, err
    assert "Warning" not in err + out, err
    assert "Traceback" not in err + out, err
    assert home.kinds()[-1] == "checkpoint.sealed"
    assert not home.home.control_socket.exists()


def test_a_session_whose_lease_cannot_be_kept_is_ended_in_the_journal(home: House) -> None:
    """The place of the sessions is gone: the run is refused with it named, nothing stays open."""
    start_daemon(home)
    (home.home.root / "sessions").rmdir()
    with Wire(home.home.control_socket) as wire:
        with pytest.raises(Unavailable) as refused:
            open_session(wire, home.repo)
        status = wire.ask("daemon.status")

    assert str(home.home.root / "sessions") in refused.value.where
    assert status["sessions"] == 0
    assert home.kinds("session.started", "session.reaped") == ["session.started", "session.reaped"]


def test_a_stop_with_a_live_session_keeps_it_for_the_next_daemon(home: House) -> None:
    """Its launcher is told, and may come back with its lease; a replayed fencing token may not."""
    start_daemon(home)
    with Wire(home.home.control_socket) as wire:
        session = open_session(wire, home.repo)
        stopped = home.agp("daemon", "stop")
        assert stopped.returncode == 0
        wire.notice("daemon_stopping")
    assert f"It held session {session.session_id}" in stopped.stdout
    assert "starts within 45 s takes this up again" in stopped.stdout
    start_daemon(home)

    with Wire(home.home.control_socket) as back, Wire(home.home.control_socket) as late:
        attach = {**session.claim, "fencing_token": 1, "view": None}
        again = back.ask("session.attach", **attach)
        with pytest.raises(Unauthorised, match="another launcher holds"):
            late.ask("session.attach", **attach)
        assert again["fencing_token"] == 2
        back.ask("session.end", **session.claim, outcome="finished")

    assert home.kinds("session.started", "session.ended") == ["session.started", "session.ended"]


def test_a_daemon_that_was_killed_leaves_nothing_in_the_way(home: House) -> None:
    """Its lock is let go by the kernel, its socket is seen to be dead, its ask sockets as well."""
    start_daemon(home)
    wire = Wire(home.home.control_socket)
    session = open_session(wire, home.repo)
    home.kill_daemon()
    wire.close()
    assert home.home.control_socket.exists()
    assert session.socket.exists()

    start_daemon(home)
    with Wire(home.home.control_socket) as back:
        back.ask("session.attach", **session.claim, fencing_token=1, view=None)
        session.begin()
        back.ask("session.end", **session.claim, outcome="killed")

    assert home.agp("daemon", "stop").returncode == 0


def test_a_run_starts_a_daemon_that_ends_after_its_last_session(home: House) -> None:
    run = home.scripted({"tool": "read", "path": "README.md"})

    summary = run.end()
    await_no_daemon(home)

    assert summary["outcome"] == "finished"
    assert summary["journal_verified"] is True
    assert home.kinds()[-1] == "checkpoint.sealed"


def test_a_run_uses_the_daemon_that_is_there_and_leaves_it_running(home: House) -> None:
    pid = start_daemon(home)

    home.scripted({"tool": "read", "path": "README.md"}).end()

    assert home.daemon_pid() == pid


def test_a_workspace_is_governed_by_one_run_at_a_time(home: House) -> None:
    start_daemon(home)
    with held(home) as session:
        second = home.scripted({"tool": "read", "path": "README.md"})
        said = second.end(code=10)
        session.end()

    assert "another session governs this workspace" in json.dumps(said)


@dataclass(frozen=True)
class Broken:
    """One thing that is wrong with a home before the daemon starts."""

    name: str
    spoil: Callable[[House], object]
    code: int
    says: tuple[str, ...]


def _write(made: House, path: Path, text: str | bytes) -> None:
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(data)


def _segment(made: House) -> Path:
    return max(made.home.journal.glob("*.jsonl"))


BROKEN = (
    Broken("others can enter it", lambda h: h.home.root.chmod(0o755), 3, ("chmod 700",)),
    Broken("it is gone", lambda h: shutil.rmtree(h.home.root), 3, ("agp init",)),
    Broken("the key is gone", lambda h: h.home.signing_key.unlink(), 3, ("signing.key", "keygen")),
    Broken(
        "the key is garbage",
        lambda h: _write(h, h.home.signing_key, b"\xff\x00x"),
        3,
        ("signing.key",),
    ),
    Broken(
        "the key is open", lambda h: h.home.signing_key.chmod(0o644), 3, ("signing.key", "chmod")
    ),
    Broken(
        "the policy is broken",
        lambda h: _write(h, h.home.policy, "version: 1\nrules:\n  - id: a\n    verdict: alow\n"),
        30,
        ("policy.yaml:4:14",),
    ),
    Broken(
        "the policy names a key twice",
        lambda h: _write(h, h.home.policy, "version: 1\nversion: 1\nrules: []\n"),
        30,
        ("policy.yaml:2:1",),
    ),
    Broken(
        "the policy is a directory",
        lambda h: (h.home.policy.unlink(), h.home.policy.mkdir()),
        3,
        ("policy.yaml",),
    ),
    Broken(
        "the configuration is not TOML",
        lambda h: _write(h, h.home.config, "origin = \n"),
        3,
        ("config.toml", "line 1"),
    ),
    Broken(
        "the configuration has an unknown setting",
        lambda h: _write(h, h.home.config, "aproval_timeout_s = 7\n"),
        3,
        ("config.toml", "aproval_timeout_s", "approval_timeout_s"),
    ),
    Broken(
        "the configuration is not UTF-8",
        lambda h: _write(h, h.home.config, b"origin = '\xff'\n"),
        3,
        ("config.toml",),
    ),
    Broken(
        "the configuration is a named pipe",
        lambda h: (h.home.config.unlink(), os.mkfifo(h.home.config)),
        3,
        ("config.toml",),
    ),
    Broken(
        "the configuration is a directory",
        lambda h: (h.home.config.unlink(), h.home.config.mkdir()),
        3,
        ("config.toml",),
    ),
)


@pytest.mark.parametrize("broken", BROKEN, ids=lambda b: b.name)
def test_what_is_wrong_with_a_home_is_told_with_its_place(home: House, broken: Broken) -> None:
    """By the daemon in the foreground and by `start`; nothing is journaled by either."""
    broken.spoil(home)

    said = refused(home, "daemon", "run", code=broken.code)

    for words in broken.says:
        assert words in said, said
    assert home.daemon_pid() is None
    assert not (home.home.journal / "checkpoint").exists()


def test_a_file_in_the_sockets_place_is_left_for_a_person_to_look_at(home: House) -> None:
    home.home.control_socket.write_text("somebody's")

    said = refused(home, "daemon", "run", code=3)

    assert f"where: {home.home.control_socket}" in said
    assert home.home.control_socket.read_text() == "somebody's"


def test_a_background_start_that_fails_says_why(home: House) -> None:
    home.home.policy.write_text("version: 1\nrules: 7\n")

    said = refused(home, "daemon", "start", code=30)

    assert "policy.yaml:2:8" in said


def test_a_run_over_a_broken_policy_is_refused_and_runs_nothing(home: House) -> None:
    home.home.policy.write_text("version: 1\nrules: 7\n")

    run = home.scripted({"tool": "write", "path": "made.txt", "content": "x"})
    run.end(code=30)

    assert "policy.yaml:2:8" in run.said
    assert "Traceback" not in run.said
    assert not (home.repo / "made.txt").exists()


def test_a_home_too_deep_for_a_socket_is_refused_before_anything(home: House) -> None:
    deep = home.place / ("d" * 90)
    shutil.move(home.home.root, deep)
    home.env["AGP_HOME"] = str(deep)

    said = refused(home, "daemon", "run", code=3)

    assert "too long a path for its sockets" in said
    shutil.move(deep, home.home.root)


def test_a_home_of_somebody_else_is_refused(home: House) -> None:
    owner = 0
    if os.geteuid() == 0:
        owner = STRANGER
        os.chown(home.home.root, STRANGER, STRANGER)
    else:
        home.env["AGP_HOME"] = "/usr"

    said = refused(home, "daemon", "run", code=3)

    assert f"its owner is uid {owner}" in said


def test_a_read_only_home_is_refused_with_what_to_do(home: House) -> None:
    """Root passes every mode, so the file system itself is read-only, in a namespace of its own."""
    done = subprocess.run(
        [
            "bwrap", "--bind", "/", "/", "--dev", "/dev", "--proc", "/proc",
            "--ro-bind", str(home.home.root), str(home.home.root),
            sys.executable, "-m", "agp", "daemon", "run",
        ],
        env=home.env, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip

    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert str(home.home.root) in done.stderr
    assert "Read-only file system" in done.stderr


def lived(made: House, sessions: int = 1) -> None:
    """Give a home a journal with a checkpoint in it."""
    start_daemon(made)
    for _ in range(sessions):
        with held(made) as session:
            session.end()
    assert made.agp("daemon", "stop").returncode == 0


def test_a_torn_last_line_is_cut_off_and_said_in_the_journal(home: House) -> None:
    lived(home)
    whole = _segment(home).read_bytes()
    _segment(home).write_bytes(whole + b'{"v":1,"seq":99,"torn')

    start_daemon(home)

    assert home.kinds("journal.repaired") == ["journal.repaired"]
    assert _segment(home).read_bytes().startswith(whole)


def test_a_journal_cut_behind_its_checkpoint_is_refused(home: House) -> None:
    """What was durable is gone: the daemon does not go on as if nothing had been."""
    lived(home)
    lines = _segment(home).read_bytes().splitlines(keepends=True)
    cut = b"".join(lines[:-3])
    _segment(home).write_bytes(cut)

    said = refused(home, "daemon", "run", code=6)

    assert str(home.home.journal) in said
    assert _segment(home).read_bytes() == cut


def test_a_journal_cut_after_its_checkpoint_is_refused_by_the_store(home: House) -> None:
    lived(home)
    start_daemon(home)
    home.agp("pause")
    home.agp("resume")
    home.kill_daemon()
    lines = _segment(home).read_bytes().splitlines(keepends=True)
    _segment(home).write_bytes(b"".join(lines[:-1]))

    said = refused(home, "daemon", "run", code=6)

    assert "lost lines that were durable" in said


def test_one_changed_byte_of_the_journal_is_refused(home: House) -> None:
    lived(home)
    whole = _segment(home).read_bytes()
    spoiled = whole.replace(b'"outcome":"finished"', b'"outcome":"finishad"', 1)
    assert spoiled != whole
    _segment(home).write_bytes(spoiled)

    refused(home, "daemon", "run", code=6)

    assert _segment(home).read_bytes() == spoiled


def test_a_journal_that_is_gone_while_the_store_remembers_it_is_refused(home: House) -> None:
    """An emptied journal does not begin anew in silence."""
    lived(home)
    shutil.rmtree(home.home.journal)

    said = refused(home, "daemon", "run", code=6)

    assert "store.db" in said or "journal" in said


@pytest.mark.parametrize("spoil", ["garbage", "truncated", "gone"])
def test_a_store_that_does_not_read_is_filled_again_from_the_journal(
    home: House, spoil: str
) -> None:
    lived(home)
    before = sessions_of(home)
    store = home.home.store
    match spoil:
        case "garbage":
            store.write_bytes(b"this is no database" * 500)
        case "truncated":
            store.write_bytes(store.read_bytes()[:5000])
        case _:
            store.unlink()

    assert sessions_of(home) == before
    assert len(before) == 1
    assert store.stat().st_mode & 0o777 == 0o600


def test_everything_in_a_home_is_for_its_owner_only(home: House) -> None:
    """Also the log, the store and the lease; not the public key, nor what a session's view sees."""
    start_daemon(home)
    with held(home) as session:
        for path in home.home.root.rglob("*"):
            mode = path.lstat().st_mode & 0o777
            if session.socket.parent in {path, *path.parents}:
                continue
            if path == home.home.public_key:
                continue
            if path == session.socket.parent.parent:
                assert mode == 0o711
                continue
            assert mode & 0o077 == 0, (path, oct(mode))
        session.end()


def test_an_idle_daemon_started_for_a_run_that_never_came_ends(home: House) -> None:
    home.configure(reattach_grace_s=1)
    done = subprocess.run(
        [sys.executable, "-m", "agp", "daemon", "run", "--until-idle"],
        env=home.env, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert home.kinds()[-1] == "checkpoint.sealed"


def test_every_outcome_of_a_run_has_an_exit_code_of_its_own_in_the_docs() -> None:
    from agp.daemon.launcher import _EXIT

    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()

    assert len(set(_EXIT.values())) == len(_EXIT)
    for code in _EXIT.values():
        assert re.search(rf"\|\s*`?{code}`?\s*\|", page), code


def sessions_of(made: House) -> list[dict[str, object]]:
    """Start a daemon, list the sessions, stop it."""
    start_daemon(made)
    listed = json.loads(made.agp("sessions", "--json").stdout)["sessions"]
    assert made.agp("daemon", "stop").returncode == 0
    return list(listed)


def await_daemon(made: House, process: subprocess.Popen[str]) -> None:
    """Wait until a foreground daemon answers."""
    for _ in range(600):
        try:
            call_once(made.home.control_socket, "daemon.status", {}, timeout_s=5)
        except DaemonAway:
            try:
                process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    raise AssertionError("no daemon answered")


def await_no_daemon(made: House) -> None:
    """Wait until the lock is free: only then has the daemon written its last line."""
    from agp.cli.daemon import await_lock

    await_lock(made.home.lock, DEADLINE_S)
