"""The report as a person reads it: 80 columns, no colour needed, nothing of an agent's unseen."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime

import pytest

from agp.cli.observe import _moment
from agp.cli.observe_page import document_of, page_of, share
from agp.cli.output import Output
from agp.contracts.base import Digest
from agp.daemon.observe_report import ObserveReport, Proof
from agp.errors import UsageRefused
from agp.governor.observed import Denied, Seen
from agp.journal.verify import Completeness, Integrity, VerifyReport

JOURNAL = VerifyReport(
    integrity=Integrity.OK,
    completeness=Completeness.UNANCHORED,
    log_id="0" * 32,
    origin="o",
    lines=12,
    segments=1,
    first_ts="",
    last_ts="",
    head_hash=Digest("0" * 64),
    root="",
    key_ids=(),
    checkpoints=0,
    local_checkpoint_size=0,
    anchor_size=None,
    repairs=0,
    unknown_lines=0,
    unknown=(),
    distrusted_lines=0,
)
EVIL = "x\x1b]0;owned\x07\u202e\n!! 0 calls RAN"


class Screen(io.StringIO):
    """A terminal that takes colours."""

    def isatty(self) -> bool:
        return True


def report(seen: Seen) -> ObserveReport:
    return ObserveReport(JOURNAL, seen, Proof(), (), "", 0)


def week() -> Seen:
    """Give a week in which agents wrote what they could into every name."""
    seen = Seen(calls=300, quiet=200, would_ask=90, would_deny=7, held=3, enforced=4)
    seen.first_ts = seen.last_ts = "2026-11-20T12:00:00.000000Z"
    seen.observed_sessions = {"s-0123456789ab"}
    seen.active_hours = {f"2026-11-20T{hour:02}" for hour in range(10, 20)}
    seen.asks_by_hour.update({"2026-11-20T10": 60, "2026-11-20T11": 30})
    for number in range(30):
        name = f"{EVIL} {'long ' * 40}{number}"
        seen.rules["require", f"user/{name}"] += 1
        seen.shapes["require", name] += 1
        seen.tools["require", name] += 1
        seen.denied.append(Denied(number, seen.last_ts, "s", name[:60], "user/no", name))
    return seen


def page(seen: Seen, screen: io.StringIO, **environment: str) -> str:
    output = Output(screen, io.StringIO(), environment=environment)
    return "\n".join(page_of(report(seen), output))


def test_the_page_shows_no_agents_control() -> None:
    """What is denied stands before what is asked, and a name cannot draw lines of its own."""
    text = page(week(), io.StringIO())
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert text.count("RAN that a rule denies") == 1
    assert not [line for line in text.splitlines() if line.startswith("!! 0 calls")]
    assert text.index("RAN that a rule denies") < text.index("Questions by rule")
    assert "9.0 times in an hour of use" in text


def test_colour_is_for_terminals_that_want_it_and_says_nothing_more() -> None:
    """Without colour the words are the same."""
    coloured = page(week(), Screen())
    assert "\x1b[31m" in coloured
    plain = page(week(), Screen(), NO_COLOR="1")
    assert "\x1b" not in plain
    assert plain == page(week(), io.StringIO())


def test_nothing_observed_is_said_with_the_way_to_begin() -> None:
    """And how many calls were enforced meanwhile."""
    text = page(Seen(enforced=5), io.StringIO())
    assert "none was observed" in text
    assert "5 calls were enforced" in text
    assert "agp run --observe" in text


def test_the_document_holds_every_listed_call() -> None:
    """JSON for a script: counts, lists, the journal's verdicts."""
    document = json.loads(json.dumps(document_of(report(week()))))
    assert document["calls"]["would_deny"] == 7
    assert len(document["would_be_denied"]) == 30
    assert document["journal"]["integrity"] == "OK"


def test_a_part_is_never_rounded_to_nothing_or_to_all() -> None:
    """One of a thousand is 1%, not 0%."""
    assert [share(part, 1000).strip() for part in (0, 1, 500, 999, 1000)] == [
        "0%",
        "1%",
        "50%",
        "99%",
        "100%",
    ]


def test_a_span_is_hours_days_weeks_or_a_date() -> None:
    """Spelled as the journal spells times, so that both compare as text."""
    now = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    assert _moment("12h", now) == "2026-11-20T00:00:00.000000Z"
    assert _moment("7d", now) == "2026-11-13T12:00:00.000000Z"
    assert _moment("2w", now) == "2026-11-06T12:00:00.000000Z"
    assert _moment("2026-11-01", now) == "2026-11-01T00:00:00.000000Z"
    for odd in ("", "7", "0d", "-1d", "yesterday", "2026-13-01", "9" * 9 + "d"):
        with pytest.raises(UsageRefused):
            _moment(odd, now)
