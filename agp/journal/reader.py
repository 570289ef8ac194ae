"""Read stored lines as a stream: strictly, or up to a torn tail.

Memory is one line. Reading checks the shape of the directory, not the signatures: that is
`verify`'s. A torn tail is what follows the last LF of the last segment: the trace of a crash.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, NamedTuple

from agp.journal.damage import Cause, Place, damage
from agp.journal.files import list_segments, open_regular
from agp.journal.line import MAX_LINE, parse_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agp.contracts.journal import Line
    from agp.journal.files import Segment


class Stored(NamedTuple):
    """One line as it lies in a segment, without its LF."""

    raw: bytes
    place: Place
    offset: int
    """Of its first byte in the segment."""


class Torn(NamedTuple):
    """What follows the last LF of the last segment."""

    raw: bytes
    place: Place
    offset: int


def stored_lines(directory: Path) -> Iterator[Stored]:
    """Give every stored line in order.

    Raises:
        IntegrityError: a torn tail, an empty or misnamed segment, a line without end.
        ConfigurationError: there is no such directory.
    """
    for item in scan(list_segments(directory), 0):
        if isinstance(item, Torn):
            raise torn_tail(item)
        yield item


def stored_lines_before_tear(directory: Path) -> Iterator[Stored]:
    """Give every whole line; a torn tail of the last segment is passed over in silence.

    For showing what is there, never for verifying.
    """
    for item in scan(list_segments(directory), 0):
        if isinstance(item, Stored):
            yield item


def read_events(directory: Path, *, from_seq: int = 0) -> Iterator[Line]:
    """Give the parsed events from a sequence number on, whole segments before it skipped.

    For a fold of a journal that its writer has opened, and so repaired.

    Raises:
        IntegrityError: as `stored_lines`, or a line that is not one of version 1.
    """
    segments = list_segments(directory)
    start = 0
    while len(segments) > 1 and segments[1].first_seq <= from_seq:
        segments = segments[1:]
        start = segments[0].first_seq
    for item in scan(segments, start):
        if isinstance(item, Torn):
            raise torn_tail(item)
        if item.place.seq >= from_seq:
            yield parse_line(item.raw)


def scan(segments: tuple[Segment, ...], seq: int) -> Iterator[Stored | Torn]:
    """Walk segments that follow each other from `seq` on; a `Torn` is always the last item.

    Raises:
        IntegrityError: a segment's name is not its first line's place, or a tear in the middle.
    """
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment.first_seq != seq:
            raise _misnamed(segment, seq)
        for item in _scan_segment(segment):
            if isinstance(item, Torn) and not last:
                raise torn_tail(item)
            yield item
            seq += isinstance(item, Stored)


def torn_tail(torn: Torn) -> Exception:
    """Say that a segment does not end with a whole line."""
    return damage(
        "a segment does not end with a whole line",
        torn.place,
        field="line",
        expected="a line that ends in LF",
        found=f"{len(torn.raw)} bytes without LF",
        cause=Cause.TORN_TAIL,
    )


def _scan_segment(segment: Segment) -> Iterator[Stored | Torn]:
    offset = 0
    with open_regular(segment.path) as file:
        for number in count(1):
            place = Place(segment.path.name, number, segment.first_seq + number - 1)
            raw = file.readline(MAX_LINE + 2)
            if not raw:
                if number == 1:
                    yield Torn(b"", place, 0)
                return
            if not raw.endswith(b"\n"):
                yield from _unended(raw, place, offset)
                return
            yield Stored(raw[:-1], place, offset)
            offset += len(raw)


def _unended(raw: bytes, place: Place, offset: int) -> Iterator[Torn]:
    """Tell a torn tail from a line that is longer than any line."""
    if len(raw) > MAX_LINE:
        raise damage(
            "a line is longer than any line",
            place,
            field="line",
            expected=f"at most {MAX_LINE} bytes",
            found="more",
            cause=Cause.FORMAT,
        )
    yield Torn(raw, place, offset)


def _misnamed(segment: Segment, seq: int) -> Exception:
    cause = Cause.DELETION if segment.first_seq > seq else Cause.INSERTION
    return damage(
        "a segment does not follow the one before it",
        segment.path.name,
        field="name",
        expected=f"first seq {seq}",
        found=f"first seq {segment.first_seq}",
        cause=cause,
    )
