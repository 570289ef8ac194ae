"""One effective input has one spelling; two different ones never share it."""

from __future__ import annotations

import pytest

from agp.errors import MessageRefused
from agp.intendants.claude_code.canonical import canonical_input, effective_path

PATHS = {
    "a": "/r/s/a",
    "./a": "/r/s/a",
    "../a": "/r/a",
    "../../../../a": "/a",
    "a/": "/r/s/a",
    "": "/r/s",
    "/a//b/./c/../d": "/a/b/d",
    "/a/": "/a/",
    "/a/.": "/a",
    "/": "/",
    "//": "/",
    "/..": "/",
    "~": "/home/agent",
    "~/": "/home/agent/",
    "~/a/../b": "/home/agent/b",
    "~x": "/r/s/~x",
    " \t/a\n\u00a0\ufeff": "/a",
    "\x1c/a": "/r/s/\x1c/a",
    "$HOME": "/r/s/$HOME",
    "file:///a": "/r/s/file:/a",
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_what_the_harness_opens(path: str) -> None:
    assert effective_path(path, "/r/s") == PATHS[path]


@pytest.mark.parametrize("path", PATHS)
def test_an_effective_path_is_its_own_effective_path(path: str) -> None:
    assert effective_path(PATHS[path], "/elsewhere") == PATHS[path]


SAME = (
    ("Read", b'{"file_path":"a"}', b'{ "file_path": "/r/a" }'),
    ("Write", b'{"content":"x","file_path":"~/a"}', b'{"file_path":"/home/agent/a","content":"x"}'),
    (
        "Edit",
        b'{"file_path":"/r/a","old_string":"x","new_string":"y"}',
        b'{"replace_all":false,"file_path":"a","old_string":"x","new_string":"y"}',
    ),
    ("Bash", b'{"command":"l\\u0073","timeout":5000}', b'{"timeout":5.0e3,"command":"ls"}'),
    (
        "SendMessage",
        b'{"to":"x","message":"m"}',
        (
            b'{"to":"x","message":"m","type":"message","recipient":"x","recipient_kind":"name",'
            b'"content":"m"}'
        ),
    ),
)


@pytest.mark.parametrize(("tool", "first", "second"), SAME)
def test_two_spellings_of_one_input_are_one(tool: str, first: bytes, second: bytes) -> None:
    assert canonical_input(tool, first, "/r") == canonical_input(tool, second, "/r")


DIFFERENT = (
    ("Bash", b'{"command":"ls"}', b'{"command":"ls "}'),
    ("Bash", b'{"command":"ls"}', b'{"command":"ls","run_in_background":true}'),
    ("Bash", b'{"command":"\xc3\xa9"}', b'{"command":"e\xcc\x81"}'),
    ("Read", b'{"file_path":"/a"}', b'{"file_path":"/a/"}'),
    ("Read", b'{"file_path":"/a"}', b'{"file_path":"/a","offset":1}'),
    ("Edit", b'{"file_path":"/a"}', b'{"file_path":"/a","replace_all":true}'),
    ("mcp__s__t", b'{"file_path":"a"}', b'{"file_path":"/r/a"}'),
    ("mcp__s__t", b'{"n":1}', b'{"n":true}'),
    ("mcp__s__t", b'{"n":12345678901234567890}', b'{"n":12345678901234567891}'),
    (
        "SendMessage",
        b'{"to":"x","message":"m"}',
        b'{"to":"x","message":"m","type":"shutdown_request"}',
    ),
    ("SendMessage", b'{"to":"x","message":"m"}', b'{"to":"x","message":"m","content":"other"}'),
)


@pytest.mark.parametrize(("tool", "first", "second"), DIFFERENT)
def test_a_ticket_for_one_input_is_none_for_another(tool: str, first: bytes, second: bytes) -> None:
    assert canonical_input(tool, first, "/r") != canonical_input(tool, second, "/r")


def test_a_relative_path_is_another_file_in_another_directory() -> None:
    body = b'{"file_path":"a"}'
    assert canonical_input("Read", body, "/r") != canonical_input("Read", body, "/q")


@pytest.mark.parametrize("body", [b"", b"[]", b'{"a":1,"a":1}', b'"x"', b'{"a":"\\ud800"}'])
def test_what_is_no_strict_object_has_no_canonical_form(body: bytes) -> None:
    with pytest.raises(MessageRefused):
        canonical_input("Bash", body, "/r")
