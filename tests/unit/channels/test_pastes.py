"""Whoever reads a terminal next knows whether a paste is under way, however its bytes were cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.channels.keys import Key, KeyReader
from agp.channels.pastes import BEGINS, ENDS, behind, left_open

TYPED = b"a\r" + BEGINS + b"stone\rheron\r" + ENDS + b"b" + BEGINS + b"c\r" + ENDS + b"\x1b[Ad"


@given(at=st.integers(0, len(TYPED)), later=st.integers(0, len(TYPED)))
def test_a_reader_that_comes_late_reads_as_one_that_was_there(at: int, later: int) -> None:
    """What is read before it by one or two others changes nothing of what it takes for typed."""
    first, second = sorted((at, later))
    state = left_open(left_open(b"", TYPED[:first]), TYPED[first:second])
    late, always = KeyReader(), KeyReader()
    assert late.feed(state) == []
    always.feed(TYPED[:second])
    said = [key for key in late.feed(TYPED[second:]) if key in {"e", "n", Key.ENTER}]
    # An arrow key cut by who discards is no paste, and its letters answer nothing.
    assert said == [k for k in always.feed(TYPED[second:]) if k in {"e", "n", Key.ENTER}]


@given(st.lists(st.sampled_from([BEGINS, ENDS, b"\x1b", b"[", b"20", b"0~", b"1~", b"x"])))
def test_what_is_under_way_does_not_depend_on_how_bytes_come(pieces: list[bytes]) -> None:
    state = b""
    for piece in pieces:
        state = left_open(state, piece)
    assert state == left_open(b"", b"".join(pieces))


@pytest.mark.parametrize(
    ("before", "data", "rest"),
    [
        (BEGINS, b"rest\r" + ENDS + b"typed", (b"typed", b"")),
        (BEGINS, b"rest\r\x1b[2", (b"", BEGINS + b"\x1b[2")),
        (BEGINS + b"\x1b[2", b"01~typed", (b"typed", b"")),
        (b"\x1b[20", b"0~rest", (b"", BEGINS)),
        (b"\x1b", b"[", (b"", b"\x1b[")),
        (b"\x1b", b"typed", (b"typed", b"")),
    ],
)
def test_the_rest_of_a_paste_is_left_away(
    before: bytes, data: bytes, rest: tuple[bytes, bytes]
) -> None:
    assert behind(before, data) == rest


def test_a_mark_whose_escape_came_much_earlier_is_a_mark() -> None:
    keys = KeyReader()
    keys.feed(b"\x1b")
    keys.pause()
    assert Key.ENTER not in keys.feed(b"[200~stone\r")
    assert keys.feed(ENDS + b"\r") == [Key.PASTED, Key.ENTER]
