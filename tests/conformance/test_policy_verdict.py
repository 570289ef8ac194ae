"""The policy verdict: what every answer of the policy holds, whatever the files say."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.contracts.policy import (
    Decision,
    Effect,
    EffectKind,
    Grade,
    Label,
    Tier,
    Verdict,
    World,
)
from agp.errors import PolicyError
from agp.policy.language import load_policy_file
from agp.policy.observe import observed
from agp.policy.policyset import PolicySet
from tests.conformance.clauses import clause
from tests.conformance.house import shipped_policy
from tests.fakes.policy_world import HOME, SILENT, WORKSPACE, file_of, rule

WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE, home=HOME)
WRITE = Effect(kind=EffectKind.WRITE, subject=f"{WORKSPACE}/a")
READ = Effect(kind=EffectKind.READ, subject=f"{WORKSPACE}/b")
PACK = file_of(Tier.DEFAULT, SILENT)


def policy(*files: object) -> PolicySet:
    return PolicySet.build([PACK, *files])


def user(*rules: str, **more: str):
    return file_of(Tier.USER, *rules, **more)


def decide(of: PolicySet, *effects: Effect, grade: Grade = Grade.SHARED) -> Verdict:
    return of.decide(effects, grade=grade, world=WORLD)


@clause("C-POLICY-01")
@pytest.mark.parametrize("kind", list(EffectKind))
def test_a_verdict_says_by_which_rule_why_and_under_what(kind: EffectKind) -> None:
    rules = shipped_policy()
    effects = (WRITE, Effect(kind=kind, subject="x", argv=("x",)))
    verdict = rules.decide(effects, grade=Grade.SHARED, world=WORLD)
    assert verdict.rule_id
    assert verdict.decision is Decision.ALLOW or verdict.reason
    assert (verdict.policy_digest, verdict.grade) == (rules.digest, Grade.SHARED)
    assert tuple(entry.effect for entry in verdict.effects) == effects
    decisive = [entry for entry in verdict.effects if entry.decision is verdict.decision]
    assert verdict.rule_id in {entry.rule_id for entry in decisive}


@clause("C-POLICY-02")
def test_a_call_without_a_known_effect_is_opaque_and_never_allowed() -> None:
    quiet = rule("quiet", "allow", f"{{effect: [{', '.join(k.value for k in PLAIN_KINDS)}]}}")
    verdict = decide(policy(user(quiet)))
    assert [entry.effect.kind for entry in verdict.effects] == [EffectKind.OPAQUE]
    assert verdict.decision is not Decision.ALLOW


PLAIN_KINDS = (EffectKind.READ, EffectKind.WRITE, EffectKind.DELETE, EffectKind.EXEC)


@clause("C-POLICY-03")
@pytest.mark.parametrize("default", ["require", "deny"])
@pytest.mark.parametrize("kind", list(EffectKind))
def test_what_no_rule_covers_is_asked_or_refused(kind: EffectKind, default: str) -> None:
    of = PolicySet.build([file_of(Tier.DEFAULT, SILENT, default=default)])
    verdict = decide(of, Effect(kind=kind, subject="x", argv=("x",)))
    expected = "deny" if kind is EffectKind.GOVERN else default
    assert verdict.decision == expected
    assert verdict.tier is (Tier.FLOOR if kind is EffectKind.GOVERN else Tier.UNCOVERED)


@clause("C-POLICY-04")
@pytest.mark.parametrize("tier", [Tier.ADMIN, Tier.USER, Tier.DEFAULT])
def test_no_file_can_allow_what_touches_agp_itself(tier: Tier) -> None:
    with pytest.raises(PolicyError):
        file_of(tier, rule("mine", "allow", "{effect: govern}"))
    kinds = ", ".join(kind.value for kind in EffectKind if kind is not EffectKind.GOVERN)
    broad = file_of(tier, rule("mine", "allow", f"{{effect: [{kinds}]}}"))
    of = PolicySet.build([broad] if tier is Tier.DEFAULT else [PACK, broad])
    touching = Effect(kind=EffectKind.GOVERN, subject="/opt/agp/agp-bridge")
    assert decide(of, WRITE).decision is Decision.ALLOW
    verdict = decide(of, touching, WRITE)
    assert (verdict.decision, verdict.tier) == (Decision.DENY, Tier.FLOOR)


@clause("C-POLICY-05")
def test_a_call_is_decided_as_strictly_as_its_strictest_effect() -> None:
    effects = {
        Decision.ALLOW: WRITE,
        Decision.REQUIRE: READ,
        Decision.DENY: Effect(kind=EffectKind.DELETE, subject=f"{WORKSPACE}/c"),
    }
    of = policy(
        user(
            rule("w", "allow", "{effect: write}"),
            rule("r", "require", "{effect: read}"),
            rule("d", "deny", "{effect: delete}"),
        )
    )
    for one, effect in effects.items():
        for other, beside in effects.items():
            verdict = decide(of, effect, beside)
            assert verdict.decision is max(one, other, key=lambda said: said.strictness)


@clause("C-POLICY-06")
def test_the_same_question_has_the_same_answer() -> None:
    answers = {decide(shipped_policy(), WRITE, READ).model_dump_json() for _ in range(3)}
    assert len(answers) == 1


@clause("C-POLICY-07")
def test_two_rules_whom_no_approver_satisfies_both_are_a_denial() -> None:
    def asks(name: str, approver: str) -> str:
        more = f", reason: Ask., approvers: [{approver}]"
        return rule(name, "require", "{effect: write}", more)

    both = decide(policy(user(asks("one", "ann"), asks("two", "ben"))), WRITE)
    assert both.decision is Decision.DENY
    same = decide(policy(user(asks("one", "ann"), asks("two", "ann"))), WRITE)
    assert (same.decision, same.approvers) == (Decision.REQUIRE, frozenset({"ann"}))


@clause("C-POLICY-08")
@pytest.mark.parametrize("grade", list(Grade))
def test_an_allow_below_its_grade_does_not_match(grade: Grade) -> None:
    of = policy(user(rule("w", "allow", "{effect: write}", ", min_grade: confined")))
    allowed = decide(of, WRITE, grade=grade).decision is Decision.ALLOW
    assert allowed is grade.at_least(Grade.CONFINED)


@dataclass(frozen=True)
class Change:
    """A policy file before and after."""

    name: str
    after: bytes


TEXT = b"version: 1\ndefault: deny\nrules:\n  - {id: a, match: {effect: read}, verdict: allow}\n"
CHANGES = (
    Change("a comment", TEXT + b"# more\n"),
    Change("another verdict", TEXT.replace(b"allow", b"require")),
    Change("another default", TEXT.replace(b"deny", b"require")),
)


@clause("C-POLICY-09")
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
@pytest.mark.parametrize("tier", [Tier.ADMIN, Tier.USER])
def test_a_change_of_any_byte_changes_the_digest(change: Change, tier: Tier) -> None:
    before, after = (
        policy(load_policy_file(text, name="p.yaml", tier=tier)) for text in (TEXT, change.after)
    )
    assert before.digest != after.digest
    other = Tier.USER if tier is Tier.ADMIN else Tier.ADMIN
    assert policy(load_policy_file(TEXT, name="p.yaml", tier=other)).digest != before.digest


@clause("C-POLICY-10")
@pytest.mark.parametrize("below", list(Decision))
@pytest.mark.parametrize("own", list(Decision))
def test_the_repository_can_only_tighten(below: Decision, own: Decision) -> None:
    theirs = file_of(Tier.WORKSPACE, rule("theirs", own.value))
    verdict = decide(policy(user(rule("ours", below.value)), theirs), WRITE)
    expected = max(below, own, key=lambda said: said.strictness)
    assert verdict.decision is expected


@clause("C-POLICY-11")
def test_a_dynamic_target_meets_every_refusal_and_no_particular_permission() -> None:
    target = Effect(
        kind=EffectKind.WRITE, subject=f"{WORKSPACE}/$X", labels=frozenset({Label.DYNAMIC})
    )
    permitted = policy(user(rule("w", "allow", "{effect: write, path: docs/**}")))
    assert decide(permitted, target).decision is not Decision.ALLOW
    refused = policy(user(rule("w", "deny", "{effect: write, path: secret/**}")))
    assert decide(refused, target).decision is Decision.DENY


@clause("C-POLICY-12")
@pytest.mark.parametrize("tier", [Tier.ADMIN, Tier.USER, Tier.WORKSPACE])
@pytest.mark.parametrize("said", list(Decision))
def test_observe_mode_lets_through_neither_the_floor_nor_the_admins_denies(
    tier: Tier, said: Decision
) -> None:
    files = [file_of(tier, rule("theirs", said.value))]
    if tier is Tier.WORKSPACE:
        files.append(user(rule("ours", "allow")))
    verdict = decide(policy(*files), WRITE)
    through = observed(verdict)
    holds = said is Decision.DENY and tier is Tier.ADMIN
    assert through.decision is (Decision.DENY if holds else Decision.ALLOW)
    lifted = said is not Decision.ALLOW and not holds
    assert through.would_be is (said if lifted else None)
    assert (through.rule_id, through.tier) == (verdict.rule_id, verdict.tier)

    govern = Effect(kind=EffectKind.GOVERN, subject="/home/operator/.agp/keys")
    floor = decide(policy(*files), WRITE, govern)
    assert observed(floor) == floor
    assert floor.decision is Decision.DENY
