"""Draw the state tables of `docs/contracts.md` from the tables that the code runs on.

`python -m tests.conformance.state_tables` renews the page; a test says that it is up to date. The
lease has no table of its own in the code: its drawing is the one in the docstring of the room that
moves it, whose every arrow is a clause of `requirements.md`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import agp.daemon.sessions
from agp.approvals.table import TRANSITIONS, Step
from agp.contracts.channel import ApprovalState
from agp.governor.session import CALL_TRANSITIONS, CallState

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contracts.md"


def approval_table() -> str:
    """A row for each state, a column for each step; an empty cell is a refusal."""
    cells = {(state, step): after.value for (state, step), after in TRANSITIONS.items()}
    rows = (
        (state.value, *(cells.get((state, step), "") for step in Step)) for state in ApprovalState
    )
    return _table(("state", *(f"`{step.value}`" for step in Step)), rows)


def call_table() -> str:
    """A row for each state and where it can go; an empty cell is the end."""
    rows = (
        (
            state.value,
            ", ".join(after.value for after in CallState if after in CALL_TRANSITIONS[state]),
        )
        for state in CallState
    )
    return _table(("state", "may become"), rows)


def lease_table() -> str:
    """Give the drawing of the room that moves leases."""
    drawn = agp.daemon.sessions.__doc__ or ""
    return "\n".join(line for line in drawn.splitlines() if line.startswith("|"))


TABLES = {"approval": approval_table, "call": call_table, "lease": lease_table}


def renewed(page: str) -> str:
    """Give a page with every table drawn anew.

    Raises:
        ValueError: a table has no place on the page.
    """
    for name, draw in TABLES.items():
        begin, end = f"<!-- generated: state-{name} -->\n", f"<!-- end: state-{name} -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"the page has no place for the table {name!r}")
        page = f"{before}{begin}\n{draw()}\n\n{end}{after}"
    return page


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(head), *(tuple(row) for row in rows)]
    ruled = [lines[0], ("---",) * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in ruled)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
