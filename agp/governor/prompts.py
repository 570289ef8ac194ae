"""What is seen beside calls: the mentions of a prompt, and the harness's own permission mode.

A mentioned file reaches the model without a deciding hook, so the prompt that mentions it is held
against the rules for reading it. A mode of the harness grants nothing here (measured: whatever it
is set to, no call runs without a ticket); that it was switched is written down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from agp.contracts.intendant import Denied, Noted, PromptSubmitted, Ruling, ToolCall
from agp.contracts.journal import HarnessObserved, Record
from agp.contracts.policy import Decision
from agp.governor.outcomes import spelled

if TYPE_CHECKING:
    from agp.governor.decide import Decider
    from agp.governor.session import GovernedSession

MAX_OBSERVED: Final = 512
"""Observations of one session that are journaled; an agent must not fill the journal with them."""
_DETAIL: Final = 500
_HOW: Final = {
    Decision.DENY: "leave the mention away",
    Decision.REQUIRE: "ask the agent to read it instead: then a person is asked",
}

_PICTURE: Final = (
    "AGP blocked this prompt: a picture is in it, read without a decision from a path that was"
    " pasted or dragged. Take it out, type the path and ask the agent to read it."
)
"""Attack: the path of a picture, pasted, was read by the harness itself and sent to the model; no
rule for reading it was asked, and nothing said which file it was."""


class Prompts:
    """Looks at prompts before they reach a model."""

    def __init__(self, record: Record, decider: Decider) -> None:
        self._record = record
        self._decider = decider

    async def submitted(self, session: GovernedSession, said: PromptSubmitted) -> Ruling:
        """Let a prompt through where every file that it mentions may be read quietly.

        Nobody is asked here: a person who types a mention is not thereby an approver of it.
        """
        await self.mode(session, said.mode)
        refused: Denied | None = None
        if said.picture:
            await self.observed(session, "file_mention", "a picture, pasted: deny")
            refused = Denied(reason=_PICTURE)
        for mention in said.mentions:
            if not session.may_work_in(mention.cwd):
                return Denied(reason="a prompt is given from within the workspace; cd back")
            refused = await self._mention(session, mention) or refused
        return refused or Noted()

    async def mode(self, session: GovernedSession, mode: str) -> None:
        """Write down that the harness's permission mode is another than before."""
        before, session.mode = session.mode, mode or session.mode
        if mode and before and mode != before:
            await self.observed(session, "mode_changed", f"from {before} to {mode}")

    async def observed(
        self,
        session: GovernedSession,
        what: Literal["shell_escape", "file_mention", "mode_changed", "instructions_loaded"],
        detail: str,
    ) -> None:
        """Journal one observation, redacted and bounded; beyond the bound none."""
        session.noted += 1
        if session.noted > MAX_OBSERVED:
            return
        payload = HarnessObserved(
            session_id=session.session_id,
            what=what,
            detail=spelled(session, detail)[:_DETAIL],
            reported_by="harness",
        )
        await self._record.append(payload, actor="harness")

    async def _mention(self, session: GovernedSession, mention: ToolCall) -> Denied | None:
        verdict = await self._decider.judged(session, mention)
        path = mention.action.path if mention.action.type == "read" else mention.tool
        decision = verdict.decision
        await self.observed(
            session, "file_mention", f"{path}: {decision.value} (rule {verdict.rule_id})"
        )
        if decision is Decision.ALLOW:
            return None
        word = "denied" if decision is Decision.DENY else "asked about"
        why = f"reading {path} is {word} by rule {verdict.rule_id}: {verdict.reason}"
        return Denied(reason=f"AGP blocked this prompt: {why} ({_HOW[decision]})")
