"""Run the real Claude Code as a person starts it: its own home, no launcher of AGP, no view.

A private mount gives it an `/etc` without anybody's managed settings; everything else is the
machine's. Where the tests run as root, the harness runs as an ordinary user.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.agp_house import NATIVE, ORDINARY, own
from tests.fakes.claude_run import PR_ALLOW, PRE_ALLOW

TIMEOUT_S = 60
ALLOWED = "granted-by-agp"
"""A call whose input holds this is allowed by the stand-in of the daemon; no other is."""
PRE_DENY = PRE_ALLOW.replace('"allow"', '"deny"')
PR_DENY = json.dumps(
    {
        "hookSpecificOutput": {
            "hookEventName": "PermissionRequest",
            "decision": {"behavior": "deny", "message": "no ticket"},
        }
    }
)


@dataclass
class Plain:
    """One person's home and repository, and the machine's `/etc/claude-code`."""

    place: Path
    home: Path = field(init=False)
    repo: Path = field(init=False)
    etc: Path = field(init=False)

    def __post_init__(self) -> None:
        self.home, self.repo, self.etc = (self.place / n for n in ("home", "repo", "etc"))
        for path in (self.home, self.repo, self.etc):
            path.mkdir(exist_ok=True)
        (self.home / ".claude").mkdir(exist_ok=True)

    @property
    def user_settings(self) -> Path:
        return self.home / ".claude" / "settings.json"

    @property
    def local_settings(self) -> Path:
        return self.repo / ".claude" / "settings.local.json"

    @property
    def managed_settings(self) -> Path:
        return self.etc / "managed-settings.d" / "agp.json"

    def write(self, path: Path, document: object) -> None:
        """Write one settings file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))

    def trust(self) -> None:
        """Let the person have said that the repository is trusted."""
        self.write(
            self.home / ".claude.json",
            {
                "hasCompletedOnboarding": True,
                "projects": {str(self.repo): {"hasTrustDialogAccepted": True}},
            },
        )

    def run(
        self,
        url: str,
        *arguments: str,
        env: dict[str, str] | None = None,
        task: str = "do what the script says",
    ) -> subprocess.CompletedProcess[str]:
        """Run one `claude -p` to its end."""
        own(self.home)
        own(self.repo)
        argv = self.command("-p", *arguments, "--", task)
        return subprocess.run(
            argv,
            env=self.environment(url) | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def command(self, *words: str) -> list[str]:
        """Spell the harness's start."""
        assert NATIVE.exists(), "scripts/fetch-harness installs the pinned harness"
        return [*self.mounts(), *as_ordinary(), str(NATIVE), *words]

    def environment(self, url: str) -> dict[str, str]:
        """Give the person's environment."""
        return {
            "HOME": str(self.home),
            "PATH": "/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "ANTHROPIC_API_KEY": "sk-ant-dummy",
            "ANTHROPIC_BASE_URL": url,
            "DISABLE_TELEMETRY": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_ERROR_REPORTING": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

    def mounts(self) -> list[str]:
        """Give a private `/etc/claude-code` (and nothing else) to what follows."""
        argv = [shutil.which("bwrap") or "bwrap", "--die-with-parent", "--bind", "/", "/"]
        argv += ["--tmpfs", "/etc"]
        for entry in sorted(Path("/etc").iterdir()):
            if entry.name not in {"claude-code", "agp"}:
                argv += ["--ro-bind-try", str(entry), str(entry)]
        argv += ["--ro-bind", str(self.etc), "/etc/claude-code", "--dev-bind", "/dev", "/dev"]
        return [*argv, "--chdir", str(self.repo), "--"]


def as_ordinary() -> list[str]:
    """Become the ordinary user where we are root."""
    if os.geteuid() != 0:
        return []
    uid = str(ORDINARY)
    return ["/usr/bin/setpriv", "--reuid", uid, "--regid", uid, "--clear-groups", "--"]


class Answers:
    """A stand-in for the daemon: one socket on which a call is allowed by a word in its input."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: list[tuple[str, dict[str, object]]] = []
        self.silent = False
        """Answer the two gates with an empty standard output and exit 0."""

    def serve(self, listener: socket.socket) -> None:
        """Answer until the listener is closed."""
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as incoming:
            head = incoming.readline().split()
            if len(head) != 4:
                return
            event, body = head[2].decode(), incoming.read(int(head[3]))
            self.events.append((event, json.loads(body)))
            good = ALLOWED.encode() in body
            out = {
                "PreToolUse": PRE_ALLOW if good else PRE_DENY,
                "PermissionRequest": PR_ALLOW if good else PR_DENY,
            }.get(event, "{}")
            if self.silent:
                out = ""
            connection.sendall(b"AGP1 0 %d 0\n%s" % (len(out), out.encode()))

    def of(self, event: str) -> list[dict[str, object]]:
        """The payloads of one event."""
        return [body for name, body in self.events if name == event]


@contextmanager
def answers(path: Path) -> Iterator[Answers]:
    """Serve the stand-in at a path."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen(16)
        standing = Answers(path)
        threading.Thread(target=standing.serve, args=(listener,), daemon=True).start()
        yield standing
