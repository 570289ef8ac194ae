"""One line: the canonical spelling, the preimages, seal and parse.

The subset of JSON is chosen so that one value has exactly one spelling and orjson's sorted output
is byte-identical to RFC 8785: object keys `[a-z0-9_]+`, strings without lone surrogates, integers
between -(2^53-1) and 2^53-1, booleans, lists, objects; no null, no floats.

FROZEN: `docs/journal-format.md` §2 and §3; ADR 0002.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple, cast

import orjson
from pydantic import JsonValue, ValidationError

from agp.contracts.base import Digest
from agp.contracts.journal import LINE_VERSION, PAYLOAD_OF, EventKind, Line, Payload
from agp.errors import ConfigurationError, IntegrityError, MessageRefused, OverLimit
from agp.journal.keys import SIGNATURE_BYTES, Signer, decode_base64, encode_base64

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Members = dict[str, JsonValue]
"""A line's members as they were stored."""

LINE_DOMAIN: Final = b"agp/line/v1\0"
EVENT_DOMAIN: Final = b"agp/event/v1\0"
ROTATE_DOMAIN: Final = b"agp/rotate/v1\0"
GENESIS: Final = Digest("0" * 64)
"""`prev_hash` of line 0."""
MAX_LINE: Final = 64 * 1024 * 1024
"""Bytes without LF: twice the largest hook body, escaped at its worst, twice."""
MAX_DEPTH: Final = 16
"""Of nested objects and lists, the line itself counted."""

REQUIRED: Final = frozenset(
    {
        "v",
        "seq",
        "ts",
        "kind",
        "actor",
        "payload",
        "prev_hash",
        "hash",
        "signing_key_id",
        "signature",
    }
)
RESERVED: Final = frozenset(
    {
        "tenant_id",
        "approval_binding_type",
        "intendant_identity_uri",
        "on_behalf_of",
        "correlation_id",
    }
)
"""Absent until used, never null."""

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_KEY = re.compile(r"[a-z0-9_]+").fullmatch
_DIGEST = re.compile(r"[0-9a-f]{64}").fullmatch
_KIND = re.compile(r"[a-z0-9_]+\.[a-z0-9_]+").fullmatch
_TS = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z").fullmatch


class Draft(NamedTuple):
    """An event that has no place in the log yet."""

    payload: Payload
    actor: str
    ts: str


class SealedLine(NamedTuple):
    """A sealed event and its stored bytes without LF."""

    raw: bytes
    line: Line


class FieldError(ValueError):
    """A line breaks the format; it stays inside this room, where it gets its place."""

    def __init__(self, field: str, expected: str, found: str) -> None:
        super().__init__(f"field {field}: expected {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found


def timestamp(moment: datetime) -> str:
    """Spell a moment as `ts`: UTC, always six decimals, always Z."""
    if moment.tzinfo is None:
        raise ConfigurationError("a clock gave a time without a zone")
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def spell(value: JsonValue) -> bytes:
    """Write a value in its one canonical spelling.

    Raises:
        MessageRefused: the value is outside the subset, with the member that is.
    """
    _check_subset(value, 1)
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except orjson.JSONEncodeError as error:
        raise MessageRefused("an event cannot be spelled", why=str(error)) from error


def hash_of(members: Mapping[str, JsonValue]) -> Digest:
    """Hash a line: everything in it but `hash` and `signature`; members are within the subset."""
    body = {key: item for key, item in members.items() if key not in {"hash", "signature"}}
    return Digest(hashlib.sha256(LINE_DOMAIN + orjson.dumps(body, option=_OPTIONS)).hexdigest())


def signed_bytes(line_hash: str) -> bytes:
    """Give what a line's signature covers."""
    return EVENT_DOMAIN + bytes.fromhex(line_hash)


def rotation_bytes(prev_hash: str, new_public_key: bytes) -> bytes:
    """Give what the new key signs in `key.rotated`; `prev_hash` is that line's own."""
    return ROTATE_DOMAIN + bytes.fromhex(prev_hash) + new_public_key


def seal(draft: Draft, *, seq: int, prev_hash: Digest, signer: Signer) -> SealedLine:
    """Give an event its place, hash and signature.

    Raises:
        MessageRefused: the event cannot be spelled; nothing happened.
        OverLimit: the line would be longer than `MAX_LINE`; nothing happened.
    """
    members: Members = {
        "v": LINE_VERSION,
        "seq": seq,
        "ts": draft.ts,
        "kind": draft.payload.kind.value,
        "actor": draft.actor,
        "payload": cast("JsonValue", draft.payload.model_dump(exclude_none=True)),
        "prev_hash": prev_hash,
        "signing_key_id": signer.key_id,
    }
    members["hash"] = line_hash = Digest(hashlib.sha256(LINE_DOMAIN + spell(members)).hexdigest())
    members["signature"] = encode_base64(signer.sign(signed_bytes(line_hash)))
    raw = orjson.dumps(members, option=_OPTIONS)
    if len(raw) > MAX_LINE:
        raise OverLimit("an event is too long for the journal", why=f"{len(raw)} bytes")
    try:
        _check_envelope(members)
    except FieldError as error:
        raise MessageRefused("an event is not a journal line", why=str(error)) from error
    return SealedLine(raw, Line.model_validate_json(raw))


def read_members(raw: bytes) -> Members:
    """Read stored bytes strictly: the one spelling, every member as the format says.

    Raises:
        FieldError: naming the member that is not.
    """
    if len(raw) > MAX_LINE:
        raise FieldError("line", f"at most {MAX_LINE} bytes", str(len(raw)))
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise FieldError("line", "one JSON object", str(error)) from error
    if not isinstance(members, dict):
        raise FieldError("line", "one JSON object", "another JSON value")
    try:
        again = spell(members)
    except MessageRefused as error:
        raise FieldError("line", "the journal's subset of JSON", error.why) from error
    if again != raw:
        raise FieldError("line", "the canonical spelling", _first_difference(again, raw))
    _check_envelope(members)
    return members


def parse_line(raw: bytes) -> Line:
    """Read a line of version 1.

    Raises:
        IntegrityError: the bytes are not one.
    """
    try:
        return _line(read_members(raw))
    except FieldError as error:
        raise IntegrityError("a stored line is not a journal line", why=str(error)) from error


def format_line(line: Line) -> bytes:
    """Spell a line without LF; the inverse of `parse_line`."""
    return spell(cast("JsonValue", line.model_dump(exclude_none=True)))


def read_payload(kind: str, payload: JsonValue) -> Payload:
    """Read a line's payload as the contract that its kind names.

    Raises:
        MessageRefused: this version does not know the kind, or not with these members.
    """
    try:
        model = PAYLOAD_OF[EventKind(kind)]
        return model.model_validate_json(orjson.dumps(payload))
    except ValidationError as error:
        first = error.errors()[0]
        member = ".".join(str(part) for part in first["loc"])
        raise MessageRefused(
            f"a payload of {kind} is not as this version knows it", where=member, why=first["msg"]
        ) from error
    except ValueError as error:
        raise MessageRefused("an event's kind is not known", where=kind) from error


def _line(members: Members) -> Line:
    if members["v"] != LINE_VERSION:
        raise FieldError("v", str(LINE_VERSION), str(members["v"]))
    try:
        return Line.model_validate(members)
    except ValidationError as error:
        first = error.errors()[0]
        raise FieldError(str(first["loc"][0]), "its contract", first["msg"]) from error


def _check_subset(value: object, depth: int) -> None:
    """Refuse null, floats, sets, foreign keys and depth; orjson refuses the rest."""
    if isinstance(value, str | int):
        return
    if depth > MAX_DEPTH:
        raise MessageRefused("an event cannot be spelled", why="it is nested too deeply")
    if isinstance(value, dict):
        for key, item in value.items():
            if not (isinstance(key, str) and _KEY(key)):
                raise MessageRefused("an event cannot be spelled", why=f"the key {key!r}")
            _check_subset(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_subset(item, depth + 1)
    else:
        kind = "null" if value is None else type(value).__name__
        raise MessageRefused("an event cannot be spelled", why=f"it holds a {kind}")


def _check_envelope(members: Members) -> None:
    """Check every member of any version; version 1 has no others."""
    missing = REQUIRED - members.keys()
    if missing:
        raise FieldError(min(missing), "a member", "nothing")
    for field, expected, fits in _ENVELOPE:
        if not fits(members[field]):
            raise FieldError(field, expected, _brief(members[field]))
    for field in members.keys() - REQUIRED:
        if field in RESERVED:
            if not _is_text(members[field]):
                raise FieldError(field, "a string that is not empty", _brief(members[field]))
        elif members["v"] == LINE_VERSION:
            raise FieldError(field, "no such member in version 1", _brief(members[field]))


def _is_number(value: JsonValue, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_text(value: JsonValue) -> bool:
    return isinstance(value, str) and bool(value)


def _is_digest(value: JsonValue) -> bool:
    return isinstance(value, str) and bool(_DIGEST(value))


def _is_kind(value: JsonValue) -> bool:
    return isinstance(value, str) and bool(_KIND(value))


def _is_time(value: JsonValue) -> bool:
    if not (isinstance(value, str) and _TS(value)):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_signature(value: JsonValue) -> bool:
    try:
        return isinstance(value, str) and bool(decode_base64(value, SIGNATURE_BYTES))
    except ValueError:
        return False


_ENVELOPE: tuple[tuple[str, str, Callable[[JsonValue], bool]], ...] = (
    ("v", "an integer from 1", lambda value: _is_number(value, 1)),
    ("seq", "an integer from 0", lambda value: _is_number(value, 0)),
    ("ts", "YYYY-MM-DDTHH:MM:SS.ffffffZ", _is_time),
    ("kind", "noun.verb", _is_kind),
    ("actor", "a string that is not empty", _is_text),
    ("payload", "an object", lambda value: isinstance(value, dict)),
    ("prev_hash", "64 lower-case hex digits", _is_digest),
    ("hash", "64 lower-case hex digits", _is_digest),
    ("signing_key_id", "64 lower-case hex digits", _is_digest),
    ("signature", "64 bytes in standard base64", _is_signature),
)


def _brief(value: JsonValue) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one screen line


def _first_difference(expected: bytes, found: bytes) -> str:
    at = next(
        (i for i, (a, b) in enumerate(zip(expected, found, strict=False)) if a != b),
        min(len(expected), len(found)),
    )
    return f"another spelling from byte {at}: {found[at : at + 24]!r}"
