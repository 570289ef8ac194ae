"""The effective input: what the harness makes of a tool input before it runs it.

Measured with 2.1.329: where the harness normalises an input (a relative path, `~`, `..`, blanks
around a path), PreToolUse fires *twice* for one tool_use_id, first with the model's spelling and
then with the normal one, and PermissionRequest shows the normal one. Both spellings must therefore
have the same canonical bytes, or a granted call finds no ticket.
"""

from __future__ import annotations

import re

from agp.contracts.strict_json import Json, canonical_json, parse_json
from agp.errors import MessageRefused
from agp.intendants.claude_code.environment import VIEW_HOME

PATH_FIELDS = {
    "Read": "file_path",
    "Write": "file_path",
    "Edit": "file_path",
    "NotebookEdit": "notebook_path",
}
_JS_BLANK = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What the harness's `trim()` removes (ECMA-262 WhiteSpace and LineTerminator)."""
_SLASHES = re.compile("/+")


def canonical_input(tool: str, raw_input: bytes, cwd: str) -> bytes:
    """Give the canonical bytes of the effective input of one call, the same for both hooks.

    Raises:
        MessageRefused: the input is not one strict JSON object.
    """
    value = read_input(raw_input)
    field = PATH_FIELDS.get(tool)
    path = value.get(field) if field else None
    if field and isinstance(path, str):
        value[field] = effective_path(path, cwd)
    if tool == "Edit":
        value.setdefault("replace_all", False)
    if tool == "SendMessage":
        value = _plain_message(value)
    return canonical_json(value)


def read_input(raw_input: bytes) -> dict[str, Json]:
    """Read a tool input strictly.

    Raises:
        MessageRefused: it is not one strict JSON object.
    """
    value = parse_json(raw_input)
    if not isinstance(value, dict):
        raise MessageRefused("a tool input is not a JSON object")
    return value


def effective_path(path: str, cwd: str) -> str:
    """Say which path the harness opens for what the model wrote, character by character.

    Lexical, as the harness does it: `a/link/../b` is `a/b` wherever the link leads, so what is
    decided must be this path and not the kernel's reading of the model's spelling.
    """
    path = path.strip(_JS_BLANK)
    if path == "~" or path.startswith("~/"):
        return _normal(f"{VIEW_HOME}{path[1:]}")
    if path.startswith("/"):
        return _normal(path)
    return _normal(f"{cwd}/{path}").rstrip("/") or "/"


def _normal(path: str) -> str:
    parts: list[str] = []
    for part in _SLASHES.split(path):
        if part == "..":
            del parts[-1:]
        elif part not in {"", "."}:
            parts.append(part)
    end = "/" if parts and path.endswith("/") else ""
    return f"/{'/'.join(parts)}{end}"


def _plain_message(value: dict[str, Json]) -> dict[str, Json]:
    """Drop what the harness adds to a message, where it says nothing new (measured)."""
    added = {
        "type": "message",
        "recipient": value.get("to"),
        "recipient_kind": "name",
        "content": value.get("message"),
    }
    return {k: v for k, v in value.items() if k not in added or v != added[k]}
