"""Which harness was proved, in which shape, by which AGP: what has not been is proved before use.

A proof is remembered only after its canary is in the journal. The file is a cache of the operator's
own: whatever is not exactly a proof of exactly this launch means that the canary runs again, and
nothing in the file can do more than spare a canary of about a second.

Source: system.md §10; ADR 0017.
"""

from __future__ import annotations

import os
import stat
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, ValidationError

from agp import __version__
from agp.contracts.base import Contract
from agp.contracts.display import visible
from agp.contracts.gateway import ControlOp
from agp.contracts.journal import CanaryFinished
from agp.daemon.canary import prove_harness
from agp.daemon.files import read_regular
from agp.errors import AgpError, ConfigurationError, RunRefused
from agp.intendants.claude_code.shape import shape_digest
from agp.journal.redact import journal_text
from agp.sandbox.host import run_as

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.contracts.canary import CanaryReport
    from agp.contracts.intendant import LaunchPlan
    from agp.daemon.config import Config
    from agp.daemon.home import Home
    from agp.daemon.lease import Lease
    from agp.daemon.plans import Planned

_SIZE_LIMIT: Final = 256 * 1024
_MOST: Final = 64
"""Proofs kept, the newest: each harness version and each shape of a launch is one."""
_DETAIL: Final = 500
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(min_length=1, max_length=200)]


class Proof(Contract):
    """One canary that passed; all but the last two members say what it is a proof of."""

    agp: _Name
    intendant: _Name
    version: _Name
    harness_digest: _Hex
    shape_digest: _Hex
    at: _Name
    duration_ms: Annotated[int, Field(ge=0)]

    @property
    def of(self) -> tuple[str, ...]:
        """Say what was proved: these values must all be equal, or it is another thing."""
        return (self.agp, self.intendant, self.version, self.harness_digest, self.shape_digest)


class _Proofs(Contract):
    version: Literal[1] = 1
    proofs: tuple[Proof, ...] = Field(default=(), max_length=_MOST)


def parse_proofs(data: bytes) -> tuple[Proof, ...]:
    """Read the proofs of a file; anything that is not exactly one holds none."""
    try:
        return _Proofs.model_validate_json(data).proofs
    except ValidationError:
        return ()


def format_proofs(proofs: tuple[Proof, ...]) -> bytes:
    """Write the newest of these proofs."""
    return _Proofs(proofs=proofs[-_MOST:]).model_dump_json(indent=1).encode() + b"\n"


def is_proved(home: Home, launch: LaunchPlan) -> bool:
    """Tell whether exactly this harness was proved in exactly this shape by this AGP."""
    wanted = (
        __version__,
        launch.intendant,
        launch.version,
        launch.harness_digest,
        shape_digest(launch),
    )
    return any(proof.of == wanted for proof in read_proofs(home))


def read_proofs(home: Home) -> tuple[Proof, ...]:
    """Read what is remembered; a file that somebody else could have written holds nothing."""
    try:
        state = home.proved.lstat()
        ours = stat.S_ISREG(state.st_mode) and state.st_uid == os.geteuid()
        if not ours or state.st_mode & 0o077:
            return ()
        return parse_proofs(read_regular(home.proved, limit=_SIZE_LIMIT))
    except (OSError, AgpError):
        return ()


def remember(home: Home, report: CanaryReport) -> None:
    """Remember a canary that passed; to be called once it is in the journal.

    Raises:
        ConfigurationError: it did not pass, or the home cannot be written.
    """
    if not report.passed:
        raise ConfigurationError("only a canary that passed is a proof")
    proof = Proof(
        agp=__version__,
        intendant=report.intendant,
        version=report.version,
        harness_digest=report.harness_digest,
        shape_digest=report.shape_digest,
        at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        duration_ms=report.duration_ms,
    )
    kept = (*(known for known in read_proofs(home) if known.of != proof.of), proof)
    try:
        _replace(home.proved, format_proofs(kept))
    except OSError as error:
        raise ConfigurationError(
            "the proof of a harness cannot be kept",
            where=str(home.proved),
            why=error.strerror or "",
            fix="make AGP's home writable for you",
        ) from error


def finished(report: CanaryReport, secrets: tuple[str, ...] = ()) -> CanaryFinished:
    """Say to the journal how a canary ended; what the harness wrote is redacted and bounded."""
    told = journal_text(report.detail[:_DETAIL], secrets)
    return CanaryFinished(
        intendant=report.intendant,
        version=report.version,
        harness_digest=report.harness_digest,
        shape_digest=report.shape_digest,
        passed=report.passed,
        detail="[redacted]" if told.survived else told.text,
        duration_ms=report.duration_ms,
    )


async def prove_first(
    home: Home, config: Config, planned: Planned, lease: Lease, say: Callable[[str], None]
) -> None:
    """See that a harness is proved before it is used: remembered, or proved now.

    1. what is remembered needs nothing more;
    2. otherwise the canary of this very launch runs, as the user of its view;
    3. it is journaled, passed or not;
    4. one that did not pass refuses the run; one that did is remembered.

    Raises:
        RunRefused: the canary did not pass; the harness is not started.
        AgpError: it could not be run or journaled at all.
    """
    launch = planned.launch
    if launch is None:
        raise RunRefused("there is no launch plan for this harness")
    if is_proved(home, launch):
        return
    report = await prove_harness(
        launch,
        run_as(planned.workspace),
        agp_home=str(home.root),
        toolchains=config.toolchains,
    )
    await lease.ask(ControlOp.CANARY_RECORD, finished(report, planned.secrets))
    if not report.passed:
        raise refusal(report)
    remember(home, report)
    say(told(report))


def told(report: CanaryReport) -> str:
    """Tell a person in one line what a canary found, and how long it took."""
    seconds = report.duration_ms / 1000
    name = f"{report.intendant} {report.version}"
    return f"canary: {name}, first use: {visible(report.detail)} ({seconds:.1f} s)"


def refusal(report: CanaryReport) -> RunRefused:
    """Say why a harness is not used, and what to do."""
    return RunRefused(
        f"{report.intendant} {report.version} did not pass its canary, so it was not started",
        why=visible(report.detail),
        fix="use a proved version (docs/harnesses.md lists them); `agp doctor` tries it again",
    )


def _replace(path: Path, data: bytes) -> None:
    """Write a file of our own beside the old one, and put it in its place whole."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
