"""The sandbox provider: a place to run one command, and the proof that it is one."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Protocol

from pydantic import Field

from agp.contracts.base import Contract, Digest, SessionId
from agp.contracts.policy import Grade


class ProbeResult(StrEnum):
    """What one probe found; only `blocked` with a reached control is a pass."""

    BLOCKED = "blocked"
    REACHED = "reached"
    DOUBTFUL = "doubtful"


class Probe(Contract):
    """One attempt to get out, with its positive control."""

    name: str
    control_reached: bool
    """The same attempt outside the sandbox did reach, judged by the listener's own log."""
    result: ProbeResult
    detail: str = ""

    @property
    def passed(self) -> bool:
        """True only for a blocked probe whose control was reached."""
        return self.control_reached and self.result is ProbeResult.BLOCKED


class PreflightReport(Contract):
    """All probes of one provider; an empty report is not a pass."""

    provider: str
    grade: Grade
    probes: tuple[Probe, ...]

    @property
    def passed(self) -> bool:
        """Every probe passed, and there was at least one."""
        return bool(self.probes) and all(probe.passed for probe in self.probes)


class ExecRequest(Contract):
    """One command for the sandbox."""

    session_id: SessionId
    argv: tuple[str, ...] = Field(min_length=1)
    cwd: str
    workspace: str
    stdin: bytes = b""
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = 600.0
    output_limit: Annotated[int, Field(ge=1)] = 1_048_576
    """Bytes kept of each stream; the rest is counted, not kept."""
    allow_network: bool = False
    """Only where an effect of the granted call says `connect`; providers may refuse it."""


class ExecResult(Contract):
    """How it ended; a provider that could not run it raises `Unavailable` instead."""

    exit_code: int
    """Of the command; 128 + n for signal n."""
    stdout: bytes
    stderr: bytes
    stdout_bytes: int
    stderr_bytes: int
    duration_ms: int
    timed_out: bool = False


class SandboxProvider(Protocol):
    """Runs commands where they reach nothing but the workspace. Never a plain host fallback."""

    @property
    def name(self) -> str:
        """`local` or `docker`."""
        ...

    @property
    def grade(self) -> Grade:
        """What a command in here may count on."""
        ...

    @property
    def profile_digest(self) -> Digest:
        """Over everything that defines the sandbox."""
        ...

    async def preflight(self, workspace: str) -> PreflightReport:
        """Try to get out, with a positive control for each way."""
        ...

    async def execute(self, request: ExecRequest) -> ExecResult:
        """Run one command to its end; cancelled means killed, with all its children."""
        ...
