"""Whether a user's rule is about what a shipped deny is about, told from the files alone.

This makes the mistake visible when the file is loaded. It is not what protects: where a shipped
deny and a user's rule meet on an effect without an acknowledgement, the table lets the deny stand
(`table`, step 2), so that what this comparison cannot see is not lifted either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agp.contracts.policy import Decision
from agp.policy.targets import PathTarget, Target, akin

if TYPE_CHECKING:
    from agp.policy.match import Match, Matcher
    from agp.policy.rules import Rule


def may_lower(rule: Rule, deny: Rule) -> bool:
    """Tell whether a rule weaker than deny visibly speaks about what the deny forbids."""
    if rule.verdict is Decision.DENY or rule.match.effects.isdisjoint(deny.match.effects):
        return False
    return _same_labels(rule.match, deny.match) and not _apart(rule.match, deny.match)


def _same_labels(rule: Match, deny: Match) -> bool:
    """A deny about a label is spoken against by rules that name the label."""
    if deny.labels and (rule.labels.isdisjoint(deny.labels) or deny.labels <= rule.without):
        return False
    return not (rule.labels and rule.labels <= deny.without)


def _apart(rule: Match, deny: Match) -> bool:
    denied = {matcher.field: matcher for matcher in deny.matchers}
    return any(
        matcher.field in denied and _disjoint(matcher, denied[matcher.field])
        for matcher in rule.matchers
    )


def _disjoint(one: Matcher, other: Matcher) -> bool:
    return not any(_meet(a, b) for a in one.targets for b in other.targets)


def _meet(one: Target, other: Target) -> bool:
    """In doubt they meet; two different texts without any wildcard do not."""
    if isinstance(one, PathTarget) and isinstance(other, PathTarget) and one.root is other.root:
        return akin(one.prefix, other.prefix)
    plain = not set("*?<-") & set(one.text + other.text)
    return one.text == other.text or not plain
