"""How the governed part of a run ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["finished", "refused", "ungoverned", "harness_failed", "killed"]


@dataclass(frozen=True)
class Ended:
    """The outcome before the session is closed."""

    outcome: Outcome
    why: str = ""
    harness_exit: int | None = None
    text: str = ""
    """What the agent said last; untrusted."""
    resume: str = ""
    """The conversation that was kept; empty: none was."""
