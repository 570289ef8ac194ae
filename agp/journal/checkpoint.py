"""Checkpoints: a signed statement of how long the log is and what its Merkle root is.

Source: c2sp.org/tlog-checkpoint; ADR 0003. The newest one lives in the file `checkpoint` beside
the segments, replaced atomically.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.errors import IntegrityError
from agp.journal.files import read_small
from agp.journal.keys import decode_base64, encode_base64
from agp.journal.note import MAX_NOTE, Note, format_note, parse_note, sign_note

if TYPE_CHECKING:
    from pathlib import Path

    from agp.journal.keys import Signer

CHECKPOINT_FILE: Final = "checkpoint"
_NEW_FILE: Final = "checkpoint.new"
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")
_ROOT_BYTES = 32


class Checkpoint(NamedTuple):
    """What a log says about itself."""

    origin: str
    size: int
    root: bytes


class SignedCheckpoint(NamedTuple):
    """A checkpoint and the note in which it stood; not verified by being one."""

    checkpoint: Checkpoint
    note: Note


def parse_checkpoint(text: str) -> Checkpoint:
    """Read a note's text as a checkpoint; logs of AGP write no extension lines.

    Raises:
        IntegrityError: it is not one.
    """
    lines = text.removesuffix("\n").split("\n")
    if len(lines) != 3 or not all(lines):  # noqa: PLR2004 - origin, size, root
        raise _malformed("origin, size and root are expected, each on a line")
    origin, size, root = lines
    if not _SIZE.fullmatch(size):
        raise _malformed("the size is not a decimal number")
    try:
        return Checkpoint(origin, int(size), decode_base64(root, _ROOT_BYTES))
    except ValueError as error:
        raise _malformed(f"the root: {error}") from error


def format_checkpoint(checkpoint: Checkpoint) -> str:
    """Spell a checkpoint as a note's text."""
    root = encode_base64(checkpoint.root)
    return f"{checkpoint.origin}\n{checkpoint.size}\n{root}\n"


def parse_signed_checkpoint(data: bytes) -> SignedCheckpoint:
    """Read a signed note as a checkpoint; its signatures are not checked here.

    Raises:
        IntegrityError: it is not one.
    """
    note = parse_note(data)
    return SignedCheckpoint(parse_checkpoint(note.text), note)


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Make the signed note; the key's name is the origin."""
    return format_note(sign_note(format_checkpoint(checkpoint), signer))


def read_checkpoint(directory: Path) -> SignedCheckpoint | None:
    """Read the newest local checkpoint, or None where there is no file.

    Raises:
        IntegrityError: the file is not a signed checkpoint.
    """
    path = directory / CHECKPOINT_FILE
    data = read_small(path, MAX_NOTE)
    if data is None:
        return None
    try:
        return parse_signed_checkpoint(data)
    except IntegrityError as error:
        raise IntegrityError(error.what, where=str(path), why=error.why) from error


def replace_checkpoint(directory: int, data: bytes) -> None:
    """Put a new note in place, whole or not at all, durable before this returns.

    `directory` is an open descriptor. Raises OSError, which the writer translates.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_NEW_FILE, flags, 0o600, dir_fd=directory)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.rename(_NEW_FILE, CHECKPOINT_FILE, src_dir_fd=directory, dst_dir_fd=directory)
    os.fsync(directory)


def _malformed(why: str) -> IntegrityError:
    return IntegrityError("a checkpoint is malformed", why=why)
