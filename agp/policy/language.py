"""The policy file: strict YAML to rules. The format is frozen; additions are optional fields.

    version: 1
    default: require            # or deny; what no rule covers. Never allow.
    acknowledge: [some-id]      # shipped denies that this (user) file lowers
    rules:
      - id: tests-run
        match: {effect: exec_workspace, path: "tests/**"}
        verdict: allow
        min_grade: confined

Source: system.md §7; ADR 0005; docs/policy.md is the reader's page.
"""

from __future__ import annotations

import hashlib
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.base import Digest, RuleId
from agp.contracts.policy import (
    Decision,
    EffectKind,
    FlowSink,
    FlowSource,
    Grade,
    Label,
    Tier,
)
from agp.policy.document import Items, Node, Scalar, parse_document, wrong
from agp.policy.fields import (
    alternatives,
    fields,
    integer,
    need,
    one_of,
    pattern,
    sentence,
    text,
)
from agp.policy.match import FIELD_KINDS, Match, Matcher
from agp.policy.patterns import (
    argv_of_text,
    argv_of_words,
    host_target,
    name_target,
    path_target,
    port_target,
)
from agp.policy.rules import Acknowledged, PolicyFile, Rule
from agp.policy.targets import FlowTarget, Part, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["PolicyFile", "load_policy_file"]

MAX_QUORUM: Final = 10
MAX_EXPIRY_S: Final = 86_400
OWN_PREFIX: Final = "agp-"
"""Rule ids that begin so are the table's own answers."""
ID_PATTERN: Final = "^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
APPROVER_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9@._:-]*$"
FILE_FIELDS: Final = ("version", "default", "acknowledge", "rules")
RULE_FIELDS: Final = (
    "id", "match", "verdict", "reason", "hint", "min_grade", "approvers", "quorum", "expires_s",
)  # fmt: skip
RULE_FIELDS_LATER: Final = ("grants",)
CONTEXT_FIELDS: Final = ("effect", "label", "without_label", "intendant")
MATCH_FIELDS: Final = (*CONTEXT_FIELDS, *FIELD_KINDS)
MATCH_FIELDS_LATER: Final = ("actor", "arguments", "grade", "session")
DEFAULTS: Final = (Decision.DENY, Decision.REQUIRE)


def load_policy_file(text: bytes, *, name: str, tier: Tier) -> PolicyFile:
    """Read and check one file by itself; `name` is what errors call it.

    Raises:
        PolicyError: file, line, column, a sentence, and the nearest known name.
    """
    document = parse_document(text, name)
    found = fields(document, "a policy", FILE_FIELDS)
    integer(need(found, "version", "a policy", document), "the version of the format", 1, 1)
    node = need(found, "rules", "a policy", document)
    if not isinstance(node, Items) or not node.items:
        raise wrong(node.at, "a policy without rules is refused", "write at least one rule")
    rules = tuple(_rule(item, tier) for item in node.items)
    _refuse_twins(rules)
    return PolicyFile(
        name=name,
        tier=tier,
        digest=Digest(hashlib.sha256(text).hexdigest()),
        default=_default(found, tier, document),
        acknowledge=_acknowledged(found, tier),
        rules=rules,
    )


def _default(found: dict[str, Node], tier: Tier, document: Node) -> Decision | None:
    if tier is not Tier.WORKSPACE:
        node = need(found, "default", "a policy", document)
        return one_of(node, "default (for what no rule covers)", Decision, DEFAULTS)
    if "default" in found:
        raise wrong(
            found["default"].at, "a workspace policy has no default", "remove the line",
            "it is applied after the others and can only tighten",
        )  # fmt: skip
    return None


def _acknowledged(found: dict[str, Node], tier: Tier) -> tuple[Acknowledged, ...]:
    if "acknowledge" not in found:
        return ()
    if tier is not Tier.USER:
        raise wrong(found["acknowledge"].at, "only the user's policy acknowledges", "remove it")
    nodes = alternatives(found["acknowledge"], "acknowledge")
    return tuple(Acknowledged(_identifier(node, own=False), node.at) for node in nodes)


def _refuse_twins(rules: tuple[Rule, ...]) -> None:
    first: dict[RuleId, Rule] = {}
    for rule in rules:
        if rule.id in first:
            line = first[rule.id].at.line
            raise wrong(rule.at, f"two rules have the id {rule.id!r}, the first in line {line}")
        first[rule.id] = rule


def _rule(node: Node, tier: Tier) -> Rule:
    found = fields(node, "a rule", RULE_FIELDS, RULE_FIELDS_LATER)
    verdict = one_of(need(found, "verdict", "a rule", node), "a verdict", Decision)
    _refuse_misplaced(found, verdict)
    rule_id = _identifier(need(found, "id", "a rule", node), own=True)
    match = _match(need(found, "match", "a rule", node), verdict)
    approvers = _approvers(found)
    quorum = integer(found["quorum"], "quorum", 1, MAX_QUORUM) if "quorum" in found else 1
    if approvers is not None and quorum > len(approvers):
        raise wrong(
            found["approvers"].at, f"{len(approvers)} approvers cannot be a quorum of {quorum}"
        )
    return Rule(
        id=rule_id,
        tier=tier,
        match=match,
        verdict=verdict,
        at=node.at,
        reason=sentence(found["reason"], "a reason") if "reason" in found else "",
        hint=sentence(found["hint"], "a hint") if "hint" in found else "",
        min_grade=one_of(found["min_grade"], "a grade", Grade) if "min_grade" in found else None,
        approvers=approvers,
        quorum=quorum,
        expires_s=integer(found["expires_s"], "expires_s", 1, MAX_EXPIRY_S)
        if "expires_s" in found
        else None,
    )


_ONLY_ON: Final = MappingProxyType(
    {
        "min_grade": Decision.ALLOW,
        "approvers": Decision.REQUIRE,
        "quorum": Decision.REQUIRE,
        "expires_s": Decision.REQUIRE,
    }
)


def _refuse_misplaced(found: dict[str, Node], verdict: Decision) -> None:
    for name, only in _ONLY_ON.items():
        if name in found and verdict is not only:
            raise wrong(found[name].at, f"only a rule that says {only.value} can have {name!r}")
    if verdict is Decision.DENY and "reason" not in found:
        raise wrong(
            found["verdict"].at, "a rule that denies needs a reason", "add `reason: ...`",
            "the agent is told what to do instead",
        )  # fmt: skip


def _identifier(node: Node, *, own: bool) -> RuleId:
    value = text(node, "an id")
    if len(value) > 64 or not re.fullmatch(ID_PATTERN, value):  # noqa: PLR2004 - fits a line
        raise wrong(node.at, "an id is lower-case words joined by hyphens", "like `tests-run`")
    if own and value.startswith(OWN_PREFIX):
        raise wrong(node.at, f"ids that begin with {OWN_PREFIX!r} are AGP's own", "choose another")
    return RuleId(value)


def _approvers(found: dict[str, Node]) -> frozenset[str] | None:
    if "approvers" not in found:
        return None
    node = found["approvers"]
    if isinstance(node, Items) and not node.items:
        raise wrong(
            node.at, "nobody may approve", "name approvers, or remove the line",
            "an empty list is a deny: write `verdict: deny` if that is meant",
        )  # fmt: skip
    names = [(text(one, "an approver"), one) for one in alternatives(node, "approvers")]
    for name, one in names:
        if not re.fullmatch(APPROVER_PATTERN, name):
            raise wrong(one.at, "an approver is a user id: letters, digits and @ . _ : -")
    return frozenset(name for name, _ in names)


def _match(node: Node, verdict: Decision) -> Match:
    found = fields(node, "match", MATCH_FIELDS, MATCH_FIELDS_LATER)
    kinds_node = need(found, "effect", "match", node)
    named = [(one_of(n, "effect", EffectKind), n) for n in alternatives(kinds_node, "effect")]
    for kind, at in named:
        if kind is EffectKind.GOVERN and verdict is not Decision.DENY:
            raise wrong(at.at, "no rule can let an agent touch AGP itself", "remove `govern`")
    kinds = frozenset(kind for kind, _ in named)
    return Match(
        effects=kinds,
        matchers=tuple(_matcher(name, found[name], kinds) for name in FIELD_KINDS if name in found),
        labels=_labels(found, "label"),
        without=_labels(found, "without_label"),
        intendants=_intendants(found),
    )


def _intendants(found: dict[str, Node]) -> frozenset[str]:
    if "intendant" not in found:
        return frozenset()
    nodes = alternatives(found["intendant"], "intendant")
    return frozenset(_identifier(node, own=False) for node in nodes)


def _labels(found: dict[str, Node], name: str) -> frozenset[Label]:
    if name not in found:
        return frozenset()
    return frozenset(one_of(one, name, Label) for one in alternatives(found[name], name))


def _matcher(name: str, node: Node, kinds: frozenset[EffectKind]) -> Matcher:
    silent = sorted(kind.value for kind in kinds - FIELD_KINDS[name])
    if silent:
        speaks = ", ".join(sorted(kind.value for kind in FIELD_KINDS[name]))
        raise wrong(
            node.at, f"{name!r} says nothing about {silent[0]}", "write a rule for each",
            f"it is for: {speaks}",
        )  # fmt: skip
    if name == "argv":
        return Matcher(name, _argv(node))
    return Matcher(name, tuple(_TARGETS[name](one) for one in alternatives(node, name)))


def _argv(node: Node) -> tuple[Target, ...]:
    """Read commands: a text each, or a list of words each; a list of lone words is neither."""
    commands = alternatives(node, "argv")
    lone = [one for one in commands if isinstance(one, Scalar) and " " not in one.text]
    if len(commands) > 1 and len(lone) == len(commands):
        raise wrong(
            node.at,
            "a list of single words can be read in two ways",
            f"for one command write `argv: {' '.join(one.text for one in lone)}`, for several "
            f"commands without arguments `argv: [[{lone[0].text}], [{lone[1].text}]]`",
        )
    return tuple(_command(one) for one in commands)


def _command(node: Node) -> Target:
    if not isinstance(node, Items):
        return pattern(node, "argv", argv_of_text)
    words = tuple(text(word, "a word") for word in alternatives(node, "argv"))
    return pattern(node, "argv", lambda _: argv_of_words(words), " ".join(words))


def _named(part: Part) -> Callable[[Node], Target]:
    return lambda node: pattern(node, "a name", lambda value: name_target(value, part))


def _port(node: Node) -> Target:
    number = isinstance(node, Scalar) and node.kind == "number"
    value = node.text if isinstance(node, Scalar) and number else text(node, "a port")
    return pattern(node, "a port", port_target, value)


def _source(node: Node) -> Target:
    end = one_of(node, "source", FlowSource)
    return FlowTarget(end.value, end)


def _sink(node: Node) -> Target:
    end = one_of(node, "sink", FlowSink)
    return FlowTarget(end.value, end)


def _path(node: Node) -> Target:
    return pattern(node, "a path", path_target)


def _host(node: Node) -> Target:
    return pattern(node, "a host", host_target)


_TARGETS: Final[Mapping[str, Callable[[Node], Target]]] = MappingProxyType(
    {
        "path": _path,
        "host": _host,
        "port": _port,
        "server": _named(Part.SERVER),
        "tool": _named(Part.TOOL),
        "agent": _named(Part.WHOLE),
        "name": _named(Part.WHOLE),
        "source": _source,
        "sink": _sink,
    }
)
