"""The real Claude Code at its own screen, governed; the screen is tmux's, looked at.

What is claimed is read off the screen, the workspace's files and the verified journal.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.agp_house import House, house
from tests.fakes.model_server import call, say, serve
from tests.fakes.person import ASKS, READY, Tmux, tmux, words

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]


@pytest.fixture
def home() -> Iterator[House]:
    with house({"secret.txt": "TOPSECRET\n", "plain.txt": "PLAINTEXT\n"}) as made:
        yield made


def start(person: Tmux, url: str, *more: str) -> None:
    person.start(words(person.house, url, *more))
    person.sees("Its tool calls are governed", "or at any key.")
    person.type("x")  # it opens the screen, and is not typed there
    assert "> x" not in person.sees(READY)


def harness_pids(made: House) -> list[int]:
    """Name the harness itself: it leads the session of its terminal."""
    found = []
    for pid in made.view_processes():
        try:
            ours = Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/opt/agp/claude\0")
            if ours and os.getsid(pid) == pid:
                found.append(pid)
        except OSError:
            continue
    return found


def test_a_question_covers_the_screen_and_leaves_it_as_it_was(home: House) -> None:
    """Put aside and back, resized meanwhile, answered by its word; the call runs exactly once."""
    home.policy('id: naps, match: {effect: exec, argv: "sleep <int>"}, verdict: allow')
    helper = call(
        "Task", description="helper", prompt="HELPER, go", subagent_type="general-purpose"
    )
    turns = say(
        call("Bash", command="echo once >> made.txt; true", description="make it"),
        "first is done",
        helper,
        "somebody helps",
        call("Bash", command="echo twice >> made.txt; true", description="make it again"),
        "second is over",
    )
    # The helper thinks first, so that its question finds the harness's screen standing still.
    helps = say(
        call("Bash", command="sleep 6", description="think"),
        call("Bash", command="echo helped > helped.txt; true"),
        "I helped",
        match="HELPER",
    )
    with serve(helps, turns) as model, tmux(home) as person:
        start(person, model.url, "--task", "do the first thing", "--interactive")
        seen = person.sees(ASKS, "echo once >> made.txt; true", "Ctrl-Z: aside and back")
        assert "the agent says: make it" in seen
        assert not (home.repo / "made.txt").exists(), "it waits, so it has not run"

        person.put_aside("C-z")
        behind = person.sees("do the first thing", "running PreToolUse hook", gone=ASKS)
        assert "Do you want" not in behind, "no dialog of the harness"
        person.resize(90, 28)
        person.type("", "C-z")
        person.sees(ASKS)
        person.answer("allow")
        person.sees("first is done")
        assert (home.repo / "made.txt").read_text() == "once\n"

        person.type("get help", "Enter")
        person.sees("somebody helps")
        person.type("half a thought")
        person.sees("half a thought")
        before = person.still()
        person.sees(ASKS, "echo helped > helped.txt; true", "agent a")
        person.type("typed too early")
        person.put_aside("C-c")
        assert person.still() == before, "to the character and the cursor"
        person.type("", "C-z")
        person.answer("deny")

        person.type("", *["BSpace"] * len("half a thought"))
        person.type("do the second thing", "Enter")
        person.answer("deny not like this")
        person.sees("second is over")
        person.type("/exit", "Enter")
        assert person.ends() == 0
        assert person.modes_are_back()
        assert "governed and finished" in person.screen()
    assert (home.repo / "made.txt").read_text() == "once\n"
    assert not (home.repo / "helped.txt").exists()
    assert home.payloads("approval.denied")[-1]["reason"] == "not like this"
    assert "not like this" in str(model.turns_asked[-1].body)
    assert home.payloads("session.started")[0]["interactive"] is True
    assert home.kinds("coverage.violated") == []


def test_what_no_hook_decides_is_blocked_or_named(home: House) -> None:
    """A mention of a denied file, a switched mode, /clear, a typed secret in a !command."""
    home.policy(
        "id: no-secret, match: {effect: read, path: secret.txt}, verdict: deny, reason: No."
    )
    turns = say(
        call("Read", file_path=str(home.repo / "secret.txt")), "read was refused", "as you like"
    )
    with serve(turns) as model, tmux(home) as person:
        start(person, model.url)
        person.type("look at @secret.txt please", "Enter")
        person.sees("blocked by hook", "no-secret", "No.")
        assert model.turns_asked == [], "nothing of it reached the model"
        person.type("", "C-u")
        person.type("look at @plain.txt please", "Enter")
        person.sees("read was refused")
        person.type("", "BTab")
        person.type("", "BTab")
        person.type("!echo key is sk-ant-dummy-no", "Enter")
        person.sees("key is sk-ant-dummy-no")
        person.type("/clear", "Enter")
        person.until(lambda now: "key is" not in now, "a cleared screen")
        person.type("go on", "Enter")
        person.sees("read was refused")
        person.type("/exit", "Enter")
        assert person.ends() == 0
    seen = [(o["what"], o["detail"]) for o in home.payloads("harness.observed")]
    assert ("file_mention", f"{home.repo}/secret.txt: deny (rule no-secret)") in seen
    assert ("file_mention", f"{home.repo}/plain.txt: allow (rule read-workspace)") in seen
    (shell,) = [detail for what, detail in seen if what == "shell_escape"]
    assert str(shell).startswith("!echo key is")
    assert "sk-ant-dummy" not in str(shell), "redacted"
    assert any(what == "mode_changed" and "from default" in str(detail) for what, detail in seen)
    assert "TOPSECRET" not in str([r.body for r in model.requests])
    assert "PLAINTEXT" not in str([r.body for r in model.requests]), "a mention is only a name"
    assert "look at @plain.txt" in str([r.body for r in model.requests])
    decided = home.payloads("call.decided")
    (typed,) = [c for c in decided if c["tool_use_id"].startswith("typed-")]
    assert "sk-ant-dummy" not in str(typed), "redacted"
    settings = [c for c in decided if c is not typed]
    assert [c["decision"] for c in settings] == ["deny", "deny"]
    assert settings[0]["rule_id"] == "no-secret"
    assert home.kinds("coverage.violated") == []


def test_a_harness_that_dies_gives_the_terminal_back(home: House) -> None:
    with serve(say("hello")) as model, tmux(home) as person:
        start(person, model.url)
        (pid,) = harness_pids(home)
        os.kill(pid, signal.SIGKILL)
        assert person.ends() != 0
        assert person.modes_are_back()
        assert "the agent itself failed" in person.screen()
    assert home.view_processes() == []


def test_a_launcher_that_is_told_to_end_gives_the_terminal_back(home: House) -> None:
    with serve(say("hello")) as model, tmux(home) as person:
        start(person, model.url)
        os.kill(launcher_pid(home), signal.SIGTERM)
        assert person.ends() == 14
        assert person.modes_are_back()
        assert "told to end (SIGTERM)" in person.screen()
    assert home.view_processes() == []


def test_a_launcher_that_is_killed_leaves_nothing_alive(home: House) -> None:
    (home.repo / ".envrc").unlink(missing_ok=True)
    with serve(say("hello")) as model, tmux(home) as person:
        home.configure(reattach_grace_s=1)
        start(person, model.url)
        os.kill(launcher_pid(home), signal.SIGKILL)
        home.await_no_view()
        home.await_event("session.reaped")
    assert sorted(p.name for p in home.repo.iterdir()) == [
        ".git", "README.md", "plain.txt", "secret.txt"
    ]  # fmt: skip


def launcher_pid(made: House) -> int:
    """Name the one `agp run` of this house."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"agp\0run\0" in line and str(made.repo).encode() in line:
                found.append(int(entry.name))
    (pid,) = found
    return pid
