"""What a command writes: documents, lines, errors, and colour only where it is wanted."""

from __future__ import annotations

import io
import json

import pytest

from agp.cli.output import Output, table
from agp.errors import PolicyError

HOSTILE = "rm\x1b]0;title\x07 \x7f\u202e\u200b\nfix: nothing"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_document_names_its_schema_first() -> None:
    out = io.StringIO()

    Output(out, io.StringIO(), as_json=True).show("status", {"pid": 1}, ["never"])

    assert json.loads(out.getvalue()) == {"schema": "agp/status/v1", "pid": 1}
    assert out.getvalue().startswith('{\n  "schema"')


def test_a_document_holds_untrusted_text_whole_and_sends_a_terminal_no_byte_of_it() -> None:
    """Nothing is lost for the script, nothing is obeyed by the screen."""
    out = io.StringIO()

    Output(out, io.StringIO(), as_json=True).show("x", {"text": HOSTILE}, [])

    assert json.loads(out.getvalue())["text"] == HOSTILE
    assert all(char == "\n" or " " <= char <= "~" for char in out.getvalue())


def test_an_error_says_what_where_why_and_fix_on_stderr() -> None:
    out, err = io.StringIO(), io.StringIO()
    error = PolicyError("a key is unknown", where="p.yaml:3:5", why="it is 'efect'", fix="effect")

    Output(out, err).fail(error)

    assert out.getvalue() == ""
    assert err.getvalue() == (
        "error[AGP-1401]: a key is unknown\n"
        "  where: p.yaml:3:5\n"
        "  why: it is 'efect'\n"
        "  fix: effect\n"
    )


def test_an_error_is_a_document_where_a_script_asked() -> None:
    out, err = io.StringIO(), io.StringIO()

    Output(out, err, as_json=True).fail(PolicyError("no"))

    assert err.getvalue() == ""
    assert json.loads(out.getvalue()) == {
        "schema": "agp/error/v1",
        "code": "AGP-1401",
        "exit_code": 30,
        "what": "no",
        "where": "",
        "why": "",
        "fix": "",
    }


def test_an_error_cannot_forge_a_second_line() -> None:
    """A path named by an agent cannot write the operator's next instruction."""
    err = io.StringIO()

    Output(io.StringIO(), err).fail(PolicyError("bad", where=HOSTILE))

    assert err.getvalue().count("\n") == 2
    assert "\x1b" not in err.getvalue()
    assert "\u202e" not in err.getvalue()


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_gets_none(environment: dict[str, str]) -> None:
    output = Output(Terminal(), Terminal(), environment=environment)

    assert output.paint("x", "red") == "x"


def test_colour_is_for_terminals_only() -> None:
    """A pipe gets plain text, and so does a script that asked for JSON on a terminal."""
    terminal = {"environment": {"TERM": "xterm"}}

    assert Output(Terminal(), Terminal(), **terminal).paint("x", "red") == "\x1b[31mx\x1b[0m"
    assert Output(io.StringIO(), Terminal(), **terminal).paint("x", "red") == "x"
    assert Output(Terminal(), Terminal(), as_json=True, **terminal).paint("x", "red") == "x"


def test_a_table_aligns_wide_characters_and_leaves_no_trailing_space() -> None:
    assert table(("A", "B"), (("漢字", "1"), ("abc", "22"))) == ["A     B", "漢字  1", "abc   22"]
