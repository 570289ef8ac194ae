"""The summary of a run tells what happened, in the order in which it happened."""

from __future__ import annotations

import io
from typing import Literal

import pytest

from agp.cli.login import without_login
from agp.cli.output import Output
from agp.cli.run import going_on, summary_lines
from agp.contracts.base import RuleId, SessionId
from agp.contracts.control import CallStory, RunOutcome, RunRequest, RunSummary
from agp.contracts.policy import Grade
from agp.daemon.plans import _named
from agp.errors import RunRefused

REQUEST = RunRequest(intendant="scripted", repo="/repo", script="/script.json")


def story(
    decision: Literal["allowed", "granted", "denied", "refused"], by: str, reason: str = ""
) -> CallStory:
    """Tell one call."""
    return CallStory(
        tool="shell", what="exec(ls)", decision=decision, by=by, rule_id=RuleId("r"), reason=reason
    )


def summary(*calls: CallStory, outcome: RunOutcome = "finished", **more: object) -> RunSummary:
    """Give a summary with these calls."""
    values: dict[str, object] = {
        "session_id": SessionId("s-0123456789ab"),
        "outcome": outcome,
        "exit_code": 0,
        "grade": Grade.SHARED,
        "calls": calls,
        "events": 12,
        "journal_verified": True,
        "duration_ms": 1500,
    }
    return RunSummary.model_validate(values | more)


def told(run: RunSummary) -> str:
    """Render without colour."""
    output = Output(io.StringIO(), io.StringIO())
    return "\n".join(summary_lines(REQUEST, run, output))


def test_each_call_is_told_with_who_decided_it() -> None:
    run = summary(
        story("allowed", "r"),
        story("granted", "uid:1000"),
        story("denied", "r", "no network here"),
        story("refused", "uid:1000", "not today"),
    )

    text = told(run)

    assert text.index("allowed   shell") < text.index("granted   shell")
    assert "uid:1000 (r)" in text
    assert "no network here" in text
    assert "not today" in text
    assert (
        "4: 1 allowed by a rule, 1 allowed by a person, 1 denied by a rule, 1 refused after asking"
    ) in text
    assert "12 events in the log, verified" in text
    assert "1.5 s" in text


def test_a_run_without_a_gated_call_says_so() -> None:
    """Silence could be mistaken for approval."""
    assert "No call was gated" in told(summary())


def test_a_journal_that_did_not_verify_never_sounds_verified() -> None:
    assert "NOT VERIFIED" in told(summary(journal_verified=False))


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        ("finished", "governed and finished"),
        ("refused", "refused before the agent started"),
        ("ungoverned", "UNGOVERNED"),
        ("harness_failed", "the agent itself failed"),
        ("killed", "killed"),
        ("journal_broken", "JOURNAL BROKEN"),
    ],
)
def test_every_outcome_has_its_words(outcome: RunOutcome, words: str) -> None:
    assert words in told(summary(outcome=outcome, exit_code=11))


@pytest.mark.parametrize(
    ("why", "end"),
    [
        ("killed by uid:0", "killed by uid:0, exit"),
        ("the lease ended", "killed (the lease ended), exit"),
        ("", "killed, exit"),
    ],
)
def test_who_killed_a_run_is_said_once(why: str, end: str) -> None:
    assert f"outcome  {end}" in told(summary(outcome="killed", exit_code=14, why=why))


@pytest.mark.parametrize(
    ("intendant", "named", "missing"),
    [
        ("claude-code", (), True),
        ("claude-code", ("HTTP_USER",), True),
        ("claude-code", ("X", "ANTHROPIC_API_KEY"), False),
        ("claude-code", ("ANTHROPIC_AUTH_TOKEN",), False),
        ("scripted", (), False),
    ],
)
def test_a_harness_without_a_key_is_noticed(
    intendant: str, named: tuple[str, ...], *, missing: bool
) -> None:
    """Named in the configuration or on the line is the same."""
    assert without_login(intendant, named, ()) is missing
    assert without_login(intendant, (), named) is missing


def test_a_variable_that_is_never_handed_over_is_refused_also_where_it_is_not_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To say "export it" would send the person to a second refusal."""
    monkeypatch.delenv("LD_PRELOAD", raising=False)

    with pytest.raises(RunRefused) as refused:
        _named(("NOT_SET_EITHER", "LD_PRELOAD"))

    assert "never handed" in refused.value.what
    assert "export" not in refused.value.fix


def test_what_an_agent_wrote_stays_on_its_line() -> None:
    hostile = CallStory(
        tool="x\x1b[2J\n",
        what="y\r\n",
        decision="denied",
        by="r",
        rule_id=RuleId("r"),
        reason="z\nfinished",
    )

    text = told(summary(hostile))

    assert "\x1b" not in text
    assert "\r" not in text
    assert text.count("\n") == told(summary(story("denied", "r", "z"))).count("\n")


def test_the_line_that_goes_on_starts_what_was_started() -> None:
    """Pasted elsewhere it must find the same workspace, model and login."""
    request = RunRequest(
        intendant="claude-code",
        task="make it",
        repo="/home/you/my project",
        model_url="http://127.0.0.1:8000",
        pass_environment=("ANTHROPIC_API_KEY",),
        carry=("memory",),
        observe=True,
    )
    assert going_on(request, "0d1f") == (
        "agp run --repo '/home/you/my project' --task 'go on' --model-url http://127.0.0.1:8000"
        " --pass-env ANTHROPIC_API_KEY --carry memory -- --resume 0d1f"
    )
    screen = RunRequest(intendant="claude-code", repo="/src/a", interactive=True)
    assert going_on(screen, "0d1f") == "agp run --repo /src/a -- --resume 0d1f"
