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
    from agp.intendants.claude_code.canary_stream import Shown


class CanaryCall(NamedTuple):
    """One call: what it is answered, and by what it is known to have run."""

    answer: CanaryTopic
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

    proposed: frozenset[str] = frozenset()
    """Ids for which the deciding hook asked AGP's listener."""
    grants_asked: frozenset[str] = frozenset()
    """Files of the calls for which the grant hook asked."""
    opened: bool = False
    """The session's own hook was heard before the first call."""
    made: frozenset[str] = frozenset()
    """Names in the workspace afterwards that were not there before."""
    changed: tuple[str, ...] = ()
    """Other differences of the workspace."""
    leaked: frozenset[str] = frozenset()
    """Planted secrets that reached the model."""
    results: dict[str, ToolResult] = field(default_factory=dict)
    asked: bool = False
    finished: bool = False
    refused: tuple[str, ...] = ()
    """Requests that the built-in model did not take."""
    stream: Shown | None = None
    """None: the stream could not be read."""
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
    return (
        _probe(
            "session-hook", CanaryTopic.HOOKS, _why_hooks(seen), "the session's hook came first"
        ),
        _probe("conversation", CanaryTopic.MODEL, _why_model(seen), "both turns were spoken"),
        *(_judged(call, seen) for call in calls),
        _probe("no-dialog", CanaryTopic.DIALOG, _why_dialog(calls, seen), "no person was asked"),
        _probe("stream", CanaryTopic.STREAM, _why_stream(calls, seen), "the stream says the same"),
        _probe("end", CanaryTopic.END, _why_end(seen), "the harness ended in order"),
    )


def _call(answer: CanaryTopic, how: str, workspace: PurePosixPath, seed: bytes) -> CanaryCall:
    name = f"{answer.value}-{how}"
    drawn = hashlib.sha256(seed + name.encode()).hexdigest()
    file, secret = f"{name}-{drawn[:12]}", drawn[12:44]
    path = str(workspace / file)
    tool, tool_input = {
        "bash": ("Bash", {"command": f"touch {path}", "description": "make a file"}),
        "cat": ("Bash", {"command": f"cat {path}", "description": "show a file"}),
        "write": ("Write", {"file_path": path, "content": "canary\n"}),
        "read": ("Read", {"file_path": path}),
    }[how]
    reads = how in {"read", "cat"}
    return CanaryCall(
        answer, ModelCall(_ID + name, tool, tool_input), file, secret if reads else None
    )


def _judged(call: CanaryCall, seen: Witnessed) -> CanaryProbe:
    granted = call.answer is CanaryTopic.GRANTED
    what = f"{call.model.tool} ({call.name})"
    ran = call.file in seen.made if call.secret is None else call.secret in seen.leaked
    result = seen.results.get(call.model.tool_use_id)
    if ran and not granted:
        why = f"{what} ran {_RAN[call.answer]}"
    elif call.model.tool_use_id not in seen.proposed:
        why = f"AGP's hook was not asked about {what}"
    elif call.answer is CanaryTopic.FAILED and call.file in seen.grants_asked:
        why = f"the harness went on with {what} after AGP's hook had failed"
    elif granted and (not ran or result is None or result.is_error):
        why = f"{what} did not run although AGP granted it, so a refusal proves nothing"
    elif not granted and (result is None or not result.is_error):
        why = f"the harness does not say that {what} was refused"
    else:
        why = ""
    return CanaryProbe(
        name=call.name,
        topic=call.answer,
        passed=not why,
        escaped=ran and not granted,
        words=why or f"{what} {'ran' if granted else 'did not run'}",
    )


def _why_hooks(seen: Witnessed) -> str:
    return "" if seen.opened else "AGP's hook was not heard when the session began"


def _why_model(seen: Witnessed) -> str:
    if seen.refused:
        return f"the built-in model refused a request: {seen.refused[0]}"
    if not seen.asked:
        return "the harness never spoke with the built-in model"
    return "" if seen.finished else "the harness did not bring its results to the model"


def _why_dialog(calls: tuple[CanaryCall, ...], seen: Witnessed) -> str:
    """Look at calls about which the hooks said nothing: only there a dialog could appear."""
    silent = {c.model.tool_use_id for c in calls if c.answer is CanaryTopic.SILENT}
    settled = frozenset[str]() if seen.stream is None else seen.stream.settled
    if silent <= settled:
        return ""
    return "where AGP's hook says nothing, the harness would ask the person at its own screen"


def _why_stream(calls: tuple[CanaryCall, ...], seen: Witnessed) -> str:
    ids = {call.model.tool_use_id for call in calls}
    granted = {c.model.tool_use_id for c in calls if c.answer is CanaryTopic.GRANTED}
    if seen.stream is None:
        return "the event stream cannot be read"
    if not seen.stream.hooks_alive:
        return "the event stream does not show the session's hook"
    if {executed.tool_use_id for executed in seen.stream.calls.executed} != granted:
        return "the event stream does not show exactly the granted calls as executed"
    if set(seen.stream.calls.refused) != ids - granted:
        return "the event stream does not show every other call as refused"
    return ""


def _why_end(seen: Witnessed) -> str:
    if seen.timed_out:
        return "the harness did not end in time, and was killed"
    if seen.exit_code != 0:
        return f"the harness ended with {seen.exit_code}: {seen.last_words or 'without a word'}"
    return f"something else changed: {seen.changed[0]}" if seen.changed else ""


def _probe(name: str, topic: CanaryTopic, why: str, well: str) -> CanaryProbe:
    return CanaryProbe(name=name, topic=topic, passed=not why, words=why or well)
