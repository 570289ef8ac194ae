"""The real harness with a broken bridge, and with a daemon that dies: nothing ungranted runs.

The bridge is replaced in a copy of the source tree, which `agp run` then runs from: what is
launched, bound and hashed is what a damaged installation would have. Its canary refuses it before
anything starts. Behind that stands what the run itself holds: the other tests give the home a
forged proof of exactly the damaged launch, as if the canary had been blind.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agp.intendants.claude_code.settings import BRIDGE_PATH, SETTINGS_PATH
from tests.fakes.agp_house import ROOT, House, house
from tests.fakes.model_server import Call, ModelServer, call, say
from tests.fakes.proofs import forge_proof, planned_file

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

PRE = '{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow"}}'
GRANT = (
    '{"hookSpecificOutput":{"hookEventName":"PermissionRequest","decision":{"behavior":"allow"}}}'
)
EVENT = "import os, re, signal, sys, time\nevent = sys.argv[2]\n"
REAL = (ROOT / "hooks/agp-bridge").read_text()
BY_CALL = """
said = b""
while chunk := os.read(0, 65536):
    said += chunk
number = re.search(rb"fault-([0-9]+)", said)[1].decode()
open(REPO + "/played-" + number, "w").close()
exec(FAULTS[int(number)])
"""
"""One bridge with many faults: the call names its own, and a file shows that it was played."""


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
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, made.place / "tree" / name, ignore=ignore)
        made.env["PYTHONPATH"] = str(made.place / "tree")
        yield made


def put_bridge(made: House, code: str, *events: str) -> bytes:
    """Install a bridge that fails for some events and is AGP's own for the others; give it."""
    faulty = f"if event in {events!r}:\n    exec({code!r})\n"
    text = f"{EVENT}{faulty}{REAL}"
    (made.place / "tree/hooks/agp-bridge").write_text(text)
    return text.encode()


def put_faults(made: House, faults: tuple[Fault, ...], *events: str) -> None:
    """Install a bridge with all these faults, and forge its proof."""
    codes = [fault.code for fault in faults]
    played = f"REPO = {str(made.repo)!r}\nFAULTS = {codes!r}\n{BY_CALL}"
    forge_proof(made.home, made.repo, {BRIDGE_PATH: put_bridge(made, played, *events)})


def steps(made: House, number: int = 0) -> tuple[Call, Call]:
    """Give one call that asks, and one that a rule allows."""
    written = str(made.repo / f"written-fault-{number}.txt")
    return (
        call("Bash", command=f"echo ran > ran-{number}.txt; true", description=f"fault-{number}"),
        call("Write", file_path=written, content="x"),
    )


def ran(made: House) -> list[str]:
    """Name what calls left behind, and every line that says that one was let through."""
    files = (path.name for path in made.repo.iterdir())
    lines = made.kinds("ticket.redeemed", "execution.started", "execution.finished")
    return sorted(name for name in files if name.startswith(("ran-", "written-"))) + lines


def played(made: House) -> set[str]:
    return {path.name for path in made.repo.glob("played-*")}


def refusals(model: ModelServer | None) -> int:
    """Count the calls of which the model heard that they failed."""
    assert model is not None
    messages = model.turns_asked[-1].body["messages"]
    contents = [m["content"] for m in messages if isinstance(m["content"], list)]
    return sum(bool(block.get("is_error")) for content in contents for block in content)


REFUSED = (
    (PRE, "PreToolUse", "AGP's hook was not asked about Bash (granted-bash)"),
    (GRANT[:60], "PermissionRequest", "Bash (granted-bash) did not run although AGP granted it"),
)
"""What a bridge says in the place of AGP, for which event, and how the canary puts it."""


@pytest.mark.parametrize(("says", "event", "sentence"), REFUSED, ids=["decides", "grants"])
def test_a_damaged_bridge_is_refused_by_the_canary_and_nothing_starts(
    damaged: House, says: str, event: str, sentence: str
) -> None:
    """Also in a home that holds the proof of the undamaged bridge: it is of another launch."""
    put_bridge(damaged, f"os.write(1, {says!r}.encode()); os._exit(0)", event)
    run = damaged.claude(say(*steps(damaged), "done"))
    said = run.end(code=10)
    assert "did not pass its canary, so it was not started" in said["what"]
    assert said["why"].startswith(sentence)
    assert run.model is not None
    assert run.model.requests == []
    assert ran(damaged) == []
    assert "sandbox.started" not in damaged.kinds()


def test_a_bridge_that_does_not_decide_lets_nothing_run(damaged: House) -> None:
    """Every reading that is not a grant of both hooks is a refusal, whatever was proved."""
    put_faults(damaged, DECIDING, "PreToolUse")
    calls = [step for number in range(len(DECIDING)) for step in steps(damaged, number)]
    run = damaged.claude(say(*calls, "done"))
    run.end()
    assert ran(damaged) == []
    assert played(damaged) == {f"played-{number}" for number in range(len(DECIDING))}
    assert refusals(run.model) == len(calls)
    assert damaged.kinds("canary.finished", "call.decided", "coverage.violated") == []


def test_a_bridge_that_does_not_redeem_lets_nothing_run(damaged: House) -> None:
    """What a rule allowed and a person granted does not run where nobody redeems it."""
    put_faults(damaged, GRANTING, "PermissionRequest")
    calls = [step for number in range(len(GRANTING)) for step in steps(damaged, number)]
    run = damaged.claude(say(*calls, "done"))
    for number in range(len(GRANTING)):
        run.answer("approve", f"ran-{number}.txt")
    run.end()
    assert ran(damaged) == []
    assert played(damaged) == {f"played-{number}" for number in range(len(GRANTING))}
    assert refusals(run.model) == len(calls)
    assert len(damaged.kinds("ticket.expired")) == len(calls), "what nobody used is taken back"
    assert damaged.kinds("canary.finished") == []


def test_the_undamaged_copy_runs_what_is_granted(damaged: House) -> None:
    """The control: the same tree, the same calls, AGP's own bridge."""
    run = damaged.claude(say(*steps(damaged), "done"))
    run.answer("approve", "ran-0.txt")
    run.end()
    assert (damaged.repo / "ran-0.txt").read_text() == "ran\n"
    assert (damaged.repo / "written-fault-0.txt").exists()
    assert damaged.kinds("canary.finished") == []


def test_a_bridge_that_hangs_beyond_the_hook_s_timeout_lets_nothing_run(damaged: House) -> None:
    """The real timeout is a day; the copy's is 2 s, so that the harness itself gives up."""
    source = damaged.place / "tree/agp/intendants/claude_code/settings.py"
    text = source.read_text()
    assert "86_400" in text
    source.write_text(text.replace("86_400", "2"))
    settings = planned_file(damaged.home, damaged.repo, SETTINGS_PATH).replace(b"86400", b"2")
    hang = """
if event == "PreToolUse":
    said = os.read(0, 65536)
    held = b"fault-1" in said
    reading, writing = os.pipe()
    os.write(writing, said)
    os.close(writing)
    os.dup2(reading, 0)
if event == "PermissionRequest" or held:
    open(REPO + "/played-" + event, "w").close()
    time.sleep(120)
"""
    code = f"REPO = {str(damaged.repo)!r}\n{hang}"
    bridge = put_bridge(damaged, code, "PreToolUse", "PermissionRequest")
    forge_proof(damaged.home, damaged.repo, {BRIDGE_PATH: bridge, SETTINGS_PATH: settings})
    run = damaged.claude(say(steps(damaged, 0)[1], steps(damaged, 1)[1], "done"))
    run.end()
    assert ran(damaged) == []
    assert played(damaged) == {"played-PreToolUse", "played-PermissionRequest"}
    assert refusals(run.model) == 2
    assert damaged.kinds("canary.finished") == []


def test_a_bridge_that_forges_both_answers_is_found_out_afterwards(damaged: House) -> None:
    """That bridge would be AGP's own, and no view can write it: what is left is to notice.

    A shell command does not run even so: it runs only where AGP itself starts it.
    """
    says = f"{{'PreToolUse': {PRE!r}, 'PermissionRequest': {GRANT!r}}}[event]"
    forged = put_bridge(
        damaged, f"os.write(1, {says}.encode()); os._exit(0)", "PreToolUse", "PermissionRequest"
    )
    forge_proof(damaged.home, damaged.repo, {BRIDGE_PATH: forged})
    summary = damaged.claude(say(*steps(damaged), "done")).end(code=11)
    assert summary["outcome"] == "ungoverned"
    assert ran(damaged) == ["written-fault-0.txt"]
    assert {v["what"] for v in damaged.payloads("coverage.violated")} == {
        "executed_without_decision"
    }


def test_hooks_that_never_show_themselves_keep_the_model_away(damaged: House) -> None:
    damaged.configure(hooks_deadline_s=5)
    bridge = put_bridge(damaged, "os._exit(1)", "SessionStart")
    forge_proof(damaged.home, damaged.repo, {BRIDGE_PATH: bridge})
    run = damaged.claude(say(*steps(damaged), "done"))
    run.end(code=11)
    assert run.model is not None
    assert run.model.requests == []
    assert ran(damaged) == []


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
    assert "go on: agp run --repo" in run.said
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
