"""Real Codex 0.169.0 under AGP's contracts: what ADR 0008 says, kept true by the binary itself.

`SpikeCodex` is a throw-away adapter: it exists to prove that the frame, the ticket preimage and the
intendant's words carry Codex before they freeze. The real intendant replaces it.
"""

from __future__ import annotations

import asyncio
import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agp.contracts.base import CallId
from agp.contracts.gateway import MAX_BODY, HookEvent, HookReply, HookRequest
from agp.contracts.intendant import (
    Allowed,
    CallProposed,
    Denied,
    GrantAsked,
    HookMessage,
    LaunchPlan,
    Noted,
    OutcomeReported,
    Ruling,
    SessionClosed,
    SessionOpened,
    StreamItem,
    ToolCall,
)
from agp.contracts.policy import (
    Action,
    HarnessAction,
    McpAction,
    ReadAction,
    ShellAction,
    SpawnAction,
    UnknownAction,
)
from agp.contracts.strict_json import Member, canonical_json, parse_json, parse_object
from agp.errors import AgpError, MessageRefused
from agp.governor.decide import effective_input
from agp.governor.tickets import TicketBook, TicketKey, input_digest
from tests.fakes.responses_server import CustomCall, FunctionCall, ResponsesServer, Say, Script

REPO = Path(__file__).resolve().parents[2]
CODEX = REPO / ".harness/node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl"
BRIDGE = REPO / "hooks/agp-bridge"
VECTORS = REPO / "tests/vectors/codex"
LONGEST_RUN_S = 90.0


INTERCEPTED = re.compile(r"\s*(cd\s.*&&\s*)?apply_?patch\b", re.DOTALL)
"""Shell spellings that Codex takes out of the shell and applies itself (a superset)."""
FILE_LINE = re.compile(
    r"^(\*\*\* (?:Add File|Delete File|Update File|Move to): )(.+)$", re.MULTILINE
)
NOT_ASKED = frozenset({"view_image", "spawn_agent", "collaborationspawn_agent"})
"""Codex never asks a second time for these: the answer to PreToolUse is all there is."""


def _text(members: dict[str, Member], key: str) -> str:
    member = members.get(key)
    if member is None or not isinstance(member.value, str):
        raise MessageRefused(f"the hook's {key!r} is no text")
    return member.value


def _optional_text(members: dict[str, Member], key: str) -> str | None:
    return _text(members, key) if key in members else None


def _argument(raw_input: bytes, key: str) -> str:
    return _text(parse_object(raw_input), key)


def _shell_action(command: str) -> Action:
    if INTERCEPTED.match(command):
        return UnknownAction(tool="Bash", why="a patch in shell spelling: use apply_patch")
    return ShellAction(command=command)


def _action(tool: str, raw_input: bytes) -> Action:
    if tool == "Bash":
        return _shell_action(_argument(raw_input, "command"))
    if tool == "view_image":
        return ReadAction(path=_argument(raw_input, "path"))
    if tool.startswith("mcp__") and tool.count("__") >= 2:
        _, server, name = tool.split("__", 2)
        arguments = canonical_json(parse_json(raw_input)).decode()
        return McpAction(server=server, tool=name, arguments_json=arguments)
    if tool in {"spawn_agent", "collaborationspawn_agent"}:
        return SpawnAction(agent_type=_optional_text(parse_object(raw_input), "agent_type") or "")
    if tool in {"multi_agent_v1wait_agent", "multi_agent_v1close_agent"}:
        return HarnessAction(tool=tool)
    return UnknownAction(tool=tool, why="today's actions name one file, a patch touches several")


class SpikeCodex:
    """Parses what Codex 0.169.0 says and writes what it must hear; implements `Intendant`."""

    name = "codex"

    def parse(self, request: HookRequest) -> HookMessage:
        members = parse_object(request.body)
        if _text(members, "hook_event_name") != request.event.value:
            raise MessageRefused("the frame and the body name different events")
        session = _text(members, "session_id")
        match request.event:
            case HookEvent.PRE_TOOL_USE:
                return CallProposed(call=self._call(session, members))
            case HookEvent.PERMISSION_REQUEST:
                return GrantAsked(
                    harness_session=session,
                    agent_id=_optional_text(members, "agent_id"),
                    cwd=_text(members, "cwd"),
                    tool=_text(members, "tool_name"),
                    raw_input=members["tool_input"].raw,
                )
            case HookEvent.POST_TOOL_USE:
                return OutcomeReported(
                    harness_session=session,
                    tool_use_id=_text(members, "tool_use_id"),
                    tool=_text(members, "tool_name"),
                    ok=None,  # Codex does not say
                    output=members["tool_response"].raw,
                )
            case HookEvent.SESSION_START:
                return SessionOpened(harness_session=session, source=_text(members, "source"))
            case HookEvent.SESSION_END:
                return SessionClosed(harness_session=session, reason=_text(members, "reason"))
            case _:
                raise MessageRefused(f"Codex has no event {request.event.value!r}")

    def _call(self, session: str, members: dict[str, Member]) -> ToolCall:
        tool, raw_input = _text(members, "tool_name"), members["tool_input"].raw
        cwd = _text(members, "cwd")
        return ToolCall(
            harness_session=session,
            tool_use_id=_text(members, "tool_use_id"),
            agent_id=_optional_text(members, "agent_id"),
            cwd=cwd,
            tool=tool,
            raw_input=raw_input,
            # As Codex will ask for it, and with absolute paths (see the attack test).
            effective_input=_absolute_patch(raw_input, cwd) if tool == "apply_patch" else None,
            granted_by="answer" if tool in NOT_ASKED else "ticket",
            action=_action(tool, raw_input),
        )

    def canonical_input(self, tool: str, raw_input: bytes, cwd: str) -> bytes:
        """Never resolve against `cwd`: an intercepted patch is applied in another directory."""
        del tool, cwd
        return canonical_json(parse_json(raw_input))

    def hand_over(self, call: ToolCall, call_id: CallId) -> None:
        """Nothing is handed over yet."""

    def format(self, request: HookRequest, ruling: Ruling) -> HookReply:
        """Refuse by exit 2 and a reason: no JSON of ours can then be misread as an opinion."""
        decides = request.event in {HookEvent.PRE_TOOL_USE, HookEvent.PERMISSION_REQUEST}
        if isinstance(ruling, Denied) or (decides and isinstance(ruling, Noted)):
            reason = ruling.reason if isinstance(ruling, Denied) else ""
            return HookReply(exit_code=2, stderr=(reason.strip() or "refused by AGP").encode())
        if isinstance(ruling, Noted):
            return HookReply(exit_code=0)
        if request.event is HookEvent.PERMISSION_REQUEST:
            return _json_reply("PermissionRequest", {"decision": {"behavior": "allow"}})
        if ruling.updated_input_json is None:
            return HookReply(exit_code=0)  # a bare "allow" is an error to Codex
        edit = {
            "permissionDecision": "allow",
            "updatedInput": json.loads(ruling.updated_input_json),
        }
        return _json_reply("PreToolUse", edit)


def _absolute_patch(raw_input: bytes, cwd: str) -> bytes:
    text = "\n".join(_argument(raw_input, "command").strip().splitlines())
    absolute = FILE_LINE.sub(lambda m: m[1] + posixpath.join(cwd, m[2].strip()), text)
    return json.dumps({"command": absolute}).encode()


def _json_reply(event: str, said: dict[str, object]) -> HookReply:
    body = {"hookSpecificOutput": {"hookEventName": event, **said}}
    return HookReply(exit_code=0, stdout=json.dumps(body).encode())


def _key(codex: SpikeCodex, said: ToolCall | GrantAsked) -> TicketKey:
    raw = effective_input(said) if isinstance(said, ToolCall) else said.raw_input
    digest = input_digest(codex.canonical_input(said.tool, raw, said.cwd))
    return TicketKey(said.agent_id, said.cwd, said.tool, digest)


@dataclass
class Daemon:
    """Denies what holds DENIED; gives no ticket to UNGRANTED; one only to all that hold ONCE."""

    codex: SpikeCodex = field(default_factory=SpikeCodex)
    book: TicketBook = field(default_factory=TicketBook)
    heard: list[tuple[HookRequest, HookMessage]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\n")).decode().removesuffix("\n").split(" ")
            magic, harness, event, length = head
            assert magic == "AGP1"
            assert int(length) <= MAX_BODY
            body = await reader.readexactly(int(length))
            request = HookRequest(harness=harness, event=HookEvent(event), body=body)
            reply = self.codex.format(request, self._rule(request))
            sizes = f"AGP1 {reply.exit_code} {len(reply.stdout)} {len(reply.stderr)}\n"
            writer.write(sizes.encode() + reply.stdout + reply.stderr)
            await writer.drain()
        except (AssertionError, ValueError, OSError, AgpError) as error:
            self.errors.append(repr(error))
        finally:
            writer.close()

    def _rule(self, request: HookRequest) -> Ruling:
        message = self.codex.parse(request)
        self.heard.append((request, message))
        match message:
            case CallProposed(call=call):
                return self._decide(call)
            case GrantAsked():
                found = self.book.redeem(_key(self.codex, message), monotonic=1.0)
                return Allowed(reason="ticket") if found else Denied(reason="AGP: no ticket")
            case _:
                return Noted()

    def _decide(self, call: ToolCall) -> Ruling:
        if b"DENIED" in call.raw_input:
            return Denied(reason="AGP: denied by rule")
        if call.tool == "Bash" and isinstance(call.action, UnknownAction):
            return Denied(reason=f"AGP: {call.action.why}")
        key = _key(self.codex, call)
        spent = sum(b"ONCE" in one.call.raw_input for one in self.proposed()) > 1 and (
            b"ONCE" in call.raw_input
        )
        if call.granted_by == "ticket" and b"UNGRANTED" not in call.raw_input and not spent:
            self.book.deposit(key, CallId(call.tool_use_id), monotonic=0.0)
        edited = None if call.effective_input is None else call.effective_input.decode()
        return Allowed(reason="rule", updated_input_json=edited)

    def proposed(self) -> list[CallProposed]:
        return [message for _, message in self.heard if isinstance(message, CallProposed)]

    def asked(self, text: str) -> list[GrantAsked]:
        return [
            message
            for _, message in self.heard
            if isinstance(message, GrantAsked) and text.encode() in message.raw_input
        ]

    def said(self, tool_use_id: str) -> list[HookMessage]:
        return [
            message
            for _, message in self.heard
            if (isinstance(message, CallProposed) and message.call.tool_use_id == tool_use_id)
            or (isinstance(message, OutcomeReported) and message.tool_use_id == tool_use_id)
        ]


FORWARD = b"""
import os, socket, sys, threading
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
if os.fork():
    os._exit(0)
def pump(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass
while True:
    client, _ = listener.accept()
    model = socket.socket(socket.AF_UNIX)
    model.connect(sys.argv[2])
    for pair in ((client, model), (model, client)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""
"""A stand-in for AGP's relay: the view has no network, the model is behind a Unix socket."""
FAULTY = b"""
import os, re, signal, subprocess, sys, time
event, body = sys.argv[1], sys.stdin.buffer.read()
found = re.search(rb"FAULT:" + event.encode() + rb":([a-z0-9]+)", body)
how = found[1].decode() if found else ""
if how == "silence": os._exit(0)
if how == "exit1": os._exit(1)
if how == "exit2mute": os._exit(2)
if how == "exit2": os.write(2, b"agp-bridge: no daemon"); os._exit(2)
if how == "garbage": os.write(1, b"level=info msg=ok {}"); os._exit(0)
if how == "sigkill": os.kill(os.getpid(), signal.SIGKILL)
if how == "hang": time.sleep(30)
done = subprocess.run(sys.argv[2:], input=body, capture_output=True)
os.write(1, done.stdout); os.write(2, done.stderr); os._exit(done.returncode)
"""
CONFIG = b"""model_provider = "agp"
[model_providers.agp]
name = "agp"
base_url = "http://127.0.0.1:8080/v1"
wire_api = "responses"
request_max_retries = 0
stream_max_retries = 0
[analytics]
enabled = false
"""
"""Without `analytics.enabled = false` every run without a network ends 5 s late."""
EVENTS = ("PreToolUse", "PermissionRequest", "PostToolUse", "SessionStart", "SessionEnd")


@dataclass(frozen=True)
class Setup:
    """What differs from run to run."""

    model: str = "gpt-5.5"
    timeout_s: int = 60
    faulty: bool = False
    """Every hook goes through `FAULTY`."""
    codex: SpikeCodex = field(default_factory=SpikeCodex)


def requirements(setup: Setup) -> bytes:
    """Write the managed requirements; hooks have no exec form, `exec` leaves no shell behind."""
    text = """allowed_approval_policies = ["untrusted"]
allow_managed_hooks_only = true
allowed_web_search_modes = ["disabled"]
allow_login_shell = false
[features]
hooks = true
unified_exec_tty = false
goals = false
apps = false
plugins = false
"""
    for event in EVENTS:
        bridge = ["/usr/bin/python3", "-I", "-S", "/opt/agp/agp-bridge", "codex", event]
        argv = [*bridge, "/run/agp/ask.sock", "1", "2" if event == "SessionEnd" else "20"]
        if setup.faulty:
            argv = ["/usr/bin/python3", "-I", "-S", "/opt/agp/faulty", event, *argv]
        seconds = 3 if event == "SessionEnd" else setup.timeout_s
        text += f"[[hooks.{event}]]\n[[hooks.{event}.hooks]]\n"
        text += f'type = "command"\ncommand = "exec {shlex.join(argv)}"\ntimeout = {seconds}\n'
    return text.encode()


def plan(workspace: Path, setup: Setup) -> LaunchPlan:
    """Say in the contract's words everything that starts one governed Codex."""
    codex = [
        *("/opt/codex/bin/codex", "exec", "--json", "--skip-git-repo-check", "-m", setup.model),
        *("-s", "danger-full-access", "-C", str(workspace), "MAIN"),
    ]
    start = "/usr/bin/python3 -I -S /opt/agp/forward 8080 /run/agp/model.sock && exec " + (
        shlex.join(codex)
    )
    return LaunchPlan(
        intendant="codex",
        version="0.169.0",
        argv=("/bin/sh", "-c", start),
        environment=(
            ("HOME", "/home/agent"),
            ("CODEX_HOME", "/home/agent/.codex"),
            ("PATH", "/usr/bin:/bin"),
            ("LANG", "C.UTF-8"),
        ),
        files=(
            ("/etc/codex/requirements.toml", requirements(setup)),
            ("/etc/codex/config.toml", CONFIG),
            ("/opt/agp/agp-bridge", BRIDGE.read_bytes()),
            ("/opt/agp/forward", FORWARD),
            ("/opt/agp/faulty", FAULTY),
        ),
        harness_files=((str(CODEX), "/opt/codex"),),
        settings_digest="0" * 64,
    )


def view(base: Path, workspace: Path, launch: LaunchPlan) -> list[str]:
    """Build the confined command line: empty root, no network, only what the plan names."""
    argv = ["bwrap", "--unshare-all", "--unshare-user", "--cap-drop", "ALL", "--die-with-parent"]
    argv += ["--new-session", "--clearenv", "--tmpfs", "/", "--ro-bind", "/usr", "/usr"]
    for link in ("bin", "sbin", "lib", "lib64"):
        argv += ["--symlink", f"usr/{link}", f"/{link}"]
    argv += ["--ro-bind", "/etc/passwd", "/etc/passwd", "--proc", "/proc", "--dev", "/dev"]
    argv += ["--tmpfs", "/tmp", "--bind", str(base / "home"), "/home/agent"]
    argv += ["--bind", str(workspace), str(workspace), "--ro-bind", str(base / "ask"), "/run/agp"]
    for number, (inside, content) in enumerate(launch.files):
        outside = base / f"file-{number}"
        outside.write_bytes(content)
        argv += ["--ro-bind", str(outside), inside]
    for outside_path, inside in launch.harness_files:
        argv += ["--ro-bind", outside_path, inside]
    for name, value in launch.environment:
        argv += ["--setenv", name, value]
    return [*argv, "--chdir", str(workspace), *launch.argv]


@dataclass
class Run:
    """What one run left behind."""

    exit_code: int
    stream: list[dict[str, object]]
    errors: str
    daemon: Daemon
    server: ResponsesServer
    workspace: Path
    rollout: list[dict[str, object]]

    def path(self, name: str) -> Path:
        return self.workspace / name


async def _govern(base: Path, script: Script, launch: LaunchPlan, codex: SpikeCodex) -> Run:
    workspace = base / "ws"
    daemon = Daemon(codex)
    gate = await asyncio.start_unix_server(daemon.serve, str(base / "ask/ask.sock"))
    async with gate, ResponsesServer(script, unix_path=base / "ask/model.sock") as server:
        process = await asyncio.create_subprocess_exec(
            *view(base, workspace, launch),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={},
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), LONGEST_RUN_S)
        finally:
            if process.returncode is None:
                process.kill()
    rollout = [
        json.loads(line)
        for path in sorted((base / "home/.codex/sessions").rglob("rollout-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    stream = [json.loads(line) for line in out.splitlines()]
    code = process.returncode
    assert code is not None
    return Run(code, stream, err.decode(), daemon, server, workspace, rollout)


def govern(base: Path, script: Script, setup: Setup | None = None) -> Run:
    setup = setup or Setup()
    for name in ("ws/sub", "home/.codex", "ask"):
        (base / name).mkdir(parents=True)
    (base / "ws/sub/x.txt").write_text("old\n")
    run = asyncio.run(_govern(base, script, plan(base / "ws", setup), setup.codex))
    assert run.daemon.errors == []
    run.server.check()
    assert run.exit_code == 0, run.errors
    return run


def shell(call_id: str, command: str, **more: object) -> FunctionCall:
    return FunctionCall(call_id, "exec_command", {"cmd": command, **more})


def patch(*hunks: str) -> str:
    return "\n".join(("*** Begin Patch", *hunks, "*** End Patch"))


def heredoc(text: str) -> str:
    return f"apply_patch <<'EOF'\n{text}\nEOF"


def running(call_id: str, chars: str) -> FunctionCall:
    def arguments(outputs: Mapping[str, str]) -> dict[str, object]:
        found = re.search(r"session ID (\d+)", outputs[call_id])
        assert found
        return {"session_id": int(found[1]), "chars": chars, "yield_time_ms": 5000}

    return FunctionCall(f"{call_id}-stdin{len(chars)}", "write_stdin", arguments)


def child(outputs: Mapping[str, str]) -> dict[str, object]:
    return {"targets": [json.loads(outputs["spawn"])["agent_id"]], "timeout_ms": 20_000}


MAIN: Script = {
    "CHILD": (
        (shell("kid", "echo kid > kid.txt"),),
        (CustomCall("kid-patch", "apply_patch", patch("*** Add File: kid2.txt", "+kid")),),
        (shell("kid-none", "echo UNGRANTED > kid-none.txt"),),
        (Say("done"),),
    ),
    "MAIN": (
        (shell("granted", "echo one > granted.txt"),),
        (shell("denied", "echo DENIED > denied.txt"),),
        (shell("ungranted", "echo UNGRANTED > ungranted.txt"),),
        (shell("workdir", "pwd > where.txt", workdir="sub/../sub/"),),
        (CustomCall("direct", "apply_patch", patch("*** Add File: direct.txt", "+d") + "\n"),),
        (shell("intercepted", heredoc(patch("*** Add File: intercepted.txt", "+i"))),),
        (
            shell("par1", "echo 1 > par1.txt"),
            shell("par2", "echo 2 > par2.txt"),
            shell("twin1", "echo twin >> twins.txt"),
            shell("twin2", "echo twin >> twins.txt"),
            shell("once1", "echo ONCE >> once.txt"),
            shell("once2", "echo ONCE >> once.txt"),
        ),
        (shell("long", "cat > stdin.txt; sleep 1; exit 4", yield_time_ms=250),),
        (running("long", "typed\n"),),
        (running("long", ""),),
        (shell("tty", "bash", tty=True),),
        (shell("login", "touch login.txt", login=True),),
        (FunctionCall("image", "view_image", {"path": "none.png"}),),
        (
            FunctionCall(
                "spawn",
                "spawn_agent",
                {"message": "CHILD", "agent_type": "default"},
                namespace="multi_agent_v1",
            ),
        ),
        (FunctionCall("wait", "wait_agent", child, namespace="multi_agent_v1"),),
        (Say("end"),),
    ),
}


@pytest.fixture(scope="module")
def main_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return govern(tmp_path_factory.mktemp("codex"), MAIN)


@dataclass(frozen=True)
class Vector:
    """One payload as the real binary wrote it (only the workspace's path was shortened)."""

    call: str
    event: HookEvent
    body: bytes
    message: dict[str, object]
    ticket: str | None

    def request(self) -> HookRequest:
        return HookRequest(harness="codex", event=self.event, body=self.body)


def _vectors() -> tuple[Vector, ...]:
    return tuple(
        Vector(
            one["call"],
            HookEvent(one["event"]),
            one["body"].encode(),
            one["message"],
            one["ticket"],
        )
        for one in json.loads((VECTORS / "hooks.json").read_text())
    )


def _asks(vector: Vector) -> ToolCall | GrantAsked:
    message = SpikeCodex().parse(vector.request())
    assert isinstance(message, CallProposed | GrantAsked)
    return message.call if isinstance(message, CallProposed) else message


@pytest.mark.parametrize("vector", _vectors(), ids=lambda v: f"{v.call}-{v.event.value}")
def test_every_real_payload_is_carried_by_the_contracts(vector: Vector) -> None:
    message = SpikeCodex().parse(vector.request())
    # Members that came later are optional: what was recorded must be read and mean the same.
    assert type(message).model_validate_json(json.dumps(vector.message)) == message
    assert vector.message.items() <= json.loads(message.model_dump_json()).items()
    if vector.ticket is not None:
        assert _key(SpikeCodex(), _asks(vector)).input_digest == vector.ticket


@pytest.mark.parametrize(
    ("call", "joins"),
    [
        ("granted", True),
        ("workdir", True),
        ("direct", True),
        ("kid", True),
        ("kid-patch", True),
        ("mcp-m1", True),
        ("mcp-m2", True),
        ("intercepted-workdir", False),
        ("intercepted-cd", False),
    ],
)
def test_the_two_hooks_of_one_call_join_in_one_ticket_key_or_are_refused(
    call: str, joins: bool
) -> None:
    pre, grant = (_asks(v) for v in _vectors() if v.call == call and "PostTool" not in v.event)
    assert (_key(SpikeCodex(), pre) == _key(SpikeCodex(), grant)) is joins


def test_a_reply_that_refuses_always_has_a_reason_and_code_2() -> None:
    """Codex runs the call after exit 2 with an empty stderr."""
    for event in (HookEvent.PRE_TOOL_USE, HookEvent.PERMISSION_REQUEST):
        request = HookRequest(harness="codex", event=event, body=b"{}")
        for ruling in (Denied(reason=""), Denied(reason=" \n"), Noted()):
            reply = SpikeCodex().format(request, ruling)
            assert reply.exit_code == 2
            assert reply.stderr.strip()
            assert reply.stdout == b""


async def _post(port: int, body: object, *, line: str = "POST /v1/responses HTTP/1.1") -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    content = json.dumps(body).encode()
    writer.write(f"{line}\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
    writer.write_eof()
    answer = (await asyncio.wait_for(reader.read(), 5)).decode()
    writer.close()
    return answer


USER = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "MAIN"}]}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "fine"}


def test_the_server_plays_its_script_and_hands_out_what_came_back() -> None:
    async def play() -> None:
        script: Script = {"MAIN": ((shell("c1", "true"),), (Say("end"),))}
        async with ResponsesServer(script) as server:
            first = await _post(server.port, {"stream": True, "input": [USER]})
            assert "response.output_item.done" in first
            assert '"call_id": "c1"' in first
            with pytest.raises(AssertionError, match="1 of 2"):
                server.check()
            second = await _post(server.port, {"stream": True, "input": [USER, OUTPUT]})
            assert "end" in second
            assert server.outputs == {"c1": "fine"}
            server.check()

    asyncio.run(play())


@pytest.mark.parametrize(
    ("body", "line", "why"),
    [
        ({"stream": True, "input": [USER]}, "GET /v1/models HTTP/1.1", "unexpected request"),
        ({"stream": False, "input": [USER]}, None, "does not ask for a stream"),
        ({"stream": True, "input": []}, None, "holds a marker"),
        ({"stream": True}, None, "no Responses request"),
        ({"stream": True, "input": [USER, OUTPUT, OUTPUT]}, None, "2 outputs"),
        ({"stream": True, "input": [USER]}, None, "0 outputs"),
    ],
)
def test_the_server_refuses_what_its_script_does_not_expect(
    body: object, line: str | None, why: str
) -> None:
    async def play() -> None:
        async with ResponsesServer({"MAIN": ((shell("c1", "true"),), (Say("end"),))}) as server:
            await _post(server.port, {"stream": True, "input": [USER]})
            answer = await _post(server.port, body, line=line or "POST /v1/responses HTTP/1.1")
            assert answer.startswith("HTTP/1.1 400")
            assert why in server.refused[0]
            with pytest.raises(AssertionError, match="refused"):
                server.check()

    asyncio.run(play())


def test_the_server_refuses_a_turn_that_the_script_does_not_have() -> None:
    async def play() -> None:
        async with ResponsesServer({"MAIN": ((Say("end"),),)}) as server:
            await _post(server.port, {"stream": True, "input": [USER]})
            answer = await _post(server.port, {"stream": True, "input": [USER]})
            assert answer.startswith("HTTP/1.1 400")
            assert server.refused == ["the script has no further turn"]

    asyncio.run(play())


real = pytest.mark.real_harness


@real
def test_a_granted_command_runs_and_a_denied_or_ungranted_one_leaves_nothing(main_run: Run) -> None:
    assert main_run.path("granted.txt").read_text() == "one\n"
    assert not main_run.path("denied.txt").exists()
    assert not main_run.path("ungranted.txt").exists()
    assert "AGP: denied by rule" in main_run.server.outputs["denied"]
    assert "AGP: no ticket" in main_run.server.outputs["ungranted"]
    assert main_run.daemon.asked("denied.txt") == []
    assert len(main_run.daemon.asked("ungranted.txt")) == 1


@real
def test_both_hooks_name_one_resolved_working_directory_for_a_command(main_run: Run) -> None:
    inside = str(main_run.path("sub"))
    [proposed] = [p.call for p in main_run.daemon.proposed() if p.call.tool_use_id == "workdir"]
    [asked] = main_run.daemon.asked("where.txt")
    assert (proposed.cwd, asked.cwd) == (inside, inside)
    assert main_run.path("sub/where.txt").read_text() == inside + "\n"


@real
def test_a_patch_joins_only_as_the_adapter_rewrites_it(main_run: Run) -> None:
    """Codex trims the patch between its hooks; the ticket lies over the edited, absolute patch."""
    [proposed] = [p.call for p in main_run.daemon.proposed() if p.call.tool_use_id == "direct"]
    [asked] = main_run.daemon.asked("direct.txt")
    codex = main_run.daemon.codex
    assert codex.canonical_input(proposed.tool, proposed.raw_input, "/") != codex.canonical_input(
        asked.tool, asked.raw_input, "/"
    )
    assert _key(codex, proposed) == _key(codex, asked)
    assert str(main_run.path("direct.txt")) in asked.raw_input.decode()
    assert main_run.path("direct.txt").read_text() == "d\n"


@real
def test_a_patch_in_shell_spelling_is_told_to_use_the_tool(main_run: Run) -> None:
    assert not main_run.path("intercepted.txt").exists()
    assert "use apply_patch" in main_run.server.outputs["intercepted"]


@real
def test_parallel_twins_each_take_one_ticket_and_a_single_ticket_runs_one_twin(
    main_run: Run,
) -> None:
    assert main_run.path("par1.txt").read_text() == "1\n"
    assert main_run.path("par2.txt").read_text() == "2\n"
    assert main_run.path("twins.txt").read_text() == "twin\n" * 2
    assert main_run.path("once.txt").read_text() == "ONCE\n"
    assert len(main_run.daemon.asked("ONCE")) == 2


@real
def test_input_to_a_running_command_is_closed_and_polling_it_asks_nothing(main_run: Run) -> None:
    tools = {
        message.tool for _, message in main_run.daemon.heard if isinstance(message, GrantAsked)
    }
    assert "write_stdin" not in tools
    assert main_run.path("stdin.txt").read_text() == ""
    assert "stdin" in main_run.server.outputs["long-stdin6"]
    assert "exited with code 4" in main_run.server.outputs["long-stdin0"]
    assert "TTY execution is disabled" in main_run.server.outputs["tty"]
    assert "login shell is disabled" in main_run.server.outputs["login"]
    assert not main_run.path("login.txt").exists()


@real
def test_a_sub_agent_is_named_by_both_hooks_and_is_governed(main_run: Run) -> None:
    agent = json.loads(main_run.server.outputs["spawn"])["agent_id"]
    asked = main_run.daemon.asked("kid.txt") + main_run.daemon.asked("kid2.txt")
    assert [one.agent_id for one in asked] == [agent, agent]
    root = {one.call.harness_session for one in main_run.daemon.proposed()}
    assert root == {one.harness_session for one in asked}
    assert main_run.path("kid.txt").read_text() == main_run.path("kid2.txt").read_text() == "kid\n"
    assert not main_run.path("kid-none.txt").exists()


@real
def test_some_tools_are_answered_by_the_deciding_hook_alone(main_run: Run) -> None:
    asked = {
        message.tool for _, message in main_run.daemon.heard if isinstance(message, GrantAsked)
    }
    assert asked == {"Bash", "apply_patch"}
    proposed = {one.call.tool for one in main_run.daemon.proposed()}
    assert proposed - asked == {"view_image", "spawn_agent", "multi_agent_v1wait_agent"}


@real
def test_an_outcome_tells_neither_success_nor_exit_code(main_run: Run) -> None:
    [_, failed] = main_run.daemon.said("long")
    assert isinstance(failed, OutcomeReported)
    assert failed.output == b'""'


@real
def test_the_stream_has_no_call_ids_and_the_rollout_has_those_of_everything_that_ran(
    main_run: Run,
) -> None:
    ran = {"granted", "workdir", "direct", "par1", "par2", "twin1", "twin2", "long", "kid"}
    ids = {item.get("id") for item in _items(main_run.stream)}
    assert all(str(one).startswith("item_") for one in ids)
    seen = [item for entry in main_run.rollout for item in _rollout(entry)]
    assert all(one.type == "tool_result" for one in seen)
    results = {item.tool_use_id for item in seen}
    assert ran <= results
    assert results.isdisjoint({"denied", "ungranted", "intercepted", "kid-none", "tty", "login"})
    assert len(results & {"once1", "once2"}) == 1


def _items(stream: list[dict[str, object]]) -> list[dict[str, object]]:
    return [item for event in stream if isinstance(item := event.get("item"), dict)]


def _rollout(entry: dict[str, object]) -> tuple[StreamItem, ...]:
    """Read one line of a session's transcript: what really started has an item of its own."""
    payload = entry["payload"]
    if not isinstance(payload, dict) or payload.get("type") != "item_completed":
        return ()
    item = payload["item"]
    if item["type"] not in {"CommandExecution", "FileChange", "McpToolCall"}:
        return ()
    done = item.get("status") == "completed"
    return (StreamItem(type="tool_result", tool_use_id=item["id"], tool=item["type"], ok=done),)


@dataclass(frozen=True)
class Fault:
    """One way in which a hook process fails, and whether Codex went on to ask for the grant."""

    how: str
    pre_goes_on: bool


FAULTS = (
    Fault("exit2", pre_goes_on=False),
    Fault("exit2mute", pre_goes_on=True),
    Fault("exit1", pre_goes_on=True),
    Fault("silence", pre_goes_on=True),
    Fault("garbage", pre_goes_on=True),
    Fault("sigkill", pre_goes_on=True),
    Fault("hang", pre_goes_on=True),
)
FAULT_SCRIPT: Script = {
    "MAIN": (
        (shell("healthy", "touch healthy.txt"),),
        *(
            (
                shell(
                    f"{event}-{fault.how}", f"touch {event}-{fault.how} # FAULT:{event}:{fault.how}"
                ),
            )
            for event in ("PreToolUse", "PermissionRequest")
            for fault in FAULTS
        ),
        (shell("post-exit1", "echo shown # FAULT:PostToolUse:exit1"),),
        (shell("post-exit2", "echo hidden # FAULT:PostToolUse:exit2"),),
        (Say("end"),),
    )
}


@pytest.fixture(scope="module")
def fault_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return govern(tmp_path_factory.mktemp("codex"), FAULT_SCRIPT, Setup(timeout_s=3, faulty=True))


@real
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.how)
def test_no_failure_of_the_deciding_hook_runs_a_command(fault_run: Run, fault: Fault) -> None:
    """All but exit 2 with a reason fail open in Codex: the missing ticket is what refuses."""
    assert fault_run.path("healthy.txt").exists()
    name = f"PreToolUse-{fault.how}"
    assert not fault_run.path(name).exists()
    assert len(fault_run.daemon.asked(name + " ")) == int(fault.pre_goes_on)


@real
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.how)
def test_no_failure_of_the_grant_hook_runs_a_command(fault_run: Run, fault: Fault) -> None:
    """The ticket lies there and is not redeemed: every code without a valid allow is a refusal."""
    name = f"PermissionRequest-{fault.how}"
    assert not fault_run.path(name).exists()
    assert fault_run.daemon.asked(name + " ") == []
    said = fault_run.server.outputs[name]
    assert ("no daemon" if fault.how == "exit2" else "approval request failed") in said


@real
def test_a_failed_outcome_hook_with_code_2_hides_the_output_from_the_model(fault_run: Run) -> None:
    assert "shown" in fault_run.server.outputs["post-exit1"]
    assert fault_run.server.outputs["post-exit2"] == "agp-bridge: no daemon"


class NaiveCodex(SpikeCodex):
    """What an adapter would do that only follows the words of the ticket's definition."""

    def _call(self, session: str, members: dict[str, Member]) -> ToolCall:
        call = super()._call(session, members)
        return ToolCall.model_validate(call.model_dump() | {"effective_input": None})


class ResolvingCodex(NaiveCodex):
    """What an adapter would do that resolves both hooks' paths against the cwd that they name."""

    def canonical_input(self, tool: str, raw_input: bytes, cwd: str) -> bytes:
        raw = _absolute_patch(raw_input, cwd) if tool == "apply_patch" else raw_input
        return canonical_json(parse_json(raw))


UPDATE_X = patch("*** Update File: x.txt", "@@", "-old", "+new")
ELSEWHERE: Script = {
    "MAIN": (
        (CustomCall("stale", "apply_patch", UPDATE_X),),
        (shell("FAULT:PreToolUse:sigkill", heredoc(UPDATE_X), workdir="sub"),),
        (Say("end"),),
    )
}


@real
@pytest.mark.parametrize(
    ("codex", "after"),
    [(NaiveCodex(), "new\n"), (ResolvingCodex(), "new\n"), (SpikeCodex(), "old\n")],
    ids=["naive", "resolving", "edited"],
)
def test_a_patch_granted_for_one_directory_is_not_redeemed_in_another(
    tmp_path: Path, codex: SpikeCodex, after: str
) -> None:
    """Attack: an allowed patch that never applied leaves a ticket; the same text, in the shell
    spelling with another workdir and its deciding hook killed, asks with the same words. The
    other two adapters are the positive control; absolute paths in the ticket close it.
    """
    run = govern(tmp_path, ELSEWHERE, Setup(faulty=True, codex=codex))
    [asked] = run.daemon.asked("x.txt")
    assert (asked.tool, asked.cwd) == ("apply_patch", str(run.workspace))
    assert run.path("sub/x.txt").read_text() == after


JAVASCRIPT = """
const run = (cmd) => tools.exec_command({cmd}).catch(() => "refused");
await Promise.all([run("echo twin >> twins.txt"), run("echo twin >> twins.txt")]);
await run("echo DENIED > denied.txt");
await run("echo UNGRANTED > ungranted.txt");
text("done");
"""


@real
def test_calls_nested_in_code_mode_are_decided_and_granted_one_by_one(tmp_path: Path) -> None:
    script: Script = {"MAIN": ((CustomCall("js", "exec", JAVASCRIPT),), (Say("end"),))}
    run = govern(tmp_path, script, Setup(model="gpt-6-sol"))
    assert run.path("twins.txt").read_text() == "twin\n" * 2
    assert not run.path("denied.txt").exists()
    assert not run.path("ungranted.txt").exists()
    ids = [one.call.tool_use_id for one in run.daemon.proposed()]
    assert len(set(ids)) == len(ids) == 4
    assert all(one.startswith("exec-") for one in ids)
