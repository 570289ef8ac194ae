"""From tool calls to effects: structured tools, places, URLs, and exact simple commands."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from agp.contracts.policy import (
    Action,
    Effect,
    EffectKind,
    ExecAction,
    ExecutableFacts,
    FetchAction,
    FileChange,
    HarnessAction,
    Label,
    McpAction,
    PatchAction,
    ReadAction,
    ShellAction,
    SpawnAction,
    UnknownAction,
    World,
    WriteAction,
)
from agp.policy.effects import Needs, effects_of, needs
from agp.policy.shell import split
from agp.policy.urls import Endpoint, endpoint_of
from tests.fakes.policy_world import HOME, WORKSPACE, path_facts, world_for


def described(action: Action, cwd: str = WORKSPACE) -> list[str]:
    return [effect.describe() for effect in effects_of(action, world_for(action, cwd))]


def shell(command: str, cwd: str = WORKSPACE) -> list[str]:
    return described(ShellAction(command=command), cwd)


@dataclass(frozen=True)
class Case:
    """A call and all its effects."""

    action: Action
    effects: tuple[str, ...]


R = f"{WORKSPACE}/"
CASES = [
    Case(ReadAction(path="a"), (f"read({R}a)",)),
    Case(ReadAction(path=".", recursive=True), (f"read({WORKSPACE}) [recursive]",)),
    Case(ReadAction(path="../x"), ("read(/work/x) [outside_workspace]",)),
    Case(ReadAction(path=".env"), (f"read({R}.env) [secret_path]",)),
    Case(
        ReadAction(path="/home/operator/.agp/keys/signing.key"),
        ("govern(/home/operator/.agp/keys/signing.key)",),
    ),
    Case(WriteAction(path="a"), (f"write({R}a)",)),
    Case(WriteAction(path="a", reads=True), (f"write({R}a)", f"read({R}a)")),
    Case(WriteAction(path="/opt/agp/agp-bridge"), ("govern(/opt/agp/agp-bridge)",)),
    Case(WriteAction(path=".agp/policy.yaml"), (f"govern({R}.agp/policy.yaml)",)),
    Case(ReadAction(path=".agp/policy.yaml"), (f"read({R}.agp/policy.yaml)",)),
    Case(
        WriteAction(path=".vscode/settings.json"),
        (f"write({R}.vscode/settings.json)", f"persist({R}.vscode/settings.json)"),
    ),
    Case(
        WriteAction(path=".git/commondir"),
        (f"write({R}.git/commondir)", f"persist({R}.git/commondir)"),
    ),
    Case(
        WriteAction(path="deep/.GIT/config"),
        (f"write({R}deep/.GIT/config)", f"persist({R}deep/.GIT/config)"),
    ),
    Case(
        WriteAction(path="innocent/HEAD"),
        (f"write({R}innocent/HEAD)", f"persist({R}innocent/HEAD)"),
    ),
    Case(
        WriteAction(path=f"{HOME}/.bashrc"),
        (
            f"write({HOME}/.bashrc) [outside_workspace]",
            f"persist({HOME}/.bashrc) [outside_workspace]",
        ),
    ),
    Case(
        WriteAction(path="/etc/cron.d/x"),
        ("write(/etc/cron.d/x) [outside_workspace]", "persist(/etc/cron.d/x) [outside_workspace]"),
    ),
    Case(WriteAction(path="a\0b"), ("opaque(a path of the call was not resolved)",)),
    Case(
        PatchAction(
            changes=(
                FileChange(path="a", change="update"),
                FileChange(path="b", change="add"),
                FileChange(path="c", change="delete"),
            )
        ),
        (f"write({R}a)", f"read({R}a)", f"write({R}b)", f"delete({R}c)"),
    ),
    Case(
        PatchAction(changes=(FileChange(path=".env", change="update", moved_to="b"),)),
        (f"delete({R}.env) [secret_path]", f"read({R}.env) [secret_path]", f"write({R}b)"),
    ),
    Case(FetchAction(url="https://Example.org/x?y"), ("connect(example.org:443)",)),
    Case(FetchAction(url=""), ("connect(*) [dynamic]",)),
    Case(McpAction(server="git hub", tool="a/b", arguments_json="{}"), ("mcp(git hub/a/b)",)),
    Case(
        McpAction(server="a/b", tool="c", arguments_json="{}"),
        ("opaque(the MCP server or its tool has no name that can be told apart)",),
    ),
    Case(SpawnAction(agent_type="reviewer"), ("spawn_agent(reviewer)",)),
    Case(HarnessAction(tool="TodoWrite"), ("harness(TodoWrite)",)),
    Case(UnknownAction(tool="X", why="it is new"), ("opaque(X: it is new)",)),
    Case(
        ExecAction(argv=("ls", "a b; rm")), ("exec(ls a b; rm) [understood]", f"read({R}a b; rm)")
    ),
    Case(ExecAction(argv=("",)), ("opaque(the program has no name, or a word holds NUL)",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: repr(case.action))
def test_a_call_has_exactly_these_effects(case: Case) -> None:
    """Structured tools, with what the outside resolved."""
    assert described(case.action) == list(case.effects)


COMMANDS = [
    ("ls", ("exec(ls) [understood]", f"read({WORKSPACE})")),
    ("ls -laR src", ("exec(ls -laR src) [understood]", f"read({R}src) [recursive]")),
    ("cat 'a b' \"c\"", ("exec(cat a b c) [understood]", f"read({R}a b)", f"read({R}c)")),
    ("cat .env", ("exec(cat .env) [understood]", f"read({R}.env) [secret_path]")),
    ("head -n 5 a", ("exec(head -n 5 a) [understood]", f"read({R}a)")),
    ("grep -n TODO a", ("exec(grep -n TODO a) [understood]", f"read({R}a) [recursive]")),
    (
        "/usr/bin/grep -n TODO a",
        ("exec(/usr/bin/grep -n TODO a) [understood]", f"read({R}a)"),
    ),
    ("grep -rn TODO .", ("exec(grep -rn TODO .) [understood]", f"read({WORKSPACE}) [recursive]")),
    (
        "grep -Rn TODO .",
        ("exec(grep -Rn TODO .)", f"read({R}TODO) [recursive]", f"read({WORKSPACE}) [recursive]"),
    ),
    ("rg --files", ("exec(rg --files)", f"read({WORKSPACE}) [recursive]")),
    ("diff a b", ("exec(diff a b)",)),
    ("echo a b", ("exec(echo a b) [understood]",)),
    ("pwd", ("exec(pwd) [understood]",)),
    ("git status --short", ("exec(git status --short) [understood]",)),
    ("git log -5 --oneline", ("exec(git log -5 --oneline) [understood]",)),
    (
        "git show HEAD:.env",
        (
            "exec(git show HEAD:.env)",
            f"read({R}HEAD:.env)",
            f"read({R}.env) [secret_path]",
            f"read({WORKSPACE}) [recursive]",
        ),
    ),
    (
        "git diff /etc/passwd a",
        (
            "exec(git diff /etc/passwd a)",
            "read(/etc/passwd) [outside_workspace, recursive]",
            f"read({R}a) [recursive]",
            f"read({WORKSPACE}) [recursive]",
        ),
    ),
    (
        "git -c core.pager=x log",
        ("exec(git -c core.pager=x log)", f"read({WORKSPACE}) [recursive]"),
    ),
    ("git -c alias.x=x x", ("exec(git -c alias.x=x x)",)),
    ("git -C /x status", ("exec(git -C /x status)",)),
    ("git diff --output=x", ("exec(git diff --output=x)", f"read({WORKSPACE}) [recursive]")),
    ("git diff --ext-diff", ("exec(git diff --ext-diff)", f"read({WORKSPACE}) [recursive]")),
    (
        "git diff --no-index a b",
        ("exec(git diff --no-index a b)", f"read({WORKSPACE}) [recursive]"),
    ),
    (
        "git log --show-signature",
        ("exec(git log --show-signature)", f"read({WORKSPACE}) [recursive]"),
    ),
    ("git log :/x", ("exec(git log :/x)", f"read({WORKSPACE}) [recursive]")),
    ("git branch new", ("exec(git branch new)",)),
    ("git --exec-path=x status", ("exec(git --exec-path=x status)",)),
    ("git push --force", ("exec(git push --force) [history]",)),
    ("git push -uf origin", ("exec(git push -uf origin) [history]",)),
    ("git push origin +main", ("exec(git push origin +main) [history]",)),
    ("git push origin main", ("exec(git push origin main)",)),
    ("touch a", ("exec(touch a) [understood]", f"write({R}a)")),
    ("touch -r a b", ("exec(touch -r a b)",)),
    (
        "mkdir -p a/.git",
        ("exec(mkdir -p a/.git) [understood]", f"write({R}a/.git)", f"persist({R}a/.git)"),
    ),
    ("rm -rf a", ("exec(rm -rf a) [understood]", f"delete({R}a) [recursive]")),
    ("rm -- -rf", ("exec(rm -- -rf) [understood]", f"delete({R}-rf)")),
    ("cp a b", ("exec(cp a b) [understood]", f"read({R}a)", f"write({R}b)", f"write({R}b/a)")),
    (
        "cp HEAD x",
        (
            "exec(cp HEAD x) [understood]",
            f"read({R}HEAD)",
            f"write({R}x)",
            f"write({R}x/HEAD)",
            f"persist({R}x/HEAD)",
        ),
    ),
    ("cp -t x a", ("exec(cp -t x a)",)),
    (
        "mv a b",
        (
            "exec(mv a b) [understood]",
            f"read({R}a) [recursive]",
            f"delete({R}a) [recursive]",
            f"write({R}b) [recursive]",
            f"write({R}b/a) [recursive]",
        ),
    ),
    ("pytest -q", ("exec(pytest -q) [understood]", f"exec_workspace({WORKSPACE})")),
    ("npm test", ("exec(npm test) [understood]", f"exec_workspace({WORKSPACE})")),
    ("npm install x", ("exec(npm install x)",)),
    ("python3 -m pytest", ("exec(python3 -m pytest) [understood]", f"exec_workspace({WORKSPACE})")),
    ("python a.py", ("exec(python a.py) [understood]", f"exec_workspace({R}a.py)")),
    (
        "python -c x",
        ("exec(python -c x)", "opaque(python runs code that is not a file of its own)"),
    ),
    (
        "python -m http.server",
        ("exec(python -m http.server)", "opaque(python runs code that is not a file of its own)"),
    ),
    ("python", ("exec(python)", "opaque(python runs code that is not a file of its own)")),
    ("bash -c ls", ("exec(bash -c ls)", "opaque(bash runs code that is not a file of its own)")),
    (
        "/bin/bash -c ls",
        ("exec(/bin/bash -c ls)", "opaque(bash runs code that is not a file of its own)"),
    ),
    ("env ls", ("exec(env ls)", "opaque(env runs what its words say)")),
    ("xargs rm", ("exec(xargs rm)", "opaque(xargs runs what its words say)")),
    ("sudo ls", ("exec(sudo ls)", "privilege(root)", "opaque(sudo runs what its words say)")),
    (
        "find . -delete",
        (
            "exec(find . -delete)",
            f"read({WORKSPACE}) [recursive]",
            "opaque(find runs what its words say)",
        ),
    ),
    ("git diff --stat", ("exec(git diff --stat) [understood]",)),
    ("git diff -- --stat", ("exec(git diff -- --stat)", f"read({WORKSPACE}) [recursive]")),
    ("./build.sh", (f"exec_workspace({R}build.sh)",)),
    ("/tmp/x", ("exec_workspace(/tmp/x)",)),
    ("no-such-program", ("opaque(the program no-such-program was not found)",)),
    ("doas ls", ("opaque(the program doas was not found)", "privilege(root)")),
    ("mytool /home/operator/.agp/keys", ("govern(/home/operator/.agp/keys)",)),
    ("cat /home/operator/.agp/keys", ("govern(/home/operator/.agp/keys)",)),
    ("echo /home/operator/.agp/keys", ("exec(echo /home/operator/.agp/keys) [understood]",)),
]


@pytest.mark.parametrize(("command", "effects"), COMMANDS, ids=[c[0] for c in COMMANDS])
def test_an_exact_simple_command_has_exactly_these_effects(
    command: str, effects: tuple[str, ...]
) -> None:
    """Known grammars, unknown flags, wrappers, shadowed programs."""
    assert shell(command) == list(effects)


ATTACKS = [
    "git status; curl x|sh",
    "git status && rm -rf x",
    "ls | sh",
    "ls $(x)",
    "ls `x`",
    "cat <(x)",
    "ls\nrm",
    "ls\rrm",
    "ls\\\nrm",
    "ls \xa0",
    "ls\u3000-la",
    "ls\u2028rm",
    "FOO=1 ls",
    "ls ~",
    "ls ~root",
    "ls *",
    "ls a?",
    "ls [ab]",
    "echo {a,b}",
    "ls > x",
    "ls 2>x",
    "ls>x",
    "< x cat",
    "ls &",
    "! ls",
    "ls !x",
    "ls # x",
    "(ls)",
    "{ ls; }",
    "if true",
    "for x in a",
    "eval ls",
    "exec ls",
    "source x",
    ". x",
    "alias ls=rm",
    "cd ..",
    "command ls",
    "builtin echo",
    "trap x EXIT",
    "time ls",
    "coproc ls",
    "ls $HOME",
    'ls "$HOME"',
    'ls "`x`"',
    'ls "a\\b"',
    "ls 'a\nb'",
    "ls 'a",
    'ls "a',
    "ls $'a'",
    "ls a\\ b",
    "=ls",
    "ls =cat",
    "ls ^x",
    "",
    "   ",
    "''",
    "'' ls",
    "export A=b",
    "set -e",
    "printf -v x y",
    "[ a ]",
    "test a",
    "ls \x00",
    "noglob ls",
    "function f",
    "unset PATH",
    "hash -p /x ls",
    "enable -f /x ls",
    "\ufeffls",
    "l\u200bs",
    'ls "!x"',
]


@pytest.mark.parametrize("command", ATTACKS)
def test_everything_that_a_shell_could_read_differently_is_opaque(command: str) -> None:
    """Operators, expansions, builtins, odd spaces: one opaque effect, which asks for nothing."""
    action = ShellAction(command=command)
    (effect,) = effects_of(action, world_for(action))
    assert effect.kind is EffectKind.OPAQUE
    assert effect.subject
    assert needs(action) == Needs()


def test_git_is_understood_only_where_its_configuration_is_protected() -> None:
    """A directory that the agent made may be a repository that names programs to run."""
    assert shell("git status", cwd=f"{WORKSPACE}/sub") == ["exec(git status)"]


def test_a_tool_shadowed_by_agent_writable_code_is_not_that_tool() -> None:
    """`ls` found in the workspace is workspace code."""
    action = ShellAction(command="ls")
    world = world_for(action)
    program = world.executables[0]
    shadow = type(program)(word="ls", resolved=f"{WORKSPACE}/bin/ls", agent_writable=True)
    shadowed = World(workspace=WORKSPACE, cwd=WORKSPACE, paths=world.paths, executables=(shadow,))
    assert [e.kind for e in effects_of(action, shadowed)] == [EffectKind.EXEC_WORKSPACE]


@pytest.mark.parametrize(
    "word", ["./python", "bin/python", f"{WORKSPACE}/python", "/usr/../x/python"]
)
def test_a_program_named_through_the_workspace_is_workspace_code(word: str) -> None:
    """A link to the system's interpreter is bent by the agent between question and answer."""
    link = ExecutableFacts(word=word, resolved="/usr/bin/python3", agent_writable=False)
    world = World(workspace=WORKSPACE, cwd=WORKSPACE, executables=(link,))
    effects = effects_of(ExecAction(argv=(word, "x.py")), world)
    assert [e.kind for e in effects] == [EffectKind.EXEC_WORKSPACE]


@pytest.mark.parametrize(
    "action",
    [
        ReadAction(path="a"),
        WriteAction(path="a"),
        ShellAction(command="cat a"),
        ShellAction(command="ls"),
    ],
    ids=repr,
)
def test_what_was_not_resolved_is_opaque(action: Action) -> None:
    """A world without the facts that were asked for lets nothing be understood."""
    effects = effects_of(action, World(workspace=WORKSPACE, cwd=WORKSPACE))
    assert EffectKind.OPAQUE in {effect.kind for effect in effects}
    assert not any(Label.UNDERSTOOD in effect.labels for effect in effects)


def test_a_program_with_unresolved_files_is_not_understood() -> None:
    """The program alone is known; its files are not, so the exec is not covered either."""
    action = ShellAction(command="cat a")
    world = world_for(action)
    blind = World(workspace=WORKSPACE, cwd=WORKSPACE, executables=world.executables)
    assert [e.describe() for e in effects_of(action, blind)] == [
        "exec(cat a)",
        "opaque(a path of the call was not resolved)",
    ]


def test_facts_of_another_path_are_not_taken() -> None:
    """Facts are joined by the path as the call wrote it."""
    world = World(workspace=WORKSPACE, cwd=WORKSPACE, paths=(path_facts("b"),))
    assert effects_of(ReadAction(path="a"), world)[0].kind is EffectKind.OPAQUE


URLS = [
    ("http://a.example", Endpoint("a.example", 80)),
    ("https://A.Example:8443/x", Endpoint("a.example", 8443)),
    ("wss://a.example./", Endpoint("a.example", 443)),
    ("https://good.example@evil.example/", Endpoint("evil.example", 443)),
    ("https://evil.example#@good.example", Endpoint("evil.example", 443)),
    ("https://evil.example?@good.example", Endpoint("evil.example", 443)),
    ("http://[::1]:80/", Endpoint("::1", 80)),
    ("http://127.0.0.1/", Endpoint("127.0.0.1", 80)),
    ("https://xn--bcher-kva.example", Endpoint("xn--bcher-kva.example", 443)),
    ("https://a.example/ü", Endpoint("a.example", 443)),
]


@pytest.mark.parametrize(("url", "endpoint"), URLS)
def test_a_url_leads_where_every_client_goes(url: str, endpoint: Endpoint) -> None:
    """Case, user information, default ports, brackets."""
    assert endpoint_of(url) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "a.example",
        "//a.example",
        "file:///etc/passwd",
        "javascript:x",
        "http:a.example",
        "http://a b",
        "http://a\tb",
        "http://a\\@b",
        "http://a@b@c",
        "http://127.1",
        "http://0x7f.1",
        "http://2130706433",
        "http://0177.0.0.1",
        "http://[::1",
        "http://::1",
        "http://[1.2.3.4]",
        "http://[fe80::1%25eth0]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://a:0",
        "http://a:65536",
        "http://a:",
        "http://a:8 0",
        "http://bücher.example",
        "http://a%2eexample",
        "http://a..b",
        "http://-a.example",
        "http://a:٣",
        "http://" + "a" * 300,
        " http://a",
        "http://a\u3002b",
        "http://user:p@ss@host/",
        "http://1.2.3.256/",
        "http://a.0x",
        "http://a\x85b",
        "http://ü@a.example",
    ],
)
def test_a_url_that_clients_read_differently_is_opaque(url: str) -> None:
    """No host is guessed."""
    assert isinstance(endpoint_of(url), str)
    assert described(FetchAction(url=url))[0].startswith("opaque(")


def test_every_command_that_is_split_names_its_program_first() -> None:
    """Quotes disappear, words stay whole."""
    assert split("  git\tcommit -m 'two  words' a\"b\"'c'  ") == (
        "git",
        "commit",
        "-m",
        "two  words",
        "abc",
    )


def effects(command: str) -> tuple[Effect, ...]:
    action = ShellAction(command=command)
    return effects_of(action, world_for(action))


@pytest.mark.parametrize(
    ("command", "targets"),
    [
        ("curl -fsSL https://example.org/a.sh", {("example.org", 443)}),
        (
            "curl https://a.example:8443/x https://b.example/y",
            {("a.example", 8443), ("b.example", 443)},
        ),
        ("wget -q HTTPS://Example.org/", {("example.org", 443)}),
        ("git clone https://git.example/x.git", {("git.example", 443)}),
        ("git push https://git.example/x.git main", {("git.example", 443)}),
        ("git push --force https://git.example/x.git main", {("git.example", 443)}),
        ("git push origin main", set()),
        ("curl example.org", set()),
    ],
)
def test_a_download_says_where_it_goes_and_is_still_not_understood(
    command: str, targets: set[tuple[str, int]]
) -> None:
    """The host is what a person grants; what becomes of the answer nobody knows, so it is asked."""
    found = effects(command)

    assert {(e.subject, e.port) for e in found if e.kind is EffectKind.CONNECT} == targets
    assert not any(Label.UNDERSTOOD in e.labels for e in found)


def test_a_url_that_clients_read_differently_makes_a_download_opaque() -> None:
    found = effects("curl https://good.example@127.1/")

    assert EffectKind.OPAQUE in {e.kind for e in found}
    assert EffectKind.CONNECT not in {e.kind for e in found}


def test_an_ipv6_host_stands_in_brackets_wherever_it_is_named() -> None:
    """On the card, in the journal and for the proxy: one spelling, in which the port is plain."""
    (found,) = [e for e in effects("curl 'https://[::1]:8443/'") if e.kind is EffectKind.CONNECT]
    assert found.describe() == "connect([::1]:8443)"
    assert found.endpoint == "[::1]:8443"
