"""Every error of the tree crosses the control socket and is itself again."""

from __future__ import annotations

import pytest

from agp import errors
from agp.errors import AgpError
from agp.gateway.failure import error_of, failure_fields

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, AgpError)])
def test_an_error_becomes_itself_again(kind: type[AgpError]) -> None:
    error = kind("what", where="where", why="why", fix="fix")
    again = error_of(failure_fields(error))
    assert type(again) is kind
    assert failure_fields(again) == failure_fields(error)


def test_a_code_of_a_newer_daemon_is_still_an_error() -> None:
    error = error_of({"code": "AGP-9999", "what": "new"})
    assert type(error) is AgpError
    assert error.what == "new"


def test_a_failure_without_words_says_so() -> None:
    assert "no reason" in error_of({}).what
