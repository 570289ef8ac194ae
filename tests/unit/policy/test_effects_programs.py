"""Attacks on what a command is taken for: whose program, whose files, whose configuration."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.contracts.policy import (
    Decision,
    EffectKind,
    ExecAction,
    ExecutableFacts,
    Grade,
    Label,
    PathFacts,
    ReadAction,
    ShellAction,
    Tier,
    WriteAction,
)
from agp.policy.effects import effects_of
from agp.policy.policyset import PolicySet
from tests.fakes.policy_world import WORKSPACE, file_of, judge, shipped_pack, world_for

PACK = PolicySet.build([shipped_pack()])
R = f"{WORKSPACE}/"


@dataclass(frozen=True)
class Program:
    """A word, and the file that somebody found behind it; None: nothing."""

    word: str
    resolved: str | None


def found(program: Program, *args: str) -> tuple[Decision, frozenset[EffectKind], bool]:
    """Say verdict, kinds and whether the command is understood, where `word` is this file."""
    action = ExecAction(argv=(program.word, *args))
    facts = ExecutableFacts(word=program.word, resolved=program.resolved, agent_writable=False)
    world = world_for(action).model_copy(update={"executables": (facts,)})
    effects = effects_of(action, world)
    verdict = PACK.decide(effects, grade=Grade.SHARED, world=world)
    understood = any(Label.UNDERSTOOD in effect.labels for effect in effects)
    return verdict.decision, frozenset(effect.kind for effect in effects), understood


NOT_THAT_PROGRAM = [
    Program("/proc/self/cwd/ls", "/ls"),
    Program("/proc/self/cwd/ls", "/usr/bin/ls"),
    Program("//proc/self/cwd/ls", "/usr/bin/ls"),
    Program("/./proc/self/cwd/ls", "/usr/bin/ls"),
    Program("/proc/thread-self/cwd/ls", "/usr/bin/ls"),
    Program("/dev/fd/3", "/usr/bin/ls"),
    Program("/dev/stdin", "/usr/bin/ls"),
    Program("/nonexistent/ls", "/nonexistent/ls"),
    Program("/nonexistent/ls", None),
    Program("/opt/other/ls", "/opt/other/ls"),
    Program("/opt/other/ls", "/usr/lib/other/ls"),
    Program("/usr/bin/deeper/ls", "/usr/bin/deeper/ls"),
    Program("/usr/bin/ls", "/usr/bin/other-tool"),
    Program("ls", "/usr/bin/other-tool"),
    Program("ls", "/proc/self/cwd/ls"),
]


@pytest.mark.parametrize("program", NOT_THAT_PROGRAM, ids=str)
def test_a_file_that_only_shares_a_program_s_name_is_not_understood(program: Program) -> None:
    """Else the workspace's own `ls` runs with nobody asked (found with the real harness)."""
    decision, _, understood = found(program)
    assert (decision, understood) == (Decision.REQUIRE, False)


@pytest.mark.parametrize("program", [Program("ls", "/usr/bin/dash"), Program("cat", "/bin/env")])
def test_a_program_is_what_the_file_behind_its_name_is(program: Program) -> None:
    """A name that leads to an interpreter or a wrapper is one."""
    decision, kinds, understood = found(program, "-c")
    assert (decision, understood) == (Decision.REQUIRE, False)
    assert EffectKind.OPAQUE in kinds


def test_a_name_that_takes_privilege_still_takes_it_where_it_resolves_elsewhere() -> None:
    """`sudo` is often a link to a file of another name."""
    decision, kinds, _ = found(Program("sudo", "/usr/lib/other/privileged"), "ls")
    assert decision is Decision.DENY
    assert EffectKind.PRIVILEGE in kinds


@pytest.mark.parametrize(
    ("program", "args"),
    [
        (Program("python3", "/usr/bin/python3.11"), ("a.py",)),
        (Program("/usr/bin/python3", "/usr/bin/python3.11"), ("a.py",)),
        (Program("/bin/ls", "/usr/bin/ls"), ()),
        (Program("sh", "/usr/bin/dash"), ("build.sh",)),
        (Program("npm", "/usr/lib/node_modules/npm/bin/npm-cli.js"), ("test",)),
        (Program("go", "/usr/lib/go-1.19/bin/go"), ("test",)),
    ],
    ids=str,
)
def test_the_system_s_own_names_for_a_program_are_that_program(
    program: Program, args: tuple[str, ...]
) -> None:
    """Alternatives, versions and the scripts of package tools stay understood."""
    assert found(program, *args)[2]


OTHER_EYES = [
    "/proc/self/cwd/usr/env",
    "//proc/self/cwd/usr/env",
    "/usr/../proc/self/cwd/usr/env",
    "link/../../proc/self/root/x",
    "/dev/fd/0",
    "/dev/stdin",
    "/proc",
]


@pytest.mark.parametrize("path", OTHER_EYES)
def test_a_path_that_means_something_else_inside_is_not_resolved(path: str) -> None:
    """The daemon's /proc/self is not the agent's, whatever the daemon resolved."""
    facts = PathFacts(
        raw=path,
        resolved="/usr/env",
        in_workspace=False,
        in_agp=False,
        executing_place=False,
        agent_writable=False,
        secret=False,
    )
    for action in (ReadAction(path=path), ExecAction(argv=("cat", path))):
        world = world_for(action).model_copy(update={"paths": (facts,)})
        effects = effects_of(action, world)
        assert EffectKind.OPAQUE in {effect.kind for effect in effects}
        assert PACK.decide(effects, grade=Grade.SHARED, world=world).decision is Decision.REQUIRE


def described(command: str, intendant: str) -> list[str]:
    action = ShellAction(command=command)
    world = world_for(action, intendant=intendant)
    return [effect.describe() for effect in effects_of(action, world)]


def verdict(command: str, intendant: str = "scripted", grade: Grade = Grade.SHARED) -> Decision:
    return judge(PACK, ShellAction(command=command), grade, intendant=intendant).decision


@pytest.mark.parametrize("command", ["grep -n x a", "grep x d", "grep -rn x d", "grep -n x ."])
def test_grep_of_claude_code_reads_below_its_operands(command: str) -> None:
    """There `grep` is a shell function around a program that descends into directories."""
    assert verdict(command, "claude-code") is Decision.REQUIRE
    assert "[recursive]" in described(command, "claude-code")[1]


def test_grep_named_by_its_path_is_the_system_s_under_every_harness() -> None:
    """A function cannot be called by a path."""
    for intendant in ("claude-code", "scripted"):
        assert verdict("/usr/bin/grep -n x a.py", intendant) is Decision.ALLOW
    assert verdict("grep -n x a.py", "scripted") is Decision.ALLOW


@pytest.mark.parametrize("command", ["find . -name x", "rg x", "rg x d", "egrep x d", "grep -r x"])
def test_every_search_says_that_it_reads_all_below(command: str) -> None:
    """So that a rule about `rg` or `find` does not quietly speak about files."""
    assert any(e.startswith("read(") and "recursive" in e for e in described(command, "scripted"))
    assert verdict(command) is Decision.REQUIRE


@pytest.mark.parametrize(
    "command", ["grep -rn x .", "grep -Rn x d", "grep -n x .", "grep x ..", "grep x d/"]
)
def test_an_operand_that_is_a_directory_by_its_spelling_is_recursive(command: str) -> None:
    """Also for the system's own grep."""
    assert verdict(command) is Decision.REQUIRE


def test_a_user_s_rule_about_a_directory_makes_searching_it_quiet() -> None:
    """The way out of the noise: one allow that ends in `**`."""
    user = (
        "{id: src, match: {effect: read, path: src/**, without_label: secret_path}, verdict: allow}"
    )
    policy = PolicySet.build([shipped_pack(), file_of(Tier.USER, user)])
    action = ShellAction(command="grep -rn x src")
    assert judge(policy, action, intendant="claude-code").decision is Decision.ALLOW
    assert judge(policy, ShellAction(command="grep -rn x .")).decision is Decision.REQUIRE


QUIET_GIT = [
    "git status",
    "git log",
    "git log --oneline",
    "git log -5 --stat",
    "git log --name-status main",
    "git branch",
    "git diff --stat",
    "git diff --name-only HEAD",
    "git diff --shortstat --cached",
    "git show --stat",
    "git show --name-only HEAD",
    "git rev-parse HEAD",
    "git ls-files",
]
PRINTING_GIT = [
    "git diff",
    "git diff HEAD",
    "git diff a b",
    "git diff -w",
    "git diff --stat -p",
    "git diff --stat -u",
    "git diff --stat --patch",
    "git diff --stat --word-diff",
    "git diff --no-ext-diff --no-textconv",
    "git diff -- --stat",
    "git show HEAD -- --stat",
    "git log -p",
    "git log --stat -p",
    "git log --oneline -p --no-ext-diff --no-textconv",
    "git show",
    "git show HEAD",
    "git show --oneline",
    "git show HEAD:b/x/.env",
    "git show --stat 0123456789abcdef",
    "git show --stat main",
    "git show -s HEAD:b",
    "git grep x",
    "git blame a",
    "git annotate a",
    "git cat-file -p HEAD",
    "git archive HEAD",
    "git stash show -p",
    "git --no-pager diff",
]


@pytest.mark.parametrize("command", QUIET_GIT)
def test_git_that_prints_no_content_is_quiet(command: str) -> None:
    """The commands of every session."""
    assert verdict(command, "claude-code") is Decision.ALLOW


@pytest.mark.parametrize("command", PRINTING_GIT)
def test_git_that_prints_content_reads_the_whole_workspace(command: str) -> None:
    """A tracked `.env` is in the diff, in the log and in a blob."""
    assert f"read({WORKSPACE}) [recursive]" in described(command, "claude-code")
    assert verdict(command) is Decision.REQUIRE


def test_a_patch_is_understood_only_without_the_repository_s_programs() -> None:
    """`diff.external` and a driver's `textconv` run where the two flags are not given."""
    user = (
        '{id: all, match: {effect: read, path: "**", without_label: secret_path}, verdict: allow}'
    )
    policy = PolicySet.build([shipped_pack(), file_of(Tier.USER, user)])
    said = {
        command: judge(policy, ShellAction(command=command)).decision
        for command in (
            "git diff",
            "git diff --no-ext-diff",
            "git log -p --no-textconv",
            "git show",
            "git diff -- --no-ext-diff --no-textconv",
            "git diff --no-ext-diff --no-textconv",
            "git log -p --no-ext-diff --no-textconv",
            "git show --no-ext-diff --no-textconv HEAD",
        )
    }
    assert list(said.values()) == [Decision.REQUIRE] * 5 + [Decision.ALLOW] * 3


@pytest.mark.parametrize(
    "command",
    ["git diff --stat /etc/a /etc/b", "git diff --stat ../a ../b", "git diff --no-index a b"],
)
def test_git_outside_the_workspace_is_not_quiet(command: str) -> None:
    """Two paths outside a repository are compared as directories."""
    assert verdict(command) is Decision.REQUIRE


ELSEWHERE = [
    "make -C /x",
    "make -C/x",
    "make -kC /x",
    "make -f x",
    "make -I x",
    "make -E x",
    "make --eval=x",
    "make --dir=/x",
    "make --makefile x",
    "npm test --prefix /x",
    "npm run x -C /x",
    "npm test --userconfig x",
    "npm run x --script-shell=x",
    "pnpm test -C /x",
    "pnpm test --dir /x",
    "yarn test --cwd /x",
    "cargo test --manifest-path /x",
    "cargo build --config x",
    "go test -C /x",
    "go test -exec x",
    "go test --exec=x",
    "go run -toolexec=x .",
    "mvn test -f /x",
    "mvn test --file /x",
    "gradle test -p /x",
    "gradle test --init-script x",
    "pytest -c x",
    "pytest --rootdir /x",
    "python3 -m pytest --rootd=/x",
    "tox -c x",
    "jest --rootDir /x",
]


@pytest.mark.parametrize("command", ELSEWHERE)
def test_a_runner_that_is_sent_elsewhere_is_not_understood(command: str) -> None:
    """It would run the code of another directory, or of its words, not of the workspace."""
    assert verdict(command, grade=Grade.CONFINED) is Decision.REQUIRE


@pytest.mark.parametrize(
    "command",
    ["make", "make -j4 test", "make -k -s", "npm test", "npm run build -- --prefix x", "tox -q",
     "pytest -xvs tests", "pytest -k Case --maxfail=1", "cargo test --all", "go test ./..."],
)  # fmt: skip
def test_everyday_runs_stay_quiet_where_they_are_confined(command: str) -> None:
    """The positive control."""
    assert verdict(command, grade=Grade.CONFINED) is Decision.ALLOW


RUNS_LATER = [
    "sub/.claude/settings.json",
    "a/b/c/.claude/skills/x/SKILL.md",
    "sub/.vscode/tasks.json",
    "sub/.mcp.json",
    "sub/.codex/config.toml",
    "sub/.idea/workspace.xml",
    "sub/.envrc",
    "sub/.agp/policy.yaml",
    "sub/.CLAUDE/settings.json",
    ".claude/settings.json",
]


@pytest.mark.parametrize("path", RUNS_LATER)
def test_an_executing_place_is_one_at_any_depth(path: str) -> None:
    """Harness and editor are started in subdirectories too."""
    assert judge(PACK, WriteAction(path=path)).decision is Decision.DENY
    assert judge(PACK, ShellAction(command=f"cp a {path}")).decision is Decision.DENY


@pytest.mark.parametrize("path", ["sub/.claude.md", "claude/x", "sub/x.mcp.json", "docs/agp/x"])
def test_a_name_that_only_resembles_one_is_not(path: str) -> None:
    """The positive control."""
    assert judge(PACK, WriteAction(path=path)).decision is Decision.ALLOW
