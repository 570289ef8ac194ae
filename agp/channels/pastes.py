"""Which paste is under way on a terminal: its text comes in pieces, and not all to the same reader.

Pure. Attack: a long paste on its way when a question appears, or one that begins while keys are
discarded: without its first mark its rest would be read as typed, and a list of words answers any
question. So what was read by anybody counts, and whoever reads next knows where they are.
"""

from __future__ import annotations

from typing import Final

BEGINS: Final = b"\x1b[200~"
ENDS: Final = b"\x1b[201~"


def left_open(before: bytes, data: bytes) -> bytes:
    """Say what a new reader must be fed first, once these bytes were read by another.

    `before` is what this said last; empty: nothing is under way. It is the mark of a paste that
    has not ended, with what may be the beginning of its end; or what may be a mark's beginning.
    """
    text = before + data
    while (at := text.find(BEGINS)) >= 0:
        body = text[at + len(BEGINS) :]
        end = body.find(ENDS)
        if end < 0:
            return BEGINS + _begun(ENDS, body)
        text = body[end + len(ENDS) :]
    return _begun(BEGINS, text)


def behind(before: bytes, data: bytes) -> tuple[bytes, bytes]:
    """Give what of these bytes is of no paste that was under way, and what still is.

    `before` is what `left_open` said when another reader had the terminal.
    """
    whole = before + data
    if not whole.startswith(BEGINS):
        return (b"", whole) if BEGINS.startswith(whole) else (data, b"")
    end = whole.find(ENDS, len(BEGINS))
    if end < 0:
        return b"", left_open(before, data)
    return whole[end + len(ENDS) :], b""


def _begun(mark: bytes, text: bytes) -> bytes:
    """Give the longest end of a text that a mark begins with, but is not it."""
    for length in range(min(len(mark) - 1, len(text)), 0, -1):
        if text.endswith(mark[:length]):
            return mark[:length]
    return b""
