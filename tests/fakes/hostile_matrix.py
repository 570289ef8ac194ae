"""Play the hostile matrix: each row and each round of answers, with each proved version.

Views are started from a process's main thread only, so the plays run in worker processes, a few at
a time. What comes back is text: it is compared with the recorded results and drawn as a page.
"""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

from agp.intendants.claude_code.version import PROVED
from tests.fakes.hostile_answers import ROUNDS, attack_of, ran
from tests.fakes.hostile_rows import OWN_RUNS, Row
from tests.fakes.hostile_run import ROOT, Trace, run_attack

VERSIONS = tuple(entry.version for entry in PROVED)
RECORD = ROOT / "tests/vectors/matrix/claude_code.json"
WORKERS = 3
"""Plays at once: each is one harness of about 200 MB that waits as often as it works."""
NOTHING = "----"


@dataclass(frozen=True, slots=True)
class Play:
    """One start of the harness: a row, a row's control, or a round of answers."""

    kind: Literal["row", "control", "round"]
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Played:
    """How it ended: the results to compare with the record, and what should not have been."""

    results: tuple[tuple[str, str], ...]
    troubles: tuple[str, ...] = ()


PLAYS = (
    *(Play("row", row.name, version) for row in OWN_RUNS for version in VERSIONS),
    *(Play("control", row.name, v) for row in OWN_RUNS if row.live for v in VERSIONS),
    *(Play("round", this.name, version) for this in ROUNDS for version in VERSIONS),
)


def play(plays: Iterable[Play]) -> dict[Play, Played]:
    """Play these, a few at once; each is bounded by the run's own deadline."""
    wanted = list(plays)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawn) as pool:
        return dict(zip(wanted, pool.map(_play, wanted), strict=True))


def _play(this: Play) -> Played:
    try:
        match this.kind:
            case "row":
                row = _row(this.name)
                return judge(row, run_attack(row.attack, this.version))
            case "control":
                return _control(_row(this.name), this.version)
            case "round":
                return _round(this.name, this.version)
    except Exception as error:  # noqa: BLE001 - one row's failure is that row's, told in its test
        return Played((), (f"{type(error).__name__}: {error}",))


def _row(name: str) -> Row:
    return next(row for row in OWN_RUNS if row.name == name)


def _control(row: Row, version: str) -> Played:
    trace = run_attack(row.control or row.attack, version, governed=False)
    dead = sorted(set(row.live) - trace.marks)
    return Played(
        ((row.name, ", ".join(row.live)),),
        (f"the attack is not live, there is no {', '.join(dead)}",) if dead else (),
    )


def _round(name: str, version: str) -> Played:
    this = next(this for this in ROUNDS if this.name == name)
    trace = run_attack(attack_of(this), version)
    found = ran(this, trace)
    grants = {answer.name for answer in this.answers if answer.grants}
    troubles = [
        f"{answer}: {letters}"
        for answer, letters in found.items()
        if letters != NOTHING and answer not in grants
    ]
    if "edited" in trace.marks:
        troubles.append("an edit ran that nobody granted")
    return Played(tuple(found.items()), tuple(troubles))


def judge(row: Row, trace: Trace) -> Played:
    """Say what ran, and whatever ran or changed beyond what the row may."""
    beyond = Counter(trace.executed) - Counter(row.tools)
    changed = trace.changed - {name for name, _ in row.attack.outside}
    found = (
        *(f"a mark: {mark}" for mark in sorted(trace.marks - row.marks)),
        *(f"executed: {tool}" for tool in sorted(beyond)),
        *(f"changed: {name}" for name in sorted(changed)),
        *(f"no meaning in the stream: {use}" for use in trace.said.unknown),
        *(("the secret was sent to the model",) if trace.leaked else ()),
    )
    return Played(((row.name, _result(row, trace)),), found)


def _result(row: Row, trace: Trace) -> str:
    ended = "" if trace.code == 0 else f" (exit {trace.code})"
    if not trace.asked and not trace.requests:
        return f"did not start{ended}"
    if row.races:
        return f"nothing beyond what was granted ran{ended}"
    if not trace.executed:
        return f"nothing ran{ended}"
    missing = sorted((Counter(row.tools) - Counter(trace.executed)).elements())
    less = f", without {', '.join(missing)}" if missing else ""
    return f"only what was granted ran{less}{ended}"


Recorded = dict[str, dict[str, dict[str, dict[str, str]]]]
"""Kind, name of the row or round, name of the answer or row, version: what was seen."""


def read_record() -> Recorded:
    """Read the recorded results."""
    found: Recorded = json.loads(RECORD.read_text())
    return found


def as_record(played: dict[Play, Played]) -> Recorded:
    """Arrange results as the record holds them."""
    record: Recorded = {"row": {}, "control": {}, "round": {}}
    for this, seen in played.items():
        for name, result in seen.results:
            versions = record[this.kind].setdefault(this.name, {}).setdefault(name, {})
            versions[this.version] = result
    return record
