"""The real Claude Code under the real daemon: allowed, granted, refused, denied; proved on disk.

Every claim is read off three things: the files of the workspace, the exit code of `agp run`, and
the journal, verified with the public key alone.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from agp.contracts.journal import Line
from tests.fakes.agp_house import House, house
from tests.fakes.model_server import Call, Turn, call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

PLAIN = ["call.decided", "ticket.redeemed", "execution.finished"]
GRANTED = [
    "call.decided",
    "approval.requested",
    "approval.granted",
    "ticket.issued",
    "ticket.redeemed",
    "execution.finished",
]


@pytest.fixture
def home() -> Iterator[House]:
    with house() as made:
        yield made


def of_calls(events: list[Line]) -> list[str]:
    """Give the kinds that tell what became of calls, in order."""
    subjects = ("call.", "approval.", "ticket.", "execution.", "coverage.")
    return [line.kind for line in events if line.kind.startswith(subjects)]


def outcomes(summary: dict[str, list[dict[str, str]]]) -> list[tuple[str, str, str]]:
    """Give tool, decision and who decided, call by call."""
    return [(c["tool"], c["decision"], c["by"]) for c in summary["calls"]]


def bash(command: str) -> Call:
    return call("Bash", command=command, description="a step")


def test_allow_granted_refused_and_denied_leave_exactly_their_traces(home: House) -> None:
    """One session through all four ends, under rules of the operator's own."""
    home.policy(
        "id: notes-ask, match: {effect: write, path: notes.txt}, verdict: require",
        "id: no-secrets, match: {effect: write, path: secret.txt}, verdict: deny, reason: Never.",
    )
    write = {name: str(home.repo / name) for name in ("free.txt", "notes.txt", "secret.txt")}
    run = home.claude(
        say(
            call("Read", file_path=str(home.repo / "README.md")),
            call("Write", file_path=write["free.txt"], content="free"),
            call("Write", file_path=write["notes.txt"], content="noted"),
            bash("echo no > refused.txt"),
            call("Write", file_path=write["secret.txt"], content="s"),
            "all is said",
        )
    )
    run.question("notes.txt")
    assert not (home.repo / "notes.txt").exists(), "it waits, so it has not run"
    run.answer("approve", "notes.txt")
    run.answer("deny", "refused.txt", reason="not that file")
    summary = run.end()

    me = f"uid:{os.geteuid()}"
    assert outcomes(summary) == [
        ("Read", "allowed", "read-workspace"),
        ("Write", "allowed", "write-workspace"),
        ("Write", "granted", me),
        ("Bash", "refused", me),
        ("Write", "denied", "no-secrets"),
    ]
    assert (summary["outcome"], summary["text"]) == ("finished", "all is said")
    assert sorted(p.name for p in home.repo.iterdir()) == [
        ".git",
        "README.md",
        "free.txt",
        "notes.txt",
    ]
    assert (home.repo / "notes.txt").read_text() == "noted"
    refused = ["call.decided", "approval.requested", "approval.denied"]
    events = home.events()
    assert of_calls(events) == [*PLAIN, *PLAIN, *GRANTED, *refused, "call.decided"]
    assert [line.kind for line in events][-3:] == [
        "sandbox.stopped",
        "session.ended",
        "checkpoint.sealed",
    ]
    told = [str(r.body) for r in run.model.turns_asked] if run.model else []
    assert "not that file" in told[-2], "the agent hears the person's own words"
    assert "Never." in told[-1]
    assert home.agp("verify").returncode == 0


def test_the_decision_is_durable_before_the_effect_and_binds_what_ran(home: House) -> None:
    run = home.claude(say(bash("echo ran > trace; true"), "done"))
    asked = run.question("trace")
    assert home.kinds("call.decided", "approval.requested") == [
        "call.decided",
        "approval.requested",
    ]
    assert not (home.repo / "trace").exists()
    run.answer("approve", "trace")
    run.end()

    assert (home.repo / "trace").read_text() == "ran\n"
    (requested,) = home.payloads("approval.requested")
    (granted,) = home.payloads("approval.granted")
    assert requested["binding"] == asked["binding_digest"]
    assert granted["approval_id"] == requested["approval_id"]
    assert granted["approver"] == f"uid:{os.geteuid()}"


def test_of_two_identical_calls_of_one_turn_only_the_granted_one_runs(home: House) -> None:
    """The harness runs two shell calls of a turn one after the other; each is its own question."""
    twin = bash("echo once >> twins; true")
    run = home.claude(say((twin, twin), "done"))
    first = run.answer("approve", "twins")
    second = run.answer("deny", "twins")
    summary = run.end()

    assert first != second
    assert (home.repo / "twins").read_text() == "once\n"
    assert Counter(c["decision"] for c in summary["calls"]) == {"granted": 1, "refused": 1}
    counted = Counter(home.kinds())
    assert (counted["ticket.redeemed"], counted["execution.finished"]) == (1, 1)
    assert counted["coverage.violated"] == 0


def test_of_two_identical_calls_that_wait_at_once_only_the_granted_one_is_answered(
    home: House,
) -> None:
    """Reads run side by side: both wait, one ticket is redeemed, one result holds the file."""
    home.policy("id: ask-read, match: {effect: read, path: README.md}, verdict: require")
    twin = call("Read", file_path=str(home.repo / "README.md"))
    run = home.claude(say((twin, twin), "done"))
    first, second = run.questions(2)
    assert home.agp("approve", first["approval_id"]).returncode == 0
    assert home.agp("deny", second["approval_id"]).returncode == 0
    summary = run.end()

    assert Counter(c["decision"] for c in summary["calls"]) == {"granted": 1, "refused": 1}
    counted = Counter(home.kinds())
    assert (counted["ticket.redeemed"], counted["execution.finished"]) == (1, 1)
    last = run.model.turns_asked[-1].body["messages"] if run.model else []
    assert str(last).count("1\\thello") == 1


def test_a_sub_agent_s_calls_are_decided_by_themselves(home: House) -> None:
    """Its own name stands in the journal, and its denied call leaves nothing."""
    task = call("Task", description="sub", prompt="SUBTASK now", subagent_type="general-purpose")
    run = home.claude(
        say(
            bash("echo sub > sub.txt; true"),
            bash("sudo id > owned.txt"),
            "sub done",
            match="SUBTASK",
        ),
        say(task, "parent done"),
    )
    run.answer("approve", "sub.txt")
    run.answer("deny", "owned.txt")
    summary = run.end()

    decided = home.payloads("call.decided")
    own = [c.get("agent_id") for c in decided]
    assert own[0] is None, "the call that starts the sub-agent is the parent's"
    assert own[1] == own[2] != None  # noqa: E711 - one chain: the same name, and a name
    assert (home.repo / "sub.txt").exists()
    assert not (home.repo / "owned.txt").exists()
    assert summary["outcome"] == "finished"


def test_a_background_call_is_journaled_from_its_beginning_to_its_end(home: House) -> None:
    command = call("Bash", command="sleep 1; echo late > late.txt", run_in_background=True)
    run = home.claude(say(command, "not waiting"))
    run.answer("approve", "late.txt")
    run.end()

    ends = [(k.kind, k.payload["reported_by"]) for k in home.events() if "execution" in k.kind]
    assert ends == [("execution.started", "agp"), ("execution.finished", "agp")]
    assert home.payloads("execution.started")[0]["background"] is True
    assert (home.repo / "late.txt").exists()
    assert home.view_processes() == []


def test_a_run_without_calls_says_so(home: House) -> None:
    """Zero gated calls is a fact that a person is told, not an empty table."""
    run = home.claude(say("nothing to do"))
    summary = run.end()
    assert (summary["calls"], summary["outcome"]) == ([], "finished")
    assert of_calls(home.events()) == []
    assert home.payloads("session.ended")[0]["calls"] == 0


def test_a_pause_during_a_question_gives_no_grant(home: House) -> None:
    run = home.claude(say(bash("echo x > paused.txt"), "done"))
    asked = run.question("paused.txt")
    assert home.agp("pause").returncode == 0
    assert home.agp("approve", asked["approval_id"]).returncode != 0
    assert home.agp("deny", asked["approval_id"]).returncode == 0
    run.end()
    assert not (home.repo / "paused.txt").exists()


def test_a_policy_that_turned_strict_meanwhile_supersedes_the_grant(home: House) -> None:
    """What the person saw is evaluated again at release, under the rules then in force."""
    run = home.claude(say(bash("echo x > late.txt"), "done"))
    asked = run.question("late.txt")
    home.policy("id: stop, match: {effect: opaque}, verdict: deny, reason: Closed now.")
    home.command("policy.reload")
    home.agp("approve", asked["approval_id"])
    run.end()
    assert not (home.repo / "late.txt").exists()
    assert "ticket.redeemed" not in home.kinds()


def test_a_killed_session_leaves_nothing_running_and_says_so(home: House) -> None:
    run = home.claude(say(bash("echo x > never.txt"), "done"))
    run.question("never.txt")
    assert home.agp("kill", "--all").returncode == 0
    summary = run.end(code=14)
    assert summary["outcome"] == "killed"
    assert not (home.repo / "never.txt").exists()
    assert home.view_processes() == []
    assert sorted(p.name for p in home.repo.iterdir()) == [".git", "README.md"]


def test_a_harness_that_cannot_reach_its_model_fails_with_its_own_exit_code(home: House) -> None:
    run = home.claude(say(Turn(status=400, text="no such model")))
    assert run.end(code=12)["outcome"] == "harness_failed"
