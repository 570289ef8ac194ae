"""A peer's JSON is read as one honest value or refused; nothing in between, nothing expensive."""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal

import pytest

from agp.contracts.strict_json import canonical_json, parse_json, parse_object
from agp.errors import MessageRefused


@dataclass(frozen=True)
class Bad:
    name: str
    data: bytes


BAD = (
    Bad("nothing", b""),
    Bad("only space", b" \n"),
    Bad("a byte order mark", b"\xef\xbb\xbf{}"),
    Bad("not UTF-8", b'{"a":"\xff"}'),
    Bad("an overlong encoding", b'{"a":"\xc0\xaf"}'),
    Bad("a surrogate encoded as UTF-8", b'{"a":"\xed\xa0\x80"}'),
    Bad("UTF-16", '{"a":1}'.encode("utf-16")),
    Bad("one key twice", b'{"deny":1,"deny":2}'),
    Bad("one key twice in two spellings", b'{"a":1,"\\u0061":2}'),
    Bad("one key twice further in", b'{"x":[{"a":1,"a":1}]}'),
    Bad("a lone surrogate in a string", b'{"a":"\\ud800"}'),
    Bad("a lone surrogate in a key", b'{"\\udc00":1}'),
    Bad("a lone surrogate further in", b'{"a":[{"b":"\\ud800x"}]}'),
    Bad("NaN", b'{"a":NaN}'),
    Bad("infinity", b'{"a":-Infinity}'),
    Bad("a number that would fill the memory", b'{"a":1e999999999}'),
    Bad("an exponent beyond any decimal", b'{"a":1e99999999999999999999}'),
    Bad("a whole number of 5,000 digits", b'{"a":' + b"9" * 5000 + b"}"),
    Bad("a leading zero", b'{"a":01}'),
    Bad("a plus sign", b'{"a":+1}'),
    Bad("digits that are not ASCII", '{"a":\u0661}'.encode()),
    Bad("a control character in a string", b'{"a":"\t"}'),
    Bad("a form feed as space", b'{\x0c"a":1}'),
    Bad("a comma at the end", b'{"a":1,}'),
    Bad("no comma", b'{"a":1 "b":2}'),
    Bad("no colon", b'{"a" 1}'),
    Bad("no value", b'{"a":}'),
    Bad("a key without quotes", b"{a:1}"),
    Bad("a comment", b'{"a":1}//'),
    Bad("two values", b'{"a":1}{"a":1}'),
    Bad("cut after the brace", b"{"),
    Bad("cut in a key", b'{"a'),
    Bad("cut after a key", b'{"a"'),
    Bad("cut after a colon", b'{"a":'),
    Bad("cut after a value", b'{"a":1'),
    Bad("cut after a comma", b'{"a":1,'),
    Bad("nested a million deep", b'{"a":' + b"[" * 1_000_000),
    Bad("nested one too deep", b'{"a":' + b"[" * 65 + b"]" * 65 + b"}"),
)


@pytest.mark.parametrize("bad", BAD, ids=lambda bad: bad.name)
def test_what_is_not_one_honest_value_is_refused(bad: Bad):
    with pytest.raises(MessageRefused):
        parse_json(bad.data)
    with pytest.raises(MessageRefused):
        parse_object(bad.data)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"a"', b"null"])
def test_an_object_is_asked_for_and_nothing_else_is_one(data: bytes):
    parse_json(data)
    with pytest.raises(MessageRefused):
        parse_object(data)


def test_the_deepest_legal_value_is_read():
    data = b'{"a":' + b"[" * 64 + b"]" * 64 + b"}"
    assert canonical_json(parse_json(data)) == data
    assert canonical_json(parse_object(data)["a"].value) == data[5:-1]


def test_a_member_keeps_its_bytes_exactly():
    members = parse_object(b' { "a" : [1 , 2.0] ,"b":"\\u0041"\n,"c":{ } } \n')
    assert {key: member.raw for key, member in members.items()} == {
        "a": b"[1 , 2.0]",
        "b": b'"\\u0041"',
        "c": b"{ }",
    }


NUMBERS = (
    (b"1", ("1", "1.0", "1.000", "10e-1", "0.1e1", "1e0", "1E+0", "100e-2")),
    (b"0", ("0", "-0", "0.0", "-0.0", "0e5", "0E-5")),
    (b"-1.5", ("-1.5", "-15e-1", "-1.50")),
    (b"1000", ("1000", "1e3", "1.0E+3")),
    (b"0.0001", ("1e-4", "0.00010")),
)


@pytest.mark.parametrize(("spelled", "spellings"), NUMBERS, ids=lambda value: str(value)[:20])
def test_one_number_has_one_spelling(spelled: bytes, spellings: tuple[str, ...]):
    assert {canonical_json(parse_json(text.encode())) for text in spellings} == {spelled}


def test_numbers_that_a_float_would_join_stay_apart():
    texts = (
        b"9007199254740992",
        b"9007199254740993",
        b"0.1",
        b"0.1000000000000000055511151231257827",
    )
    assert len({canonical_json(parse_json(text)) for text in texts}) == len(texts)


def test_a_value_of_ours_with_a_file_name_that_is_not_utf8_is_our_error():
    with pytest.raises(MessageRefused, match="surrogate"):
        canonical_json({"path": "/w/\udcff"})


def test_a_small_body_cannot_grow_into_a_huge_canonical_text():
    """Attack: 8 MiB of `1e400` were 562 MB of zeros."""
    value = parse_json(b"[" + b"1e400," * 100_000 + b"1]")
    with pytest.raises(MessageRefused, match="too long"):
        canonical_json(value)


def test_megabytes_of_space_cost_nothing():
    """Attack: a body of blanks held the loop for half a second."""
    began = time.perf_counter()
    assert parse_object(b"{" + b" " * 8_000_000 + b"}") == {}
    assert time.perf_counter() - began < 0.25


def test_decimals_are_exact():
    assert parse_json(b"0.1") == Decimal("0.1")
