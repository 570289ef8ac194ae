"""Observe mode, the policy's half: which verdicts an observed session is let through.

What a person could be asked about, and what the operator's own rules, the shipped pack, the
repository or no rule at all refuses, is let through and recorded. Two things hold all the same:
the floor, and what the machine's admin denies, by a rule or by the default of the admin's file.
Refusals that are no verdicts of the policy (paused, ended, a secret that survives redaction, a
limit, a broken journal) never come here: they are made after it, and nothing lifts them.

Source: system.md §7; ADR 0019.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agp.contracts.policy import Decision, EffectVerdict, Tier, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

ADMINS: Final = frozenset({Tier.FLOOR, Tier.ADMIN})
"""Whose denies hold."""


def liftable(answers: Iterable[EffectVerdict], *, admin_denies_uncovered: bool) -> bool:
    """Tell whether observe mode lets a call with these effects through.

    Every answer is looked at, each effect's and the call's, not only the one that speaks for all:
    a deny that holds must not hide behind an equally strict one that does not.
    """
    holding = ADMINS | ({Tier.UNCOVERED} if admin_denies_uncovered else set())
    strict = [answer for answer in answers if answer.decision is not Decision.ALLOW]
    return bool(strict) and not any(
        answer.decision is Decision.DENY and answer.tier in holding for answer in strict
    )


def observed(verdict: Verdict) -> Verdict:
    """Give the verdict under which an observed session goes on: as it is, or let through.

    What was let through keeps its rule, tier and reason, and says what it would have been.
    """
    if not verdict.liftable or verdict.decision is Decision.ALLOW:
        return verdict
    through = {"decision": Decision.ALLOW, "would_be": verdict.decision, "liftable": False}
    return Verdict.model_validate(verdict.model_dump() | through)
