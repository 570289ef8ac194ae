"""Fakes of the governor's ports that implement them whole, and makers of its values."""

# ruff: noqa: ARG002, PLR0913 - a fake has the port's signatures

from __future__ import annotations

import asyncio
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import anyio

from agp.contracts.base import ApprovalId, CallId, Digest, RuleId, SessionId
from agp.contracts.channel import ApprovalRequest, FileHash
from agp.contracts.gateway import HookReply, HookRequest
from agp.contracts.intendant import HandedOver, HookMessage, Ruling, ToolCall
from agp.contracts.journal import KeyRevoked, KeyRotated, Payload, Sealed
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
from agp.daemon.survey import is_executing_place, is_secret
from agp.errors import ConfigurationError, JournalBroken, MessageRefused, NotBuilt
from agp.journal.calls import StoredCall
from agp.journal.commitment import SALT_BYTES
from agp.journal.keys import Signer
from agp.journal.line import Draft, seal
from agp.journal.writer import own_kinds
from agp.policy.effects import needs

ZERO = Digest("0" * 64)
_SIGNER = Signer(bytes(range(32)), "agp.test/fake")
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
    """A journal in memory: refuses, shields and breaks for good as the real one does."""

    def __init__(self) -> None:
        self._head = ZERO
        self.events: list[tuple[str, Payload]] = []
        self.broken = False
        self.hold: anyio.Event | None = None
        """Until it is set nothing becomes durable, and no caller comes back, cancelled or not."""

    async def append(self, payload: Payload, *, actor: str) -> Sealed:
        if isinstance(payload, KeyRotated | KeyRevoked):
            raise NotBuilt("changing the signing key is not built yet")
        if type(payload) in own_kinds():
            raise MessageRefused("only the journal's writer seals this kind")
        if self.broken:
            raise JournalBroken("the journal is broken")
        with anyio.CancelScope(shield=True):
            if self.hold is not None:
                await self.hold.wait()
            await asyncio.sleep(0)
        if self.broken:
            raise JournalBroken("the journal is broken")
        draft = Draft(payload, actor, "2026-11-20T12:00:00.000000Z")
        sealed = seal(draft, seq=len(self.events) + 1, prev_hash=self._head, signer=_SIGNER)
        self._head = sealed.line.hash
        self.events.append((actor, payload))
        return Sealed(seq=sealed.line.seq, hash=sealed.line.hash, ts=sealed.line.ts)

    @property
    def kinds(self) -> list[str]:
        return [payload.kind.value for _, payload in self.events]

    def last(self) -> Payload:
        return self.events[-1][1]


class FakeBodies:
    """Call bodies and salts in memory; a salt outlives its body."""

    def __init__(self) -> None:
        self._held: dict[CallId, StoredCall] = {}

    def put(self, call_id: CallId, body: bytes, salt: bytes) -> None:
        if len(salt) != SALT_BYTES:
            raise ConfigurationError("a call's salt is not 32 bytes long")
        if not re.fullmatch(r"c-[0-9a-f]{16}", call_id):
            raise MessageRefused("a call id is malformed")
        if call_id in self._held:
            raise MessageRefused("a call of this id is stored already")
        self._held[call_id] = StoredCall(salt, body)

    def get(self, call_id: CallId) -> StoredCall | None:
        return self._held.get(call_id)

    def drop_body(self, call_id: CallId) -> None:
        if not re.fullmatch(r"c-[0-9a-f]{16}", call_id):
            raise MessageRefused("a call id is malformed")
        if (known := self._held.get(call_id)) is not None:
            self._held[call_id] = StoredCall(known.salt, None)


class FakeAnnouncer:
    """Remembers what people would have been shown."""

    def __init__(self) -> None:
        self.shown: list[ApprovalRequest] = []

    def announce(self, request: ApprovalRequest) -> None:
        self.shown.append(request)


class FakeSurveyor:
    """A machine without links on which every program is in /usr/bin, and files can change."""

    def __init__(self) -> None:
        self.hashes: tuple[FileHash, ...] = ()
        """Set by a test: what the files in exec position hash to from now on."""

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
            paths=tuple(_path(raw, workspace, cwd) for raw in needed.paths),
            executables=tuple(_program(word, workspace, cwd) for word in needed.words),
        )

    def hash_files(self, effects: Iterable[Effect], *, workspace: str) -> tuple[FileHash, ...]:
        subjects = {e.subject for e in effects if e.kind is EffectKind.EXEC_WORKSPACE}
        return self.hashes or tuple(
            FileHash(path=path, sha256=digest_of("absent"))
            for path in sorted(subjects)
            if _below(path, workspace)
        )


def _path(raw: str, workspace: str, cwd: str) -> PathFacts:
    resolved = posixpath.normpath(posixpath.join(cwd, raw))
    inside = _below(resolved, workspace)
    place = inside and is_executing_place(resolved, workspace)
    own = any(_below(resolved, directory) for directory in ("/home/agent", "/tmp", "/run"))
    return PathFacts(
        raw=raw,
        resolved=resolved,
        in_workspace=inside,
        in_agp=_below(resolved, "/opt/agp"),
        executing_place=place,
        agent_writable=not place and (inside or own),
        secret=is_secret(resolved),
    )


def _program(word: str, workspace: str, cwd: str) -> ExecutableFacts:
    resolved = posixpath.normpath(posixpath.join(cwd, word)) if "/" in word else f"/usr/bin/{word}"
    return ExecutableFacts(word=word, resolved=resolved, agent_writable=_below(resolved, workspace))


def _below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


class FakeRules:
    """Rules that answer by a word in the command: `deny`, `ask`, else allow."""

    def __init__(self) -> None:
        self.digest = ZERO
        self.override: Decision | None = None
        self.approvers: frozenset[str] | None = None
        self.quorum = 1
        self.expires_s: int | None = None
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
            expires_s=self.expires_s if asks else None,
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

    def hand_over(self, call: ToolCall, call_id: CallId) -> HandedOver | None:
        """Hand over every shell call; only a session with call views asks."""
        if not isinstance(call.action, ShellAction):
            return None
        edited = json.dumps({"command": f"hand-over {call_id}"}).encode()
        return HandedOver(effective_input=edited, command=call.action.command)


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
