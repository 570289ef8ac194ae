"""The real harness with a broken bridge, and with a daemon that dies: nothing ungranted runs.

The bridge is replaced in a copy of the source tree, which `agp run` then runs from: what is
launched, bound and hashed is what a damaged installation would have.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.fakes.agp_house import ROOT, House, house
from tests.fakes.model_server import Call, call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

PRE = '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow"}}'
GRANT = (
    '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"}}}'
)
EVENT = "import os, signal, sys, time\nevent = sys.argv[2]\n"
REAL = (ROOT / "hooks/agp-bridge").read_text()


@dataclass(frozen=True)
class Fault:
    """What the bridge does for the two hooks that decide; for every other event it works."""

    name: str
    code: str


DECIDING = (
    Fault("it crashes", "raise RuntimeError('crash')"),
    Fault("it exits with 1", "os._exit(1)"),
    Fault("it is killed", "os.kill(os.getpid(), signal.SIGKILL)"),
    Fault("it says nothing and succeeds", "os._exit(0)"),
    Fault("it says half of an answer", f"os.write(1, {PRE[:40]!r}.encode()); os._exit(0)"),
    Fault(
        "it writes a log line beside the answer",
        f"os.write(1, b'starting\\n' + {PRE!r}.encode()); os._exit(0)",
    ),
    Fault("it allows what it should decide", f"os.write(1, {PRE!r}.encode()); os._exit(0)"),
    Fault("it is no Python", "this is not a program"),
)
"""In PreToolUse only: the grant hook is AGP's own and has no ticket to give."""

GRANTING = (
    Fault("it crashes", "raise RuntimeError('crash')"),
    Fault("it is killed", "os.kill(os.getpid(), signal.SIGKILL)"),
    Fault("it says nothing and succeeds", "os._exit(0)"),
    Fault("it says half of an answer", f"os.write(1, {GRANT[:60]!r}.encode()); os._exit(0)"),
    Fault(
        "it writes a log line beside the answer",
        f"os.write(1, b'starting\\n' + {GRANT!r}.encode()); os._exit(0)",
    ),
)
"""In PermissionRequest only: the decision was made, the ticket lies there."""


@pytest.fixture
def damaged() -> Iterator[House]:
    """Give a house whose `agp` is a copy of this tree, to be damaged."""
    with house() as made:
        for name in ("agp", "hooks", "policies"):
            shutil.copytree(ROOT / name, made.place / "tree" / name)
        made.env["PYTHONPATH"] = str(made.place / "tree")
        yield made


def put_bridge(made: House, code: str, *events: str) -> None:
    """Install a bridge that fails for some events and is AGP's own for the others."""
    faulty = f"if event in {events!r}:\n    exec({code!r})\n"
    (made.place / "tree/hooks/agp-bridge").write_text(f"{EVENT}{faulty}{REAL}")


def steps(made: House) -> tuple[Call, Call]:
    """Give one call that asks, and one that a rule allows."""
    return (
        call("Bash", command="echo ran > ran.txt; true", description="a step"),
        call("Write", file_path=str(made.repo / "written.txt"), content="x"),
    )


def nothing_ran(made: House) -> bool:
    files = {path.name for path in made.repo.iterdir()}
    ran = made.kinds("ticket.redeemed", "execution.started", "execution.finished")
    return files.isdisjoint({"ran.txt", "written.txt"}) and ran == []


@pytest.mark.parametrize("fault", DECIDING, ids=lambda fault: fault.name)
def test_a_bridge_that_does_not_decide_lets_nothing_run(damaged: House, fault: Fault) -> None:
    """Every reading that is not a grant of both hooks is a refusal."""
    put_bridge(damaged, fault.code, "PreToolUse")
    damaged.claude(say(*steps(damaged), "done")).end()
    assert nothing_ran(damaged)
    assert damaged.kinds("call.decided", "coverage.violated") == []


@pytest.mark.parametrize("fault", GRANTING, ids=lambda fault: fault.name)
def test_a_bridge_that_does_not_redeem_lets_nothing_run(damaged: House, fault: Fault) -> None:
    """What a rule allowed and a person granted does not run where nobody redeems it."""
    put_bridge(damaged, fault.code, "PermissionRequest")
    run = damaged.claude(say(*steps(damaged), "done"))
    run.answer("approve", "ran.txt")
    run.end()
    assert nothing_ran(damaged)
    assert len(damaged.kinds("ticket.expired")) == 2, "what nobody used is taken back"


def test_the_undamaged_copy_runs_what_is_granted(damaged: House) -> None:
    """The control: the same tree, the same calls, AGP's own bridge."""
    run = damaged.claude(say(*steps(damaged), "done"))
    run.answer("approve", "ran.txt")
    run.end()
    assert (damaged.repo / "ran.txt").read_text() == "ran\n"
    assert (damaged.repo / "written.txt").exists()


@pytest.mark.parametrize("event", ["PreToolUse", "PermissionRequest"])
def test_a_bridge_that_hangs_beyond_the_hook_s_timeout_lets_nothing_run(
    damaged: House, event: str
) -> None:
    """The real timeout is a day; the copy's is 2 s, so that the harness itself gives up."""
    settings = damaged.place / "tree/agp/intendants/claude_code/settings.py"
    text = settings.read_text()
    assert "86_400" in text
    settings.write_text(text.replace("86_400", "2"))
    put_bridge(damaged, "import time; time.sleep(120)", event)
    damaged.claude(say(steps(damaged)[1], "done")).end()
    assert nothing_ran(damaged)


def test_a_bridge_that_forges_both_answers_is_found_out_afterwards(damaged: House) -> None:
    """That bridge would be AGP's own, and no view can write it: what is left is to notice."""
    put_bridge(damaged, f"os.write(1, {PRE!r}.encode()); os._exit(0)", "PreToolUse")
    path = damaged.place / "tree/hooks/agp-bridge"
    forged = f"if event == 'PermissionRequest':\n    os.write(1, {GRANT!r}.encode()); os._exit(0)\n"
    path.write_text(path.read_text().replace(EVENT, EVENT + forged))
    summary = damaged.claude(say(steps(damaged)[0], "done")).end(code=11)
    assert summary["outcome"] == "ungoverned"
    assert (damaged.repo / "ran.txt").exists()
    assert {v["what"] for v in damaged.payloads("coverage.violated")} == {
        "executed_without_decision"
    }


def test_hooks_that_never_show_themselves_keep_the_model_away(damaged: House) -> None:
    damaged.configure(hooks_deadline_s=5)
    put_bridge(damaged, "os._exit(1)", "SessionStart")
    run = damaged.claude(say(*steps(damaged), "done"))
    run.end(code=11)
    assert run.model is not None
    assert run.model.requests == []
    assert nothing_ran(damaged)


def test_a_missing_bridge_refuses_the_run_before_anything_starts(damaged: House) -> None:
    (damaged.place / "tree/hooks/agp-bridge").unlink()
    run = damaged.claude(say(*steps(damaged), "done"))
    run.end(code=3)
    assert run.model is not None
    assert run.model.requests == []
    assert not damaged.home.journal.exists() or list(damaged.home.journal.glob("*.jsonl")) == []


# -------------------------------------------------------------------------------- the daemon dies


@pytest.fixture
def home() -> Iterator[House]:
    with house() as made:
        yield made


def test_a_question_survives_kill_9_of_the_daemon_and_its_call_runs_once(home: House) -> None:
    """The bridge waits, the restarted daemon takes it up, one answer releases one call."""
    run = home.claude(
        say(
            call("Read", file_path=str(home.repo / "README.md")),
            call("Bash", command="echo ran >> ran.txt; true"),
            call("Read", file_path=str(home.repo / "README.md")),
            "done",
        )
    )
    asked = run.question("ran.txt")
    home.kill_daemon()
    assert home.agp("daemon", "start").returncode == 0
    assert run.question("ran.txt")["approval_id"] == asked["approval_id"]
    assert run.answer("approve", "ran.txt") == asked["approval_id"]
    summary = run.end()

    assert summary["outcome"] == "finished", "the call before the break is not held against it"
    assert (home.repo / "ran.txt").read_text() == "ran\n"
    assert home.kinds("approval.requested", "approval.granted", "ticket.issued") == [
        "approval.requested",
        "approval.granted",
        "ticket.issued",
    ]
    (ended,) = home.payloads("session.ended")
    assert (ended["calls"], ended["allowed"], ended["asked"]) == (3, 2, 1)


def test_an_answer_while_no_daemon_lives_is_refused_and_counts_for_nothing(home: House) -> None:
    run = home.claude(say(call("Bash", command="echo ran >> ran.txt; true"), "done"))
    asked = run.question("ran.txt")
    home.kill_daemon()
    assert home.agp("approve", asked["approval_id"]).returncode == 50
    assert home.agp("daemon", "start").returncode == 0
    run.answer("deny", "ran.txt")
    run.end()
    assert not (home.repo / "ran.txt").exists()


def test_a_daemon_that_is_gone_for_good_ends_the_run_with_a_code_of_its_own(home: House) -> None:
    """Nothing runs, nothing of the view survives, and the mount points are removed all the same."""
    home.configure(reconnect_s=1, reattach_grace_s=2)
    run = home.claude(say(call("Bash", command="echo ran >> ran.txt; true"), "done"))
    run.question("ran.txt")
    home.kill_daemon()
    said = run.end(code=50)
    assert "daemon was away" in said["what"]
    assert sorted(p.name for p in home.repo.iterdir()) == [".git", "README.md"]
    home.await_no_view()
    assert "ticket.redeemed" not in home.kinds()


def test_a_stopped_daemon_is_taken_up_again_as_a_killed_one_is(home: House) -> None:
    run = home.claude(say(call("Bash", command="echo ran >> ran.txt; true"), "done"))
    asked = run.question("ran.txt")
    assert home.agp("daemon", "stop").returncode == 0
    assert home.agp("daemon", "start").returncode == 0
    assert run.answer("approve", "ran.txt") == asked["approval_id"]
    run.end()
    assert (home.repo / "ran.txt").read_text() == "ran\n"
