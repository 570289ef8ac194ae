"""Effects in words for the person who is asked, the gravest first."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from agp.contracts.display import visible
from agp.contracts.policy import Effect, EffectKind, Label

if TYPE_CHECKING:
    from collections.abc import Iterable

WORDS: Final[dict[EffectKind, str]] = {
    EffectKind.GOVERN: "touches AGP itself:",
    EffectKind.FLOW: "carries data from one to the other:",
    EffectKind.PRIVILEGE: "takes more power:",
    EffectKind.PERSIST: "leaves behind what runs later:",
    EffectKind.OPAQUE: "does what nobody can see beforehand:",
    EffectKind.EXEC_WORKSPACE: "runs code that the agent can write:",
    EffectKind.DELETE: "deletes",
    EffectKind.CONNECT: "connects to",
    EffectKind.LISTEN: "listens on",
    EffectKind.MCP: "calls the MCP tool",
    EffectKind.SIGNAL: "signals",
    EffectKind.ENV: "changes the variable",
    EffectKind.WRITE: "writes",
    EffectKind.EXEC: "runs",
    EffectKind.SPAWN_AGENT: "starts the sub-agent",
    EffectKind.READ: "reads",
    EffectKind.HARNESS: "changes only the harness's own state:",
}
"""Every kind, in the order of gravity in which effects are listed."""
LABEL_WORDS: Final[dict[Label, str]] = {
    Label.OUTSIDE_WORKSPACE: "outside the workspace",
    Label.RECURSIVE: "with everything below",
    Label.SECRET_PATH: "a place for secrets",
    Label.HISTORY: "rewrites history",
    Label.SAFETY_OFF: "switches a safety off",
    Label.CONTAINER_ESCAPE: "reaches out of its container",
    Label.DYNAMIC: "known only when it runs",
    Label.UNDERSTOOD: "the other lines say all that it does",
}
_GRAVITY: Final = {kind: place for place, kind in enumerate(WORDS)}


def by_gravity(effects: Iterable[Effect]) -> tuple[Effect, ...]:
    """Sort so that a list that must be cut is never cut where it matters.

    Attack: a call with a hundred harmless reads pushes its one deletion out of sight.
    """
    return tuple(
        sorted(effects, key=lambda e: (_GRAVITY[e.kind], not e.labels - {Label.UNDERSTOOD}))
    )


def network_in_words(network: tuple[str, ...]) -> str:
    """Say what a call in a view of its own reaches; nothing is said of the other calls."""
    return ", ".join(network) or "none: this call reaches no host"


def in_words(effect: Effect, *, limit: int) -> str:
    """Say one effect on one line, made visible."""
    subject = shlex.join(effect.argv) if effect.argv else effect.endpoint
    marks = ", ".join(LABEL_WORDS[label] for label in sorted(effect.labels))
    return f"{WORDS[effect.kind]} {visible(subject, limit=limit)}{f' ({marks})' if marks else ''}"
