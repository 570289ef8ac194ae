"""Prove what an existing directory holds, as far as its writer must before it writes.

Every line is hashed into the tree, which is held against the last signed checkpoint; line 0 and
each line after the checkpoint are proved in full. Nothing is written here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agp.contracts.base import Digest
from agp.contracts.journal import EventKind
from agp.errors import ConfigurationError, IntegrityError
from agp.journal.chain import START, Head, follow, read_stored
from agp.journal.checkpoint import CHECKPOINT_FILE, SignedCheckpoint, read_checkpoint
from agp.journal.damage import Cause, damage
from agp.journal.files import list_segments
from agp.journal.keys import encode_base64
from agp.journal.merkle import RightEdge
from agp.journal.note import verify_note
from agp.journal.reader import Torn, scan

if TYPE_CHECKING:
    from pathlib import Path

    from agp.journal.keys import Signer
    from agp.journal.reader import Stored

_CREATION: Final = frozenset({EventKind.JOURNAL_OPENED, EventKind.JOURNAL_REPAIRED})


class Recovered:
    """What an existing directory holds, proved as far as a writer must; nothing is written."""

    def __init__(self, directory: Path, signer: Signer) -> None:
        self.head = START
        self.edge = RightEdge()
        self.torn: Torn | None = None
        self.segment_first_seq = 0
        self.offset = 0
        self._kinds: set[str] = set()
        checkpoint = read_checkpoint(directory)
        self.sealed_size = self.idle_size = checkpoint.checkpoint.size if checkpoint else 0
        for item in scan(list_segments(directory), 0):
            if isinstance(item, Torn):
                self._tear(item)
            else:
                self._take(item, signer, checkpoint)
        self._compare(directory, signer, checkpoint)

    def _tear(self, torn: Torn) -> None:
        self.torn = torn
        self.segment_first_seq = torn.place.seq - torn.place.number + 1
        self.offset = torn.offset

    def _take(self, stored: Stored, signer: Signer, checkpoint: SignedCheckpoint | None) -> None:
        """Hash a line that the checkpoint covers; prove one that it does not."""
        seq = stored.place.seq
        if seq == 0 or seq >= self.sealed_size:
            members = read_stored(stored)
            self.head = follow(self.head, members, stored.place, given=signer.public_key)
            self._kinds.add(str(members["kind"]))
            if seq == self.sealed_size and members["kind"] == EventKind.CHECKPOINT_SEALED:
                self.idle_size = seq + 1
            _check_key(self.head, signer)
        elif seq == self.sealed_size - 1:
            line_hash = Digest(str(read_stored(stored)["hash"]))
            self.head = self.head._replace(seq=seq + 1, prev_hash=line_hash)
        self.edge.push(stored.raw)
        if checkpoint is not None and self.edge.size == self.sealed_size:
            _check_root(checkpoint, self.edge.root())
        self.segment_first_seq = seq - stored.place.number + 1
        self.offset = stored.offset + len(stored.raw) + 1

    def _compare(
        self, directory: Path, signer: Signer, checkpoint: SignedCheckpoint | None
    ) -> None:
        """Hold the log against its last checkpoint: a truncated log is never laundered."""
        where = str(directory / CHECKPOINT_FILE)
        if checkpoint is None:
            if not self._kinds <= _CREATION:
                raise _missing(where)
            return
        verify_note(checkpoint.note, [signer.public_key])
        if checkpoint.checkpoint.origin != signer.name or checkpoint.checkpoint.size == 0:
            raise IntegrityError("the local checkpoint is about another log", where=where)
        if checkpoint.checkpoint.size > self.edge.size:
            raise damage(
                "lines are missing at the end",
                where,
                field="size",
                expected=f"at least {checkpoint.checkpoint.size} lines",
                found=self.edge.size,
                cause=Cause.TRUNCATION,
            )


def _check_key(head: Head, signer: Signer) -> None:
    if head.eras[-1].key.raw != signer.public_key.raw:
        raise ConfigurationError(
            "the journal is signed by another key",
            why=f"its key is {head.eras[-1].key.key_id[:16]}, yours is {signer.key_id[:16]}",
            fix="restore the key that belongs to this journal; changing keys is not built yet",
        )
    if head.origin != signer.name:
        raise ConfigurationError(
            "the journal has another origin",
            why=f"its origin is {head.origin!r}, the key is named {signer.name!r}",
            fix="set the origin back; it is chosen before the first event",
        )


def _check_root(checkpoint: SignedCheckpoint, root: bytes) -> None:
    if checkpoint.checkpoint.root != root:
        raise damage(
            "the lines are not those over which the last checkpoint was signed",
            f"file {CHECKPOINT_FILE}",
            field=f"root at size {checkpoint.checkpoint.size}",
            expected=encode_base64(checkpoint.checkpoint.root),
            found=encode_base64(root),
            cause=Cause.ROLLBACK,
        )


def _missing(where: str) -> IntegrityError:
    return damage(
        "the local checkpoint is missing",
        where,
        field="file",
        expected="a signed checkpoint",
        found="none",
        cause=Cause.DELETION,
    )
