"""The model server plays its script in the API's own form, and refuses what it does not know."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.model_server import (
    Call,
    ModelServer,
    ScriptError,
    Turn,
    call,
    format_events,
    parse_script,
    say,
    serve,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[2]


def ask(server: ModelServer, body: object, **more: Any) -> tuple[int, bytes]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request(
            more.get("method", "POST"),
            more.get("path", "/v1/messages?beta=true"),
            body=raw,
            headers=more.get("headers", {"x-api-key": "sk-ant-dummy"}),
        )
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def request(*messages: tuple[str, str], **more: object) -> dict[str, object]:
    spoken = [{"role": role, "content": text} for role, text in messages]
    return {
        "model": "m", "max_tokens": 10, "stream": True, "tools": [{"name": "Bash"}],
        "messages": spoken, **more,
    }  # fmt: skip


def assembled(stream: bytes | Iterable[bytes]) -> tuple[list[dict[str, Any]], str]:
    """Put a stream together as a client does: content blocks and stop reason."""
    whole = stream if isinstance(stream, bytes) else b"".join(stream)
    blocks: list[dict[str, Any]] = []
    stop = ""
    for event in whole.decode().strip().split("\n\n"):
        name, data = event.split("\n")
        said = json.loads(data.removeprefix("data: "))
        assert name == f"event: {said['type']}"
        if said["type"] == "content_block_start":
            assert said["index"] == len(blocks)
            blocks.append(said["content_block"] | {"whole": ""})
        elif said["type"] == "content_block_delta":
            delta = said["delta"]
            blocks[said["index"]]["whole"] += delta.get("text", delta.get("partial_json", ""))
        elif said["type"] == "message_delta":
            stop = said["delta"]["stop_reason"]
    return blocks, stop


def test_a_turn_streams_text_and_parallel_calls_in_many_small_pieces() -> None:
    long = "é" * 500
    turn = Turn("hello", (call("Bash", command=long), Call("Read", '{"a":1,"a":2}', "toolu_x")))
    events = list(format_events(turn, "m"))
    blocks, stop = assembled(events)
    assert len(events) > 20
    assert [block["type"] for block in blocks] == ["text", "tool_use", "tool_use"]
    assert blocks[0]["whole"] == "hello"
    assert json.loads(blocks[1]["whole"]) == {"command": long}
    assert (blocks[2]["id"], blocks[2]["whole"]) == ("toolu_x", '{"a":1,"a":2}')
    assert stop == "tool_use"
    assert events[0].startswith(b"event: message_start\n")
    assert events[-1].startswith(b"event: message_stop\n")


def test_the_turn_follows_from_the_request_alone_so_that_a_retry_changes_nothing() -> None:
    with serve(say("one", "two")) as server:
        first = request(("user", "go"))
        second = request(("user", "go"), ("assistant", "one"), ("user", "more"))
        third = request(("user", "go"), *[("assistant", "x"), ("user", "y")] * 5)
        for body, text in ((first, "one"), (first, "one"), (second, "two"), (third, "done")):
            status, answer = ask(server, body)
            blocks, stop = assembled(answer)
            assert (status, blocks[0]["whole"], stop) == (200, text, "end_turn")
        assert len(server.turns_asked) == 4


def test_a_sub_agent_is_recognised_by_its_prompt_and_not_by_what_the_model_said() -> None:
    with serve(say("sub", match="SUBTASK"), say("main", "later")) as server:
        _, sub = ask(server, request(("user", "please SUBTASK now")))
        _, main = ask(server, request(("user", "go"), ("assistant", "SUBTASK"), ("user", "x")))
        assert assembled(sub)[0][0]["whole"] == "sub"
        assert assembled(main)[0][0]["whole"] == "later"


def test_a_request_without_tools_is_a_side_request() -> None:
    with serve(say("main")) as server:
        _, answer = ask(server, request(("user", "a title?"), tools=[]))
        assert assembled(answer)[0][0]["whole"] == "side answer"
        assert server.turns_asked == []


def test_without_streaming_the_message_comes_whole() -> None:
    with serve(say(call("Bash", command="ls"))) as server:
        status, answer = ask(server, request(("user", "go"), stream=False))
    message = json.loads(answer)
    assert (status, message["stop_reason"]) == (200, "tool_use")
    assert message["content"][0]["input"] == {"command": "ls"}


@dataclass(frozen=True, slots=True)
class Refused:
    claim: str
    status: int
    body: object
    more: dict[str, object]


GOOD = request(("user", "go"))
REFUSED = (
    Refused("another path", 404, GOOD, {"path": "/v1/complete"}),
    Refused("the root", 404, GOOD, {"path": "/"}),
    Refused("a path below", 404, GOOD, {"path": "/v1/messages/count_tokens"}),
    Refused("another method", 405, b"", {"method": "GET"}),
    Refused("an unheard-of method", 405, b"", {"method": "BREW"}),
    Refused("a proxy request", 405, b"", {"method": "CONNECT", "path": "h:443"}),
    Refused("no key", 401, GOOD, {"headers": {}}),
    Refused("no JSON", 400, b"{", {}),
    Refused("a list", 400, [], {}),
    Refused("no messages", 400, GOOD | {"messages": []}, {}),
    Refused("messages of text", 400, GOOD | {"messages": ["x"]}, {}),
    Refused("no model", 400, GOOD | {"model": None}, {}),
    Refused("no conversation matches", 400, request(("user", "unknown")), {}),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.claim)
def test_what_is_not_the_messages_api_is_refused_and_recorded(case: Refused) -> None:
    with serve(say("x", match="go")) as server:
        status, _ = ask(server, case.body, **case.more)
        assert status == case.status
        assert [recorded.status for recorded in server.refused] == [case.status]
        assert server.turns_asked == []


def test_a_scripted_status_is_answered() -> None:
    with serve(say(Turn(status=529))) as server:
        status, answer = ask(server, GOOD)
    assert (status, json.loads(answer)["type"]) == (529, "error")


def test_it_listens_on_loopback_only_and_is_gone_afterwards() -> None:
    with serve(say("x")) as server:
        port = f"{server.port:04X}"
        listening = [
            line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(port)
        ]  # fmt: skip
        assert listening == [f"0100007F:{port}"]
    with pytest.raises(ConnectionRefusedError):
        ask(server, GOOD)


WRONG = (
    ("[]", "script"),
    ("{", "not JSON"),
    ('{"version":2,"conversations":[]}', "version"),
    ('{"version":1,"conversations":[]}', "no conversation"),
    ('{"version":1,"conversations":[{"match":""}]}', "conversations[0]: missing key 'turns'"),
    ('{"version":1,"conversations":[{"match":"","turns":[{"x":1}]}]}', "turns[0]: unknown key"),
    ('{"version":1,"conversations":[{"match":"","turns":[{"calls":[{"tool":"A"}]}]}]}',
     "calls[0]: exactly one"),
    ('{"version":1,"conversations":[{"match":"","turns":[{"text":1}]}]}', "turns[0]: text"),
)  # fmt: skip


@pytest.mark.parametrize(("text", "place"), WRONG)
def test_a_script_with_a_mistake_is_refused_with_its_place(text: str, place: str) -> None:
    with pytest.raises(ScriptError) as wrong:
        parse_script(text.encode())
    assert place in str(wrong.value)


def test_as_a_module_it_serves_a_file_logs_requests_and_stops_on_sigterm(tmp_path: Path) -> None:
    script, port, log = tmp_path / "s.json", tmp_path / "port", tmp_path / "log"
    turns = [{"calls": [{"tool": "Bash", "input": {"command": "ls"}, "id": "toolu_1"}]}]
    script.write_text(json.dumps({"version": 1, "conversations": [{"match": "", "turns": turns}]}))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.model_server", "--script", str(script),
         "--port-file", str(port), "--log", str(log)],
        cwd=ROOT, env={"PATH": os.defpath},
    )  # fmt: skip
    try:
        with subprocess.Popen(
            ["/bin/sh", "-c", f"until [ -s '{port}' ]; do sleep 0.02; done"]
        ) as wait:
            assert wait.wait(20) == 0
        server = ModelServer((), port=int(port.read_text()))
        _, answer = ask(server, GOOD)
        assert assembled(answer)[0][0]["id"] == "toolu_1"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    (line,) = log.read_text().splitlines()
    assert json.loads(line)["status"] == 200


def test_a_broken_script_file_ends_with_2_and_no_port(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-m", "tests.fakes.model_server", "--script", str(tmp_path / "s.json"),
         "--port-file", str(tmp_path / "port")],
        cwd=ROOT, capture_output=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert b"missing key" in done.stderr
    assert not (tmp_path / "port").exists()
