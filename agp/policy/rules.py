"""What a policy file says, as frozen values. `language` makes them, `table` applies them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agp.contracts.policy import Decision, Effect, Grade, Tier, World
from agp.policy.targets import Side

if TYPE_CHECKING:
    from agp.contracts.base import Digest, RuleId
    from agp.policy.document import Mark
    from agp.policy.match import Match


@dataclass(frozen=True)
class Rule:
    """One rule of one file."""

    id: RuleId
    tier: Tier
    match: Match
    verdict: Decision
    at: Mark
    reason: str = ""
    """For the agent; never empty on a deny."""
    hint: str = ""
    min_grade: Grade | None = None
    """On an allow only: below it the rule does not match."""
    approvers: frozenset[str] | None = None
    quorum: int = 1
    expires_s: int | None = None

    def covers(self, effect: Effect, grade: Grade, world: World) -> bool:
        """Tell whether this rule has something to say about an effect."""
        if self.min_grade is not None and not grade.at_least(self.min_grade):
            return False
        side = Side.LOOSENS if self.verdict is Decision.ALLOW else Side.TIGHTENS
        return self.match.covers(effect, world, side)


@dataclass(frozen=True)
class Acknowledged:
    """The id of a shipped deny that a user's file lowers, and where it says so."""

    id: RuleId
    at: Mark


@dataclass(frozen=True)
class PolicyFile:
    """One file, read and checked by itself."""

    name: str
    tier: Tier
    digest: Digest
    """SHA-256 of the file's bytes."""
    default: Decision | None
    """Deny or require; None in a workspace file, which only tightens."""
    acknowledge: tuple[Acknowledged, ...]
    rules: tuple[Rule, ...]
