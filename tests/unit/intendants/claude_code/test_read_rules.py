"""What a policy denies for reading is spelled for the harness as strictly, or left to the hooks."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.errors import RunRefused
from agp.intendants.claude_code.read_rules import read_rule
from agp.intendants.claude_code.settings import check_settings, format_settings


@dataclass(frozen=True)
class Spelling:
    base: str
    parts: tuple[str, ...]
    rule: str | None


SPELLINGS = (
    Spelling("/w", ("secret.txt",), "Read(//w/secret.txt)"),
    Spelling("/w", ("**", "*.pem"), "Read(//w/**/*.pem)"),
    Spelling("/w", ("keys", "**"), "Read(//w/keys)"),
    Spelling("/w", ("**",), "Read(//w)"),
    Spelling("/", ("etc", "shadow"), "Read(//etc/shadow)"),
    Spelling("/", ("**",), "Read(//**)"),
    Spelling("/home/agent", (".ssh", "**"), "Read(//home/agent/.ssh)"),
    Spelling("/w", ("a b",), None),
    Spelling("/w", ("a)b",), None),
    Spelling("/w", ("a#b",), None),
    Spelling("/w", ("a!b",), None),
    Spelling("/w", ("größe",), None),
    Spelling("/w*", ("a",), None),
    Spelling("/w w", ("a",), None),
)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_a_pattern_is_spelled_exactly_or_not_at_all(spelling: Spelling) -> None:
    assert read_rule(spelling.base, spelling.parts) == spelling.rule


def test_the_settings_are_checked_against_what_the_policy_denies() -> None:
    """One rule more, one less, another, or one of another tool: each is refused."""
    rules = ("Read(//w/a)", "Read(//w/b)")
    data = format_settings(reconnect_s=30, denied_reads=rules)
    check_settings(data, reconnect_s=30, denied_reads=rules)
    for other in ((), rules[:1], (*rules, "Read(//w/c)"), rules[::-1]):
        with pytest.raises(RunRefused):
            check_settings(data, reconnect_s=30, denied_reads=other)
    with pytest.raises(RunRefused):
        check_settings(
            data.replace(b"Read(//w/a)", b"Bash(//w/a)"), reconnect_s=30, denied_reads=rules
        )
