"""For any text at all: nothing that steers or hides gets through, and nothing is lost unsaid."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from agp.contracts.display import visible, visible_lines

ANY = st.text(st.characters(categories=None, exclude_categories=()), max_size=200) | st.text(
    st.sampled_from("\x1b[]\\x9b\u202e\u0301ab \n\r\t⟪⟫\ue000\U000e0041\udc80"), max_size=80
)
LIMITS = st.integers(0, 120)
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
ESCAPE = re.compile(r"\\(\\|n|r|t|e|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})")


def read_back(shown: str) -> str:
    """Undo the escapes: an independent reader of what stands on the screen."""
    short = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t", "e": "\x1b"}
    return ESCAPE.sub(lambda m: short.get(m[1]) or chr(int(m[1][1:], 16)), shown)


@given(text=ANY, limit=LIMITS)
def test_no_character_that_steers_or_hides_is_shown(text: str, limit: int):
    for char in visible(text, limit=limit):
        assert char == " " or unicodedata.category(char) not in HIDDEN | {"Zs"}
        assert unicodedata.bidirectional(char) not in {"R", "AL", "AN"}


@given(text=ANY)
@example("\\x1b\x1b\\")
def test_an_uncut_text_can_be_read_back_exactly(text: str):
    """Showing is injective: two different calls never look the same."""
    assert read_back(visible(text, limit=100_000)) == text
    lines = visible_lines(text, limit=100_000)
    assert "\n".join(read_back(line) for line in lines) == text


@given(text=ANY, limit=LIMITS)
def test_a_cut_text_is_a_prefix_a_true_mark_and_a_suffix(text: str, limit: int):
    shown = visible(text, limit=limit)
    if "⟪" not in shown:
        assert len(shown) <= limit + (60 if limit >= 200 else 0)
        return
    head, mark, tail = re.fullmatch(
        r"(.*) ⟪(\d+) characters left out, sha256 [0-9a-f]{12}⟫ (.*)", shown
    ).groups()
    assert len(head) + len(tail) <= limit
    assert text.startswith(read_back(head))
    assert text.endswith(read_back(tail))
    assert len(read_back(head)) + int(mark) + len(read_back(tail)) == len(text)
    assert int(mark) > 0


@given(text=ANY, limit=LIMITS)
def test_lines_hold_no_line_break_of_their_own(text: str, limit: int):
    for line in visible_lines(text, limit=limit):
        assert line == "".join(line.splitlines())
