"""The policy verdict: what a call would do, and what is decided about it."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from agp.contracts.base import Contract, Digest, RuleId


class Decision(StrEnum):
    """The order is allow < require < deny; the strictest wins."""

    ALLOW = "allow"
    REQUIRE = "require"
    DENY = "deny"

    @property
    def strictness(self) -> int:
        """0 for allow, 1 for require, 2 for deny."""
        return _STRICTNESS[self]


_STRICTNESS = {Decision.ALLOW: 0, Decision.REQUIRE: 1, Decision.DENY: 2}


class Grade(StrEnum):
    """How well the place in which a call runs is isolated, weakest first."""

    ADVISORY = "advisory"
    SHARED = "shared"
    CONFINED = "confined"
    CONTAINER = "container"
    CONTAINER_NO_EGRESS = "container-no-egress"

    def at_least(self, other: Grade) -> bool:
        """Tell whether this grade isolates at least as well as the other."""
        order = list(Grade)
        return order.index(self) >= order.index(other)


class Tier(StrEnum):
    """Where a rule comes from; `floor` and `uncovered` are the policy's own two answers."""

    FLOOR = "floor"
    ADMIN = "admin"
    USER = "user"
    DEFAULT = "default"
    WORKSPACE = "workspace"
    UNCOVERED = "uncovered"


class Label(StrEnum):
    """Closed list of remarks on an effect that rules can match."""

    OUTSIDE_WORKSPACE = "outside_workspace"
    RECURSIVE = "recursive"
    SECRET_PATH = "secret_path"  # noqa: S105 - a label, not a secret
    HISTORY = "history"
    SAFETY_OFF = "safety_off"
    CONTAINER_ESCAPE = "container_escape"
    DYNAMIC = "dynamic"
    UNDERSTOOD = "understood"
    """On an exec: the call's other effects say all that this program does with these words."""


class EffectKind(StrEnum):
    """Closed list of what a tool call can do."""

    EXEC = "exec"
    EXEC_WORKSPACE = "exec_workspace"
    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    CONNECT = "connect"
    LISTEN = "listen"
    SIGNAL = "signal"
    ENV = "env"
    PRIVILEGE = "privilege"
    PERSIST = "persist"
    GOVERN = "govern"
    MCP = "mcp"
    SPAWN_AGENT = "spawn_agent"
    HARNESS = "harness"
    FLOW = "flow"
    OPAQUE = "opaque"


class FlowSource(StrEnum):
    """Where the data of a flow comes from."""

    REMOTE = "remote"
    SECRET = "secret"  # noqa: S105 - a word of the vocabulary
    WORKSPACE = "workspace"


class FlowSink(StrEnum):
    """Where the data of a flow goes to."""

    INTERPRETER = "interpreter"
    NETWORK = "network"
    PUBLIC_PLACE = "public_place"


class Effect(Contract):
    """One thing that a call would do.

    `subject` is what path, host, tool and name patterns match: a resolved absolute path for
    read, write, delete, exec_workspace and persist; `host` for connect; the agent type, the
    harness tool, the variable, the capability for the kinds named so; `server/tool` for mcp;
    `source>sink` for flow; the reason why nothing more is known for opaque.
    """

    kind: EffectKind
    subject: str
    argv: tuple[str, ...] = ()
    """For exec: the resolved words; argv[0] as written, `subject` the resolved executable."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """For connect and listen."""
    source: FlowSource | None = None
    sink: FlowSink | None = None
    arguments_json: str | None = None
    """For mcp: the canonical JSON text of the arguments."""
    labels: frozenset[Label] = frozenset()

    @property
    def endpoint(self) -> str:
        """Spell host and port as they are shown, journaled and opened; the subject without one."""
        if self.port is None:
            return self.subject
        host = f"[{self.subject}]" if ":" in self.subject else self.subject
        return f"{host}:{self.port}"

    def describe(self) -> str:
        """Say the effect in one line of words; untrusted parts are not made visible here."""
        subject = " ".join(self.argv) if self.argv else self.endpoint
        marks = f" [{', '.join(sorted(self.labels))}]" if self.labels else ""
        return f"{self.kind.value}({subject}){marks}"


class EffectVerdict(Contract):
    """What the truth table says about one effect, and by which rule."""

    effect: Effect
    decision: Decision
    rule_id: RuleId
    tier: Tier
    reason: str
    """For the agent: what to do instead."""
    hint: str = ""
    """For the operator: which rule would cover it."""
    approvers: frozenset[str] | None = None
    """None: whoever the channel trusts. Never empty: an empty intersection is a deny."""
    quorum: Annotated[int, Field(ge=1, le=10)] = 1
    expires_s: Annotated[int, Field(ge=1, le=86_400)] | None = None


class Verdict(Contract):
    """The decision about one call: the strictest over its effects, with all of them."""

    decision: Decision
    rule_id: RuleId
    tier: Tier
    reason: str
    hint: str = ""
    approvers: frozenset[str] | None = None
    quorum: Annotated[int, Field(ge=1, le=10)] = 1
    expires_s: Annotated[int, Field(ge=1, le=86_400)] | None = None
    policy_digest: Digest
    grade: Grade
    effects: tuple[EffectVerdict, ...] = Field(min_length=1)
    liftable: bool = False
    """Observe mode would let it through: it asks or denies, and no floor or admin stands there."""
    would_be: Decision | None = None
    """In observe mode only: what `rule_id` says, where `decision` lets the call through."""


class PathFacts(Contract):
    """What the file system says about one path that a call names; resolved outside the policy."""

    raw: str
    """As the call wrote it."""
    resolved: str
    """Absolute, every link followed, `..` removed; parents that do not exist are kept."""
    in_workspace: bool
    in_agp: bool
    """Below AGP's home, the bridge, the managed settings or another place that is AGP's own."""
    executing_place: bool
    """Below one of the workspace's executing places (system.md §9)."""
    agent_writable: bool
    """Whether the call's view may write there: the workspace, HOME and /tmp of the view."""
    secret: bool
    """A place that holds credentials by convention (.env, .ssh, .netrc, key files...)."""


class ExecutableFacts(Contract):
    """What argv[0] is, resolved outside the policy with the PATH of the view."""

    word: str
    resolved: str | None
    """None: not found."""
    agent_writable: bool
    in_agp: bool = False
    """It is AGP itself: only a harness outside every view ever finds it."""


class World(Contract):
    """Everything the policy needs to know of the outside about one call, as values."""

    workspace: str
    """Resolved, as every path here."""
    cwd: str
    home: str = "/home/agent"
    """HOME of the view in which the call runs; what `~` means in a path pattern."""
    paths: tuple[PathFacts, ...] = ()
    executables: tuple[ExecutableFacts, ...] = ()
    intendant: str = ""
    agent_id: str | None = None
    session_id: str = ""
    harness_shell: bool = True
    """The harness's own shell runs commands, with its functions in front of programs; not where
    each call has a view of its own."""


class ShellAction(Contract):
    """Run a shell command line."""

    type: Literal["shell"] = "shell"
    command: str
    background: bool = False


class ExecAction(Contract):
    """Run a program without a shell."""

    type: Literal["exec"] = "exec"
    argv: tuple[str, ...] = Field(min_length=1)


class ReadAction(Contract):
    """Read a file or list a directory."""

    type: Literal["read"] = "read"
    path: str
    recursive: bool = False


class WriteAction(Contract):
    """Create or change a file."""

    type: Literal["write"] = "write"
    path: str
    reads: bool = False
    """An edit also reads."""


class FileChange(Contract):
    """One file of a patch."""

    path: str
    change: Literal["add", "update", "delete"]
    moved_to: str | None = None


class PatchAction(Contract):
    """Change several files in one call."""

    type: Literal["patch"] = "patch"
    changes: tuple[FileChange, ...] = Field(min_length=1)


class FetchAction(Contract):
    """Fetch a URL, or search the web (`url` empty: the target is not known)."""

    type: Literal["fetch"] = "fetch"
    url: str


class McpAction(Contract):
    """Call a tool of an MCP server."""

    type: Literal["mcp"] = "mcp"
    server: str
    tool: str
    arguments_json: str


class SpawnAction(Contract):
    """Start a sub-agent."""

    type: Literal["spawn_agent"] = "spawn_agent"
    agent_type: str


class HarnessAction(Contract):
    """Change only the harness's own state (a to-do list, a mode)."""

    type: Literal["harness"] = "harness"
    tool: str


class UnknownAction(Contract):
    """A tool that the adapter does not know: opaque."""

    type: Literal["unknown"] = "unknown"
    tool: str
    why: str


Action = Annotated[
    ShellAction
    | ExecAction
    | ReadAction
    | WriteAction
    | PatchAction
    | FetchAction
    | McpAction
    | SpawnAction
    | HarnessAction
    | UnknownAction,
    Field(discriminator="type"),
]
"""A tool call in words that every harness shares; each intendant maps its tools to these."""
