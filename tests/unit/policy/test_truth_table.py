"""docs/policy.md publishes the truth table; its cells are these tests."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

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
from agp.policy.policyset import PolicySet
from tests.fakes.policy_world import HOME, SILENT, WORKSPACE, file_of, rule

PAGE = (Path(__file__).parents[3] / "docs" / "policy.md").read_text()
EFFECT = Effect(kind=EffectKind.WRITE, subject=f"{WORKSPACE}/a", labels=frozenset({Label.HISTORY}))
WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE, home=HOME)
# The label keeps a deny of the pack out of sight of the check at load; the table has to hold.
PACK_MATCH = "{effect: write, label: history}"
ANSWERS = ("silent", *Decision)


def rows(name: str) -> list[list[str]]:
    """Read the table after a mark, header first."""
    _, found, rest = PAGE.partition(f"<!-- cells: {name} -->\n")
    assert found, name
    lines = itertools.takewhile(lambda line: line.startswith("|"), rest.splitlines())
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [cells[0], *cells[2:]]


def grid(name: str) -> list[tuple[str, str, str]]:
    """Give (row, column, answer) for every cell."""
    header, *body = rows(name)
    return [
        (row[0], column, cell)
        for row in body
        for column, cell in zip(header[1:], row[1:], strict=True)
    ]


def policy(*, default: str = "require", acknowledge: bool = False, **says: str) -> PolicySet:
    """Build a policy in which each named tier says one thing about EFFECT, or nothing."""
    pack = says.pop("pack", "silent")
    text = SILENT if pack == "silent" else rule("said", pack, PACK_MATCH)
    files = [file_of(Tier.DEFAULT, text, default=default)]
    for tier, verdict in says.items():
        more = "acknowledge: said\n" if acknowledge and tier == "user" else ""
        if verdict != "silent":
            files.append(file_of(Tier(tier), rule("said", verdict), more=more))
    return PolicySet.build(files)


def answer(of: PolicySet) -> Verdict:
    return of.decide((EFFECT,), grade=Grade.SHARED, world=WORLD)


@pytest.mark.parametrize(("admin", "user", "expected"), grid("admin-user"))
def test_the_strictest_of_admin_and_user_wins(admin: str, user: str, expected: str) -> None:
    """Step 2, cell by cell."""
    assert answer(policy(admin=admin, user=user)).decision == expected


@pytest.mark.parametrize(("pack", "default", "expected"), grid("pack-default"))
def test_the_pack_and_then_the_default_speak_where_nobody_above_does(
    pack: str, default: str, expected: str
) -> None:
    """Steps 3 and 4, cell by cell."""
    assert answer(policy(pack=pack, default=default)).decision == expected


@pytest.mark.parametrize(("pack", "above", "expected"), grid("pack-above"))
def test_only_an_admin_or_an_acknowledgement_lowers_a_shipped_deny(
    pack: str, above: str, expected: str
) -> None:
    """Steps 2 and 3 together, cell by cell."""
    tier, verdict = above.partition(",")[0].split(" ")
    acknowledge = "acknowledged" in above and pack == "deny"
    made = policy(pack=pack, acknowledge=acknowledge, **{tier: verdict})
    assert answer(made).decision == expected


@pytest.mark.parametrize(("result", "workspace", "expected"), grid("result-workspace"))
def test_a_workspace_rule_is_a_maximum(result: str, workspace: str, expected: str) -> None:
    """Step 5, cell by cell."""
    assert answer(policy(user=result, workspace=workspace)).decision == expected


@pytest.mark.parametrize("row", rows("special")[1:], ids=lambda row: row[0])
def test_the_special_cases_hold(row: list[str]) -> None:
    """Floor, merging, grades, opaque and dynamic, case by case."""
    _, rules, effects, grade, expected = row
    by_tier: dict[Tier, list[str]] = {}
    for tier, text in re.findall(r"`(\w+) (\{[^`]*\})`", rules):
        by_tier.setdefault(Tier(tier), []).append(text)
    files = [file_of(Tier.DEFAULT, SILENT), *(file_of(t, *texts) for t, texts in by_tier.items())]
    parsed = tuple(
        Effect.model_validate_json(text) for text in re.findall(r"`(\{[^`]*\})`", effects)
    )
    verdict = PolicySet.build(files).decide(parsed, grade=Grade(grade), world=WORLD)
    assert said_in_words(verdict) == expected


def said_in_words(verdict: Verdict) -> str:
    words = [verdict.decision.value, verdict.rule_id]
    if verdict.approvers is not None:
        words.append(f"approvers={','.join(sorted(verdict.approvers))}")
    if verdict.quorum > 1:
        words.append(f"quorum={verdict.quorum}")
    if verdict.expires_s:
        words.append(f"expires_s={verdict.expires_s}")
    return " ".join(words)


def test_no_cell_is_missing() -> None:
    """Every combination of what two tiers can say has its cell on the page."""
    everything = set(itertools.product(map(str, ANSWERS), repeat=2))
    assert {(a, u) for a, u, _ in grid("admin-user")} == everything
    assert {(p, d) for p, d, _ in grid("pack-default")} == set(
        itertools.product(map(str, ANSWERS), ("require", "deny"))
    )
    assert {(r, w) for r, w, _ in grid("result-workspace")} == {
        pair for pair in everything if pair[0] != "silent"
    }
    assert {(p, a) for p, a, _ in grid("pack-above")} == set(
        itertools.product(
            map(str, Decision),
            (
                "user allow",
                "user require",
                "user deny",
                "user allow, acknowledged",
                "user require, acknowledged",
                "admin allow",
                "admin require",
            ),
        )
    )


def test_the_floor_is_above_an_empty_policy_too() -> None:
    """Govern is denied without any rule that says so, and cannot be asked about."""
    effect = Effect(kind=EffectKind.GOVERN, subject="/home/operator/.agp")
    verdict = policy().decide((effect,), grade=Grade.CONTAINER_NO_EGRESS, world=WORLD)
    assert (verdict.decision, verdict.tier) == (Decision.DENY, Tier.FLOOR)


def test_no_effect_at_all_is_not_an_allow() -> None:
    """A call of which nothing is known is opaque, whatever else the rules allow."""
    verdict = policy(user="allow").decide((), grade=Grade.CONFINED, world=WORLD)
    assert verdict.decision is Decision.REQUIRE
    assert verdict.effects[0].effect.kind == "opaque"
