"""What a person sees while a run goes on: short lines, every untrusted word made visible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agp.contracts.channel import ApprovalRequest, ApprovalState
from agp.contracts.display import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from agp.contracts.intendant import StreamItem, ToolCall
    from agp.contracts.sandbox import ExecResult

_WIDTH = 160
_OUTPUT = 600


class Shown:
    """Writes progress lines through `write`; nothing is decided here."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._asked: set[str] = set()

    def call(self, call: ToolCall) -> None:
        """A scripted call is proposed."""
        text = visible(call.raw_input.decode("utf-8", "replace"), limit=_WIDTH)
        self._write(f"  > {visible(call.tool)} {text}")

    def ruled(self, *, allowed: bool, reason: str, result: ExecResult | None) -> None:
        """A scripted call was ruled on, and perhaps executed."""
        if not allowed or result is None:
            self._write(f"    refused: {visible(reason, limit=_OUTPUT)}")
            return
        self._write(f"    {visible(reason, limit=_WIDTH)}; exit {result.exit_code}")
        output = (result.stdout + result.stderr).decode("utf-8", "replace").strip()
        if output:
            self._write(f"    | {visible(output, limit=_OUTPUT)}")

    def item(self, item: StreamItem) -> None:
        """The harness said something in its stream."""
        if item.type == "text" and item.text.strip():
            self._write(f"  the agent says: {visible(item.text.strip(), limit=_OUTPUT)}")
        elif item.type == "server_failed":
            self._write(f"  ! the MCP server {visible(item.text)} did not start: no tools of it")
        elif item.type == "tool_use":
            self._write(f"  > {visible(item.tool)} {visible(item.text, limit=_WIDTH)}".rstrip())
        elif item.type == "tool_result" and item.refused:
            text = item.text.removeprefix("<tool_use_error>").removesuffix("</tool_use_error>")
            self._write(f"    refused: {visible(text, limit=_OUTPUT)}")

    def approval(self, request: ApprovalRequest) -> None:
        """A question waits, or was answered, and no prompt is shown here."""
        if request.state is ApprovalState.PENDING and request.approval_id not in self._asked:
            self._asked.add(request.approval_id)
            self._write(
                f"  ? a person is asked (rule {visible(request.rule_id)}):"
                f" agp approve {request.approval_id}   or   agp deny {request.approval_id}"
            )
        elif request.state is not ApprovalState.PENDING:
            by = f" by {visible(request.answered_by)}" if request.answered_by else ""
            self._write(f"    {request.approval_id}: {request.state.value}{by}")

    def egress(self, target: str, reason: str) -> None:
        """The session's proxy or relay refused a target."""
        self._write(f"  ! no way to {visible(target)}: {visible(reason, limit=_WIDTH)}")

    def observe(self, *, on: bool, by: str) -> None:
        """The operator switched observe mode for this session."""
        said = "is ON: rules are recorded, not enforced" if on else "is off: rules are enforced"
        self._write(f"  ! observe mode {said} (by {visible(by)})")

    def note(self, text: str) -> None:
        """Say something of AGP's own."""
        self._write(f"  {text}")


def paused(reason: str | None) -> tuple[str, ...]:
    """Say at the start that nothing will be granted; empty: grants are given."""
    if reason is None:
        return ()
    why = visible(reason, limit=_WIDTH)
    return (f"! AGP is paused: {why}; every call is refused until `agp resume`",)


def promises(session_id: str) -> tuple[str, ...]:
    """Say what a session at the harness's own screen does not promise; before it opens."""
    return (
        f"agp: session {session_id}, at the agent's own screen. Its tool calls are governed.",
        "Not decided by AGP, only confined, and journaled as far as it is seen:",
        "  what its screen does for you itself (/rewind, /export).",
        "!commands are decided like its own; its /permissions, /config and modes grant nothing.",
        "AGP's questions cover the screen. Ctrl-Z puts one aside and brings it back;",
        "  elsewhere: agp approvals, agp approve ID, agp deny ID, agp kill.",
        "",
    )
