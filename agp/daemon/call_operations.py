"""What a launcher asks about the calls that it runs: may this begin, and it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from agp.contracts.intendant import ToolCall
from agp.contracts.policy import ExecAction, ShellAction
from agp.contracts.strict_json import Json, canonical_json
from agp.daemon.messages import (
    EndCall,
    ServeProgram,
    StartCall,
    StartedCall,
    TypeCall,
    WithdrawCall,
    read_args,
    write_value,
)
from agp.errors import RunRefused, Unauthorised
from agp.governor.handed import Ending, reachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import JsonValue

    from agp.daemon.live import LiveSession
    from agp.daemon.messages import OfSession
    from agp.gateway.control import ControlConnection
    from agp.governor.loop import Governor

    Reply = dict[str, JsonValue]

SERVER_TOOL = "McpServer"
"""What starting an MCP server is called in decisions and in the journal."""
TYPED_TOOL = "Bash"
"""What is typed behind `!` is held against the rules for the same tool as the agent's commands."""
TYPED_SAYS = "typed behind ! at the harness's own screen"
"""In the place of the model's description; a claim of the harness's view like everything of it."""


class CallOperations:
    """What a launcher asks of the calls that it runs; `mine` lets only the lease's holder act."""

    def __init__(
        self,
        governor: Governor,
        mine: Callable[[OfSession], LiveSession],
        count_refusal: Callable[[LiveSession, str], None],
    ) -> None:
        self._governor = governor
        self._mine = mine
        self._count_refusal = count_refusal
        self._typed: dict[tuple[str, str], anyio.CancelScope] = {}
        """What was typed and is being decided, by session and nonce."""

    async def start(self, args: Reply, _: ControlConnection) -> Reply:
        """Give away the one start of a handed-over call; what may not begin is counted."""
        said = read_args(StartCall, args)
        live = self._mine(said)
        try:
            begun = await self._governor.handed.start(
                live.governed, said.call_id, profile=said.profile
            )
        except Unauthorised as error:
            self._count_refusal(live, f"call: {error.what}")
            raise
        return write_value(
            StartedCall(
                call_id=begun.call_id, command=begun.command, cwd=begun.cwd, network=begun.network
            )
        )

    async def serve(self, args: Reply, _: ControlConnection) -> Reply:
        """Decide an MCP server as a call of its own, and begin it."""
        said = read_args(ServeProgram, args)
        live = self._mine(said)
        if not live.governed.call_views:
            raise RunRefused("this session starts no MCP server")
        given: Json = {"server": said.name, "argv": [*said.argv], "digest": said.digest}
        proposed = ToolCall(
            harness_session=live.governed.harness_session or "",
            tool_use_id=f"mcp-{said.nonce}",
            agent_id=None,
            cwd=live.governed.workspace,
            tool=SERVER_TOOL,
            raw_input=canonical_json(given),
            action=ExecAction(argv=said.argv),
        )
        call_id = await self._governor.serve(
            live.governed, proposed, profile=said.profile, network=said.network
        )
        cwd = live.governed.workspace
        return write_value(StartedCall(call_id=call_id, cwd=cwd, network=said.network))

    async def type(self, args: Reply, _: ControlConnection) -> Reply:
        """Decide what was typed at the harness's own screen as a call like any, and begin it."""
        said = read_args(TypeCall, args)
        live = self._mine(said)
        if not (live.governed.call_views and live.governed.interactive):
            raise RunRefused(
                "the harness's own shell runs no commands; use a terminal of your own,"
                " or ask the agent"
            )
        given: Json = {"command": said.command, "description": TYPED_SAYS}
        proposed = ToolCall(
            harness_session=live.governed.harness_session or "",
            tool_use_id=f"typed-{said.nonce}",
            agent_id=None,
            cwd=said.cwd,
            tool=TYPED_TOOL,
            raw_input=canonical_json(given),
            action=ShellAction(command=said.command),
            says=TYPED_SAYS,
        )
        name = (said.session_id, said.nonce)
        with anyio.CancelScope() as waiting:
            self._typed[name] = waiting
            try:
                call = await self._governor.type(live.governed, proposed, profile=said.profile)
            finally:
                del self._typed[name]
            return write_value(
                StartedCall(
                    call_id=call.call_id,
                    command=said.command,
                    cwd=said.cwd,
                    network=reachable(call.verdict),
                )
            )
        raise RunRefused("whoever typed it waits no more; nothing was run")

    async def withdraw(self, args: Reply, _: ControlConnection) -> Reply:
        """Stop deciding what was typed: nobody waits; what has begun is ended by `call.end`."""
        said = read_args(WithdrawCall, args)
        self._mine(said)
        waiting = self._typed.get((said.session_id, said.nonce))
        if waiting is not None:
            waiting.cancel()
        return {"found": waiting is not None}

    async def end(self, args: Reply, _: ControlConnection) -> Reply:
        """Write down how it ended."""
        said = read_args(EndCall, args)
        live = self._mine(said)
        ending = Ending(
            exit_code=said.exit_code,
            error=said.error,
            duration_ms=said.duration_ms,
            output_sha256=said.output_sha256,
            output_bytes=said.output_bytes,
        )
        await self._governor.handed.end(live.governed, said.call_id, ending)
        return {}
