"""The fold behind the report: exact counts, bounded memory, whatever agents wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agp.contracts.journal import CallDecided, Payload, SessionStarted
from agp.contracts.policy import Decision
from agp.governor.observed import MAX_DISTINCT, MAX_LISTED, MAX_NAMES, Seen, Span
from agp.governor.shapes import shape_of
from tests.fakes.story import decided, started

AT = "2026-11-20T12:00:00.000000Z"


def members(payload: Payload, seq: int = 0, ts: str = AT) -> dict[str, Any]:
    """Spell an event as its stored line holds it."""
    said = json.loads(payload.model_dump_json(exclude_none=True))
    return {"kind": payload.kind.value, "payload": said, "seq": seq, "ts": ts}


def observed(number: int, would_be: Decision | None, **more: object) -> CallDecided:
    """Give one call of an observed session."""
    base = {"decision": Decision.ALLOW, "would_be": would_be, "observed": True}
    return CallDecided.model_validate(decided(number).model_dump() | base | more)


def test_each_call_counts_once_and_for_what_it_was() -> None:
    """Quiet, asked, denied, held, and what was enforced beside them."""
    seen = Seen()
    seen.take(members(started()))
    for number, call in enumerate(
        (
            observed(1, None),
            observed(2, Decision.REQUIRE),
            observed(3, Decision.REQUIRE),
            observed(4, Decision.DENY),
            observed(5, None, decision=Decision.DENY),
            decided(6),
        )
    ):
        seen.take(members(call, seq=number))
    assert (seen.calls, seen.quiet, seen.would_ask, seen.would_deny) == (5, 1, 2, 1)
    assert (seen.held, seen.asked, seen.enforced, seen.not_understood) == (1, 0, 1, 0)
    assert [one.seq for one in seen.denied] == [3]
    assert [one.seq for one in seen.refused] == [4]
    assert seen.rules == {("require", "user/ask-first"): 2, ("deny", "user/ask-first"): 1}
    assert seen.asks_by_hour == {"2026-11-20T12": 2}
    assert list(seen.asking.values()) == [2]


def test_a_span_and_a_session_leave_the_rest_out() -> None:
    """Times are compared as the journal spells them."""
    other = SessionStarted.model_validate(started().model_dump() | {"session_id": "s-other"})
    seen = Seen(Span(since="2026-11-20T12:00:00.000000Z", session=decided(1).session_id))
    for said in (started(), other):
        seen.take(members(said, ts="2026-11-01T00:00:00.000000Z"))
    seen.take(members(observed(1, Decision.REQUIRE), ts="2026-11-20T11:59:59.999999Z"))
    seen.take(members(observed(2, Decision.REQUIRE)))
    seen.take(members(observed(3, Decision.REQUIRE, session_id="s-other")))
    assert seen.calls == 1
    assert next(iter(seen.asking)).workspace == "/w"


def test_what_redaction_changed_is_counted_and_not_kept() -> None:
    """It could be decided again only as something else."""
    seen = Seen()
    for number, text in enumerate(
        ('{"command":"x [redacted:known]"}', '{"c":"[12 more, see the commitment]"}', None)
    ):
        seen.take(members(observed(number, Decision.REQUIRE, arguments=text)))
    long = json.dumps({"command": "x" * 5000})
    seen.take(members(observed(9, Decision.REQUIRE, arguments=long)))
    assert (seen.would_ask, seen.redacted, seen.too_long) == (4, 3, 1)
    assert not seen.asking


def test_an_event_that_is_not_understood_is_counted_and_hides_nothing() -> None:
    """A newer version's line does not end the report."""
    seen = Seen()
    odd = members(observed(1, Decision.REQUIRE))
    odd["payload"]["of_tomorrow"] = 1
    seen.take(odd)
    seen.take({**members(observed(2, None)), "kind": "future.kind"})
    seen.take(members(observed(3, None)))
    assert (seen.calls, seen.not_understood) == (1, 1)


def test_memory_is_bounded_by_numbers_not_by_what_agents_write() -> None:
    """Names, distinct calls and listed denials beyond a limit are counted together."""
    seen = Seen()
    count = MAX_DISTINCT + 40
    for number in range(count):
        said = {"tool": f"tool{number}" * 20, "arguments": json.dumps({"n": number})}
        seen.take(members(observed(number, Decision.REQUIRE, **said)))
        if number < MAX_LISTED + 5:
            seen.take(members(observed(number, Decision.DENY, **said)))
    assert (len(seen.asking), seen.too_many) == (MAX_DISTINCT, 40)
    assert (len(seen.denied), seen.would_deny) == (MAX_LISTED, MAX_LISTED + 5)
    assert len(seen.tools) <= MAX_NAMES + 2
    assert sum(seen.tools.values()) == seen.calls


@pytest.mark.parametrize(
    ("tool", "arguments", "effects", "shape"),
    [
        ("Bash", '{"command":"x"}', ("exec(git push -f origin) [history]",), "git push"),
        ("Bash", '{"command":"npm t | cat"}', ("opaque(a pipe)",), "npm t (opaque: a pipe)"),
        ("Bash", '{"command":"/usr/bin/rm a"}', ("exec(/usr/bin/rm a)", "delete(/w/a)"), "rm a"),
        ("Write", "{}", ("write(/w/src/deep/a.py)",), "write src/**"),
        ("Write", "{}", ("write(/w/a (1).py)",), "write ./a (1).py"),
        ("Read", "{}", ("read(/etc/ssl/certs/a) [outside_workspace]",), "read /etc/ssl/**"),
        ("WebFetch", "{}", ("connect(docs.example:443)",), "connect docs.example:443"),
        ("New", "not json", (), "New"),
        ("New", "[" * 9000, ("of(", "strange)"), "New"),
    ],
)
def test_the_shape_of_a_call(
    tool: str, arguments: str, effects: tuple[str, ...], shape: str
) -> None:
    """Program and subcommand, path family, host; whatever the text is."""
    assert shape_of(tool, arguments, effects, "/w") == shape
