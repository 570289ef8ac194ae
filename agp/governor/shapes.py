"""The shape of a call, from what the journal says of it: what a person would group it by.

A command is its program and subcommand, a path its family in the workspace or on the machine, a
connection its host and port. Shapes are for counting only; nothing is decided by them.
"""

from __future__ import annotations

import re
from typing import Final

from agp.contracts.strict_json import parse_json
from agp.errors import MessageRefused

_DESCRIBED: Final = re.compile(r"([a-z_]+)\((.*)\)(?: \[[a-z_, ]*\])?", re.DOTALL)
_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_:-]*")
_PATHS: Final = frozenset({"read", "write", "delete", "persist", "exec_workspace"})
_FAMILY: Final = 2
"""Components of a path outside the workspace that its family keeps."""


def shape_of(tool: str, arguments: str, effects: tuple[str, ...], workspace: str) -> str:
    """Name the shape of one call; untrusted text comes through as it is."""
    described = [found for effect in effects if (found := _DESCRIBED.fullmatch(effect))]
    kinds = [found[1] for found in described]
    if "exec" in kinds:
        return _command(described[kinds.index("exec")][2])
    command = _written(arguments)
    if command:
        why = f" (opaque: {described[0][2]})" if kinds[:1] == ["opaque"] else ""
        return f"{_command(command)}{why}"
    if not described:
        return tool
    kind, subject = described[0][1], described[0][2]
    return f"{kind} {_family(subject, workspace)}" if kind in _PATHS else f"{kind} {subject}"


def _command(text: str) -> str:
    """Give program and subcommand; flags and everything else are left out."""
    words = text.split()
    if not words:
        return "(nothing)"
    program = words[0].rsplit("/", 1)[-1] or words[0]
    second = words[1] if len(words) > 1 and _BARE.fullmatch(words[1]) else ""
    return f"{program} {second}".rstrip()


def _written(arguments: str) -> str:
    """Give the command line that a call wrote, where it is one."""
    try:
        said = parse_json(arguments.encode())
    except MessageRefused:
        return ""
    command = said.get("command") if isinstance(said, dict) else None
    return command if isinstance(command, str) else ""


def _family(path: str, workspace: str) -> str:
    """Give the part of a path that its kin share."""
    inside = path.removeprefix(f"{workspace}/") if workspace else path
    if inside != path:
        first, below, _ = inside.partition("/")
        return f"{first}/**" if below else f"./{first}"
    if path == workspace:
        return "."
    parts = path.strip("/").split("/")
    return "/" + "/".join(parts[:_FAMILY]) + ("/**" if len(parts) > _FAMILY else "")
