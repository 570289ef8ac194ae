"""What a person sees cannot be steered, hidden, reordered or imitated by what is shown."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from agp.contracts.display import visible, visible_lines


@dataclass(frozen=True)
class Attack:
    name: str
    text: str
    shown: str


ATTACKS = (
    Attack("clear the screen", "a\x1b[2Jb", "a\\e[2Jb"),
    Attack("set the window title", "\x1b]0;root\x07", "\\e]0;root\\x07"),
    Attack("an 8-bit control sequence introducer", "\x9b2J", "\\x9b2J"),
    Attack("a new line forges a prompt", "ls\nallow? yes", "ls\\nallow? yes"),
    Attack("a carriage return overwrites", "rm -rf /\recho hi", "rm -rf /\\recho hi"),
    Attack("backspaces overwrite", "evil\b\b\b\bgood", "evil\\x08\\x08\\x08\\x08good"),
    Attack("an override reorders", "\u202egpj.exe", "\\u202egpj.exe"),
    Attack("an isolate reorders", "a\u2067b", "a\\u2067b"),
    Attack("right-to-left letters reorder their neighbours", "a \u05d0 & b", "a \\u05d0 & b"),
    Attack("arabic digits reorder their neighbours", "1\u0661", "1\\u0661"),
    Attack("zero width splits a word", "r\u200bm", "r\\u200bm"),
    Attack("a variation selector smuggles bytes", "a\ufe00\U000e0100", "a\\ufe00\\U000e0100"),
    Attack("tag characters smuggle text", "a\U000e0041", "a\\U000e0041"),
    Attack("a no-break space is not a space", "a\u00a0b", "a\\xa0b"),
    Attack("an ideographic space hides a distance", "a\u3000b", "a\\u3000b"),
    Attack("a braille blank draws nothing", "a\u2800b", "a\\u2800b"),
    Attack("a hangul filler draws nothing", "a\u3164b", "a\\u3164b"),
    Attack("a line separator breaks a line", "a\u2028b", "a\\u2028b"),
    Attack("marks pile up over other lines", "a" + "\u0301" * 4, "a\u0301\u0301\\u0301\\u0301"),
    Attack("a mark strikes our own label", "\u0336x", "\\u0336x"),
    Attack("a mark turns equals into not equals", "a =\u0338 b", "a =\\u0338 b"),
    Attack("an escape of ours is imitated", "\\x1b", "\\\\x1b"),
    Attack("our mark is imitated", "⟪9 left out⟫", "\\u27ea9 left out\\u27eb"),
    Attack("a lone surrogate", "a\udc9bb", "a\\udc9bb"),
    Attack("a private code point draws what its font likes", "\ue000", "\\ue000"),
    Attack("delete", "a\x7f", "a\\x7f"),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_hostile_text_is_shown_as_text(attack: Attack):
    assert visible(attack.text) == attack.shown


@pytest.mark.parametrize(
    "honest", ["git push origin main", "Zürich", "naïve", "日本語", "Việt", "🎉"]
)
def test_honest_text_stays_as_it_is(honest: str):
    assert visible(honest) == honest


def test_a_long_text_keeps_head_and_tail_and_says_how_much_is_missing():
    shown = visible("head" + "x" * 10_000 + "; rm -rf ~", limit=60)
    assert shown.startswith("head")
    assert shown.endswith("; rm -rf ~")
    assert "⟪9954 characters left out, sha256 " in shown


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_the_smallest_limits_still_cut(limit: int):
    """A tail of nothing must not turn into the whole (`text[-0:]`)."""
    assert "x" * 4 not in visible("x" * 100, limit=limit)


def test_an_escape_is_never_cut_in_two():
    for limit in range(30):
        shown = visible("\x00" * 50, limit=limit)
        rest = shown.replace("\\x00", "")
        assert "\\" not in rest, shown
        assert "x0" not in rest, shown


def test_lines_are_kept_and_each_is_safe():
    assert visible_lines("a\n\x1b[2J\rb\n") == ("a", "\\e[2J\\rb", "")


def test_the_mark_of_cut_lines_has_a_line_of_its_own():
    lines = visible_lines("\n".join(["echo one"] * 1000 + ["rm -rf ~"]), limit=90)
    marks = [line for line in lines if line.startswith("⟪")]
    assert len(marks) == 1
    assert marks[0].endswith("⟫")
    assert lines[0] == "echo one"
    assert lines[-1] == "rm -rf ~"


def test_a_huge_text_costs_what_is_shown_of_it():
    """Eight MiB of escapes must not stop the loop that shows a card."""
    began = time.perf_counter()
    visible("\x1b" * 8_388_608, limit=4000)
    assert time.perf_counter() - began < 0.5


def test_a_mark_never_replaces_less_than_it_takes_itself():
    """Forty-five characters in the place of eight left a sentence unreadable."""
    text = "a " * 102

    assert visible(text, limit=200) == text
    assert "⟪" in visible(text * 2, limit=200)
