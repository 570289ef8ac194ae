"""Strict reading against the standard library as an oracle, and one text for one value."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from agp.contracts.strict_json import Json, canonical_json, parse_json, parse_object
from agp.errors import MessageRefused

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, VALUES, max_size=6)
SPACES = st.text(" \t\n\r", max_size=4)
JSONISH = st.text(st.sampled_from('{}[]:,"\\ud80001.eE+-tfn aN\n'), max_size=40)


def exact(value: object) -> object:
    """Read by the oracle: the same text with exact decimals."""
    return json.loads(json.dumps(value), parse_float=Decimal)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.none() | st.integers(0, 3))
def test_a_valid_value_is_read_as_the_standard_library_reads_it(
    value: object, ascii_only: bool, indent: int | None
):
    data = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    assert parse_json(data) == exact(value)


@given(value=VALUES)
def test_canonical_text_reads_back_to_the_same_value_and_is_a_fixed_point(value: object):
    canonical = canonical_json(parse_json(json.dumps(value).encode()))
    assert json.loads(canonical, parse_float=Decimal) == exact(value)
    assert canonical_json(parse_json(canonical)) == canonical


@given(value=OBJECTS, other=OBJECTS)
def test_equal_values_and_only_they_have_equal_canonical_bytes(value: object, other: object):
    def bytes_of(one: object) -> bytes:
        return canonical_json(parse_json(json.dumps(one, indent=1).encode()))

    assert (bytes_of(value) == bytes_of(other)) == same(exact(value), exact(other))
    shuffled = dict(reversed(value.items())) if isinstance(value, dict) else value
    assert bytes_of(shuffled) == bytes_of(value)


def same(one: object, other: object) -> bool:
    """Compare without Python's `True == 1`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    return one == other


@given(members=OBJECTS, gaps=st.lists(SPACES, min_size=32, max_size=32))
def test_raw_spans_are_exactly_the_bytes_between_colon_and_comma(
    members: dict[str, object], gaps: list[str]
):
    gap = iter(gaps * (len(members) + 1))
    raws: dict[str, bytes] = {}
    pieces: list[str] = []
    for key, value in members.items():
        raw = json.dumps(value, ensure_ascii=False, indent=1)
        raws[key] = raw.encode()
        name = json.dumps(key)
        pieces.append(f"{next(gap)}{name}{next(gap)}:{next(gap)}{raw}{next(gap)}")
    text = f"{next(gap)}{{{','.join(pieces) or next(gap)}}}{next(gap)}"
    read = parse_object(text.encode())
    assert {key: member.raw for key, member in read.items()} == raws
    assert {key: member.value for key, member in read.items()} == exact(members)


@given(members=st.dictionaries(TEXT, VALUES, min_size=1, max_size=4), data=st.data())
def test_a_key_twice_is_refused_wherever_it_stands(members: dict[str, object], data: st.DataObject):
    key = data.draw(st.sampled_from(sorted(members)))
    body = json.dumps(members)[1:-1]
    # The second spelling is all escapes: the same key to every reader.
    again = "".join(f"\\u{unit:04x}" for unit in _utf16(key))
    text = f'{{{body},"{again}":null}}'
    for wrapped in (text, f'{{"x":[{text}]}}'):
        for parse in (parse_json, parse_object):
            assert refuses(parse, wrapped.encode())


def _utf16(text: str) -> list[int]:
    units = text.encode("utf-16-be")
    return [int.from_bytes(units[i : i + 2]) for i in range(0, len(units), 2)]


def refuses(parse: object, data: bytes) -> bool:
    try:
        parse(data)  # type: ignore[operator]
    except MessageRefused:
        return True
    return False


@given(data=st.binary(max_size=60) | JSONISH.map(str.encode))
def test_any_bytes_give_a_value_or_our_error_and_both_readers_agree(data: bytes):
    try:
        value: Json = parse_json(data)
    except MessageRefused:
        assert refuses(parse_object, data)
        return
    canonical_json(value)
    oracle = json.loads(data, parse_float=Decimal)
    assert value == oracle
    if isinstance(value, dict):
        members = parse_object(data)
        assert {key: member.value for key, member in members.items()} == value
        for member in members.values():
            assert parse_json(member.raw) == member.value
            assert member.raw in data
    else:
        assert refuses(parse_object, data)


@given(
    digits=st.integers(1, 10**40),
    shift=st.integers(-60, 60),
    pad=st.integers(0, 5),
    sign=st.sampled_from(["", "-"]),
)
def test_a_number_has_one_spelling_however_it_is_shifted(
    digits: int, shift: int, pad: int, sign: str
):
    plain = parse_json(f"{sign}{digits}e{shift}".encode())
    shifted = parse_json(f"{sign}{digits}{'0' * pad}e{shift - pad}".encode())
    assert canonical_json(plain) == canonical_json(shifted)
    assert b"e" not in canonical_json(plain).lower()
    assert Decimal(canonical_json(plain).decode()) == Decimal(f"{sign}{digits}e{shift}")
