"""Every file that the harness reads for a mention is among the readings of its prompt."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agp.errors import MessageRefused
from agp.intendants.claude_code.mentions import MOST, brings_picture, mentioned_paths, server_prompt


@dataclass(frozen=True)
class Mention:
    claim: str
    prompt: str
    read: str
    """What Claude Code 2.1.329 read for it (measured)."""


MEASURED = (
    Mention("plain", "see @a.txt now", "a.txt"),
    Mention("at the start", "@a.txt", "a.txt"),
    Mention("at the end of a sentence", "see @a.txt.", "a.txt"),
    Mention("before a semicolon", "see @a.txt; go", "a.txt"),
    Mention("before an exclamation", "see @a.txt!", "a.txt"),
    Mention("before a bracket", "(see @a.txt)", "a.txt"),
    Mention("with lines", "see @a.txt#L1-2", "a.txt"),
    Mention("quoted, with a blank", 'see @"a b.txt" now', "a b.txt"),
    Mention("below here", "see @./a.txt", "./a.txt"),
    Mention("at home", "see @~/a.txt", "~/a.txt"),
    Mention("with two dots", "see @sub/../a.txt", "sub/../a.txt"),
    Mention("absolute", "see @/etc/hostname", "/etc/hostname"),
    Mention("a directory", "see @sub", "sub"),
    Mention("behind a wide comma", "see\u3001@a.txt", "a.txt"),
    Mention("behind a hard blank", "see\u00a0@a.txt", "a.txt"),
    Mention("behind a wide blank", "see\u3000@a.txt", "a.txt"),
)


@pytest.mark.parametrize("mention", MEASURED, ids=lambda m: m.claim)
def test_what_the_harness_reads_is_among_the_readings(mention: Mention) -> None:
    assert mention.read in mentioned_paths(mention.prompt)


@pytest.mark.parametrize("prompt", ["nothing", "me@example.org", "an @ alone", '@""', "@"])
def test_what_is_no_mention_reads_nothing(prompt: str) -> None:
    assert mentioned_paths(prompt) == ()


def test_more_mentions_than_can_be_decided_on_are_refused() -> None:
    prompt = " ".join(f"@f{n}" for n in range(MOST + 1))
    with pytest.raises(MessageRefused):
        mentioned_paths(prompt)


@given(st.text(max_size=60), st.from_regex(r"[a-z0-9_/]{1,20}", fullmatch=True))
def test_a_plain_mention_behind_a_blank_is_found_whatever_stands_before(
    before: str, path: str
) -> None:
    quoted = before.count('"') % 2 == 1 and "@" in before
    if not quoted:
        assert path in mentioned_paths(f"{before} @{path} ")


@pytest.mark.parametrize("prompt", ["[Image #1]", "see [Image #12] and say", "[image #1]"])
def test_the_mark_of_a_picture_is_seen(prompt: str) -> None:
    assert brings_picture(prompt)


def test_words_about_pictures_are_none() -> None:
    assert not brings_picture("[Images] and image #1, /a/b.png, ![alt](x.png)")


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("/mcp__issues__p", "mcp__issues__p"),
        ("  /mcp__issues__p and more", "mcp__issues__p"),
        ("see /mcp__issues__p", ""),
        ("/compact", ""),
    ],
)
def test_a_servers_prompt_is_named_as_its_tool_would_be(prompt: str, name: str) -> None:
    assert server_prompt(prompt) == name
