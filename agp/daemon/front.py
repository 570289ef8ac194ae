"""The launcher's face to its person: progress lines, and the questions of this session."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from agp.channels.terminal import TerminalPrompt
from agp.contracts.channel import Answer, ApprovalRequest
from agp.contracts.control import AnswerGiven
from agp.contracts.gateway import ControlNotice, ControlOp
from agp.daemon.show import Shown
from agp.errors import Interrupted, Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agp.daemon.lease import Lease


class Front:
    """Follows the daemon's notices for one session."""

    def __init__(self, lease: Lease, shown: Shown, prompt: TerminalPrompt | None) -> None:
        self._lease = lease
        self._prompt = prompt
        self.shown = shown

    async def follow(self) -> None:
        """Hand each notice to where it belongs, for as long as the session lives.

        Raises:
            Interrupted: the operator killed the session, or the lease ended.
        """
        await self._lease.follow(self._heard)

    async def _heard(self, notice: ControlNotice) -> None:
        match notice.notice:
            case "approval":
                request = ApprovalRequest.model_validate_json(json.dumps(notice.body))
                if self._prompt is None:
                    self.shown.approval(request)
                else:
                    await self._prompt.show(request)
            case "killed":
                raise Interrupted("the session was killed", why=f"by {notice.body.get('by', '?')}")
            case "reaped":
                raise Interrupted("the daemon closed the session")
            case "daemon_stopping":
                self.shown.note("the daemon is stopping; waiting for it to come back")

    async def answer(self, answer: Answer) -> None:
        """Carry an answer of the prompt to the daemon; a rejected one is shown, not raised."""
        given = AnswerGiven(
            approval_id=answer.approval_id,
            verdict=answer.verdict,
            reason=answer.reason,
            binding_digest=answer.binding_digest,
            channel="terminal",
        )
        try:
            await self._lease.ask(ControlOp.APPROVAL_ANSWER, given)
        except Refusal as error:
            self.shown.note(f"the answer did not count: {error.why or error.what}")


@asynccontextmanager
async def open_front(lease: Lease, *, terminal: bool) -> AsyncIterator[Front]:
    """Follow the session, with the inline prompt where a person sits at a terminal."""
    shown = Shown(_write)
    async with anyio.create_task_group() as tasks:
        prompt = TerminalPrompt() if terminal else None
        front = Front(lease, shown, prompt)
        tasks.start_soon(front.follow)
        yield front
        tasks.cancel_scope.cancel()


def _write(line: str) -> None:
    """Progress goes to standard error: standard output is the summary, or JSON."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
