"""Claude Code's own transcript, as far as it shows what no hook decides.

Lines of JSON that the harness appends below its HOME. They say what the harness took
for a `!command` that a person typed, and which calls have a result. They are `reported_by:
harness`: code beside the harness can forge and remove them, so they prove no absence. What is not
understood is nothing.

Source: measured with 2.1.329 (ADR 0014).
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.intendants.claude_code.stream import Executed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import JsonValue

    Entry = dict[str, JsonValue]

TRANSCRIPTS: Final = ".claude/projects"
"""Below HOME; sub-agents' lie in directories of their own below it."""
_SHELL: Final = re.compile(r"<bash-input>(.*?)</bash-input>", re.DOTALL)
_INVALID: Final = "<tool_use_error>"


class Told(NamedTuple):
    """What one line of a transcript tells."""

    shell: str = ""
    """A command that a person typed behind `!`; no hook saw it."""
    asked: Executed | None = None
    """A call that the model asked for."""
    executed: str = ""
    """The tool_use_id of a call that has a result and was not refused."""


def read_entry(line: bytes) -> tuple[Told, ...]:
    """Read one line; anything else than an entry of a known shape tells nothing."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return ()
    if not isinstance(entry, dict):
        return ()
    match entry.get("type"):
        case "assistant":
            return tuple(_asked(entry))
        case "user":
            return tuple(_answered(entry))
        case _:
            return ()


def _asked(entry: Entry) -> Iterator[Told]:
    for block in _blocks(entry):
        if block.get("type") == "tool_use" and (name := _text(block, "id")):
            yield Told(asked=Executed(name, _text(block, "name")))


def _answered(entry: Entry) -> Iterator[Told]:
    content = _content(entry)
    if isinstance(content, str):
        # A prompt that a person typed has this text as its own words: it carries who sent it.
        if "origin" not in entry and (typed := _SHELL.search(content)):
            yield Told(shell=_clean(typed[1]))
        return
    for block in _blocks(entry):
        name = _text(block, "tool_use_id")
        if block.get("type") == "tool_result" and name and not _refused(entry, block):
            yield Told(executed=name)


def _refused(entry: Entry, block: Entry) -> bool:
    """Believe a refusal only where the harness itself says so, as in its event stream."""
    decision = entry.get("permissionDecision")
    if isinstance(decision, dict):
        return decision.get("decision") == "reject"
    if isinstance(entry.get("toolDenialKind"), str):
        return True
    text = block.get("content")
    return block.get("is_error") is True and isinstance(text, str) and text.startswith(_INVALID)


def _content(entry: Entry) -> JsonValue:
    message = entry.get("message")
    return message.get("content") if isinstance(message, dict) else None


def _blocks(entry: Entry) -> list[Entry]:
    content = _content(entry)
    return [b for b in content if isinstance(b, dict)] if isinstance(content, list) else []


def _text(block: Entry, field: str) -> str:
    found = block.get(field)
    return _clean(found) if isinstance(found, str) else ""


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
