"""What was typed is read the same however the bytes arrive, and nothing else counts as typed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.channels.keys import Key, KeyReader


def typed(*pieces: bytes) -> list[str | Key]:
    reader = KeyReader()
    return [key for piece in pieces for key in reader.feed(piece)]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"ab\r", ["a", "b", Key.ENTER]),
        ("é日🎉".encode(), ["é", "日", "🎉"]),
        (b"\x7f\x08\x15\t\x0c\x03", [Key.RUB_OUT, Key.RUB_OUT, Key.ERASE_LINE, Key.TAB,
                                     Key.REDRAW, Key.INTERRUPT]),
        (b"\x1b[A\x1b[B\x1bOA\x1bOB\x1b[5~\x1b[6~", [Key.UP, Key.DOWN, Key.UP, Key.DOWN,
                                                     Key.PAGE_UP, Key.PAGE_DOWN]),
        (b"\x1b[12;80R\x1b[?62;c\x1b[I", []),
        (b"\x1b[200~otter\r\x1b[201~x", [Key.PASTED, "x"]),
        (b"\x1b[200~\x1b[201~\x1b[200~a\x03\x1b[201~", [Key.PASTED, Key.PASTED]),
        (b"a\x00\x01\x1b\x1bb", ["a", Key.ESCAPE, Key.ESCAPE, "b"]),
        (b"\x1bd\x1b\x03\x1b\r", [Key.ESCAPE, "d", Key.ESCAPE, Key.INTERRUPT,
                                   Key.ESCAPE, Key.ENTER]),
        (b"\xff\xfea", ["a"]),
    ],
)  # fmt: skip
def test_bytes_are_read_as_keys(data: bytes, keys: list[str | Key]):
    assert typed(data) == keys
    assert typed(*(data[i : i + 1] for i in range(len(data)))) == keys


def test_a_report_of_the_terminal_is_never_taken_as_typed_letters():
    """Attack: the harness makes the terminal answer a query; the answer spells the word."""
    assert typed(b"\x1b[1;2otter\r") == ["t", "t", "e", "r", Key.ENTER]
    assert typed(b"\x1b[" + b"1" * 100 + b"o")[-1:] != ["t"]


def test_an_escape_that_nothing_follows_takes_no_key_with_it():
    """The next key counted for the rest of a sequence, however late it was typed."""
    reader = KeyReader()
    assert reader.feed(b"\x1b") == []
    assert reader.pause() == [Key.ESCAPE]
    assert reader.feed(b"[d") == ["[", "d"]


def test_a_sequence_that_has_begun_is_never_typed_however_late_its_rest_is():
    reader = KeyReader()
    assert [*reader.feed(b"\x1b["), *reader.pause(), *reader.feed(b"1;2ox")] == ["x"]
    assert [*reader.feed(b"\x1b[200~otter"), *reader.pause(), *reader.feed(b"\r")] == []


@given(data=st.binary(max_size=60), cut=st.integers(0, 60))
def test_any_bytes_give_printable_characters_or_keys(data: bytes, cut: int):
    keys = typed(data)
    assert all(isinstance(key, Key) or (len(key) == 1 and key.isprintable()) for key in keys)
    assert typed(data[:cut], data[cut:]) == keys
