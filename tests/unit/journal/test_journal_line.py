"""A line has one spelling, one place and one hash; everything else is refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import orjson
import pytest

from agp.contracts.journal import ALL_PAYLOADS, PAYLOAD_OF, ControlPaused, EventKind
from agp.errors import ConfigurationError, IntegrityError, MessageRefused, OverLimit
from agp.journal import line as line_module
from agp.journal.keys import Signer, decode_base64, verify_signature
from agp.journal.line import (
    GENESIS,
    Draft,
    format_line,
    hash_of,
    parse_line,
    read_payload,
    seal,
    signed_bytes,
    spell,
    timestamp,
)
from tests.fakes.journal_logs import SIGNER, TS, resumed, sample

SEALED = seal(Draft(resumed(), "agp", TS), seq=0, prev_hash=GENESIS, signer=SIGNER)


@pytest.mark.parametrize("kind", list(EventKind))
def test_every_payload_survives_sealing_and_parsing(kind: EventKind) -> None:
    sealed = seal(Draft(sample(kind), "agp", TS), seq=3, prev_hash=GENESIS, signer=SIGNER)
    assert parse_line(sealed.raw) == sealed.line
    assert format_line(sealed.line) == sealed.raw
    assert read_payload(sealed.line.kind, sealed.line.payload) == sample(kind)


def test_each_kind_has_one_payload() -> None:
    assert set(PAYLOAD_OF) == set(EventKind)
    assert len(ALL_PAYLOADS) == len(EventKind)


def test_no_payload_has_a_member_without_an_order() -> None:
    """A set would be spelled in any order, so that the same event had many hashes."""
    for model in ALL_PAYLOADS:
        for field in model.model_fields.values():
            assert "set" not in str(field.annotation).lower()


def test_the_signature_covers_the_hash_and_the_hash_the_key() -> None:
    line = SEALED.line
    verify_signature(
        SIGNER.public_key.raw, signed_bytes(line.hash), decode_base64(line.signature, 64)
    )
    members = orjson.loads(SEALED.raw)
    assert hash_of(members) == line.hash
    members["signing_key_id"] = "ab" * 32
    assert hash_of(members) != line.hash


def test_absent_members_are_absent() -> None:
    assert b"null" not in SEALED.raw
    for reserved in line_module.RESERVED:
        assert reserved.encode() not in SEALED.raw


@dataclass(frozen=True)
class Stored:
    name: str
    old: bytes
    new: bytes


@pytest.mark.parametrize(
    "case",
    [
        Stored("a space after a colon", b'"v":1', b'"v": 1'),
        Stored("a leading space", b'{"actor', b' {"actor'),
        Stored("a trailing carriage return", b'"v":1}', b'"v":1}\r'),
        Stored("an escaped letter", b'"agp"', b'"\\u0061gp"'),
        Stored("an escaped slash", b'"agp"', b'"a\\/gp"'),
        Stored("an upper-case escape", b'"agp"', b'"\\u001F"'),
        Stored("a duplicate member, last wins", b'"v":1}', b'"v":1,"v":1}'),
        Stored("members in another order", b'"seq":0,', b'"aaa":"","seq":0,'),
        Stored("a float where an integer stands", b'"seq":0', b'"seq":0.0'),
        Stored("an exponent", b'"seq":0', b'"seq":0e0'),
        Stored("minus zero", b'"seq":0', b'"seq":-0'),
        Stored("a negative place", b'"seq":0', b'"seq":-1'),
        Stored("an integer that a double cannot hold", b'"seq":0', b'"seq":9007199254740992'),
        Stored("a boolean for a number", b'"seq":0', b'"seq":true'),
        Stored("null for a reserved member", b'"ts"', b'"tenant_id":null,"ts"'),
        Stored("an empty reserved member", b'"ts"', b'"tenant_id":"","ts"'),
        Stored("an unknown member", b'"ts"', b'"tt":"x","ts"'),
        Stored("a key with an upper-case letter", b'"by"', b'"By"'),
        Stored("a key with a letter outside ASCII", b'"by"', '"bý"'.encode()),
        Stored("an empty actor", b'"agp"', b'""'),
        Stored("version nought", b'"v":1', b'"v":0'),
        Stored("a month that does not exist", b"2026-11-20", b"2026-13-20"),
        Stored("a day that does not exist", b"2026-11-20", b"2026-02-30"),
        Stored("a leap second", b"12:00:00", b"12:00:60"),
        Stored("milliseconds only", b"00.000000Z", b"00.000Z"),
        Stored("another zone", b"000000Z", b"000000+00:00"),
        Stored("digits that are not ASCII", b"2026-", "٢026-".encode()),
        Stored("an upper-case digest", GENESIS.encode(), b"A" * 64),
        Stored("a digest with a newline", GENESIS.encode(), GENESIS[:63].encode() + b"\\n"),
        Stored("invalid UTF-8", b'"agp"', b'"\xff"'),
        Stored("an encoded surrogate", b'"agp"', b'"\xed\xa0\x80"'),
        Stored("an escaped lone surrogate", b'"agp"', b'"\\ud800"'),
        Stored("a byte order mark", b'{"actor', b'\xef\xbb\xbf{"actor'),
        Stored("a kind without a verb", b"control.resumed", b"control"),
        Stored("a payload that is a list", b'{"by":"uid:1000"}', b'["x"]'),
        Stored("nesting without end", b'"uid:1000"', b"[" * 20 + b"]" * 20),
        Stored("a signature without padding", b'=="', b'"'),
    ],
    ids=lambda case: case.name,
)
def test_bytes_that_are_not_the_one_spelling_are_refused(case: Stored) -> None:
    changed = SEALED.raw.replace(case.old, case.new, 1)
    assert changed != SEALED.raw
    with pytest.raises(IntegrityError):
        parse_line(changed)


def test_a_signature_with_unused_bits_set_is_refused() -> None:
    """86 base64 characters hold 516 bits: four of them are free unless somebody looks."""
    at = SEALED.raw.index(b'=="') - 1
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = alphabet[alphabet.index(SEALED.raw[at]) ^ 1]
    with pytest.raises(IntegrityError, match="signature"):
        parse_line(SEALED.raw[:at] + bytes([twin]) + SEALED.raw[at + 1 :])


@pytest.mark.parametrize(
    "value",
    [
        None,
        1.5,
        {"a": None},
        {"A": 1},
        {"": 1},
        {1: 1},
        {"a": {1}},
        [b"x"],
        2**53,
        -(2**53),
        "\ud800",
    ],
)
def test_what_has_no_spelling_is_refused_before_it_is_signed(value: object) -> None:
    with pytest.raises(MessageRefused):
        spell(value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [2**53 - 1, -(2**53 - 1), True, "", [], {}, "\u2028\x7f\x00"])
def test_the_edges_of_the_subset_are_inside(value: object) -> None:
    assert orjson.loads(spell(value)) == value  # type: ignore[arg-type]


def test_an_event_that_cannot_be_spelled_is_a_refusal() -> None:
    for reason in ("\ud800", "\udcff"):
        draft = Draft(ControlPaused.model_construct(reason=reason, by="x"), "agp", TS)
        with pytest.raises(MessageRefused):
            seal(draft, seq=0, prev_hash=GENESIS, signer=SIGNER)


@pytest.mark.parametrize("draft", [Draft(resumed(), "", TS), Draft(resumed(), "agp", "yesterday")])
def test_an_event_without_actor_or_time_is_a_refusal(draft: Draft) -> None:
    with pytest.raises(MessageRefused):
        seal(draft, seq=0, prev_hash=GENESIS, signer=SIGNER)


def test_an_event_that_is_too_long_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_module, "MAX_LINE", 600)
    with pytest.raises(OverLimit):
        seal(Draft(resumed("x" * 600), "agp", TS), seq=0, prev_hash=GENESIS, signer=SIGNER)


def test_time_is_spelled_in_utc_with_six_decimals() -> None:
    zone = timezone(timedelta(hours=2))
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, tzinfo=zone)) == "2026-01-02T01:04:05.000000Z"
    with pytest.raises(ConfigurationError):
        timestamp(datetime(2026, 1, 2))  # noqa: DTZ001 - the attack


def test_another_signer_gives_another_line() -> None:
    other = seal(
        Draft(resumed(), "agp", TS), seq=0, prev_hash=GENESIS, signer=Signer(b"x" * 32, "y")
    )
    assert other.line.hash != SEALED.line.hash
