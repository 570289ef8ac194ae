"""What a tool of Claude Code would do, in words that every harness shares.

The table is closed: a tool that is not in it is unknown, so the policy asks or refuses. Anything
that makes the harness itself run programs out of the agent's sight (a worktree runs git's hooks
and filters, a workflow runs a script) is unknown too, with the reason that the person reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

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
from agp.contracts.strict_json import Json, canonical_json
from agp.errors import MessageRefused
from agp.intendants.claude_code.canonical import PATH_FIELDS, effective_path

if TYPE_CHECKING:
    from collections.abc import Callable

Input = dict[str, Json]

_HARNESS_ONLY = frozenset(
    {
        "CronDelete", "CronList", "EnterPlanMode", "ExitPlanMode", "ListAgents", "ReportFindings",
        "ScheduleWakeup", "SendMessage", "TaskCreate", "TaskGet", "TaskList",
        "TaskOutput", "TaskStop", "TaskUpdate", "TodoWrite", "ToolSearch",
    }
)  # fmt: skip
"""Tools that change only the harness's own state; what they lead to is gated by itself."""
_NOT_SEEN = {
    "CronCreate": "it schedules a prompt that runs later",
    "EnterWorktree": "it makes git run, with the repository's hooks and filters",
    "ExitWorktree": "it makes git run, with the repository's hooks and filters",
    "RemoteTrigger": "it starts work outside this machine",
    "Workflow": "it runs a script that starts agents",
}
_NOT_KNOWN = "the adapter does not know this tool"
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]")


def action_of(tool: str, tool_input: Input, cwd: str, mcp_server: str | None) -> Action:
    """Say what a call would do.

    Raises:
        MessageRefused: a field that the action rests on is missing or of the wrong type.
    """
    if tool.startswith("mcp__") or mcp_server is not None:
        return _mcp(tool, tool_input, mcp_server)
    if tool in PATH_FIELDS:
        return _file(tool, tool_input, cwd)
    if tool in _READERS:
        return _READERS[tool](tool_input)
    if tool in _HARNESS_ONLY:
        return HarnessAction(tool=tool)
    return UnknownAction(tool=tool, why=_NOT_SEEN.get(tool, _NOT_KNOWN))


def says(tool_input: Input) -> str:
    """Give the model's own description of the call, where it wrote one."""
    described = tool_input.get("description")
    return described if isinstance(described, str) else ""


def _bash(tool_input: Input) -> Action:
    background = tool_input.get("run_in_background")
    return ShellAction(command=_text(tool_input, "command"), background=background is True)


def _monitor(tool_input: Input) -> Action:
    if "ws" not in tool_input:
        return ShellAction(command=_text(tool_input, "command"), background=True)
    socket = tool_input["ws"]
    if "command" in tool_input or not isinstance(socket, dict):
        return UnknownAction(tool="Monitor", why="it names a command and a socket at once")
    return FetchAction(url=_text(socket, "url"))


def _file(tool: str, tool_input: Input, cwd: str) -> Action:
    path = effective_path(_text(tool_input, PATH_FIELDS[tool]), cwd)
    return (
        ReadAction(path=path) if tool == "Read" else WriteAction(path=path, reads=tool != "Write")
    )


def _fetch(tool_input: Input) -> Action:
    return FetchAction(url=_text(tool_input, "url"))


def _search(tool_input: Input) -> Action:
    del tool_input
    return FetchAction(url="")


def _spawn(tool_input: Input) -> Action:
    if tool_input.get("isolation") is not None:
        return UnknownAction(
            tool="Agent", why="an isolated agent works elsewhere, or makes git run"
        )
    if "subagent_type" not in tool_input:
        return SpawnAction(agent_type="general-purpose")
    return SpawnAction(agent_type=_text(tool_input, "subagent_type"))


def _skill(tool_input: Input) -> Action:
    """Take a skill for the harness's own state, unless its input could make it read a file.

    Attack: `args: "@.env"`; the harness puts that file into the skill's text, and no hook of
    reading is asked (measured with a plugin's skill).
    """
    if "@" in canonical_json(tool_input).decode():
        return UnknownAction(
            tool="Skill", why="its input holds @, by which the harness reads files unasked"
        )
    return HarnessAction(tool="Skill")


def _mcp(tool: str, tool_input: Input, server: str | None) -> Action:
    """Split the name; two readings of one name (`mcp__a__b__c`) are no reading."""
    arguments = canonical_json(tool_input).decode()
    if server is not None:
        prefix = f"mcp__{_NOT_IN_A_NAME.sub('_', server)}__"
        if not tool.startswith(prefix) or tool == prefix:
            return UnknownAction(tool=tool, why="the tool's name and its server's do not agree")
        return McpAction(server=server, tool=tool[len(prefix) :], arguments_json=arguments)
    parts = tool.split("__")
    if len(parts) != 3 or not all(parts):  # noqa: PLR2004 - mcp, server, tool
        return UnknownAction(tool=tool, why="the name does not say which server it belongs to")
    return McpAction(server=parts[1], tool=parts[2], arguments_json=arguments)


def _text(tool_input: Input, field: str) -> str:
    value = tool_input.get(field)
    if not isinstance(value, str) or "\0" in value:
        raise MessageRefused(f"the tool input's {field!r} is not text")
    return value


_READERS: dict[str, Callable[[Input], Action]] = {
    "Agent": _spawn,
    "Bash": _bash,
    "Monitor": _monitor,
    "Skill": _skill,
    "Task": _spawn,
    "WebFetch": _fetch,
    "WebSearch": _search,
}
