"""What one call may write into the journal is bounded, and cutting uncovers no secret."""

from __future__ import annotations

import json

import pytest

from agp.contracts.strict_json import parse_json
from agp.journal.redact import MAX_JOURNALED, journal_json, journal_text


@pytest.mark.parametrize(
    "value",
    [
        {"a": "x" * 10**6},
        {"a": ["x" * 5000] * 500},
        {"a": list(range(50_000))},
        {f"key-{n}": "v" * 100 for n in range(5000)},
        [[[["deep" * 1000] * 100] * 3] * 3],
    ],
    ids=["a long string", "long strings", "a long list", "many members", "nested"],
)
def test_whatever_the_input_is_its_line_is_short_and_json(value: object) -> None:
    """Cut texts say how much is missing and where it is covered."""
    shown = journal_json(json.dumps(value).encode())

    assert len(shown.text) <= MAX_JOURNALED
    parse_json(shown.text.encode())
    assert "see the commitment" in shown.text


def test_a_short_input_is_shown_whole() -> None:
    """Most are."""
    assert journal_json(b'{"command": "make test"}').text == '{"command":"make test"}'


def test_no_half_of_a_credential_stays_where_a_text_was_cut() -> None:
    """Attack: a token placed across the cut matches no pattern any more."""
    token = "sk-ant-" + "A" * 60
    for shift in range(120):
        shown = journal_text("y" * (1900 + shift) + " " + token + " tail " * 100).text
        assert "sk-ant-AAAA" not in shown


def test_a_private_key_across_the_cut_is_gone() -> None:
    """Its head is in what stays, its end is not."""
    key = "-----BEGIN PRIVATE KEY-----\n" + "QUJD\n" * 2000 + "-----END PRIVATE KEY-----"

    assert "QUJD" not in journal_text("look: " + key).text
