"""Nothing that a harness writes makes the operator's terminal obey or answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.channels.harness_output import HarnessOutput, text_only


def passed(*pieces: bytes) -> bytes:
    filtered = HarnessOutput()
    return b"".join(filtered.feed(piece) for piece in pieces) + filtered.end()


@dataclass(frozen=True)
class Attack:
    name: str
    data: bytes
    left: bytes = b"ab"


ATTACKS = (
    Attack("title, ended by a bell", b"a\x1b]0;root shell\x07b"),
    Attack("title, ended by a string terminator", b"a\x1b]2;x\x1b\\b"),
    Attack("title in 8-bit controls", b"a\x9d0;x\x9cb"),
    Attack("title in 8-bit controls spelled as UTF-8", "a\x9d0;x\x9cb".encode()),
    Attack("clipboard written", b"a\x1b]52;c;cm0gLXJmIH4K\x07b"),
    Attack("clipboard read back onto the input", b"a\x1b]52;c;?\x07b"),
    Attack("a link whose text is not its target", b"a\x1b]8;;http://evil.example\x1b\\b"),
    Attack("colours asked for", b"a\x1b]11;?\x07b"),
    Attack("a desktop notification", b"a\x1b]9;click me\x07b"),
    Attack("an iTerm file", b"a\x1b]1337;File=inline=1:AAAA\x07b"),
    Attack("device attributes asked for", b"a\x1b[cb"),
    Attack("secondary device attributes asked for", b"a\x1b[>cb"),
    Attack("device attributes by the old escape", b"a\x1bZb"),
    Attack("cursor position asked for", b"a\x1b[6nb"),
    Attack("status asked for in 8-bit controls", b"a\x9b5nb"),
    Attack("status asked for, 8-bit spelled as UTF-8", "a\x9b5nb".encode()),
    Attack("a mode asked for", b"a\x1b[?2004$pb"),
    Attack("the window's title asked for", b"a\x1b[21tb"),
    Attack("the window moved", b"a\x1b[3;0;0tb"),
    Attack("terminal parameters asked for", b"a\x1b[xb"),
    Attack("the keyboard protocol asked for", b"a\x1b[?ub"),
    Attack("key encoding changed", b"a\x1b[>4;2mb"),
    Attack("mouse reports switched on", b"a\x1b[?1003hb"),
    Attack("focus reports switched on", b"a\x1b[?1004hb"),
    Attack("the alternate screen taken", b"a\x1b[?1049hb"),
    Attack("one forbidden mode among allowed ones", b"a\x1b[?25;1049hb"),
    Attack("a setting asked for", b"a\x1bP$qm\x1b\\b"),
    Attack("a termcap entry asked for", b"a\x1bP+q544e\x1b\\b"),
    Attack("sixel in 8-bit controls", b"a\x90q#0\x9cb"),
    Attack("an application command", b"a\x1b_Ga=q;\x1b\\b"),
    Attack("a privacy message", b"a\x1b^x\x1b\\b"),
    Attack("a tmux title", b"a\x1bkname\x1b\\b", b"anameb"),
    Attack("a start of string", b"a\x1bXx\x1b\\b"),
    Attack("a device string ended early lets text out, no more", b"a\x1bPx\x07\x1b\\b"),
    Attack("a full reset", b"a\x1bcb"),
    Attack("a soft reset", b"a\x1b[!pb"),
    Attack("line drawing for letters", b"a\x1b(0b"),
    Attack("another character set shifted in", b"a\x0e\x0fb"),
    Attack("out of UTF-8", b"a\x1b%@b"),
    Attack("the screen full of Es", b"a\x1b#8b"),
    Attack("one character repeated a thousand million times", b"a\x1b[999999999bb"),
    Attack("printing through the terminal", b"a\x1b[5ib"),
    Attack("an answerback", b"a\x05b"),
    Attack("the bell", b"a\x07b"),
    Attack("delete", b"a\x7fb"),
    Attack("a sequence hidden in a string's abort", b"a\x1b]0;x\x1b[cb"),
    Attack("a sequence cancelled and begun again", b"a\x1b[\x18\x1b[\x1b[cb"),
    Attack("a control inside a query", b"a\x1b[\r6\nnb"),
    Attack("endless parameters", b"a\x1b[" + b"1;" * 5000 + b"mb"),
    Attack("a string that never ends swallows only the harness's own words", b"a\x1b]0;b", b"a"),
    Attack("the lines above the screen erased", b"a\x1b[3Jb\x1b[2;3Jc", b"abc"),
    Attack("an escape at the very end", b"ab\x1b"),
    Attack("a byte that is not UTF-8", b"a\xffb", "a�b".encode()),
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_what_steers_or_asks_the_terminal_is_dropped(attack: Attack):
    assert passed(attack.data) == attack.left


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_split_into_single_bytes_it_is_the_same(attack: Attack):
    singly = [attack.data[i : i + 1] for i in range(len(attack.data))]
    assert passed(*singly) == passed(attack.data)


@pytest.mark.parametrize(
    "data",
    [
        b"plain text\r\n\tindented\b",
        "Zürich, 日本語, 🎉".encode(),
        b"\x1b[1;31mred\x1b[0m \x1b[38:2::1:2:3mtrue\x1b[m",
        b"\x1b[2J\x1b[H\x1b[10;20H\x1b[K\x1b[3A\x1b[1;5r\x1b[?25l\x1b[?25h\x1b[?2026h",
        b"\x1b7\x1b8\x1bM\x1b[5 q",
    ],
)
def test_text_and_what_draws_pass(data: bytes):
    assert passed(data) == data


ALLOWED = re.compile(
    r"(?:[^\x00-\x1f\x7f-\x9f]|[\b\t\n\r]|\x1b[78DEM]"
    r"|\x1b\[[0-9;:]*m|\x1b\[[0-9;]*[@A-HK-MPSTXdfr`]|\x1b\[[0-2]?J|\x1b\[\?(?:7|12|25|2026)[hl]"
    r"|\x1b\[[0-6]? q)*"
)
HOSTILE = st.lists(
    st.sampled_from(
        [b"\x1b", b"[", b"]", b"P", b"\x9b", b"\x9d", b"\xc2", b"\x9c", b"\x07", b"\\", b"0;x",
         b"?25", b"h", b"c", b"6n", b"m", b"\x18", b"$", b"p", b"\n", b"\xe2\x80", b"\xf0\x9f"]
    ),
    max_size=30,
).map(b"".join)  # fmt: skip


@given(data=st.binary(max_size=80) | HOSTILE, cuts=st.lists(st.integers(0, 80), max_size=6))
def test_any_bytes_in_any_split_come_out_as_allowed_sequences_only(data: bytes, cuts: list[int]):
    """The allow-list is written a second time here, as one regular expression."""
    marks = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    pieces = [data[a:b] for a, b in pairwise(marks)]
    whole = passed(data)
    assert passed(*pieces) == whole
    assert ALLOWED.fullmatch(whole.decode("utf-8"))


@given(data=st.binary(max_size=80) | HOSTILE)
def test_filtering_twice_changes_nothing(data: bytes):
    assert passed(passed(data)) == passed(data)


@given(data=st.binary(max_size=80) | HOSTILE)
def test_where_nothing_may_draw_no_control_is_left(data: bytes):
    for line in text_only(data):
        assert all(char.isprintable() for char in line), line
