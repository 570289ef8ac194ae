"""Which exit code refuses, and what a refusal shows."""

from __future__ import annotations

import pytest

from agp.gateway.frame import blocking_code, parse_reply, refusal
from agp.gateway.frame import format_reply as spell


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"AGP1 claude-code PermissionRequest 12\n", 1),
        (b"AGP9 claude-code PermissionRequest 12\n", 1),
        (b"AGP1 claude-code PermissionRequest", 1),
        (b"AGP1 claude-code PreToolUse 12\n", 2),
        (b"AGP1 codex PermissionRequest 12\n", 2),
        (b"AGP1 claude-code PermissionRequestX 12\n", 2),
        (b"claude-code PermissionRequest\n", 2),
        (b"", 2),
    ],
)
def test_only_claude_codes_grant_hook_is_refused_with_1(line: bytes, code: int) -> None:
    """2 means "no opinion" there, and a live dialog; everywhere else 1 means "carry on"."""
    assert blocking_code(line) == code
    assert refusal(line, "no").exit_code == code


def test_a_refusal_is_one_visible_line_and_fits_the_frame() -> None:
    reply = refusal(b"", "a\x1b]0;x\x07\nb" + "\u202e" * 5000)
    assert reply.stdout == b""
    assert reply.stderr.startswith(b"AGP refused: a\\e]0;x")
    assert reply.stderr.count(b"\n") == 1
    assert parse_reply(spell(reply)) == reply
