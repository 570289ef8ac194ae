"""Which rule would cover an effect, as YAML that an operator can paste.

Every value in it comes from an agent, so each is written as a double-quoted scalar in printable
ASCII: what is pasted cannot become another rule.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.policy import Effect, EffectKind, Label, World
from agp.policy.patterns import (
    PatternError,
    argv_of_words,
    host_target,
    name_target,
    path_target,
)
from agp.policy.targets import Part, relative

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ASCII_END: Final = 0x7F
_BASIC_PLANE: Final = 0x10000
MAX_HINT: Final = 2000
_NO_RULE: Final = "no rule can name this target exactly; a rule for its surroundings would cover it"
_DYNAMIC: Final = "the target is not known before it runs; an allow rule covers it only with '*'"
_OPAQUE: Final = (
    "AGP does not understand this call; a rule with `effect: opaque` would cover it, and "
    "everything else that is not understood"
)


def hint_for(effect: Effect, world: World) -> str:
    """Write the narrowest allow rule for an uncovered effect, or say why there is none."""
    if effect.kind is EffectKind.OPAQUE:
        return _OPAQUE
    if Label.DYNAMIC in effect.labels:
        return _DYNAMIC
    write = _FIELDS.get(effect.kind)
    if write is None:
        return _NO_RULE
    try:
        match = ", ".join([f"effect: {effect.kind.value}", *write(effect, world)])
    except PatternError:
        return _NO_RULE
    rule_id = f"allow-this-{effect.kind.value.replace('_', '-')}"
    rule = f"  - id: {rule_id}\n    match: {{{match}}}\n    verdict: allow"
    return f"a rule that would cover it:\n{rule}" if len(rule) <= MAX_HINT else _NO_RULE


def _exec(effect: Effect, world: World) -> list[str]:
    """Name exactly these words, as far as a pattern can."""
    del world
    if not effect.argv:
        raise PatternError("an exec without words")
    words = tuple("<any>" if "<" in word and ">" in word else word for word in effect.argv)
    argv_of_words(words)
    return [f"argv: [[{', '.join(map(quoted, words))}]]"]


def _connect(effect: Effect, world: World) -> list[str]:
    del world
    port = [] if effect.port is None else [f"port: {effect.port}"]
    return [f"host: {quoted(host_target(effect.subject).text)}", *port]


def _listen(effect: Effect, world: World) -> list[str]:
    del world
    return [f"port: {effect.port}"] if effect.port else []


def _mcp(effect: Effect, world: World) -> list[str]:
    del world
    server, _, tool = effect.subject.partition("/")
    return [f"server: {quoted(_name(server))}", f"tool: {quoted(_name(tool))}"]


def _named(field: str) -> Callable[[Effect, World], list[str]]:
    return lambda effect, _: [f"{field}: {quoted(_name(effect.subject))}"]


def _path(effect: Effect, world: World) -> list[str]:
    inside = relative(effect.subject, world.workspace)
    text = effect.subject if inside is None else (f"./{inside}" if inside else ".")
    if "*" in text or "?" in text:
        raise PatternError("a wildcard that is part of a name")
    below = "/**" if Label.RECURSIVE in effect.labels else ""
    return [f"path: {quoted(path_target(text + below).text)}"]


def _name(name: str) -> str:
    if "*" in name:
        raise PatternError("a wildcard that is part of a name")
    return name_target(name, Part.WHOLE).text


def quoted(text: str) -> str:
    """Spell a text as a double-quoted YAML scalar in printable ASCII."""
    return '"' + "".join(map(_sign, text)) + '"'


def _sign(sign: str) -> str:
    if " " <= sign < chr(_ASCII_END):
        return json.dumps(sign)[1:-1]
    return f"\\u{ord(sign):04x}" if ord(sign) < _BASIC_PLANE else f"\\U{ord(sign):08x}"


_FIELDS: Final[Mapping[EffectKind, Callable[[Effect, World], list[str]]]] = MappingProxyType(
    {
        EffectKind.EXEC: _exec,
        EffectKind.EXEC_WORKSPACE: _path,
        EffectKind.READ: _path,
        EffectKind.WRITE: _path,
        EffectKind.DELETE: _path,
        EffectKind.PERSIST: _path,
        EffectKind.CONNECT: _connect,
        EffectKind.LISTEN: _listen,
        EffectKind.MCP: _mcp,
        EffectKind.HARNESS: _named("tool"),
        EffectKind.SPAWN_AGENT: _named("agent"),
        EffectKind.ENV: _named("name"),
        EffectKind.SIGNAL: _named("name"),
        EffectKind.PRIVILEGE: _named("name"),
    }
)
"""Kinds that are not here have no rule that is one paste away."""
