"""`--json` works anywhere on the line and never takes a word of the harness."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.cli.arguments import split_json


@dataclass(frozen=True)
class Line:
    """A command line and what is left of it."""

    says: str
    words: str
    rest: str
    as_json: bool


LINES = (
    Line("without it nothing changes", "status", "status", as_json=False),
    Line("before the command", "--json status", "status", as_json=True),
    Line("behind the command", "verify x --json", "verify x", as_json=True),
    Line("between an option and another", "run --json --task t", "run --task t", as_json=True),
    Line("behind -- it is the harness's", "run -- --json", "run -- --json", as_json=False),
    Line("on both sides, ours is taken", "run --json -- --json", "run -- --json", as_json=True),
    Line("a longer word is another word", "x --jsonl", "x --jsonl", as_json=False),
)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.says)
def test_json_is_taken_out_wherever_it_stands(line: Line) -> None:
    """What is left keeps its order."""
    split = split_json(line.words.split())

    assert (list(split.rest), split.as_json) == (line.rest.split(), line.as_json)
