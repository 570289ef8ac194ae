"""Fakes of the governor's ports that implement them whole, and makers of its values."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import anyio
from agp.policy.effects import needs

from agp.contracts.base import ApprovalId, CallId, Digest, RuleId, SessionId
from agp.contracts.channel import ApprovalRequest, FileHash
from agp.contracts.gateway import HookReply, HookRequest
from agp.contracts.intendant import HookMessage, Ruling, ToolCall
from agp.contracts.journal import Payload, Sealed
from agp.contracts.policy import (
    Action,
    Decision,
    Effect,
    EffectKind,
    EffectVerdict,
    ExecutableFacts,
    Grade,
    PathFacts,
    ShellAction,
    Tier,
    Verdict,
    World,
)
from agp.contracts.strict_json import canonical_json, parse_json
from agp.errors import JournalBroken, NotBuilt

ZERO = Digest("0" * 64)
SESSION = SessionId("s-0123456789ab")
WORKSPACE = "/w"


class FakeClock:
    """Time that moves only when a test moves it."""

    def __init__(self) -> None:
        self.at = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
        self.ticks = 1000.0

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.ticks

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
        self.ticks += seconds


class FakeRecord:
    """A journal in memory that can break, for good, as the real one does."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Payload]] = []
        self.broken = False
        self.hold: anyio.Event | None = None

    async def append(self, payload: Payload, *, actor: str) -> Sealed:
        if self.hold is not None:
            await self.hold.wait()
        await asyncio.sleep(0)
        if self.broken:
            raise JournalBroken("the journal is broken")
        self.events.append((actor, payload))
        return Sealed(seq=len(self.events), hash=ZERO, ts="2026-11-20T12:00:00.000000Z")

    @property
    def kinds(self) -> list[str]:
        return [payload.kind.value for _, payload in self.events]

    def last(self) -> Payload:
        return self.events[-1][1]


class FakeBodies:
    """Call bodies in memory."""

    def __init__(self) -> None:
        self.held: dict[CallId, tuple[bytes, bytes]] = {}

    def put(self, call_id: CallId, body: bytes, salt: bytes) -> None:
        self.held[call_id] = (body, salt)

    def drop_body(self, call_id: CallId) -> None:
        self.held.pop(call_id, None)


class FakeAnnouncer:
    """Remembers what people would have been shown."""

    def __init__(self) -> None:
        self.shown: list[ApprovalRequest] = []

    def announce(self, request: ApprovalRequest) -> None:
        self.shown.append(request)


class FakeSurveyor:
    """A machine on which everything below /w is the workspace, and files can change."""

    def __init__(self) -> None:
        self.hashes: tuple[FileHash, ...] = ()

    def survey(
        self,
        action: Action,
        *,
        workspace: str,
        cwd: str,
        session_id: str,
        agent_id: str | None,
        intendant: str,
    ) -> World:
        needed = needs(action)
        return World(
            workspace=workspace,
            cwd=cwd,
            session_id=session_id,
            agent_id=agent_id,
            intendant=intendant,
            paths=tuple(_path(raw) for raw in needed.paths),
            executables=tuple(
                ExecutableFacts(word=word, resolved=f"/usr/bin/{word}", agent_writable=False)
                for word in needed.words
            ),
        )

    def hash_files(self, effects: Iterable[Effect], *, workspace: str) -> tuple[FileHash, ...]:
        return self.hashes


def _path(raw: str) -> PathFacts:
    resolved = raw if raw.startswith("/") else f"{WORKSPACE}/{raw}"
    inside = resolved.startswith(WORKSPACE + "/")
    return PathFacts(
        raw=raw,
        resolved=resolved,
        in_workspace=inside,
        in_agp=False,
        executing_place=False,
        agent_writable=inside,
        secret=False,
    )


class FakeRules:
    """Rules that answer by a word in the command: `deny`, `ask`, else allow."""

    def __init__(self) -> None:
        self.digest = ZERO
        self.override: Decision | None = None
        self.approvers: frozenset[str] | None = None
        self.quorum = 1
        self.rule_id = RuleId("fake-rule")

    def decide(self, effects: tuple[Effect, ...], *, grade: Grade, world: World) -> Verdict:
        text = " ".join(f"{e.subject} {' '.join(e.argv)}" for e in effects)
        decision = self.override or (
            Decision.DENY
            if "deny" in text
            else Decision.REQUIRE
            if "ask" in text
            else Decision.ALLOW
        )
        asks = decision is Decision.REQUIRE
        return Verdict(
            decision=decision,
            rule_id=self.rule_id,
            tier=Tier.USER,
            reason="because the fake says so.",
            approvers=self.approvers if asks else None,
            quorum=self.quorum if asks else 1,
            policy_digest=self.digest,
            grade=grade,
            effects=tuple(
                EffectVerdict(
                    effect=effect,
                    decision=decision,
                    rule_id=self.rule_id,
                    tier=Tier.USER,
                    reason="because",
                )
                for effect in effects
            ),
        )


class FakeIntendant:
    """A harness whose hooks carry exactly the tool input."""

    name = "fake"

    def parse(self, request: HookRequest) -> HookMessage:
        raise NotBuilt("the fake harness is driven with messages")

    def format(self, request: HookRequest, ruling: Ruling) -> HookReply:
        raise NotBuilt("the fake harness is driven with messages")

    def canonical_input(self, tool: str, raw_input: bytes, cwd: str) -> bytes:
        return canonical_json(parse_json(raw_input))


def tool_call(
    command: str,
    *,
    tool_use_id: str = "toolu_1",
    agent_id: str | None = None,
    harness_session: str = "hs-1",
) -> ToolCall:
    """Make one shell call as a hook would claim it."""
    return ToolCall(
        harness_session=harness_session,
        tool_use_id=tool_use_id,
        agent_id=agent_id,
        cwd=WORKSPACE,
        tool="Bash",
        raw_input=json.dumps({"command": command}).encode(),
        action=ShellAction(command=command),
    )


def digest_of(text: str) -> Digest:
    """Digest a text, as a stand-in for a hook's body."""
    return Digest(hashlib.sha256(text.encode()).hexdigest())


def approval_request(
    *, approvers: frozenset[str] | None = None, quorum: int = 1, word: str = "otter"
) -> ApprovalRequest:
    """Make one pending approval."""
    bound = digest_of("binding")
    return ApprovalRequest(
        approval_id=ApprovalId(f"{word}-{bound[:8]}"),
        call_id=CallId("c-0123456789abcdef"),
        binding_digest=bound,
        session_id=SESSION,
        harness="fake",
        workspace=WORKSPACE,
        cwd=WORKSPACE,
        agent_id=None,
        tool="Bash",
        input_json='{"command":"make"}',
        effects=(Effect(kind=EffectKind.EXEC, subject="/usr/bin/make", argv=("make",)),),
        rule_id=RuleId("ask"),
        reason="r",
        hint="",
        grade=Grade.SHARED,
        approvers=approvers,
        quorum=quorum,
        requested_at="2026-11-20T12:00:00.000000Z",
        expires_at="2026-11-20T12:10:00.000000Z",
    )
