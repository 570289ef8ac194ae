"""The algebra of rules: what may and what may not change an answer."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from agp.contracts.policy import (
    Decision,
    Effect,
    EffectKind,
    EffectVerdict,
    Grade,
    Label,
    Tier,
    Verdict,
    World,
)
from agp.policy.policyset import PolicySet
from tests.fakes.policy_world import HOME, SILENT, WORKSPACE, file_of, rule

WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE, home=HOME, intendant="claude-code")
_MATCHES = (
    "{effect: write}",
    "{effect: [read, write]}",
    "{effect: write, path: '**'}",
    "{effect: write, path: src/**}",
    "{effect: write, label: secret_path}",
    "{effect: [read, write], without_label: secret_path}",
    "{effect: write, path: '*'}",
    "{effect: opaque}",
    "{effect: connect, host: '*'}",
    "{effect: connect, host: a.example}",
    "{effect: write, intendant: codex}",
    "{effect: exec, argv: git <any...>}",
    "{effect: exec, argv: /usr/bin/mawk}",
    "{effect: exec, argv: [mawk <any...>, gawk <any...>]}",
    "{effect: exec, argv: <any> x}",
    "{effect: exec, argv: '*'}",
    "{effect: exec, label: understood}",
)
_MORE = {
    "allow": ("", ", min_grade: confined"),
    "require": (
        "",
        ", approvers: [ann, ben]",
        ", approvers: ann",
        ", quorum: 2",
        ", expires_s: 60",
    ),
    "deny": ("",),
}
_BODY = st.tuples(st.sampled_from(sorted(_MORE)), st.sampled_from(_MATCHES), st.integers(0, 4))
_BODIES = st.lists(_BODY, max_size=4)
_EFFECTS = st.sampled_from(
    [
        Effect(kind=EffectKind.WRITE, subject=f"{WORKSPACE}/src/a"),
        Effect(
            kind=EffectKind.WRITE, subject="/etc/x", labels=frozenset({Label.OUTSIDE_WORKSPACE})
        ),
        Effect(
            kind=EffectKind.WRITE,
            subject=f"{WORKSPACE}/.env",
            labels=frozenset({Label.SECRET_PATH}),
        ),
        Effect(kind=EffectKind.WRITE, subject=WORKSPACE, labels=frozenset({Label.RECURSIVE})),
        Effect(kind=EffectKind.READ, subject=f"{WORKSPACE}/a"),
        Effect(kind=EffectKind.CONNECT, subject="*", labels=frozenset({Label.DYNAMIC})),
        Effect(kind=EffectKind.CONNECT, subject="a.example", port=443),
        Effect(kind=EffectKind.EXEC, subject="/usr/bin/git", argv=("git", "push")),
        Effect(kind=EffectKind.EXEC, subject="/usr/bin/mawk", argv=("awk", "x")),
        Effect(kind=EffectKind.EXEC, subject="?", argv=("?",), labels=frozenset({Label.DYNAMIC})),
        Effect(kind=EffectKind.OPAQUE, subject="a pipe"),
        Effect(kind=EffectKind.GOVERN, subject="/home/operator/.agp"),
    ]
)
_CALLS = st.lists(_EFFECTS, min_size=1, max_size=3).map(tuple)
_GRADES = st.sampled_from(Grade)


def texts(bodies: list[tuple[str, str, int]], prefix: str) -> list[str]:
    made = []
    for index, (verdict, match, choice) in enumerate(bodies):
        more = _MORE[verdict][choice % len(_MORE[verdict])]
        # A quorum of two among one approver is no rule; `quorum: 2` stands alone here.
        made.append(rule(f"{prefix}{index}", verdict, match, more))
    return made


def build(parts: dict[Tier, list[str]], default: str = "require") -> PolicySet:
    """Put tiers together; the pack's denies are acknowledged, so that files always load."""
    pack = parts.get(Tier.DEFAULT) or [SILENT]
    denies = [
        text.partition("id: ")[2].partition(",")[0] for text in pack if "verdict: deny" in text
    ]
    more = f"acknowledge: [{', '.join(denies)}]\n" if denies else ""
    files = [file_of(Tier.DEFAULT, *pack, default=default)]
    files.extend(
        file_of(tier, *parts[tier], more=more if tier is Tier.USER else "")
        for tier in (Tier.ADMIN, Tier.USER, Tier.WORKSPACE)
        if parts.get(tier)
    )
    return PolicySet.build(files)


@dataclass(frozen=True)
class Scene:
    """A policy in parts, a call, a grade, and one rule more."""

    parts: dict[Tier, list[str]]
    call: tuple[Effect, ...]
    grade: Grade
    extra: tuple[str, str, int]

    def decide(self, parts: dict[Tier, list[str]] | None = None) -> Verdict:
        policy = build(self.parts if parts is None else parts)
        return policy.decide(self.call, grade=self.grade, world=WORLD)


_TIERS = {Tier.ADMIN: "a", Tier.USER: "u", Tier.DEFAULT: "d", Tier.WORKSPACE: "w"}
_PARTS = st.fixed_dictionaries(
    {
        tier: _BODIES.map(lambda bodies, p=prefix: texts(bodies, p))
        for tier, prefix in _TIERS.items()
    }
)
_SCENES = st.builds(Scene, _PARTS, _CALLS, _GRADES, _BODY)


def no_looser(after: Verdict | EffectVerdict, before: Verdict | EffectVerdict) -> bool:
    """At least as strict, and as an approval at least as hard to get."""
    if after.decision is not Decision.REQUIRE or before.decision is not Decision.REQUIRE:
        return after.decision.strictness >= before.decision.strictness
    inside = before.approvers is None or (
        after.approvers is not None and after.approvers <= before.approvers
    )
    return inside and after.quorum >= before.quorum


_SETTINGS = settings(max_examples=150, deadline=None)


@given(_SCENES)
@_SETTINGS
def test_an_admin_deny_never_loosens(scene: Scene) -> None:
    """Whatever the other rules are, one more deny allows no more."""
    extra = rule("extra", "deny", scene.extra[1])
    more = {**scene.parts, Tier.ADMIN: [*scene.parts[Tier.ADMIN], extra]}
    assert no_looser(scene.decide(more), scene.decide())


@given(_SCENES)
@_SETTINGS
def test_a_workspace_file_only_tightens(scene: Scene) -> None:
    """Every effect is at least as strict with the repository's file as without it."""
    added = texts([scene.extra], "x")
    after = scene.decide({**scene.parts, Tier.WORKSPACE: [*scene.parts[Tier.WORKSPACE], *added]})
    before = scene.decide({**scene.parts, Tier.WORKSPACE: []})
    assert no_looser(after, before)
    assert all(no_looser(a, b) for a, b in zip(after.effects, before.effects, strict=True))


@given(_SCENES, st.randoms(use_true_random=False))
@_SETTINGS
def test_the_order_of_rules_means_nothing(scene: Scene, random: Random) -> None:
    """The same answer with the same rule, approvers and reason, in any order."""
    shuffled = {tier: random.sample(rules, len(rules)) for tier, rules in scene.parts.items()}
    without = {"policy_digest"}
    after = scene.decide(shuffled).model_dump(exclude=without)
    assert after == scene.decide().model_dump(exclude=without)


@given(_SCENES)
@_SETTINGS
def test_a_call_is_as_strict_as_its_strictest_effect(scene: Scene) -> None:
    """One more effect never loosens; the floor is never lifted."""
    whole = scene.decide()
    assert all(no_looser(whole, one) for one in whole.effects)
    if any(effect.kind is EffectKind.GOVERN for effect in scene.call):
        assert whole.decision is Decision.DENY


@given(_SCENES)
@_SETTINGS
def test_a_weaker_grade_never_allows_more(scene: Scene) -> None:
    """`min_grade` stands on allows only, so less isolation can only lose allows."""
    weakest = Scene(scene.parts, scene.call, Grade.ADVISORY, scene.extra).decide()
    assert no_looser(weakest, scene.decide())


@given(_SCENES)
@_SETTINGS
def test_nothing_uncovered_is_allowed(scene: Scene) -> None:
    """An allow always names a rule of a file."""
    for one in scene.decide().effects:
        if one.decision is Decision.ALLOW:
            assert one.tier in _TIERS
            assert not one.rule_id.startswith("agp-")


@given(_SCENES)
@_SETTINGS
def test_the_index_hides_no_rule(scene: Scene) -> None:
    """Looking rules up by program finds what trying every rule finds."""
    policy = build(scene.parts)
    for effect in scene.call:
        for tier in _TIERS:
            found = policy.book.matching(tier, effect, scene.grade, WORLD)
            every = [r for file in policy.files for r in file.rules if r.tier is tier]
            assert {r.id for r in found} == {
                r.id for r in every if r.covers(effect, scene.grade, WORLD)
            }
