"""Build journals for tests: a stepping clock, a sample of each payload, logs with rotated keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from agp.contracts.base import Digest
from agp.contracts.journal import (
    PAYLOAD_OF,
    ControlResumed,
    EventKind,
    JournalOpened,
    KeyRevoked,
    KeyRotated,
    Payload,
)
from agp.journal.checkpoint import Checkpoint, sign_checkpoint
from agp.journal.files import segment_name
from agp.journal.keys import Signer, encode_base64
from agp.journal.line import GENESIS, Draft, SealedLine, rotation_bytes, seal
from agp.journal.merkle import RightEdge
from agp.journal.writer import JournalWriter

ORIGIN = "agp.test/journal"
SIGNER = Signer(bytes(range(32)), ORIGIN)
OTHER = Signer(bytes(range(1, 33)), ORIGIN)
TS = "2026-11-20T12:00:00.000000Z"


class SteppingClock:
    """One millisecond later at each look."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        self._now += timedelta(milliseconds=1)
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()


def open_writer(directory: Path, signer: Signer = SIGNER) -> JournalWriter:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return JournalWriter.open(directory, signer, origin=signer.name, clock=SteppingClock())


def resumed(by: str = "uid:1000") -> ControlResumed:
    return ControlResumed(by=by)


def drafts(count: int, first: int = 0) -> list[Draft]:
    return [Draft(resumed(f"n{index}"), "agp", TS) for index in range(first, first + count)]


def write_log(directory: Path, count: int = 6, *, sealed: bool = True) -> None:
    """Make a closed journal: line 0, `count` lines, and a checkpoint over all of them."""
    writer = open_writer(directory)
    writer.append(drafts(count))
    if sealed:
        writer.seal_checkpoint(TS)
    writer.close()


def segment(directory: Path) -> Path:
    (only,) = sorted(directory.glob("*.jsonl"))
    return only


def lines_of(directory: Path) -> list[bytes]:
    return b"".join(p.read_bytes() for p in sorted(directory.glob("*.jsonl"))).split(b"\n")[:-1]


def sample(kind: EventKind) -> Payload:
    """Give a payload with every member filled."""
    model = PAYLOAD_OF[kind]
    special: dict[str, Any] = {"log_id": "0123456789abcdef" * 2, "checkpoint": "none"}
    filled = {
        name: special.get(name, _value(field.annotation, name))
        for name, field in model.model_fields.items()
    }
    return model(**filled)


def _value(annotation: Any, name: str) -> Any:
    origin = get_origin(annotation)
    if origin in {Union, UnionType}:
        return _value(next(arg for arg in get_args(annotation) if arg is not type(None)), name)
    if origin is Literal:
        return get_args(annotation)[0]
    if origin is tuple:
        return (_value(get_args(annotation)[0], name), 'quote " slash \\ é 😀')
    if hasattr(annotation, "__supertype__"):
        return "ab" * 32 if annotation is Digest else _value(str, name)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return next(iter(annotation))
    return {str: f"{name}: line\nbreak, bell \x07, DEL \x7f, \u2028, é, 😀", int: 7, bool: True}[
        annotation
    ]


class HandLog:
    """A log sealed line by line, with any key: for eras and for forgeries."""

    def __init__(self, signer: Signer = SIGNER, log_id: str = "0123456789abcdef" * 2) -> None:
        self.signer = signer
        self.lines: list[SealedLine] = []
        key = encode_base64(signer.public_key.raw)
        self.add(JournalOpened(log_id=log_id, origin=signer.name, public_key=key))

    @property
    def prev_hash(self) -> Digest:
        return self.lines[-1].line.hash if self.lines else GENESIS

    def add(self, payload: Payload, signer: Signer | None = None) -> None:
        draft = Draft(payload, "agp", TS)
        self.lines.append(
            seal(draft, seq=len(self.lines), prev_hash=self.prev_hash, signer=signer or self.signer)
        )

    def rotate(self, new: Signer) -> None:
        signature = new.sign(rotation_bytes(self.prev_hash, new.public_key.raw))
        key = encode_base64(new.public_key.raw)
        self.add(KeyRotated(public_key=key, new_key_signature=encode_base64(signature)))
        self.signer = new

    def revoke(self, key_id: Digest, last_trusted_seq: int, signer: Signer) -> None:
        self.add(
            KeyRevoked(
                revoked_key_id=key_id,
                reason="stolen",
                last_trusted_seq=last_trusted_seq,
                checkpoint="none",
            ),
            signer,
        )
        self.signer = signer

    def checkpoint(self) -> bytes:
        edge = RightEdge()
        for line in self.lines:
            edge.push(line.raw)
        return sign_checkpoint(Checkpoint(ORIGIN, edge.size, edge.root()), self.signer)

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        data = b"".join(line.raw + b"\n" for line in self.lines)
        (directory / segment_name(0)).write_bytes(data)
        (directory / "checkpoint").write_bytes(self.checkpoint())
        return directory
