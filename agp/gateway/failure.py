"""An error of the tree, as it crosses the control socket and becomes itself again.

No contract is imported here: the command line reads a failure without paying for pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agp.errors import AgpError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

FIELDS = ("code", "what", "where", "why", "fix")


def failure_fields(error: AgpError) -> dict[str, str]:
    """Give the members of a `ControlFailure`."""
    return {name: str(getattr(error, name)) for name in FIELDS}


def error_of(failure: Mapping[str, str]) -> AgpError:
    """Build the error of the tree that a failure names; a code of a newer daemon is an AgpError."""
    by_code = {kind.code: kind for kind in _kinds(AgpError)}
    kind = by_code.get(failure.get("code", ""), AgpError)
    return kind(
        failure.get("what", "") or "the daemon refused and gave no reason",
        where=failure.get("where", ""),
        why=failure.get("why", ""),
        fix=failure.get("fix", ""),
    )


def _kinds(kind: type[AgpError]) -> Iterator[type[AgpError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)
