"""The questions of a session whose harness has the screen: each covers it, and can be put aside.

Ctrl-C and Ctrl-Z answer nothing and end nothing here: they put the question aside, so that a
person can look at the screen behind it. It stands until it is answered here or elsewhere, or
expires. It comes back with Ctrl-Z, with the next question, and by itself after a while: the agent
waits for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from agp.channels.terminal import TerminalPrompt

if TYPE_CHECKING:
    from agp.contracts.base import ApprovalId
    from agp.contracts.channel import ApprovalRequest

ASIDE_S: Final = 60.0
"""How long a question stays aside by itself."""
HOW: Final = "Ctrl-Z: aside and back"


class OverlayPrompt(TerminalPrompt):
    """A channel adapter for the harness's own screen; lines to be said are kept to the end."""

    _put_aside: frozenset[ApprovalId] = frozenset()

    def recall(self) -> None:
        """Bring back what was put aside."""
        self._put_aside = frozenset()
        self._changed.set()

    def unsaid(self) -> tuple[str, ...]:
        """Give the lines that could not be said while the harness had the screen, the last ones."""
        dropped = (f"({self._dropped} lines were not shown)",) if self._dropped else ()
        return (*dropped, *self._lines)

    async def run(self) -> None:
        """Ask what waits, until cancelled.

        Raises:
            Unavailable: the terminal went away; what waits is answered elsewhere or expires.
        """
        self._aside = HOW
        while True:
            self._changed = anyio.Event()
            request = self._next()
            if request is not None and self._tty.in_foreground():
                await self._ask_or_put_aside(request)
            elif self._put_aside & self._waiting.keys():
                with anyio.move_on_after(ASIDE_S) as waited:
                    await self._changed.wait()
                if waited.cancelled_caught:
                    self.recall()
            else:
                await self._changed.wait()

    def _next(self) -> ApprovalRequest | None:
        fresh = (r for key, r in self._waiting.items() if key not in self._put_aside)
        return next(fresh, None)

    async def _ask_or_put_aside(self, request: ApprovalRequest) -> None:
        try:
            await self._ask(request)
        except KeyboardInterrupt:  # the key, read by the question: no signal is made of it here
            self._put_aside = frozenset(self._waiting)
