"""What the harness's own event stream says about a canary: the last witness, never the first."""

from __future__ import annotations

import json
from typing import NamedTuple

from agp.errors import MessageRefused
from agp.intendants.claude_code.stream import ClaudeStream, Reconciliation, hooks_alive, reconcile

_BY_RULE = "permission-rule"


class Shown(NamedTuple):
    """One stream, read to its end."""

    calls: Reconciliation
    hooks_alive: bool
    settled: frozenset[str]
    """Calls that were refused by a hook or a rule; the rest would have been put to a person."""


def read_stream(stdout: bytes) -> Shown | None:
    """Read a whole stream; None: it is not one.

    `settled` rests on `non_execution_kind`: `permission-rule` where `denyInsteadOfPrompting` holds,
    `user-rejected` where only nobody was there to answer (measured with 2.1.329).
    """
    stream = ClaudeStream()
    lines = [line for line in stdout.splitlines() if line.strip()]
    try:
        items = [item for line in lines for item in stream.read(line)]
    except MessageRefused:
        return None
    settled = frozenset(name for line in lines for name in _settled(line))
    return Shown(reconcile(items), hooks_alive(items), settled)


def _settled(line: bytes) -> list[str]:
    facts = json.loads(line).get("tool_result_meta")
    return [
        str(fact.get("id"))
        for fact in (facts if isinstance(facts, list) else ())
        if isinstance(fact, dict) and fact.get("non_execution_kind") == _BY_RULE
    ]
