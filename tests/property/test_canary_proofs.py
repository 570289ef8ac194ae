"""Bytes that claim to be proofs, a harness's stream, or a request to the canary's model."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agp.daemon.proved import Proof, format_proofs, parse_proofs
from agp.intendants.claude_code.canary_model import CANARY_KEY, CanaryModel, ModelCall
from agp.intendants.claude_code.canary_stream import read_stream

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
NAME = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=40)
PROOFS = st.lists(
    st.builds(
        Proof,
        agp=NAME,
        intendant=NAME,
        version=NAME,
        harness_digest=HEX,
        shape_digest=HEX,
        at=NAME,
        duration_ms=st.integers(0, 2**31),
    ),
    max_size=5,
).map(tuple)
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "message", "content", "tool_result_meta", "id", "role", "messages",
                         "model", "tools", "tool_use_id", "is_error", "version", "proofs"]),
        inner,
        max_size=5,
    ),
    max_leaves=12,
)  # fmt: skip


@given(PROOFS)
def test_proofs_survive_being_written(proofs: tuple[Proof, ...]) -> None:
    """What is written is read."""
    assert parse_proofs(format_proofs(proofs)) == proofs


@given(PROOFS.filter(bool), st.data())
def test_one_changed_byte_makes_no_proof_of_something_that_was_not_one_byte_away(
    proofs: tuple[Proof, ...], data: st.DataObject
) -> None:
    """A damaged file proves nothing, or differs from what was proved in that one place."""
    whole = bytearray(format_proofs(proofs))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    found = parse_proofs(bytes(whole))
    assert len(found) <= len(proofs)
    different = [new for new, old in zip(found, proofs, strict=False) if new.of != old.of]
    assert len(different) <= 1


@given(st.binary(max_size=300) | JSONISH.map(lambda v: json.dumps(v).encode()))
def test_any_bytes_are_proofs_or_none_a_stream_or_none_a_request_or_refused(data: bytes) -> None:
    """Nothing that a harness or a file says raises."""
    assert isinstance(parse_proofs(data), tuple)
    shown = read_stream(data)
    assert shown is None or shown.settled is not None
    model = CanaryModel((ModelCall("i", "t", {}),), ("secret",))
    head = f"POST /v1/messages HTTP/1.1\r\nx-api-key: {CANARY_KEY}\r\n\r\n".encode()
    assert model.answer(head, data).startswith(b"HTTP/1.1 ")
    assert model.answer(data, data).startswith(b"HTTP/1.1 ")
