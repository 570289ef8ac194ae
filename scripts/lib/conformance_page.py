"""Draw the results of the hostile matrix as the generated part of docs/conformance.md."""

from __future__ import annotations

import re
from itertools import groupby

from tests.fakes.hostile_answers import GRANT, MODES, PRE, ROUNDS, Round
from tests.fakes.hostile_matrix import VERSIONS, Recorded
from tests.fakes.hostile_rows import OWN_RUNS

WIDEST = 150
"""Characters of a cell that says what is tried; the rows themselves have all of it."""
ABSENT = "not recorded"
"""A row that nobody has played with this version; the matrix's own test then fails."""
HEADINGS = {PRE: "The deciding hook (PreToolUse)", GRANT: "The grant hook (PermissionRequest)"}


def matrix_page(record: Recorded) -> str:
    """Give the whole generated part: a count, the answers, then a table for each family."""
    parts = [_count(record), *(_answers(event, record) for event in (PRE, GRANT))]
    for family, rows in groupby(OWN_RUNS, lambda row: row.family):
        lines = _head("row", "what it tries", *VERSIONS, "the same against an ordinary governor")
        for row in rows:
            by = record["row"].get(row.name, {}).get(row.name, {})
            live = record["control"].get(row.name, {}).get(row.name, {})
            alive = f"works: {', '.join(sorted(set(live.values())))}" if live else ""
            lines.append(
                _line(row.name, _safe(row.tries), *(by.get(v, ABSENT) for v in VERSIONS), alive)
            )
        parts.append(f"### {family[0].upper()}{family[1:]}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _count(record: Recorded) -> str:
    tried = sum(len(this.answers) for this in ROUNDS)
    return (
        f"{len(OWN_RUNS)} rows of their own, {len(record['control'])} of them with a control, and "
        f"{tried} answers of hooks; each with {' and '.join(VERSIONS)}."
    )


def _answers(event: str, record: Recorded) -> str:
    lines = _head("answer", *(f"{m.name}, {v}" for m in MODES for v in VERSIONS))
    for hangs in (False, True):
        rounds = [this for this in ROUNDS if (this.event, this.hangs) == (event, hangs)]
        answers = rounds[0].answers
        lines += [_line(a.name, *_cells(a.name, rounds, record)) for a in answers]
    return f"### {HEADINGS[event]}\n\n" + "\n".join(lines)


def _cells(answer: str, rounds: list[Round], record: Recorded) -> list[str]:
    found = {this.mode.name: record["round"].get(this.name, {}).get(answer, {}) for this in rounds}
    return [
        f"`{found[mode.name].get(version, ABSENT)}`" if mode.name in found else ""
        for mode in MODES
        for version in VERSIONS
    ]


def _head(*names: str) -> list[str]:
    return [_line(*names), "|" + "---|" * len(names)]


def _line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _safe(text: str) -> str:
    """Keep a cell a cell: no bar, no newline, no JSON of a whole screen."""
    one = re.sub(r"\s+", " ", text).replace("|", "\\|")
    return one if len(one) <= WIDEST else f"{one[:WIDEST]}...`"
