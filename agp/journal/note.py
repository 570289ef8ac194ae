"""C2SP signed notes: a text, and signatures over exactly that text.

    <text, each line ending in LF>
    <an empty line>
    — <key name> <base64 of the 4-byte key id and the signature>

Source: c2sp.org/signed-note; ADR 0003.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, NamedTuple

from agp.errors import IntegrityError
from agp.journal.keys import SIGNATURE_BYTES, PublicKey, Signer, encode_base64, verify_signature

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_NOTE = 65_536
"""Bytes; 64 signatures of any type that C2SP knows, the post-quantum ones excepted, fit."""
MAX_SIGNATURES = 64
"""A verifier accepts at least 16 (c2sp.org/signed-note)."""
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_SIGNATURE = re.compile(r"\u2014 ([^\s+]+) ([A-Za-z0-9+/]+={0,2})")
_KEY_ID_BYTES = 4


class NoteSignature(NamedTuple):
    """One signature line; `blob` is whatever the key's type says."""

    name: str
    key_id: bytes
    blob: bytes


class Note(NamedTuple):
    """A text that ends in LF, and who signed it; nothing is verified yet."""

    text: str
    signatures: tuple[NoteSignature, ...]


def parse_note(data: bytes) -> Note:
    """Read a signed note.

    Raises:
        IntegrityError: the bytes are not one.
    """
    if len(data) > MAX_NOTE:
        raise _malformed("it is too long")
    try:
        text, blank, tail = data.decode().rpartition("\n\n")
    except UnicodeDecodeError as error:
        raise _malformed("it is not UTF-8") from error
    if _CONTROL.search(text) or _CONTROL.search(tail):
        raise _malformed("it holds a control character")
    if not (text and blank and tail.endswith("\n")):
        raise _malformed("text, empty line and signature lines are expected")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise _malformed(f"it has more than {MAX_SIGNATURES} signatures")
    return Note(f"{text}\n", tuple(_parse_signature(line) for line in lines))


def format_note(note: Note) -> bytes:
    """Spell a signed note."""
    lines = [
        f"\u2014 {name} {encode_base64(key_id + blob)}\n" for name, key_id, blob in note.signatures
    ]
    return f"{note.text}\n{''.join(lines)}".encode()


def sign_note(text: str, signer: Signer) -> Note:
    """Sign a text, which ends in LF, with one key."""
    key = signer.public_key
    signature = NoteSignature(key.name, key.note_key_id, signer.sign(text.encode()))
    return Note(text, (signature,))


def verify_note(note: Note, keys: Iterable[PublicKey]) -> PublicKey:
    """Find the first given key that signed the note; unknown signers are ignored.

    Raises:
        IntegrityError: none of the keys signed it, or a line in the name of one does not verify.
    """
    known = {(key.name, key.note_key_id): key for key in keys}
    signers = []
    for signature in note.signatures:
        key = known.get((signature.name, signature.key_id))
        if key is None:
            continue
        if len(signature.blob) != SIGNATURE_BYTES:
            raise IntegrityError("a note's signature has the wrong length", where=signature.name)
        verify_signature(key.raw, note.text.encode(), signature.blob)
        signers.append(key)
    if not signers:
        names = ", ".join(sorted({signature.name for signature in note.signatures}))
        raise IntegrityError(
            "a note is not signed by the expected key", why=f"it is signed by {names}"
        )
    return signers[0]


def _parse_signature(line: str) -> NoteSignature:
    match = _SIGNATURE.fullmatch(line)
    if match is None:
        raise _malformed("a signature line is not one")
    try:
        raw = binascii.a2b_base64(match[2], strict_mode=True)
    except binascii.Error as error:
        raise _malformed("a signature is not base64") from error
    if len(raw) <= _KEY_ID_BYTES or encode_base64(raw) != match[2]:
        raise _malformed("a signature is too short or not in its one spelling")
    return NoteSignature(match[1], raw[:_KEY_ID_BYTES], raw[_KEY_ID_BYTES:])


def _malformed(why: str) -> IntegrityError:
    return IntegrityError("a signed note is malformed", why=why)
