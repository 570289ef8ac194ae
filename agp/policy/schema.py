"""The policy file's JSON Schema, made from the same names as the reader, for editors.

It says what a schema can say; the reader is stricter (which matcher speaks about which effect, how
a pattern is spelled) and has the last word.
"""

from __future__ import annotations

import json
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.policy import Decision, EffectKind, FlowSink, FlowSource, Grade, Label
from agp.policy.fields import MAX_SENTENCE
from agp.policy.language import (
    APPROVER_PATTERN,
    DEFAULTS,
    FILE_FIELDS,
    ID_PATTERN,
    MATCH_FIELDS,
    MAX_EXPIRY_S,
    MAX_QUORUM,
    RULE_FIELDS,
)
from agp.policy.patterns import LAST_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Schema = dict[str, "str | int | bool | list[str] | list[Schema] | Schema"]

_TEXT: Final[Schema] = {"type": "string", "minLength": 1}
_SENTENCE: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MAX_SENTENCE}
_ID: Final[Schema] = {"type": "string", "pattern": ID_PATTERN, "maxLength": 64}


def policy_schema() -> bytes:
    """Give the published file, byte for byte."""
    return (json.dumps(_file(), indent=2, ensure_ascii=False) + "\n").encode()


def _file() -> Schema:
    known: dict[str, Schema] = {
        "version": {"const": 1},
        "default": _enum(d.value for d in DEFAULTS)
        | {"description": "What no rule covers. Not in a workspace policy."},
        "acknowledge": _some(_ID) | {"description": "Shipped denies that this file lowers."},
        "rules": {"type": "array", "minItems": 1, "items": _rule()},
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "AGP policy",
        **_object({name: known[name] for name in FILE_FIELDS}, ["version", "rules"]),
    }


def _rule() -> Schema:
    known: dict[str, Schema] = {
        "id": _ID,
        "match": _object({name: _MATCH[name] for name in MATCH_FIELDS}, ["effect"]),
        "verdict": _enum(d.value for d in Decision),
        "reason": _SENTENCE | {"description": "For the agent: what to do instead."},
        "hint": _SENTENCE | {"description": "For the operator."},
        "min_grade": _enum(g.value for g in Grade) | {"description": "Only on allow."},
        "approvers": _some({"type": "string", "pattern": APPROVER_PATTERN})
        | {"description": "Only on require."},
        "quorum": _integer(1, MAX_QUORUM) | {"description": "Only on require."},
        "expires_s": _integer(1, MAX_EXPIRY_S) | {"description": "Only on require."},
    }
    rule = _object({name: known[name] for name in RULE_FIELDS}, ["id", "match", "verdict"])
    return rule | {
        "if": {"properties": {"verdict": {"const": Decision.DENY.value}}},
        "then": {"required": ["reason"]},
    }


def _object(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required,
        "properties": dict(properties),
    }


def _some(item: Schema) -> Schema:
    """One value, or a list of alternatives."""
    return _either(item, _list(item))


def _either(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _list(item: Schema) -> Schema:
    return {"type": "array", "minItems": 1, "items": item}


def _enum(values: Iterable[str]) -> Schema:
    return {"enum": list(values)}


def _integer(first: int, last: int) -> Schema:
    return {"type": "integer", "minimum": first, "maximum": last}


_COMMAND: Final[Schema] = _either(_TEXT, _list(_TEXT))
_MATCH: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "effect": _some(_enum(k.value for k in EffectKind)),
        "label": _some(_enum(label.value for label in Label)),
        "without_label": _some(_enum(label.value for label in Label)),
        "intendant": _some(_ID),
        "path": _some(_TEXT),
        "argv": _either(_TEXT, _list(_COMMAND)),
        "host": _some(_TEXT),
        "port": _some(_either(_integer(1, LAST_PORT), _TEXT)),
        "server": _some(_TEXT),
        "tool": _some(_TEXT),
        "agent": _some(_TEXT),
        "name": _some(_TEXT),
        "source": _some(_enum(s.value for s in FlowSource)),
        "sink": _some(_enum(s.value for s in FlowSink)),
    }
)
