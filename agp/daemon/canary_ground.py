"""The ground of a canary: a workspace that exists for one run, who answers in it, what is left."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from agp.contracts.canary import CanaryTopic
from agp.contracts.display import visible
from agp.contracts.gateway import HookEvent, HookReply, HookRequest
from agp.contracts.intendant import (
    Allowed,
    CallProposed,
    Denied,
    GrantAsked,
    Noted,
    Ruling,
    SessionOpened,
)
from agp.gateway.ask import Exchange, Waiter
from agp.intendants.claude_code.canary_calls import CanaryCall, Witnessed
from agp.intendants.claude_code.canary_model import CanaryModel
from agp.intendants.claude_code.canary_stream import read_stream
from agp.intendants.claude_code.hooks import ClaudeCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agp.sandbox.host import RunAs

_SCRATCH: Final = "/tmp"  # noqa: S108 - a directory of our own in it, 0700, removed at once
_LAST_WORDS: Final = 300
_GRANTED: Final = Allowed(reason="granted by AGP's canary")
_DENIED: Final = Denied(reason="denied by AGP's canary")
_SAID_NOTHING: Final = {
    CanaryTopic.SILENT: HookReply(exit_code=0),
    CanaryTopic.FAILED: HookReply(exit_code=1),
}


class Ended(NamedTuple):
    """How the harness of a canary ended, and what it wrote."""

    exit_code: int
    timed_out: bool
    stdout: bytes
    stderr: bytes


class CanaryAnswers:
    """Answers a harness's hooks as the table of calls says, through the real adapter."""

    def __init__(self, calls: tuple[CanaryCall, ...]) -> None:
        self._calls = calls
        self._intendant = ClaudeCode()
        self.opened = False
        """The session's hook was heard before any call."""
        self.proposed: set[str] = set()
        self.grants_asked: set[str] = set()
        """Files of the calls for which the grant hook asked."""

    async def __call__(self, request: HookRequest, _: Waiter) -> Exchange:
        """Answer one hook; what belongs to no call is denied.

        Raises:
            MessageRefused: the hook's payload is not understood.
        """
        message = self._intendant.parse(request)
        match message:
            case CallProposed():
                self.proposed.add(message.call.tool_use_id)
                reply = self._decide(request, message.call.raw_input)
            case GrantAsked():
                named = _named(self._calls, message.raw_input)
                self.grants_asked |= {call.file for call in named}
                reply = self._decide(request, message.raw_input)
            case SessionOpened():
                self.opened = self.opened or not self.proposed
                reply = self._intendant.format(request, Noted())
            case _:
                reply = self._intendant.format(request, Noted())
        return Exchange(reply)

    def _decide(self, request: HookRequest, raw_input: bytes) -> HookReply:
        named = _named(self._calls, raw_input)
        answer = named[0].answer if len(named) == 1 else CanaryTopic.DENIED
        said = _SAID_NOTHING.get(answer)
        return said or self._intendant.format(request, _ruling(answer, request.event))


@contextmanager
def canary_place(who: RunAs) -> Iterator[Path]:
    """Make `work` and `home` for the harness and `ask` for our sockets; remove all of it."""
    with tempfile.TemporaryDirectory(prefix="agp-canary-", dir=_SCRATCH) as top:
        place = Path(top)
        for name in ("work", "home"):
            (place / name).mkdir(mode=0o700)
            _give(place / name, who)
        (place / "ask").mkdir(mode=0o755)
        yield place


def plant(work: Path, calls: tuple[CanaryCall, ...], who: RunAs) -> None:
    """Write the files that the calls would read, each with a secret of its own."""
    for call in calls:
        if call.secret is not None:
            path = work / call.file
            path.write_text(call.secret)
            _give(path, who)


def canary_model(calls: tuple[CanaryCall, ...]) -> CanaryModel:
    """Make the model that asks for these calls, and listens for their secrets."""
    secrets = (call.secret for call in calls if call.secret is not None)
    return CanaryModel((call.model for call in calls), secrets)


def everything(work: Path) -> dict[str, bytes]:
    """Give each file's content by its name below the workspace; a directory has none."""
    return {
        str(path.relative_to(work)): path.read_bytes() if path.is_file() else b""
        for path in sorted(work.rglob("*"))
        if not path.is_symlink()
    }


def witness(
    before: dict[str, bytes],
    after: dict[str, bytes],
    calls: tuple[CanaryCall, ...],
    heard: tuple[CanaryAnswers, CanaryModel],
    ended: Ended,
) -> Witnessed:
    """Put together what each of them knows, once nothing of the harness is left."""
    answers, model = heard
    ours = {call.file for call in calls}
    differing = {name for name in before | after if before.get(name) != after.get(name)}
    return Witnessed(
        proposed=frozenset(answers.proposed),
        grants_asked=frozenset(answers.grants_asked),
        opened=answers.opened,
        made=frozenset(after.keys() - before.keys()),
        changed=tuple(sorted(differing - (ours - before.keys()))),
        leaked=frozenset(model.leaked),
        results=dict(model.results),
        asked=model.asked,
        finished=model.finished,
        refused=tuple(model.refused),
        stream=read_stream(ended.stdout),
        exit_code=ended.exit_code,
        timed_out=ended.timed_out,
        last_words=_last_words(ended.stderr),
    )


def _named(calls: tuple[CanaryCall, ...], raw_input: bytes) -> list[CanaryCall]:
    return [call for call in calls if call.file.encode() in raw_input]


def _ruling(answer: CanaryTopic, event: HookEvent) -> Ruling:
    """Allow only what is granted, and the first half of what is not redeemed."""
    if answer is CanaryTopic.GRANTED:
        return _GRANTED
    if answer is CanaryTopic.UNREDEEMED and event is HookEvent.PRE_TOOL_USE:
        return _GRANTED
    return _DENIED


def _last_words(stderr: bytes) -> str:
    return visible(stderr.decode("utf-8", "replace").strip()[-_LAST_WORDS:], limit=_LAST_WORDS)


def _give(path: Path, who: RunAs) -> None:
    if who.staged:
        os.chown(path, who.uid, who.gid)
