"""Which paths a policy denies for reading, whatever else is said about a call.

For a second barrier in a harness that knows patterns of its own. Only what can be said by a path
alone is given: a rule with labels, or with a target that is no path, stays with the gate, which
decides every call in any case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agp.contracts.policy import Decision, EffectKind, Tier
from agp.policy.targets import PathTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agp.policy.match import Match
    from agp.policy.policyset import PolicySet
    from agp.policy.rules import Rule


def denied_reads(policy: PolicySet, *, intendant: str) -> tuple[PathTarget, ...]:
    """Give the path patterns that no rule of this policy can make readable, each once.

    A shipped deny that the operator lowered knowingly is left out: his rule may allow what it
    denies.
    """
    lowered = {said.id for file in policy.files for said in file.acknowledge}
    found: dict[PathTarget, None] = {}
    for file in policy.files:
        for rule in file.rules:
            if rule.tier is Tier.DEFAULT and rule.id in lowered:
                continue
            if rule.verdict is Decision.DENY:
                found |= dict.fromkeys(_paths(rule, intendant))
    return tuple(found)


def _paths(rule: Rule, intendant: str) -> Iterator[PathTarget]:
    match = rule.match
    spoken_to = not match.intendants or intendant in match.intendants
    if EffectKind.READ in match.effects and spoken_to and _by_path_alone(match):
        for target in match.matchers[0].targets:
            if isinstance(target, PathTarget):
                yield target


def _by_path_alone(match: Match) -> bool:
    return not match.labels and not match.without and [m.field for m in match.matchers] == ["path"]
