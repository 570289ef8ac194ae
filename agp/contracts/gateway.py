r"""The gateway message: the bridge's frame, and the operator's control message.

The frame (frozen, ADR 0004). Request: `AGP1 <harness> <event> <body-length>\n` and exactly that
many bytes. Reply: zero or more `AGP1 wait\n`, then `AGP1 <exit-code> <stdout-length>
<stderr-length>\n` and both. One request for each connection, no half-close before the reply.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from agp.contracts.base import Contract

FRAME_MAGIC = b"AGP1"
MAX_BODY = 8 * 1024 * 1024
"""Bytes of a hook's stdin that AGP accepts."""
MAX_REPLY = 1024 * 1024
"""Bytes of each reply stream that a bridge accepts."""
CONTROL_VERSION = 1


class HookEvent(StrEnum):
    """The hook events that AGP listens to, named as the harnesses name them."""

    PRE_TOOL_USE = "PreToolUse"
    PERMISSION_REQUEST = "PermissionRequest"
    POST_TOOL_USE = "PostToolUse"
    POST_TOOL_USE_FAILURE = "PostToolUseFailure"
    POST_TOOL_BATCH = "PostToolBatch"
    SESSION_START = "SessionStart"
    SESSION_END = "SessionEnd"
    USER_PROMPT_SUBMIT = "UserPromptSubmit"


class HookRequest(Contract):
    """One hook call as it arrived; the body is the hook's stdin, untouched."""

    harness: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")]
    event: HookEvent
    body: Annotated[bytes, Field(max_length=MAX_BODY)]


class HookReply(Contract):
    """What the bridge writes and how it exits, byte for byte."""

    exit_code: Annotated[int, Field(ge=0, le=255)]
    stdout: Annotated[bytes, Field(max_length=MAX_REPLY)] = b""
    stderr: Annotated[bytes, Field(max_length=MAX_REPLY)] = b""


class Peer(Contract):
    """Who is on the other end of a Unix socket, from the kernel (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


class ControlOp(StrEnum):
    """What the operator's socket understands; every name is `noun.verb`."""

    DAEMON_STATUS = "daemon.status"
    DAEMON_STOP = "daemon.stop"
    SESSION_OPEN = "session.open"
    SESSION_ATTACH = "session.attach"
    SESSION_HOOKS_ALIVE = "session.hooks_alive"
    SESSION_NOTE = "session.note"
    SESSION_RECONCILE = "session.reconcile"
    SESSION_END = "session.end"
    SESSION_LIST = "session.list"
    SESSION_KILL = "session.kill"
    SESSION_OBSERVE = "session.observe"
    CALL_MEDIATE = "call.mediate"
    CALL_START = "call.start"
    CALL_SERVE = "call.serve"
    CALL_TYPED = "call.typed"
    CALL_WITHDRAW = "call.withdraw"
    CALL_END = "call.end"
    APPROVAL_LIST = "approval.list"
    APPROVAL_ANSWER = "approval.answer"
    CONTROL_PAUSE = "control.pause"
    CONTROL_RESUME = "control.resume"
    POLICY_RELOAD = "policy.reload"
    CANARY_RECORD = "canary.record"


class ControlRequest(Contract):
    """One line of JSON from the operator's side."""

    v: Literal[1] = 1
    id: Annotated[int, Field(ge=0)]
    """Chosen by the client; the reply carries it."""
    op: ControlOp
    args: dict[str, JsonValue] = Field(default_factory=dict)
    """Validated by the operation's own contract at the daemon's edge."""


class ControlFailure(Contract):
    """An error of the tree, as it crosses the socket."""

    code: str
    what: str
    where: str = ""
    why: str = ""
    fix: str = ""


class ControlReply(Contract):
    """One line of JSON back: either a result or a failure."""

    v: Literal[1] = 1
    id: int
    ok: bool
    result: dict[str, JsonValue] = Field(default_factory=dict)
    failure: ControlFailure | None = None


class ControlNotice(Contract):
    """A line that the daemon pushes to a lease's connection, unasked."""

    v: Literal[1] = 1
    notice: Literal["approval", "killed", "reaped", "egress_refused", "observe", "daemon_stopping"]
    body: dict[str, JsonValue] = Field(default_factory=dict)
