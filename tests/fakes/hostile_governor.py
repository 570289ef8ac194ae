"""A governor for one hostile run: AGP's own adapter and ticket book behind the real bridge.

Grants exactly the calls whose input holds `GRANTME`; every other call is denied. A call that holds
`NOTICKET` is allowed by the deciding hook and has no ticket: what a redeemed, expired or withdrawn
one looks like to the grant hook.
"""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agp.contracts.base import CallId
from agp.contracts.gateway import HookEvent, HookReply, HookRequest
from agp.contracts.intendant import (
    Allowed,
    CallProposed,
    Denied,
    GrantAsked,
    HookMessage,
    Noted,
    Ruling,
    ToolCall,
)
from agp.errors import MessageRefused
from agp.governor.tickets import TicketBook, TicketKey, input_digest
from agp.intendants.claude_code.hooks import ClaudeCode

GRANT = b"GRANTME"
NO_TICKET = b"NOTICKET"


@dataclass(frozen=True, slots=True)
class Asked:
    """One question of a hook, and what was answered."""

    event: HookEvent
    tool: str
    body: bytes
    granted: bool


@dataclass(slots=True)
class Governor:
    """What was asked, what was granted, and the tickets that are open."""

    grants: Callable[[ToolCall], bool] = lambda call: GRANT in call.raw_input
    on_grant: Callable[[], None] = lambda: None
    """Called before each granted call is answered: an attack from outside, in the middle."""
    asked: list[Asked] = field(default_factory=list)
    tickets: TicketBook = field(default_factory=TicketBook)
    _adapter: ClaudeCode = field(default_factory=ClaudeCode)
    _known: set[tuple[str, bytes]] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def answer(self, request: HookRequest) -> HookReply:
        """Decide, redeem or note one hook call; what cannot be read is refused."""
        with self._lock:
            try:
                said = self._adapter.parse(request)
                ruling = self._rule(said)
            except MessageRefused as error:
                said, ruling = None, Denied(reason=str(error))
            if said is not None and not isinstance(said, CallProposed | GrantAsked):
                ruling = Noted()
            granted = isinstance(ruling, Allowed)
            self.asked.append(Asked(request.event, _tool(said), request.body, granted))
            return self._adapter.format(request, ruling)

    def of(self, event: HookEvent) -> list[Asked]:
        """Give the questions of one event, in order of arrival."""
        return [asked for asked in self.asked if asked.event is event]

    def _rule(self, said: HookMessage) -> Ruling:
        match said:
            case CallProposed():
                return self._decide(said.call)
            case GrantAsked():
                key = self._key(said.agent_id, said.cwd, said.tool, said.raw_input)
                found = self.tickets.redeem(key, monotonic=time.monotonic())
                return Allowed(reason="a ticket") if found else Denied(reason="no ticket")
            case _:
                return Noted()

    def _decide(self, call: ToolCall) -> Ruling:
        if NO_TICKET in call.raw_input:
            return Allowed(reason="allowed, and its ticket is gone")
        if not self.grants(call):
            return Denied(reason="not granted")
        self.on_grant()
        key = self._key(call.agent_id, call.cwd, call.tool, call.raw_input)
        once = (call.tool_use_id, key.input_digest.encode())
        if once not in self._known:  # the harness asks twice where it normalises an input
            self._known.add(once)
            self.tickets.deposit(
                key, CallId(f"c-{len(self._known):016x}"), monotonic=time.monotonic()
            )
        return Allowed(reason="granted")

    def _key(self, agent: str | None, cwd: str, tool: str, raw: bytes) -> TicketKey:
        canonical = self._adapter.canonical_input(tool, raw, cwd)
        return TicketKey(agent, cwd, tool, input_digest(canonical))


def _tool(said: HookMessage | None) -> str:
    match said:
        case CallProposed():
            return said.call.tool
        case GrantAsked():
            return said.tool
        case _:
            return ""


@contextmanager
def govern(governor: Governor, path: Path) -> Iterator[Governor]:
    """Answer the bridge's frames on a socket that the view's user can reach, until the end."""

    class Handler(socketserver.StreamRequestHandler):
        timeout = 30

        def handle(self) -> None:
            try:
                self._answer()
            except (BrokenPipeError, ConnectionResetError):
                """The hook was killed, which is what some attacks do."""

        def _answer(self) -> None:
            parts = self.rfile.readline().split()
            if len(parts) != 4 or parts[0] != b"AGP1":
                return
            body = self.rfile.read(int(parts[3]))
            event = HookEvent(parts[2].decode())
            reply = governor.answer(HookRequest(harness=parts[1].decode(), event=event, body=body))
            head = f"AGP1 {reply.exit_code} {len(reply.stdout)} {len(reply.stderr)}\n".encode()
            self.wfile.write(head + reply.stdout + reply.stderr)

    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        request_queue_size = 64

    with Server(str(path), Handler) as server:
        path.chmod(0o666)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield governor
        finally:
            server.shutdown()
            thread.join()
