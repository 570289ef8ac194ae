"""The files of all tiers as one policy, with its digest."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from agp.contracts.base import Digest, RuleId
from agp.contracts.policy import Decision, Effect, EffectKind, Grade, Tier, Verdict, World
from agp.errors import PolicyError
from agp.policy.document import wrong
from agp.policy.fields import nearest
from agp.policy.observe import liftable
from agp.policy.overlap import may_lower
from agp.policy.table import Rulebook, combine, decide_effect, make_index

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agp.policy.rules import PolicyFile, Rule

_DOMAIN: Final = b"agp/policy/v1\0"
_ORDER: Final = (Tier.ADMIN, Tier.USER, Tier.DEFAULT, Tier.WORKSPACE)


@dataclass(frozen=True)
class PolicySet:
    """What is in force: immutable, built whole or not at all."""

    files: tuple[PolicyFile, ...]
    digest: Digest
    """Over the tier and the bytes of every file, tier by tier."""
    book: Rulebook

    @classmethod
    def build(cls, files: Iterable[PolicyFile]) -> Self:
        """Put files together.

        Raises:
            PolicyError: not exactly one default pack, one id twice in a tier, or a user's rule
                that lowers a shipped deny without saying so.
        """
        ordered = tuple(sorted(files, key=lambda file: (_ORDER.index(file.tier), file.digest)))
        pack = _the_pack(ordered)
        _refuse_twins(ordered)
        for file in ordered:
            if file.tier is Tier.USER:
                _check_acknowledged(file, pack)
        return cls(ordered, _digest(ordered), _book(ordered, pack))

    def decide(self, effects: tuple[Effect, ...], *, grade: Grade, world: World) -> Verdict:
        """Decide a call: the strictest over its effects. A call without effects is opaque."""
        known = effects or (Effect(kind=EffectKind.OPAQUE, subject="no effect is known"),)
        answers = tuple(decide_effect(self.book, effect, grade, world) for effect in known)
        answer = combine(answers)
        return Verdict(
            decision=answer.decision,
            rule_id=answer.rule_id,
            tier=answer.tier,
            reason=answer.reason,
            hint=answer.hint,
            approvers=answer.approvers,
            quorum=answer.quorum,
            expires_s=answer.expires_s,
            policy_digest=self.digest,
            grade=grade,
            effects=answers,
            liftable=liftable(
                (*answers, answer), admin_denies_uncovered=self._admin_denies_uncovered()
            ),
        )

    def _admin_denies_uncovered(self) -> bool:
        admins = (file for file in self.files if file.tier is Tier.ADMIN)
        return any(file.default is Decision.DENY for file in admins)


def _the_pack(files: tuple[PolicyFile, ...]) -> PolicyFile:
    packs = [file for file in files if file.tier is Tier.DEFAULT]
    if len(packs) != 1:
        raise PolicyError(
            f"a policy stands on exactly one default pack, here are {len(packs)}",
            where=", ".join(pack.name for pack in packs),
            fix="install AGP again" if not packs else "keep one",
        )
    return packs[0]


def _refuse_twins(files: tuple[PolicyFile, ...]) -> None:
    first: dict[tuple[Tier, RuleId], Rule] = {}
    for rule in (rule for file in files for rule in file.rules):
        twin = first.setdefault((rule.tier, rule.id), rule)
        if twin is not rule:
            raise wrong(rule.at, f"the id {rule.id!r} stands in {twin.at} too", "rename one")


def _check_acknowledged(file: PolicyFile, pack: PolicyFile) -> None:
    denies = {rule.id: rule for rule in pack.rules if rule.verdict is Decision.DENY}
    for said in file.acknowledge:
        if said.id not in denies:
            fix = nearest(said.id, denies)
            raise wrong(said.at, f"there is no shipped deny {said.id!r} to acknowledge", fix)
    said_ids = {said.id for said in file.acknowledge}
    for rule in file.rules:
        for deny in denies.values():
            if deny.id not in said_ids and may_lower(rule, deny):
                raise wrong(
                    rule.at,
                    f"the rule {rule.id!r} lowers the shipped deny {deny.id!r}",
                    f"if that is meant, add `acknowledge: [{deny.id}]` to this file",
                )


def _digest(files: tuple[PolicyFile, ...]) -> Digest:
    digest = hashlib.sha256(_DOMAIN)
    for file in files:
        digest.update(f"{file.tier.value}:{file.digest}\n".encode())
    return Digest(digest.hexdigest())


def _book(files: tuple[PolicyFile, ...], pack: PolicyFile) -> Rulebook:
    own = [file.default for file in files if file.tier in {Tier.ADMIN, Tier.USER} and file.default]
    defaults = own or [pack.default or Decision.DENY]
    return Rulebook(
        make_index(rule for file in files for rule in file.rules),
        max(defaults, key=lambda decision: decision.strictness),
        frozenset(said.id for file in files for said in file.acknowledge),
    )
