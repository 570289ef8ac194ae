"""What a terminal can be sent is read from the environment, the careful way."""

from __future__ import annotations

import pytest

from agp.channels.tty import Look, Tty
from agp.errors import Unavailable


@pytest.mark.parametrize(
    ("environment", "look"),
    [
        ({"TERM": "xterm-256color"}, Look(colour=True, full_screen=True)),
        ({"TERM": "xterm", "NO_COLOR": "1"}, Look(colour=False, full_screen=True)),
        ({"TERM": "xterm", "NO_COLOR": ""}, Look(colour=True, full_screen=True)),
        ({"TERM": "dumb"}, Look(colour=False, full_screen=False)),
        ({}, Look(colour=False, full_screen=False)),
    ],
)
def test_the_look_follows_term_and_no_color(environment: dict[str, str], look: Look):
    assert Look.from_environment(environment) == look


def test_without_a_terminal_there_is_nobody_to_ask(tmp_path):
    with pytest.raises(Unavailable, match="no terminal"):
        Tty.open(str(tmp_path / "none"))


def test_a_file_is_no_terminal(tmp_path):
    (tmp_path / "file").touch()
    tty = Tty.open(str(tmp_path / "file"))
    assert not tty.in_foreground()
    with pytest.raises(Unavailable), tty.taken(Look(colour=True, full_screen=True)):
        pytest.fail("taken")
    tty.close()
    assert (tmp_path / "file").read_bytes() == b""
