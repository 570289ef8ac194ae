"""A person installs the hooks, starts the daemon and then Claude Code, and takes it all out again.

Nothing of AGP launches the harness: it is started plainly, with the person's own home.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agp_house import DEADLINE_S, NATIVE, House, house
from tests.fakes.daemon_wire import start_daemon
from tests.fakes.model_server import Call, ModelServer, call, say, serve

pytestmark = pytest.mark.real_harness
THEIRS = (
    '{"model":"opus",\n   "permissions":{"allow":["Bash(ls:*)"], "ask": []},"hooks":{"Stop":[]}}'
)


@pytest.fixture
def person() -> Iterator[House]:
    """A home of AGP, a repository, and a person's own settings in a spelling of their own."""
    with house() as made:
        made.policy("id: t-asked, match: {effect: write, path: asked}, verdict: require")
        settings(made).parent.mkdir()
        settings(made).write_text(THEIRS)
        settings(made).chmod(0o640)
        yield made


def settings(made: House) -> Path:
    return made.place / ".claude" / "settings.json"


def hooks(made: House, *words: str, code: int = 0) -> dict[str, Any]:
    done = made.agp("hooks", *words, "--json")
    assert done.returncode == code, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@contextmanager
def claude(
    made: House, *calls: Call, before: tuple[str, ...] = (), flags: tuple[str, ...] = ()
) -> Iterator[tuple[subprocess.Popen[str], ModelServer]]:
    """Start `claude -p` as a person does, in the repository."""
    assert NATIVE.exists(), "scripts/fetch-harness installs the pinned harness"
    environment = {
        **{name: made.env[name] for name in ("PATH", "HOME", "LANG", "ANTHROPIC_API_KEY")},
        "DISABLE_TELEMETRY": "1",
        "DISABLE_AUTOUPDATER": "1",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    with (
        serve(say(*calls, "all done")) as model,
        subprocess.Popen(
            [*before, str(NATIVE), "-p", *flags, "--", "do it"],
            env=environment | {"ANTHROPIC_BASE_URL": model.url},
            cwd=made.repo,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        yield process, model
        process.kill()


def told(model: ModelServer) -> str:
    """Give everything that the model was told."""
    return json.dumps([request.body for request in model.requests])


def approve_next(made: House, process: subprocess.Popen[str]) -> str:
    """Approve the next question from another terminal."""
    for _ in range(int(DEADLINE_S / 0.05)):
        if waiting := made.inbox():
            name = str(waiting[0]["approval_id"])
            done = made.agp("approve", name)
            assert done.returncode == 0, done.stderr
            return name
        with_end = process.poll()
        assert with_end is None, process.communicate()
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("no question came")


def test_install_govern_and_uninstall_with_the_real_harness(person: House) -> None:
    """Allowed runs, denied is told, asked waits and runs once; then the settings are as before."""
    readme, asked = str(person.repo / "README.md"), str(person.repo / "asked")
    assert hooks(person, "install", "--yes")["changed"]
    assert not hooks(person, "install", "--yes")["changed"]
    start_daemon(person)
    calls = (
        call("Read", file_path=readme),
        call("Bash", command="sudo id", description="x"),
        call("Write", file_path=asked, content="once"),
    )
    with claude(person, *calls) as (process, model):
        approve_next(person, process)
        out, err = process.communicate(timeout=DEADLINE_S)
        heard = told(model)

    assert "all done" in out, err
    assert "hello" in heard
    assert "AGP denied this call (rule privilege)" in heard
    assert (person.repo / "asked").read_text() == "once"
    person.await_event("session.ended")
    started = person.payloads("session.started")[0]
    assert (started["attached"], started["grade"], started["intendant_version"]) == (
        True,
        "advisory",
        "2.1.329",
    )
    decided = [(p["tool"], p["decision"]) for p in person.payloads("call.decided")]
    assert decided == [("Read", "allow"), ("Bash", "deny"), ("Write", "require")]
    assert len(person.payloads("ticket.redeemed")) == 2
    assert person.payloads("session.ended")[0]["outcome"] == "finished"

    assert person.agp("daemon", "stop").returncode == 0
    person.configure(reconnect_s=1)
    assert hooks(person, "install", "--yes")["changed"], "the bridge's clock is part of the hook"
    with claude(person, call("Read", file_path=readme)) as (process, model):
        out, err = process.communicate(timeout=DEADLINE_S)
        heard = told(model)
    assert "agp daemon start" in out + err
    assert "hello" not in heard

    assert hooks(person, "uninstall", "--yes")["changed"]
    assert settings(person).read_text() == THEIRS
    assert settings(person).stat().st_mode & 0o777 == 0o640
    assert [path.name for path in settings(person).parent.glob("settings*")] == ["settings.json"]
    assert not person.home.hooks.exists()
    assert not hooks(person, "uninstall", "--yes")["changed"]


def test_status_proves_what_is_installed_and_names_what_is_not_as_it_shall_be(
    person: House,
) -> None:
    """The canary runs the real harness on a copy; an edited entry and a lost bridge are named."""
    hooks(person, "install", "--yes")

    good = hooks(person, "status")
    document = json.loads(settings(person).read_text())
    document["permissions"]["denyInsteadOfPrompting"] = False
    document["hooks"]["PreToolUse"][0]["hooks"][0]["timeout"] = 5
    settings(person).write_text(json.dumps(document))
    (person.home.hooks / "agp-bridge").write_text("raise SystemExit(0)")
    bad = hooks(person, "status", code=3)

    user = good["scopes"][0]
    assert (user["installed"], user["canary"], user["problems"]) == (True, "passed", [])
    assert good["daemon"] is False
    named = " ".join(bad["scopes"][0]["problems"])
    assert "permissions.denyInsteadOfPrompting is false, not true" in named
    assert "hooks.PreToolUse was edited" in named
    assert "agp-bridge" in named
    assert bad["scopes"][0]["canary"] == "failed"
    assert hooks(person, "install", "--yes")["changed"]
    assert hooks(person, "status")["scopes"][0]["canary"] == "passed"


def test_the_project_scope_is_this_machine_s_own_file(person: House) -> None:
    """settings.local.json, made and removed with its directory."""
    if (person.repo / ".claude").exists():
        raise AssertionError("the repository must begin without one")
    said = hooks(person, "install", "--scope", "project", "--repo", str(person.repo), "--yes")
    assert said["settings"] == str(person.repo / ".claude" / "settings.local.json")
    status = hooks(person, "status", "--repo", str(person.repo))
    assert [one["canary"] for one in status["scopes"]] == ["not tried", "passed", "not tried"]

    hooks(person, "uninstall", "--scope", "project", "--repo", str(person.repo), "--yes")

    assert not (person.repo / ".claude").exists()


def test_the_managed_scope_holds_against_flags_a_hostile_repository_and_hostile_settings(
    person: House,
) -> None:
    """Root installs one drop-in; nothing that a person or a repository says takes it away."""
    etc, ours = person.place / "etc-claude", person.place / "etc-agp"
    off = {"disableAllHooks": True, "env": {"CLAUDE_CODE_SIMPLE": "1"}}
    (person.repo / ".claude").mkdir()
    for path in (settings(person), person.repo / ".claude" / "settings.json"):
        path.write_text(json.dumps(off))
    for path in (etc, ours):
        path.mkdir()
    as_root = () if os.geteuid() == 0 else ("--unshare-user", "--uid", "0", "--gid", "0")
    agp = (sys.executable, "-m", "agp", "hooks")

    def root(*words: str) -> str:
        done = subprocess.run(
            [*machine(etc, ours, *as_root), *agp, *words, "--scope", "managed", "--yes"],
            env=person.env,
            cwd=person.place,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    root("install")
    assert (etc / "managed-settings.d" / "agp.json").stat().st_mode & 0o777 == 0o644
    assert "Nothing to change" in root("install")
    start_daemon(person)
    readme = str(person.repo / "README.md")
    calls = (call("Read", file_path=readme), call("Bash", command="sudo id", description="x"))
    flags = ("--bare", "--setting-sources", "", "--allowedTools", "Bash")
    with claude(person, *calls, before=machine(etc, ours), flags=flags) as (process, model):
        out, err = process.communicate(timeout=DEADLINE_S)
        heard = told(model)

    assert "all done" in out, err
    assert "hello" in heard
    assert "AGP denied this call (rule privilege)" in heard
    assert person.payloads("session.started")[0]["attached"] is True
    root("uninstall")
    assert [*etc.iterdir(), *ours.iterdir()] == []


def machine(etc: Path, ours: Path, *more: str) -> tuple[str, ...]:
    """Give what follows an `/etc` with its own `claude-code` and `agp`."""
    words = ["bwrap", *more, "--die-with-parent", "--dev-bind", "/", "/", "--tmpfs", "/etc"]
    for entry in sorted(Path("/etc").iterdir()):
        if entry.name not in {"claude-code", "agp"}:
            words += ["--ro-bind-try", str(entry), str(entry)]
    return (*words, "--bind", str(etc), "/etc/claude-code", "--bind", str(ours), "/etc/agp", "--")
