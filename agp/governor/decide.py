"""From a proposed call to a ruling, in the numbered order of system.md §6.

1. effects, from the action and what the surveyor found;
2. policy, the truth table;
3. body and salt durable, then `call.decided` durable: from here on it happened;
4. if the rule requires it: the approval, bound to what the person sees;
5. the call evaluated again under the policy then in force, equal in every bound value;
6. the intent durable (`ticket.issued`; for a plain allow `call.decided` is it);
7. only then an `Allowed`.
Every failure on the way is a journaled refusal; a broken journal raises, and the gateway refuses.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from agp.approvals.binding import binding_digest
from agp.approvals.machine import Approval
from agp.approvals.words import approval_id
from agp.contracts.base import ApprovalId, CallId, Digest, RuleId
from agp.contracts.channel import ApprovalRequest, ApprovalState, Binding, FileHash
from agp.contracts.intendant import Allowed, Denied, GrantAsked, Intendant, Ruling, ToolCall
from agp.contracts.journal import (
    ApprovalRequested,
    CallAbandoned,
    CallDecided,
    Clock,
    Record,
    TicketIssued,
)
from agp.contracts.policy import Decision, Effect, EffectKind, Grade, Tier, Verdict
from agp.governor.desk import ApprovalDesk, from_utc_text, utc_text
from agp.governor.handed import reachable
from agp.governor.session import MAX_PENDING_APPROVALS, Call, CallState, GovernedSession
from agp.governor.tickets import input_digest
from agp.journal.commitment import commitment as commit
from agp.journal.commitment import generate_salt
from agp.journal.redact import Redacted, journal_json, journal_text
from agp.policy.effects import effects_of
from agp.policy.links import led_through
from agp.policy.observe import observed

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.governor.ports import Bodies, Rules, Surveyor

LONGEST_WAIT_S = 82_800
"""A person may think for 23 hours: a wait ends before the hook's own timeout of a day does."""
_LARGE = 32 * 1024
"""Bytes of input; more is redacted in a worker thread (measured: 36 us, 1.6 s for 6.7 MiB)."""
_QUICK = 2 * 1024
"""Bytes of input; more words may mean many looks at the disk, and is judged in a worker thread."""
MAX_EFFECTS = 64
"""Effects of one call that its journal line names; the verdict is over all of them."""
_SURVIVED = RuleId("secret-in-arguments")
_LINK = RuleId("path-through-link")
_PAUSED = RuleId("paused")


@dataclass(frozen=True)
class Timing:
    """The clocks of a decision, in seconds."""

    approval_s: int
    reattach_grace_s: float


@dataclass(frozen=True)
class _Weighed:
    """One evaluation of one call; two of them are compared at release."""

    effects: tuple[Effect, ...]
    verdict: Verdict
    files: tuple[FileHash, ...]


class Decider:
    """Makes rulings. One for the daemon; sessions and calls are arguments."""

    def __init__(  # noqa: PLR0913, PLR0917 - the composition root hands over its parts
        self,
        record: Record,
        clock: Clock,
        desk: ApprovalDesk,
        bodies: Bodies,
        surveyor: Surveyor,
        rules: Callable[[GovernedSession], Rules],
        *,
        log_id: str,
        timing: Timing,
    ) -> None:
        self._record = record
        self._clock = clock
        self._desk = desk
        self._bodies = bodies
        self._surveyor = surveyor
        self._rules = rules
        self._log_id = log_id
        self._timing = timing

    async def decide(self, session: GovernedSession, call: Call, *, paused: str | None) -> Ruling:
        """Carry one call through steps 1 to 7."""
        weighed = await self._weigh(session, call)
        salt = generate_salt()
        commitment = commit(salt, call.call.raw_input)
        await anyio.to_thread.run_sync(self._keep, call, salt)
        verdict, payload = await self._written(session, call, weighed.verdict, commitment, paused)
        while verdict.would_be is not None and not session.observing():
            # Observe mode was switched off meanwhile: what is not yet written down is enforced.
            verdict, payload = await self._written(
                session, call, weighed.verdict, commitment, paused
            )
        call.verdict = verdict
        await self._record.append(payload, actor=f"agent:{session.session_id}")
        match verdict.decision:
            case Decision.DENY:
                session.counts.denied += 1
                return self._refuse(call, denial_text(verdict))
            case Decision.REQUIRE:
                session.counts.asked += 1
                return await self._ask(session, call, weighed, commitment)
            case Decision.ALLOW if verdict.would_be is not None:
                return await self._let_through(session, call)
            case Decision.ALLOW:
                session.counts.allowed += 1
                call.ticket = call.key
                call.move(CallState.GRANTED)
                return allowed(call, f"allowed by AGP rule {verdict.rule_id}")

    async def _written(
        self,
        session: GovernedSession,
        call: Call,
        verdict: Verdict,
        commitment: Digest,
        paused: str | None,
    ) -> tuple[Verdict, CallDecided]:
        """Say what is journaled; a small input is described without letting anybody else run."""
        # Lifted first: what refuses besides the policy is never lifted.
        lifted = observed(verdict) if session.observing() else verdict
        ruled = _overridden(lifted, paused, session)
        if len(call.call.raw_input) > _LARGE:
            return await anyio.to_thread.run_sync(self._describe, session, call, ruled, commitment)
        return self._describe(session, call, ruled, commitment)

    async def _let_through(self, session: GovernedSession, call: Call) -> Ruling:
        """Grant what only observe mode allows, if that is still on; the agent is told no more."""
        session.counts.let_through += 1
        if not session.observing():
            await self._record.append(
                CallAbandoned(
                    session_id=session.session_id,
                    call_id=call.call_id,
                    reason="observe mode was switched off before the call was granted",
                ),
                actor="agp",
            )
            return self._refuse(call, "the rules changed while this call was decided; ask again")
        call.ticket = call.key
        call.move(CallState.GRANTED)
        return allowed(call, "allowed by AGP")

    def _keep(self, call: Call, salt: bytes) -> None:
        self._bodies.put(call.call_id, call.call.model_dump_json().encode(), salt)

    async def resume(
        self,
        session: GovernedSession,
        call: Call,
        asked: ApprovalRequested,
        granted_by: tuple[str, ...],
        commitment: Digest,
    ) -> Ruling:
        """Take up a call whose approval was pending when the daemon went down.

        It goes on only where everything that was bound is still the same; else it is superseded.
        """
        weighed = await self._weigh(session, call)
        call.verdict = weighed.verdict
        call.approval_id = asked.approval_id
        call.move(CallState.ASKING)
        expires_at = from_utc_text(asked.expires_at)
        request = self._request(
            session,
            call,
            weighed,
            asked.approval_id,
            asked.binding,
            (expires_at - timedelta(seconds=asked.wait_s), expires_at),
        )
        request = ApprovalRequest.model_validate(request.model_dump() | {"granted_by": granted_by})
        self._desk.restore(
            Approval(request, expires_at, granted_by=granted_by), wait_s=asked.wait_s
        )
        if binding_digest(self._bind(session, call, weighed, commitment)) != asked.binding:
            await self._desk.cancel(asked.approval_id, "superseded")
        return await self._await_person(session, call, commitment, asked.binding)

    async def _weigh(self, session: GovernedSession, call: Call) -> _Weighed:
        """Steps 1 and 2."""
        if len(call.call.raw_input) > _QUICK:
            effects, verdict = await anyio.to_thread.run_sync(self._judge, session, call.call)
        else:
            effects, verdict = self._judge(session, call.call)
        files: tuple[FileHash, ...] = ()
        if any(effect.kind is EffectKind.EXEC_WORKSPACE for effect in effects):
            files = await anyio.to_thread.run_sync(self._hash, effects, session.workspace)
        return _Weighed(effects, verdict, files)

    def _judge(
        self, session: GovernedSession, tool_call: ToolCall
    ) -> tuple[tuple[Effect, ...], Verdict]:
        world = (session.surveyor or self._surveyor).survey(
            tool_call.action,
            workspace=session.workspace,
            cwd=tool_call.cwd,
            session_id=session.session_id,
            agent_id=tool_call.agent_id,
            intendant=session.intendant.name,
        )
        effects = effects_of(tool_call.action, world)
        verdict = self._rules(session).decide(effects, grade=session.grade, world=world)
        led = led_through(tool_call.action, world) if session.call_views else None
        if led is not None and verdict.decision is not Decision.DENY:
            reason = (
                f"this path leads through a link, which file tools do not follow here: use {led}"
            )
            verdict = _denied(verdict, _LINK, reason)
        return effects, verdict

    async def judged(self, session: GovernedSession, said: ToolCall) -> Verdict:
        """Say what the rules say about something that is no call; nothing comes of it here."""
        _, verdict = await anyio.to_thread.run_sync(self._judge, session, said)
        return observed(verdict) if session.observing() else verdict

    def _hash(self, effects: tuple[Effect, ...], workspace: str) -> tuple[FileHash, ...]:
        return self._surveyor.hash_files(effects, workspace=workspace)

    def _describe(
        self, session: GovernedSession, call: Call, verdict: Verdict, commitment: Digest
    ) -> tuple[Verdict, CallDecided]:
        """Step 3: what is journaled; a secret that survives redaction refuses the call."""
        known = session.secrets
        text = journal_json(call.call.raw_input, known)
        edit = call.call.effective_input
        if call.handed is not None and verdict.decision is not Decision.DENY:
            edit = call.handed.effective_input
        edited = None if edit is None else journal_json(edit, known)
        described = [entry.effect.describe() for entry in verdict.effects[:MAX_EFFECTS]]
        effects = [journal_text(effect, known) for effect in described]
        cwd = journal_text(call.call.cwd, known)
        arguments: str | None = text.text
        written = (text, cwd, *effects, *(() if edited is None else (edited,)))
        if any(part.survived for part in written):
            verdict = _denied(
                verdict, _SURVIVED, "the call carries a secret that AGP knows; use a placeholder"
            )
            arguments, edited = None, None
            effects, cwd = [], Redacted("", 0, survived=False)
        payload = CallDecided(
            session_id=session.session_id,
            call_id=call.call_id,
            tool_use_id=call.call.tool_use_id,
            agent_id=call.call.agent_id,
            tool=call.call.tool,
            cwd=cwd.text,
            decision=verdict.decision,
            rule_id=verdict.rule_id,
            tier=verdict.tier,
            reason=verdict.reason,
            effects=tuple(effect.text for effect in effects),
            grade=verdict.grade,
            policy_digest=verdict.policy_digest,
            commitment=commitment,
            arguments=arguments,
            edited_arguments=None if edited is None else edited.text,
            would_be=verdict.would_be,
        )
        return verdict, payload

    async def _ask(
        self, session: GovernedSession, call: Call, weighed: _Weighed, commitment: Digest
    ) -> Ruling:
        """Step 4: bind, ask, wait."""
        if session.pending_approvals() >= MAX_PENDING_APPROVALS:
            return self._refuse(
                call, f"{MAX_PENDING_APPROVALS} questions of this session wait for a person already"
            )
        bound = binding_digest(self._bind(session, call, weighed, commitment))
        wait_s = min(weighed.verdict.expires_s or self._timing.approval_s, LONGEST_WAIT_S)
        approval = self._question(session, call, weighed, bound, wait_s)
        call.approval_id = approval.request.approval_id
        call.move(CallState.ASKING)
        await self._desk.open(approval, wait_s=wait_s)
        return await self._await_person(session, call, commitment, bound)

    def _question(
        self, session: GovernedSession, call: Call, weighed: _Weighed, bound: Digest, wait_s: int
    ) -> Approval:
        now = self._clock.now()
        expires_at = now + timedelta(seconds=wait_s)
        request = self._request(
            session, call, weighed, self._fresh_id(bound), bound, (now, expires_at)
        )
        return Approval(request, expires_at)

    @staticmethod
    def _request(  # noqa: PLR0913, PLR0917 - one argument for each fact
        session: GovernedSession,
        call: Call,
        weighed: _Weighed,
        approval: ApprovalId,
        bound: Digest,
        span: tuple[datetime, datetime],
    ) -> ApprovalRequest:
        verdict = weighed.verdict
        return ApprovalRequest(
            approval_id=approval,
            call_id=call.call_id,
            binding_digest=bound,
            session_id=session.session_id,
            harness=session.intendant.name,
            workspace=session.workspace,
            cwd=call.call.cwd,
            agent_id=call.call.agent_id,
            tool=call.call.tool,
            input_json=effective_input(call.call).decode("utf-8"),
            says=call.call.says,
            effects=weighed.effects,
            cannot_see=tuple(
                effect.subject for effect in weighed.effects if effect.kind is EffectKind.OPAQUE
            ),
            network=None if call.handed is None else reachable(verdict),
            rule_id=verdict.rule_id,
            reason=verdict.reason,
            hint=verdict.hint,
            grade=verdict.grade,
            approvers=verdict.approvers,
            quorum=verdict.quorum,
            requested_at=utc_text(span[0]),
            expires_at=utc_text(span[1]),
        )

    def _fresh_id(self, bound: Digest) -> ApprovalId:
        """Draw words until the id is not in use; twins share the digits, not the word."""
        while True:
            drawn = approval_id(bound, draw=secrets.randbelow(1 << 16))
            if self._desk.get(drawn) is None:
                return drawn

    async def _await_person(
        self, session: GovernedSession, call: Call, commitment: Digest, bound: Digest
    ) -> Ruling:
        approval_id = call.approval_id
        if approval_id is None:
            return self._refuse(call, "the question was lost; ask again")
        ended = await self._desk.outcome(approval_id)
        call.answered_by = ", ".join(ended.granted_by) or ended.request.answered_by
        if ended.state is not ApprovalState.GRANTED:
            session.counts.denied += 1
            return self._refuse(call, _told(ended))
        if not await self._someone_waits(call):
            await self._record.append(
                CallAbandoned(
                    session_id=session.session_id,
                    call_id=call.call_id,
                    reason="the hook that waited for the answer is gone",
                ),
                actor="agp",
            )
            return self._refuse(call, "the answer came after the hook was gone; ask again")
        return await self._release(session, call, ended, commitment, bound)

    async def _release(
        self,
        session: GovernedSession,
        call: Call,
        approval: Approval,
        commitment: Digest,
        bound: Digest,
    ) -> Ruling:
        """Steps 5 to 7."""
        again = await self._weigh(session, call)
        changed = self._why_not(session, call, again, approval, commitment, bound)
        if changed is not None:
            await self._record.append(
                CallAbandoned(session_id=session.session_id, call_id=call.call_id, reason=changed),
                actor="agp",
            )
            session.counts.denied += 1
            return self._refuse(call, f"approved, but superseded: {changed}; ask again")
        call.ticket = call.key
        call.bound_files = again.files
        await self._record.append(
            TicketIssued(
                session_id=session.session_id,
                call_id=call.call_id,
                key=call.key.input_digest,
                approval_id=approval.request.approval_id,
            ),
            actor="agp",
        )
        call.move(CallState.GRANTED)
        return allowed(call, f"approved by {', '.join(approval.granted_by)}")

    def _why_not(  # noqa: PLR0913, PLR0917 - one argument for each fact
        self,
        session: GovernedSession,
        call: Call,
        again: _Weighed,
        approval: Approval,
        commitment: Digest,
        bound: Digest,
    ) -> str | None:
        """Compare what is now with what was bound; None: it may be released."""
        blocked = self._desk.may_grant()
        if blocked is not None:
            return blocked
        if session.ended:
            return "the session has ended"
        verdict = again.verdict
        if verdict.decision is Decision.DENY:
            return f"the policy now denies it (rule {verdict.rule_id})"
        if verdict.decision is Decision.ALLOW:
            # Looser than what was asked: the bound effects and hashes still have to be equal.
            request = approval.request
            verdict = verdict.model_validate(
                verdict.model_dump()
                | {
                    "decision": Decision.REQUIRE,
                    "rule_id": request.rule_id,
                    "approvers": request.approvers,
                    "quorum": request.quorum,
                }
            )
            again = _Weighed(again.effects, verdict, again.files)
        if binding_digest(self._bind(session, call, again, commitment)) != bound:
            return "the effects, the files it runs or the rule are no longer those that were shown"
        return None

    def _bind(
        self, session: GovernedSession, call: Call, weighed: _Weighed, commitment: Digest
    ) -> Binding:
        tool_call = call.call
        return Binding(
            log_id=self._log_id,
            harness=session.intendant.name,
            session_id=session.session_id,
            agent_id=tool_call.agent_id,
            cwd=tool_call.cwd,
            tool_use_id=tool_call.tool_use_id,
            tool=tool_call.tool,
            commitment=commitment,
            effective_input=call.effective,
            effects=weighed.effects,
            file_hashes=weighed.files,
            grade=weighed.verdict.grade,
            rule_id=weighed.verdict.rule_id,
            approvers=weighed.verdict.approvers,
            quorum=weighed.verdict.quorum,
        )

    async def still_bound(self, session: GovernedSession, call_id: CallId) -> bool:
        """Tell whether the files that an approval bound are still what they were."""
        call = session.by_id(call_id)
        if call is None or not call.bound_files:
            return call is not None
        paths = tuple(
            Effect(kind=EffectKind.EXEC_WORKSPACE, subject=entry.path) for entry in call.bound_files
        )
        now = await anyio.to_thread.run_sync(self._hash, paths, session.workspace)
        return now == call.bound_files

    async def _someone_waits(self, call: Call) -> bool:
        """Give a waiter that was cut off the rest of its grace to come back."""
        if call.waiters == 0:
            with anyio.move_on_after(self._timing.reattach_grace_s):
                await call.attached.wait()
        return call.waiters > 0

    @staticmethod
    def _refuse(call: Call, reason: str) -> Denied:
        call.move(CallState.REFUSED)
        return Denied(reason=reason)


def effective_input(said: ToolCall | GrantAsked) -> bytes:
    """Give what would really run: the adapter's edit where it made one."""
    if isinstance(said, ToolCall) and said.effective_input is not None:
        return said.effective_input
    return said.raw_input


def effective_digest(intendant: Intendant, said: ToolCall | GrantAsked) -> Digest:
    """Digest the effective input in the one spelling that both hooks share."""
    return input_digest(intendant.canonical_input(said.tool, effective_input(said), said.cwd))


def allowed(call: Call, reason: str) -> Allowed:
    """Allow a call, with the adapter's edit where it made one; the agent is told of it."""
    if call.handed is not None:  # nothing to tell: what runs is what the agent wrote
        return Allowed(
            reason=reason, updated_input_json=call.handed.effective_input.decode("utf-8")
        )
    edit = call.call.effective_input
    if edit is None:
        return Allowed(reason=reason)
    return Allowed(
        reason=reason,
        updated_input_json=edit.decode("utf-8"),
        additional_context="AGP rewrote this call before it ran; its input was normalised.",
    )


def denial_text(verdict: Verdict) -> str:
    """Tell the agent that this is a decision, what to do instead, and not to retry.

    A pause decides nothing about the call: what is refused by it may be tried again after it.
    """
    further = "This is a policy decision; do not retry it unchanged."
    if verdict.rule_id == _PAUSED and verdict.tier is Tier.FLOOR:
        further = "Every call is refused until a person resumes it: say so, and wait."
    return f"AGP denied this call (rule {verdict.rule_id}): {verdict.reason} {further}"


def _told(ended: Approval) -> str:
    """Tell the agent the truth about how its approval ended."""
    request = ended.request
    match ended.state:
        case ApprovalState.DENIED:
            said = request.answer_reason or "no reason was given"
            return f"denied by {request.answered_by}: {said}"
        case ApprovalState.EXPIRED:
            slept = f" ({request.answer_reason})" if request.answer_reason else ""
            return (
                f"timed out, nobody answered from {_minute(request.requested_at)} to"
                f" {_minute(request.expires_at)} UTC{slept}; nothing was run"
            )
        case ApprovalState.CANCELLED:
            return (
                "the question was withdrawn before anybody answered:"
                f" {request.answer_reason or 'AGP does not know why'}; nothing was run"
            )
        case ApprovalState.PENDING | ApprovalState.GRANTED:
            return "not released"


def _minute(at: str) -> str:
    """Spell an instant of the journal for a reader, to the second."""
    return at[:19].replace("T", " ")


def _overridden(verdict: Verdict, paused: str | None, session: GovernedSession) -> Verdict:
    if paused is not None:
        return _denied(verdict, _PAUSED, f"AGP is paused: {paused}.")
    if session.ended:
        return _denied(verdict, RuleId("session-ended"), "this session has ended.")
    return verdict


def _denied(verdict: Verdict, rule_id: RuleId, reason: str) -> Verdict:
    """Give the same verdict as a refusal of the floor; nothing of it can be approved."""
    return Verdict(
        decision=Decision.DENY,
        rule_id=rule_id,
        tier=Tier.FLOOR,
        reason=reason,
        policy_digest=verdict.policy_digest,
        grade=Grade(verdict.grade),
        effects=verdict.effects,
    )
