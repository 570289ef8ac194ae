"""Observe mode against any files and any effects: what it may never let through."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agp.contracts.policy import Decision, Effect, EffectKind, Grade, Label, Tier, Verdict, World
from agp.policy.observe import observed
from agp.policy.policyset import PolicySet
from agp.policy.rules import PolicyFile
from tests.fakes.policy_world import AGP, HOME, WORKSPACE, file_of, rule, shipped_pack

WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE, home=HOME, intendant="claude-code")
PACK = shipped_pack()
_MATCHES = (
    "{effect: write}",
    "{effect: [read, write, delete]}",
    "{effect: write, path: src/**}",
    "{effect: opaque}",
    "{effect: connect, host: a.example}",
    "{effect: exec, argv: git <any...>}",
)
_RULES = st.lists(
    st.tuples(st.sampled_from(["allow", "require", "deny"]), st.sampled_from(_MATCHES)),
    min_size=1,
    max_size=4,
)
_DEFAULTS = st.sampled_from(["require", "deny"])
_EFFECTS = st.lists(
    st.sampled_from(
        [
            Effect(kind=EffectKind.WRITE, subject=f"{WORKSPACE}/src/a"),
            Effect(kind=EffectKind.DELETE, subject=f"{WORKSPACE}/b"),
            Effect(kind=EffectKind.GOVERN, subject=f"{AGP}/keys"),
            Effect(kind=EffectKind.OPAQUE, subject="a pipe"),
            Effect(kind=EffectKind.CONNECT, subject="a.example", port=443),
            Effect(kind=EffectKind.CONNECT, subject="*", labels=frozenset({Label.DYNAMIC})),
            Effect(kind=EffectKind.PRIVILEGE, subject="root"),
            Effect(kind=EffectKind.EXEC, subject="/usr/bin/git", argv=("git", "push")),
        ]
    ),
    min_size=1,
    max_size=4,
)


_LOWERED = "acknowledge: [privilege]\n"


def admin_file(rules: list[tuple[str, str]], default: str) -> PolicyFile:
    """Write the admin's file."""
    written = (rule(f"a{n}", verdict, match) for n, (verdict, match) in enumerate(rules))
    return file_of(Tier.ADMIN, *written, default=default)


@settings(max_examples=300, deadline=None)
@given(_RULES, _RULES, _DEFAULTS, _DEFAULTS, _EFFECTS)
def test_what_the_floor_or_the_admin_denies_is_never_let_through(
    admins: list[tuple[str, str]],
    users: list[tuple[str, str]],
    default: str,
    own: str,
    effects: list[Effect],
) -> None:
    """Judged by the admin's file alone, which knows nothing of users and observe mode."""
    admin = admin_file(admins, default)
    written = (rule(f"u{n}", verdict, match) for n, (verdict, match) in enumerate(users))
    user = file_of(Tier.USER, *written, default=own, more=_LOWERED)
    verdict = _decide([PACK, admin, user], effects)
    through = observed(verdict)

    alone = _decide([PACK, admin], effects)
    denied = any(
        answer.decision is Decision.DENY and answer.tier in {Tier.FLOOR, Tier.ADMIN}
        for answer in alone.effects
    )
    uncovered = any(answer.tier is Tier.UNCOVERED for answer in verdict.effects)
    if denied or (uncovered and default == "deny"):
        assert through.decision is Decision.DENY
    if verdict.decision is Decision.ALLOW:
        assert through == verdict
    lifted = through.decision is not verdict.decision
    assert through.decision is Decision.ALLOW or not lifted
    assert through.would_be == (verdict.decision if lifted else None)
    assert through.effects == verdict.effects


def _decide(files: list[PolicyFile], effects: list[Effect]) -> Verdict:
    return PolicySet.build(files).decide(tuple(effects), grade=Grade.SHARED, world=WORLD)
