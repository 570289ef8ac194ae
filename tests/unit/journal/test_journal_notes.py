"""Tree, note and checkpoint are those that the specifications describe."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from agp.errors import IntegrityError
from agp.journal.checkpoint import (
    Checkpoint,
    format_checkpoint,
    parse_checkpoint,
    parse_signed_checkpoint,
    read_checkpoint,
    sign_checkpoint,
)
from agp.journal.keys import parse_public_key
from agp.journal.merkle import EMPTY_ROOT, RightEdge, leaf_hash, node_hash
from agp.journal.note import NoteSignature, format_note, parse_note, sign_note, verify_note
from tests.fakes.journal_logs import OTHER, SIGNER

GO_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUg"
    "YN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
).encode()
"""The published example of Go's sumdb/note package."""
GO_KEY = parse_public_key(b"PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")
NOTE = sign_note("text\n", SIGNER)


def test_the_published_note_of_another_implementation_verifies() -> None:
    note = parse_note(GO_NOTE)
    assert verify_note(note, [GO_KEY]) == GO_KEY
    assert format_note(note) == GO_NOTE


def test_a_changed_note_does_not_verify() -> None:
    with pytest.raises(IntegrityError):
        verify_note(parse_note(GO_NOTE.replace(b"your", b"my", 1)), [GO_KEY])


def test_a_note_by_nobody_known_does_not_verify() -> None:
    with pytest.raises(IntegrityError, match="expected key"):
        verify_note(NOTE, [OTHER.public_key])
    with pytest.raises(IntegrityError, match="expected key"):
        verify_note(NOTE, [])


def test_unknown_signers_are_ignored_and_a_false_known_one_spoils_the_note() -> None:
    stranger = NoteSignature("witness.example", b"\x01\x02\x03\x04", b"x" * 72)
    assert verify_note(NOTE._replace(signatures=(stranger, *NOTE.signatures)), [SIGNER.public_key])
    false = NOTE.signatures[0]._replace(blob=bytes(64))
    with pytest.raises(IntegrityError):
        verify_note(NOTE._replace(signatures=(*NOTE.signatures, false)), [SIGNER.public_key])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n\nx\n",
        format_note(NOTE)[:-1],
        format_note(NOTE).replace(b"text", b"te\rt"),
        format_note(NOTE).replace(b"text", b"te\xff"),
        format_note(NOTE).replace("—".encode(), b"-"),
        format_note(NOTE).replace(b"=", b""),
        b"text\n\n" + format_note(NOTE).split(b"\n\n")[1] * 65,
        b"x" * 70_000,
    ],
)
def test_bytes_that_are_not_a_note_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_note(data)


def test_a_checkpoint_round_trips_through_its_file(tmp_path: Path) -> None:
    checkpoint = Checkpoint(SIGNER.name, 3, bytes(range(32)))
    data = sign_checkpoint(checkpoint, SIGNER)
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint
    assert read_checkpoint(tmp_path) is None
    (tmp_path / "checkpoint").write_bytes(data)
    assert read_checkpoint(tmp_path) == parse_signed_checkpoint(data)


@pytest.mark.parametrize(
    "text", ["a\n1\n", "a\n01\nAA==\n", "a\n-1\nAA==\n", "a\n1\nAA==\n", "\n1\nx\n", "a\n1\nx\ny\n"]
)
def test_a_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError):
        parse_checkpoint(text)


def test_a_link_in_place_of_the_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(sign_checkpoint(Checkpoint("a", 1, bytes(32)), SIGNER))
    (tmp_path / "checkpoint").symlink_to("real")
    with pytest.raises(IntegrityError):
        read_checkpoint(tmp_path)


def _root(leaves: list[bytes]) -> bytes:
    """RFC 6962 §2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(_root(leaves[:k]), _root(leaves[k:]))


def test_the_right_edge_gives_the_root_of_every_size() -> None:
    edge, leaves = RightEdge(), []
    assert edge.root() == EMPTY_ROOT
    for index in range(70):
        leaves.append(str(index).encode())
        edge.push(leaves[-1])
        assert edge.size == len(leaves)
        assert edge.root() == _root(leaves)


def test_the_root_is_that_of_the_published_test_vectors() -> None:
    """The eight leaves of the certificate-transparency reference tests."""
    leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
              "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
    edge = RightEdge()
    for leaf in leaves:
        edge.push(bytes.fromhex(leaf))
    assert edge.root().hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"
