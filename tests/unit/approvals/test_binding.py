"""The binding digest covers every value that the person saw."""

from __future__ import annotations

import pytest

from agp.approvals.binding import binding_digest
from agp.approvals.words import WORDS, approval_id, word_of
from agp.contracts.base import Digest, RuleId, SessionId
from agp.contracts.channel import Binding, FileHash
from agp.contracts.policy import Effect, EffectKind, Grade, Label

BASE = Binding(
    log_id="0" * 32,
    harness="claude-code",
    session_id=SessionId("s-0123456789ab"),
    agent_id=None,
    cwd="/w",
    tool_use_id="toolu_1",
    tool="Bash",
    commitment=Digest("1" * 64),
    effective_input=Digest("2" * 64),
    effects=(Effect(kind=EffectKind.EXEC, subject="/usr/bin/make", argv=("make",)),),
    file_hashes=(FileHash(path="/w/Makefile", sha256=Digest("3" * 64)),),
    grade=Grade.SHARED,
    rule_id=RuleId("ask-exec"),
    approvers=None,
    quorum=1,
)
CHANGES: dict[str, object] = {
    "log_id": "1" * 32,
    "harness": "codex",
    "session_id": SessionId("s-ffffffffffff"),
    "agent_id": "a1",
    "cwd": "/w/sub",
    "tool_use_id": "toolu_2",
    "tool": "bash",
    "commitment": Digest("a" * 64),
    "effective_input": Digest("b" * 64),
    "effects": (
        Effect(
            kind=EffectKind.EXEC,
            subject="/usr/bin/make",
            argv=("make",),
            labels=frozenset({Label.HISTORY}),
        ),
    ),
    "file_hashes": (),
    "grade": Grade.ADVISORY,
    "rule_id": RuleId("other"),
    "approvers": frozenset({"uid:1"}),
    "quorum": 2,
}


def test_every_field_of_the_binding_has_a_change_here() -> None:
    """A new field without a case would be a hole in this table."""
    assert set(CHANGES) == set(Binding.model_fields)


@pytest.mark.parametrize("field", sorted(CHANGES))
def test_a_change_of_any_bound_value_changes_the_digest(field: str) -> None:
    """No value can be exchanged behind the approver's back."""
    changed = Binding.model_validate(BASE.model_dump() | {field: CHANGES[field]})

    assert binding_digest(changed) != binding_digest(BASE)


def test_the_order_of_a_set_does_not_matter() -> None:
    """Approvers are a set; the digest sorts them."""
    one = Binding.model_validate(BASE.model_dump() | {"approvers": frozenset({"a", "b", "c"})})
    two = Binding.model_validate(BASE.model_dump() | {"approvers": frozenset({"c", "b", "a"})})

    assert binding_digest(one) == binding_digest(two)


def test_an_id_holds_a_word_and_eight_digits_of_the_binding() -> None:
    """The word is what a person types; the digits are what is compared."""
    bound = binding_digest(BASE)
    name = approval_id(bound, draw=7)

    assert word_of(name) == WORDS[7]
    assert name.endswith(bound[:8])


def test_the_words_are_distinct_and_typed_in_plain_letters() -> None:
    """A word twice would halve what the draw is good for."""
    assert len(set(WORDS)) == len(WORDS)
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)
