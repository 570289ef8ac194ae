"""Run the real Claude Code in a private mount, with `claude_hook` in the place of the bridge.

Not the harness view (that is `agp.sandbox`'s): the network is the host's, so that the local model
server is reached directly. Everything else is what a governed run starts: the argument vector, the
environment, the managed settings and the hook command come from `plan_launch`.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agp.contracts.base import Digest
from agp.contracts.gateway import HookEvent, HookRequest
from agp.contracts.intendant import LaunchPlan
from agp.intendants.claude_code.launch import LaunchRequest, plan_launch
from agp.intendants.claude_code.version import NEWEST

ROOT = Path(__file__).resolve().parents[2]
_SCOPE = "node_modules/@anthropic-ai/claude-code-linux-x64/claude"


def native_of(version: str) -> Path:
    """Name the executable of one proved version, where scripts/fetch-harness puts it."""
    folder = "" if version == NEWEST.version else f"claude-code-{version}"
    return ROOT / ".harness" / folder / _SCOPE


NATIVE = native_of(NEWEST.version)
TIMEOUT_S = 60

PRE_ALLOW = json.dumps(
    {"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "allow"}}
)
PR_ALLOW = json.dumps(
    {
        "hookSpecificOutput": {
            "hookEventName": "PermissionRequest",
            "decision": {"behavior": "allow"},
        }
    }
)
Rule = tuple[str, str, int, str, str]
"""Event, text that the body must hold, exit code, stdout, stderr."""
OBSERVE: tuple[Rule, ...] = tuple(
    (event.value, "", 0, "{}", "")
    for event in HookEvent
    if event not in {HookEvent.PRE_TOOL_USE, HookEvent.PERMISSION_REQUEST}
)
ALLOW: tuple[Rule, ...] = (
    *OBSERVE,
    ("PreToolUse", "", 0, PRE_ALLOW, ""),
    ("PermissionRequest", "", 0, PR_ALLOW, ""),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One hook call as the stand-in kept it."""

    argv: list[str]
    event: str
    body: bytes
    environ: dict[str, str]

    @property
    def json(self) -> Any:
        """The payload, read loosely."""
        return json.loads(self.body)

    @property
    def request(self) -> HookRequest:
        """The payload as the gateway would hand it on."""
        return HookRequest(harness="claude-code", event=HookEvent(self.event), body=self.body)


@dataclass(frozen=True, slots=True)
class Ran:
    """How one run ended, and everything that its hooks were given."""

    code: int
    lines: list[bytes]
    stderr: str
    seen: list[Seen]

    def of(self, event: str) -> list[Seen]:
        """The hook calls of one event, in order of arrival."""
        return [seen for seen in self.seen if seen.event == event]


def plan_for(task: str, *arguments: str, native: Path = NATIVE) -> LaunchPlan:
    """Plan a launch of the real binary."""
    return plan_launch(
        LaunchRequest(
            task=task,
            arguments=arguments,
            executable=str(native),
            executable_sha256=Digest("0" * 64),
            version=NEWEST.version,
            bridge=(ROOT / "tests/fakes/claude_hook.py").read_bytes(),
            forwarder=b"not used here",
            reconnect_s=30,
            model_relay=True,
            git_name="Agent",
            git_email="agent@example.invalid",
            named_environment=(("ANTHROPIC_API_KEY", "sk-ant-dummy"),),
        )
    )


def run_claude(  # noqa: PLR0913 - one argument for each thing that a test varies
    tmp: Path,
    url: str,
    rules: tuple[Rule, ...] = ALLOW,
    *arguments: str,
    task: str = "do what the script says",
    extra: tuple[str, ...] = (),
    files: dict[str, bytes] | None = None,
    native: Path = NATIVE,
) -> Ran:
    """Run one session in `tmp/repo` to its end; bounded, and killed with all that it started.

    `extra` goes into the argument vector behind AGP's back (an MCP configuration, an attack).
    `files` replaces files of the plan by their path in the view.
    """
    plan = plan_for(task, *arguments, native=native)
    places = _places(tmp, plan, rules, files or {})
    argv = [*plan.argv[:2], *extra, *plan.argv[2:]]
    environment = dict(plan.environment) | {"ANTHROPIC_BASE_URL": url}
    code = _bounded([*places, *argv], environment, tmp)
    lines = (tmp / "stdout").read_bytes().splitlines()
    return Ran(code, lines, (tmp / "stderr").read_text(), _seen(tmp))


def _bounded(argv: list[str], environment: dict[str, str], tmp: Path) -> int:
    """Wait for the end; a run that does not end is killed, and fails with what it did."""
    with (tmp / "stdout").open("wb") as out, (tmp / "stderr").open("wb") as err:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd="/"
        )
        try:
            return process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            tail = (tmp / "stdout").read_text()[-3000:]
            raise AssertionError(f"claude did not end in {TIMEOUT_S} s: {tail}") from error


def _places(
    tmp: Path, plan: LaunchPlan, rules: tuple[Rule, ...], files: dict[str, bytes]
) -> list[str]:
    for name in ("repo", "home", "run", "run/seen", "ours"):
        (tmp / name).mkdir(exist_ok=True)
    (tmp / "run/rules.json").write_text(json.dumps(rules))
    argv = ["/usr/bin/bwrap", "--die-with-parent", "--new-session", "--unshare-pid"]
    argv += ["--unshare-ipc", "--ro-bind", "/", "/", "--tmpfs", "/etc"]
    for entry in sorted(Path("/etc").iterdir()):
        if entry.name != "claude-code":
            argv += ["--ro-bind-try", str(entry), str(entry)]
    argv += ["--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", "--tmpfs", "/run"]
    argv += ["--tmpfs", "/opt", "--tmpfs", "/home", "--bind", str(tmp / "home"), "/home/agent"]
    argv += ["--bind", str(tmp / "run"), "/run/agp", "--bind", str(tmp / "repo"), str(tmp / "repo")]
    # A clone may itself lie below /tmp or /home: the MCP server of the tests must be there.
    argv += ["--ro-bind", str(ROOT / "tests"), str(ROOT / "tests")]
    for index, (path, content) in enumerate(plan.files):
        ours = tmp / "ours" / str(index)
        ours.write_bytes(files.get(path, content))
        argv += ["--ro-bind", str(ours), path]
    for host, path in plan.harness_files:
        argv += ["--ro-bind", host, path]
    return [*argv, "--chdir", str(tmp / "repo"), "--"]


def _seen(tmp: Path) -> list[Seen]:
    found = sorted((tmp / "run/seen").glob("*.json"))
    read = [json.loads(path.read_text()) for path in found]
    return [Seen(r["argv"], r["event"], r["body"].encode(), r["environ"]) for r in read]
