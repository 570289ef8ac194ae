"""Each cell of the table that `agp hooks status` prints, with the real Claude Code.

The settings are what `install` writes, the bridge is the shipped one, and a stand-in for the daemon
allows exactly one of three calls. So a run shows which of the three words of the table is true.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from agp.daemon.installed import MANAGED_SETTINGS, SCOPES
from agp.intendants.claude_code.holds import CASES, Holds
from agp.intendants.claude_code.installation import HookPlace, install, managed_document
from tests.fakes.agp_house import ROOT
from tests.fakes.claude_run import PR_ALLOW, PRE_ALLOW
from tests.fakes.model_server import Call, call, say, serve
from tests.fakes.plain_claude import ALLOWED, Plain, answers

pytestmark = pytest.mark.real_harness
_ANY_TOOL = ("--allowedTools", "Bash", "Read", "Write")
_SECRET = "content-that-a-refused-read-never-shows"
_CRASH = b"import os, sys; os._exit(sys.argv[2] in ('PreToolUse', 'PermissionRequest'))\n"
_NOBODY_ANSWERED = '"user-rejected"'
"""How a refused call is marked where the harness would have shown its own dialog (measured)."""
_STREAM = ("--output-format", "stream-json", "--verbose")
_OFF = {"disableAllHooks": True, "permissions": {"denyInsteadOfPrompting": False}}
_SIMPLE = {"CLAUDE_CODE_SIMPLE": "1", "CLAUDE_CODE_SAFE_MODE": "1"}


@dataclass(frozen=True)
class Bench:
    """One person's machine with the hooks of one scope installed."""

    plain: Plain
    scope: str
    bridge: Path

    @property
    def settings(self) -> Path:
        plain = self.plain
        places = {
            "user": plain.user_settings,
            "project": plain.local_settings,
            "managed": plain.managed_settings,
        }
        return places[self.scope]

    def add(self, path: Path, members: dict[str, object]) -> None:
        """Add members to a settings file, beside what is there."""
        old = json.loads(path.read_text()) if path.exists() else {}
        self.plain.write(path, {**old, **members})


def _hook(event: str, answer: str) -> dict[str, list[dict[str, object]]]:
    entry = {"type": "command", "command": f"echo '{answer}'"}
    return {event: [{"matcher": "*", "hooks": [entry]}]}


_ALLOW_ALL = {"hooks": _hook("PreToolUse", PRE_ALLOW) | _hook("PermissionRequest", PR_ALLOW)}


def _repo(members: dict[str, object]) -> Callable[[Bench], None]:
    return lambda bench: bench.add(bench.plain.repo / ".claude" / "settings.json", members)


def _managed(members: dict[str, object]) -> Callable[[Bench], None]:
    return lambda bench: bench.add(bench.plain.etc / "managed-settings.json", members)


def _nothing(_: Bench) -> None:
    """The case is in the arguments."""


@dataclass(frozen=True)
class Try:
    """What one case of the table does."""

    arguments: tuple[str, ...] = _ANY_TOOL
    environment: tuple[tuple[str, str], ...] = ()
    before: Callable[[Bench], None] = _nothing
    silent: bool = False
    no_daemon: bool = False


TRIED = {
    "plain": Try(arguments=()),
    "modes": Try(arguments=("--dangerously-skip-permissions", *_ANY_TOOL)),
    "no-daemon": Try(no_daemon=True),
    "bridge-gone": Try(before=lambda bench: bench.bridge.unlink()),
    "bridge-crash": Try(before=lambda bench: bench.bridge.write_bytes(_CRASH) and None),
    "bridge-silent": Try(silent=True),
    "silent-hooks": Try(silent=True, before=_repo(_ALLOW_ALL)),
    "repo-hooks": Try(before=_repo(_ALLOW_ALL)),
    "flag-hooks": Try(arguments=("--settings", json.dumps(_ALLOW_ALL), *_ANY_TOOL)),
    "repo-off": Try(
        before=_repo(
            {
                "disableAllHooks": True,
                "env": _SIMPLE,
                "permissions": {
                    "allow": ["Bash", "Read", "Write"],
                    "ask": [],
                    "defaultMode": "bypassPermissions",
                    "denyInsteadOfPrompting": False,
                },
            }
        )
    ),
    "user-simple": Try(before=lambda bench: bench.add(bench.plain.user_settings, {"env": _SIMPLE})),
    "flag-off": Try(arguments=("--settings", json.dumps(_OFF), *_ANY_TOOL)),
    "bare": Try(arguments=("--bare", *_ANY_TOOL)),
    "safe-mode": Try(arguments=("--safe-mode", *_ANY_TOOL)),
    "simple": Try(environment=(("CLAUDE_CODE_SIMPLE", "1"),)),
    "safe": Try(environment=(("CLAUDE_CODE_SAFE_MODE", "1"),)),
    "others-hooks": Try(before=_managed({"allowManagedHooksOnly": True})),
    "others-rules": Try(
        before=_managed({"allowManagedHooksOnly": True, "allowManagedPermissionRulesOnly": True})
    ),
    "sources": Try(arguments=("--setting-sources", "", *_ANY_TOOL)),
    "config-dir": Try(environment=(("CLAUDE_CONFIG_DIR", "{place}/elsewhere"),)),
    "restricted": Try(arguments=("--restricted", *_ANY_TOOL)),
    "invalid": Try(before=lambda bench: bench.add(bench.settings, {"cleanupPeriodDays": "x"})),
    "emptied": Try(),
}


@pytest.fixture(params=SCOPES)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Install into one scope."""
    place = Path(tempfile.mkdtemp(prefix="agp-", dir="/tmp"))
    place.chmod(0o755)
    made = Bench(Plain(place), request.param, place / "agp-bridge")
    (made.plain.repo / "README.md").write_text(_SECRET)
    shutil.copy(ROOT / "hooks" / "agp-bridge", made.bridge)
    made.bridge.chmod(0o644)
    made.plain.trust()
    hooks = HookPlace(
        interpreter="/usr/bin/python3",
        bridge=str(made.bridge),
        socket=str(place / "ask.sock"),
        reconnect_s=1,
    )
    managed = made.scope == "managed"
    document = managed_document(hooks) if managed else install({}, hooks).document
    made.plain.write(made.settings, document)
    yield made
    shutil.rmtree(place)


def _calls(bench: Bench, case: str) -> tuple[Call, ...]:
    """Give one call that AGP allows, and two that it denies."""
    granted = f"touch {ALLOWED}"
    if case == "emptied":
        # Where the harness reads it: root's and not writable, as an ordinary user meets it.
        place = MANAGED_SETTINGS if bench.scope == "managed" else bench.settings
        granted = f"printf '{{}}' > {place}; touch {ALLOWED}; sleep 1"
    return (
        call("Bash", command=granted, description="x"),
        call("Bash", command="touch refused", description="x"),
        call("Read", file_path=str(bench.plain.repo / "README.md")),
    )


def tried(bench: Bench, case: str) -> Holds:
    """Run one case and say in the table's words what came of it."""
    attempt, plain = TRIED[case], bench.plain
    attempt.before(bench)
    socket = plain.place / ("nobody.sock" if attempt.no_daemon else "ask.sock")
    environment = {k: v.format(place=plain.place) for k, v in attempt.environment}
    with answers(socket) as standing, serve(say(*_calls(bench, case), "all done")) as model:
        standing.silent = attempt.silent
        done = plain.run(model.url, *_STREAM, *attempt.arguments, env=environment)
        heard = json.dumps([request.body for request in model.requests])
    blocked = "UserPromptSubmit operation blocked by hook" in done.stdout
    assert blocked or "all done" in done.stdout, done.stdout + done.stderr
    assert not blocked or case in {"no-daemon", "bridge-gone"}, "only the two gates are tried here"
    if (plain.repo / "refused").exists() or _SECRET in heard:
        return Holds.UNGOVERNED
    if (plain.repo / ALLOWED).exists():
        return Holds.GOVERNED
    return Holds.ASKS if _NOBODY_ANSWERED in done.stdout else Holds.NOTHING


def test_no_case_is_missing() -> None:
    """Whoever adds a line to the table adds its trial, or this fails."""
    assert {case.id for case in CASES} == set(TRIED)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_cell_says_what_the_real_harness_does(bench: Bench, case: object) -> None:
    """Each cell: governed, nothing runs, or UNGOVERNED."""
    wanted = next(one for one in CASES if one == case)

    assert tried(bench, wanted.id) is wanted.of(bench.scope)
