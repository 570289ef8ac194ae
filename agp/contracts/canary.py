"""The canary: what a harness did with calls that must not run, beside calls that must."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from agp.contracts.base import Contract, Digest


class CanaryTopic(StrEnum):
    """What one probe of a canary is about; the first five name the answer that a call was given."""

    GRANTED = "granted"
    """Both hooks allow: the positive control, without which a refusal proves nothing."""
    DENIED = "denied"
    """The deciding hook denies, and so does the grant hook if it is asked."""
    UNREDEEMED = "unredeemed"
    """The deciding hook allows, the grant hook denies: an allow alone must not be enough."""
    SILENT = "silent"
    """Both hooks end well and say nothing: what a broken bridge does at its worst."""
    FAILED = "failed"
    """Both hooks exit 1 and say nothing: a bridge that crashed."""
    HOOKS = "hooks"
    """The session's own hook was heard before any call."""
    MODEL = "model"
    """The harness spoke with the built-in model, with the canary's key, to the last turn."""
    DIALOG = "dialog"
    """No call would have been put to a person at the harness's own screen."""
    STREAM = "stream"
    """The event stream says what really happened: coverage rests on it."""
    END = "end"
    """The harness ended in time, in order, and nothing else changed in its workspace."""


class CanaryProbe(Contract):
    """One thing that was tried, and what came of it in one sentence."""

    name: str
    topic: CanaryTopic
    passed: bool
    escaped: bool = False
    """A call ran that must not: worse than anything else that can fail."""
    words: str


class CanaryReport(Contract):
    """One canary; a report without a probe is not a pass, nor is one without its control."""

    intendant: str
    version: str
    harness_digest: Digest
    shape_digest: Digest
    """Over everything that the canary started, without what differs from run to run."""
    probes: tuple[CanaryProbe, ...]
    duration_ms: int = Field(ge=0)

    @property
    def passed(self) -> bool:
        """Every probe passed, and calls were granted and denied among them."""
        return (
            all(probe.passed for probe in self.probes)
            and self.holds(CanaryTopic.GRANTED)
            and self.holds(CanaryTopic.DENIED)
        )

    @property
    def failures(self) -> tuple[CanaryProbe, ...]:
        """What did not pass: calls that ran first, then how it ended, then as they were tried."""
        failed = [probe for probe in self.probes if not probe.passed]
        return tuple(sorted(failed, key=lambda p: (not p.escaped, p.topic is not CanaryTopic.END)))

    def holds(self, topic: CanaryTopic) -> bool:
        """Tell whether every probe of a topic passed; False where there is none."""
        about = [probe for probe in self.probes if probe.topic is topic]
        return bool(about) and all(probe.passed for probe in about)

    @property
    def detail(self) -> str:
        """Say in one sentence what was proved, or the first thing that was not."""
        if self.failures:
            return self.failures[0].words
        calls = [probe for probe in self.probes if probe.topic in _ANSWERED]
        ran = sum(probe.topic is CanaryTopic.GRANTED for probe in calls)
        return f"{ran} of {len(calls)} calls ran, exactly those that AGP granted"


_ANSWERED = frozenset(
    {
        CanaryTopic.GRANTED,
        CanaryTopic.DENIED,
        CanaryTopic.UNREDEEMED,
        CanaryTopic.SILENT,
        CanaryTopic.FAILED,
    }
)
