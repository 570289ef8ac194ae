"""Calls that leave the harness: AGP runs them, and the harness's own tool is only the way in.

The harness is given another command in place of the model's. It sources a file of ours, which asks
AGP for the call by its name, relays the output and goes to the directory in which the call ended.
Everything else of the input stays: the time limit and the background are the harness's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agp.contracts.intendant import HandedOver
from agp.contracts.policy import ShellAction
from agp.contracts.strict_json import canonical_json
from agp.intendants.claude_code.canonical import read_input

if TYPE_CHECKING:
    from agp.contracts.base import CallId
    from agp.contracts.intendant import ToolCall

HAND_OVER_PATH: Final = "/opt/agp/hand-over"
"""In the view; `agp-shell` lets the harness's shell run nothing but a line that sources it."""
SHELL_PATH: Final = "/opt/agp/agp-shell"
TYPED_PATH: Final = "/opt/agp/agp-typed"
"""Reads what a person typed behind `!` out of the harness's script, for AGP to decide and run."""
_TOOLS: Final = frozenset({"Bash", "Monitor"})


def hand_over(call: ToolCall, call_id: CallId) -> HandedOver | None:
    """Give the harness's new input, and what AGP runs; None for a tool that starts no shell."""
    if call.tool not in _TOOLS or not isinstance(call.action, ShellAction):
        return None
    given = read_input(call.raw_input if call.effective_input is None else call.effective_input)
    edited = canonical_json(given | {"command": f". {HAND_OVER_PATH} {call_id}"})
    return HandedOver(effective_input=edited, command=call.action.command)
