"""The stream is sorted into executed, refused, unknown; in doubt a call was executed."""

from __future__ import annotations

import json

import pytest

from agp.contracts.intendant import StreamItem
from agp.errors import MessageRefused
from agp.intendants.claude_code.stream import ClaudeStream, hooks_alive, reconcile


def read(*lines: dict[str, object]) -> list[StreamItem]:
    reader = ClaudeStream()
    return [item for line in lines for item in reader.read(json.dumps(line).encode())]


def use(name: str, tool: str = "Bash", **more: object) -> dict[str, object]:
    content = [{"type": "tool_use", "id": name, "name": tool, "input": {}}]
    return {"type": "assistant", "message": {"content": content}, **more}


def result(name: str, fact: dict[str, object] | None = None, **block: object) -> dict[str, object]:
    content = [{"type": "tool_result", "tool_use_id": name, "content": "x", **block}]
    meta = {"tool_result_meta": [{"id": name, **fact}]} if fact is not None else {}
    return {"type": "user", "message": {"content": content}, **meta}


ACCEPT: dict[str, object] = {"permission_decision": {"decision": "accept"}}
REJECT: dict[str, object] = {"permission_decision": {"decision": "reject"}}
KIND: dict[str, object] = {"non_execution_kind": "permission-rule"}
INVALID = {"content": "<tool_use_error>No such tool</tool_use_error>", "is_error": True}

REFUSED = (
    result("t", REJECT, is_error=True),
    result("t", KIND, is_error=True),
    result("t", REJECT | KIND),
    result("t", None, **INVALID),
    result("t", None, content=[{"type": "text", "text": "<tool_use_error>x"}], is_error=True),
    {"type": "system", "subtype": "permission_denied", "tool_use_id": "t", "tool_name": "Bash"},
)


@pytest.mark.parametrize("line", REFUSED)
def test_a_refusal_is_what_the_harness_itself_calls_one(line: dict[str, object]) -> None:
    said = reconcile(read(use("t"), line))
    assert (said.executed, said.refused, said.unknown) == ((), ("t",), ())


EXECUTED = (
    result("t", ACCEPT),
    result("t", ACCEPT, is_error=True),
    result("t", ACCEPT, **INVALID),
    result("t", None),
    result("t", None, is_error=True),
    result("t", None, content=INVALID["content"]),
    result("t", {}, **INVALID),
    result("t", {"permission_decision": "reject"}),
    result("t", {"non_execution_kind": None}),
)


@pytest.mark.parametrize("line", EXECUTED)
def test_anything_else_that_has_a_result_was_executed(line: dict[str, object]) -> None:
    said = reconcile(read(use("t"), line))
    assert said.executed == (("t", "Bash"),)
    assert said.refused == ()


@pytest.mark.parametrize("turned", [False, True])
def test_of_two_results_the_one_that_is_no_refusal_counts(turned: bool) -> None:
    lines = [result("t", REJECT), result("t", ACCEPT)]
    said = reconcile(read(use("t"), *(reversed(lines) if turned else lines)))
    assert said.executed == (("t", "Bash"),)


def test_a_call_without_a_result_is_unknown_and_a_result_without_a_call_is_executed() -> None:
    said = reconcile(read(use("a", "Write"), result("b", ACCEPT)))
    assert said.unknown == ("a",)
    assert said.executed == (("b", ""),)


def test_a_sub_agents_calls_count_like_any_other() -> None:
    said = reconcile(read(use("s", parent_tool_use_id="t", agent_id="a1"), result("s", ACCEPT)))
    assert said.executed == (("s", "Bash"),)


def test_an_empty_stream_shows_nothing() -> None:
    assert reconcile(()) == reconcile(read({"type": "system", "subtype": "init"}))


def hook(subtype: str, event: str = "SessionStart", **more: object) -> dict[str, object]:
    return {"type": "system", "subtype": subtype, "hook_event": event, **more}


GOOD = hook("hook_response", exit_code=0, outcome="success")


def test_hooks_are_alive_once_the_session_hook_started_and_answered() -> None:
    assert hooks_alive(read(hook("hook_started"), GOOD))


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (hook("hook_started"),),
        (GOOD,),
        (GOOD, hook("hook_started")),
        (hook("hook_started"), hook("hook_response", exit_code=1, outcome="error")),
        (hook("hook_started"), hook("hook_response", exit_code=0, outcome="cancelled")),
        (hook("hook_started"), hook("hook_response")),
        (hook("hook_started", "PreToolUse"), hook("hook_response", "PreToolUse", exit_code=0)),
    ],
)
def test_less_than_that_is_not_alive(lines: tuple[dict[str, object], ...]) -> None:
    assert not hooks_alive(read(*lines))


@pytest.mark.parametrize(
    ("line", "ok"),
    [
        ({"type": "result", "subtype": "success", "is_error": False, "result": "done"}, True),
        ({"type": "result", "subtype": "success", "is_error": True}, False),
        ({"type": "result", "subtype": "error_max_turns", "is_error": False}, False),
        ({"type": "result"}, False),
    ],
)
def test_a_run_is_well_only_if_it_says_so_twice(line: dict[str, object], ok: bool) -> None:
    (item,) = read(line)
    assert (item.type, item.ok) == ("result", ok)


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"1", b"\xff\xfe", b"[" * 100_000])
def test_garbage_is_refused(line: bytes) -> None:
    with pytest.raises(MessageRefused):
        ClaudeStream().read(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"type":"future"}',
        b'{"type":1}',
        b"{}",
        b'{"type":"user","message":"x"}',
        b'{"type":"assistant","message":{"content":"x"}}',
        b'{"type":"user","message":{"content":[1,null]},"tool_result_meta":{}}',
    ],
)
def test_what_is_not_known_is_no_item(line: bytes) -> None:
    assert ClaudeStream().read(line) == ()


def test_a_lone_surrogate_of_the_model_does_not_end_the_run() -> None:
    (item,) = read(
        {"type": "assistant", "message": {"content": [{"type": "text", "text": "\ud800"}]}}
    )
    assert item.text == "?"
