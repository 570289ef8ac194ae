"""The arguments of the control operations, each a frozen value read at the daemon's edge."""

from __future__ import annotations

import json
from typing import Annotated, Literal, TypeVar

from pydantic import Field, JsonValue, ValidationError

from agp.contracts.base import CallId, Contract, Digest, SessionId
from agp.contracts.control import CallStory
from agp.contracts.intendant import ToolCall
from agp.contracts.policy import Grade
from agp.errors import MessageRefused
from agp.sandbox.places import PlacesPlan


class NoArgs(Contract):
    """The operation takes none."""


class OpenSession(Contract):
    """`session.open`: everything that is journaled before a harness starts."""

    intendant: str
    intendant_version: str
    workspace: str
    """Absolute and resolved."""
    grade: Grade
    launch_digest: Digest
    egress: tuple[str, ...] = ()
    """`host:port` names that the CONNECT proxy may dial."""
    model_upstream: str = ""
    """`host:port` behind the model relay; empty: there is no relay."""
    unsafe: tuple[str, ...] = ()
    carried: tuple[str, ...] = ()
    """What of the person's set-up goes back; names and digests."""
    interactive: bool = False
    """A person sits at the harness's own screen; there is no event stream."""
    observe: bool = False
    """The operator lets this session through from its first event on."""
    secrets: tuple[str, ...] = Field(default=(), repr=False)
    """Values handed to the harness that must not be journaled; kept in memory only."""
    call_views: bool = False
    """Shell calls run in views of their own: the launcher serves `call.sock`."""
    launcher_pid: int
    view_uid: int
    """The uid as which the harness runs: the only one that may ask."""


class OpenedSession(Contract):
    """What the launcher gets back."""

    session_id: SessionId
    ask_directory: str
    session_directory: str
    secret: str
    fencing_token: int
    policy_digest: Digest
    paused: str | None = None
    """Why no grants are given now; None: they are."""


class OfSession(Contract):
    """The operation is about one session and comes from its launcher."""

    session_id: SessionId
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class LiveView(Contract):
    """The view in which a harness lives, so that its masks can be looked at before each grant."""

    pid: Annotated[int, Field(gt=1)]
    """Of the view's pid 1, in the host's numbers."""
    places: PlacesPlan


class HooksAlive(OfSession):
    """`session.hooks_alive`: the stream shows the SessionStart hook started and answered."""

    view: LiveView


class AttachSession(OfSession):
    """`session.attach`: a launcher comes back after the daemon was away."""

    fencing_token: int
    secrets: tuple[str, ...] = Field(default=(), repr=False)
    view: LiveView | None
    """None: the hooks had not shown themselves alive before the break."""


class NoteSession(OfSession):
    """`session.note`: an event that only the launcher can see."""

    kind: Literal[
        "sandbox.started",
        "sandbox.preflight",
        "sandbox.stopped",
        "coverage.violated",
        "egress.allowed",
        "egress.refused",
        "harness.observed",
    ]
    payload: dict[str, JsonValue]


class ExecutedCall(Contract):
    """A call that the harness's own stream says was executed."""

    tool_use_id: str
    tool: str


class ReconcileSession(OfSession):
    """`session.reconcile`: the stream against the decisions."""

    executed: tuple[ExecutedCall, ...]


class EndSession(OfSession):
    """`session.end`: the launcher is done."""

    outcome: Literal["finished", "refused", "ungoverned", "harness_failed", "killed"]
    harness_exit: int | None = None


class ClosedSession(Contract):
    """What the launcher gets back from `session.end`."""

    stories: tuple[CallStory, ...]
    events: int
    violations: int


class MediateCall(OfSession):
    """`call.mediate`: a call that AGP decides and executes."""

    call: ToolCall
    argv: tuple[str, ...] = Field(min_length=1)
    stdin: bytes = b""


class StartCall(OfSession):
    """`call.start`: the view of a handed-over call stands ready; may it begin?"""

    call_id: CallId
    profile: Digest
    """Of the view that the call gets."""


class ServeProgram(OfSession):
    """`call.serve`: the harness wants an MCP server that the configuration names."""

    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """One for each start: asked again after a break it is the same start."""
    name: str
    argv: tuple[str, ...] = Field(min_length=1)
    digest: Digest
    """Of everything that was planned of it: argv, files with their hashes, environment, egress."""
    profile: Digest
    network: tuple[str, ...] = ()


class TypeCall(OfSession):
    """`call.typed`: somebody typed a command at the harness's own screen, says its view."""

    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    """The launcher's own, one for each: asked again after a break it is the same call."""
    command: Annotated[str, Field(min_length=1)]
    cwd: str
    profile: Digest
    """Of the view that the call gets."""


class WithdrawCall(OfSession):
    """`call.withdraw`: nobody waits any more for what was typed."""

    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class StartedCall(Contract):
    """`call.start`, `call.serve`, `call.typed`: it begins, and its beginning is journaled."""

    call_id: CallId
    command: str = ""
    """The shell text as it was decided; empty for a server, which the launcher planned itself."""
    cwd: str
    network: tuple[str, ...] = ()


class EndCall(OfSession):
    """`call.end`: what AGP began has ended."""

    call_id: CallId
    exit_code: Annotated[int, Field(ge=0, le=255)] | None
    error: Annotated[str, Field(max_length=2000)] = ""
    duration_ms: Annotated[int, Field(ge=0)]
    output_sha256: Digest
    output_bytes: Annotated[int, Field(ge=0)]


Args = TypeVar("Args", bound=Contract)


def read_args(model: type[Args], args: dict[str, JsonValue]) -> Args:
    """Read an operation's arguments strictly.

    Raises:
        MessageRefused: naming the first field that is not acceptable.
    """
    try:
        return model.model_validate_json(json.dumps(args))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise MessageRefused(
            "the daemon does not accept these arguments",
            where=field,
            why=first["msg"],
            fix="use the `agp` of the same version as the daemon",
        ) from error


def write_value(value: Contract) -> dict[str, JsonValue]:
    """Spell a frozen value for the control socket."""
    spelled: dict[str, JsonValue] = json.loads(value.model_dump_json())
    return spelled
