"""Questions to people across processes and crashes: answered once, for what was shown."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from agp.errors import AgpError
from tests.fakes.agp_house import DEADLINE_S, House, Run, house, own
from tests.fakes.daemon_wire import (
    Held,
    Wire,
    held,
    open_session,
    read_answer,
    start_daemon,
    write_policy,
)

pytestmark = pytest.mark.slow
REMOVE = {"tool": "exec", "argv": ["rm", "README.md"]}
LOOP = (
    "touch began; while :; do mkdir -p .claude/x 2>/dev/null && echo open >> uncovered;"
    " echo x 2>/dev/null >> .git/hooks/post-checkout && echo open >> uncovered; done"
)
"""Approved code that waits for its masks to go."""
OURS = f"uid:{os.geteuid()}"
ENDS = ("approval.granted", "approval.denied", "approval.expired", "approval.cancelled")


@pytest.fixture
def home() -> Iterator[House]:
    """Give an initialised home and a repository."""
    with house({"run.sh": "#!/bin/sh\ntouch ran\n"}) as made:
        (made.repo / "run.sh").chmod(0o755)
        yield made


def asked(session: Held, command: str = "rm README.md", *, use: str = "toolu_1") -> tuple:
    """Ask one question on a held session; the waiting connection and the approval's id."""
    waiting = session.start("PreToolUse", session.bash(command, use=use))
    while True:
        told = session.wire.notice("approval")["body"]
        if told["state"] == "pending":
            return waiting, told["approval_id"]


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Give what a refused command said, without a traceback."""
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_question_survives_the_daemon_and_its_answer_runs_the_call_once(home: House) -> None:
    """Killed while the question waits; the launcher comes back, a person answers the next one."""
    run = home.scripted(REMOVE, {"tool": "read", "path": "README.md"})
    before = run.question("rm")
    home.kill_daemon()
    start_daemon(home)

    after = run.question("rm")
    existed = (home.repo / "README.md").exists()
    run.answer("approve", "rm")
    summary = run.end()

    assert after == before
    assert existed
    assert not (home.repo / "README.md").exists()
    assert [call["decision"] for call in summary["calls"]] == ["granted", "allowed"]
    assert home.kinds(*ENDS) == ["approval.granted"]
    assert len(home.kinds("approval.requested")) == 1
    assert len(home.kinds("execution.started")) == 2


def test_a_question_of_a_hook_survives_and_the_bridge_that_waits_gets_the_answer(
    home: House,
) -> None:
    start_daemon(home)
    wire = Wire(home.home.control_socket)
    session = open_session(wire, home.repo)
    session.begin()
    waiting, name = asked(session)
    home.kill_daemon()
    waiting.close()
    wire.close()
    start_daemon(home)
    with Wire(home.home.control_socket) as back:
        session.wire = back
        back.ask("session.attach", **session.claim, fencing_token=1, view=None)
        again = session.start("PreToolUse", session.bash("rm README.md"))

        assert home.agp("approve", name).returncode == 0
        verdict, _ = session.decision(read_answer(again))
        granted = session.hook("PermissionRequest", session.grant("rm README.md"))
        twice = session.hook("PermissionRequest", session.grant("rm README.md"))
        session.end()

    assert verdict == "allow"
    assert b'"allow"' in granted[1]
    assert b'"allow"' not in twice[1]
    assert home.kinds(*ENDS) == ["approval.granted"]


def test_a_pending_question_whose_launcher_never_returns_is_cancelled_and_reaped(
    home: House,
) -> None:
    home.configure(reattach_grace_s=1)
    start_daemon(home)
    wire = Wire(home.home.control_socket)
    session = open_session(wire, home.repo)
    session.begin()
    waiting, _ = asked(session)
    home.kill_daemon()
    waiting.close()
    wire.close()
    start_daemon(home)

    home.await_event("session.reaped")

    assert len(home.kinds(*ENDS)) == 1
    assert home.kinds(*ENDS) == ["approval.cancelled"]
    assert home.inbox() == []


def test_of_two_answers_at_once_exactly_one_counts(home: House) -> None:
    """Two processes, yes and no at the same moment: one ends it, the other is told so."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        for turn in range(3):
            waiting, name = asked(session, use=f"toolu_{turn}")
            both = [
                subprocess.Popen(
                    [sys.executable, "-m", "agp", verdict, name],
                    env=home.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                )
                for verdict in ("approve", "deny")
            ]  # fmt: skip
            said = [one.communicate(timeout=DEADLINE_S) for one in both]
            told, _ = session.decision(read_answer(waiting))

            assert sorted(one.returncode for one in both) == [0, 4]
            winner, loser = (0, 1) if both[0].returncode == 0 else (1, 0)
            assert told == ("allow", "deny")[winner]
            assert f"already {('granted', 'denied')[winner]}" in said[loser][1]
        session.end()

    assert len(home.kinds(*ENDS)) == 3
    assert len(home.kinds("approval.click_rejected")) == 3


def test_a_denial_reaches_the_agent_word_for_word(home: House) -> None:
    reason = 'keep it: <b>"quoted"</b>\nsecond line; $(rm -rf /) \u202e ünï'
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session)
        assert home.agp("deny", name, "--reason", reason).returncode == 0
        verdict, told = session.decision(read_answer(waiting))
        session.end()

    assert verdict == "deny"
    assert told == f"denied by {OURS}: {reason}"
    assert home.payloads("approval.denied")[0]["reason"] == reason


def test_nobody_answers_and_the_agent_is_told_so(home: House) -> None:
    home.configure(approval_timeout_s=5)
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session)
        verdict, told = session.decision(read_answer(waiting))
        late = home.agp("approve", name)
        session.end()

    assert verdict == "deny"
    assert re.fullmatch(
        r"timed out, nobody answered from \S+ \S+ to \S+ \S+ UTC; nothing was run", told
    )
    assert "already expired" in error_of(late)
    assert home.kinds(*ENDS) == ["approval.expired"]


def test_an_id_must_be_exactly_the_one_that_was_shown(home: House) -> None:
    """One digit off, another word before the right digits, upper case, a prefix: none counts."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session)
        word, _, digits = name.partition("-")
        swapped = "0" if digits[-1] != "0" else "1"
        other = "zinnia" if word != "zinnia" else "acorn"
        for wrong in (
            f"{word}-{digits[:-1]}{swapped}", f"{other}-{digits}", name.upper(), word, digits,
            f"{name}0", "otter-00000000", "../../etc", "x" * 5000,
        ):  # fmt: skip
            assert "does not count" in error_of(home.agp("approve", wrong)) or wrong == "x" * 5000
            assert [one["approval_id"] for one in home.inbox()] == [name]
        assert home.agp("deny", name).returncode == 0
        assert "already denied" in error_of(home.agp("approve", name))
        read_answer(waiting)
        session.end()

    assert home.kinds(*ENDS) == ["approval.denied"]


def test_a_quorum_of_two_is_not_met_by_one_person_twice(home: House) -> None:
    write_policy(home, "id: two, match: {effect: delete}, verdict: require, reason: r, quorum: 2")
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session)
        first = home.agp("approve", name)
        second = home.agp("approve", name)
        still = [one["approval_id"] for one in home.inbox()]
        assert home.agp("deny", name).returncode == 0
        verdict, _ = session.decision(read_answer(waiting))
        session.end()

    assert first.returncode == 0
    assert "1 of 2 people agreed so far" in first.stdout
    assert "another approver is needed" in error_of(second)
    assert still == [name]
    assert verdict == "deny"


def test_one_yes_of_a_quorum_is_remembered_over_a_crash(home: House) -> None:
    """The same person counts once, also across daemons."""
    write_policy(home, "id: two, match: {effect: delete}, verdict: require, reason: r, quorum: 2")
    run = home.scripted(REMOVE)
    name = str(run.question()["approval_id"])
    assert home.agp("approve", name).returncode == 0
    home.kill_daemon()
    start_daemon(home)

    again = home.agp("approve", name)

    assert "another approver is needed" in error_of(again)
    assert run.question()["granted_by"] == [OURS]
    assert (home.repo / "README.md").exists()


def test_who_is_not_an_approver_cannot_answer(home: House) -> None:
    write_policy(
        home,
        'id: ann, match: {effect: delete}, verdict: require, reason: r, approvers: ["uid:77777"]',
    )
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session)
        for verdict in ("approve", "deny"):
            assert f"{OURS} is not among its approvers" in error_of(home.agp(verdict, name))
        session.end("killed")
        with waiting:
            told = b"".join(iter(lambda: waiting.recv(65536), b""))

    assert b"allow" not in told
    assert home.kinds(*ENDS) == ["approval.cancelled"]


@pytest.mark.parametrize("after", ["deny", "require"])
def test_a_policy_that_became_stricter_supersedes_the_question(home: House, after: str) -> None:
    """Asked under one policy, answered under another: nothing is released."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session)
        more = ", quorum: 2" if after == "require" else ""
        write_policy(
            home, f"id: other, match: {{effect: delete}}, verdict: {after}, reason: r{more}"
        )
        session.wire.ask("policy.reload")
        home.agp("approve", name)
        verdict, told = session.decision(read_answer(waiting))
        refused = session.hook("PermissionRequest", session.grant("rm README.md"))
        session.end()

    assert verdict == "deny"
    assert "superseded" in told
    assert b'"allow"' not in refused[1]
    assert home.kinds("ticket.issued", "ticket.redeemed") == []


def test_a_policy_that_became_broken_changes_nothing(home: House) -> None:
    start_daemon(home)
    with held(home) as session:
        session.begin()
        digest = home.agp("status", "--json").stdout
        home.home.policy.write_text("version: 1\nrules: {}\n")
        with pytest.raises(AgpError) as refused:
            session.wire.ask("policy.reload")
        waiting, name = asked(session)
        home.agp("deny", name)
        read_answer(waiting)
        session.end()

    assert f"{home.home.policy}:2:8" in refused.value.where
    key = "policy_digest"
    assert json.loads(digest)[key] == home.payloads("policy.loaded")[-1][key]


def test_a_file_that_changed_after_it_was_shown_is_not_run(home: House) -> None:
    """What the human saw is what runs: the script is another one when the answer comes."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session, "./run.sh")
        (home.repo / "run.sh").write_text("#!/bin/sh\nrm -rf .\n")
        home.agp("approve", name)
        verdict, told = session.decision(read_answer(waiting))
        session.end()

    assert verdict == "deny"
    assert "superseded" in told
    assert home.kinds("ticket.issued", "ticket.redeemed") == []


def test_a_file_that_changed_while_no_daemon_ran_supersedes_the_question(home: House) -> None:
    start_daemon(home)
    wire = Wire(home.home.control_socket)
    session = open_session(wire, home.repo)
    session.begin()
    waiting, _ = asked(session, "./run.sh")
    home.kill_daemon()
    waiting.close()
    wire.close()
    (home.repo / "run.sh").write_text("#!/bin/sh\nrm -rf .\n")
    start_daemon(home)

    home.await_event("approval.cancelled")

    assert home.payloads("approval.cancelled")[0]["cause"] == "superseded"
    assert home.inbox() == []


def test_paused_nothing_is_granted_or_redeemed_and_resumed_it_is(home: House) -> None:
    start_daemon(home)
    with held(home) as session:
        session.begin()
        ready = session.decision(session.hook("PreToolUse", session.bash("git status", use="a")))
        waiting, name = asked(session, use="b")
        paused = json.loads(home.agp("pause", "--reason", "lunch", "--json").stdout)
        denied = session.decision(session.hook("PreToolUse", session.bash("git log", use="c")))
        redeemed = session.hook("PermissionRequest", session.grant("git status"))
        answered = home.agp("approve", name)
        home.kill_daemon()
        start_daemon(home)
        still = json.loads(home.agp("status", "--json").stdout)["paused"]
        assert home.agp("resume").returncode == 0
        waiting.close()

    assert ready[0] == "allow"
    assert [call["tool"] for call in paused["running"]] == ["Bash"]
    assert denied[0] == "deny"
    assert "lunch" in denied[1]
    assert b'"allow"' not in redeemed[1]
    assert "lunch" in error_of(answered)
    assert still == "lunch"


def uncovered(home: House) -> bool:
    """Tell whether approved code found a moment in which its masks were gone."""
    return (home.repo / "uncovered").exists() or (home.repo / ".claude").exists()


def started(home: House) -> Run:
    """Start approved code that waits for its masks to go."""
    run = home.scripted({"tool": "exec", "argv": ["sh", "-c", LOOP]})
    run.answer("approve", "began")
    while not (home.repo / "began").exists():
        assert run.process.poll() is None, run.said
        run.pause()
    return run


@pytest.mark.parametrize("how", ["kill SESSION", "kill --all", "interrupt", "terminate", "kill -9"])
def test_a_run_that_is_ended_ends_its_call_before_its_places_are_uncovered(
    home: House, how: str
) -> None:
    home.configure(reattach_grace_s=1)
    start_daemon(home)
    run = started(home)
    match how:
        case "kill SESSION":
            listed = json.loads(home.agp("sessions", "--json").stdout)["sessions"]
            assert home.agp("kill", listed[0]["session_id"]).returncode == 0
        case "kill --all":
            assert home.agp("kill", "--all").returncode == 0
        case "interrupt":
            run.process.send_signal(signal.SIGINT)
        case "terminate":
            run.process.send_signal(signal.SIGTERM)
        case _:
            run.process.kill()
    run.end(code=None)
    home.await_event("session.reaped" if how == "kill -9" else "session.ended")
    home.await_no_view()

    assert not uncovered(home)
    assert "Traceback" not in run.said
    assert home.kinds("execution.finished", "execution.failed", "execution.outcome_unknown") == [
        "execution.outcome_unknown"
    ]
    assert not (home.repo / ".vscode").exists()
    assert run.process.returncode == (-9 if how == "kill -9" else 14)


def test_a_daemon_killed_while_it_executes_says_so_and_runs_it_no_second_time(home: House) -> None:
    start_daemon(home)
    run = started(home)
    home.kill_daemon()
    home.await_no_view()
    (home.repo / "began").unlink()
    start_daemon(home)

    summary = run.end(code=None)

    assert home.kinds("execution.started", "execution.outcome_unknown") == [
        "execution.started",
        "execution.outcome_unknown",
    ]
    assert not (home.repo / "began").exists()
    assert not uncovered(home)
    assert "AGP ended while this call ran" in json.dumps(summary["calls"])


def test_killing_what_does_not_run_is_an_error(home: House) -> None:
    start_daemon(home)

    assert "no running session s-000000000000" in error_of(home.agp("kill", "s-000000000000"))
    assert home.agp("kill", "--all").returncode == 0


def test_the_log_holds_no_secret_no_input_and_no_reason(home: House) -> None:
    """daemon.log may be read by support: lease secrets, call bodies and answers are not in it."""
    start_daemon(home)
    with held(home) as session:
        session.begin()
        waiting, name = asked(session, "rm sk-ant-api03-verysecret README.md")
        home.agp("deny", name, "--reason", "reasoned-words")
        read_answer(waiting)
        session.hook("PreToolUse", b'{"not": "a hook", "body-words": 1}')
        session.wire.write(b'{"broken": "control-words"\n')
        secret = session.claim["secret"]
        session.end()
    log = home.home.log.read_text()

    for word in (secret, "verysecret", "reasoned-words", "body-words", "control-words", "README"):
        assert word not in log
    assert re.search(r'"hook": "PreToolUse".*"ruling": "denied"', log)
    own(home.repo)
