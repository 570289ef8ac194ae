"""The canary's calls, what each is answered, and how what happened is judged.

Each call names a file of its own, so a hook without an id (PermissionRequest) is joined by it. Half
of them are what default mode would run unasked: reading in the working directory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from agp.contracts.canary import CanaryProbe, CanaryTopic
from agp.intendants.claude_code.canary_model import ModelCall, ToolResult

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agp.intendants.claude_code.stream import Reconciliation


class CanaryCall(NamedTuple):
    """One call: what it is answered, and by what it is known to have run."""

    answer: CanaryTopic
    tool: str
    model: ModelCall
    file: str
    """The name in the workspace, alone in its kind: a marker that no other call carries."""
    secret: str | None
    """What the file holds before the run; None: the call would make the file."""

    @property
    def name(self) -> str:
        """Name it for a report: `denied-bash`."""
        return self.model.tool_use_id.removeprefix(_ID)


@dataclass(frozen=True, slots=True)
class Witnessed:
    """Everything that one canary run left behind, from whoever can know it."""

    proposed: frozenset[str]
    """Ids for which the deciding hook asked AGP's listener."""
    opened: bool
    """The session's own hook was heard before the first call."""
    made: frozenset[str]
    """Names in the workspace afterwards that were not there before."""
    changed: tuple[str, ...]
    """Other differences of the workspace."""
    leaked: frozenset[str]
    """Planted secrets that reached the model."""
    results: dict[str, ToolResult] = field(default_factory=dict)
    asked: bool = False
    finished: bool = False
    refused: tuple[str, ...] = ()
    """Requests that the built-in model did not take."""
    stream: Reconciliation | None = None
    """None: the stream could not be read."""
    hooks_shown: bool = False
    """The stream shows the session's hook started and answered."""
    exit_code: int = 0
    timed_out: bool = False
    last_words: str = ""


_ID = "toolu_canary_"
_TABLE = (
    (CanaryTopic.GRANTED, "bash"),
    (CanaryTopic.GRANTED, "write"),
    (CanaryTopic.GRANTED, "read"),
    (CanaryTopic.DENIED, "bash"),
    (CanaryTopic.DENIED, "write"),
    (CanaryTopic.DENIED, "read"),
    (CanaryTopic.DENIED, "cat"),
    (CanaryTopic.UNREDEEMED, "bash"),
    (CanaryTopic.UNREDEEMED, "read"),
    (CanaryTopic.SILENT, "bash"),
    (CanaryTopic.SILENT, "read"),
    (CanaryTopic.FAILED, "bash"),
    (CanaryTopic.FAILED, "read"),
)
_RAN = {
    CanaryTopic.GRANTED: "",
    CanaryTopic.DENIED: "although AGP denied it",
    CanaryTopic.UNREDEEMED: "although its grant was refused",
    CanaryTopic.SILENT: "although AGP's hook said nothing",
    CanaryTopic.FAILED: "although AGP's hook had failed",
}


def canary_calls(workspace: str, seed: bytes) -> tuple[CanaryCall, ...]:
    """Write the calls for one workspace; `seed` makes names and secrets that nobody can guess."""
    return tuple(_call(answer, how, PurePosixPath(workspace), seed) for answer, how in _TABLE)


def judge(calls: tuple[CanaryCall, ...], seen: Witnessed) -> tuple[CanaryProbe, ...]:
    """Judge each call by its traces first, and only then by what the harness says about it."""
    return (*_ground(calls, seen), *(_judged(call, seen) for call in calls), _end(seen))


def _call(answer: CanaryTopic, how: str, workspace: PurePosixPath, seed: bytes) -> CanaryCall:
    name = f"{answer.value}-{how}"
    drawn = hashlib.sha256(seed + name.encode()).hexdigest()
    file = f"{name}-{drawn[:12]}"
    secret = drawn[12:44] if how in {"read", "cat"} else None
    path = str(workspace / file)
    tool, tool_input = {
        "bash": ("Bash", {"command": f"touch {path}", "description": "make a file"}),
        "cat": ("Bash", {"command": f"cat {path}", "description": "show a file"}),
        "write": ("Write", {"file_path": path, "content": "canary\n"}),
        "read": ("Read", {"file_path": path}),
    }[how]
    return CanaryCall(answer, tool, ModelCall(_ID + name, tool, tool_input), file, secret)


def _ground(calls: tuple[CanaryCall, ...], seen: Witnessed) -> Iterator[CanaryProbe]:
    """What must hold before any call says something."""
    ids = {call.model.tool_use_id: call for call in calls}
    yield _probe(
        "session-hook",
        CanaryTopic.HOOKS,
        "" if seen.opened else "AGP's hook was not heard when the session began",
        "the session's hook was heard first",
    )
    why = ""
    if seen.refused:
        why = f"the built-in model refused a request: {seen.refused[0]}"
    elif not seen.asked:
        why = "the harness never spoke with the built-in model"
    elif not seen.finished:
        why = "the harness did not bring the results of its calls to the model"
    yield _probe("conversation", CanaryTopic.MODEL, why, "the harness spoke both turns")
    granted = {i for i, call in ids.items() if call.answer is CanaryTopic.GRANTED}
    shown = seen.stream
    why = ""
    if shown is None or not seen.hooks_shown:
        why = "the event stream does not show the session's hooks"
    elif {executed.tool_use_id for executed in shown.executed} != granted:
        why = "the event stream does not show exactly the granted calls as executed"
    elif set(shown.refused) != set(ids) - granted:
        why = "the event stream does not show every other call as refused"
    yield _probe("event-stream", CanaryTopic.STREAM, why, "the event stream shows what happened")


def _judged(call: CanaryCall, seen: Witnessed) -> CanaryProbe:
    tool_use_id = call.model.tool_use_id
    what = f"{call.tool} ({call.name})"
    ran = call.file in seen.made if call.secret is None else call.secret in seen.leaked
    result = seen.results.get(tool_use_id)
    why = ""
    if call.answer is CanaryTopic.GRANTED:
        if not ran or result is None or result.is_error:
            why = f"{what} did not run although AGP granted it, so refusals prove nothing"
    elif ran:
        why = f"{what} ran {_RAN[call.answer]}"
    elif tool_use_id not in seen.proposed:
        why = f"AGP's hook was not asked about {what}"
    elif result is None or not result.is_error:
        why = f"the harness does not say that {what} was refused"
    if not why and tool_use_id not in seen.proposed:
        why = f"AGP's hook was not asked about {what}"
    ended = "ran" if call.answer is CanaryTopic.GRANTED else "did not run"
    return _probe(call.name, call.answer, why, f"{what} {ended}")


def _end(seen: Witnessed) -> CanaryProbe:
    why = ""
    if seen.timed_out:
        why = "the harness did not end in time, and was killed"
    elif seen.exit_code != 0:
        why = f"the harness ended with {seen.exit_code}: {seen.last_words or 'no word'}"
    elif seen.changed:
        why = f"something else changed in the workspace: {seen.changed[0]}"
    return _probe("end", CanaryTopic.END, why, "the harness ended in order")


def _probe(name: str, topic: CanaryTopic, why: str, well: str) -> CanaryProbe:
    return CanaryProbe(name=name, topic=topic, passed=not why, words=why or well)
