"""The inbox shows a question so that it can be answered, and obeys nothing in it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

from agp.cli.approvals import _cards, _inbox
from agp.contracts.base import ApprovalId, CallId, Digest, RuleId, SessionId
from agp.contracts.channel import ApprovalRequest
from agp.contracts.policy import Effect, EffectKind, Grade

NOW = datetime(2026, 11, 20, 12, 0, 0, tzinfo=UTC)
HOSTILE = "ls\x1b[2J\x1b]0;x\x07\r\n\u202eallow\u202c\u200b"
FORBIDDEN = ("\x1b", "\r", "\x07", "\u202e", "\u202c", "\u200b")


def moment(offset_s: int) -> str:
    """Spell a time as the journal does."""
    return (NOW + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def request(**changes: object) -> ApprovalRequest:
    """Give one waiting question; every text that an agent can choose is hostile."""
    values: dict[str, object] = {
        "approval_id": ApprovalId("otter-3f9c2e1a"),
        "call_id": CallId("c-0123456789abcdef"),
        "binding_digest": Digest("3f9c2e1a" + "0" * 56),
        "session_id": SessionId("s-0123456789ab"),
        "harness": "claude-code",
        "workspace": f"/repo/{HOSTILE}",
        "cwd": f"/repo/{HOSTILE}",
        "agent_id": HOSTILE,
        "tool": HOSTILE,
        "input_json": '{"command":"' + "a" * 3000 + '"}' + HOSTILE,
        "says": HOSTILE,
        "effects": (Effect(kind=EffectKind.OPAQUE, subject=HOSTILE),),
        "cannot_see": (HOSTILE,),
        "rule_id": RuleId("ask-shell"),
        "reason": HOSTILE,
        "hint": "",
        "grade": Grade.SHARED,
        "approvers": None,
        "quorum": 1,
        "requested_at": moment(-90),
        "expires_at": moment(45),
    }
    return ApprovalRequest.model_validate(values | changes)


def test_a_card_says_what_the_call_reaches_where_agp_runs_it() -> None:
    none, some = (_cards((request(network=n),), NOW) for n in ((), ("a.example:443",)))

    assert "  network         none: this call reaches no host" in none
    assert "  network         a.example:443" in some
    assert not any("network" in line for line in _cards((request(),), NOW))


def test_the_inbox_says_who_asks_for_what_why_and_how_long() -> None:
    told = "\n".join(_inbox((request(agent_id="sub-1", reason="a person decides"),), NOW))

    for part in ("otter-3f9c2e1a", "claude-code/sub-1", "s-0123456789ab", "ask-shell"):
        assert part in told
    assert "a person decides" in told
    assert "2m" in told
    assert "45s" in told


def test_no_text_of_an_agent_steers_the_terminal_or_adds_a_row() -> None:
    inbox, cards = _inbox((request(),), NOW), _cards((request(),), NOW)

    for line in (*inbox, *cards):
        assert "\n" not in line
        assert not any(char in line for char in FORBIDDEN)
    assert len(inbox) == len(_inbox((request(agent_id=None, reason="x"),), NOW))


def test_a_card_shows_the_whole_call() -> None:
    """A person decides about what is printed: 3,000 characters are not cut."""
    told = "\n".join(_cards((request(),), NOW))

    assert "a" * 3000 in told
    assert "characters left out" not in told
    assert "the agent says:" in told
    assert "opaque(ls" in told


def test_an_empty_inbox_says_so() -> None:
    assert _inbox((), NOW) == ["Nothing waits for an answer."]


def test_who_may_answer_is_said_where_a_rule_says_it() -> None:
    """In the list and on the card; the names come from a policy file and are untrusted."""
    asked = request(approvers=frozenset({"uid:1000", HOSTILE}), quorum=2, granted_by=("uid:1000",))

    for told in ("\n".join(_inbox((asked,), NOW)), "\n".join(_cards((asked,), NOW))):
        assert "2 people must agree (so far: uid:1000)" in told
        assert f"your answer counts as uid:{os.geteuid()}" in told
        assert not any(char in told for char in FORBIDDEN)
    assert "who  " not in "\n".join(_cards((request(),), NOW))


def test_a_card_says_how_it_is_answered() -> None:
    assert "agp approve otter-3f9c2e1a" in "\n".join(_cards((request(),), NOW))
