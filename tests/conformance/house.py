"""A governed house of real parts: journal, policy, surveyor, vault, loop, ask socket.

It is what the daemon composes, with a third intendant that the daemon does not have yet (Codex, by
the throw-away adapter of its spike), so that all three can be held against one policy.
"""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from agp.contracts.base import SessionId
from agp.contracts.channel import Answer
from agp.contracts.gateway import HookEvent, HookReply, HookRequest
from agp.contracts.intendant import Denied, Intendant, ToolCall
from agp.contracts.journal import Line, Payload
from agp.contracts.policy import Grade, Tier
from agp.contracts.sandbox import ExecRequest, ExecResult
from agp.daemon.survey import HostSurveyor
from agp.errors import MessageRefused
from agp.gateway.ask import AskListener, Exchange, Waiter
from agp.gateway.frame import format_request, parse_reply
from agp.gateway.limits import RefusedBecause
from agp.governor.decide import Decider, Timing
from agp.governor.desk import ApprovalDesk
from agp.governor.loop import Governor, Mediated
from agp.governor.session import GovernedSession
from agp.journal.calls import CallVault
from agp.journal.commit import GroupCommit
from agp.journal.line import read_payload
from agp.journal.reader import read_events
from agp.journal.verify import Integrity, verify_directory
from agp.policy.language import load_policy_file
from agp.policy.policyset import PolicySet
from agp.sandbox.local import LocalProvider
from tests.fakes.governed import FakeAnnouncer
from tests.fakes.journal_logs import SIGNER, SteppingClock, open_writer
from tests.fakes.views import Stage

ROOT = Path(__file__).resolve().parents[2]
BRIDGE = ROOT / "hooks" / "agp-bridge"
SESSION = SessionId("s-0123456789ab")
HARNESS_SESSION = "00000000-0000-4000-8000-000000000001"
SEARCH_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
DEADLINE_S = 10.0


def shipped_policy() -> PolicySet:
    """Read the policy that a newcomer has: the shipped pack and the starter file."""
    tiers = (("default.yaml", Tier.DEFAULT), ("starter.yaml", Tier.USER))
    return PolicySet.build(
        load_policy_file((ROOT / "policies" / name).read_bytes(), name=name, tier=tier)
        for name, tier in tiers
    )


@dataclass
class House:
    """One session of one intendant, with everything real around it."""

    stage: Stage
    session: GovernedSession
    governor: Governor
    desk: ApprovalDesk
    journal: Path
    record: GroupCommit
    tasks: TaskGroup
    ask_path: Path
    announcer: FakeAnnouncer
    refused: list[RefusedBecause] = field(default_factory=list)

    @property
    def harness(self) -> str:
        return self.session.intendant.name

    @property
    def workspace(self) -> Path:
        return self.stage.workspace

    def lines(self) -> list[Line]:
        """Read what stands on the disk, line 0 left out."""
        return list(read_events(self.journal))[1:]

    def kinds(self) -> list[str]:
        return [line.kind for line in self.lines()]

    def payloads(self) -> list[Payload]:
        return [read_payload(line.kind, line.payload) for line in self.lines()]

    async def hook(self, event: HookEvent, **members: object) -> HookReply:
        """Say one hook on the real socket, as the harness writes it, and hear the answer."""
        body = {"session_id": HARNESS_SESSION, "cwd": str(self.workspace)} | members
        said = json.dumps(body | {"hook_event_name": event.value}).encode()
        request = HookRequest(harness=self.harness, event=event, body=said)
        data = b""
        async with await anyio.connect_unix(self.ask_path) as stream:
            await stream.send(format_request(request))
            async for chunk in stream:
                data += chunk
        return parse_reply(data)

    async def open_harness_session(self) -> None:
        await self.hook(HookEvent.SESSION_START, source="startup")

    async def propose(self, tool: str, tool_input: object, use: str = "toolu_1") -> HookReply:
        return await self.hook(
            HookEvent.PRE_TOOL_USE, tool_name=tool, tool_input=tool_input, tool_use_id=use
        )

    async def redeem(self, tool: str, tool_input: object) -> HookReply:
        return await self.hook(HookEvent.PERMISSION_REQUEST, tool_name=tool, tool_input=tool_input)

    async def report(self, tool: str, tool_input: object, use: str = "toolu_1") -> HookReply:
        return await self.hook(
            HookEvent.POST_TOOL_USE,
            tool_name=tool,
            tool_input=tool_input,
            tool_response={"stdout": "done"},
            tool_use_id=use,
        )

    async def mediate(self, call: ToolCall, argv: tuple[str, ...], stdin: bytes = b"") -> Mediated:
        """Have AGP decide and execute one call, in bubblewrap."""
        provider = LocalProvider(agp_home=str(self.stage.home))

        async def execute() -> ExecResult:
            assert argv, "a call without words of its own was executed"
            return await provider.execute(
                ExecRequest(
                    session_id=SESSION,
                    argv=argv,
                    cwd=str(self.workspace),
                    workspace=str(self.workspace),
                    stdin=stdin,
                )
            )

        return await self.governor.mediate(self.session, call, execute)

    async def answered(self, play: Callable[[], Awaitable[object]], verdict: str) -> None:
        """Run a play whose question a person answers."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(play)
            await self.until_asked()
            await self.say(verdict)

    async def until_asked(self, count: int = 1) -> None:
        while len(self.desk.pending()) < count:
            await anyio.lowlevel.checkpoint()

    async def say(self, verdict: str, *, approver: str = "uid:1000") -> None:
        request = self.desk.pending()[0].request
        await self.desk.answer(
            Answer(
                approval_id=request.approval_id,
                binding_digest=request.binding_digest,
                verdict="allow" if verdict == "allow" else "deny",
                approver=approver,
                channel="test",
                reason="" if verdict == "allow" else "not today",
            )
        )

    def verify(self) -> None:
        """Hold the journal against its public key, as a stranger would."""
        report = verify_directory(self.journal, SIGNER.public_key)
        assert report.integrity is Integrity.OK
        assert report.lines == len(self.lines()) + 1


@asynccontextmanager
async def house(
    stage: Stage, intendant: Intendant, policy: PolicySet | None = None
) -> AsyncIterator[House]:
    """Compose the house around one stage; at the end everything is closed."""
    rules = policy or shipped_policy()
    journal, calls = stage.home / "journal", stage.home / "calls"
    calls.mkdir(mode=0o700, parents=True)
    ask_path = stage.base / "ask.sock"
    writer = open_writer(journal)
    clock = SteppingClock()
    try:
        with anyio.fail_after(DEADLINE_S):
            async with anyio.create_task_group() as tasks:
                record = GroupCommit(writer, clock)
                await tasks.start(record.run)
                announcer = FakeAnnouncer()
                desk = ApprovalDesk(record, clock, announcer)
                decider = Decider(
                    record,
                    clock,
                    desk,
                    CallVault(calls),
                    HostSurveyor(stage.home, SEARCH_PATH),
                    lambda _: rules,
                    log_id=record.log_id,
                    timing=Timing(600, 5.0),
                )
                governor = Governor(record, clock, desk, decider, tasks, reattach_grace_s=5.0)
                session = GovernedSession(
                    SESSION, intendant, workspace=str(stage.workspace), grade=Grade.SHARED
                )
                made = House(
                    stage, session, governor, desk, journal, record, tasks, ask_path, announcer
                )
                listener = AskListener(
                    ask_path,
                    partial(_hear, made),
                    on_refused=made.refused.append,
                    allowed_uids=frozenset({os.geteuid()}),
                )
                await tasks.start(listener.serve)
                yield made
                tasks.cancel_scope.cancel()
    finally:
        writer.close()


async def _hear(made: House, request: HookRequest, _: Waiter) -> Exchange:
    """Answer one hook as the daemon's sessions do."""
    intendant = made.session.intendant
    try:
        message = intendant.parse(request)
    except MessageRefused as error:
        return Exchange(intendant.format(request, Denied(reason=str(error))))
    exchange = await made.governor.hear(made.session, message)
    return Exchange(intendant.format(request, exchange.ruling), exchange.undelivered)
