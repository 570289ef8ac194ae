"""Observe mode's half of the policy: which verdicts are let through, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.contracts.policy import (
    Decision,
    Effect,
    EffectKind,
    EffectVerdict,
    Grade,
    Label,
    ShellAction,
    Tier,
    WriteAction,
)
from agp.policy.observe import liftable, observed
from agp.policy.policyset import PolicySet
from tests.fakes.policy_world import (
    AGP,
    SILENT,
    WORKSPACE,
    file_of,
    judge,
    rule,
    shipped_pack,
    world_for,
)

HOLDS = {(Tier.FLOOR, Decision.DENY), (Tier.ADMIN, Decision.DENY)}


def answer(tier: Tier, decision: Decision) -> EffectVerdict:
    return EffectVerdict.model_validate(
        {
            "effect": Effect(kind=EffectKind.WRITE, subject=f"{WORKSPACE}/a"),
            "decision": decision,
            "rule_id": "r",
            "tier": tier,
            "reason": "because",
        }
    )


@pytest.mark.parametrize("decision", Decision)
@pytest.mark.parametrize("tier", Tier)
def test_each_cell_of_tier_and_decision(tier: Tier, decision: Decision) -> None:
    """Whatever asks or denies is let through, but for denies of the floor and of the admin."""
    expected = decision is not Decision.ALLOW and (tier, decision) not in HOLDS
    assert liftable([answer(tier, decision)], admin_denies_uncovered=False) is expected


@pytest.mark.parametrize("holds", [Tier.FLOOR, Tier.ADMIN])
@pytest.mark.parametrize("beside", Tier)
def test_a_deny_that_holds_is_not_hidden_by_another_answer(holds: Tier, beside: Tier) -> None:
    """The order of effects and what else they say change nothing."""
    both = [answer(beside, Decision.DENY), answer(holds, Decision.DENY)]
    assert not liftable(both, admin_denies_uncovered=False)
    assert not liftable(reversed(both), admin_denies_uncovered=False)


@dataclass(frozen=True)
class Case:
    """One policy and one call, in words."""

    name: str
    files: tuple[tuple[Tier, str, str], ...]
    """Tier, rule, default."""
    command: str
    lifted: bool
    says: Decision


DENY = rule("no", "deny", "{effect: exec, argv: touch <any...>}")
ASK = rule("ask", "require", "{effect: exec, argv: touch <any...>}")
CASES = (
    Case(
        "a user's deny is let through",
        ((Tier.USER, DENY, "require"),),
        "touch a",
        True,
        Decision.DENY,
    ),
    Case(
        "an admin's deny holds", ((Tier.ADMIN, DENY, "require"),), "touch a", False, Decision.DENY
    ),
    Case(
        "an admin's deny holds beside a user's",
        ((Tier.ADMIN, DENY, "require"), (Tier.USER, DENY, "require")),
        "touch a",
        False,
        Decision.DENY,
    ),
    Case(
        "an admin's question is let through",
        ((Tier.ADMIN, ASK, "require"),),
        "touch a",
        True,
        Decision.REQUIRE,
    ),
    Case(
        "a repository's deny is let through",
        ((Tier.WORKSPACE, DENY, ""),),
        "touch a",
        True,
        Decision.DENY,
    ),
    Case(
        "an admin's deny holds below a repository's",
        ((Tier.ADMIN, DENY, "require"), (Tier.WORKSPACE, DENY, "")),
        "touch a",
        False,
        Decision.DENY,
    ),
    Case("what no rule covers is let through", (), "openssl version", True, Decision.REQUIRE),
    Case(
        "what no rule covers is let through where the user's default denies",
        ((Tier.USER, SILENT, "deny"),),
        "openssl version",
        True,
        Decision.DENY,
    ),
    Case(
        "what no rule covers holds where the admin's default denies",
        ((Tier.ADMIN, SILENT, "deny"), (Tier.USER, SILENT, "require")),
        "openssl version",
        False,
        Decision.DENY,
    ),
    Case("the shipped pack's question is let through", (), "rm a", True, Decision.REQUIRE),
    Case("the shipped pack's deny is let through", (), "sudo ls", True, Decision.DENY),
    Case("what is not understood is let through", (), "ls | cat", True, Decision.REQUIRE),
    Case(
        "what is not understood holds where the admin denies it",
        ((Tier.ADMIN, rule("o", "deny", "{effect: opaque}"), "require"),),
        "ls | cat",
        False,
        Decision.DENY,
    ),
    Case("an allow stays what it is", (), "ls", False, Decision.ALLOW),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_cause(case: Case) -> None:
    """The same, through files, table and effects; what is let through keeps all it says."""
    files = [file_of(t, r, default=d or "require") for t, r, d in case.files]
    policy = PolicySet.build([shipped_pack(), *files])

    verdict = judge(policy, ShellAction(command=case.command))
    through = observed(verdict)

    assert (verdict.decision, verdict.would_be, verdict.liftable) == (case.says, None, case.lifted)
    if not case.lifted:
        assert through == verdict
        return
    assert (through.decision, through.would_be) == (Decision.ALLOW, case.says)
    assert not through.liftable
    assert observed(through) == through
    kept = {"rule_id", "tier", "reason", "policy_digest", "grade", "effects"}
    assert through.model_dump(include=kept) == verdict.model_dump(include=kept)


def test_the_floor_holds_whatever_the_files_say() -> None:
    """A file of AGP's own is out of reach in observe mode too."""
    policy = PolicySet.build([shipped_pack(), file_of(Tier.USER, SILENT)])
    verdict = judge(policy, WriteAction(path=f"{AGP}/policy.yaml"))
    assert verdict.tier is Tier.FLOOR
    assert observed(verdict) == verdict
    assert verdict.decision is Decision.DENY


def test_approvers_of_the_admin_that_nobody_shares_hold() -> None:
    """In doubt whether a deny is the admin's, it is."""
    admin = file_of(Tier.ADMIN, rule("a", "require", more=", approvers: ann"))
    user = file_of(Tier.USER, rule("u", "require", more=", approvers: ben"))
    policy = PolicySet.build([shipped_pack(), admin, user])
    verdict = judge(policy, WriteAction(path="a"))
    assert (verdict.rule_id, verdict.tier) == ("agp-no-approver", Tier.ADMIN)
    assert observed(verdict) == verdict


def test_a_target_that_is_not_known_meets_the_admins_denies() -> None:
    """A dynamic effect may be what the admin denies: it is."""
    admin = file_of(Tier.ADMIN, rule("a", "deny", "{effect: connect, host: evil.example}"))
    policy = PolicySet.build([shipped_pack(), admin])
    effect = Effect(kind=EffectKind.CONNECT, subject="*", labels=frozenset({Label.DYNAMIC}))
    world = world_for(ShellAction(command="ls"))
    assert not policy.decide((effect,), grade=Grade.SHARED, world=world).liftable
