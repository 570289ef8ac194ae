"""The call wire: any bytes are a request in its one spelling or refused; frames come back whole."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.contracts.base import CallId
from agp.errors import FrameRefused
from agp.gateway.call_wire import (
    MAX_FRAME,
    MAX_TYPED,
    Asked,
    CallAsked,
    ServerAsked,
    Typed,
    TypedAsked,
    format_asked,
    format_exit,
    format_frame,
    format_typed,
    parse_asked,
    parse_typed,
    take_frame,
)

CALLS = st.from_regex(r"c-[0-9a-f]{16}", fullmatch=True).map(lambda text: CallAsked(CallId(text)))
SERVERS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}", fullmatch=True).map(ServerAsked)

TYPED = st.builds(TypedAsked, st.integers(1, 4096), st.integers(1, MAX_TYPED))
TEXT = st.text(alphabet=st.characters(exclude_characters="\0", codec="utf-8"), max_size=40)


@given(st.one_of(CALLS, SERVERS, TYPED))
def test_a_request_comes_back_as_it_was_written(asked: Asked) -> None:
    line = format_asked(asked)
    assert line.endswith(b"\n")
    assert parse_asked(line[:-1]) == asked


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_in_its_one_spelling_or_refused(data: bytes) -> None:
    try:
        asked = parse_asked(data)
    except FrameRefused:
        return
    assert format_asked(asked) == data + b"\n"


@given(st.lists(st.tuples(st.sampled_from("ioexr"), st.binary(max_size=50))), st.integers(1, 20))
def test_frames_come_back_whole_however_they_are_cut(frames: list, step: int) -> None:
    sent = b"".join(format_frame(letter, data) for letter, data in frames)
    held, got = bytearray(), []
    for at in range(0, len(sent), step):
        held += sent[at : at + step]
        while (frame := take_frame(held)) is not None:
            got.append(frame)
    assert got == frames
    assert not held


def test_a_frame_that_is_too_long_is_refused_before_it_is_read() -> None:
    with pytest.raises(FrameRefused):
        take_frame(bytearray(b"i" + (MAX_FRAME + 1).to_bytes(4, "big")))


def test_an_exit_carries_its_code_and_directory() -> None:
    assert take_frame(bytearray(format_exit(137, "/w/ä"))) == ("x", b"\x89/w/\xc3\xa4")


@given(TEXT, TEXT.filter(bool))
def test_what_was_typed_comes_back_with_its_directory(directory: str, command: str) -> None:
    typed = Typed(f"/{directory}", command)
    line, _, rest = format_typed(typed).partition(b"\n")
    asked = parse_asked(line)
    assert isinstance(asked, TypedAsked)
    assert parse_typed(asked, rest) == typed


@given(st.integers(1, 9), st.binary(max_size=20))
def test_any_bytes_are_what_was_typed_in_its_one_spelling_or_refused(at: int, data: bytes) -> None:
    """No NUL, no half of a character, no directory that is none."""
    asked = TypedAsked(at, max(len(data) - at, 1))
    try:
        typed = parse_typed(asked, data)
    except FrameRefused:
        return
    assert format_typed(typed) == format_asked(asked) + data
    assert "\0" not in typed.directory + typed.command


@pytest.mark.parametrize("size", [b"0.1", b"1.0", b"01.1", b"4097.1", b"1.131073", b"1.1.1", b"9"])
def test_a_size_that_is_none_or_too_large_is_refused_before_anything_is_read(size: bytes) -> None:
    with pytest.raises(FrameRefused):
        parse_asked(b"AGPC1 typed " + size)
