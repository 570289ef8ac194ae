"""MCP servers under the real Claude Code: started by decision, each in a view of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.agp_house import ROOT, House, Run, house, own
from tests.fakes.model_server import call, say

pytestmark = [pytest.mark.confinement, pytest.mark.real_harness]

SERVER = (ROOT / "tests/fakes/mcp_server.py").read_text()
LOOKING = SERVER.replace(
    "text = f\"ECHO {arguments['x']}\" if",
    "text = repr({p: Path(p).exists() for p in arguments['x'].split(',')}) if",
)
"""Its `echo` says which paths exist where it runs."""


@pytest.fixture
def home() -> Iterator[House]:
    with house() as made:
        yield made


def name_server(home: House, name: str, source: str) -> Path:
    """Put a server where a person would have one, outside the repository, and name it."""
    assert source != SERVER or name != "looking"
    place = home.place / f"{name}.py"
    place.write_text(source)
    place.chmod(0o644)
    with home.home.config.open("a") as file:
        file.write(f'\n[mcp_servers.{name}]\ncommand = ["python3", "{place}"]\n')
    return place


def requests(run: Run) -> str:
    return json.dumps([request.body for request in run.model.requests]) if run.model else ""


def servers(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Give each decided start of a server: whose file, and what was decided."""
    return [
        (call["what"].rpartition("/")[2].partition(".")[0], call["decision"])
        for call in summary["calls"]
        if call["tool"] == "McpServer"
    ]


def test_a_named_server_starts_by_decision_in_a_view_of_its_own(home: House) -> None:
    """Its tools are decided one by one; a server of the repository does not start."""
    place = name_server(home, "looking", LOOKING)
    planted = {"mcpServers": {"planted": {"command": "touch", "args": [f"{home.repo}/PLANTED"]}}}
    (home.repo / ".mcp.json").write_text(json.dumps(planted))
    own(home.repo)
    home.policy(
        "id: echo, match: {effect: mcp, server: looking, tool: echo}, verdict: allow",
        "id: no-touch, match: {effect: mcp, server: looking, tool: touch}, verdict: deny,"
        " reason: No.",
    )
    touched = str(home.repo / "TOUCHED")
    seen = (
        str(home.repo / "README.md"), str(place), "/run/agp/ask.sock", "/run/agp/call.sock",
        "/etc/claude-code", "/home/agent/.claude", str(home.home.root), "/opt/agp",
    )  # fmt: skip
    run = home.claude(
        say(
            call("mcp__looking__echo", x=",".join(seen)),
            call("mcp__looking__touch", path=touched),
            call("mcp__planted__echo", x="two"),
            "done",
        )
    )
    asked = run.question(str(place))
    assert asked["tool"] == "McpServer"
    run.answer("approve", str(place))
    summary = run.end()

    told = requests(run)
    for path in seen[:2]:
        assert f"'{path}': True" in told, "the control: it sees the workspace and its own file"
    for path in seen[2:]:
        assert f"'{path}': False" in told, path
    decided = [(c["tool"], c["decision"]) for c in summary["calls"]]
    assert decided == [
        ("McpServer", "granted"),
        ("mcp__looking__echo", "allowed"),
        ("mcp__looking__touch", "denied"),
    ]
    assert not Path(touched).exists()
    assert not (home.repo / "PLANTED").exists()
    (started,) = home.payloads("session.started")
    (carried,) = [name for name in started["carried"] if name.startswith("mcp:")]
    (decided_start,) = [p for p in home.payloads("call.decided") if p["tool"] == "McpServer"]
    assert carried.rpartition(":")[2] in decided_start["arguments"], "what was planned is decided"
    assert home.kinds("execution.started", "execution.finished", "execution.failed")


def test_a_denied_and_a_changed_server_do_not_start(home: House) -> None:
    """Without them the session goes on, and the agent has none of their tools."""
    denied = name_server(home, "denied", SERVER)
    changed = name_server(home, "changed", SERVER)
    home.policy(
        f"id: never, match: {{effect: exec_workspace, path: {denied}}}, verdict: deny, reason: No.",
        "id: tools, match: {effect: mcp}, verdict: allow",
    )
    run = home.claude(
        say(
            call("mcp__denied__echo", x="one"),
            call("mcp__changed__echo", x="two"),
            "done",
        )
    )
    run.question(str(changed))
    changed.write_text(SERVER + f"\nopen({str(home.repo / 'TRACE')!r}, 'w')\n")
    run.answer("approve", str(changed))
    while run.process.poll() is None:
        for again in home.inbox():
            home.agp("deny", str(again["approval_id"]), "--reason", "no")
        run.pause()
    summary = run.end()

    told = requests(run)
    assert "ECHO" not in told
    assert "No such tool available: mcp__denied__echo" in told
    assert not (home.repo / "TRACE").exists()
    assert "the MCP server denied did not start" in run.files[1].read_text()
    assert ("denied", "denied") in servers(summary)
    assert ("changed", "granted") in servers(summary)
    failed = home.payloads("execution.failed")
    assert any("changed after the run was planned" in one["error"] for one in failed)
