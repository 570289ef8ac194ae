"""Verify a journal offline, with nothing but its directory and a public key.

Two verdicts: *integrity* (what is here is what was sealed) and *completeness* (nothing is missing
against an anchor that was kept outside). A log and its local checkpoint can be rolled back
together, so that without an anchor completeness is `UNANCHORED`, never OK.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.contracts.base import Contract, Digest
from agp.contracts.journal import LINE_VERSION, CheckpointSealed, EventKind
from agp.errors import IntegrityError, MessageRefused
from agp.journal.chain import START, Head, follow, read_stored
from agp.journal.checkpoint import CHECKPOINT_FILE, parse_signed_checkpoint, read_checkpoint
from agp.journal.damage import Cause, Place, damage
from agp.journal.keys import encode_base64
from agp.journal.line import read_payload
from agp.journal.merkle import RightEdge
from agp.journal.note import verify_note
from agp.journal.reader import stored_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agp.contracts.journal import Payload
    from agp.journal.checkpoint import SignedCheckpoint
    from agp.journal.keys import PublicKey
    from agp.journal.line import Members
    from agp.journal.reader import Stored

ANCHOR: Final = "anchor"
UNKNOWN_SHOWN: Final = 100
"""Unknown lines that a report lists; the count is exact."""
_CREATION: Final = frozenset({EventKind.JOURNAL_OPENED, EventKind.JOURNAL_REPAIRED})


class Integrity(StrEnum):
    """What is here is what was sealed; damage is an error, not a value."""

    OK = "OK"
    UNKNOWN = "UNKNOWN"
    """Proved as well, but some lines are of a kind or version that this program does not know."""
    DISTRUSTED = "DISTRUSTED"
    """Proved as well, but some lines are signed by a key after its successor's last trust."""


class Completeness(StrEnum):
    """Whether something may be missing at the end."""

    ANCHORED = "ANCHORED"
    """Nothing is missing up to the anchor's size."""
    UNANCHORED = "UNANCHORED"


class UnknownLine(Contract):
    """A line whose integrity is proved and whose meaning is not known here."""

    seq: int
    v: int
    kind: str
    why: str


class VerifyReport(Contract):
    """What was proved about one journal."""

    integrity: Integrity
    completeness: Completeness
    log_id: str
    origin: str
    lines: int
    segments: int
    first_ts: str
    """As the log claims; times are informative."""
    last_ts: str
    head_hash: Digest
    root: str
    """RFC 6962 root over all lines, base64."""
    key_ids: tuple[Digest, ...]
    """Of each era, oldest first."""
    checkpoints: int
    """`checkpoint.sealed` lines whose note was proved."""
    local_checkpoint_size: int
    """0: there is none, which only a journal that was just created may have."""
    anchor_size: int | None
    repairs: int
    """`journal.repaired` lines: crashes that cut a write short."""
    let_through: int = 0
    """Calls that ran in observe mode though a rule asks about or denies them."""
    unknown_lines: int
    unknown: tuple[UnknownLine, ...]
    distrusted_lines: int


def verify_directory(
    directory: Path,
    public_key: PublicKey,
    against: bytes | None = None,
    *,
    proved: Callable[[Members], None] | None = None,
) -> VerifyReport:
    """Verify every line of a journal; a value means that nothing here was touched.

    `public_key` comes from outside the log and is the key of one of its eras; `against` is a
    signed checkpoint that was kept elsewhere. `proved` is given each line once it follows from
    those before it; what it makes of them counts only where this returns.

    Raises:
        IntegrityError: naming line, member, expected, found and the likeliest cause.
        ConfigurationError: there is no such directory.
    """
    # 1. What the log says of itself, read before the lines: a log that grows stays ahead of it.
    local = read_checkpoint(directory)
    anchor = None if against is None else parse_signed_checkpoint(against)
    # 2. Every line, in order, each against the head that the ones before it left.
    audit = _Audit(public_key, _by_size(local, anchor))
    for stored, following in _with_next(stored_lines(directory)):
        members = audit.take(stored, following)
        if proved is not None:
            proved(members)
    # 3. At least one line, and a key that was given.
    if audit.head == START:
        raise _empty(directory)
    _check_given(audit.head, public_key)
    # 4. The notes: signed by keys of this log, about this log, and not longer than it.
    _check_local(local, audit)
    if anchor is not None:
        _check_note(anchor, ANCHOR, audit)
    return audit.report(local, anchor)


class _Expected(NamedTuple):
    """A root that the tree must have when it has reached the note's size."""

    signed: SignedCheckpoint
    what: str


class _Audit:
    """The running state of one verification."""

    def __init__(self, given: PublicKey, expected: tuple[_Expected, ...]) -> None:
        self.head = START
        self.edge = RightEdge()
        self._given = given
        self._expected = expected
        self.kinds: set[str] = set()
        self._unknown: list[UnknownLine] = []
        self._unknown_lines = self._checkpoints = self._repairs = self._segments = 0
        self._let_through = 0
        self._first_ts = self._last_ts = ""

    def take(self, stored: Stored, following: bytes | None) -> Members:
        """Prove one line, count it, and give its members."""
        members = read_stored(stored)
        head = follow(self.head, members, stored.place, given=self._given, following=following)
        if members["kind"] == EventKind.CHECKPOINT_SEALED and members["v"] == LINE_VERSION:
            self._check_sealed(head, members, stored.place)
        self.head = head
        self.edge.push(stored.raw)
        for expected in self._expected:
            if expected.signed.checkpoint.size == self.edge.size:
                self._check_root(expected)
        self._count(members, stored.place)
        return members

    def _check_root(self, expected: _Expected) -> None:
        root = self.edge.root()
        if expected.signed.checkpoint.root != root:
            raise damage(
                "the lines are not those over which a checkpoint was signed",
                expected.what,
                field=f"root at size {self.edge.size}",
                expected=encode_base64(expected.signed.checkpoint.root),
                found=encode_base64(root),
                cause=Cause.ROLLBACK,
            )

    def _check_sealed(self, head: Head, members: Members, place: Place) -> None:
        """Prove a note inside the log: over exactly the lines before it, by the key in force."""
        payload = _payload(members)
        if not isinstance(payload, CheckpointSealed):
            return
        signed = parse_signed_checkpoint(payload.note.encode())
        verify_note(signed.note, [era.key for era in head.eras if era.first_seq <= place.seq][-1:])
        found = (signed.checkpoint.origin, signed.checkpoint.size)
        if found != (head.origin, self.edge.size):
            raise damage(
                "a sealed checkpoint is not about the lines before it",
                place,
                field="payload.note",
                expected=f"origin {head.origin}, size {self.edge.size}",
                found=f"origin {found[0]}, size {found[1]}",
                cause=Cause.FORMAT,
            )
        self._check_root(_Expected(signed, str(place)))
        self._checkpoints += 1

    def _count(self, members: Members, place: Place) -> None:
        ts, kind = str(members["ts"]), str(members["kind"])
        self._first_ts = self._first_ts or ts
        self._last_ts = ts
        self._segments += place.number == 1
        self._repairs += kind == EventKind.JOURNAL_REPAIRED
        payload = members["payload"]
        self._let_through += isinstance(payload, dict) and "would_be" in payload
        self.kinds.add(kind)
        why = _why_unknown(members)
        if why:
            self._unknown_lines += 1
            if len(self._unknown) < UNKNOWN_SHOWN:
                version = int(str(members["v"]))
                self._unknown.append(UnknownLine(seq=place.seq, v=version, kind=kind, why=why))

    def report(
        self, local: SignedCheckpoint | None, anchor: SignedCheckpoint | None
    ) -> VerifyReport:
        """Say what was proved."""
        distrusted = _distrusted(self.head)
        integrity = Integrity.UNKNOWN if self._unknown_lines else Integrity.OK
        return VerifyReport(
            integrity=Integrity.DISTRUSTED if distrusted else integrity,
            completeness=Completeness.ANCHORED if anchor else Completeness.UNANCHORED,
            log_id=self.head.log_id,
            origin=self.head.origin,
            lines=self.head.seq,
            segments=self._segments,
            first_ts=self._first_ts,
            last_ts=self._last_ts,
            head_hash=self.head.prev_hash,
            root=encode_base64(self.edge.root()),
            key_ids=tuple(key.key_id for key in self.head.keys),
            checkpoints=self._checkpoints,
            local_checkpoint_size=local.checkpoint.size if local else 0,
            anchor_size=anchor.checkpoint.size if anchor else None,
            repairs=self._repairs,
            let_through=self._let_through,
            unknown_lines=self._unknown_lines,
            unknown=tuple(self._unknown),
            distrusted_lines=distrusted,
        )


def _by_size(
    local: SignedCheckpoint | None, anchor: SignedCheckpoint | None
) -> tuple[_Expected, ...]:
    named = ((local, f"file {CHECKPOINT_FILE}"), (anchor, ANCHOR))
    return tuple(_Expected(signed, what) for signed, what in named if signed is not None)


def _with_next(lines: Iterator[Stored]) -> Iterator[tuple[Stored, bytes | None]]:
    """Give each line with the bytes of the next one."""
    current = next(lines, None)
    for following in lines:
        if current is not None:
            yield current, following.raw
        current = following
    if current is not None:
        yield current, None


def _empty(directory: Path) -> IntegrityError:
    return damage(
        "there is no journal here",
        str(directory),
        field="segments",
        expected="at least one line",
        found="none",
        cause=Cause.DELETION,
    )


def _check_given(head: Head, given: PublicKey) -> None:
    """Refuse a log that never shows the key that the caller trusts, or that revoked it."""
    if given.raw not in {key.raw for key in head.keys}:
        raise damage(
            "the journal is not signed by the given key",
            "line 0",
            field="signing_key_id",
            expected=given.key_id,
            found=", ".join(key.key_id for key in head.keys),
            cause=Cause.OTHER_KEY,
        )
    if given.name != head.origin:
        raise damage(
            "the journal is not the one that the given key is named for",
            "line 0",
            field="payload.origin",
            expected=given.name,
            found=head.origin,
            cause=Cause.OTHER_KEY,
        )
    if given.key_id in {revocation.key_id for revocation in head.revocations}:
        raise damage(
            "the given key was revoked in this log",
            "key.revoked",
            field="payload.revoked_key_id",
            expected="the successor's public key, obtained from outside the log",
            found=given.key_id,
            cause=Cause.OTHER_KEY,
        )


def _check_local(local: SignedCheckpoint | None, audit: _Audit) -> None:
    """The file may be absent only beside a journal that was just created."""
    if local is not None:
        _check_note(local, f"file {CHECKPOINT_FILE}", audit)
    elif not audit.kinds <= _CREATION:
        raise damage(
            "the local checkpoint is missing",
            f"file {CHECKPOINT_FILE}",
            field="file",
            expected="a signed checkpoint",
            found="none",
            cause=Cause.DELETION,
        )


def _check_note(signed: SignedCheckpoint, what: str, audit: _Audit) -> None:
    key = verify_note(signed.note, audit.head.keys)
    checkpoint = signed.checkpoint
    if checkpoint.origin != key.name or checkpoint.size == 0:
        raise damage(
            "a checkpoint says nothing about this log",
            what,
            field="origin and size",
            expected=f"{key.name}, at least 1",
            found=f"{checkpoint.origin}, {checkpoint.size}",
            cause=Cause.FORMAT,
        )
    if checkpoint.size > audit.head.seq:
        raise damage(
            "lines are missing at the end",
            what,
            field="size",
            expected=f"at least {checkpoint.size} lines",
            found=f"{audit.head.seq}",
            cause=Cause.TRUNCATION,
        )


def _payload(members: Members) -> Payload | None:
    try:
        return read_payload(str(members["kind"]), members["payload"])
    except MessageRefused:
        return None


def _why_unknown(members: Members) -> str:
    """Say why a line is not understood; empty where it is."""
    if members["v"] != LINE_VERSION:
        return f"version {members['v']}"
    try:
        read_payload(str(members["kind"]), members["payload"])
    except MessageRefused as error:
        return str(error)
    return ""


def _distrusted(head: Head) -> int:
    """Count lines that a revoked key signed after the last one that its successor trusts."""
    ends = [era.first_seq for era in head.eras[1:]] + [head.seq]
    total = 0
    for era, end in zip(head.eras, ends, strict=True):
        for revocation in head.revocations:
            if revocation.key_id == era.key.key_id:
                total += max(0, end - max(era.first_seq, revocation.last_trusted_seq + 1))
    return total
