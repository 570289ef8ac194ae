"""The real bridge executable and misbehaving daemons: all but one honest reply blocks."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

BRIDGE = Path(__file__).parents[2] / "hooks" / "agp-bridge"
SYSTEM_PYTHON = "/usr/bin/python3"
BODY = b'{"tool_name":"Bash","broken":"\xff\xfe"}\n'
ALLOW = b'{"hookSpecificOutput":{"permissionDecision":"allow"}}\xff\x00\n'
HONEST = b"AGP1 0 %d 0\n" % len(ALLOW) + ALLOW
LIMIT_S = 20
Act = Callable[[socket.socket, bytes], None]


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="agp-") as name:
        yield Path(name)


@dataclass(frozen=True)
class Answer:
    """What one run of the bridge left behind."""

    code: int
    out: bytes
    err: bytes


class Daemon:
    """A daemon with one act for each connection, the last one for all that follow."""

    def __init__(self, path: Path, *acts: Act) -> None:
        self.requests: list[bytes] = []
        self.failures: list[BaseException] = []
        self._acts = acts
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(LIMIT_S)
        self._listening.close()
        assert not self._thread.is_alive()
        assert self.failures == []

    def _run(self) -> None:
        for turn in range(1000):
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with closing(connection):
                connection.settimeout(LIMIT_S)
                try:
                    self._act(connection, self._acts[min(turn, len(self._acts) - 1)])
                except (OSError, AssertionError, ValueError, IndexError) as failure:
                    self.failures.append(failure)

    def _act(self, connection: socket.socket, act: Act) -> None:
        request = read_request(connection)
        self.requests.append(request)
        act(connection, request)


def read_request(connection: socket.socket) -> bytes:
    data = b""
    while b"\n" not in data:
        data += connection.recv(65536)
    head, _, body = data.partition(b"\n")
    while len(body) < int(head.split(b" ")[3]):
        body += connection.recv(65536)
    return head + b"\n" + body


def says(data: bytes) -> Act:
    def act(connection: socket.socket, _: bytes) -> None:
        connection.sendall(data)

    return act


def says_nothing_until_the_peer_ends(connection: socket.socket, _: bytes) -> None:
    assert connection.recv(1) == b""


def command(  # noqa: PLR0913 - the bridge has that many arguments
    path: Path,
    *,
    python: str = SYSTEM_PYTHON,
    harness: str = "claude-code",
    event: str = "PreToolUse",
    reconnect_s: str = "0.2",
    deadline_s: str = "10",
) -> list[str]:
    flags = [python, "-I", "-S", str(BRIDGE)]
    return [*flags, harness, event, str(path), reconnect_s, deadline_s]


def run(argv: list[str], body: bytes = BODY) -> Answer:
    done = subprocess.run(
        argv, input=body, capture_output=True, timeout=LIMIT_S, check=False, env={}
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def assert_blocked(answer: Answer, reason: str, code: int = 2) -> None:
    assert answer.code == code, answer
    assert answer.out == b""
    assert answer.err.startswith(b"agp-bridge: AGP blocked this: ")
    assert answer.err.endswith(b"\n")
    assert answer.err.count(b"\n") == 1
    assert reason in answer.err.decode("ascii")


@pytest.mark.parametrize("python", [SYSTEM_PYTHON, sys.executable])
def test_an_honest_reply_is_relayed_byte_for_byte(directory: Path, python: str) -> None:
    """Body, streams and code cross untouched, invalid UTF-8 and NUL included; waits are dropped."""
    path = directory / "a.sock"
    reply = b"AGP1 wait\nAGP1 wait\nAGP1 7 %d 4\n" % len(ALLOW) + ALLOW + b"e\xff\n\n"
    with Daemon(path, says(reply)) as daemon:
        answer = run(command(path, python=python))
    assert answer == Answer(7, ALLOW, b"e\xff\n\n")
    assert daemon.requests == [b"AGP1 claude-code PreToolUse %d\n" % len(BODY) + BODY]


@pytest.mark.parametrize("size", [0, 1, 65_536, 8 * 1024 * 1024])
def test_a_body_up_to_the_limit_crosses_whole(directory: Path, size: int) -> None:
    path = directory / "a.sock"
    with Daemon(path, says(HONEST)) as daemon:
        answer = run(command(path), os.urandom(1) * size)
    assert answer == Answer(0, ALLOW, b"")
    assert len(daemon.requests[0].partition(b"\n")[2]) == size


def test_a_reply_of_the_largest_size_crosses_whole(directory: Path) -> None:
    path = directory / "a.sock"
    largest = b"x" * 1048576
    with Daemon(path, says(b"AGP1 0 1048576 1048576\n" + largest + largest)):
        assert run(command(path)) == Answer(0, largest, largest)


def test_a_reply_that_arrives_byte_by_byte_is_relayed(directory: Path) -> None:
    def act(connection: socket.socket, _: bytes) -> None:
        for byte in b"AGP1 wait\n" + HONEST:
            connection.sendall(bytes([byte]))

    path = directory / "a.sock"
    with Daemon(path, act):
        assert run(command(path)) == Answer(0, ALLOW, b"")


@dataclass(frozen=True)
class Lie:
    """A daemon's bytes that are not one honest reply, and what the reason must say."""

    name: str
    sent: bytes
    reason: str


LIES = (
    Lie("a truncated wait line", b"AGP1 wai", "ends within its first line"),
    Lie("a truncated head", b"AGP1 0 5", "ends within its first line"),
    Lie("a truncated head after a wait line", b"AGP1 wait\nAGP1", "ends within its first line"),
    Lie("a reply without streams", b"AGP1 0 5 0\n", "not as long as it announces"),
    Lie("a short body", HONEST[:-1], "not as long as it announces"),
    Lie("a long body", HONEST + b"x", "not as long as it announces"),
    Lie("a second reply", HONEST + HONEST, "not as long as it announces"),
    Lie("a wait line behind the reply", HONEST + b"AGP1 wait\n", "not as long as it announces"),
    Lie("a log line before the reply", b"INFO ready\n" + HONEST, "b'INFO ready'"),
    Lie("garbage", b"\x00\xff garbage\n", "this hook speaks AGP1, the daemon answered"),
    Lie("garbage without an end of line", b"\xff" * 5000, "this hook speaks AGP1"),
    Lie("bare JSON", ALLOW.strip() + b"\n", "this hook speaks AGP1"),
    Lie("another version", b"AGP2 0 0 0\n", "this hook speaks AGP1, the daemon answered b'AGP2"),
    Lie("no version", b"AGP 0 0 0\n", "this hook speaks AGP1"),
    Lie("lower case", b"agp1 0 0 0\n", "this hook speaks AGP1"),
    Lie("a word for a number", b"AGP1 zero 0 0\n", "ValueError"),
    Lie("an unknown word", b"AGP1 waiting\n", "ValueError"),
    Lie("two numbers", b"AGP1 0 0\n", "ValueError"),
    Lie("four numbers", b"AGP1 0 0 0 0\n", "ValueError"),
    Lie("two spaces", b"AGP1 0  0 0\n", "ValueError"),
    Lie("an empty first number", b"AGP1  0 0\n", "ValueError"),
    Lie("a negative length", b"AGP1 0 -1 1\n", "second spelling"),
    Lie("a negative code", b"AGP1 -2 0 0\n", "second spelling"),
    Lie("a plus sign", b"AGP1 +0 0 0\n", "second spelling"),
    Lie("a leading zero", b"AGP1 00 0 0\n", "second spelling"),
    Lie("an underscore", b"AGP1 0 1_0 0\n" + b"x" * 10, "second spelling"),
    Lie("a carriage return", b"AGP1 0 0 0\r\n", "second spelling"),
    Lie("a tab", b"AGP1 0\t0 0\n", "ValueError"),
    Lie("a code above a byte", b"AGP1 256 0 0\n", "more than a hook may relay"),
    Lie("a huge stdout", b"AGP1 0 1048577 0\n", "more than a hook may relay"),
    Lie("a huge stderr", b"AGP1 0 0 99999999999999\n", "more than a hook may relay"),
    Lie("an endless number", b"AGP1 0 0 " + b"9" * 6000 + b"\n", "second spelling"),
    Lie("no newline behind the head", b"AGP1 0 0 0" + b" " * 200, "ValueError"),
)


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.name)
def test_every_other_reply_blocks(directory: Path, lie: Lie) -> None:
    """Nothing reaches standard output, the code is 2, the reason is one line."""
    path = directory / "a.sock"
    with Daemon(path, says(lie.sent)) as daemon:
        assert_blocked(run(command(path)), lie.reason)
    assert len(daemon.requests) == 1


@pytest.mark.parametrize("lie", [LIES[3], LIES[9]], ids=lambda lie: lie.name)
def test_claude_codes_grant_hook_blocks_with_1(directory: Path, lie: Lie) -> None:
    """2 would open the harness's own dialog there, and Enter would run the tool without AGP."""
    path = directory / "a.sock"
    with Daemon(path, says(lie.sent)):
        assert_blocked(run(command(path, event="PermissionRequest")), lie.reason, code=1)
        codex = command(path, harness="codex", event="PermissionRequest")
        assert_blocked(run(codex), lie.reason, code=2)


def test_without_a_socket_the_call_is_blocked(directory: Path) -> None:
    assert_blocked(run(command(directory / "none.sock")), "No such file or directory")


def test_with_a_dead_socket_the_call_is_blocked(directory: Path) -> None:
    path = directory / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert_blocked(run(command(path)), "Connection refused")


def test_with_a_file_in_the_sockets_place_the_call_is_blocked(directory: Path) -> None:
    path = directory / "file"
    path.write_bytes(HONEST)
    assert_blocked(run(command(path)), "Connection refused")


def test_a_full_backlog_is_no_daemon(directory: Path) -> None:
    """A daemon that does not accept must not hold the hook beyond its reconnect clock."""
    path = directory / "full.sock"
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(path))
        full.listen(0)
        first.connect(str(path))
        assert_blocked(run(command(path)), "Resource temporarily unavailable")


def test_a_daemon_that_always_hangs_up_is_no_daemon(directory: Path) -> None:
    """A connection that never showed a sign of life does not start the clock anew."""
    path = directory / "a.sock"
    with Daemon(path, says(b"")) as daemon:
        told = "no AGP daemon answered for 0.2 s (agp daemon start): it hung up"
        assert_blocked(run(command(path)), told)
    assert len(daemon.requests) > 1


def test_a_silent_daemon_is_left_at_the_deadline(directory: Path) -> None:
    path = directory / "a.sock"
    with Daemon(path, says_nothing_until_the_peer_ends):
        assert_blocked(run(command(path, deadline_s="0.3")), "before the hook's deadline")


def test_a_wait_that_never_ends_is_left_at_the_deadline(directory: Path) -> None:
    """Wait lines keep the reconnect clock, never the deadline."""

    def act(connection: socket.socket, request: bytes) -> None:
        connection.sendall(b"AGP1 wait\n")
        says_nothing_until_the_peer_ends(connection, request)

    path = directory / "a.sock"
    with Daemon(path, act):
        assert_blocked(run(command(path, deadline_s="0.3")), "before the hook's deadline")


def test_a_broken_wait_that_never_ends_is_left_at_the_deadline(directory: Path) -> None:
    path = directory / "a.sock"
    with Daemon(path, says(b"AGP1 wait\n")):
        assert_blocked(run(command(path, deadline_s="0.5")), "before the hook's deadline")


def test_a_reply_that_stays_open_is_left_at_the_deadline(directory: Path) -> None:
    """Until the end came, more could follow; an allow is not relayed on trust."""

    def act(connection: socket.socket, request: bytes) -> None:
        connection.sendall(HONEST)
        says_nothing_until_the_peer_ends(connection, request)

    path = directory / "a.sock"
    with Daemon(path, act):
        assert_blocked(run(command(path, deadline_s="0.3")), "before the hook's deadline")


def test_redeeming_has_five_seconds_in_all(directory: Path) -> None:
    """The deadline argument cannot lengthen the grant hook, under which a dialog may be live."""
    path = directory / "a.sock"
    with Daemon(path, says_nothing_until_the_peer_ends):
        started = time.monotonic()
        answer = run(command(path, event="PermissionRequest", deadline_s="60"))
    assert_blocked(answer, "before the hook's deadline", code=1)
    assert 4.5 < time.monotonic() - started < 10


def test_a_break_during_a_wait_asks_the_same_again(directory: Path) -> None:
    """The daemon joins the repeated request by its digest, so it must be the same bytes."""
    path = directory / "a.sock"
    breaks = says(b"AGP1 wait\n")
    with Daemon(path, breaks, says(b""), breaks, says(HONEST)) as daemon:
        answer = run(command(path, reconnect_s="5"))
    assert answer == Answer(0, ALLOW, b"")
    assert len(daemon.requests) == 4
    assert len(set(daemon.requests)) == 1


def test_a_daemon_that_restarts_during_a_wait_is_found_again(directory: Path) -> None:
    """Another socket at the same path answers; the old one is gone in between."""
    path = directory / "a.sock"
    waiting = threading.Event()

    def act(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"AGP1 wait\n")
        waiting.set()

    with ThreadPoolExecutor() as pool:
        with Daemon(path, act):
            answer = pool.submit(run, command(path, reconnect_s="10"))
            assert waiting.wait(LIMIT_S)
        path.unlink()
        with Daemon(path, says(HONEST)):
            assert answer.result(LIMIT_S) == Answer(0, ALLOW, b"")


def test_a_daemon_that_starts_late_is_found(directory: Path) -> None:
    path = directory / "a.sock"
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(run, command(path, reconnect_s="10"))
        with Daemon(path, says(HONEST)):
            assert answer.result(LIMIT_S) == Answer(0, ALLOW, b"")


def test_a_daemon_that_refuses_before_it_reads_all_is_heard(directory: Path) -> None:
    """The reply of a full daemon reaches the agent although the body was never taken."""
    path = directory / "a.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.settimeout(LIMIT_S)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(run, command(path), b"x" * 4_000_000)
            connection, _ = listening.accept()
            with closing(connection):
                connection.recv(10)
                connection.sendall(b"AGP1 2 0 5\nfull\n")
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
            assert answer.result(LIMIT_S) == Answer(2, b"", b"full\n")


def test_more_than_8_mib_of_input_is_blocked_before_asking(directory: Path) -> None:
    path = directory / "a.sock"
    with Daemon(path, says(HONEST)) as daemon:
        process = subprocess.Popen(
            command(path), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = process.communicate(b"x" * 10_000_000, timeout=LIMIT_S)
    assert_blocked(Answer(process.returncode, out, err), "larger than 8 MiB")
    assert daemon.requests == []


@dataclass(frozen=True)
class Start:
    """Arguments that no hook of ours has."""

    name: str
    arguments: tuple[str, ...]
    code: int = 2


STARTS = (
    Start("no argument", ()),
    Start("too few", ("claude-code", "PreToolUse", "/none")),
    Start("too few for the grant hook", ("claude-code", "PermissionRequest"), 1),
    Start("too many", ("claude-code", "PreToolUse", "/none", "1", "1", "1")),
    Start("a word for a clock", ("claude-code", "PreToolUse", "/none", "soon", "1")),
    Start("no deadline", ("claude-code", "PreToolUse", "/none", "1", "0")),
    Start("a negative clock", ("claude-code", "PreToolUse", "/none", "-1", "1")),
    Start("not a number", ("claude-code", "PreToolUse", "/none", "nan", "1")),
    Start("an endless deadline", ("claude-code", "PreToolUse", "/none", "1", "inf")),
    Start("an empty path", ("claude-code", "PreToolUse", "", "0.1", "1")),
    Start("too long a path", ("claude-code", "PreToolUse", "/" + "x" * 200, "0.1", "1")),
)


@pytest.mark.parametrize("start", STARTS, ids=lambda start: start.name)
def test_a_hook_that_is_started_wrongly_blocks(start: Start) -> None:
    answer = run([SYSTEM_PYTHON, "-I", "-S", str(BRIDGE), *start.arguments])
    assert_blocked(answer, "", start.code)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize(("event", "code"), [("PreToolUse", 2), ("PermissionRequest", 1)])
def test_a_signal_blocks(directory: Path, number: int, event: str, code: int) -> None:
    """Death by a signal would be "no opinion": the hook turns it into a refusal."""
    path = directory / "a.sock"
    with interrupted(path, command(path, event=event)) as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=LIMIT_S)
    assert_blocked(Answer(process.returncode, out, err), f"signal {number}", code)


def test_signals_block_also_where_the_parent_masked_them(directory: Path) -> None:
    path = directory / "a.sock"
    masked = {signal.SIGTERM, signal.SIGALRM}
    signal.pthread_sigmask(signal.SIG_BLOCK, masked)
    try:
        with Daemon(path, says_nothing_until_the_peer_ends):
            answer = run(command(path, deadline_s="0.3"))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, masked)
    assert_blocked(answer, "before the hook's deadline")


def test_a_killed_bridge_wrote_nothing(directory: Path) -> None:
    """SIGKILL cannot be answered: without a grant it refuses, and no byte says otherwise."""
    path = directory / "a.sock"
    with interrupted(path, command(path)) as process:
        process.kill()
        out, err = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, out, err) == (-signal.SIGKILL, b"", b"")


@contextmanager
def interrupted(path: Path, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a bridge and give it once it waits for its answer."""
    asked = threading.Event()

    def act(connection: socket.socket, request: bytes) -> None:
        asked.set()
        says_nothing_until_the_peer_ends(connection, request)

    with Daemon(path, act):
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdin is not None
        process.stdin.write(BODY)
        process.stdin.close()
        process.stdin = None
        assert asked.wait(LIMIT_S)
        yield process


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_blocks(directory: Path, closed: str) -> None:
    """The socket would take the closed stream's number, and the reply would go to the daemon."""
    path = directory / "a.sock"
    with Daemon(path, says(HONEST)) as daemon:
        answer = run(["/bin/sh", "-c", f'exec "$@" {closed}', "sh", *command(path)])
    assert (answer.code, answer.out) == (2, b"")
    assert daemon.requests == []


def test_a_standard_output_that_nobody_reads_blocks(directory: Path) -> None:
    path = directory / "a.sock"
    reading, writing = os.pipe()
    os.close(reading)
    with Daemon(path, says(HONEST)):
        done = subprocess.run(
            command(path),
            input=BODY,
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            check=False,
        )
    os.close(writing)
    assert_blocked(Answer(done.returncode, b"", done.stderr), "BrokenPipeError")


def test_a_full_device_as_standard_output_blocks(directory: Path) -> None:
    path = directory / "a.sock"
    with Daemon(path, says(HONEST)), Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command(path),
            input=BODY,
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=LIMIT_S,
            check=False,
        )
    assert_blocked(Answer(done.returncode, b"", done.stderr), "OSError")


def test_a_reason_that_nobody_reads_still_blocks(directory: Path) -> None:
    """A full pipe on standard error must not hang the refusal."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b"x" * 65536)
    os.set_blocking(writing, True)
    done = subprocess.run(
        command(directory / "none.sock"),
        input=BODY,
        stdout=subprocess.PIPE,
        stderr=writing,
        timeout=LIMIT_S,
        check=False,
    )
    os.close(reading)
    os.close(writing)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_input_that_cannot_be_read_blocks(directory: Path) -> None:
    path = directory / "a.sock"
    fd = os.open(os.devnull, os.O_WRONLY)
    with Daemon(path, says(HONEST)) as daemon:
        done = subprocess.run(
            command(path), stdin=fd, capture_output=True, timeout=LIMIT_S, check=False
        )
    os.close(fd)
    assert_blocked(Answer(done.returncode, done.stdout, done.stderr), "OSError: [Errno 9]")
    assert daemon.requests == []


def test_an_input_that_never_ends_is_left_at_the_deadline(directory: Path) -> None:
    path = directory / "a.sock"
    reading, writing = os.pipe()
    with Daemon(path, says(HONEST)) as daemon:
        done = subprocess.run(
            command(path, deadline_s="0.3"),
            stdin=reading,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
    os.close(reading)
    os.close(writing)
    assert_blocked(Answer(done.returncode, done.stdout, done.stderr), "before the hook's deadline")
    assert daemon.requests == []


def test_streams_that_the_harness_made_non_blocking_work(directory: Path) -> None:
    path = directory / "a.sock"
    largest = b"x" * 1048576
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with Daemon(path, says(b"AGP1 0 1048576 0\n" + largest)), ours, theirs:
        process = subprocess.Popen(command(path), stdin=theirs, stdout=theirs)
        ours.settimeout(LIMIT_S)
        ours.sendall(BODY)
        ours.shutdown(socket.SHUT_WR)
        received = b""
        while len(received) < len(largest):
            received += ours.recv(65536)
        assert process.wait(LIMIT_S) == 0
    assert received == largest
