"""The shipped pack against its cases: policies/cases/default.yaml."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from ruamel.yaml import YAML

from agp.contracts.policy import Action, Decision, EffectKind, Grade, Tier
from agp.policy.language import load_policy_file
from agp.policy.policyset import PolicySet
from tests.fakes.policy_world import judge

POLICIES = Path(__file__).parents[3] / "policies"
PACK = load_policy_file(
    (POLICIES / "default.yaml").read_bytes(), name="default.yaml", tier=Tier.DEFAULT
)
CASES = YAML(typ="safe", pure=True).load(POLICIES / "cases" / "default.yaml")["cases"]
ACTIONS: TypeAdapter[Action] = TypeAdapter(Action)


@pytest.mark.parametrize("case", CASES, ids=[json.dumps(case) for case in CASES])
def test_the_pack_says_what_its_case_expects(case: dict[str, object]) -> None:
    """Verdict and deciding rule, and a reason that tells the agent something."""
    action = ACTIONS.validate_json(json.dumps(case["call"]))
    grade = Grade(str(case.get("grade", "shared")))
    intendant = str(case.get("intendant", "claude-code"))
    verdict = judge(PolicySet.build([PACK]), action, grade, intendant=intendant)
    assert (verdict.decision, case.get("rule", verdict.rule_id)) == (
        case["expect"],
        verdict.rule_id,
    )
    assert len(verdict.reason) > len("The rule")


def test_every_deny_and_require_of_the_pack_tells_the_agent_what_to_do() -> None:
    """A reason in words of its own; the general sentence is for users' rules."""
    assert all(rule.reason for rule in PACK.rules if rule.verdict is not Decision.ALLOW)


def test_the_pack_never_allows_what_it_cannot_see() -> None:
    """No allow names opaque, privilege, persistence, flows or the network."""
    quiet = {
        kind for rule in PACK.rules if rule.verdict is Decision.ALLOW for kind in rule.match.effects
    }
    assert quiet == {
        EffectKind.HARNESS,
        EffectKind.SPAWN_AGENT,
        EffectKind.READ,
        EffectKind.WRITE,
        EffectKind.EXEC,
        EffectKind.EXEC_WORKSPACE,
    }


def test_the_starter_policy_stands_on_the_pack() -> None:
    """What `agp init` writes loads beside the pack as it is."""
    starter = load_policy_file(
        (POLICIES / "starter.yaml").read_bytes(), name="starter.yaml", tier=Tier.USER
    )
    assert PolicySet.build([PACK, starter]).files == (starter, PACK)
