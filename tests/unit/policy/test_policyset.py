"""Several files as one policy: digest, acknowledgement, hints, merging at the edges."""

from __future__ import annotations

import pytest

from agp.contracts.policy import (
    Decision,
    Effect,
    EffectKind,
    Grade,
    Label,
    ShellAction,
    Tier,
    World,
)
from agp.errors import PolicyError
from agp.policy.policyset import PolicySet
from tests.fakes.policy_world import SILENT, WORKSPACE, file_of, judge, rule

PACK = file_of(Tier.DEFAULT, rule("shipped", "deny", "{effect: persist}"))
WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE)


def decide(policy: PolicySet, effect: Effect, grade: Grade = Grade.SHARED):
    return policy.decide((effect,), grade=grade, world=WORLD)


def test_without_a_default_pack_there_is_no_policy() -> None:
    """No file, no pack, two packs: each refused."""
    for files in ([], [file_of(Tier.USER, SILENT)], [PACK, PACK]):
        with pytest.raises(PolicyError):
            PolicySet.build(files)


def test_one_id_twice_in_a_tier_is_refused_with_both_places() -> None:
    """The rule that a verdict names must be one rule."""
    files = [PACK, file_of(Tier.USER, SILENT), file_of(Tier.USER, SILENT)]
    with pytest.raises(PolicyError, match=r"'silent' stands in user\.yaml:4:5 too"):
        PolicySet.build(files)


@pytest.mark.parametrize(
    "match",
    [
        "{effect: persist}",
        "{effect: [write, persist], path: .vscode/**}",
        "{effect: persist, label: outside_workspace}",
    ],
)
@pytest.mark.parametrize("verdict", ["allow", "require"])
def test_lowering_a_shipped_deny_in_silence_is_an_error(match: str, verdict: str) -> None:
    """The error names rule, place and deny; with the acknowledgement it loads."""
    with pytest.raises(PolicyError, match="lowers the shipped deny 'shipped'") as caught:
        PolicySet.build([PACK, file_of(Tier.USER, rule("mine", verdict, match))])
    assert caught.value.where == "user.yaml:4:5"
    said = file_of(Tier.USER, rule("mine", verdict, match), more="acknowledge: shipped\n")
    assert PolicySet.build([PACK, said])


@pytest.mark.parametrize(
    ("deny", "mine"),
    [
        ("{effect: persist}", "{effect: write}"),
        ("{effect: persist, path: .git/**}", "{effect: persist, path: .vscode/**}"),
        ("{effect: connect, host: a.example}", "{effect: connect, host: b.example}"),
        ("{effect: write, label: history}", "{effect: write}"),
        ("{effect: write, label: history}", "{effect: write, without_label: history}"),
        ("{effect: write, without_label: secret_path}", "{effect: write, label: secret_path}"),
    ],
)
def test_rules_about_other_things_need_no_acknowledgement(deny: str, mine: str) -> None:
    """The check at load speaks only where it sees."""
    pack = file_of(Tier.DEFAULT, rule("shipped", "deny", deny))
    assert PolicySet.build([pack, file_of(Tier.USER, rule("mine", "allow", mine))])


def test_a_deny_that_the_check_cannot_see_stands_and_says_how_to_lower_it() -> None:
    """The hint holds the line for the user's file."""
    pack = file_of(Tier.DEFAULT, rule("shipped", "deny", "{effect: write, label: history}"))
    policy = PolicySet.build([pack, file_of(Tier.USER, rule("mine", "allow"))])
    effect = Effect(
        kind=EffectKind.WRITE, subject=f"{WORKSPACE}/a", labels=frozenset({Label.HISTORY})
    )
    verdict = decide(policy, effect)
    assert (verdict.decision, verdict.rule_id) == (Decision.DENY, "shipped")
    assert "acknowledge: [shipped]" in verdict.hint


def test_acknowledging_what_is_not_shipped_is_an_error_with_the_nearest_name() -> None:
    """A typing mistake would otherwise lift nothing, silently."""
    with pytest.raises(PolicyError) as caught:
        PolicySet.build([PACK, file_of(Tier.USER, SILENT, more="acknowledge: [shiped]\n")])
    assert caught.value.where == "user.yaml:3:15"
    assert caught.value.fix == "did you mean 'shipped'?"


def test_the_digest_covers_every_byte_and_tier_but_not_the_order_of_loading() -> None:
    """A comment, another tier, another default: another digest."""
    user = file_of(Tier.USER, SILENT)
    base = PolicySet.build([PACK, user])
    assert base.digest == PolicySet.build([user, PACK]).digest
    others = [
        [PACK],
        [PACK, file_of(Tier.ADMIN, SILENT)],
        [PACK, file_of(Tier.USER, SILENT, default="deny")],
        [PACK, file_of(Tier.USER, SILENT + " # a comment")],
    ]
    digests = {base.digest, *(PolicySet.build(files).digest for files in others)}
    assert len(digests) == len(others) + 1


def test_the_strictest_default_of_admin_and_user_holds() -> None:
    """An admin's deny is not lowered by a user's require."""
    files = [PACK, file_of(Tier.ADMIN, SILENT, default="deny"), file_of(Tier.USER, SILENT)]
    verdict = decide(PolicySet.build(files), Effect(kind=EffectKind.OPAQUE, subject="x"))
    assert (verdict.decision, verdict.tier) == (Decision.DENY, Tier.UNCOVERED)
    assert "Find a way that the policy covers" in verdict.reason


def test_an_intendant_rule_speaks_about_that_intendant_only() -> None:
    """`intendant` compares the world's."""
    policy = PolicySet.build(
        [PACK, file_of(Tier.USER, rule("mine", "allow", "{effect: harness, intendant: codex}"))]
    )
    effect = Effect(kind=EffectKind.HARNESS, subject="x")
    codex = WORLD.model_copy(update={"intendant": "codex"})
    assert policy.decide((effect,), grade=Grade.SHARED, world=codex).decision is Decision.ALLOW
    assert decide(policy, effect).decision is Decision.REQUIRE


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        ("npm install x", 'argv: [["npm", "install", "x"]]'),
        ("mytool '\"}' 'é😀'", r'argv: [["mytool", "\"}", "\u00e9\U0001f600"]]'),
    ],
)
def test_the_hint_of_an_uncovered_command_covers_it_when_pasted(command: str, hint: str) -> None:
    """What an agent writes into its words stays inside quotes."""
    action = ShellAction(command=command)
    verdict = judge(PolicySet.build([PACK]), action)
    assert hint in verdict.hint
    pasted = verdict.hint.partition("\n")[2].removeprefix("  - ")
    text = "{" + ", ".join(line.strip() for line in pasted.splitlines()) + "}"
    policy = PolicySet.build([PACK, file_of(Tier.USER, text)])
    assert judge(policy, action).decision is Decision.ALLOW
