"""The question as rows: complete, in its place, and never steered by what it shows."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.channels.effect_words import LABEL_WORDS, WORDS, by_gravity, in_words
from agp.channels.layout import NARROWEST, fit, render, render_whole, time_left, wrap, wrap_words
from agp.contracts.policy import Effect, EffectKind, Label
from tests.fakes.requests import NOW, request

ANY = st.text(st.characters(categories=None, exclude_categories=()), max_size=300)


def rows_of(width: int = 80, **changes: object) -> tuple[str, ...]:
    return render(request(**changes), host="box", width=width, now=NOW, colour=False)


def call_of(rows: tuple[str, ...]) -> tuple[str, ...]:
    """Give the rows of the call itself."""
    return tuple(row for row in rows if row.startswith(("│ ", "┊ ", "⟪")))


def cells(row: str) -> int:
    return sum(1 if char.isascii() else 2 for char in row)


def test_a_question_says_what_where_why_until_when_and_who_asks():
    rows = rows_of(
        expires_at="2026-11-20T12:09:30.000000Z",
        cannot_see=("node -e '…'",),
        agent_id="sub-1",
        quorum=2,
        approvers=frozenset({"uid:1000", "uid:1001"}),
        granted_by=("uid:1001",),
    )
    assert rows == (
        "id       otter-3f9c2e1a",
        "what     Bash, wanted by claude-code",
        "it       connects to github.example:443",
        "         runs git push origin main",
        "unseen   the policy cannot see inside: node -e '…'",
        "call     52 bytes of input, the whole of it",
        "│ command =",
        "│    git push origin main",
        "│ timeout = 1000",
        "says     the agent says: Push the branch",
        "where    on box, in /home/me/repo",
        "         session s-0123456789ab, agent sub-1",
        "         isolation: shared",
        "why      rule ask-push: a push leaves this machine",
        "who      2 of uid:1000, uid:1001",
        "         yes so far: uid:1001",
        "until    2026-11-20 12:09:30 UTC, in 9 min",
    )


def test_a_call_in_a_view_of_its_own_says_what_it_reaches():
    """A person who grants `npm install` must not learn from its failure that it had no network."""
    (none,) = (row for row in rows_of(network=()) if row.startswith("network"))
    (some,) = (row for row in rows_of(network=("a.example:443",)) if row.startswith("network"))
    assert (none, some) == (
        "network  none: this call reaches no host",
        "network  a.example:443",
    )
    assert not any(row.startswith("network") for row in rows_of())


def test_a_line_break_of_the_call_and_a_wrapped_line_look_different():
    """Attack: a newline ends a shell command, a wrapped row does not."""
    rows = rows_of(width=30, input_json=json.dumps({"command": "a" * 40 + "\nrm -rf ~"}))
    assert call_of(rows)[-3:] == ("│    " + "a" * 23, "┊ " + "a" * 17, "│    rm -rf ~")


def test_a_member_cannot_be_forged_by_a_line_of_another():
    rows = rows_of(input_json=json.dumps({"command": "ls\ntimeout = 1"}))
    assert call_of(rows)[-2:] == ("│    ls", "│    timeout = 1")


def test_input_that_is_no_object_is_shown_as_it_is_written():
    assert call_of(rows_of(input_json='{"a":1,"a":2}'))[-1] == '│ {"a":1,"a":2}'
    assert call_of(rows_of(input_json="\x1b[2J"))[-1] == "│ \\e[2J"


def test_a_long_call_keeps_head_and_tail_and_the_whole_can_be_had():
    shown = request(input_json=json.dumps({"command": "\n".join(map(str, range(1000)))}))
    short = render(shown, host="box", width=80, now=NOW, colour=False)
    assert "head and tail; Tab shows all of it" in "\n".join(short)
    assert call_of(short)[-1] == "│    999"
    assert any(re.fullmatch(r"⟪\d+ rows left out, sha256 [0-9a-f]{12}⟫", row) for row in short)
    whole = render_whole(shown, host="box", width=80, now=NOW, colour=False)
    assert [row for row in whole if row.startswith("│    ")] == [f"│    {n}" for n in range(1000)]
    assert "the whole of it" in "\n".join(whole)


def test_one_long_line_is_cut_inside_with_a_digest():
    rows = "\n".join(rows_of(input_json=json.dumps({"command": "x" * 50_000 + "; rm -rf ~"})))
    assert "head and tail" in rows
    assert "characters left out, sha256" in rows
    assert "; rm -rf ~" in rows


def test_the_gravest_effect_is_never_the_one_that_is_cut():
    """Attack: a hundred reads push one deletion out of sight."""
    reads = tuple(Effect(kind=EffectKind.READ, subject=f"/w/{n}") for n in range(100))
    deletion = Effect(kind=EffectKind.DELETE, subject="/w", labels=frozenset({Label.RECURSIVE}))
    rows = rows_of(effects=(*reads, deletion))
    assert "it       deletes /w (with everything below)" in rows
    assert "         ⟪and 89 lesser effects; Tab shows them⟫" in rows


def test_the_words_of_an_effect_keep_the_borders_of_its_arguments():
    effect = Effect(kind=EffectKind.EXEC, subject="/bin/rm", argv=("rm", "a b", "\x1b[2J"))
    assert in_words(effect, limit=100) == "runs rm 'a b' '\\e[2J'"


def test_every_kind_and_label_has_words():
    assert WORDS.keys() == set(EffectKind)
    assert LABEL_WORDS.keys() == set(Label)


def test_an_effect_with_a_remark_stands_before_its_like():
    plain = Effect(kind=EffectKind.WRITE, subject="/a")
    marked = Effect(kind=EffectKind.WRITE, subject="/b", labels=frozenset({Label.SECRET_PATH}))
    assert by_gravity((plain, marked)) == (marked, plain)


def test_a_time_that_cannot_be_read_is_over():
    assert time_left("soon", NOW) == 0.0
    assert "its time is over" in "\n".join(rows_of(expires_at="soon\x1b[2J"))


def test_colour_marks_labels_only_and_carries_no_meaning_alone():
    coloured = render(request(), host="box", width=80, now=NOW, colour=True)
    assert tuple(re.sub(r"\x1b\[[0-9;]*m", "", row) for row in coloured) == rows_of()
    assert coloured != rows_of()


@pytest.mark.parametrize("width", [1, 16, 20, 37, 80, 160, 500])
@given(text=ANY)
def test_no_row_is_wider_than_the_screen_or_steers_it(width: int, text: str):
    shown = request(
        cwd=text, says=text, tool=text, reason=text, input_json=text, session_id=text,
        effects=(Effect(kind=EffectKind.WRITE, subject=text),), cannot_see=(text,),
    )  # fmt: skip
    for make in (render, render_whole):
        for row in make(shown, host=text, width=width, now=NOW, colour=False):
            assert all(char == " " or char.isprintable() for char in row)
            assert cells(row) < max(width, NARROWEST + 1)


def test_the_marks_of_a_cut_fit_a_narrow_screen_too():
    many = tuple(Effect(kind=EffectKind.READ, subject=str(n)) for n in range(50))
    lines = json.dumps({"command": "x\n" * 500})
    assert max(map(cells, rows_of(width=20, effects=many, input_json=lines))) < 20


@given(text=ANY)
def test_text_of_the_agent_stands_behind_an_indent_or_a_gutter_of_ours(text: str):
    """Attack: text that begins a row could imitate a row of ours."""
    labels = (
        "id ",
        "what ",
        "says ",
        "where ",
        "why ",
        "it ",
        "until ",
        "call ",
        "│ ",
        "┊ ",
        "⟪",
        " " * 9,
    )
    rows = rows_of(says=text, cwd=text, reason=text, input_json=json.dumps({"command": text}))
    assert all(row.startswith(labels) for row in rows)
    assert sum(row.startswith("says ") for row in rows) == bool(text)
    for label in ("id ", "what ", "where ", "why ", "until ", "call "):
        assert sum(row.startswith(label) for row in rows) == 1


@given(text=st.text(max_size=200), width=st.integers(2, 40))
def test_wrapping_loses_nothing_and_fits(text: str, width: int):
    for rows in (wrap(text, width), wrap_words(text, width)):
        assert "".join(rows) == text
        assert all(cells(row) <= width for row in rows)
    assert cells(fit(text, width)) <= width
    assert text.endswith(fit(text, width))
