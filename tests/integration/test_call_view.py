"""Ordinary life with calls in views of their own: the real Claude Code, what it wrote and was told.

One session for many claims: a start of the harness is the dear part.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fakes.agp_house import ROOT, House, house
from tests.fakes.model_server import Call, call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

DAY_S = 150
PILE = 12
OPEN = (
    "id: t-opaque, match: {effect: opaque}, verdict: allow",
    "id: t-exec, match: {effect: exec}, verdict: allow",
    "id: t-code, match: {effect: exec_workspace}, verdict: allow",
    "id: t-files, match: {effect: [read, write, delete]}, verdict: allow",
)


def bash(command: str, **more: object) -> Call:
    return call("Bash", command=command, **more)


@dataclass(frozen=True)
class Day:
    """One session that has ended: what the agent was told, call by call, and the house."""

    made: House
    told: dict[str, str]
    summary: dict[str, Any]


def results(model: Any) -> dict[str, str]:
    """Give the text of every tool result, by the call's id."""
    found: dict[str, str] = {}
    for message in model.turns_asked[-1].body["messages"]:
        content = message["content"] if isinstance(message["content"], list) else []
        for block in content:
            if block.get("type") == "tool_result":
                text = block["content"]
                whole = text if isinstance(text, str) else "".join(p.get("text", "") for p in text)
                found[block["tool_use_id"]] = whole
    return found


def named(name: str, one: Call) -> Call:
    return Call(one.tool, one.input_json, f"toolu_{name}")


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    with house({"sub/deep/x.txt": "x", "needle.txt": "one\nneedle\n"}) as made:
        made.policy(*OPEN)
        repo = made.repo
        pile = tuple(
            named(f"pile{n}", bash(f"echo pile {n} >> piled; echo {n}")) for n in range(PILE)
        )
        turns: tuple[Call | tuple[Call, ...], ...] = (
            named("cd", bash("cd sub/deep")),
            named("pwd", bash("pwd")),
            named("exit", bash("cd ..; echo out; echo err >&2; exit 7")),
            named("still", bash("pwd")),
            named("exec", bash("cd ..; exec true")),
            named("killed", bash("kill -9 $$")),
            named("away", bash("cd /tmp")),
            named("stays", bash("pwd; cd ../..")),
            named("home", bash("echo kept > ~/cache; echo $HOME; env | sort > env.txt")),
            named("again", bash("cat ~/cache; ls /opt /run 2>&1; ls -a ~")),
            named("wtmp", call("Write", file_path="/tmp/note", content="from Write\n")),
            named("rtmp", bash("cat /tmp/note; echo from Bash > /tmp/back")),
            named("read", call("Read", file_path="/tmp/back")),
            named("wws", call("Write", file_path=str(repo / "w.txt"), content="w\n")),
            named("cat", bash("cat w.txt; echo b > b.txt")),
            named("readws", call("Read", file_path=str(repo / "b.txt"))),
            named("git", bash("git add -A && git commit -q -m work && git log -1 --format=%an%s")),
            named("grep", bash("grep needle needle.txt; type grep")),
            named("big", bash("head -c 3000000 /dev/zero | tr '\\0' a; echo end")),
            named("binary", bash("printf '\\001\\377x\\000\\000\\000\\001\\000o'")),
            named("edit", bash("git commit --allow-empty; echo $?; vi w.txt; echo $?; python3")),
            named("rebase", bash("GIT_SEQUENCE_EDITOR= git rebase -i HEAD~1; top; cat /dev/tty")),
            named("held", bash("sleep 300 & echo started")),
            named("late", bash("sleep 0.3; echo late; pwd", run_in_background=True)),
            named("moni", call("Monitor", command="echo seen", description="m", timeout_ms=9000)),
            named("slow", bash("sleep 3")),
            pile,
        )
        run = made.claude(say(*turns, "done"))
        run.process.wait(timeout=DAY_S)  # many calls; `end` waits for one thing only
        summary = run.end()
        assert run.model is not None
        yield Day(made, results(run.model), summary)


def told(day: Day, name: str) -> str:
    return day.told[f"toolu_{name}"]


def test_the_run_is_governed_and_graded_confined(day: Day) -> None:
    assert (day.summary["outcome"], day.summary["grade"]) == ("finished", "confined")
    assert day.made.kinds("coverage.violated", "gateway.refused") == []
    assert day.made.view_processes() == []


def test_the_working_directory_is_kept_as_the_harness_keeps_it(day: Day) -> None:
    """Where a call ended well the next one begins; a failed or replaced shell moves nothing."""
    deep = f"{day.made.repo}/sub/deep"
    assert told(day, "pwd").strip() == deep
    assert told(day, "still").strip() == deep
    assert told(day, "stays").strip() == deep, "outside the workspace nothing is handed back"


def test_exit_codes_and_both_streams_arrive(day: Day) -> None:
    assert told(day, "exit").splitlines() == ["Exit code 7", "out", "err"]
    assert "137" in told(day, "killed")


def test_a_call_s_home_is_the_session_s_and_not_the_harness_s(day: Day) -> None:
    assert told(day, "home").strip() == "/home/agent"
    assert told(day, "again").splitlines()[0] == "kept"
    assert ".claude" not in told(day, "again")
    environment = (day.made.repo / "env.txt").read_text()
    assert not re.search(r"^(ANTHROPIC|CLAUDE|NO_PROXY|HTTPS_PROXY)", environment, re.MULTILINE)
    assert "sk-ant" not in environment
    assert "GIT_AUTHOR_NAME=" in environment


def test_file_tools_and_commands_see_each_other_s_files(day: Day) -> None:
    assert told(day, "rtmp").strip() == "from Write"
    assert "from Bash" in told(day, "read")
    assert told(day, "cat").strip() == "w"
    assert "b" in told(day, "readws")


def test_git_commits_with_the_agent_s_identity(day: Day) -> None:
    assert told(day, "git").strip().endswith("(agent)work")


def test_grep_is_the_system_s_own(day: Day) -> None:
    assert told(day, "grep").splitlines() == ["needle", "grep is hashed (/usr/bin/grep)"]


def test_long_and_binary_output_arrives_or_is_cut_by_the_harness_alone(day: Day) -> None:
    finished = {p["call_id"]: p for p in day.made.payloads("execution.finished")}
    decided = {p["tool_use_id"]: p["call_id"] for p in day.made.payloads("call.decided")}
    assert finished[decided["toolu_big"]]["output_bytes"] == 3_000_004
    assert finished[decided["toolu_binary"]]["output_bytes"] == 9
    assert "aaaa" in told(day, "big")
    assert told(day, "binary").endswith("o"), "what looks like a frame is output"


def test_what_wants_a_terminal_fails_with_a_message(day: Day) -> None:
    edit = told(day, "edit")
    assert "no editor" in edit
    assert "no terminal" in edit
    assert "no terminal" in told(day, "rebase") or "editor" in told(day, "rebase")
    assert "/dev/tty" in told(day, "rebase")


def test_what_a_call_leaves_behind_ends_with_it(day: Day) -> None:
    assert told(day, "held").strip() == "started"
    finished = {p["call_id"]: p for p in day.made.payloads("execution.finished")}
    decided = {p["tool_use_id"]: p["call_id"] for p in day.made.payloads("call.decided")}
    assert finished[decided["toolu_held"]]["duration_ms"] < 10_000


def test_background_calls_are_reported_with_their_end(day: Day) -> None:
    decided = {p["tool_use_id"]: p["call_id"] for p in day.made.payloads("call.decided")}
    for name in ("late", "moni"):
        mine = [
            (line.kind, line.payload["reported_by"])
            for line in day.made.events()
            if line.kind.startswith("execution.")
            and line.payload["call_id"] == decided[f"toolu_{name}"]
        ]
        assert mine == [("execution.started", "agp"), ("execution.finished", "agp")]


def test_many_calls_of_one_turn_run_each_once(day: Day) -> None:
    (piled,) = day.made.repo.rglob("piled")
    assert sorted(piled.read_text().splitlines()) == sorted(f"pile {n}" for n in range(PILE))
    assert [told(day, f"pile{n}").strip() for n in range(PILE)] == [str(n) for n in range(PILE)]


def test_every_call_is_begun_and_ended_once_by_agp(day: Day) -> None:
    started = [p["call_id"] for p in day.made.payloads("execution.started")]
    ended = [
        line.payload["call_id"]
        for line in day.made.events()
        if line.kind in {"execution.finished", "execution.failed"}
        and line.payload["reported_by"] == "agp"
    ]
    assert len(started) == len(set(started))
    assert sorted(started) == sorted(ended)
    assert all(p.get("profile_digest") for p in day.made.payloads("execution.started"))
    shells = [p for p in day.made.payloads("call.decided") if p["tool"] in {"Bash", "Monitor"}]
    assert all("/opt/agp/hand-over c-" in p["edited_arguments"] for p in shells)
    assert "hand-over" not in json.dumps([p["arguments"] for p in shells])


def test_the_harness_s_own_shell_runs_nothing_but_a_hand_over() -> None:
    """What it is given for `!command`, and texts that only hold the words of a hand-over."""
    name = "c-0123456789abcdef"
    refused = (
        "true && eval 'touch x' < /dev/null && pwd -P >| f",
        f"true && eval 'echo '\"'\"'. /opt/agp/hand-over {name}'\"'\"'; touch x' < /dev/null",
        f"eval '. /opt/agp/hand-over {name}; touch x'",
        f"eval '. /opt/agp/hand-over {name}'\"'\"''\"'\"'; touch x' < /dev/null",
        "/usr/bin/python3 -I -S /opt/agp/agp-call /run/agp/call.sock mcp x; touch x",
        "",
    )
    for script in refused:
        done = subprocess.run(
            [ROOT / "hooks/agp-shell", script],
            cwd=os.devnull.rpartition("/")[0],
            capture_output=True,
            check=False,
            timeout=10,
        )
        assert (done.returncode, b"agp: " in done.stderr) == (126, True), script
    let_through = f"echo ran; eval '. /opt/agp/hand-over {name}' < /dev/null"
    control = subprocess.run(
        [ROOT / "hooks/agp-shell", let_through], capture_output=True, check=False, timeout=10
    )
    assert control.stdout == b"ran\n"
