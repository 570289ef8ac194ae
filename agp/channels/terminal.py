"""The terminal channel: the questions of one run, asked one after another at its terminal.

It asks and carries; the approvals actor decides. A question that somebody else answered leaves
the screen at once, and a line says who it was. While a question stands, whatever else wants to
be said on this terminal waits.
"""

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from agp.channels.asking import Question, ask
from agp.channels.prompt import Allow, Deny
from agp.contracts.channel import Answer, ApprovalRequest, ApprovalState
from agp.contracts.display import visible, visible_lines
from agp.errors import Refusal, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from agp.channels.tty import Look, Tty
    from agp.contracts.base import ApprovalId, SessionId

_LONGEST_TEXT: Final = 100_000
_ENDS: Final = "Ctrl-C ends the run"
KEPT_LINES: Final = 2000
"""Lines that wait behind a question; of more, the oldest are dropped and counted."""


class TerminalPrompt:
    """A channel adapter for the terminal of `agp run`; `run` is its one task."""

    def __init__(
        self,
        tty: Tty,
        *,
        host: str,
        look: Look,
        now: Callable[[], datetime],
        answer: Callable[[Answer], Awaitable[object]],
    ) -> None:
        self._tty = tty
        self._host = host
        self._look = look
        self._now = now
        self._answer = answer
        self._waiting: dict[ApprovalId, ApprovalRequest] = {}
        self._answered: set[ApprovalId] = set()
        self._notes: dict[ApprovalId, str] = {}
        self._changed = anyio.Event()
        self._question: Question | None = None
        self._scope: anyio.CancelScope | None = None
        self._aside = _ENDS
        """What Ctrl-C or Ctrl-Z does at a question."""
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._dropped = 0

    @property
    def name(self) -> str:
        """As it stands in the journal."""
        return "terminal"

    def can_answer(self, session_id: SessionId) -> bool:  # noqa: ARG002 - the port's signature
        """Tell whether a person is at the terminal: it is there and this process may talk."""
        return self._tty.in_foreground()

    async def show(self, request: ApprovalRequest) -> None:
        """Take the newest state of one approval; returns at once."""
        key = request.approval_id
        if request.state is ApprovalState.PENDING:
            if key not in self._answered:
                self._waiting[key] = request
        else:
            self._end(request)
        self._refresh()
        self._changed.set()

    def say(self, text: str) -> None:
        """Write lines for the operator, made visible; behind a question if one stands."""
        for line in visible_lines(text, limit=_LONGEST_TEXT):
            self._put(line)

    def say_shown(self, line: str) -> None:
        """Write one line that has passed `display` already; behind a question if one stands."""
        self._dropped += len(self._lines) == KEPT_LINES
        self._lines.append(line)
        self._changed.set()

    async def run(self) -> None:
        """Ask what waits and say what is to be said, until cancelled.

        Raises:
            KeyboardInterrupt: the person typed Ctrl-C; nothing was answered by it.
            Unavailable: the terminal went away; what waits is answered elsewhere or expires.
        """
        while True:
            self._changed = anyio.Event()
            await self._say_lines()
            request = next(iter(self._waiting.values()), None)
            if request is not None and self._tty.in_foreground():
                await self._ask(request)
            else:
                await self._changed.wait()

    async def _ask(self, request: ApprovalRequest) -> None:
        note = self._notes.pop(request.approval_id, "")
        position = (1, len(self._waiting))
        question = Question(request, position=position, note=note, aside=self._aside)
        said: Allow | Deny | None = None
        with anyio.CancelScope() as scope:
            self._question, self._scope = question, scope
            try:
                said = await ask(
                    self._tty, question, host=self._host, look=self._look, now=self._now
                )
            finally:
                self._question = self._scope = None
        if said is not None and request.approval_id in self._waiting:
            await self._carry(question.request, said)

    async def _carry(self, request: ApprovalRequest, said: Allow | Deny) -> None:
        """Hand the answer on; one that did not count is asked again with the reason."""
        key = request.approval_id
        try:
            await self._answer(_answer(request, said))
        except (Refusal, Unavailable) as error:
            self._notes[key] = f"not answered: {visible(error.why or error.what, limit=200)}."
            return
        if self._waiting.pop(key, None) is not None:
            self._answered.add(key)

    def _end(self, request: ApprovalRequest) -> None:
        key = request.approval_id
        known = self._waiting.pop(key, None) is not None or key in self._answered
        self._answered.discard(key)
        self._notes.pop(key, None)
        if known:
            self._put(_outcome(request))
        on_screen = None if self._question is None else self._question.request.approval_id
        if on_screen == key and self._scope is not None:
            self._scope.cancel()

    def _refresh(self) -> None:
        """Bring the question on the screen up to date: its own state, and how many wait."""
        if self._question is None:
            return
        newest = self._waiting.get(self._question.request.approval_id)
        if newest is not None:
            self._question.update(newest, (1, len(self._waiting)))

    def _put(self, line: str) -> None:
        """Keep one line that is safe to show until it can be written."""
        self._dropped += len(self._lines) == KEPT_LINES
        self._lines.append(line)
        self._changed.set()

    async def _say_lines(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            await self._tty.write(f"({dropped} lines were not shown)\r\n".encode())
        while self._lines:
            await self._tty.write(f"{self._lines.popleft()}\r\n".encode())


def _answer(request: ApprovalRequest, said: Allow | Deny) -> Answer:
    return Answer(
        approval_id=request.approval_id,
        binding_digest=request.binding_digest,
        verdict="allow" if isinstance(said, Allow) else "deny",
        approver=f"uid:{os.getuid()}",
        channel="terminal",
        reason=said.reason if isinstance(said, Deny) else "",
    )


def _outcome(request: ApprovalRequest) -> str:
    by = f" by {visible(request.answered_by)}" if request.answered_by else ""
    why = f": {visible(request.answer_reason, limit=400)}" if request.answer_reason else ""
    tool = visible(request.tool, limit=100)
    return f"agp: {visible(request.approval_id)} ({tool}) {request.state.value}{by}{why}"
