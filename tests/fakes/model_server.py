"""A local Messages API server that plays a script: what a model would say, turn by turn.

Loopback only, standard library only, strict: an unknown path, method or body is refused and
recorded, so that a harness that starts to talk to somewhere new fails a test instead of passing
unseen. It keeps no state between requests: the turn is the number of assistant messages that the
request already carries, so retries, sub-agents and resumed sessions need no bookkeeping.

Script (JSON, unknown keys refused)::

    {"version": 1, "conversations": [
      {"match": "SUBTASK", "turns": [{"text": "sub done"}]},
      {"match": "", "turns": [
        {"calls": [{"tool": "Bash", "input": {"command": "true"}}]},
        {"text": "done"}]}]}

A conversation is chosen by the first `match` that occurs in the text before the first assistant
message (a sub-agent's prompt). `input_json` in place of `input` sends those bytes as they are;
`id` fixes the tool_use id; `status` answers the turn with that HTTP status. Past the last turn the
answer is the text "done". A request without tools (a title, a summary) is answered "side answer".

    python -m tests.fakes.model_server --script FILE --port-file F [--log FILE]
"""

from __future__ import annotations

import argparse
import http.server
import json
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

MAX_REQUEST = 64 * 1024 * 1024
PIECE = 64
"""Characters of one text or JSON delta: small, so that a client must really reassemble."""


class ScriptError(ValueError):
    """The script file is not one."""


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call that the model asks for."""

    tool: str
    input_json: str
    id: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    status: int = 200


@dataclass(frozen=True, slots=True)
class Conversation:
    """The turns of one conversation, and the text by which it is recognised."""

    match: str
    turns: tuple[Turn, ...]


class Recorded(NamedTuple):
    """One request as it came, and how it was answered."""

    method: str
    target: str
    status: int
    headers: dict[str, str]
    body: Any
    """The parsed JSON, or None where there was none."""


def call(tool: str, /, **tool_input: Any) -> Call:
    """Write a call in a test: `call("Bash", command="true")`."""
    return Call(tool, json.dumps(tool_input))


def say(*turns: Turn | Call | str | tuple[Call, ...], match: str = "") -> Conversation:
    """Write a conversation in a test: a call, several parallel calls, or a text each turn."""
    return Conversation(match, tuple(_turn(turn) for turn in turns))


def _turn(turn: Turn | Call | str | tuple[Call, ...]) -> Turn:
    match turn:
        case Turn():
            return turn
        case Call():
            return Turn(calls=(turn,))
        case str():
            return Turn(text=turn)
        case _:
            return Turn(calls=turn)


def parse_script(data: bytes) -> tuple[Conversation, ...]:
    """Read a script file; a wrong key or type is an error that names its place."""
    try:
        script = json.loads(data)
    except ValueError as error:
        raise ScriptError(f"not JSON: {error}") from error
    _keys(script, "script", {"version", "conversations"}, {"version", "conversations"})
    if script["version"] != 1 or not isinstance(script["conversations"], list):
        raise ScriptError("script: version must be 1 and conversations a list")
    found = tuple(
        _conversation(item, f"conversations[{index}]")
        for index, item in enumerate(script["conversations"])
    )
    if not found:
        raise ScriptError("script: no conversation")
    return found


def _conversation(item: Any, place: str) -> Conversation:
    _keys(item, place, {"match", "turns"}, {"match", "turns"})
    if not isinstance(item["match"], str) or not isinstance(item["turns"], list):
        raise ScriptError(f"{place}: match must be a string and turns a list")
    turns = tuple(_read_turn(t, f"{place}.turns[{n}]") for n, t in enumerate(item["turns"]))
    return Conversation(item["match"], turns)


def _read_turn(item: Any, place: str) -> Turn:
    _keys(item, place, set(), {"text", "calls", "status"})
    calls = tuple(_read_call(c, f"{place}.calls[{n}]") for n, c in enumerate(item.get("calls", [])))
    text, status = item.get("text", ""), item.get("status", 200)
    if not isinstance(text, str) or not isinstance(status, int):
        raise ScriptError(f"{place}: text must be a string and status a number")
    return Turn(text, calls, status)


def _read_call(item: Any, place: str) -> Call:
    _keys(item, place, {"tool"}, {"tool", "input", "input_json", "id"})
    if ("input" in item) == ("input_json" in item):
        raise ScriptError(f"{place}: exactly one of input and input_json")
    text = item["input_json"] if "input_json" in item else json.dumps(item["input"])
    return Call(item["tool"], text, item.get("id", ""))


def _keys(item: Any, place: str, needed: set[str], known: set[str]) -> None:
    if not isinstance(item, dict):
        raise ScriptError(f"{place}: an object was expected")
    if unknown := sorted(set(item) - known):
        raise ScriptError(f"{place}: unknown key {unknown[0]!r}")
    if missing := sorted(needed - set(item)):
        raise ScriptError(f"{place}: missing key {missing[0]!r}")


@dataclass(slots=True)
class ModelServer:
    """A running server: its address, what it was asked, and its script."""

    conversations: tuple[Conversation, ...]
    log: Path | None = None
    port: int = 0
    requests: list[Recorded] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """What ANTHROPIC_BASE_URL must be."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def turns_asked(self) -> list[Recorded]:
        """The requests that were answered with a turn of the script."""
        return [r for r in self.requests if r.status == 200 and r.body and r.body.get("tools")]

    @property
    def refused(self) -> list[Recorded]:
        """The requests that were not understood: a test usually asserts that there is none."""
        return [r for r in self.requests if r.status in {400, 401, 404, 405}]

    def record(self, recorded: Recorded) -> None:
        """Keep one request; appended to the log as a line of JSON where one was named."""
        with self._lock:
            self.requests.append(recorded)
            if self.log is not None:
                with self.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(recorded._asdict()) + "\n")

    def answer(self, body: Any) -> Turn | str:
        """Choose the turn for one request body; a string says why there is none."""
        if why := _refusal(body):
            return why
        if not body.get("tools"):
            return Turn(text="side answer")
        opening = _opening(body["messages"])
        spoken = sum(message.get("role") == "assistant" for message in body["messages"])
        for conversation in self.conversations:
            if conversation.match in opening:
                turns = conversation.turns
                return turns[spoken] if spoken < len(turns) else Turn(text="done")
        return "no conversation of the script matches"


def _refusal(body: Any) -> str:
    if not isinstance(body, dict):
        return "the body is not a JSON object"
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if not isinstance(body.get(name), kind):
            return f"{name} is missing or of the wrong type"
    if not body["messages"] or not all(isinstance(m, dict) for m in body["messages"]):
        return "messages must be objects, at least one"
    return ""


def _opening(messages: list[dict[str, Any]]) -> str:
    """Join the text before the first assistant message."""
    parts: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            break
        content = message.get("content")
        blocks = [{"text": content}] if isinstance(content, str) else content or []
        parts.extend(str(block.get("text", "")) for block in blocks)
    return "\n".join(parts)


def format_events(turn: Turn, model: str) -> Iterator[bytes]:
    """Write one turn as server-sent events, in the order of the Messages API."""
    yield _event("message_start", message=_message(model, [], None))
    blocks = _blocks(turn)
    for index, block in enumerate(blocks):
        yield from _block_events(index, block)
    stop = "tool_use" if turn.calls else "end_turn"
    yield _event(
        "message_delta",
        delta={"stop_reason": stop, "stop_sequence": None},
        usage={"output_tokens": 10},
    )
    yield _event("message_stop")


def _block_events(index: int, block: dict[str, Any]) -> Iterator[bytes]:
    tool = block["type"] == "tool_use"
    whole = block["input"] if tool else block["text"]
    start = {**block, "input": {}} if tool else {**block, "text": ""}
    kind, member = ("input_json_delta", "partial_json") if tool else ("text_delta", "text")
    yield _event("content_block_start", index=index, content_block=start)
    for at in range(0, len(whole), PIECE):
        delta = {"type": kind, member: whole[at : at + PIECE]}
        yield _event("content_block_delta", index=index, delta=delta)
    yield _event("content_block_stop", index=index)


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = [{"type": "text", "text": turn.text}] if turn.text else []
    for item in turn.calls:
        name = item.id or f"toolu_{secrets.token_hex(12)}"
        blocks.append({"type": "tool_use", "id": name, "name": item.tool, "input": item.input_json})
    return blocks or [{"type": "text", "text": "done"}]


def _message(model: str, content: list[Any], stop: str | None) -> dict[str, Any]:
    return {
        "id": f"msg_{secrets.token_hex(12)}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 1},
    }


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    model_server: ModelServer

    def log_message(self, *_: object) -> None:
        """Say nothing: the record is `ModelServer.requests`."""

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        raw = self.rfile.read(min(length, MAX_REQUEST))
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        if urlsplit(self.path).path != "/v1/messages":
            return self._refuse(404, "not_found_error", "no such path", body)
        if not (self.headers.get("x-api-key") or self.headers.get("authorization")):
            return self._refuse(401, "authentication_error", "no key", body)
        turn = self.model_server.answer(body)
        if isinstance(turn, str):
            return self._refuse(400, "invalid_request_error", turn, body)
        if turn.status != 200:
            return self._refuse(turn.status, "api_error", turn.text or "scripted", body)
        self._note(200, body)
        return self._play(turn, body)

    def _play(self, turn: Turn, body: dict[str, Any]) -> None:
        if body.get("stream"):
            self._send(200, "text/event-stream", format_events(turn, body["model"]))
            return
        blocks = [
            {**b, "input": json.loads(b["input"])} if b["type"] == "tool_use" else b
            for b in _blocks(turn)
        ]
        stop = "tool_use" if turn.calls else "end_turn"
        whole = json.dumps(_message(body["model"], blocks, stop)).encode()
        self._send(200, "application/json", [whole])

    def _refuse(self, status: int, kind: str, why: str, body: Any = None) -> None:
        self._note(status, body)
        error = {"type": "error", "error": {"type": kind, "message": why}}
        self._send(status, "application/json", [json.dumps(error).encode()])

    def _other(self) -> None:
        self._refuse(405, "invalid_request_error", "only POST is understood")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._other
        raise AttributeError(name)

    def _note(self, status: int, body: Any) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.model_server.record(Recorded(self.command, self.path, status, headers, body))

    def _send(self, status: int, kind: str, parts: Any) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        if self.command == "HEAD":
            return
        try:
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            """The client hung up: it was killed, which is what some tests do."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False

    def handle_error(self, *_: object) -> None:
        """A client that hangs up mid-request is an ordinary event here."""


@contextmanager
def serve(*conversations: Conversation, log: Path | None = None) -> Iterator[ModelServer]:
    """Serve the conversations on a free loopback port until the block ends."""
    server = ModelServer(conversations, log)
    handler = type("Handler", (_Handler,), {"model_server": server})
    with _Server(("127.0.0.1", 0), handler) as listener:
        server.port = listener.server_address[1]
        thread = threading.Thread(target=listener.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listener.shutdown()
            thread.join()


def main(arguments: list[str]) -> int:
    """Serve a script file until SIGTERM; the port file is complete when it exists."""
    parser = argparse.ArgumentParser(prog="model_server")
    parser.add_argument("--script", type=Path, required=True)
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args(arguments)
    try:
        conversations = parse_script(options.script.read_bytes())
    except (OSError, ScriptError) as error:
        sys.stderr.write(f"model_server: {options.script}: {error}\n")
        return 2
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    with serve(*conversations, log=options.log) as server:
        whole = options.port_file.with_suffix(".part")
        whole.write_text(f"{server.port}\n")
        whole.rename(options.port_file)
        stop.wait()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
