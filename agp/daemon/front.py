"""The launcher's face to its person: progress lines, and the questions of this session."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from contextlib import ExitStack, asynccontextmanager, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import anyio

from agp.channels.held_tty import INTERRUPT, HeldTty
from agp.channels.overlay import OverlayPrompt
from agp.channels.terminal import TerminalPrompt
from agp.channels.tty import Look, Tty
from agp.contracts.channel import Answer, ApprovalRequest
from agp.contracts.control import AnswerGiven
from agp.contracts.gateway import ControlNotice, ControlOp
from agp.daemon.show import Shown
from agp.errors import DaemonAway, Interrupted, JournalBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agp.daemon.lease import Lease

_READING_S: Final = 3.0
"""How long the words before the agent's screen stand at most."""
_ENDING: Final = {
    signal.SIGINT: "stopped by you (Ctrl-C)",
    signal.SIGTERM: "told to end (SIGTERM)",
    signal.SIGHUP: "its terminal went away (SIGHUP)",
}


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
            case "killed" if notice.body.get("cause") == "journal_broken":
                broken = JournalBroken(
                    "the journal broke, and the run was ended with it",
                    fix="look into daemon.log, then at the disk; verify with `agp verify`",
                )
                self._lease.abandon(broken)
                raise broken
            case "killed":
                raise Interrupted(f"killed by {notice.body.get('by', '?')}")
            case "egress_refused":
                target, why = (str(notice.body.get(name, "?")) for name in ("target", "reason"))
                self.shown.egress(target, why)
            case "observe":
                self.shown.observe(on=notice.body.get("on") is True, by=str(notice.body.get("by")))
            case "reaped":
                raise Interrupted("the daemon closed the session")
            case "daemon_stopping":
                self.shown.note("the daemon is stopping; waiting for it to come back")

    async def answer(self, answer: Answer) -> None:
        """Carry an answer of the prompt to the daemon; the prompt shows one that did not count.

        Raises:
            DaemonAway: nobody is there to take it; it is not kept for the next daemon.
        """
        if self._lease.away:
            raise DaemonAway(
                "there is no daemon to take the answer",
                why="AGP's daemon is away; it comes back or the question ends",
                fix="agp daemon start, then answer again",
            )
        given = AnswerGiven(
            approval_id=answer.approval_id,
            verdict=answer.verdict,
            reason=answer.reason,
            binding_digest=answer.binding_digest,
            channel="terminal",
        )
        await self._lease.ask(ControlOp.APPROVAL_ANSWER, given)


class ScreenFront(Front):
    """Follows the notices of a session whose harness has the terminal."""

    def __init__(self, lease: Lease, tty: HeldTty, prompt: OverlayPrompt) -> None:
        super().__init__(lease, Shown(prompt.say_shown), prompt)
        self.tty = tty
        self.prompt = prompt

    @staticmethod
    def before(line: str) -> None:
        """Say something before the harness has the screen."""
        _write(f"  {line}" if line else "")

    async def until_read(self) -> None:
        """Leave time to read what was said before: the harness's screen covers it.

        Raises:
            Interrupted: the key was Ctrl-C.
        """
        self.before(f"The agent's screen opens in {_READING_S:g} seconds, or at any key.")
        if INTERRUPT in await self.tty.any_key(within_s=_READING_S):
            raise Interrupted(_ENDING[signal.SIGINT])


@asynccontextmanager
async def open_screen_front(lease: Lease) -> AsyncIterator[ScreenFront]:
    """Follow the session; its questions cover the harness's screen.

    What could not be said meanwhile is said at the end, when the terminal was given back.
    """
    with closing(HeldTty.open()) as tty:
        carrier = Front(lease, Shown(_write), None)
        prompt = OverlayPrompt(
            tty,
            host=socket.gethostname(),
            look=Look.from_environment(os.environ),
            now=lambda: datetime.now(UTC),
            answer=carrier.answer,
        )
        front = ScreenFront(lease, tty, prompt)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(prompt.run)
                tasks.start_soon(front.follow)
                tasks.start_soon(_until_told)
                yield front
                tasks.cancel_scope.cancel()
        finally:
            for line in prompt.unsaid():
                _write(line)


@asynccontextmanager
async def open_front(lease: Lease, *, terminal: bool) -> AsyncIterator[Front]:
    """Follow the session, with the inline prompt where a person sits at a terminal."""
    with ExitStack() as stack:
        async with anyio.create_task_group() as tasks:
            front = Front(lease, Shown(_write), None)
            if terminal:
                tty = stack.enter_context(closing(Tty.open()))
                prompt = TerminalPrompt(
                    tty,
                    host=socket.gethostname(),
                    look=Look.from_environment(os.environ),
                    now=lambda: datetime.now(UTC),
                    answer=front.answer,
                )
                front = Front(lease, Shown(prompt.say_shown), prompt)
                tasks.start_soon(prompt.run)
            tasks.start_soon(front.follow)
            tasks.start_soon(_until_told)
            yield front
            tasks.cancel_scope.cancel()


async def _until_told() -> None:
    """End the run in order when this process is told to end; nothing is left behind by it.

    Raises:
        Interrupted: by Ctrl-C or a signal.
    """
    with anyio.open_signal_receiver(*_ENDING) as told:
        async for number in told:
            raise Interrupted(_ENDING[signal.Signals(number)])


def _write(line: str) -> None:
    """Progress goes to standard error: standard output is the summary, or JSON."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
