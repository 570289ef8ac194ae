"""Opening what lies in a journal directory: regular files only, never through a link."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from agp.errors import ConfigurationError, IntegrityError

if TYPE_CHECKING:
    from pathlib import Path

_SEGMENT = re.compile(r"([0-9]{20})\.jsonl")
_READ_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Segment(NamedTuple):
    """One file of stored lines; its name is the sequence number of its first line."""

    path: Path
    first_seq: int


def segment_name(first_seq: int) -> str:
    """Name a segment."""
    return f"{first_seq:020d}.jsonl"


def list_segments(directory: Path) -> tuple[Segment, ...]:
    """List the segments in order; none is an empty tuple, which callers must judge.

    Raises:
        ConfigurationError: there is no such directory, or it cannot be read.
        IntegrityError: a `.jsonl` file has a name that no writer gave.
    """
    try:
        names = sorted(path.name for path in directory.iterdir())
    except OSError as error:
        raise ConfigurationError(
            "there is no readable journal directory",
            where=str(directory),
            why=error.strerror or "",
            fix="name the directory that holds the .jsonl segments, or run `agp init`",
        ) from error
    segments = []
    for name in names:
        match = _SEGMENT.fullmatch(name)
        if match is not None:
            segments.append(Segment(directory / name, int(match[1])))
        elif name.endswith(".jsonl"):
            raise IntegrityError(
                "a file among the segments was not written by AGP",
                where=str(directory / name),
                why="segments are named by 20 digits",
                fix="find out who put it there and move it away",
            )
    return tuple(segments)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        IntegrityError: it is a link, a pipe, a device, or cannot be read.
        FileNotFoundError: there is none.
    """
    try:
        descriptor = os.open(path, _READ_FLAGS)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise IntegrityError(
            "a file of the journal cannot be read", where=str(path), why=error.strerror or ""
        ) from error
    file = os.fdopen(descriptor, "rb")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        file.close()
        raise IntegrityError("a file of the journal is not a regular file", where=str(path))
    return file


def read_small(path: Path, limit: int) -> bytes | None:
    """Read a file of at most `limit` bytes; None where there is none.

    Raises:
        IntegrityError: as `open_regular`, or the file is longer.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        return None
    with file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise IntegrityError("a file of the journal is too long", where=str(path))
    return data
