"""Patterns: what each covers, and on which side it errs."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.contracts.policy import Effect, EffectKind, Label, World
from agp.policy.patterns import argv_of_text, host_target, path_target, port_target
from agp.policy.targets import Side, Target
from tests.fakes.policy_world import HOME, WORKSPACE, path_facts

PATHS = (path_facts("src"), path_facts(".env"), path_facts("/etc"), path_facts(".vscode/x"))
WORLD = World(workspace=WORKSPACE, cwd=WORKSPACE, home=HOME, paths=PATHS)


def path_effect(path: str, *, recursive: bool = False) -> Effect:
    labels = frozenset({Label.RECURSIVE}) if recursive else frozenset()
    return Effect(kind=EffectKind.WRITE, subject=path, labels=labels)


def both(target: Target, effect: Effect) -> tuple[bool, bool]:
    """Tell whether an allow, and whether a deny of this pattern matches."""
    return target.covers(effect, WORLD, Side.LOOSENS), target.covers(effect, WORLD, Side.TIGHTENS)


@dataclass(frozen=True)
class Glob:
    pattern: str
    path: str
    matches: bool


W = WORKSPACE
GLOBS = [
    Glob("a", f"{W}/a", matches=True),
    Glob("a", f"{W}/b/a", matches=False),
    Glob("a", "/a", matches=False),
    Glob("./a", f"{W}/a", matches=True),
    Glob("*.py", f"{W}/.x.py", matches=True),
    Glob("*.py", f"{W}/b/x.py", matches=False),
    Glob("?.py", f"{W}/x.py", matches=True),
    Glob("?.py", f"{W}/xx.py", matches=False),
    Glob("a.py", f"{W}/axpy", matches=False),
    Glob("src/**", f"{W}/src", matches=True),
    Glob("src/**", f"{W}/src/a/b", matches=True),
    Glob("src/**", f"{W}/srcs", matches=False),
    Glob("**", W, matches=True),
    Glob("**", f"{W}/a/b", matches=True),
    Glob("**", f"{W}-other/a", matches=False),
    Glob("**/x", f"{W}/x", matches=True),
    Glob("**/x", f"{W}/a/b/x", matches=True),
    Glob("**/x", f"{W}/a/bx", matches=False),
    Glob("a/**/b", f"{W}/a/b", matches=True),
    Glob("a/**/b", f"{W}/a/x/y/b", matches=True),
    Glob("a/**/b/**/c", f"{W}/a/b/b/c/x/c", matches=True),
    Glob(".", W, matches=True),
    Glob(".", f"{W}/a", matches=False),
    Glob("./*", f"{W}/a", matches=True),
    Glob("./*", f"{W}/a/b", matches=False),
    Glob("*", "/anything/at/all", matches=True),
    Glob("/etc/*", "/etc/passwd", matches=True),
    Glob("/etc/*", "/etc/a/b", matches=False),
    Glob("/", "/", matches=True),
    Glob("/**", "/x", matches=True),
    Glob("~/.ssh/**", f"{HOME}/.ssh/id", matches=True),
    Glob("~/.ssh/**", f"{W}/.ssh/id", matches=False),
    Glob("~", HOME, matches=True),
]


@pytest.mark.parametrize("case", GLOBS, ids=lambda case: f"{case.pattern} {case.path}")
def test_a_glob_matches_resolved_paths(case: Glob) -> None:
    """`*` stays in a component, `**` crosses, patterns are anchored."""
    assert both(path_target(case.pattern), path_effect(case.path)) == (case.matches, case.matches)


@pytest.mark.parametrize(
    ("pattern", "path", "allow", "deny"),
    [
        ("**", W, True, True),
        ("src/**", f"{W}/src", True, True),
        ("src/*", f"{W}/src", False, True),
        ("src", f"{W}/src", False, True),
        ("secrets/key", W, False, True),
        ("secrets/key", f"{W}/secrets", False, True),
        ("secrets/key", f"{W}/src", False, False),
        ("**/*.pem", f"{W}/src", False, True),
        ("secrets/**", "/", False, True),
        ("/etc/**", W, False, False),
        ("*", W, True, True),
    ],
)
def test_a_recursive_effect_is_matched_by_a_deny_below_it_and_an_allow_above_it(
    pattern: str, path: str, allow: bool, deny: bool
) -> None:
    """`rm -r` of a parent touches the child; an allow must cover every child."""
    assert both(path_target(pattern), path_effect(path, recursive=True)) == (allow, deny)


@pytest.mark.parametrize(
    ("pattern", "argv", "allow", "deny"),
    [
        ("git status", "git status", True, True),
        ("git status", "git status -s", False, False),
        ("git", "git status", False, False),
        ("*", "anything at all", True, True),
        ("git <any...>", "git", True, True),
        ("git push <any...> --force <any...>", "git push origin --force main", True, True),
        ("git push <any...> --force <any...>", "git push --forced", False, False),
        ("head -n <int> <path>", "head -n 5 src", True, True),
        ("head -n <int>", "head -n ٣", False, False),
        ("cat <path>", "cat .env", False, False),
        ("cat <path>", "cat /etc", False, False),
        ("cat <path>", "cat .vscode/x", False, False),
        ("cat <path>", "cat never-resolved", False, True),
        ("cat <path...>", "cat src src", True, True),
        ("ls <flag...>", "ls -l -a", True, True),
        ("ls <flag...>", "ls -l a", False, False),
        ("ls <word>", "ls -l", False, False),
        ("/usr/bin/git status", "git status", True, True),
        ("/opt/git status", "git status", False, False),
        ("git status", "/opt/x/git status", True, True),
        ("<any> --force", "x --force", True, True),
    ],
)
def test_a_command_pattern_covers_all_words(
    pattern: str, argv: str, allow: bool, deny: bool
) -> None:
    """Placeholders are typed; nothing is a prefix unless it says so."""
    words = tuple(argv.split(" "))
    subject = f"/usr/bin/{words[0].rpartition('/')[2]}"
    effect = Effect(kind=EffectKind.EXEC, subject=subject, argv=words)
    assert both(argv_of_text(pattern), effect) == (allow, deny)


def test_a_deny_knows_a_program_by_the_file_it_resolves_to() -> None:
    """`awk` that is mawk is caught by a deny of mawk; an allow of mawk does not reach it."""
    effect = Effect(kind=EffectKind.EXEC, subject="/usr/bin/mawk", argv=("awk",))
    assert both(argv_of_text("mawk"), effect) == (False, True)


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("a.example", "a.example", True),
        ("A.Example", "a.example", True),
        ("*.example", "a.b.example", True),
        ("*.example", "example", False),
        ("*.b.example", "ab.example", False),
        ("*", "anything", True),
        ("::1", "::1", True),
    ],
)
def test_a_host_pattern_covers_names(pattern: str, host: str, matches: bool) -> None:
    """A wildcard is every name below, never the name itself."""
    effect = Effect(kind=EffectKind.CONNECT, subject=host, port=443)
    assert both(host_target(pattern), effect) == (matches, matches)


def test_a_port_that_is_not_known_is_in_every_denied_range_and_in_no_allowed_one() -> None:
    """Only `*` allows it."""
    unknown = Effect(kind=EffectKind.CONNECT, subject="a")
    known = Effect(kind=EffectKind.CONNECT, subject="a", port=8001)
    assert both(port_target("8000-8001"), unknown) == (False, True)
    assert both(port_target("8000-8001"), known) == (True, True)
    assert both(port_target("8002"), known) == (False, False)
    assert both(port_target("*"), unknown) == (True, True)
