"""The truth table: from one effect to one answer, and from all answers of a call to one.

    1. the floor: `govern` is denied, whatever any rule says;
    2. among matching rules of admin and user the strictest wins, and a shipped deny that the user
       has not acknowledged stands where no admin rule matched;
    3. only where neither matched, the strictest matching rule of the shipped pack;
    4. otherwise the effect is uncovered: the policy's default, deny or require, never allow;
    5. the strictest matching workspace rule is applied as a maximum: it can only tighten.

Order: allow < require < deny. Requires merge to the larger quorum, the intersection of approvers
and the shorter expiry; where too few approvers are left for the quorum, that is a deny.

Source: system.md §7. Published cell by cell in docs/policy.md, whose cells are the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.base import RuleId
from agp.contracts.policy import (
    Decision,
    Effect,
    EffectKind,
    EffectVerdict,
    Grade,
    Label,
    Tier,
    World,
)
from agp.policy.hints import hint_for
from agp.policy.rules import Rule
from agp.policy.targets import program_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FLOOR_ID: Final = RuleId("agp-floor")
UNCOVERED_ID: Final = RuleId("agp-uncovered")
NO_APPROVER_ID: Final = RuleId("agp-no-approver")
_RANK: Final = MappingProxyType(
    {
        Tier.FLOOR: 0,
        Tier.ADMIN: 1,
        Tier.USER: 2,
        Tier.DEFAULT: 3,
        Tier.WORKSPACE: 4,
        Tier.UNCOVERED: 5,
    }
)
"""Which of several equally strict answers speaks for all: the strongest tier, then the id."""

EVERY_PROGRAM: Final = "*"
ANY_PROGRAM: Final = ""
Index = Mapping[tuple[Tier, EffectKind, str], tuple[Rule, ...]]
"""Rules by tier, kind and program: those that name a program, those that name none, and all."""


@dataclass(frozen=True)
class Rulebook:
    """The rules in force, found by tier and by what the effect is."""

    index: Index
    default: Decision
    acknowledged: frozenset[RuleId]

    def matching(self, tier: Tier, effect: Effect, grade: Grade, world: World) -> list[Rule]:
        """Give the rules of a tier that have something to say about an effect."""
        found = (self.index.get((tier, effect.kind, name), ()) for name in _looked_up(effect))
        return [rule for rules in found for rule in rules if rule.covers(effect, grade, world)]


def make_index(rules: Iterable[Rule]) -> Index:
    """File every rule under each program that it is bound to, and under all programs."""
    index: dict[tuple[Tier, EffectKind, str], list[Rule]] = {}
    for rule in rules:
        for kind in rule.match.effects:
            for name in (rule.match.programs or {ANY_PROGRAM}) | {EVERY_PROGRAM}:
                index.setdefault((rule.tier, kind, name), []).append(rule)
    return MappingProxyType({key: tuple(found) for key, found in index.items()})


def _looked_up(effect: Effect) -> frozenset[str]:
    """A target that is not known may be any program."""
    if Label.DYNAMIC in effect.labels:
        return frozenset({EVERY_PROGRAM})
    return frozenset({ANY_PROGRAM}) | program_names(effect)


def decide_effect(book: Rulebook, effect: Effect, grade: Grade, world: World) -> EffectVerdict:
    """Carry one effect through steps 1 to 5."""
    if effect.kind is EffectKind.GOVERN:
        return _floor(effect)
    above = [
        rule
        for tier in (Tier.ADMIN, Tier.USER)
        for rule in book.matching(tier, effect, grade, world)
    ]
    shipped = book.matching(Tier.DEFAULT, effect, grade, world)
    answers = [_answer(rule, effect) for rule in (above or shipped)]
    if above:
        answers += [_standing(rule, effect) for rule in _unlifted(book, above, shipped)]
    answer = _strictest(answers) if answers else _uncovered(book.default, effect, world)
    workspace = book.matching(Tier.WORKSPACE, effect, grade, world)
    return _strictest([answer, *(_answer(rule, effect) for rule in workspace)])


def combine(answers: Sequence[EffectVerdict]) -> EffectVerdict:
    """Give the answer for a call from the answers for its effects; requires merge here too."""
    return _strictest(answers)


def _floor(effect: Effect) -> EffectVerdict:
    return EffectVerdict(
        effect=effect,
        decision=Decision.DENY,
        rule_id=FLOOR_ID,
        tier=Tier.FLOOR,
        reason="This touches AGP itself, which no agent may do. Leave AGP's files, sockets and "
        "settings alone and go on with the task without them.",
    )


def _unlifted(book: Rulebook, above: list[Rule], shipped: list[Rule]) -> list[Rule]:
    """Find shipped denies that only unacknowledged user rules speak against."""
    if any(rule.tier is Tier.ADMIN for rule in above):
        return []
    return [
        rule
        for rule in shipped
        if rule.verdict is Decision.DENY and rule.id not in book.acknowledged
    ]


def _answer(rule: Rule, effect: Effect) -> EffectVerdict:
    return EffectVerdict(
        effect=effect,
        decision=rule.verdict,
        rule_id=rule.id,
        tier=rule.tier,
        reason=rule.reason or _plain_reason(rule),
        hint=rule.hint,
        approvers=rule.approvers,
        quorum=rule.quorum,
        expires_s=rule.expires_s,
    )


def _standing(rule: Rule, effect: Effect) -> EffectVerdict:
    """Answer with a shipped deny, and tell the operator how to lower it on purpose."""
    return EffectVerdict(
        effect=effect,
        decision=rule.verdict,
        rule_id=rule.id,
        tier=rule.tier,
        reason=rule.reason,
        hint=f"this shipped deny stands until your policy says `acknowledge: [{rule.id}]`",
    )


def _plain_reason(rule: Rule) -> str:
    if rule.verdict is Decision.ALLOW:
        return f"The rule {rule.id} allows it."
    return (
        f"The rule {rule.id} asks a person. If the answer is no, do what can be done without "
        "this, and say what is left to do."
    )


def _uncovered(default: Decision, effect: Effect, world: World) -> EffectVerdict:
    way = (
        "it is refused. Find a way that the policy covers (reading and editing files in the "
        "workspace usually is), or say what you need and why."
        if default is Decision.DENY
        else "a person is asked. If the answer is no, find a way that needs no question."
    )
    return EffectVerdict(
        effect=effect,
        decision=default,
        rule_id=UNCOVERED_ID,
        tier=Tier.UNCOVERED,
        reason=f"No rule of the policy covers this {effect.kind.value} effect, so {way}",
        hint=hint_for(effect, world),
    )


def _strictest(answers: Sequence[EffectVerdict]) -> EffectVerdict:
    """Give the strictest answer; equal denies or allows are one, equal requires merge."""
    strictness = max(answer.decision.strictness for answer in answers)
    top = sorted((a for a in answers if a.decision.strictness == strictness), key=_rank)
    return _merged(top) if top[0].decision is Decision.REQUIRE else top[0]


def _rank(answer: EffectVerdict) -> tuple[int, str]:
    return _RANK[answer.tier], answer.rule_id


def _merged(requires: Sequence[EffectVerdict]) -> EffectVerdict:
    first = requires[0]
    approvers = reduce(_both, (one.approvers for one in requires))
    quorum = max(one.quorum for one in requires)
    if approvers is not None and len(approvers) < quorum:
        return _nobody(first, requires)
    return EffectVerdict(
        effect=first.effect,
        decision=Decision.REQUIRE,
        rule_id=first.rule_id,
        tier=first.tier,
        reason=first.reason,
        hint=first.hint,
        approvers=approvers,
        quorum=quorum,
        expires_s=min((one.expires_s for one in requires if one.expires_s), default=None),
    )


def _both(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    """Intersect; None is everybody whom the channel trusts."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _nobody(first: EffectVerdict, requires: Iterable[EffectVerdict]) -> EffectVerdict:
    ids = ", ".join(sorted({one.rule_id for one in requires}))
    return EffectVerdict(
        effect=first.effect,
        decision=Decision.DENY,
        rule_id=NO_APPROVER_ID,
        tier=first.tier,
        reason="The rules that ask a person here leave too few people who may answer, so it is "
        "refused. Do what can be done without this, and say what is left to do.",
        hint=f"these rules have too few approvers in common: {ids}",
    )
