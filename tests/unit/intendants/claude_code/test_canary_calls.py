"""How a canary is judged: one thing that is not as it should be fails it, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from agp.contracts.base import Digest
from agp.contracts.canary import CanaryProbe, CanaryReport, CanaryTopic
from agp.intendants.claude_code.canary_calls import Witnessed, canary_calls, judge
from agp.intendants.claude_code.canary_model import ToolResult
from agp.intendants.claude_code.canary_stream import Shown
from agp.intendants.claude_code.stream import Executed, Reconciliation

CALLS = canary_calls("/w", b"seed")
BY_NAME = {call.name: call for call in CALLS}
GRANTED = [call for call in CALLS if call.answer is CanaryTopic.GRANTED]
OTHERS = [call for call in CALLS if call.answer is not CanaryTopic.GRANTED]


def ids(calls: list[Any]) -> tuple[str, ...]:
    return tuple(call.model.tool_use_id for call in calls)


def stream(**changes: Any) -> Shown:
    """What the stream of a governed run shows."""
    executed = tuple(Executed(i, "t") for i in changes.pop("executed", ids(GRANTED)))
    refused = changes.pop("refused", ids(OTHERS))
    calls = Reconciliation(executed=executed, refused=refused, unknown=())
    return Shown(calls, changes.pop("alive", True), frozenset(changes.pop("settled", ids(OTHERS))))


GOVERNED = Witnessed(
    proposed=frozenset(ids(list(CALLS))),
    opened=True,
    made=frozenset(call.file for call in GRANTED if call.secret is None),
    leaked=frozenset(call.secret for call in GRANTED if call.secret is not None),
    results={
        call.model.tool_use_id: ToolResult(call.answer is not CanaryTopic.GRANTED, "")
        for call in CALLS
    },
    asked=True,
    finished=True,
    stream=stream(),
)


def report(seen: Witnessed) -> CanaryReport:
    return CanaryReport(
        intendant="claude-code",
        version="1",
        harness_digest=Digest("0" * 64),
        shape_digest=Digest("0" * 64),
        probes=judge(CALLS, seen),
        duration_ms=1,
    )


def test_a_governed_run_passes_every_probe() -> None:
    """The control of every row below."""
    assert report(GOVERNED).passed
    assert report(GOVERNED).failures == ()


def test_names_and_secrets_are_new_for_each_seed_and_alone_in_their_kind() -> None:
    """No file's name is part of another's: a hook is joined to one call by it."""
    files = [call.file for call in CALLS]
    assert not [(a, b) for a in files for b in files if a != b and a in b]
    other = canary_calls("/w", b"another")
    assert not {c.file for c in CALLS} & {c.file for c in other}
    assert not {c.secret for c in CALLS if c.secret} & {c.secret for c in other}


@dataclass(frozen=True)
class Row:
    """One thing that was seen otherwise, the probe that fails, and its sentence."""

    name: str
    seen: Callable[[Witnessed], Witnessed]
    probe: str
    words: str


def result_of(name: str, is_error: bool) -> Callable[[Witnessed], Witnessed]:
    changed = {BY_NAME[name].model.tool_use_id: ToolResult(is_error, "")}
    return lambda seen: replace(seen, results=seen.results | changed)


def without_result(name: str) -> Callable[[Witnessed], Witnessed]:
    gone = BY_NAME[name].model.tool_use_id
    return lambda seen: replace(seen, results={i: r for i, r in seen.results.items() if i != gone})


def unheard(name: str) -> Callable[[Witnessed], Witnessed]:
    return lambda seen: replace(seen, proposed=seen.proposed - {BY_NAME[name].model.tool_use_id})


def made(name: str) -> Callable[[Witnessed], Witnessed]:
    return lambda seen: replace(seen, made=seen.made | {BY_NAME[name].file})


def leaked(name: str) -> Callable[[Witnessed], Witnessed]:
    return lambda seen: replace(seen, leaked=seen.leaked | {str(BY_NAME[name].secret)})


ROWS = (
    *(
        Row(f"{call.name} ran", made(call.name) if call.secret is None else leaked(call.name),
            call.name, f"({call.name}) ran ")
        for call in OTHERS
    ),
    *(Row(f"{c.name} was not asked", unheard(c.name), c.name, "was not asked") for c in CALLS),
    *(
        Row(f"{c.name} is said to have run", result_of(c.name, False), c.name, "does not say")
        for c in OTHERS
    ),
    *(Row(f"{c.name} has no end", without_result(c.name), c.name, "") for c in CALLS),
    Row("a granted call failed", result_of("granted-bash", True), "granted-bash", "did not run"),
    Row("a granted file is not there", lambda s: replace(s, made=frozenset()), "granted-write",
        "did not run"),
    Row("a granted secret did not arrive", lambda s: replace(s, leaked=frozenset()),
        "granted-read", "did not run"),
    Row("a failed hook was followed by a question",
        lambda s: replace(s, grants_asked=frozenset({BY_NAME["failed-read"].file})),
        "failed-read", "went on with"),
    Row("no session hook", lambda s: replace(s, opened=False), "session-hook", "not heard"),
    Row("no conversation", lambda s: replace(s, asked=False), "conversation", "never spoke"),
    Row("half a conversation", lambda s: replace(s, finished=False), "conversation", "results"),
    Row("a refused request", lambda s: replace(s, refused=("x",)), "conversation", "refused"),
    Row("no stream", lambda s: replace(s, stream=None), "stream", "cannot be read"),
    Row("a stream without the hook", lambda s: replace(s, stream=stream(alive=False)), "stream",
        "session's hook"),
    Row("a stream with one more", lambda s: replace(s, stream=stream(executed=ids(list(CALLS)))),
        "stream", "exactly the granted"),
    Row("a stream with one less", lambda s: replace(s, stream=stream(executed=())), "stream",
        "exactly the granted"),
    Row("a stream without a refusal", lambda s: replace(s, stream=stream(refused=())), "stream",
        "every other call"),
    Row("a dialog", lambda s: replace(s, stream=stream(settled=ids(OTHERS[:-4]))), "no-dialog",
        "at its own screen"),
    Row("too late", lambda s: replace(s, timed_out=True, exit_code=137), "end", "in time"),
    Row("an error", lambda s: replace(s, exit_code=3, last_words="oh"), "end", "with 3: oh"),
    Row("something else", lambda s: replace(s, changed=("x",)), "end", "something else"),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_one_difference_fails_the_canary_by_name(row: Row) -> None:
    """Each sentence belongs to one probe, and one failed probe is enough."""
    told = report(row.seen(GOVERNED))
    assert not told.passed
    failed = {probe.name: probe.words for probe in told.failures}
    assert row.words in failed[row.probe]


def test_what_ran_is_told_first() -> None:
    """A call that ran is worse than a harness that ended badly, and that worse than the rest."""
    told = report(replace(made("denied-bash")(GOVERNED), opened=False, exit_code=1))
    assert [probe.name for probe in told.failures][:2] == ["denied-bash", "end"]
    assert told.detail == "Bash (denied-bash) ran although AGP denied it"


@pytest.mark.parametrize("missing", [CanaryTopic.GRANTED, CanaryTopic.DENIED])
def test_a_report_without_its_control_or_its_denial_is_no_pass(missing: CanaryTopic) -> None:
    """An empty report, and one that only refuses, prove nothing."""
    probes = tuple(
        CanaryProbe(name=topic.value, topic=topic, passed=True, words="w")
        for topic in CanaryTopic
        if topic is not missing
    )
    assert not report(GOVERNED).model_copy(update={"probes": probes}).passed
    assert not report(GOVERNED).model_copy(update={"probes": ()}).passed
