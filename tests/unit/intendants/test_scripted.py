"""A script is played whole or not at all; each call says what it does and what is executed."""

from __future__ import annotations

import json

import pytest

from agp.contracts.gateway import HookEvent, HookRequest
from agp.contracts.intendant import Allowed
from agp.contracts.policy import ExecAction, ReadAction, ShellAction, WriteAction
from agp.errors import ConfigurationError, MessageRefused
from agp.intendants.scripted import Scripted, ScriptedCall, parse_script


def parse(*calls: object, version: object = 1) -> tuple[ScriptedCall, ...]:
    body = json.dumps({"version": version, "calls": calls}).encode()
    return parse_script(body, where="play.json", workspace="/w")


def test_each_tool_is_an_action_and_an_argument_vector() -> None:
    shell, execute, read, write = parse(
        {"tool": "shell", "command": "ls | wc", "says": "count"},
        {"tool": "exec", "argv": ["git", "log", ""]},
        {"tool": "read", "path": "a/b"},
        {"tool": "write", "path": "/tmp/-x", "content": "é\n"},
    )
    assert shell.call.action == ShellAction(command="ls | wc")
    assert shell.argv == ("/bin/sh", "-c", "ls | wc")
    assert shell.call.says == "count"
    assert execute.call.action == ExecAction(argv=("git", "log", ""))
    assert execute.argv == ("git", "log", "")
    assert read.call.action == ReadAction(path="/w/a/b")
    assert read.argv == ("/bin/cat", "--", "/w/a/b")
    assert write.call.action == WriteAction(path="/tmp/-x")
    assert write.argv == ("/bin/sh", "-c", 'cat > "$1"', "sh", "/tmp/-x")
    assert write.stdin == "é\n".encode()


def test_calls_are_numbered_and_run_in_the_workspace() -> None:
    calls = parse(*({"tool": "shell", "command": "true"} for _ in range(3)))
    assert [c.call.tool_use_id for c in calls] == ["scripted-0", "scripted-1", "scripted-2"]
    assert {c.call.cwd for c in calls} == {"/w"}
    assert json.loads(calls[0].call.raw_input) == {"tool": "shell", "command": "true"}


def test_a_path_cannot_become_shell_text() -> None:
    (write,) = parse({"tool": "write", "path": '"; rm -rf / #', "content": ""})
    assert write.argv[2] == 'cat > "$1"'
    assert write.argv[4] == '/w/"; rm -rf / #'


BAD = (
    ({"tool": "fetch"}, "calls[1].tool"),
    ({}, "calls[1].tool"),
    ("ls", "calls[1]"),
    ({"tool": "shell"}, "calls[1].command"),
    ({"tool": "shell", "command": ""}, "calls[1].command"),
    ({"tool": "shell", "command": 1}, "calls[1].command"),
    ({"tool": "shell", "command": "a\0b"}, "calls[1].command"),
    ({"tool": "shell", "command": "ls", "cwd": "/"}, "calls[1].cwd"),
    ({"tool": "exec", "argv": []}, "calls[1].argv"),
    ({"tool": "exec", "argv": "ls"}, "calls[1].argv"),
    ({"tool": "exec", "argv": ["ls", 1]}, "calls[1].argv"),
    ({"tool": "exec", "argv": [""]}, "calls[1].argv"),
    ({"tool": "exec", "argv": ["ls", "a\0"]}, "calls[1].argv"),
    ({"tool": "read", "path": None}, "calls[1].path"),
    ({"tool": "write", "path": "a"}, "calls[1].content"),
    ({"tool": "write", "path": "a", "content": 1}, "calls[1].content"),
    ({"tool": "shell", "command": "ls", "says": []}, "calls[1].says"),
)


@pytest.mark.parametrize(("call", "place"), BAD)
def test_a_mistake_is_named_by_its_place_and_nothing_is_played(call: object, place: str) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        parse({"tool": "shell", "command": "true"}, call)
    assert wrong.value.where == f"play.json: {place}"
    assert wrong.value.why


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"version":1,"calls":[]}',
        b'{"version":1,"calls":{}}',
        b'{"version":2,"calls":[{"tool":"shell","command":"ls"}]}',
        b'{"version":true,"calls":[{"tool":"shell","command":"ls"}]}',
        b'{"version":1,"calls":[{"tool":"shell","command":"ls"}],"x":1}',
        b'{"version":1,"version":1,"calls":[{"tool":"shell","command":"ls"}]}',
        b'{"version":1,"calls":[{"tool":"shell","command":"ls","command":"rm"}]}',
        b'{"version":1,"calls":[{"tool":"shell","command":"\xff"}]}',
    ],
)
def test_what_is_no_script_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        parse_script(data, where="play.json", workspace="/w")
    assert "play.json" in wrong.value.where


def test_a_syntax_error_says_where_it_is() -> None:
    with pytest.raises(ConfigurationError) as wrong:
        parse_script(b'{"version": 1,\n "calls": x}', where="play.json", workspace="/w")
    assert "line 2 column 11" in wrong.value.why


def test_a_scripted_session_has_no_hooks_that_anybody_could_speak_for() -> None:
    for event in HookEvent:
        request = HookRequest(harness="scripted", event=event, body=b"{}")
        with pytest.raises(MessageRefused):
            Scripted().parse(request)
        assert Scripted().format(request, Allowed(reason="x")).exit_code == 2
