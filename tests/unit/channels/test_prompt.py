"""Only the word allows and only `deny` denies, whatever else is typed."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from agp.approvals.words import WORDS
from agp.channels.keys import Key
from agp.channels.layout import NARROWEST
from agp.channels.prompt import (
    LONGEST_LINE,
    Allow,
    Deny,
    Interrupt,
    Said,
    View,
    hint,
    laid_out,
    press,
)
from agp.channels.screen import full_screen


def fresh(rows: int = 10, page: int = 20) -> View:
    return laid_out(View(word="otter", rows=0, page=1), rows=rows, page=page)


def after(view: View, *keys: str | Key) -> View | Said:
    said: View | Said = view
    for key in keys:
        assert isinstance(said, View)
        said = press(said, key)
    return said


def enter(line: str, view: View | None = None) -> View | Said:
    return after(view or fresh(), *line, Key.ENTER)


def test_the_word_allows_in_any_case_and_with_space_around():
    assert {type(enter(line)) for line in ("otter", " OTTER ", "Otter")} == {Allow}


def test_deny_needs_no_reason_and_takes_one():
    assert enter("deny") == Deny("")
    assert enter("Deny  because I say so ") == Deny("because I say so")


@given(line=st.text(st.characters(categories=("L", "N", "P", "Zs")), max_size=30))
def test_every_other_line_answers_nothing_and_is_cleared(line: str):
    assume(line.strip().lower() != "otter")
    assume(line.strip().partition(" ")[0].lower() != "deny")
    said = enter(line)
    assert isinstance(said, View)
    assert said.typed == ""


def test_enter_alone_answers_nothing():
    assert after(fresh(), Key.ENTER, Key.ENTER) == fresh()


def test_no_word_of_an_id_can_be_mistaken_for_deny():
    assert not any(word.startswith("deny") for word in WORDS)


def test_a_longer_question_must_be_seen_to_its_end_before_yes_but_not_before_no():
    view = fresh(rows=50, page=20)
    said = enter("otter", view)
    assert isinstance(said, View)
    assert "30 rows are below" in said.note
    assert enter("deny", view) == Deny("")
    paged = after(view, Key.PAGE_DOWN, Key.PAGE_DOWN)
    assert isinstance(paged, View)
    assert (paged.top, paged.read) == (30, True)
    assert enter("otter", paged) == Allow()


def test_paging_skips_no_row():
    view = fresh(rows=100, page=20)
    seen: set[int] = set()
    while not view.read:
        seen |= set(range(view.top, view.top + view.page))
        moved = press(view, Key.PAGE_DOWN)
        assert isinstance(moved, View)
        view = moved
    assert seen | set(range(view.top, view.top + view.page)) == set(range(100))


def test_a_window_too_small_to_read_takes_no_yes_even_at_the_end():
    view = laid_out(View(word="otter", rows=0, page=1, legible=False), rows=3, page=3)
    said = enter("otter", view)
    assert isinstance(said, View)
    assert "too small" in said.note


def test_a_paste_says_that_it_does_not_count_and_control_c_answers_nothing():
    pasted = after(fresh(), Key.PASTED)
    assert isinstance(pasted, View)
    assert "does not count" in pasted.note
    assert after(fresh(), *"otter", Key.INTERRUPT) == Interrupt()


def test_the_line_is_edited_and_bounded():
    view = after(fresh(), *"x" * (LONGEST_LINE + 50))
    assert isinstance(view, View)
    assert len(view.typed) == LONGEST_LINE
    assert after(view, Key.ERASE_LINE, *"otterr", Key.RUB_OUT, Key.ENTER) == Allow()


def test_the_hint_names_the_word_and_deny_and_is_never_cut():
    longest = View(word=max(WORDS, key=len), rows=1, page=1)
    for width in range(NARROWEST - 1, 200):
        said = hint(longest, width)
        assert len(said) <= width
        assert (longest.word in said, "deny" in said) == (True, True)
        assert said.endswith(("Enter.", "deny"))
    assert hint(longest, 39).startswith(f"Type {longest.word} to allow")


@given(
    keys=st.lists(st.sampled_from([*Key]) | st.characters(categories=("L", "Zs")), max_size=40),
    rows=st.integers(0, 60),
    width=st.integers(1, 100),
)
def test_whatever_is_typed_the_screen_stays_in_its_bounds(
    keys: list[str | Key], rows: int, width: int
):
    said: View | Said = fresh(rows=rows)
    for key in keys:
        if isinstance(said, View):
            assert 0 <= said.top <= max(0, rows - said.page)
            drawn = full_screen(
                said, ["row"] * rows, width=width, position=(1, 2), colour=False
            ).decode()
            for line in drawn.split("\x1b[2K")[1:]:
                assert len(line.partition("\x1b")[0]) < max(width, 16)
            said = press(said, key)
