"""Which paths no rule of a policy can make readable."""

from __future__ import annotations

import pytest

from agp.contracts.policy import Tier
from agp.daemon.shipped import shipped
from agp.policy.denied_reads import denied_reads
from agp.policy.language import load_policy_file
from agp.policy.policyset import PolicySet

PACK = load_policy_file(
    shipped("policies/default.yaml").read_bytes(), name="default", tier=Tier.DEFAULT
)


def of(*rules: str, tier: Tier = Tier.USER) -> list[str]:
    head = "version: 1\ndefault: require\nrules:\n" if tier is Tier.USER else "version: 1\nrules:\n"
    text = head + "".join(f"  - {{{rule}}}\n" for rule in rules)
    own = load_policy_file(text.encode(), name="own", tier=tier)
    return [t.text for t in denied_reads(PolicySet.build([PACK, own]), intendant="claude-code")]


SAID = (
    ("id: a, match: {effect: read, path: x}, verdict: deny, reason: No.", ["x"]),
    ("id: a, match: {effect: [read, write], path: [x, y/**]}, verdict: deny, reason: No.",
     ["x", "y/**"]),
    ("id: a, match: {effect: read, path: x}, verdict: require", []),
    ("id: a, match: {effect: write, path: x}, verdict: deny, reason: No.", []),
    ("id: a, match: {effect: read, path: x, label: recursive}, verdict: deny, reason: No.", []),
    ("id: a, match: {effect: read, path: x, without_label: recursive}, verdict: deny, reason: No.",
     []),
    ("id: a, match: {effect: read, path: x, intendant: codex}, verdict: deny, reason: No.", []),
    ("id: a, match: {effect: read, path: x, intendant: claude-code}, verdict: deny, reason: No.",
     ["x"]),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "paths"), SAID)
def test_only_a_deny_that_a_path_alone_decides_is_given(rule: str, paths: list[str]) -> None:
    assert of(rule) == paths


def test_a_repository_s_own_deny_counts_too() -> None:
    rule = "id: a, match: {effect: read, path: x}, verdict: deny, reason: No."
    assert of(rule, tier=Tier.WORKSPACE) == ["x"]
