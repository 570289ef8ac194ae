"""Calls that the harness hands over: AGP starts each once, in a view of its own.

The harness's tool runs nothing but a line that names the call (`HandedOver`). Whoever then asks for
the call by that name is untrusted: the name is a reference, and what counts is what stands here,
decided, redeemed, not begun before. The command comes from this memory, never from who asks.

1. the call is one of this session, redeemed, and was never started;
2. nothing forbids it now: pause, end, a lost mask, a changed file that an approval bound, rules
   that only observe mode had lifted;
3. `execution.started` is durable;
4. only then the launcher hears what to run. One use, also where a later step fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread

from agp.contracts.intendant import Denied
from agp.contracts.journal import ExecutionFinished, ExecutionStarted
from agp.contracts.policy import Decision, EffectKind, Label, ShellAction, Verdict
from agp.errors import Unauthorised
from agp.governor.session import Call, CallState, GovernedSession
from agp.governor.tickets import input_digest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agp.contracts.base import CallId, Digest
    from agp.contracts.journal import Record
    from agp.governor.decide import Decider
    from agp.governor.outcomes import Outcomes

NOT_BEGUN = "observe mode was switched off before it ran"
_LARGE = 16 * 1024
"""Bytes of input; a larger one is rewritten off the loop."""


@dataclass(frozen=True)
class Beginning:
    """What the launcher runs, in the words of the decision."""

    call_id: CallId
    command: str
    cwd: str
    network: tuple[str, ...]
    """`host:port` names; empty: none at all."""


@dataclass(frozen=True)
class Ending:
    """How it ended, as the launcher saw it."""

    exit_code: int | None
    """None: it was ended, or never began; `error` says why."""
    error: str
    duration_ms: int
    output_sha256: Digest
    output_bytes: int


class Handed:
    """Gives away the one start of each call, and writes down its end."""

    def __init__(
        self,
        record: Record,
        outcomes: Outcomes,
        decider: Decider,
        why_not_now: Callable[[GovernedSession], Awaitable[str | None]],
    ) -> None:
        self._record = record
        self._outcomes = outcomes
        self._decider = decider
        self._why_not_now = why_not_now

    async def start(
        self, session: GovernedSession, call_id: CallId, *, profile: Digest
    ) -> Beginning:
        """Give away the one start of a redeemed call.

        Raises:
            Unauthorised: this call may not begin; its words are for the agent.
        """
        call = session.by_id(call_id)
        if call is not None and isinstance(call.ruling, Denied):
            raise Unauthorised(call.ruling.reason)
        if call is None or call.handed is None or not isinstance(call.call.action, ShellAction):
            raise Unauthorised("AGP granted no such call")
        if call.started or call.state is CallState.ENDED:
            raise Unauthorised("this call was begun before; each is begun once")
        if call.state is not CallState.REDEEMED:
            raise Unauthorised("AGP has not granted this call")
        call.started = True  # before anything is awaited: two who ask are one start
        network = reachable(call.verdict)
        await self.begin(session, call, profile=profile, network=network)
        return Beginning(call_id, call.handed.command, call.call.cwd, network)

    async def begin(
        self, session: GovernedSession, call: Call, *, profile: Digest, network: tuple[str, ...]
    ) -> None:
        """Look once more, then write down that it begins; a call that may not is over.

        Raises:
            Unauthorised: something forbids it now.
        """
        refusal = await self._why_not_now(session) or not_let_through(session, call)
        if refusal is None and not await self._decider.still_bound(session, call.call_id):
            refusal = "a file that the call runs was changed since it was approved"
        if refusal is None:
            started = ExecutionStarted(
                session_id=session.session_id,
                call_id=call.call_id,
                reported_by="agp",
                background=isinstance(call.call.action, ShellAction)
                and call.call.action.background,
                profile_digest=profile,
                network=network or None,
            )
            await self._record.append(started, actor="agp")
            ended = "this session has ended" if session.ended else None
            refusal = ended or not_let_through(session, call)
        if refusal is not None:
            if call.state is CallState.REDEEMED:
                close(session, call)
                await self._outcomes.failed(session, call.call_id, refusal, "agp")
            raise Unauthorised(refusal)

    async def end(self, session: GovernedSession, call_id: CallId, ending: Ending) -> None:
        """Write down how a begun call ended; the first end counts."""
        call = session.by_id(call_id)
        if call is None or not call.started or call.state is not CallState.REDEEMED:
            return
        close(session, call)
        if ending.exit_code is None:
            await self._outcomes.failed(session, call_id, ending.error, "agp")
            return
        await self._record.append(
            ExecutionFinished(
                session_id=session.session_id,
                call_id=call_id,
                reported_by="agp",
                exit_code=ending.exit_code,
                duration_ms=ending.duration_ms,
                output_sha256=ending.output_sha256,
                output_bytes=ending.output_bytes,
            ),
            actor="agp",
        )


def close(session: GovernedSession, call: Call) -> None:
    """End a redeemed call; nothing it redeemed is left."""
    call.move(CallState.ENDED)
    if call.ticket is not None:
        session.redeemed.pop(call.ticket, None)


def not_let_through(session: GovernedSession, call: Call) -> str | None:
    """Say why a call may not begin that only observe mode let through, where it is off now.

    Attack: it is redeemed, observe mode is switched off, and only then it is begun.
    """
    lifted = call.verdict is not None and call.verdict.would_be is not None
    return NOT_BEGUN if lifted and not session.observing() else None


async def handed_over(session: GovernedSession, call: Call) -> Call:
    """Find out whether AGP runs this call itself, and what the harness gets in its place."""
    if not session.call_views:
        return call
    if len(call.call.raw_input) > _LARGE:
        return await anyio.to_thread.run_sync(_hand_over, session, call)
    return _hand_over(session, call)


def _hand_over(session: GovernedSession, call: Call) -> Call:
    said, intendant = call.call, session.intendant
    call.handed = intendant.hand_over(said, call.call_id)
    if call.handed is not None:
        given = intendant.canonical_input(said.tool, call.handed.effective_input, said.cwd)
        call.way_in = input_digest(given)
    return call


def reachable(verdict: Verdict | None) -> tuple[str, ...]:
    """Name what the granted effects connect to; a target that is not known is no target.

    Nor is one that a rule denies: observe mode lets its call through, and opens nothing for it.
    """
    if verdict is None or verdict.decision is Decision.DENY:
        return ()
    found = (
        one.effect
        for one in verdict.effects
        if one.effect.kind is EffectKind.CONNECT and one.decision is not Decision.DENY
    )
    targets = (
        effect.endpoint
        for effect in found
        if effect.port is not None and Label.DYNAMIC not in effect.labels
    )
    return tuple(dict.fromkeys(targets))
