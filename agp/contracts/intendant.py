"""The intendant: how one harness speaks, in words that every harness shares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from agp.contracts.base import CallId, Contract
from agp.contracts.policy import Action

if TYPE_CHECKING:
    from agp.contracts.gateway import HookReply, HookRequest


class ToolCall(Contract):
    """One tool call that an agent wants to make. All of it is a claim of an untrusted peer."""

    harness_session: str
    tool_use_id: str
    agent_id: str | None
    cwd: str
    tool: str
    raw_input: bytes
    """The bytes of the tool input exactly as the hook wrote them: what a commitment covers."""
    effective_input: bytes | None = None
    """The adapter's own edit as JSON text; None: as it came. It is what is decided on, shown,
    bound, ticketed and sent back as the edit; `raw_input` stays what a commitment covers."""
    granted_by: Literal["ticket", "answer"] = "ticket"
    """`answer`: the harness asks no second time for this tool, so no ticket is deposited."""
    action: Action
    says: str = ""
    """The model's own description of the call."""


class CallProposed(Contract):
    """The deciding hook: may this call run?"""

    type: Literal["proposed"] = "proposed"
    call: ToolCall
    mode: str = ""
    """The harness's own permission mode, as it says; it grants nothing here."""


class GrantAsked(Contract):
    """The grant hook: redeem a ticket for exactly this; it carries no tool_use_id."""

    type: Literal["grant"] = "grant"
    harness_session: str
    agent_id: str | None
    cwd: str
    tool: str
    raw_input: bytes


class OutcomeReported(Contract):
    """A call ended, says the harness."""

    type: Literal["outcome"] = "outcome"
    harness_session: str
    tool_use_id: str
    tool: str
    ok: bool | None
    """None: it ended, and the harness does not say how."""
    error: str = ""
    output: bytes = b""
    duration_ms: int | None = None
    background: bool = False
    """True: it was only started; its end is unknown unless observed."""


class BatchReported(Contract):
    """The calls of one message ended; carries what was really tried, denied ones included."""

    type: Literal["batch"] = "batch"
    harness_session: str
    tool_use_ids: tuple[str, ...]


class SessionOpened(Contract):
    """The harness's own session began: its id is bound to the listener from here on."""

    type: Literal["session_opened"] = "session_opened"
    harness_session: str
    source: str
    cwd: str | None = None
    """Where it works; None where the harness does not say."""


class SessionClosed(Contract):
    """The harness's own session ended."""

    type: Literal["session_closed"] = "session_closed"
    harness_session: str
    reason: str


class PromptSubmitted(Contract):
    """A prompt is about to reach the model; what it mentions is read without a further hook."""

    type: Literal["prompt"] = "prompt"
    harness_session: str
    cwd: str
    mode: str
    """The harness's own permission mode, as it says; empty where it says none."""
    mentions: tuple[ToolCall, ...]
    """Each mentioned path, as the read that it amounts to."""
    picture: bool = False
    """It brings along a picture that the harness read by itself, from whatever file."""


HookMessage = Annotated[
    CallProposed
    | GrantAsked
    | OutcomeReported
    | BatchReported
    | SessionOpened
    | SessionClosed
    | PromptSubmitted,
    Field(discriminator="type"),
]


class Allowed(Contract):
    """An explicit allow; the only value that lets anything run."""

    type: Literal["allowed"] = "allowed"
    reason: str
    additional_context: str = ""
    updated_input_json: str | None = None


class Denied(Contract):
    """A refusal with the reason that the agent is told."""

    type: Literal["denied"] = "denied"
    reason: str


class Noted(Contract):
    """An observation was taken; nothing is decided by it."""

    type: Literal["noted"] = "noted"


Ruling = Allowed | Denied | Noted


class HandedOver(Contract):
    """A call that AGP itself runs, in a view of its own; the harness's tool is only the way in."""

    effective_input: bytes
    """What the harness gets in place of the model's input: it names the call and nothing else."""
    command: str
    """The shell text that AGP runs: the call as it was decided."""


class Intendant(Protocol):
    """The daemon's half of an adapter: parse what the hook said, format what it must hear."""

    @property
    def name(self) -> str:
        """`claude-code`, `codex`, `scripted`."""
        ...

    def parse(self, request: HookRequest) -> HookMessage:
        """Read one hook call. Raises `MessageRefused` for anything not understood."""
        ...

    def format(self, request: HookRequest, ruling: Ruling) -> HookReply:
        """Write the finished bytes for this harness and event."""
        ...

    def canonical_input(self, tool: str, raw_input: bytes, cwd: str) -> bytes:
        """Give the canonical effective input as both hooks' inputs must spell it.

        `cwd` is the call's: a relative path is the same call as the absolute one (measured).
        """
        ...

    def hand_over(self, call: ToolCall, call_id: CallId) -> HandedOver | None:
        """Say how AGP runs this call in the harness's place; None: the harness runs it itself."""
        ...


class StreamItem(Contract):
    """What the launcher reads from a harness's own event stream, in shared words."""

    type: Literal[
        "hook_started",
        "hook_finished",
        "tool_use",
        "tool_result",
        "result",
        "text",
        "server_failed",
    ]
    tool_use_id: str = ""
    tool: str = ""
    event: str = ""
    """For hook_started and hook_finished: the hook's event name."""
    refused: bool = False
    """For tool_result: the harness says that the call was refused, so it did not run."""
    ok: bool = True
    text: str = ""


class StreamReader(Protocol):
    """The launcher's half: one line of the harness's stdout to what it says."""

    def read(self, line: bytes) -> tuple[StreamItem, ...]:
        """Parse one line; unknown items are no items, garbage raises `MessageRefused`."""
        ...


class LaunchPlan(Contract):
    """Everything that starts one harness, before it is confined. Digested and journaled."""

    intendant: str
    version: str
    argv: tuple[str, ...] = Field(min_length=1)
    """As seen inside the view."""
    environment: tuple[tuple[str, str], ...]
    """The whole environment, built from empty."""
    files: tuple[tuple[str, bytes], ...]
    """Read-only files of ours inside the view: path, content (settings, bridge, forwarder)."""
    harness_files: tuple[tuple[str, str], ...]
    """Read-only binds: path on the host, path in the view."""
    home_files: tuple[tuple[str, str, bool], ...] = ()
    """Binds over the session's HOME: path on the host, path below HOME, writable."""
    settings_digest: str
    harness_digest: str = ""
    """SHA-256 of the harness's executable; empty where AGP executes the calls itself."""
    unsafe: tuple[str, ...] = ()
    interactive: bool = False
    """The harness draws its own screen, on a terminal that AGP makes for it."""
