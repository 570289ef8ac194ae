"""How the report of observe mode reads: a page for a terminal of 80 columns, and a document."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Final

from agp.contracts.display import visible

if TYPE_CHECKING:
    from pydantic import JsonValue

    from agp.cli.output import Output
    from agp.daemon.observe_report import ObserveReport
    from agp.governor.observed import Denied, Seen

_WIDTH: Final = 78
_SHOWN: Final = 12
"""Rows of one table; `--json` has all that is kept."""
_DENIED_SHOWN: Final = 20
_BAR: Final = 20


def page_of(made: ObserveReport, output: Output) -> list[str]:
    """Write the page: what happened, what it would have cost, what would quiet it."""
    seen = made.seen
    head = [
        "",
        output.paint("Observe mode: what enforcing would have done", "bold"),
        f"  journal   {_verdicts(made)}",
    ]
    if not seen.calls:
        other = f"; {seen.enforced} calls were enforced" if seen.enforced else ""
        return [*head, f"  calls     none was observed in this span{other}", "", _HOW]
    span = f"{seen.first_ts[:16]}Z to {seen.last_ts[:16]}Z"
    return [
        *head,
        f"  span      {span}, {len(seen.observed_sessions)} session(s)",
        *_calls(seen, output),
        *_interruptions(seen),
        *_denied(seen, output),
        *_table("Questions by rule", _of(seen.rules, "require"), output),
        *_table("Questions by shape", _of(seen.shapes, "require"), output),
        *_table("Questions by tool", _of(seen.tools, "require"), output),
        *_quiet(made, output),
        "",
    ]


_HOW: Final = "  Start one: agp run --observe ...   or   agp observe on SESSION"


def _verdicts(made: ObserveReport) -> str:
    journal = made.journal
    return (
        f"INTEGRITY {journal.integrity.value}, {journal.completeness.value},"
        f" {journal.lines} events (agp verify)"
    )


def _calls(seen: Seen, output: Output) -> list[str]:
    rows = [
        ("quiet", seen.quiet, "a rule allows them", "green"),
        ("would ask", seen.would_ask, "let through; a person would have been asked", "yellow"),
        ("would DENY", seen.would_deny, "let through; a rule denies them", "red"),
        ("refused", seen.held, "the floor, an admin's deny, a pause or a failure", "red"),
        ("asked", seen.asked, "by a question that stood when observing began", "yellow"),
    ]
    lines = [
        f"    {output.paint(f'{name:10}', colour)} {count:7}  {share(count, seen.calls)}  {why}"
        for name, count, why, colour in rows
        if count or name in {"quiet", "would ask", "would DENY"}
    ]
    also = [f"  besides   {seen.enforced} calls were decided with the rules enforced"]
    odd = [f"  odd       {seen.not_understood} events of a kind or form not known here"]
    return [
        f"  calls     {seen.calls} observed",
        *lines,
        *(also if seen.enforced else []),
        *(odd if seen.not_understood else []),
    ]


def share(part: int, whole: int) -> str:
    """Say a part in whole percent, never 0 or 100 for what is neither."""
    if part in {0, whole}:
        return f"{100 if part else 0:3}%"
    return f"{min(99, max(1, round(100 * part / whole))):3}%"


def _interruptions(seen: Seen) -> list[str]:
    if not seen.would_ask:
        return []
    hours, days = len(seen.active_hours), len({hour[:10] for hour in seen.active_hours})
    by_day: Counter[str] = Counter()
    for at, count in seen.asks_by_hour.items():
        by_day[at[:10]] += count
    hour, in_hour = seen.asks_by_hour.most_common(1)[0]
    day, in_day = by_day.most_common(1)[0]
    text = (
        f"Enforcing would have interrupted {seen.would_ask / hours:.1f} times in an hour of use"
        f" ({hours} h), {seen.would_ask / days:.1f} times a day ({days} d); at worst {in_hour} in"
        f" the hour of {hour}:00Z, {in_day} on {day}."
    )
    return ["", *textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")]


def _denied(seen: Seen, output: Output) -> list[str]:
    lines: list[str] = []
    if seen.would_deny:
        head = f"!! {_calls_of(seen.would_deny)} RAN that a rule denies. Look at each first:"
        lines += ["", "  " + output.paint(head, "red"), *_listed(seen.denied, seen.would_deny)]
    if seen.held:
        head = f"Refused although observed: {_calls_of(seen.held)}"
        lines += ["", "  " + output.paint(head, "bold"), *_listed(seen.refused, seen.held)]
    return lines


def _calls_of(count: int) -> str:
    return "1 call" if count == 1 else f"{count} calls"


def _listed(denied: list[Denied], count: int) -> list[str]:
    lines = []
    for one in denied[:_DENIED_SHOWN]:
        where = f"    seq {one.seq:<7} {one.ts[:16]}Z  {visible(one.tool)}  {visible(one.rule)}"
        lines += [where, f"        {visible(one.what, limit=_WIDTH - 10)}"]
    left = count - min(len(denied), _DENIED_SHOWN)
    return [*lines, *([f"    and {left} more (--json)"] if left else [])]


def _of(counted: Counter[tuple[str, str]], answer: str) -> Counter[str]:
    return Counter({name: count for (one, name), count in counted.items() if one == answer})


def _table(title: str, rows: Counter[str], output: Output) -> list[str]:
    """Give the most frequent first, each with a bar that a colourless terminal shows too."""
    if not rows:
        return []
    most = rows.most_common(_SHOWN)
    longest = most[0][1]
    lines = [
        f"    {count:7}  {'#' * max(1, round(_BAR * count / longest)):{_BAR}}  "
        f"{visible(name, limit=_WIDTH - _BAR - 16)}"
        for name, count in most
    ]
    left = len(rows) - len(most)
    return [
        "",
        f"  {output.paint(title, 'bold')}",
        *lines,
        *([f"    and {left} more (--json)"] if left else []),
    ]


def _quiet(made: ObserveReport, output: Output) -> list[str]:
    """Say what proposed rules would change, and what nothing narrow can."""
    seen, proof = made.seen, made.proof
    if not seen.would_ask:
        return []
    lines = ["", f"  {output.paint('Rules that would quiet it', 'bold')}"]
    if made.other_policy:
        lines += [
            f"  Some calls were decided under {made.other_policy} other policies than today's."
        ]
    lines += _proved(made)
    for why, count in proof.still_why.most_common(_SHOWN):
        lines += [f"    {count:7}  stay: {visible(why, limit=_WIDTH - 20)}"]
    if not made.proposals:
        return [*lines, "", "  No rule is proposed: nothing narrow enough would quiet anything."]
    lines += ["", "  Each rule, and the questions in whose quiet it has a part:"]
    lines += [f"    {count:7}  {one.id}" for one, count in made.proposals]
    told = (
        "Read each, delete what you would not sign, and put the rest under `rules:` of policy.yaml"
        " in AGP's home; `agp policy check` reads it, `agp policy reload` puts it into force."
    )
    return [
        *lines,
        "",
        *textwrap.wrap(told, _WIDTH, initial_indent="  ", subsequent_indent="  "),
        "",
        *made.policy.rstrip("\n").split("\n"),
    ]


def _proved(made: ObserveReport) -> list[str]:
    seen, proof = made.seen, made.proof
    left_out = [
        (seen.redacted, "redaction took out a part of them"),
        (seen.too_long, "their arguments are too long to be a pattern"),
        (seen.too_many, "they are beyond the distinct calls that are kept"),
        (proof.changed, "they would do something else today (files, programs or AGP changed)"),
    ]
    text = (
        f"Of {seen.would_ask} questions, {proof.again} were decided again from the journal:"
        f" {proof.quiet_today} are quiet under today's policy, {proof.quieted} more with the rules"
        f" below, {proof.still} stay questions."
    )
    lines = textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
    return [
        *lines,
        *(f"    {count:7}  not decided again: {why}" for count, why in left_out if count),
    ]


def document_of(made: ObserveReport) -> dict[str, JsonValue]:
    """Say the report to a script; every count and every listed call."""
    seen, proof = made.seen, made.proof
    return {
        "journal": made.journal.model_dump(mode="json"),
        "since": seen.span.since,
        "session": seen.span.session,
        "first_ts": seen.first_ts,
        "last_ts": seen.last_ts,
        "sessions": [*sorted(seen.observed_sessions)],
        "calls": {
            "observed": seen.calls,
            "quiet": seen.quiet,
            "would_ask": seen.would_ask,
            "would_deny": seen.would_deny,
            "refused": seen.held,
            "asked": seen.asked,
            "enforced": seen.enforced,
            "not_understood": seen.not_understood,
        },
        "interruptions": {
            "active_hours": len(seen.active_hours),
            "by_hour": dict(sorted(seen.asks_by_hour.items())),
        },
        "rules": _rows(seen.rules),
        "tools": _rows(seen.tools),
        "shapes": _rows(seen.shapes),
        "would_be_denied": [dict(one._asdict()) for one in seen.denied],
        "refused": [dict(one._asdict()) for one in seen.refused],
        "proof": {
            "decided_again": proof.again,
            "quiet_today": proof.quiet_today,
            "quieted": proof.quieted,
            "still": proof.still,
            "still_why": dict(proof.still_why.most_common()),
            "changed": proof.changed,
            "redacted": seen.redacted,
            "too_long": seen.too_long,
            "too_many": seen.too_many,
            "other_policies": made.other_policy,
        },
        "proposals": [
            {"id": one.id, "quiets": count, "rule": one.text()} for one, count in made.proposals
        ],
        "policy": made.policy,
    }


def _rows(counted: Counter[tuple[str, str]]) -> list[JsonValue]:
    return [
        {"answer": answer, "name": name, "count": count}
        for (answer, name), count in counted.most_common()
    ]
