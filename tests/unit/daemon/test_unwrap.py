"""One error out of a task group, and which."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agp.daemon.unwrap import find, unwrapped
from agp.errors import Interrupted, JournalBroken, RunRefused


def raising(*errors: BaseException) -> Callable[[], None]:
    """Give a callable that raises these, nested in groups."""

    def act() -> None:
        raise BaseExceptionGroup("outer", [BaseExceptionGroup("inner", list(errors))])

    return act


def test_an_expected_error_comes_out_of_its_groups_and_a_broken_journal_first() -> None:
    with pytest.raises(JournalBroken):
        unwrapped(raising(RunRefused("a"), JournalBroken("b")))
    with pytest.raises(RunRefused):
        unwrapped(raising(RunRefused("a"), Interrupted("b")))
    assert unwrapped(lambda: 7) == 7


def test_a_mistake_of_ours_beside_an_expected_error_stays_visible() -> None:
    with pytest.raises(BaseExceptionGroup):
        unwrapped(raising(RunRefused("a"), KeyError("b")))


def test_an_error_is_found_in_a_group_or_alone() -> None:
    killed = Interrupted("x")

    assert find(BaseExceptionGroup("g", [RunRefused("a"), killed]), Interrupted) is killed
    assert find(killed, Interrupted) is killed
    assert find(RunRefused("a"), Interrupted) is None
