"""When a rule matches an effect.

A matcher that tightens (deny, require) matches in doubt, one that loosens (allow) does not: a
target that is not known statically is matched by every tightening pattern and by no allow pattern
except an explicit `*`; a recursive effect is matched by a tightening path that may lie below it,
and by an allow path only where that covers everything below.

Source: system.md §7; ADR 0005; the language page docs/policy.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from agp.contracts.policy import Effect, EffectKind, Label, World
from agp.policy.targets import STAR, ArgvTarget, Side, Target

_PATHS: Final = frozenset(
    {
        EffectKind.READ,
        EffectKind.WRITE,
        EffectKind.DELETE,
        EffectKind.EXEC_WORKSPACE,
        EffectKind.PERSIST,
    }
)
FIELD_KINDS: Final = MappingProxyType(
    {
        "path": _PATHS,
        "argv": frozenset({EffectKind.EXEC}),
        "host": frozenset({EffectKind.CONNECT}),
        "port": frozenset({EffectKind.CONNECT, EffectKind.LISTEN}),
        "server": frozenset({EffectKind.MCP}),
        "tool": frozenset({EffectKind.MCP, EffectKind.HARNESS}),
        "agent": frozenset({EffectKind.SPAWN_AGENT}),
        "name": frozenset({EffectKind.ENV, EffectKind.PRIVILEGE, EffectKind.SIGNAL}),
        "source": frozenset({EffectKind.FLOW}),
        "sink": frozenset({EffectKind.FLOW}),
    }
)
"""Which matcher speaks about which kinds; another pairing is an error in the file."""


@dataclass(frozen=True)
class Matcher:
    """One field of `match`: alternatives of which one must match."""

    field: str
    targets: tuple[Target, ...]

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Tell whether one of the alternatives matches."""
        return any(target.covers(effect, world, side) for target in self.targets)

    @property
    def has_star(self) -> bool:
        """Tell whether an explicit `*` stands among the alternatives."""
        return any(target.text == STAR for target in self.targets)


@dataclass(frozen=True)
class Match:
    """All conditions of one rule; every one must hold."""

    effects: frozenset[EffectKind]
    matchers: tuple[Matcher, ...] = ()
    labels: frozenset[Label] = frozenset()
    """Empty: any; else one of them must be there."""
    without: frozenset[Label] = frozenset()
    """None of them may be there."""
    intendants: frozenset[str] = frozenset()
    """Empty: any."""

    def covers(self, effect: Effect, world: World, side: Side) -> bool:
        """Tell whether the conditions hold for an effect."""
        if effect.kind not in self.effects or not self.without.isdisjoint(effect.labels):
            return False
        if self.labels and self.labels.isdisjoint(effect.labels):
            return False
        if self.intendants and world.intendant not in self.intendants:
            return False
        if Label.DYNAMIC in effect.labels:
            return side is Side.TIGHTENS or self._says_star()
        return all(matcher.covers(effect, world, side) for matcher in self.matchers)

    @property
    def programs(self) -> frozenset[str]:
        """The programs to which the match is bound; empty: to none, it must always be tried."""
        commands = [m.targets for m in self.matchers if m.field == "argv"]
        names = {t.program for ts in commands for t in ts if isinstance(t, ArgvTarget)}
        return frozenset(filter(None, names)) if None not in names else frozenset()

    def _says_star(self) -> bool:
        return bool(self.matchers) and all(matcher.has_star for matcher in self.matchers)
