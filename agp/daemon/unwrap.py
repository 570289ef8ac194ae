"""One error out of a task group: what failed first, as itself and not in a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from agp.errors import AgpError, JournalBroken

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)


def unwrapped(act: Callable[[], T]) -> T:
    """Call and give back; an error of our tree comes out of its exception group.

    A broken journal goes first: it is why everything beside it ended. A group that holds anything
    else besides errors of the tree is our own mistake and stays whole.
    """
    try:
        return act()
    except BaseExceptionGroup as group:
        known = [leaf for leaf in _leaves(group) if isinstance(leaf, AgpError)]
        broken = [leaf for leaf in known if isinstance(leaf, JournalBroken)]
        if len(known) != len(list(_leaves(group))):
            raise
        raise (broken or known)[0] from group


def find(error: BaseException, wanted: type[E]) -> E | None:
    """Find the first error of a kind in an exception or its groups."""
    leaves = _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return next((leaf for leaf in leaves if isinstance(leaf, wanted)), None)


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    leaves: list[BaseException] = []
    for inner in group.exceptions:
        leaves += _leaves(inner) if isinstance(inner, BaseExceptionGroup) else [inner]
    return leaves
