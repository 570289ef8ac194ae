"""The harness view, looked at from inside: what is there is listed here, and nothing else is."""

from __future__ import annotations

import json
import os
import secrets
import select
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agp.sandbox.host import system_binds
from agp.sandbox.nested import TOP_LEVEL
from agp.sandbox.view import ViewCommand
from tests.fakes.views import ENVIRONMENT, ROOT, UID, Stage, processes_marked, run_command, stage

pytestmark = pytest.mark.confinement

LOOK = r"""
import json, os, stat
seen = {}
seen["ids"] = os.getresuid() + os.getresgid() + tuple(os.getgroups())
seen["environment"] = dict(os.environ)
seen["mounts"] = [
    [l.split()[4], l.split()[5].split(",")[0]] for l in open("/proc/self/mountinfo")
]
lines = [l.rstrip("\n").split(":\t", 1) for l in open("/proc/self/status") if ":\t" in l]
seen["status"] = dict(lines)
seen["processes"] = sorted(int(n) for n in os.listdir("/proc") if n.isdigit())
def opened(pid):
    kept = []
    for n in os.listdir(f"/proc/{pid}/fd"):
        try:
            kept.append([int(n), os.readlink(f"/proc/{pid}/fd/{n}")])
        except OSError:
            pass
    return sorted(kept)
seen["descriptors"] = [d for d in opened("self") if not d[1].startswith("/proc/")]
seen["init"] = opened(1)
seen["relay"] = [
    opened(n) for n in os.listdir("/proc") if n.isdigit() and int(n) not in (1, os.getpid())
]
sockets, writable = [], []
for here, directories, files in os.walk("/"):
    if here in ("/proc", "/usr"):
        directories.clear()
        continue
    for name in directories + files:
        try:
            mode = os.lstat(f"{here}/{name}").st_mode
        except OSError:
            continue
        if stat.S_ISSOCK(mode):
            sockets.append(f"{here}/{name}")
    if os.access(here, os.W_OK):
        writable.append(here)
seen["sockets"], seen["writable"] = sorted(sockets), sorted(writable)
seen["root"] = sorted(os.listdir("/"))
seen["opt"] = sorted(os.listdir("/opt/agp"))
seen["hostname"] = os.uname().nodename
print(json.dumps(seen))
"""


@pytest.fixture
def scene() -> Iterator[Stage]:
    with stage() as made:
        yield made


def uid_inside() -> int:
    return UID if os.geteuid() == 0 else os.geteuid()


def serve_unix(path: Path, answer: bytes) -> tuple[socket.socket, threading.Thread]:
    """Answer one connection: read a word, send the answer, then the word."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    path.chmod(0o666)
    listener.listen(8)

    def once() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(answer + peer.recv(100))

    thread = threading.Thread(target=once, daemon=True)
    thread.start()
    return listener, thread


def test_the_view_shows_exactly_this_and_nothing_else(scene: Stage) -> None:
    """Mounts, sockets, descriptors, environment, capabilities: the golden list."""
    for name in ("ask.sock", "model.sock", "proxy.sock"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(scene.ask / name))
        listener.close()
    os.environ["AGP_TEST_SECRET"] = "operator"
    os.set_inheritable(leaked := os.open("/etc/hostname", os.O_RDONLY), True)
    try:
        seen = json.loads(scene.python(LOOK))
    finally:
        del os.environ["AGP_TEST_SECRET"]
        os.close(leaked)
    work = str(scene.workspace)

    uid = uid_inside()
    gid = UID if os.geteuid() == 0 else os.getegid()
    assert seen["ids"][:6] == [uid, uid, uid, gid, gid, gid]
    assert seen["environment"] == dict(ENVIRONMENT) | {"LC_CTYPE": "C.UTF-8"} or seen[
        "environment"
    ] == dict(ENVIRONMENT) | {"PWD": work}
    system = [[bind.target, "ro"] for bind in system_binds()[0]]
    assert sorted(seen["mounts"]) == sorted(
        [
            ["/", "ro"],
            ["/proc", "rw"],
            ["/dev", "ro"],
            *([f"/dev/{n}", "rw"] for n in ("null", "zero", "full", "random", "urandom", "tty")),
            ["/dev/pts", "rw"],
            ["/dev/shm", "rw"],
            ["/tmp", "rw"],
            [f"/tmp/{scene.base.name}", "ro"],
            *system,
            ["/home/agent", "rw"],
            ["/run/agp", "ro"],
            [work, "rw"],
            [f"{work}/.git", "rw"],
            *([f"{work}/{name}", "ro"] for name in TOP_LEVEL),
            *(
                [f"{work}/.git/{name}", "ro"]
                for name in (
                    "hooks",
                    "config",
                    "config.worktree",
                    "commondir",
                    "worktrees",
                    "modules",
                )
            ),
        ]
    )
    status = seen["status"]
    assert {status[f"Cap{name}"] for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert [number for number, _ in seen["descriptors"]] == [0, 1, 2]
    assert all(number <= 2 or "eventfd" in what for number, what in seen["init"])
    (relay,) = seen["relay"]
    assert [what for number, what in relay if number <= 2] == ["/dev/null"] * 3
    assert len(seen["processes"]) == 3, "bwrap's init, the relay, this program"
    assert seen["sockets"] == [f"/run/agp/{n}.sock" for n in ("ask", "model", "proxy")]
    assert seen["opt"] == ["forward"]
    top = {"dev", "etc", "home", "opt", "proc", "run", "tmp", "usr", "var"}
    assert set(seen["root"]) - top <= {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
    beside_git = [
        place
        for place in seen["writable"]
        if not place.startswith((f"{work}/.git/", "/home/agent", "/proc", "/dev/pts"))
    ]
    assert beside_git == sorted(["/dev/shm", "/tmp", work, f"{work}/.git"])
    assert seen["hostname"] == "agp"


def test_standard_streams_and_the_exit_code_pass_through(scene: Stage) -> None:
    done = scene.run(("/bin/sh", "-c", "cat; echo no >&2; exit 7"), b"asked")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"asked", b"no\n")


def test_both_ports_lead_to_the_bound_sockets_and_listen_before_the_harness_starts(
    scene: Stage,
) -> None:
    """No waiting for a port: the first instruction of the harness can connect."""
    kept = [
        serve_unix(scene.ask / "model.sock", b"model:"),
        serve_unix(scene.ask / "proxy.sock", b"proxy:"),
    ]
    said = scene.python(
        "import socket\n"
        "for port in (8080, 3128):\n"
        "    s = socket.create_connection(('127.0.0.1', port)); s.sendall(b'hello')\n"
        "    s.shutdown(socket.SHUT_WR); print(s.makefile().read())\n"
    )
    for listener, thread in kept:
        thread.join(10)
        listener.close()
    assert said == "model:hello\nproxy:hello\n"


def test_a_socket_bound_anew_by_a_restarted_daemon_is_reached(scene: Stage) -> None:
    """The directory is bound, not the socket: a bound socket is dead after a restart."""
    view = scene.view(
        (
            "/usr/bin/python3",
            "-ISc",
            (
                "import socket,sys\n"
                "print('ready', flush=True); sys.stdin.readline()\n"
                "s = socket.create_connection(('127.0.0.1', 8080)); s.sendall(b'x')\n"
                "print(s.makefile().read())"
            ),
        )
    )
    with view.opened() as spawn:
        child = start(spawn.argv, spawn.pass_fds, dict(spawn.environment))
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == b"ready\n"
        listener, thread = serve_unix(scene.ask / "model.sock", b"new:")
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.readline() == b"new:x\n"
        thread.join(10)
        listener.close()
        finish(child)


def start(
    argv: tuple[str, ...], fds: tuple[int, ...], env: dict[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        argv,
        pass_fds=fds,
        env=env,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(child: subprocess.Popen[bytes]) -> None:
    child.communicate(timeout=10)


def survivor_view(scene: Stage, marker: str, then: str) -> ViewCommand:
    """Start a child that leaves its session, ignores every signal and holds no stream."""
    code = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 3, 13, 15)]\n"
        "        [os.dup2(os.open('/dev/null', os.O_RDWR), n) for n in (0, 1, 2)]\n"
        "        os.execv('/usr/bin/python3', ['python3', '-ISc', 'import time; time.sleep(600)',"
        " sys.argv[1]])\n"
        "    os._exit(0)\n"
        "os.wait()\n"
        "while not any(sys.argv[1].encode() in open(f'/proc/{n}/cmdline','rb').read() and "
        "int(n) != os.getpid() for n in os.listdir('/proc') if n.isdigit()): time.sleep(0.01)\n"
        "print('ready', flush=True)\n" + then
    )
    return scene.view(("/usr/bin/python3", "-ISc", code, marker))


def test_nothing_of_the_view_survives_the_harness_s_own_end(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    done = run_command(survivor_view(scene, marker, ""))
    assert done.stdout == b"ready\n", done.stderr
    gone_soon(marker)


def test_nothing_survives_when_the_launcher_kills_the_view(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    view = survivor_view(scene, marker, "time.sleep(600)")
    with view.opened() as spawn:
        child = start(spawn.argv, spawn.pass_fds, dict(spawn.environment))
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        assert processes_marked(marker), "the control: it lives while the view lives"
        child.kill()
        finish(child)
    gone_soon(marker)


def gone_soon(marker: str) -> None:
    """Wait for the kernel to end a PID namespace; bounded, and it is no success of ours to wait."""
    deadline = time.monotonic() + 5
    while processes_marked(marker) and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    assert processes_marked(marker) == []


def test_a_launcher_that_is_killed_takes_its_view_with_it(scene: Stage) -> None:
    """`kill -9` of `agp run`: die-with-parent, and the lifeline behind it."""
    marker = f"mark-{secrets.token_hex(8)}"
    view = survivor_view(scene, marker, "time.sleep(600)")
    reading, writing = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        with view.opened() as spawn:
            child = subprocess.Popen(
                spawn.argv,
                pass_fds=spawn.pass_fds,
                env=dict(spawn.environment),
                stdin=subprocess.DEVNULL,
                stdout=writing,
            )
            child.wait()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as said:
        assert said.readline() == b"ready\n"
        os.kill(launcher, signal.SIGKILL)
        os.waitpid(launcher, 0)
    gone_soon(marker)


def test_a_closed_lifeline_ends_the_view_though_nobody_killed_bubblewrap(scene: Stage) -> None:
    marker = f"mark-{secrets.token_hex(8)}"
    view = survivor_view(scene, marker, "time.sleep(600)")
    with view.opened() as spawn:
        child = start(spawn.argv, spawn.pass_fds, dict(spawn.environment))
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
    finish(child)
    assert child.returncode != 0
    gone_soon(marker)


def test_without_a_launcher_the_harness_is_never_started(scene: Stage) -> None:
    """The forwarder finds its lifeline closed and starts nothing."""
    lifeline, held = os.pipe()
    os.close(held)
    mark = scene.base / "ran"
    done = subprocess.run(
        [
            "/usr/bin/python3",
            "-IS",
            str(ROOT / "hooks" / "agp-forward"),
            str(lifeline),
            "--",
            "/bin/touch",
            str(mark),
        ],
        pass_fds=(lifeline,),
        capture_output=True,
        check=False,
        timeout=10,
    )
    os.close(lifeline)
    assert done.returncode == 97
    assert b"the launcher is gone" in done.stderr
    assert not mark.exists()


@pytest.mark.parametrize("arguments", [(), ("x",), ("0", "8080", "--"), ("0", "a", "b", "--", "c")])
def test_a_forwarder_that_is_called_wrongly_starts_nothing(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["/usr/bin/python3", "-IS", str(ROOT / "hooks" / "agp-forward"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=10,
    )
    assert done.returncode == 97
    assert b"nothing was started" in done.stderr


def test_git_and_python_and_the_scratch_places_work_inside(scene: Stage) -> None:
    """The profile confines; it does not break ordinary work."""
    done = scene.run(
        (
            "/bin/sh",
            "-ec",
            (
                "export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a GIT_COMMITTER_NAME=a"
                " GIT_COMMITTER_EMAIL=a; echo x > file; git add -A; git commit -qm second;"
                " git checkout -qb other; git gc -q; git status --porcelain; git log --format=%s;"
                " python3 -c 'import ssl, sqlite3, multiprocessing as m;"
                " print(m.Pool(2).map(abs, [-1]))';"
                " touch /tmp/x /dev/shm/x $HOME/x; id -un; (sleep 0.01 &); echo done"
            ),
        )
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == ["second", "first", "[1]", "agent", "done"]
    assert scene.git("show", "--stat", "--format=", "other").count("|") == 1, "no mask is committed"


@pytest.mark.real_harness
def test_the_real_claude_code_starts_in_the_view(scene: Stage) -> None:
    """The filter and the mounts carry the pinned binary."""
    installed = next(
        (ROOT / ".harness").glob("node_modules/@anthropic-ai/claude-code-linux-*/claude")
    )
    binary = installed
    if os.geteuid() != 0:
        binary = scene.base / "claude"
        shutil.copy(installed, binary)
    view = scene.view(
        ("/opt/agp/claude", "--version"), harness_files=((str(binary), "/opt/agp/claude"),)
    )
    done = run_command(view)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(b"(Claude Code)\n")


def test_a_view_is_refused_from_a_thread_that_may_end_before_the_process(scene: Stage) -> None:
    """Measured trap: die-with-parent follows the spawning thread."""
    view = scene.view(("/bin/true",))
    raised: list[str] = []

    def elsewhere() -> None:
        try:
            with view.opened():
                pass
        except Exception as error:  # noqa: BLE001 - the test asks which
            raised.append(str(error))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(raised) == 1
    assert "thread" in raised[0]
