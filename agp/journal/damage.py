"""How damage is said: where, which field, what was expected and found, and the likeliest cause."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from agp.errors import IntegrityError


class Cause(StrEnum):
    """What most likely happened to the log."""

    TRUNCATION = "truncation"
    EDIT = "edit"
    ROLLBACK = "rollback"
    OTHER_KEY = "other key"
    TORN_TAIL = "torn tail"
    RE_ENCODING = "re-encoding"
    INSERTION = "insertion"
    DUPLICATION = "duplication"
    DELETION = "deletion"
    SWAP = "swap"
    FORMAT = "another program wrote it"


_WORDS = {
    Cause.TRUNCATION: "lines at the end were removed after they had been sealed",
    Cause.EDIT: "the line was changed by somebody without the key",
    Cause.ROLLBACK: "another history of this log was put in place, or an older copy restored",
    Cause.OTHER_KEY: "another key signed it; check that you gave this log's public key",
    Cause.TORN_TAIL: "a crash cut a write short; the next start of the daemon repairs and "
    "journals it (if a daemon is running, verify again)",
    Cause.RE_ENCODING: "the content is what was signed, but a tool rewrote its spelling",
    Cause.INSERTION: "a line was put in that does not belong here",
    Cause.DUPLICATION: "a line was written twice",
    Cause.DELETION: "lines or a whole segment were removed",
    Cause.SWAP: "two lines changed places",
    Cause.FORMAT: "it was not sealed by this program",
}
_FIX = "keep the directory as it is, and compare it with a copy and with posted checkpoints"


class Place(NamedTuple):
    """A line's place: its segment and its number there, from 1; seq is the expected one."""

    segment: str
    number: int
    seq: int

    def __str__(self) -> str:
        return f"{self.segment} line {self.number} (seq {self.seq})"


def damage(  # noqa: PLR0913 - the six facts that every report of damage owes
    what: str, place: Place | str, *, field: str, expected: object, found: object, cause: Cause
) -> IntegrityError:
    """Build the error that names one defect completely."""
    spot = f"line {place.number} of {place.segment}" if isinstance(place, Place) else place
    return IntegrityError(
        f"{cause.value}, {spot}: {what}",
        where=f"{place}, field {field}",
        why=f"expected {expected}, found {found}; likeliest cause: {cause.value} ({_WORDS[cause]})",
        fix=_FIX,
    )
