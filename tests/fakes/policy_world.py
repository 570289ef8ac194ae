"""A world told from names alone, and policies written in a line, for the policy room's tests."""

from __future__ import annotations

import posixpath
from pathlib import Path
from typing import TYPE_CHECKING

from agp.contracts.policy import (
    Action,
    ExecutableFacts,
    Grade,
    PathFacts,
    Tier,
    Verdict,
    World,
)
from agp.policy.effects import effects_of, needs
from agp.policy.language import load_policy_file
from agp.policy.policyset import PolicySet

if TYPE_CHECKING:
    from agp.policy.rules import PolicyFile

WORKSPACE = "/work/repo"
HOME = "/home/agent"
AGP = "/home/operator/.agp"
ABSENT = frozenset({"no-such-program", "doas"})
_PLACES = (".envrc", ".vscode", ".idea", ".claude", ".codex", ".mcp.json")
_WRITABLE = (WORKSPACE, HOME, "/tmp")


def below(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies in it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def path_facts(raw: str, cwd: str = WORKSPACE) -> PathFacts:
    """Resolve by name only: this world has no links."""
    resolved = posixpath.normpath(posixpath.join(cwd, raw))
    name = posixpath.basename(resolved)
    inside = resolved.removeprefix(WORKSPACE + "/")
    return PathFacts(
        raw=raw,
        resolved=resolved,
        in_workspace=below(resolved, WORKSPACE),
        in_agp=below(resolved, AGP) or below(resolved, "/opt/agp"),
        executing_place=any(below(inside, place) for place in (*_PLACES, ".git/hooks")),
        agent_writable=any(below(resolved, place) for place in _WRITABLE),
        secret=name == ".env"
        or name.endswith(".pem")
        or resolved.endswith("/.git/config")
        or "/.ssh" in resolved,
    )


def program_facts(word: str, cwd: str = WORKSPACE) -> ExecutableFacts:
    """Find every program in /usr/bin; a word with a slash is that path."""
    resolved = posixpath.normpath(posixpath.join(cwd, word)) if "/" in word else f"/usr/bin/{word}"
    writable = any(below(resolved, place) for place in _WRITABLE)
    found = None if word in ABSENT else resolved
    return ExecutableFacts(word=word, resolved=found, agent_writable=writable)


def world_for(action: Action, cwd: str = WORKSPACE, intendant: str = "claude-code") -> World:
    """Resolve exactly what the policy asks for."""
    needed = needs(action)
    return World(
        workspace=WORKSPACE,
        cwd=cwd,
        home=HOME,
        paths=tuple(path_facts(raw, cwd) for raw in needed.paths),
        executables=tuple(program_facts(word, cwd) for word in needed.words),
        intendant=intendant,
    )


def shipped_pack() -> PolicyFile:
    """Read the pack that ships."""
    path = Path(__file__).parents[2] / "policies/default.yaml"
    return load_policy_file(path.read_bytes(), name=path.name, tier=Tier.DEFAULT)


def judge(
    policy: PolicySet,
    action: Action,
    grade: Grade = Grade.SHARED,
    *,
    intendant: str = "claude-code",
) -> Verdict:
    """Take one action through effects and table, as the governor does."""
    world = world_for(action, intendant=intendant)
    return policy.decide(effects_of(action, world), grade=grade, world=world)


def file_of(tier: Tier, *rules: str, default: str = "require", more: str = "") -> PolicyFile:
    """Write a policy file with flow rules, one a line, and read it."""
    head = "version: 1\n" + ("" if tier is Tier.WORKSPACE else f"default: {default}\n")
    body = "".join(f"  - {rule}\n" for rule in rules)
    text = f"{head}{more}rules:\n{body}"
    return load_policy_file(text.encode(), name=f"{tier.value}.yaml", tier=tier)


def rule(rule_id: str, verdict: str, match: str = "{effect: write}", more: str = "") -> str:
    """Write one rule in flow style; a deny gets a reason."""
    reason = ", reason: Do something else." if verdict == "deny" else ""
    return f"{{id: {rule_id}, match: {match}, verdict: {verdict}{reason}{more}}}"


SILENT = rule("silent", "allow", "{effect: signal, name: never-sent}")
"""A rule for a file that must have one and shall say nothing."""
