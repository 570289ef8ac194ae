"""Each tool is what it does; what the adapter cannot see into is unknown, with the reason."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.contracts.policy import (
    Action,
    FetchAction,
    HarnessAction,
    McpAction,
    ReadAction,
    ShellAction,
    SpawnAction,
    UnknownAction,
    WriteAction,
)
from agp.errors import MessageRefused
from agp.intendants.claude_code.actions import action_of, says


@dataclass(frozen=True, slots=True)
class Case:
    tool: str
    given: dict[str, object]
    action: Action
    server: str | None = None


CASES = (
    Case("Bash", {"command": "ls"}, ShellAction(command="ls")),
    Case(
        "Bash",
        {"command": "x", "run_in_background": True},
        ShellAction(command="x", background=True),
    ),
    Case("Monitor", {"command": "x"}, ShellAction(command="x", background=True)),
    Case("Monitor", {"ws": {"url": "ws://h/"}}, FetchAction(url="ws://h/")),
    Case("Read", {"file_path": "a"}, ReadAction(path="/r/a")),
    Case("Read", {"file_path": "/r/l/../a"}, ReadAction(path="/r/a")),
    Case("Write", {"file_path": "~/.bashrc"}, WriteAction(path="/home/agent/.bashrc")),
    Case("Edit", {"file_path": "/r/a"}, WriteAction(path="/r/a", reads=True)),
    Case("NotebookEdit", {"notebook_path": "n"}, WriteAction(path="/r/n", reads=True)),
    Case("WebFetch", {"url": "https://a/"}, FetchAction(url="https://a/")),
    Case("WebSearch", {"query": "q"}, FetchAction(url="")),
    Case("Agent", {"prompt": "p"}, SpawnAction(agent_type="general-purpose")),
    Case("Task", {"subagent_type": "Explore"}, SpawnAction(agent_type="Explore")),
    Case("Skill", {"skill": "s", "args": "fast"}, HarnessAction(tool="Skill")),
    Case("TodoWrite", {"todos": []}, HarnessAction(tool="TodoWrite")),
    Case("TaskCreate", {}, HarnessAction(tool="TaskCreate")),
    Case("ToolSearch", {}, HarnessAction(tool="ToolSearch")),
    Case("ScheduleWakeup", {}, HarnessAction(tool="ScheduleWakeup")),
    Case("mcp__a__b", {"x": 1}, McpAction(server="a", tool="b", arguments_json='{"x":1}')),
    Case("mcp__a__b__c", {}, McpAction(server="a", tool="b__c", arguments_json="{}"), "a"),
    Case("mcp__a_b__c", {}, McpAction(server="a b", tool="c", arguments_json="{}"), "a b"),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.tool} {case.given}")
def test_a_known_tool_is_what_it_does(case: Case) -> None:
    assert action_of(case.tool, case.given, "/r", case.server) == case.action  # type: ignore[arg-type]


OPAQUE = (
    ("Glob", {}, None),
    ("bash", {"command": "ls"}, None),
    ("MultiEdit", {}, None),
    ("CronCreate", {}, None),
    ("EnterWorktree", {"name": "x"}, None),
    ("ExitWorktree", {}, None),
    ("RemoteTrigger", {}, None),
    ("Workflow", {}, None),
    ("Skill", {"skill": "s", "args": "look at @.env"}, None),
    ("Skill", {"skill": "s", "args": '"@.env"'}, None),
    ("Skill", {"skill": "s @.env"}, None),
    ("Agent", {"isolation": "remote"}, None),
    ("Agent", {"isolation": "worktree"}, None),
    ("Monitor", {"command": "x", "ws": {"url": "u"}}, None),
    ("Monitor", {"ws": "u"}, None),
    ("mcp__a__b__c", {}, None),
    ("mcp__a", {}, None),
    ("mcp____b", {}, None),
    ("mcp__a__b", {}, "other"),
    ("mcp__a__", {}, "a"),
    ("Bash", {"command": "ls"}, "a"),
)


@pytest.mark.parametrize(("tool", "given", "server"), OPAQUE)
def test_what_cannot_be_seen_into_is_unknown(
    tool: str, given: dict[str, object], server: str | None
) -> None:
    action = action_of(tool, given, "/r", server)  # type: ignore[arg-type]
    assert isinstance(action, UnknownAction)
    assert action.why


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("Bash", {}),
        ("Read", {"file_path": 1}),
        ("WebFetch", {"url": None}),
        ("Agent", {"subagent_type": 1}),
        ("Monitor", {}),
        ("Monitor", {"ws": {}}),
    ],
)
def test_a_field_that_the_action_rests_on_must_be_there(
    tool: str, given: dict[str, object]
) -> None:
    with pytest.raises(MessageRefused):
        action_of(tool, given, "/r", None)  # type: ignore[arg-type]


def test_the_models_description_is_read_only_where_it_is_text() -> None:
    assert says({"description": "list"}) == "list"
    assert says({"description": 1}) == ""
