"""What the loop needs from outside, as protocols; each has a real adapter and a fake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agp.contracts.base import CallId, Digest
    from agp.contracts.channel import ApprovalRequest, FileHash
    from agp.contracts.policy import Action, Effect, Grade, Verdict, World


class Surveyor(Protocol):
    """Looks at the file system for the policy, which does not."""

    def survey(  # noqa: PLR0913 - one argument for each fact
        self,
        action: Action,
        *,
        workspace: str,
        cwd: str,
        session_id: str,
        agent_id: str | None,
        intendant: str,
    ) -> World:
        """Resolve every path and program that the action names."""
        ...

    def hash_files(self, effects: Iterable[Effect], *, workspace: str) -> tuple[FileHash, ...]:
        """Hash the workspace files that the effects execute; blocking, called in a thread."""
        ...


class Rules(Protocol):
    """The policy in force."""

    @property
    def digest(self) -> Digest:
        """Over every file of every tier."""
        ...

    def decide(self, effects: tuple[Effect, ...], *, grade: Grade, world: World) -> Verdict:
        """Evaluate the truth table."""
        ...


class Bodies(Protocol):
    """Where call bodies and salts rest, outside the journal; blocking, called in a thread."""

    def put(self, call_id: CallId, body: bytes, salt: bytes) -> None:
        """Store durably before the line that refers to it."""
        ...

    def drop_body(self, call_id: CallId) -> None:
        """Forget the body after the terminal line; the salt is kept."""
        ...


class Announcer(Protocol):
    """Tells people that an approval waits or ended; never authoritative, never raises."""

    def announce(self, request: ApprovalRequest) -> None:
        """Show the newest state on every surface; returns at once."""
        ...
