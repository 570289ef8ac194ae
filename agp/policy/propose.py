"""Rules that would quiet what observe mode saw, as narrow as what was seen.

From effects that asked to allow rules: a program with exactly the words that were seen, files of
the workspace by name, hosts and ports by name. A proposal never speaks about what is dangerous in
any spelling (`why_never`), says so once more in the rule itself (`without_label`, `min_grade`),
and is only a proposal: it counts once the policy with it has decided the same calls again.

Every value comes from an agent, so that each is written as a double-quoted scalar in printable
ASCII: what is pasted cannot become another rule. Source: ADR 0019.
"""

from __future__ import annotations

import posixpath
import re
import textwrap
from collections import Counter
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from agp.contracts.policy import Decision, Effect, EffectKind, EffectVerdict, Grade, Label, Tier
from agp.policy.hints import quoted
from agp.policy.patterns import (
    PatternError,
    argv_of_words,
    host_target,
    name_target,
    path_target,
)
from agp.policy.targets import Part, relative

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from agp.contracts.policy import World

MAX_RULES: Final = 24
MAX_ALTERNATIVES: Final = 12
"""Patterns of one rule; the rarest are left out, and what they were is asked again."""
MAX_LITERAL: Final = 4
"""Distinct words in one place, or files of one kind in one directory, before a pattern stands for
them; fewer are named one by one."""
NEVER_LABELS: Final = (
    Label.OUTSIDE_WORKSPACE,
    Label.SECRET_PATH,
    Label.HISTORY,
    Label.SAFETY_OFF,
    Label.CONTAINER_ESCAPE,
    Label.DYNAMIC,
)
_NEVER_KINDS: Final = MappingProxyType(
    {
        EffectKind.EXEC_WORKSPACE: "the workspace's own code: quiet at the grade confined, only",
        EffectKind.OPAQUE: "AGP cannot tell what it does (opaque)",
    }
)
_BARE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_:-]*")
_MAX_ID: Final = 56


@dataclass(frozen=True)
class Asked:
    """One effect that asked, in the world of its call."""

    effect: Effect
    world: World
    grade: Grade


@dataclass(frozen=True)
class Proposal:
    """One rule."""

    id: str
    effect: EffectKind
    field: str
    patterns: tuple[str, ...]
    """Each spelled as YAML."""
    ports: tuple[int, ...]
    min_grade: Grade
    server: str = ""
    """For mcp, spelled as YAML."""

    def text(self) -> str:
        """Spell the rule as an item of `rules`."""
        labels = textwrap.fill(
            f"without_label: [{', '.join(label.value for label in NEVER_LABELS)}]",
            width=78,
            initial_indent=" " * 6,
            subsequent_indent=" " * 22,
        )
        ports = [f"      port: [{', '.join(map(str, self.ports))}]"] if self.ports else []
        listed = [f"        - {pattern}" for pattern in self.patterns]
        field = [f"      {self.field}:", *listed] if listed else []
        server = [f"      server: {self.server}"] if self.server else []
        return "\n".join(
            (
                f"  - id: {self.id}",
                "    match:",
                f"      effect: {self.effect.value}",
                *server,
                *field,
                *ports,
                labels,
                "    verdict: allow",
                f"    min_grade: {self.min_grade.value}",
            )
        )


def why_never(answer: EffectVerdict) -> str | None:
    """Say why no rule is proposed for an effect that asks or denies; None: one may be."""
    if answer.decision is Decision.DENY:
        return "it is denied, not asked: look at it"
    if answer.tier not in {Tier.DEFAULT, Tier.UNCOVERED}:
        return f"a rule of the {answer.tier.value} policy asks, and a new allow cannot lower it"
    kind = answer.effect.kind
    if kind not in _FIELDS:
        return _NEVER_KINDS.get(kind, f"{kind.value}: never quiet by a proposal")
    labels = (label for label in NEVER_LABELS if label in answer.effect.labels)
    return next((f"{kind.value}: {label.value.replace('_', ' ')}" for label in labels), None)


def propose(asked: Mapping[Asked, int]) -> tuple[Proposal, ...]:
    """Write the rules for effects that may have one, the most frequent first; bounded.

    `asked` counts how many calls each effect is of.
    """
    groups: dict[tuple[str, ...], Counter[Asked]] = {}
    for one, count in asked.items():
        if (key := _group(one)) is not None:
            groups.setdefault(key, Counter())[one] += count
    ordered = sorted(groups.items(), key=lambda item: (-item[1].total(), item[0]))
    taken: set[str] = set()
    rules = (_rule(key, ones, taken) for key, ones in ordered[:MAX_RULES])
    return tuple(rule for rule in rules if rule is not None)


def policy_text(proposals: Iterable[Proposal], default: Decision) -> str:
    """Spell proposals as a whole policy file; `default` is the one in force, never a looser."""
    rules = "\n".join(proposal.text() for proposal in proposals)
    return f"version: 1\ndefault: {default.value}\nrules:\n{rules}\n"


def _group(one: Asked) -> tuple[str, ...] | None:
    """Name what effects must share to be covered by one rule; None: no rule can name it."""
    effect, kind = one.effect, one.effect.kind.value
    match effect.kind:
        case EffectKind.EXEC if effect.argv:
            words = effect.argv
            second = words[1] if len(words) > 1 and _BARE.fullmatch(words[1]) else ""
            return (kind, _program(effect), second)
        case EffectKind.READ | EffectKind.WRITE | EffectKind.DELETE:
            inside = relative(effect.subject, one.world.workspace)
            deep = Label.RECURSIVE in effect.labels
            # The workspace as a whole is no place that a rule names.
            return (kind, posixpath.dirname(inside), "/" if deep else "") if inside else None
        case EffectKind.CONNECT:
            return (kind, effect.subject)
        case EffectKind.LISTEN:
            return (kind,)
        case EffectKind.MCP:
            return (kind, effect.subject.partition("/")[0])
        case _:
            return None


def _rule(key: tuple[str, ...], ones: Counter[Asked], taken: set[str]) -> Proposal | None:
    """Write one group's rule; None where nothing narrow can be written."""
    kind = EffectKind(key[0])
    field, write = _FIELDS[kind]
    patterns = tuple(write(ones))
    ports: tuple[int, ...] = ()
    if kind in _PORTS:
        ports = tuple(sorted({p for one in ones if (p := one.effect.port)}))[:MAX_ALTERNATIVES]
    server = _server(key[1]) if kind is EffectKind.MCP else ""
    if (field and not patterns) or (kind in _PORTS and not ports) or server is None:
        return None
    grade = min((one.grade for one in ones), key=list(Grade).index)
    return Proposal(_fresh(key, taken), kind, field, patterns, ports, grade, server)


def _program(effect: Effect) -> str:
    """Name a program as it was called; by its whole path where it was called by one."""
    return effect.subject if "/" in effect.argv[0] else effect.argv[0]


def _commands(ones: Counter[Asked]) -> list[str]:
    """Name exact commands; only many workspace files in one place become `<path>`."""
    shapes: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {}
    for one, count in ones.items():
        words = (_program(one.effect), *one.effect.argv[1:])
        if "*" in words[0] or any("<" in word and ">" in word for word in words):
            continue  # Attack: a word that an agent wrote reads as a star or a placeholder.
        skeleton = (words[0], *(_kind_of_word(word, one.world) for word in words[1:]))
        shapes.setdefault(skeleton, Counter())[words] += count
    found: Counter[tuple[str, ...]] = Counter()
    for skeleton, commands in shapes.items():
        if len(commands) > MAX_LITERAL:
            found[_generalised(skeleton, tuple(commands))] += commands.total()
        else:
            found.update(commands)
    texts = (_argv(words) for words, _ in found.most_common(MAX_ALTERNATIVES))
    return [text for text in texts if text is not None]


def _kind_of_word(word: str, world: World) -> str:
    """Say `<path>` for a plain file of the workspace, else the word itself."""
    plain = any(
        facts.raw == word
        and facts.in_workspace
        and not (facts.secret or facts.executing_place or facts.in_agp)
        for facts in world.paths
    )
    named = "/" in word or "." in word  # a bare word may be a subcommand: it stays what it is
    return "<path>" if plain and named and not word.startswith("-") else word


def _generalised(
    skeleton: tuple[str, ...], commands: tuple[tuple[str, ...], ...]
) -> tuple[str, ...]:
    """Keep each place in which all commands agree; the others are workspace files."""
    return tuple(
        words[0] if len(set(words)) == 1 else place
        for place, words in zip(skeleton, zip(*commands, strict=True), strict=True)
    )


def _argv(words: tuple[str, ...]) -> str | None:
    """Spell a command as a list of words, where a pattern can."""
    try:
        argv_of_words(words)
    except PatternError:
        return None
    return f"[{', '.join(map(quoted, words))}]"


def _files(ones: Counter[Asked]) -> list[str]:
    """Name files one by one; many of one suffix in one directory become `*.suffix`."""
    kinds: dict[tuple[str, str], Counter[str]] = {}
    for one, count in ones.items():
        inside = relative(one.effect.subject, one.world.workspace) or ""
        if not inside or set(inside) & set("*?"):
            continue
        deep = Label.RECURSIVE in one.effect.labels
        suffix = "" if deep else posixpath.splitext(inside)[1]
        name = f"./{inside}/**" if deep else f"./{inside}"
        kinds.setdefault((posixpath.dirname(inside), suffix), Counter())[name] += count
    found: Counter[str] = Counter()
    for (parent, suffix), names in kinds.items():
        if suffix and len(names) > MAX_LITERAL:
            found[f"./{parent}/*{suffix}" if parent else f"./*{suffix}"] += names.total()
        else:
            found.update(names)
    return [t for name, _ in found.most_common(MAX_ALTERNATIVES) if (t := _path(name)) is not None]


def _path(name: str) -> str | None:
    try:
        return quoted(path_target(name).text)
    except PatternError:
        return None


def _written(write: Callable[[Effect], str], ones: Counter[Asked]) -> list[str]:
    """Spell the one name of each effect, the most frequent first."""
    names: Counter[str] = Counter()
    for one, count in ones.items():
        try:
            names[write(one.effect)] += count
        except PatternError:
            continue
    return [quoted(name) for name, _ in names.most_common(MAX_ALTERNATIVES)]


def _host(effect: Effect) -> str:
    if "*" in effect.subject:
        raise PatternError("a wildcard that is part of a name")
    return host_target(effect.subject).text


def _tool(effect: Effect) -> str:
    name = effect.subject.partition("/")[2]
    if "*" in name:
        raise PatternError("a wildcard that is part of a name")
    return name_target(name, Part.TOOL).text


def _server(name: str) -> str | None:
    if "*" in name:
        return None
    try:
        return quoted(name_target(name, Part.SERVER).text)
    except PatternError:
        return None


def _fresh(key: tuple[str, ...], taken: set[str]) -> str:
    """Make an id from what the rule is about; two of one name are numbered."""
    words = re.findall(r"[a-z0-9]+", "-".join(key).lower())
    stem = "-".join(("observed", *words))[:_MAX_ID].rstrip("-")
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


_PORTS: Final = frozenset({EffectKind.CONNECT, EffectKind.LISTEN})
_FIELDS: Final[Mapping[EffectKind, tuple[str, Callable[[Counter[Asked]], list[str]]]]] = (
    MappingProxyType(
        {
            EffectKind.EXEC: ("argv", _commands),
            EffectKind.READ: ("path", _files),
            EffectKind.WRITE: ("path", _files),
            EffectKind.DELETE: ("path", _files),
            EffectKind.CONNECT: ("host", partial(_written, _host)),
            EffectKind.LISTEN: ("", lambda _: []),
            EffectKind.MCP: ("tool", partial(_written, _tool)),
        }
    )
)
"""How each kind that may be proposed is written; a kind that is not here never is."""
