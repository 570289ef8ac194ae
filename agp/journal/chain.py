"""How lines hold together: a head, and the one function that moves it by one line.

Pure: the writer uses it for the tail that no checkpoint covers, the verifier for every line.

FROZEN: `docs/journal-format.md` §4 and §5; ADR 0002.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from agp.contracts.base import Digest
from agp.contracts.journal import LINE_VERSION, EventKind, JournalOpened, KeyRevoked, KeyRotated
from agp.errors import ConfigurationError, IntegrityError
from agp.journal.damage import Cause, Place, damage
from agp.journal.keys import KEY_BYTES, SIGNATURE_BYTES, PublicKey, decode_base64, verify_signature
from agp.journal.line import (
    GENESIS,
    FieldError,
    Members,
    hash_of,
    read_members,
    rotation_bytes,
    signed_bytes,
    spell,
)

if TYPE_CHECKING:
    from agp.journal.reader import Stored


class Era(NamedTuple):
    """A stretch of lines that one key signs."""

    key: PublicKey
    first_seq: int


class Revocation(NamedTuple):
    """A key that its successor no longer trusts after a line."""

    key_id: Digest
    last_trusted_seq: int


class Head(NamedTuple):
    """What the next line is held against."""

    seq: int
    prev_hash: Digest
    eras: tuple[Era, ...]
    """Empty before line 0; the last one signs the next line."""
    log_id: str
    revocations: tuple[Revocation, ...] = ()

    @property
    def origin(self) -> str:
        """The log's name, which its keys and checkpoints carry."""
        return self.eras[0].key.name

    @property
    def keys(self) -> tuple[PublicKey, ...]:
        """Every key of the log, oldest first."""
        return tuple(era.key for era in self.eras)


P = TypeVar("P", JournalOpened, KeyRotated, KeyRevoked)
START: Final = Head(0, GENESIS, (), "")


def read_stored(stored: Stored) -> Members:
    """Read a stored line strictly, and tell a rewritten spelling from an edit.

    Raises:
        IntegrityError: naming the line and the member.
    """
    try:
        return read_members(stored.raw)
    except FieldError as error:
        cause = Cause.RE_ENCODING if _only_respelled(stored.raw) else Cause.EDIT
        raise damage(
            "a stored line is not a journal line",
            stored.place,
            field=error.field,
            expected=error.expected,
            found=error.found,
            cause=cause,
        ) from error


def follow(
    head: Head,
    members: Members,
    place: Place,
    *,
    given: PublicKey,
    following: bytes | None = None,
) -> Head:
    """Hold one line against the head and give the next head.

    `given` is the key that the caller trusts from outside the log; `following` is the next
    stored line, only to name a cause.

    Raises:
        IntegrityError: naming the line, the member, and the likeliest cause.
    """
    # 1. The line is what was hashed.
    expected = hash_of(members)
    if members["hash"] != expected:
        raise damage(
            "a line is not what was sealed",
            place,
            field="hash",
            expected=expected,
            found=members["hash"],
            cause=Cause.EDIT,
        )
    # 2. It is signed by the key of its era; line 0 introduces the first one.
    opened = _open(members, place) if head.seq == 0 else None
    eras = (Era(_key_of(opened, place), 0),) if opened else head.eras
    eras = _succeed(eras, members, place, given)
    _check_signature(eras[-1].key, members, place)
    # 3. It stands where it was sealed.
    _check_seq(head, members, place, following)
    if members["prev_hash"] != head.prev_hash:
        raise damage(
            "a line does not follow the line before it",
            place,
            field="prev_hash",
            expected=head.prev_hash,
            found=members["prev_hash"],
            cause=Cause.ROLLBACK,
        )
    # 4. Only line 0 opens, and keys change only in the ways that the format knows.
    if head.seq and members["kind"] == EventKind.JOURNAL_OPENED:
        raise _bad_kind(place, "anything but journal.opened", members, Cause.INSERTION)
    return Head(
        seq=head.seq + 1,
        prev_hash=Digest(str(members["hash"])),
        eras=_rotate(eras, members, place),
        log_id=opened.log_id if opened else head.log_id,
        revocations=head.revocations + _revoke(eras, members, place),
    )


def _only_respelled(raw: bytes) -> bool:
    """Tell whether the parsed content still has the hash that it states."""
    try:
        members = orjson.loads(raw)
        return isinstance(members, dict) and hash_of(members) == members.get("hash")
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return False


def _open(members: Members, place: Place) -> JournalOpened:
    if members["kind"] != EventKind.JOURNAL_OPENED or members["v"] != LINE_VERSION:
        raise _bad_kind(place, "journal.opened, v 1", members, Cause.DELETION)
    return _known(members, place, JournalOpened)


def _key_of(opened: JournalOpened, place: Place) -> PublicKey:
    try:
        return PublicKey(opened.origin, decode_base64(opened.public_key, KEY_BYTES))
    except (ValueError, ConfigurationError) as error:
        raise damage(
            "line 0 introduces no key",
            place,
            field="payload",
            expected="an origin and 32 bytes in base64",
            found=str(error),
            cause=Cause.FORMAT,
        ) from error


def _succeed(
    eras: tuple[Era, ...], members: Members, place: Place, given: PublicKey
) -> tuple[Era, ...]:
    """Let a successor speak that was *given*, where the lost key could not introduce it."""
    current = eras[-1].key
    if members["kind"] != EventKind.KEY_REVOKED or members["signing_key_id"] == current.key_id:
        return eras
    payload = _known(members, place, KeyRevoked)
    if members["signing_key_id"] != given.key_id or payload.revoked_key_id != current.key_id:
        return eras
    return (*eras, Era(PublicKey(current.name, given.raw), place.seq))


def _check_signature(key: PublicKey, members: Members, place: Place) -> None:
    if members["signing_key_id"] != key.key_id:
        raise damage(
            "a line is signed by another key",
            place,
            field="signing_key_id",
            expected=key.key_id,
            found=members["signing_key_id"],
            cause=Cause.OTHER_KEY,
        )
    signature = decode_base64(str(members["signature"]), SIGNATURE_BYTES)
    try:
        verify_signature(key.raw, signed_bytes(str(members["hash"])), signature)
    except IntegrityError as error:
        raise damage(
            "a line's signature does not verify",
            place,
            field="signature",
            expected=f"a signature by key {key.key_id}",
            found=members["signature"],
            cause=Cause.EDIT,
        ) from error


def _check_seq(head: Head, members: Members, place: Place, following: bytes | None) -> None:
    found = members["seq"]
    if found == head.seq:
        return
    if members["hash"] == head.prev_hash:
        cause = Cause.DUPLICATION
    elif isinstance(found, int) and found < head.seq:
        cause = Cause.INSERTION
    else:
        cause = Cause.SWAP if _seq_of(following) == head.seq else Cause.DELETION
    raise damage(
        "a line stands in another's place",
        place,
        field="seq",
        expected=head.seq,
        found=found,
        cause=cause,
    )


def _seq_of(raw: bytes | None) -> object:
    try:
        members = orjson.loads(raw or b"")
    except orjson.JSONDecodeError:
        return None
    return members.get("seq") if isinstance(members, dict) else None


def _rotate(eras: tuple[Era, ...], members: Members, place: Place) -> tuple[Era, ...]:
    """Begin a new era with the next line, if this one names a key that signed for it."""
    if members["kind"] != EventKind.KEY_ROTATED:
        return eras
    payload = _known(members, place, KeyRotated)
    try:
        key = PublicKey(eras[0].key.name, decode_base64(payload.public_key, KEY_BYTES))
        signature = decode_base64(payload.new_key_signature, SIGNATURE_BYTES)
        verify_signature(key.raw, rotation_bytes(str(members["prev_hash"]), key.raw), signature)
    except (ValueError, IntegrityError) as error:
        raise damage(
            "a rotation is not accepted by its new key",
            place,
            field="payload",
            expected="a signature by the new key",
            found=str(error),
            cause=Cause.FORMAT,
        ) from error
    if any(era.key.raw == key.raw for era in eras):
        raise damage(
            "a rotation goes back to an old key",
            place,
            field="payload",
            expected="a key that this log has not had",
            found=key.key_id,
            cause=Cause.FORMAT,
        )
    return (*eras, Era(key, place.seq + 1))


def _revoke(eras: tuple[Era, ...], members: Members, place: Place) -> tuple[Revocation, ...]:
    if members["kind"] != EventKind.KEY_REVOKED:
        return ()
    payload = _known(members, place, KeyRevoked)
    if payload.revoked_key_id not in {era.key.key_id for era in eras[:-1]}:
        raise damage(
            "a revocation names no earlier key of this log",
            place,
            field="payload",
            expected="an earlier key",
            found=payload.revoked_key_id,
            cause=Cause.FORMAT,
        )
    return (Revocation(payload.revoked_key_id, payload.last_trusted_seq),)


def _known(members: Members, place: Place, model: type[P]) -> P:
    """Read a payload on which the chain itself depends; not understood means not proved."""
    try:
        return model.model_validate_json(spell(members["payload"]))
    except ValidationError as error:
        raise damage(
            "a line on which the chain depends is not understood",
            place,
            field="payload",
            expected=f"the members of {model.kind}",
            found=error.errors()[0]["msg"],
            cause=Cause.FORMAT,
        ) from error


def _bad_kind(place: Place, expected: str, members: Members, cause: Cause) -> IntegrityError:
    return damage(
        "a line is of a kind that cannot stand here",
        place,
        field="kind",
        expected=expected,
        found=f"{members['kind']}, v {members['v']}",
        cause=cause,
    )
