"""What one check of `doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.errors import AgpError


class State(StrEnum):
    """How a check ended; there is no "looks good": what was not tried is not proved."""

    PROVED = "proved"
    FAILED = "failed"
    WARNED = "warned"
    UNUSED = "unused"
    TODO = "todo"
    """Not needed by every run, and probably wanted; no failure."""
    UNTRIED = "untried"
    """What it needs failed already, and is told there."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One check, how it ended, and what a person does about it."""

    name: str
    state: State
    what: str
    where: str = ""
    why: str = ""
    fix: str = ""

    def document(self) -> dict[str, JsonValue]:
        """Say it to a script."""
        return {
            "name": self.name,
            "state": self.state.value,
            "what": self.what,
            "where": self.where,
            "why": self.why,
            "fix": self.fix,
        }


def failed(name: str, error: AgpError) -> Finding:
    """Turn an error of the tree into a finding; it already knows its fix."""
    return Finding(name, State.FAILED, error.what, error.where, error.why, error.fix)
