"""A whole AGP for one test: a home, a repository, `agp` as its own processes, the journal verified.

Everything goes through the command line, as a person would use it: `agp run` is a process of its
own, its questions are answered by a second one. Nothing of this process's environment is passed on.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agp.contracts.journal import Line
from agp.daemon.home import Home
from agp.errors import DaemonAway
from agp.gateway.once import call_once
from agp.journal.keys import read_public_key
from agp.journal.reader import read_events
from agp.journal.verify import verify_directory
from tests.fakes.model_server import Conversation, ModelServer, serve
from tests.fakes.proofs import seed_proof

ROOT = Path(__file__).resolve().parents[2]
NATIVE = ROOT / ".harness/node_modules/@anthropic-ai/claude-code-linux-x64/claude"
ORDINARY = 4001
"""Who owns the repository where the test runs as root."""
DEADLINE_S = 30.0
"""For anything that is waited for: far above what it takes, so that a test ends by itself."""
_TICK_S = 0.02


class Late(AssertionError):
    """What was waited for did not come."""


@dataclass
class Run:
    """One `agp run` in a process of its own."""

    house: House
    process: subprocess.Popen[bytes]
    files: tuple[Path, Path]
    model: ModelServer | None = None
    _closing: ExitStack = field(default_factory=ExitStack)

    @property
    def said(self) -> str:
        """Everything that it has written so far, for a failed assertion."""
        log = self.house.home.log
        parts = [path.read_text(errors="replace") for path in (*self.files, log) if path.exists()]
        return "\n---\n".join(parts)

    def question(self, text: str = "") -> dict[str, Any]:
        """Wait until a question whose input holds `text` waits; give it as the inbox shows it."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for asked in self.house.inbox():
                if text in asked["input_json"]:
                    return asked
            self.pause()
        raise Late(f"no question came that holds {text!r}: {self.said}")

    def questions(self, count: int) -> list[dict[str, Any]]:
        """Wait until that many questions wait at once; give them."""
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and self.process.poll() is None:
            if len(waiting := self.house.inbox()) == count:
                return waiting
            self.pause()
        raise Late(f"{count} questions never waited at once: {self.said}")

    def answer(self, verdict: str, text: str = "", *, reason: str = "") -> str:
        """Approve or deny the next such question from a second process; give its id."""
        name = str(self.question(text)["approval_id"])
        words = ("--reason", reason) if reason else ()
        done = self.house.agp(verdict, name, *words)
        assert done.returncode == 0, done.stderr + self.said
        return name

    def pause(self) -> None:
        """Let a moment pass, or less where the run ends meanwhile."""
        try:
            self.process.wait(timeout=_TICK_S)
        except subprocess.TimeoutExpired:
            return

    def end(self, *, code: int | None = 0) -> dict[str, Any]:
        """Wait for the end and give the run's own JSON summary."""
        try:
            ended = self.process.wait(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired as error:
            raise Late(f"the run did not end: {self.said}") from error
        finally:
            self.close()
        out = self.files[0].read_text()
        assert code is None or ended == code, f"exit {ended}, not {code}: {self.said}"
        summary: dict[str, Any] = json.loads(out) if out.strip() else {}
        return summary

    def kill(self) -> None:
        """End it as `kill -9` does, and its model server with it."""
        self.process.kill()
        self.process.wait(timeout=DEADLINE_S)
        self.close()

    def close(self) -> None:
        """Stop its model server."""
        self._closing.close()


class House:
    """One home, one repository, and the commands of a person who owns both."""

    def __init__(self, place: Path, *, source: Path = ROOT) -> None:
        self.place = place
        self.repo = place / "repo"
        self.home = Home(place / "home")
        self.runs: list[Run] = []
        self.seeded = True
        """A run of the real harness finds the proof of this test session; see `proofs`."""
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(place),
            "AGP_HOME": str(self.home.root),
            "PYTHONPATH": str(source),
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
            "LANG": "C.UTF-8",
        }

    def agp(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "agp", *words],
            env=self.env,
            cwd=self.place,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )

    def configure(self, **settings: int | str) -> None:
        """Replace settings of `config.toml`; before the daemon starts."""
        kept = [
            line
            for line in self.home.config.read_text().splitlines()
            if line.split("=")[0].strip() not in settings
        ]
        added = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        self.home.config.write_text("\n".join((*kept, *added, "")))

    def policy(self, *rules: str, acknowledge: Sequence[str] = ()) -> None:
        """Write the operator's own policy: each rule a flow mapping; the shipped pack stays."""
        own = f"acknowledge: [{', '.join(acknowledge)}]" if acknowledge else ""
        lines = ["version: 1", "default: require", own]
        listed = [f"  - {{{rule}}}" for rule in rules]
        self.home.policy.write_text("\n".join((*filter(None, lines), "rules:", *listed, "")))
        self.home.policy.chmod(0o600)

    def claude(
        self,
        *conversations: Conversation,
        task: str = "do it",
        flags: tuple[str, ...] = (),
        **more: str,
    ) -> Run:
        """Start the real Claude Code on a model that says what the conversations say."""
        assert NATIVE.exists(), "scripts/fetch-harness installs the pinned harness"
        if self.seeded:
            seed_proof(self.home, self.repo)
        stack = ExitStack()
        model = stack.enter_context(serve(*conversations))
        words = ("--intendant", "claude-code", "--task", task, "--model-url", model.url)
        options = tuple(word for name, text in more.items() for word in (f"--{name}", text))
        run = self._start(*words, "--pass-env", "ANTHROPIC_API_KEY", *flags, *options)
        run.model = model
        run._closing = stack
        return run

    def scripted(self, *calls: dict[str, Any], flags: tuple[str, ...] = ()) -> Run:
        """Start the scripted intendant on these calls."""
        script = self.place / f"script-{len(self.runs)}.json"
        script.write_text(json.dumps({"version": 1, "calls": calls}))
        return self._start("--intendant", "scripted", "--script", str(script), *flags)

    def _start(self, *words: str) -> Run:
        number = len(self.runs)
        files = (self.place / f"run-{number}.out", self.place / f"run-{number}.err")
        with files[0].open("wb") as out, files[1].open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "agp", "run", "--repo", str(self.repo), "--json", *words],
                env=self.env,
                cwd=self.place,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        run = Run(self, process, files)
        self.runs.append(run)
        return run

    def inbox(self) -> list[dict[str, Any]]:
        """Give what waits for a person; nothing while no daemon answers."""
        try:
            said = call_once(self.home.control_socket, "approval.list", {}, timeout_s=10)
        except DaemonAway:
            return []
        return json.loads(json.dumps(said["approvals"]))

    def command(self, op: str) -> dict[str, Any]:
        """Ask the daemon what has no command line: an operation without arguments."""
        return dict(call_once(self.home.control_socket, op, {}, timeout_s=10))

    def daemon_pid(self) -> int | None:
        """Name the daemon's process; None: nobody answers."""
        try:
            said = call_once(self.home.control_socket, "daemon.status", {}, timeout_s=10)
        except DaemonAway:
            return None
        return int(str(said["pid"]))

    def kill_daemon(self) -> int:
        """End the daemon as `kill -9` does, and wait until it is gone."""
        pid = self.daemon_pid()
        assert pid is not None
        handle = os.pidfd_open(pid)
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            _readable(handle)
        finally:
            os.close(handle)
        return pid

    def events(self) -> list[Line]:
        """Give the journal's lines, each verified with the public key alone."""
        verify_directory(self.home.journal, read_public_key(self.home.public_key))
        return list(read_events(self.home.journal))

    def kinds(self, *of: str) -> list[str]:
        """Give the kinds of the verified journal in order, all or only these."""
        return [line.kind for line in self.events() if not of or line.kind in of]

    def payloads(self, kind: str) -> list[dict[str, Any]]:
        """Give the payloads of one kind from the verified journal, in order."""
        return [dict(line.payload) for line in self.events() if line.kind == kind]

    def await_event(self, kind: str, *, count: int = 1) -> None:
        """Wait until the journal holds that many lines of a kind."""
        deadline = time.monotonic() + DEADLINE_S
        needle = f'"kind":"{kind}"'
        while time.monotonic() < deadline:
            text = "".join(p.read_text() for p in sorted(self.home.journal.glob("*.jsonl")))
            if text.count(needle) >= count:
                return
            time.sleep(_TICK_S)
        raise Late(f"the journal has no {count} of {kind}")

    def view_processes(self) -> list[int]:
        """Name the processes whose mount table shows this house's repository as a mount."""
        return [pid for pid in _pids() if f" {self.repo} ".encode() in _mounts(pid)]

    def await_no_view(self) -> None:
        """Wait until nothing of any view of this house is left."""
        deadline = time.monotonic() + DEADLINE_S
        while left := self.view_processes():
            if time.monotonic() > deadline:
                raise Late(f"processes of a view are left: {left}")
            time.sleep(_TICK_S)

    def close(self) -> None:
        """End what this house started, by pid, and remove it."""
        for run in self.runs:
            if run.process.poll() is None:
                run.kill()
            run.close()
        if self.daemon_pid() is not None:
            self.kill_daemon()
        self.await_no_view()
        self._remove()

    def _remove(self) -> None:
        """Remove everything; a daemon that is just ending by itself takes files away meanwhile."""
        deadline = time.monotonic() + DEADLINE_S
        while self.place.exists():
            try:
                shutil.rmtree(self.place)
            except OSError:
                if time.monotonic() > deadline:
                    raise


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _mounts(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/mountinfo").read_bytes()
    except OSError:
        return b""


def _readable(handle: int) -> None:
    ready, _, _ = select.select([handle], [], [], DEADLINE_S)
    assert ready, "a killed process is still there"


def write_repo(repo: Path, files: dict[str, str]) -> None:
    """Make a git repository with these files in one commit, owned by whoever the view runs as."""
    repo.mkdir(exist_ok=True)
    for name, text in files.items():
        path = repo / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git = ("git", "-C", str(repo), "-c", "user.name=t", "-c", "user.email=t@example.org")
    for words in (("init", "-q"), ("add", "-A", "-f"), ("commit", "-q", "-m", "start")):
        subprocess.run([*git, *words], check=True, timeout=30, capture_output=True)
    own(repo)


def own(top: Path) -> None:
    """Give a tree to the view's user where we are root."""
    if os.geteuid() != 0:
        return
    for path in (top, *top.rglob("*")):
        os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)


@contextmanager
def house(files: dict[str, str] | None = None, *, source: Path = ROOT) -> Iterator[House]:
    """Give an initialised home and a repository in a short directory of their own."""
    place = Path(tempfile.mkdtemp(prefix="agp-", dir="/tmp"))
    place.chmod(0o711)
    made = House(place, source=source)
    try:
        write_repo(made.repo, {"README.md": "hello\n", **(files or {})})
        done = made.agp("init")
        assert done.returncode == 0, done.stderr
        made.configure(claude_code=str(NATIVE))
        yield made
    finally:
        made.close()
