"""`agp observe report`: what observe mode saw, and the rules that would quiet it.

1. the journal is verified with the public key, each line folded as it is proved; damage ends it;
2. each distinct call that would have asked is read again from its redacted arguments, in the
   directory and workspace that the journal names; what redaction changed is left out and counted,
   and so is a call whose effects today are not those that the journal names;
3. today's policy decides it again, and where it asks for nothing but what may have a rule, its
   effects go to `propose`;
4. the proposed file is read by the loader and put beside the files in force, and every call is
   decided once more: a rule that quiets nothing is dropped, and the figure is that of this table.

Source: ADR 0019.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from agp.contracts.base import SessionId
from agp.contracts.policy import Action, Decision, Grade, Tier, Verdict, World
from agp.contracts.strict_json import Json, canonical_json, parse_json
from agp.daemon.shelf import PolicyShelf
from agp.daemon.survey import SEARCH_PATH, HostSurveyor
from agp.errors import AgpError, IntegrityError, MessageRefused, UsageRefused
from agp.governor.decide import MAX_EFFECTS
from agp.governor.observed import Seen, Span
from agp.intendants.claude_code.actions import action_of
from agp.intendants.claude_code.canonical import read_input
from agp.intendants.scripted import parse_script
from agp.journal.keys import read_public_key
from agp.journal.redact import journal_text
from agp.journal.verify import Integrity, VerifyReport, verify_directory
from agp.policy.effects import effects_of
from agp.policy.language import load_policy_file
from agp.policy.policyset import PolicySet
from agp.policy.propose import Asked, Proposal, policy_text, propose, why_never

if TYPE_CHECKING:
    from agp.contracts.policy import Effect
    from agp.daemon.home import Home
    from agp.governor.observed import Asking

_NAME: Final = "the proposed rules"


@dataclass(frozen=True)
class Again:
    """One distinct call, read again and decided by the policy of today."""

    call: Asking
    count: int
    effects: tuple[Effect, ...]
    world: World
    verdict: Verdict


@dataclass
class Proof:
    """What deciding the same calls again has shown; counts are calls."""

    again: int = 0
    """Calls that could be decided again; the next three are its parts."""
    quiet_today: int = 0
    """The policy of today does not ask about them any more."""
    quieted: int = 0
    """Quiet with the proposed rules, and only with them."""
    still: int = 0
    """Ask or are denied with the proposed rules too."""
    changed: int = 0
    """Not decided again: they do something else today, or cannot be read any more."""
    still_why: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class ObserveReport:
    """Everything that the command shows."""

    journal: VerifyReport
    seen: Seen
    proof: Proof
    proposals: tuple[tuple[Proposal, int], ...]
    """Each with the calls in whose quiet it has a part."""
    policy: str
    """The whole proposed file; empty where there is nothing to propose."""
    other_policy: int
    """Digests of other policies under which calls were recorded."""


def observe_report(home: Home, span: Span) -> ObserveReport:
    """Prove the journal and make the report; blocking.

    Raises:
        IntegrityError: the journal is damaged, or lines of it are signed by a revoked key.
        ConfigurationError: there is no journal or no key, or a policy file is broken.
        UsageRefused: the span names a session that is not in the journal.
    """
    seen = Seen(span)
    journal = verify_directory(home.journal, read_public_key(home.public_key), proved=seen.take)
    if journal.integrity is Integrity.DISTRUSTED:
        raise IntegrityError(
            "DISTRUSTED: lines of the journal are signed by a revoked key",
            where=str(home.journal),
            why=f"{journal.distrusted_lines} of {journal.lines} lines",
            fix="agp verify",
        )
    if span.session and not seen.knows(SessionId(span.session)):
        raise UsageRefused(
            f"there is no session {span.session} in this journal",
            where=str(home.journal),
            fix="agp sessions lists them",
        )
    policies = _Policies(home)
    proof = Proof()
    decided = _decided(home, seen, policies, proof)
    proposals, text = _proposed(decided, policies, proof)
    return ObserveReport(
        journal,
        seen,
        proof,
        proposals,
        text,
        len(seen.policies - policies.digests()),
    )


class _Policies:
    """The policy of today for each workspace, as it is and with a proposed file beside it."""

    def __init__(self, home: Home) -> None:
        self._shelf = PolicyShelf(home)
        self._shelf.reload()
        self._today: dict[str, PolicySet] = {}

    def today(self, workspace: str) -> PolicySet:
        """Give the set that a session in this workspace would have now.

        Raises:
            AgpError: the repository's own file is broken, so that no session could start there.
        """
        if workspace not in self._today:
            self._today[workspace] = self._shelf.open_workspace(workspace)
        return self._today[workspace]

    def default(self) -> Decision:
        """Give what is in force for what no rule covers."""
        return self._shelf.base.book.default

    def digests(self) -> set[str]:
        """Name the sets that were asked for."""
        return {policy.digest for policy in self._today.values()}

    def with_rules(self, text: str) -> dict[str, PolicySet]:
        """Put the proposed file into every set, as a second file of the user's.

        Raises:
            PolicyError: it is not a policy: no proposal of ours may be that.
        """
        added = load_policy_file(text.encode(), name=_NAME, tier=Tier.USER)
        return {
            workspace: PolicySet.build([*policy.files, added])
            for workspace, policy in self._today.items()
        }


def _decided(home: Home, seen: Seen, policies: _Policies, proof: Proof) -> list[Again]:
    """Read each distinct call again and decide it by the policy of today."""
    surveyor = HostSurveyor(home.root, SEARCH_PATH)
    decided = []
    for call, count in seen.asking.items():
        try:
            action = _action(call)
            world = surveyor.survey(
                action,
                workspace=call.workspace,
                cwd=call.cwd,
                session_id="",
                agent_id=None,
                intendant=call.intendant,
            )
            policy = policies.today(call.workspace)
        except AgpError:
            proof.changed += count
            continue
        effects = effects_of(action, world)
        if _described(effects) != call.effects:
            proof.changed += count
            continue
        proof.again += count
        verdict = policy.decide(effects, grade=Grade(call.grade), world=world)
        if verdict.decision is Decision.ALLOW:
            proof.quiet_today += count
        else:
            decided.append(Again(call, count, effects, world, verdict))
    return decided


def _action(call: Asking) -> Action:
    """Read a call's action from its redacted arguments.

    Raises:
        MessageRefused: they are not what this tool's input is.
        ConfigurationError: likewise, for a script's call.
    """
    if call.intendant == "claude-code":
        return action_of(call.tool, read_input(call.arguments.encode()), call.cwd, None)
    if call.intendant == "scripted":
        script: Json = {"version": 1, "calls": [parse_json(call.arguments.encode())]}
        (one,) = parse_script(canonical_json(script), where="journal", workspace=call.workspace)
        return one.call.action
    raise MessageRefused(f"the intendant {call.intendant!r} is not known here")


def _described(effects: tuple[Effect, ...]) -> tuple[str, ...]:
    """Say effects as the journal does."""
    return tuple(journal_text(effect.describe()).text for effect in effects[:MAX_EFFECTS])


def _proposed(
    decided: list[Again], policies: _Policies, proof: Proof
) -> tuple[tuple[tuple[Proposal, int], ...], str]:
    """Propose, prove, drop what quiets nothing, and prove what is left."""
    asked: Counter[Asked] = Counter()
    for one in decided:
        answers = [a for a in one.verdict.effects if a.decision is not Decision.ALLOW]
        if all(why_never(answer) is None for answer in answers):
            grade = Grade(one.call.grade)
            asked.update({Asked(a.effect, one.world, grade): one.count for a in answers})
    proposals = propose(asked)
    used = _used(decided, proposals, policies, Proof())
    kept = tuple(proposal for proposal in proposals if used[proposal.id])
    used = _used(decided, kept, policies, proof)
    listed = sorted(((one, used[one.id]) for one in kept), key=lambda pair: -pair[1])
    text = policy_text((one for one, _ in listed), policies.default()) if listed else ""
    return tuple(listed), text


def _used(
    decided: list[Again], proposals: tuple[Proposal, ...], policies: _Policies, proof: Proof
) -> Counter[str]:
    """Decide every call again with the proposals; count each rule's part in what went quiet."""
    used: Counter[str] = Counter()
    sets = policies.with_rules(policy_text(proposals, policies.default())) if proposals else {}
    for one in decided:
        verdict = one.verdict
        if proposals:
            policy = sets[one.call.workspace]
            verdict = policy.decide(one.effects, grade=Grade(one.call.grade), world=one.world)
        if verdict.decision is Decision.ALLOW:
            proof.quieted += one.count
            used.update(dict.fromkeys(_part(one, verdict), one.count))
            continue
        proof.still += one.count
        answers = [a for a in verdict.effects if a.decision is not Decision.ALLOW]
        reasons = (why for a in answers if (why := why_never(a)) is not None)
        proof.still_why[next(reasons, "no pattern names it narrowly enough")] += one.count
    return used


def _part(one: Again, quiet: Verdict) -> set[str]:
    """Name the rules that answer where a question stood."""
    both = zip(one.verdict.effects, quiet.effects, strict=True)
    return {now.rule_id for before, now in both if before.decision is not Decision.ALLOW}
