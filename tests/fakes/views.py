"""A stage for confinement tests: a home of AGP, a workspace, and a view that is really started.

Everything lies below one directory of its own in /tmp. Root's workspaces belong to uid 4001, as a
real operator's would belong to somebody; an ordinary user's belong to himself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agp.contracts.intendant import LaunchPlan
from agp.sandbox.host import check_workspace, run_as
from agp.sandbox.places import PlacesPlan, create, plan_places, remove_created
from agp.sandbox.view import ViewCommand, ViewSeats, build_view, prepare_home

ROOT = Path(__file__).resolve().parent.parent.parent
FORWARDER = ROOT / "hooks" / "agp-forward"
UID = 4001
ENVIRONMENT: Mapping[str, str] = {
    "HOME": "/home/agent",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "TMPDIR": "/tmp",
}


@dataclass
class Stage:
    """One operator with one workspace."""

    base: Path
    home: Path
    workspace: Path
    built: list[PlacesPlan] = field(default_factory=list)

    @property
    def ask(self) -> Path:
        return self.home / "run" / "s-000000000000" / "ask"

    def git(self, *words: str) -> str:
        """Run git as the workspace's owner, outside."""
        done = subprocess.run(
            [*as_owner(), "git", "-C", str(self.workspace), *words],
            env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", **AUTHOR},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def give(self) -> None:
        """Hand everything in the workspace to its owner."""
        if os.geteuid() == 0:
            for path in (self.workspace, *self.workspace.rglob("*")):
                os.lchown(path, UID, UID)

    def places(self) -> PlacesPlan:
        plan = plan_places(check_workspace(str(self.workspace), agp_home=str(self.home)))
        create(plan)
        self.built.append(plan)
        return plan

    def view(
        self,
        argv: tuple[str, ...],
        *,
        files: tuple[tuple[str, bytes], ...] = (),
        harness_files: tuple[tuple[str, str], ...] = (),
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> ViewCommand:
        session_home = self.home / "sessions" / f"home-{len(self.built)}"
        prepare_home(session_home, run_as(str(self.workspace)))
        plan = LaunchPlan(
            intendant="test",
            version="1",
            argv=argv,
            environment=tuple(environment.items()),
            files=files,
            harness_files=harness_files,
            settings_digest="",
        )
        seats = ViewSeats(
            agp_home=str(self.home),
            session_home=str(session_home),
            ask_directory=str(self.ask),
            forwarder=FORWARDER.read_bytes(),
        )
        return build_view(plan, seats, self.places())

    def run(self, argv: tuple[str, ...], stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one command in a harness view to its end."""
        return run_command(self.view(argv), stdin)

    def python(self, code: str, *arguments: str) -> str:
        """Run Python inside; what it printed. A failure is the test's failure."""
        done = self.run(("/usr/bin/python3", "-I", "-S", "-c", code, *arguments))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


AUTHOR = {
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_CONFIG_NOSYSTEM": "1",
}


def run_command(command: ViewCommand, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    with command.opened() as spawn:
        return subprocess.run(
            spawn.argv,
            pass_fds=spawn.pass_fds,
            env=dict(spawn.environment),
            cwd="/",
            input=stdin,
            capture_output=True,
            timeout=60,
            check=False,
        )


def as_owner() -> tuple[str, ...]:
    """Become the workspace's owner where root runs the tests."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--")


@contextmanager
def stage(*, git: bool = True) -> Iterator[Stage]:
    """Set the stage, and leave nothing of it."""
    base = Path(tempfile.mkdtemp(prefix="agp-sbx-", dir="/tmp"))
    base.chmod(0o755)
    made = Stage(base, base / "agp-home", base / "work" / "repo")
    try:
        made.home.mkdir(mode=0o700)
        made.workspace.mkdir(parents=True)
        (made.home / "sessions").mkdir(mode=0o700)
        made.ask.mkdir(parents=True)
        made.ask.chmod(0o755)
        for closed in (made.home / "run", made.ask.parent):
            closed.chmod(0o700)
        made.give()
        if git:
            made.git("init", "-q")
            made.git("commit", "-q", "--allow-empty", "-m", "first")
        yield made
        for plan in made.built:
            remove_created(plan)
    finally:
        shutil.rmtree(base)


def processes_marked(marker: str) -> list[int]:
    """Find the processes of this machine whose command line holds the marker."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if marker.encode() in line:
                found.append(int(entry.name))
    return found
