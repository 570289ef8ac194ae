"""The error tree, split by whose fault it is and what to do next.

    AgpError
    |-- Refusal               the peer's side: what they sent or asked is not acceptable
    |   |-- UsageRefused      a person's command line names something that does not exist
    |   |-- FrameRefused      bytes on a socket are not the frame
    |   |-- MessageRefused    a well-framed message breaks its contract
    |   |-- Unauthorised      the peer may not ask this
    |   |-- OverLimit         a rate, a size or a count was exceeded
    |   |-- NotBuilt          asked for something that this version does not have
    |   `-- RunRefused        a governed run was refused before the harness started
    |-- IntegrityError        what we hold does not verify: stop and tell
    |   |-- JournalBroken     the journal cannot be appended to any more
    |   |-- Ungoverned        a harness ran something without a decision, or without live hooks
    |   |-- PlacesChanged     an executing place of the workspace changed behind its mask
    |   `-- StoreDamaged      the projection is not a database, or not a whole one
    |-- Unavailable           an outside party: retry, else deny
    |   |-- DaemonAway        no daemon answers at this home
    |   |-- Interrupted       the run was killed or its lease ended
    |   `-- HarnessFailed     the harness itself ended with an error
    `-- ConfigurationError    ours, before starting
        `-- PolicyError       a policy file is not acceptable, with line and column

Every error says what happened, where, why, and what to do about it. The exit code stands on the
class, is unique and never reused; `scripts/docs` prints the table into the documentation.
"""

from __future__ import annotations

from typing import ClassVar


class AgpError(Exception):
    """An error that AGP expects and can explain."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "AGP-1000"

    def __init__(self, what: str, *, where: str = "", why: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what = what
        """One sentence: what happened."""
        self.where = where
        """File, line, column, socket or command; empty where the sentence says it."""
        self.why = why
        """The cause, as far as it is known."""
        self.fix = fix
        """What a person does next."""

    def __str__(self) -> str:
        parts = [self.what]
        if self.where:
            parts.append(f"at {self.where}")
        if self.why:
            parts.append(f"because {self.why}")
        return " ".join(parts)


class Refusal(AgpError):
    """What the peer sent or asked is not acceptable."""

    exit_code: ClassVar[int] = 4
    code: ClassVar[str] = "AGP-1100"


class UsageRefused(Refusal):
    """A command line names something that does not exist."""

    exit_code: ClassVar[int] = 2
    code: ClassVar[str] = "AGP-1101"


class FrameRefused(Refusal):
    """Bytes on a socket are not the frame of `contracts.gateway`."""

    exit_code: ClassVar[int] = 40
    code: ClassVar[str] = "AGP-1102"


class MessageRefused(Refusal):
    """A well-framed message breaks its contract."""

    exit_code: ClassVar[int] = 41
    code: ClassVar[str] = "AGP-1103"


class Unauthorised(Refusal):
    """The peer may not ask this."""

    exit_code: ClassVar[int] = 42
    code: ClassVar[str] = "AGP-1104"


class OverLimit(Refusal):
    """A rate, a size or a count was exceeded."""

    exit_code: ClassVar[int] = 43
    code: ClassVar[str] = "AGP-1105"


class NotBuilt(Refusal):
    """Asked for something that this version does not have."""

    exit_code: ClassVar[int] = 44
    code: ClassVar[str] = "AGP-1106"


class RunRefused(Refusal):
    """A governed run was refused before the harness started."""

    exit_code: ClassVar[int] = 10
    code: ClassVar[str] = "AGP-1107"


class IntegrityError(AgpError):
    """What we hold does not verify."""

    exit_code: ClassVar[int] = 6
    code: ClassVar[str] = "AGP-1200"


class JournalBroken(IntegrityError):
    """The journal cannot be appended to any more; nothing is granted."""

    exit_code: ClassVar[int] = 13
    code: ClassVar[str] = "AGP-1201"


class Ungoverned(IntegrityError):
    """A harness ran something without a decision, or without live hooks."""

    exit_code: ClassVar[int] = 11
    code: ClassVar[str] = "AGP-1202"


class PlacesChanged(IntegrityError):
    """An executing place of the workspace changed although it was masked."""

    exit_code: ClassVar[int] = 15
    code: ClassVar[str] = "AGP-1203"


class StoreDamaged(IntegrityError):
    """The projection is not a database, or not a whole one: it is moved aside and rebuilt."""

    exit_code: ClassVar[int] = 16
    code: ClassVar[str] = "AGP-1204"


class Unavailable(AgpError):
    """An outside party does not answer."""

    exit_code: ClassVar[int] = 5
    code: ClassVar[str] = "AGP-1300"


class DaemonAway(Unavailable):
    """No daemon answers at this home."""

    exit_code: ClassVar[int] = 50
    code: ClassVar[str] = "AGP-1301"


class Interrupted(Unavailable):
    """The run was killed, or its lease ended."""

    exit_code: ClassVar[int] = 14
    code: ClassVar[str] = "AGP-1302"


class HarnessFailed(Unavailable):
    """The harness itself ended with an error."""

    exit_code: ClassVar[int] = 12
    code: ClassVar[str] = "AGP-1303"


class ConfigurationError(AgpError):
    """Ours, found before anything started."""

    exit_code: ClassVar[int] = 3
    code: ClassVar[str] = "AGP-1400"


class PolicyError(ConfigurationError):
    """A policy file is not acceptable; `where` holds file:line:column."""

    exit_code: ClassVar[int] = 30
    code: ClassVar[str] = "AGP-1401"
