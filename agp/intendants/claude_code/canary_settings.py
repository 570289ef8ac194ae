"""A copy of somebody's settings for a canary: AGP's hooks on another socket, and what governs them.

The copy leaves out whatever runs code or leads elsewhere: other people's hooks, `apiKeyHelper`,
`statusLine`, plugins, variables that redirect the model. What could switch the hooks off stays.
"""

from __future__ import annotations

import copy
import json
from typing import Final

from pydantic import JsonValue

from agp.contracts.strict_json import parse_json
from agp.errors import ConfigurationError, MessageRefused

_GOVERNING: Final = frozenset(
    {
        "allowManagedHooksOnly",
        "allowManagedPermissionRulesOnly",
        "disableAllHooks",
        "disableSkillShellExecution",
        "hooks",
        "permissions",
        "requiredMinimumVersion",
    }
)
_SWITCHES: Final = frozenset({"CLAUDE_CODE_SIMPLE", "CLAUDE_CODE_SAFE_MODE"})
"""Variables in `env` that switch hooks off (measured)."""
_FIX: Final = "agp hooks install puts AGP's hooks in"
Document = dict[str, JsonValue]


def canary_settings(settings: bytes, *, socket: str, instead: str) -> bytes:
    """Copy a settings document with AGP's hooks asking at `instead` of `socket`.

    A hook is AGP's where one of its arguments is exactly the socket's path; the rest of its words,
    the interpreter and the bridge among them, stay: they are what is proved.

    Raises:
        ConfigurationError: it is no settings document, or no hook in it asks at that socket.
    """
    try:
        parse_json(settings)
    except MessageRefused as error:
        raise ConfigurationError("these settings are not JSON", why=error.why, fix=_FIX) from error
    whole = json.loads(settings)
    if not isinstance(whole, dict):
        raise ConfigurationError("these settings are not a JSON object", fix=_FIX)
    kept: Document = {name: value for name, value in whole.items() if name in _GOVERNING}
    hooks = _hooks(kept.get("hooks"), socket, instead)
    if not hooks:
        raise ConfigurationError("no hook in these settings asks AGP", where=socket, fix=_FIX)
    kept["hooks"] = hooks
    if switches := _switches(whole.get("env")):
        kept["env"] = switches
    return json.dumps(kept, ensure_ascii=False, indent=1).encode()


def _hooks(hooks: JsonValue, socket: str, instead: str) -> Document:
    events = hooks.items() if isinstance(hooks, dict) else ()
    found: Document = {}
    for event, groups in events:
        ours = [_moved(g, socket, instead) for g in _list(groups) if _asks_at(g, socket)]
        if ours:
            found[event] = [*ours]
    return found


def _asks_at(group: JsonValue, socket: str) -> bool:
    return any(socket in _list(hook.get("args")) for hook in _entries(group))


def _moved(group: JsonValue, socket: str, instead: str) -> JsonValue:
    """Give the group with the socket replaced, and without hooks of others beside AGP's."""
    moved = copy.deepcopy(group)
    if isinstance(moved, dict):
        moved["hooks"] = [
            {**hook, "args": [instead if w == socket else w for w in _list(hook.get("args"))]}
            for hook in _entries(group)
            if socket in _list(hook.get("args"))
        ]
    return moved


def _entries(group: JsonValue) -> list[Document]:
    hooks = group.get("hooks") if isinstance(group, dict) else None
    return [hook for hook in _list(hooks) if isinstance(hook, dict)]


def _switches(environment: JsonValue) -> Document:
    if not isinstance(environment, dict):
        return {}
    return {name: value for name, value in environment.items() if name in _SWITCHES}


def _list(value: JsonValue) -> list[JsonValue]:
    return value if isinstance(value, list) else []
