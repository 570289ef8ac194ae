"""The one writer of a journal directory: synchronous, exclusive, broken for good by any error.

Opening reads every line once to hash it (about 2 us a line, no cache beside the log that could
lie), proves the tree against the last checkpoint *before* anything is written, and proves hash,
link and signature of each line after it. An append is one write and one `fdatasync` a batch.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from typing import TYPE_CHECKING, Final, Self

from agp.contracts.base import Digest
from agp.contracts.journal import (
    CheckpointSealed,
    JournalOpened,
    JournalRepaired,
    Payload,
    Sealed,
)
from agp.errors import AgpError, ConfigurationError, JournalBroken, Refusal
from agp.journal.chain import START, Head
from agp.journal.checkpoint import (
    Checkpoint,
    replace_checkpoint,
    sign_checkpoint,
)
from agp.journal.files import segment_name
from agp.journal.keys import encode_base64
from agp.journal.line import Draft, SealedLine, seal, timestamp
from agp.journal.recover import Recovered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agp.contracts.journal import Clock
    from agp.journal.keys import Signer
    from agp.journal.reader import Torn

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""A segment that is at least this long is followed by a new one at the next batch."""
WRITER: Final = "agp"
"""The actor of the lines that the writer itself causes."""
_OPEN_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class JournalWriter:
    """Appends to one directory; one thread at a time uses it. Open it with `open`."""

    def __init__(self, directory: Path, lock: int, signer: Signer, recovered: Recovered) -> None:
        self._directory = directory
        self._lock = lock
        self._signer = signer
        self._head = recovered.head
        self._edge = recovered.edge
        self._sealed_size = recovered.sealed_size
        self._idle_size = recovered.idle_size
        self._segment = recovered.segment_first_seq
        self._offset = recovered.offset
        self._torn_bytes = len(recovered.torn.raw) if recovered.torn else 0
        self._file = -1
        self._broken = ""

    @classmethod
    def open(cls, directory: Path, signer: Signer, *, origin: str, clock: Clock) -> Self:
        """Take the journal, prove its head, cut a torn tail off, and create what is missing.

        Raises:
            ConfigurationError: no directory, another writer, another key, another origin.
            IntegrityError: the log is not what the last checkpoint says; nothing was written.
            JournalBroken: the first lines could not be written.
        """
        if signer.name != origin:
            raise ConfigurationError(
                "the signing key is not named for this journal",
                why=f"the key is named {signer.name!r}, the configured origin is {origin!r}",
                fix=f"set origin = {signer.name!r} in config.toml, or make a key for a new journal",
            )
        lock = _take_lock(directory)
        try:
            recovered = Recovered(directory, signer)
        except AgpError:
            os.close(lock)
            raise
        writer = cls(directory, lock, signer, recovered)
        try:
            writer._begin(recovered.torn, timestamp(clock.now()))
        except JournalBroken:
            writer.close()
            raise
        return writer

    @property
    def log_id(self) -> str:
        """The random name of this log."""
        return self._head.log_id

    @property
    def size(self) -> int:
        """Lines so far; the next one's `seq`."""
        return self._head.seq

    def append(self, drafts: Sequence[Draft]) -> list[SealedLine | Refusal]:
        """Seal and store events; every line in the answer is durable.

        An event that cannot be spelled gives its refusal in its place and leaves no trace.

        Raises:
            JournalBroken: nothing in this batch may be relied on, and nothing is appended again.
        """
        self._refuse_if_broken()
        head = self._head
        outcomes: list[SealedLine | Refusal] = []
        for draft in drafts:
            try:
                sealed = seal(draft, seq=head.seq, prev_hash=head.prev_hash, signer=self._signer)
            except Refusal as refusal:
                outcomes.append(refusal)
            else:
                outcomes.append(sealed)
                head = head._replace(seq=head.seq + 1, prev_hash=sealed.line.hash)
        self._store([item.raw for item in outcomes if isinstance(item, SealedLine)], head)
        return outcomes

    def seal_checkpoint(self, ts: str) -> SealedLine | None:
        """Sign the log as it stands: the file first, then the line that holds the note.

        None where nothing but the last checkpoint's own line was added since: a timer does not
        grow an idle log.

        Raises:
            JournalBroken: as `append`.
        """
        self._refuse_if_broken()
        if self._head.seq == self._idle_size:
            return None
        note = self._write_checkpoint()
        self._idle_size = self._head.seq + 1
        (sealed,) = self._append_own([Draft(CheckpointSealed(note=note.decode()), WRITER, ts)])
        return sealed

    def close(self) -> None:
        """Give the journal up; nothing is written. Safe to repeat."""
        self._broken = self._broken or "it was closed"
        for descriptor in (self._file, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._lock = -1

    def _begin(self, torn: Torn | None, ts: str) -> None:
        """Write the first line of a new log and the marker of a cut tail, then a first note."""
        drafts = []
        if self._head == START:
            opened = self._opened()
            self._head = START._replace(log_id=opened.log_id)
            drafts.append(Draft(opened, WRITER, ts))
        if torn is not None and torn.raw:
            drafts.append(Draft(_repaired(torn), WRITER, ts))
        if drafts:
            self._append_own(drafts)
            self._cut_behind()
        if self._sealed_size == 0:
            self._write_checkpoint()

    def _append_own(self, drafts: list[Draft]) -> list[SealedLine]:
        """Append lines without which the log cannot go on; a refused one breaks it."""
        lines = []
        for outcome in self.append(drafts):
            if isinstance(outcome, Refusal):
                raise self._break(outcome.what) from outcome
            lines.append(outcome)
        return lines

    def _opened(self) -> JournalOpened:
        return JournalOpened(
            log_id=secrets.token_hex(16),
            origin=self._signer.name,
            public_key=encode_base64(self._signer.public_key.raw),
        )

    def _cut_behind(self) -> None:
        """Remove what is left of a torn tail that was longer than the line over it.

        The marker was written *over* the torn bytes: a crash in between leaves a marker and a
        tail that is torn again, never a tail that was cut without a trace.
        """
        try:
            os.ftruncate(self._file, self._offset)
            os.fsync(self._file)
        except OSError as error:
            raise self._break(error.strerror or "") from error
        self._torn_bytes = 0

    def _store(self, lines: list[bytes], head: Head) -> None:
        """Make lines durable, then move the head; whatever fails here breaks the journal."""
        if not lines:
            return
        data = b"".join(line + b"\n" for line in lines)
        try:
            self._prepare_segment()
            written = os.pwrite(self._file, data, self._offset)
            if written == len(data):
                os.fdatasync(self._file)
        except OSError as error:
            raise self._break(error.strerror or "") from error
        if written != len(data):
            raise self._break(f"only {written} of {len(data)} bytes were written")
        self._offset += len(data)
        self._head = head
        for line in lines:
            self._edge.push(line)

    def _prepare_segment(self) -> None:
        """Open the segment to write to, and see that nobody else touched it."""
        if self._file >= 0 and self._offset >= SEGMENT_BYTES:
            os.close(self._file)
            self._file = -1
            self._segment = self._head.seq
            self._offset = 0
        if self._file < 0:
            path = self._directory / segment_name(self._segment)
            self._file = os.open(path, _OPEN_FLAGS, 0o600)
            os.fsync(self._lock)
        state = os.fstat(self._file)
        if state.st_size != self._offset + self._torn_bytes or state.st_nlink == 0:
            raise self._break(f"somebody else changed {segment_name(self._segment)}")

    def _write_checkpoint(self) -> bytes:
        checkpoint = Checkpoint(self._signer.name, self._edge.size, self._edge.root())
        note = sign_checkpoint(checkpoint, self._signer)
        try:
            replace_checkpoint(self._lock, note)
        except OSError as error:
            raise self._break(error.strerror or "") from error
        self._sealed_size = self._idle_size = checkpoint.size
        return note

    def _refuse_if_broken(self) -> None:
        if self._broken:
            raise self._broken_error()

    def _break(self, why: str) -> JournalBroken:
        self._broken = why or "an error without a name"
        return self._broken_error()

    def _broken_error(self) -> JournalBroken:
        return JournalBroken(
            "the journal cannot be appended to",
            where=str(self._directory),
            why=self._broken,
            fix="make room or mend the disk, run `agp verify`, then start the daemon again",
        )


def sealed_of(sealed: SealedLine) -> Sealed:
    """Give what an append answers."""
    return Sealed(seq=sealed.line.seq, hash=sealed.line.hash, ts=sealed.line.ts)


def own_kinds() -> frozenset[type[Payload]]:
    """Name the payloads that only the writer may seal."""
    return frozenset({JournalOpened, JournalRepaired, CheckpointSealed})


def _take_lock(directory: Path) -> int:
    """Hold the directory exclusively for as long as the descriptor is open (flock(2))."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigurationError(
            "the journal directory cannot be opened",
            where=str(directory),
            why=error.strerror or "",
            fix="run `agp init`",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ConfigurationError(
            "another process writes this journal",
            where=str(directory),
            why=error.strerror or "",
            fix="run `agp daemon status`; one daemon serves one home",
        ) from error
    return lock


def _repaired(torn: Torn) -> JournalRepaired:
    return JournalRepaired(
        segment=torn.place.segment,
        removed_bytes=len(torn.raw),
        removed_sha256=Digest(hashlib.sha256(torn.raw).hexdigest()),
    )
