"""The log never repeats a peer's words: no locals, no foreign error's text."""

from __future__ import annotations

import json
import sys
from io import StringIO

import pytest
import structlog

from agp.daemon.log import configure_log
from agp.errors import Refusal

SECRET = "hunter2-in-a-local"


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_log()
    return stream


def _fail(error: Exception) -> None:
    words = SECRET
    assert words
    raise error


@pytest.mark.parametrize("error", [ValueError(SECRET), RecursionError(SECRET)])
def test_a_foreign_error_is_named_and_placed_and_not_quoted(
    written: StringIO, error: Exception
) -> None:
    """Attack: a tool input that makes a library raise with the input in its message."""
    try:
        _fail(error)
    except (ValueError, RecursionError):
        structlog.get_logger().exception("ask_handler_failed", hook="PreToolUse")

    line = json.loads(written.getvalue())
    assert SECRET not in written.getvalue()
    assert line["error"] == type(error).__name__
    assert any("_fail" in frame for frame in line["at"])


def test_our_own_error_keeps_its_sentence(written: StringIO) -> None:
    """Those are written for people."""
    try:
        _fail(Refusal("the reason"))
    except Refusal:
        structlog.get_logger().exception("x")

    assert json.loads(written.getvalue())["error"] == "Refusal: the reason"


def test_a_line_cannot_be_forged(written: StringIO) -> None:
    """A newline in a value is escaped."""
    structlog.get_logger().info("hook", tool="a\n{}")

    assert len(written.getvalue().splitlines()) == 1
