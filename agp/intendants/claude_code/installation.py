"""The hooks of a harness that a person starts: one settings document in, another one out. Pure.

AGP's share of a settings file is three things: switches (a value at a path), the rule `"*"` in
`permissions.ask`, and one hook for each event. Everything else in the file is somebody else's and
stays as it is. What a switch replaced is kept in an `Undo`, so that it can be put back.

The floor is `ask: ["*"]` with `denyInsteadOfPrompting`: where the hooks do not run, or fail, the
harness has nobody to ask and runs nothing (measured, ADR 0016).
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, JsonValue

from agp.contracts.base import Contract
from agp.contracts.gateway import HookEvent
from agp.contracts.strict_json import parse_json
from agp.errors import ConfigurationError, MessageRefused
from agp.intendants.claude_code.settings import (
    DECIDE_DEADLINE_S,
    HARNESS,
    HOOK_TIMEOUT_S,
    OBSERVE_DEADLINE_S,
    REDEEM_DEADLINE_S,
)
from agp.intendants.claude_code.version import LOWEST

if TYPE_CHECKING:
    from collections.abc import Mapping

Document = dict[str, JsonValue]
Keys = tuple[str, ...]
_OBSERVE_RECONNECT_S: Final = 5
"""An observation that finds no daemon must not hold the person up for long."""
_ASK: Final[Keys] = ("permissions", "ask")
_EVERY: Final = "*"
_BRIDGE_NAME: Final = "agp-bridge"
_OF_A_TOOL: Final = frozenset(
    {
        HookEvent.PRE_TOOL_USE,
        HookEvent.PERMISSION_REQUEST,
        HookEvent.POST_TOOL_USE,
        HookEvent.POST_TOOL_USE_FAILURE,
    }
)
"""Events that take a tool matcher; `*` is every tool."""
_ANYWHERE: Final[Mapping[Keys, JsonValue]] = {
    ("disableAllHooks",): False,
    ("disableSkillShellExecution",): True,
    ("permissions", "denyInsteadOfPrompting"): True,
    ("permissions", "disableBypassPermissionsMode"): "disable",
    ("permissions", "disableAutoMode"): "disable",
}
_MANAGED_ONLY: Final[Mapping[Keys, JsonValue]] = {
    ("allowManagedHooksOnly",): True,
    ("allowManagedPermissionRulesOnly",): True,
    ("requiredMinimumVersion",): LOWEST.version,
}


class HookPlace(Contract):
    """Where the hooks find what they need; stable over an upgrade of AGP."""

    interpreter: str
    bridge: str
    socket: str
    reconnect_s: Annotated[int, Field(ge=1)]
    """How long a deciding hook looks for the daemon."""


class Undo(Contract):
    """What an installation added and replaced in one document."""

    version: Literal[1] = 1
    made: tuple[str, ...] = ()
    """Containers and values that were not there, as JSON texts of their paths."""
    replaced: dict[str, JsonValue] = Field(default_factory=dict)
    """Values that were there, by the JSON text of their path."""


class Installed(Contract):
    """A document with AGP's share, and what takes it out again."""

    document: Document
    undo: Undo


def parse_document(data: bytes, *, where: str) -> Document:
    """Read a settings file that a person may have written.

    Raises:
        ConfigurationError: it is not one strict JSON object; the harness would drop it whole.
    """
    fix = "mend it by hand (no comments, no trailing commas, no key twice), then try again"
    try:
        parse_json(data)
    except MessageRefused as error:
        raise ConfigurationError(
            "the settings file is not strict JSON", where=where, why=error.why, fix=fix
        ) from error
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ConfigurationError("the settings file is not a JSON object", where=where, fix=fix)
    return document


def format_document(document: Document) -> bytes:
    """Spell a settings file as the harness itself does: two spaces, keys in their order."""
    return json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"


def install(document: Document, place: HookPlace, *, undo: Undo | None = None) -> Installed:
    """Put AGP's share into a document; what is right already is left as it is.

    `undo` is that of an earlier installation into the same file: what it knows of the time before
    stays known.

    Raises:
        ConfigurationError: something else stands where an object or a list must be.
    """
    changed, book = copy.deepcopy(document), _Book(undo or Undo())
    for path, value in _ANYWHERE.items():
        book.set(changed, path, value)
    asked = book.list_at(changed, _ASK)
    if _EVERY not in asked:
        book.note_made((*_ASK, _EVERY))
        asked.append(_EVERY)
    for event in HookEvent:
        groups = book.list_at(changed, ("hooks", event.value))
        kept = [group for group in groups if not is_ours(group)]
        ours = [group for group in groups if is_ours(group)]
        wanted = hook_group(event, place)
        if ours != [wanted]:
            groups[:] = [*kept, wanted]
    return Installed(document=changed, undo=book.undo())


def uninstall(document: Document, undo: Undo) -> Document:
    """Take AGP's share out; a value that was changed since is the person's, and stays."""
    changed = copy.deepcopy(document)
    hooks = changed.get("hooks")
    for groups in hooks.values() if isinstance(hooks, dict) else ():
        if isinstance(groups, list):
            groups[:] = [group for group in groups if not is_ours(group)]
    made = {tuple(json.loads(text)) for text in undo.made}
    asked = _at(changed, _ASK)
    if isinstance(asked, list) and (*_ASK, _EVERY) in made:
        asked[:] = [rule for rule in asked if rule != _EVERY]
    for path, value in _ANYWHERE.items():
        _restore(changed, path, value, made, undo.replaced)
    _drop_empty(changed, made)
    return changed


def differences(document: Document, place: HookPlace) -> tuple[str, ...]:
    """Name what of AGP's share is missing or different; empty: it is as `install` leaves it."""
    found = [
        f"{'.'.join(path)} is {_spelled(_at(document, path))}, not {_spelled(value)}"
        for path, value in _ANYWHERE.items()
        if not _same(_at(document, path), value)
    ]
    asked = _at(document, _ASK)
    if not isinstance(asked, list) or _EVERY not in asked:
        found.append('permissions.ask does not hold "*"')
    for event in HookEvent:
        groups = _at(document, ("hooks", event.value))
        ours = [g for g in groups if is_ours(g)] if isinstance(groups, list) else []
        if not ours:
            found.append(f"hooks.{event.value} has no hook of AGP")
        elif ours != [hook_group(event, place)]:
            found.append(f"hooks.{event.value} was edited, or is of another AGP")
    return tuple(found)


def same_as_ours(document: Document) -> tuple[str, ...]:
    """Name the values that stand as AGP sets them, whoever set them."""
    found = [
        ".".join(path) for path, value in _ANYWHERE.items() if _same(_at(document, path), value)
    ]
    asked = _at(document, _ASK)
    return (
        *found,
        *(['"*" in permissions.ask'] if isinstance(asked, list) and _EVERY in asked else []),
    )


def holds_ours(document: Document) -> bool:
    """Tell whether any hook of AGP is in a document, whatever else is."""
    hooks = document.get("hooks")
    lists = hooks.values() if isinstance(hooks, dict) else ()
    return any(is_ours(group) for groups in lists if isinstance(groups, list) for group in groups)


def foreign_hooks(document: Document) -> tuple[str, ...]:
    """Name the events on which somebody else's hooks run beside AGP's."""
    hooks = document.get("hooks")
    if not isinstance(hooks, dict):
        return ()
    return tuple(
        event
        for event, groups in hooks.items()
        if not isinstance(groups, list) or any(not is_ours(group) for group in groups)
    )


def is_ours(group: JsonValue) -> bool:
    """Recognise AGP's own hook by its bridge, wherever that lies."""
    hooks = group.get("hooks") if isinstance(group, dict) else None
    if not isinstance(hooks, list) or len(hooks) != 1 or not isinstance(hooks[0], dict):
        return False
    words = hooks[0].get("args")
    if not isinstance(words, list):
        return False
    return any(isinstance(w, str) and w.rpartition("/")[2] == _BRIDGE_NAME for w in words)


def hook_group(event: HookEvent, place: HookPlace) -> Document:
    """Write the hook of one event: exec form, blocking whatever fails."""
    redeem = event is HookEvent.PERMISSION_REQUEST
    decide = event is HookEvent.PRE_TOOL_USE
    deadline = DECIDE_DEADLINE_S if decide else OBSERVE_DEADLINE_S
    reconnect = place.reconnect_s if decide else min(place.reconnect_s, _OBSERVE_RECONNECT_S)
    clocks = [str(reconnect), str(REDEEM_DEADLINE_S if redeem else deadline)]
    words = ["-I", "-S", place.bridge, HARNESS, event.value, place.socket, *clocks]
    hook: Document = {
        "type": "command",
        "command": place.interpreter,
        "args": [*words],
        "timeout": HOOK_TIMEOUT_S,
        "onFailure": "block",
    }
    group: Document = {"matcher": "*"} if event in _OF_A_TOOL else {}
    return {**group, "hooks": [hook]}


def managed_document(place: HookPlace) -> Document:
    """Write the whole drop-in of the managed scope; nobody else's settings are in it."""
    switches = install({}, place).document
    return {**{path[0]: value for path, value in _MANAGED_ONLY.items()}, **switches}


def everything_made() -> Undo:
    """Give what takes AGP's share out where nobody knows what was there before."""
    paths = {path[:depth] for path in _ANYWHERE for depth in range(1, len(path) + 1)}
    lists = {_ASK, (*_ASK, _EVERY), ("hooks",), *(("hooks", event.value) for event in HookEvent)}
    return Undo(made=tuple(sorted(_text(path) for path in paths | lists)))


class _Book:
    """Writes into a document and keeps what was there."""

    def __init__(self, before: Undo) -> None:
        self._made = list(before.made)
        self._replaced = dict(before.replaced)

    def undo(self) -> Undo:
        return Undo(made=tuple(self._made), replaced=self._replaced)

    def note_made(self, path: Keys) -> None:
        if (text := _text(path)) not in self._made:
            self._made.append(text)

    def set(self, document: Document, path: Keys, value: JsonValue) -> None:
        parent, name, text = self.object_at(document, path[:-1]), path[-1], _text(path)
        if name in parent and _same(parent[name], value):
            return
        if name in parent:
            self._replaced[text] = parent[name]
            self._made = [made for made in self._made if made != text]
        else:
            self.note_made(path)
            self._replaced.pop(text, None)
        parent[name] = value

    def object_at(self, document: Document, path: Keys) -> Document:
        at = document
        for depth, name in enumerate(path, 1):
            if name not in at:
                at[name] = {}
                self.note_made(path[:depth])
            below = at[name]
            if not isinstance(below, dict):
                raise _unexpected(path[:depth], "an object")
            at = below
        return at

    def list_at(self, document: Document, path: Keys) -> list[JsonValue]:
        parent, name = self.object_at(document, path[:-1]), path[-1]
        if name not in parent:
            parent[name] = []
            self.note_made(path)
        found = parent[name]
        if not isinstance(found, list):
            raise _unexpected(path, "a list")
        return found


def _unexpected(path: Keys, wanted: str) -> ConfigurationError:
    return ConfigurationError(
        f"the setting {'.'.join(path)} is not what the harness expects",
        why="a file with one such value is dropped whole, with every hook in it",
        fix=f"make it {wanted}, or remove it",
    )


def _restore(
    document: Document,
    path: Keys,
    ours: JsonValue,
    made: set[tuple[str, ...]],
    replaced: Mapping[str, JsonValue],
) -> None:
    parent = _at(document, path[:-1])
    if not isinstance(parent, dict) or not _same(parent.get(path[-1]), ours):
        return
    if (text := _text(path)) in replaced:
        parent[path[-1]] = replaced[text]
    elif path in made:
        del parent[path[-1]]


def _drop_empty(document: Document, made: set[tuple[str, ...]]) -> None:
    """Remove the containers that the installation made and that hold nothing now, inner first."""
    for path in sorted(made, key=len, reverse=True):
        parent, name = _at(document, path[:-1]), path[-1]
        if isinstance(parent, dict) and parent.get(name) in ({}, []):
            del parent[name]


def _at(document: Document, path: Keys) -> JsonValue:
    at: JsonValue = document
    for name in path:
        if not isinstance(at, dict) or name not in at:
            return None
        at = at[name]
    return at


def _same(one: JsonValue, other: JsonValue) -> bool:
    """Compare as JSON does: `False` is not `0`."""
    return type(one) is type(other) and one == other


def _text(path: Keys) -> str:
    return json.dumps(list(path))


def _spelled(value: JsonValue) -> str:
    return "absent" if value is None else json.dumps(value)[:80]
