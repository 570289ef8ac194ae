"""For every value and every change: one spelling, and no change unseen."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import orjson
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from agp.errors import IntegrityError, MessageRefused
from agp.journal.checkpoint import parse_signed_checkpoint
from agp.journal.keys import format_public_key
from agp.journal.line import MAX_DEPTH, parse_line, spell
from agp.journal.note import Note, NoteSignature, format_note, parse_note
from agp.journal.verify import verify_directory
from tests.fakes import second_verifier
from tests.fakes.journal_logs import SIGNER, lines_of, segment, write_log

EDGE = 2**53 - 1
scalars = st.booleans() | st.integers(-EDGE, EDGE) | st.text()
keys = st.from_regex(r"[a-z0-9_]{1,12}", fullmatch=True)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_the_spelling_is_that_of_rfc_8785(value: object) -> None:
    assert spell(value) == rfc8785.dumps(value)  # type: ignore[arg-type]


@given(values)
def test_the_second_verifier_spells_alike(value: object) -> None:
    assert spell(value) == second_verifier.spell(value)  # type: ignore[arg-type]


@given(values)
def test_a_spelled_value_is_read_back(value: object) -> None:
    assert orjson.loads(spell(value)) == value  # type: ignore[arg-type]


@given(st.floats() | st.none() | st.integers(min_value=2**53) | st.integers(max_value=-(2**53)))
def test_what_is_outside_the_subset_is_refused(value: object) -> None:
    for wrapped in (value, [value], {"a": [value]}):
        with pytest.raises(MessageRefused):
            spell(wrapped)  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [0, 1])
def test_depth_is_bounded(more: int) -> None:
    value: object = 1
    for _ in range(MAX_DEPTH + more):
        value = [value]
    if more:
        with pytest.raises(MessageRefused):
            spell(value)  # type: ignore[arg-type]
    else:
        spell(value)  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_any_bytes_are_a_line_or_our_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_line(data)


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_note_or_our_error(data: bytes) -> None:
    try:
        assert format_note(parse_note(data)) == data
        parse_signed_checkpoint(data)
    except IntegrityError:
        return


names = st.from_regex(r"[a-z./-]{1,20}", fullmatch=True)
signatures = st.builds(
    NoteSignature, names, st.binary(min_size=4, max_size=4), st.binary(min_size=1)
)


@given(
    st.lists(st.from_regex(r"[ -~é]{1,20}", fullmatch=True), min_size=1).map(
        lambda lines: "".join(f"{line}\n" for line in lines)
    ),
    st.lists(signatures, min_size=1, max_size=5),
)
def test_a_note_round_trips(text: str, signed: list[NoteSignature]) -> None:
    note = Note(text, tuple(signed))
    assert parse_note(format_note(note)) == note


@cache
def _log() -> tuple[tuple[bytes, ...], bytes]:
    with tempfile.TemporaryDirectory() as directory:
        write_log(Path(directory), count=6)
        return tuple(lines_of(Path(directory))), (Path(directory) / "checkpoint").read_bytes()


def _refused_by_both(data: bytes) -> None:
    """Neither verifier accepts these bytes as the log, anchored by its own last checkpoint."""
    _, checkpoint = _log()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / f"{0:020d}.jsonl").write_bytes(data)
        (directory / "checkpoint").write_bytes(checkpoint)
        with pytest.raises(IntegrityError) as caught:
            verify_directory(directory, SIGNER.public_key)
        assert caught.value.why
        assert caught.value.where
        with pytest.raises(ValueError):  # noqa: PT011 - any of the oracle's
            second_verifier.verify(name, format_public_key(SIGNER.public_key).decode())


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    whole = _joined(list(_log()[0]))
    at = data.draw(st.integers(0, len(whole) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    _refused_by_both(whole[:at] + bytes([byte]) + whole[at + 1 :])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_inserted_or_removed_bytes_are_found(data: st.DataObject) -> None:
    whole = _joined(list(_log()[0]))
    at = data.draw(st.integers(0, len(whole)))
    if data.draw(st.booleans()):
        added = data.draw(st.binary(min_size=1, max_size=3))
        if whole[:at] + added + whole[at:] == whole:
            return
        _refused_by_both(whole[:at] + added + whole[at:])
    else:
        end = data.draw(st.integers(at + 1, len(whole) + 1))
        sealed = len(_joined(list(_log()[0][:-1])))
        if min(at, len(whole)) == sealed and end >= len(whole):
            return  # exactly the checkpoint's own line at the end: only an anchor shows that
        if at < len(whole):
            _refused_by_both(whole[:at] + whole[end:])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_moved_copied_or_deleted_line_is_found(data: st.DataObject) -> None:
    lines = list(_log()[0])
    change = data.draw(st.sampled_from(["delete", "duplicate", "swap", "truncate", "respell"]))
    at = data.draw(st.integers(0, len(lines) - 2))
    other = data.draw(st.integers(at + 1, len(lines) - 1))
    if change == "delete":
        del lines[at]
    elif change == "duplicate":
        lines.insert(other, lines[at])
    elif change == "swap":
        lines[at], lines[other] = lines[other], lines[at]
    elif change == "truncate":
        del lines[at:]
    else:
        lines[at] = orjson.dumps(dict(reversed(orjson.loads(lines[at]).items())))
    _refused_by_both(_joined(lines))


def test_the_untouched_log_is_accepted_by_both() -> None:
    """Without this, the properties above would hold for a verifier that refuses everything."""
    with tempfile.TemporaryDirectory() as name:
        write_log(Path(name), count=6)
        assert segment(Path(name)).exists()
        verify_directory(Path(name), SIGNER.public_key)
        second_verifier.verify(name, format_public_key(SIGNER.public_key).decode())
