"""The scripted intendant: plays tool calls from a file; AGP itself executes what is granted.

The file is strict JSON, `{"version": 1, "calls": [...]}`, each call one of::

    {"tool": "shell", "command": "make test"}
    {"tool": "exec", "argv": ["git", "status"]}
    {"tool": "read", "path": "README.md"}
    {"tool": "write", "path": "notes.txt", "content": "text"}

and an optional `"says"`, what an agent would say about it. Paths are relative to the workspace or
absolute. There are no hooks: `agp run` proposes the calls one after the other.
"""

from __future__ import annotations

import posixpath

from agp.contracts.base import CallId, Contract
from agp.contracts.gateway import HookReply, HookRequest
from agp.contracts.intendant import HandedOver, HookMessage, Ruling, ToolCall
from agp.contracts.policy import Action, ExecAction, ReadAction, ShellAction, WriteAction
from agp.contracts.strict_json import Json, canonical_json, parse_json
from agp.errors import ConfigurationError, MessageRefused

NAME = "scripted"
MAX_CALLS = 10_000
_FIELDS = {
    "shell": frozenset({"command"}),
    "exec": frozenset({"argv"}),
    "read": frozenset({"path"}),
    "write": frozenset({"path", "content"}),
}
_WRITE = 'cat > "$1"'
"""Writes inside the sandbox, with the sandbox's own reach: AGP never writes for an agent."""

Fields = dict[str, Json]


class ScriptedCall(Contract):
    """One call: what is decided, and what is executed once it is granted."""

    call: ToolCall
    argv: tuple[str, ...]
    stdin: bytes = b""


class Scripted:
    """The daemon's half; implements `contracts.intendant.Intendant` without hooks."""

    name = NAME

    def parse(self, request: HookRequest) -> HookMessage:
        """Refuse: a scripted session has no hooks, so whoever speaks here is somebody else.

        Raises:
            MessageRefused: always.
        """
        raise MessageRefused("the scripted intendant has no hooks", where=request.event.value)

    def format(self, request: HookRequest, ruling: Ruling) -> HookReply:
        """Block: nothing that a hook asks of a scripted session is ever allowed."""
        why = f"AGP refused: {ruling.type} is no answer to {request.event.value} here"
        return HookReply(exit_code=2, stderr=why.encode())

    def canonical_input(self, tool: str, raw_input: bytes, cwd: str) -> bytes:
        """Give the canonical bytes of the call as the file spelled it; `cwd` changes nothing.

        Raises:
            MessageRefused: the bytes are not strict JSON.
        """
        del tool, cwd
        return canonical_json(parse_json(raw_input))

    def hand_over(self, call: ToolCall, call_id: CallId) -> HandedOver | None:
        """Hand nothing over: there is no harness, AGP executes every call."""
        del call, call_id
        return None


def parse_script(data: bytes, *, where: str, workspace: str) -> tuple[ScriptedCall, ...]:
    """Read a script file whole; a mistake anywhere means that nothing of it is played.

    Raises:
        ConfigurationError: naming the file, and the line and column or the call and field.
    """
    try:
        script = parse_json(data)
    except MessageRefused as error:
        raise ConfigurationError(
            "the script is not strict JSON",
            where=where,
            why=error.why or error.what,
            fix="mend it there; docs/harnesses.md shows a script",
        ) from error
    if not isinstance(script, dict) or set(script) != {"version", "calls"}:
        raise _wrong(where, "", 'it must be {"version": 1, "calls": [...]} and nothing else')
    version, calls = script["version"], script["calls"]
    if isinstance(version, bool) or version != 1:
        raise _wrong(where, "version", "it must be 1")
    if not isinstance(calls, list) or not 0 < len(calls) <= MAX_CALLS:
        raise _wrong(where, "calls", f"it must be a list of 1 to {MAX_CALLS} calls")
    return tuple(
        _call(item, f"{where}: calls[{index}]", index, workspace)
        for index, item in enumerate(calls)
    )


def _call(item: Json, where: str, index: int, workspace: str) -> ScriptedCall:
    if not isinstance(item, dict):
        raise _wrong(where, "", "it must be an object")
    tool = item.get("tool")
    if not isinstance(tool, str) or tool not in _FIELDS:
        raise _wrong(where, "tool", f"it must be one of {', '.join(_FIELDS)}")
    expected = _FIELDS[tool] | {"tool"}
    if odd := sorted((set(item) - {"says"}) ^ expected):
        missing = odd[0] in expected
        raise _wrong(where, odd[0], "it is missing" if missing else f"{tool} has no such field")
    says = _text(item, "says", where) if "says" in item else ""
    action, argv, stdin = _meaning(tool, item, where, workspace)
    call = ToolCall(
        harness_session=NAME,
        tool_use_id=f"{NAME}-{index}",
        agent_id=None,
        cwd=workspace,
        tool=tool,
        raw_input=canonical_json(item),
        action=action,
        says=says,
    )
    return ScriptedCall(call=call, argv=argv, stdin=stdin)


def _meaning(
    tool: str, item: Fields, where: str, workspace: str
) -> tuple[Action, tuple[str, ...], bytes]:
    if tool == "shell":
        command = _text(item, "command", where)
        return ShellAction(command=command), ("/bin/sh", "-c", command), b""
    if tool == "exec":
        argv = _argv(item, where)
        return ExecAction(argv=argv), argv, b""
    path = posixpath.join(workspace, _text(item, "path", where))
    if tool == "read":
        return ReadAction(path=path), ("/bin/cat", "--", path), b""
    content = item["content"]
    if not isinstance(content, str):
        raise _wrong(where, "content", "it must be a text")
    return WriteAction(path=path), ("/bin/sh", "-c", _WRITE, "sh", path), content.encode()


def _argv(item: Fields, where: str) -> tuple[str, ...]:
    words = item["argv"]
    if not isinstance(words, list) or not words:
        raise _wrong(where, "argv", "it must be a list of one or more texts")
    argv = tuple(word for word in words if isinstance(word, str) and "\0" not in word)
    if len(argv) != len(words) or not argv[0]:
        raise _wrong(where, "argv", "it must be a list of texts without NUL, the first not empty")
    return argv


def _text(item: Fields, field: str, where: str) -> str:
    value = item[field]
    if not isinstance(value, str) or not value or "\0" in value:
        raise _wrong(where, field, "it must be a text, not empty, without NUL")
    return value


def _wrong(where: str, field: str, why: str) -> ConfigurationError:
    place = f"{where}.{field}" if field else where
    return ConfigurationError(
        "the script is not acceptable",
        where=place,
        why=why,
        fix='for example {"version": 1, "calls": [{"tool": "shell", "command": "ls"}]}',
    )
