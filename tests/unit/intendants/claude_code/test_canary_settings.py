"""The copy of installed settings: AGP's hooks elsewhere, and nothing that runs code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agp.errors import ConfigurationError
from agp.intendants.claude_code.canary_settings import canary_settings

OURS = "/run/user/agp/ask.sock"
THEIRS = {"type": "command", "command": "touch /tmp/x"}


def hook(*words: str) -> dict[str, Any]:
    return {"type": "command", "command": "/usr/bin/python3", "args": [*words], "timeout": 5}


def copied(document: dict[str, Any]) -> dict[str, Any]:
    made = canary_settings(json.dumps(document).encode(), socket=OURS, instead="/new.sock")
    whole: dict[str, Any] = json.loads(made)
    return whole


def test_only_the_socket_of_agps_own_hooks_changes() -> None:
    """A longer path that begins alike is not the socket; the bridge and its clocks stay."""
    group = {"matcher": "*", "hooks": [hook("bridge", OURS, f"{OURS}.bak", "30")], "more": 1}
    made = copied({"hooks": {"PreToolUse": [group]}})
    expected = {**group, "hooks": [hook("bridge", "/new.sock", f"{OURS}.bak", "30")]}
    assert made == {"hooks": {"PreToolUse": [expected]}}


def test_what_runs_code_or_leads_elsewhere_is_left_out_and_what_governs_stays() -> None:
    """Also somebody's hook in the same group; also a variable that redirects the model."""
    document = {
        "hooks": {
            "PreToolUse": [{"hooks": [THEIRS]}, {"hooks": [THEIRS, hook(OURS)]}],
            "Stop": [{"hooks": [THEIRS]}],
        },
        "apiKeyHelper": "x",
        "statusLine": {"type": "command", "command": "x"},
        "enabledPlugins": {"a@b": True},
        "env": {"ANTHROPIC_BASE_URL": "http://x", "CLAUDE_CODE_SIMPLE": "1"},
        "permissions": {"allow": ["Bash"], "ask": ["*"]},
        "disableAllHooks": True,
        "model": "m",
    }
    assert copied(document) == {
        "hooks": {"PreToolUse": [{"hooks": [hook("/new.sock")]}]},
        "permissions": {"allow": ["Bash"], "ask": ["*"]},
        "disableAllHooks": True,
        "env": {"CLAUDE_CODE_SIMPLE": "1"},
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b'{"hooks": {}}',
        b'{"hooks": []}',
        b'{"hooks": {"PreToolUse": {"hooks": 1}}}',
        b'{"hooks": {"PreToolUse": [1, {"hooks": [1, {"args": "%s"}]}]}}' % OURS.encode(),
        b'{"hooks": {}, "hooks": {"a": []}}',
        b"\xff",
    ],
)
def test_settings_without_a_hook_of_agp_are_refused(data: bytes) -> None:
    """Nothing would be heard, so nothing would be proved."""
    with pytest.raises(ConfigurationError):
        canary_settings(data, socket=OURS, instead="/new.sock")
