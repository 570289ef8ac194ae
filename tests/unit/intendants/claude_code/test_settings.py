"""The managed settings are the governed ones, key for key, or nothing is launched."""

from __future__ import annotations

import json

import pytest

from agp.contracts.gateway import HookEvent
from agp.errors import RunRefused
from agp.intendants.claude_code.settings import check_settings, format_settings
from agp.intendants.claude_code.version import LOWEST

GOOD = format_settings(reconnect_s=30)


def test_the_settings_hold_the_floor_and_a_hook_for_each_event() -> None:
    settings = json.loads(GOOD)
    assert settings["permissions"] == {
        "ask": ["*"],
        "denyInsteadOfPrompting": True,
        "disableBypassPermissionsMode": "disable",
        "disableAutoMode": "disable",
    }
    assert settings["allowManagedHooksOnly"] is True
    assert settings["disableAllHooks"] is False
    assert set(settings["hooks"]) == {event.value for event in HookEvent}
    for event, entries in settings["hooks"].items():
        (hook,) = entries[0]["hooks"]
        assert hook["command"] == "/usr/bin/python3"
        assert hook["args"][:5] == ["-I", "-S", "/opt/agp/agp-bridge", "claude-code", event]
        assert hook["onFailure"] == "block"
        assert int(hook["args"][-1]) < hook["timeout"]


def test_what_was_written_is_accepted_and_only_for_its_own_clock() -> None:
    check_settings(GOOD, reconnect_s=30)
    with pytest.raises(RunRefused):
        check_settings(GOOD, reconnect_s=31)


MUTATIONS = (
    (b'"timeout": 86400', b'"timeout": "86400"'),
    (b'"timeout": 86400', b'"timeout": 600'),
    (b'"onFailure": "block"', b'"onFailure": "blok"'),
    (b'"ask"', b'"allow"'),
    (b'"denyInsteadOfPrompting": true', b'"denyInsteadOfPrompting": false'),
    (b'"denyInsteadOfPrompting": true', b'"denyInsteadOfPrompting": 1'),
    (b'"disableAllHooks": false', b'"disableAllHooks": true'),
    (b'"allowManagedHooksOnly": true,', b""),
    (b'"PreToolUse": [', b'"PretoolUse": ['),
    (b'"PermissionRequest": [', b'"Stop": ['),
    (b'"/opt/agp/agp-bridge"', b'"/tmp/agp-bridge"'),
    (b'"-I"', b'"-i"'),
    (b'"matcher": "*"', b'"matcher": "Bash"'),
    (
        f'"requiredMinimumVersion": "{LOWEST.version}"'.encode(),
        b'"requiredMinimumVersion": "2.1.0"',
    ),
    (b'"disableAllHooks": false', b'"disableAllHooks": false, "disableAllHooks": false'),
    (b'"disableAllHooks": false', b'"disableAllHooks": false, "apiKeyHelper": "x"'),
    (b'{\n "allow', b'[{\n "allow'),
    (b'"args": [', b'"async": true, "args": ['),
)


@pytest.mark.parametrize(("good", "bad"), MUTATIONS)
def test_settings_that_would_not_govern_are_refused(good: bytes, bad: bytes) -> None:
    """A wrong entry is dropped by the harness with a warning: nobody would be asked again."""
    assert good in GOOD
    with pytest.raises(RunRefused) as refused:
        check_settings(GOOD.replace(good, bad, 1), reconnect_s=30)
    assert refused.value.why


def test_one_event_less_is_refused() -> None:
    settings = json.loads(GOOD)
    for event in HookEvent:
        less = {k: v for k, v in settings["hooks"].items() if k != event.value}
        with pytest.raises(RunRefused, match=event.value):
            check_settings(json.dumps(settings | {"hooks": less}).encode(), reconnect_s=30)


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 5000])
def test_what_is_no_settings_file_is_refused(data: bytes) -> None:
    with pytest.raises(RunRefused):
        check_settings(data, reconnect_s=30)
