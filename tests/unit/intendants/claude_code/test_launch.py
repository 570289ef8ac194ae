"""What is started is AGP's alone: six arguments, a named environment, the rest refused."""

from __future__ import annotations

import pytest

from agp.contracts.base import Digest
from agp.contracts.intendant import LaunchPlan
from agp.errors import RunRefused
from agp.intendants.claude_code.arguments import read_arguments, read_task, why_not
from agp.intendants.claude_code.carried import CarriedSet
from agp.intendants.claude_code.environment import OWN_NAMES, build_environment, check_name
from agp.intendants.claude_code.launch import LaunchRequest, launch_digest, plan_launch
from agp.intendants.claude_code.settings import SETTINGS_PATH, format_settings


def asked(**changes: object) -> LaunchRequest:
    values: dict[str, object] = {
        "task": "fix it",
        "executable": "/usr/lib/claude",
        "executable_sha256": Digest("a" * 64),
        "version": "2.1.329",
        "bridge": b"bridge",
        "forwarder": b"forward",
        "reconnect_s": 30,
        "model_relay": True,
        "git_name": "Ann",
        "git_email": "ann@example.invalid",
    }
    return LaunchRequest.model_validate(values | changes)


def plan(**changes: object) -> LaunchPlan:
    return plan_launch(asked(**changes))


def test_the_argument_vector_is_exactly_this() -> None:
    assert plan(arguments=("-c", "--model", "opus")).argv == (
        "/opt/agp/claude", "-p", "--setting-sources", "", "--strict-mcp-config",
        "--permission-mode", "default", "--output-format", "stream-json", "--verbose",
        "--include-hook-events", "--continue", "--model=opus", "--", "fix it",
    )  # fmt: skip


def test_the_environment_is_exactly_this() -> None:
    assert plan().environment == (
        ("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080"),
        ("CLAUDE_CODE_DISABLE_AGENT_VIEW", "1"),
        ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
        ("DISABLE_AUTOUPDATER", "1"),
        ("DISABLE_ERROR_REPORTING", "1"),
        ("DISABLE_TELEMETRY", "1"),
        ("GIT_AUTHOR_EMAIL", "ann@example.invalid"),
        ("GIT_AUTHOR_NAME", "Ann"),
        ("GIT_COMMITTER_EMAIL", "ann@example.invalid"),
        ("GIT_COMMITTER_NAME", "Ann"),
        ("GIT_CONFIG_COUNT", "7"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_CONFIG_KEY_0", "safe.bareRepository"),
        ("GIT_CONFIG_KEY_1", "core.fsmonitor"),
        ("GIT_CONFIG_KEY_2", "core.pager"),
        ("GIT_CONFIG_KEY_3", "core.askPass"),
        ("GIT_CONFIG_KEY_4", "credential.helper"),
        ("GIT_CONFIG_KEY_5", "protocol.ext.allow"),
        ("GIT_CONFIG_KEY_6", "log.showSignature"),
        ("GIT_CONFIG_VALUE_0", "explicit"),
        ("GIT_CONFIG_VALUE_1", "false"),
        ("GIT_CONFIG_VALUE_2", "cat"),
        ("GIT_CONFIG_VALUE_3", ""),
        ("GIT_CONFIG_VALUE_4", ""),
        ("GIT_CONFIG_VALUE_5", "never"),
        ("GIT_CONFIG_VALUE_6", "false"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_PAGER", "cat"),
        ("GIT_SSH_COMMAND", "ssh -F /dev/null"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("HOME", "/home/agent"),
        ("LANG", "C.UTF-8"),
        ("NO_PROXY", "127.0.0.1,localhost"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("SHELL", "/bin/bash"),
        ("TMPDIR", "/tmp"),
    )


def test_without_a_relay_the_model_is_reached_through_the_proxy_only() -> None:
    environment = dict(plan(model_relay=False).environment)
    assert environment["HTTPS_PROXY"] == "http://127.0.0.1:3128"
    assert not {"ANTHROPIC_BASE_URL", "NO_PROXY"} & set(environment)


def test_the_files_are_the_checked_settings_the_bridge_and_the_forwarder() -> None:
    assert plan().files == (
        (SETTINGS_PATH, format_settings(reconnect_s=30)),
        ("/opt/agp/agp-bridge", b"bridge"),
        ("/opt/agp/forward", b"forward"),
    )
    assert plan().harness_files == (("/usr/lib/claude", "/opt/agp/claude"),)


ALLOWED = (
    (("--model", "opus"), ("--model=opus",)),
    (("--model=claude-opus-5-5[1m]",), ("--model=claude-opus-5-5[1m]",)),
    (("-r", "0" * 8 + "-1111-2222-3333-" + "4" * 12),
     ("--resume=" + "0" * 8 + "-1111-2222-3333-" + "4" * 12,)),
    (("--continue", "--effort=max", "--max-turns", "7"),
     ("--continue", "--effort=max", "--max-turns=7")),
    (("--append-system-prompt=--bare\n= x",), ("--append-system-prompt=--bare\n= x",)),
    ((), ()),
)  # fmt: skip


@pytest.mark.parametrize(("given", "passed"), ALLOWED)
def test_six_arguments_are_passed_on_each_as_one_word(
    given: tuple[str, ...], passed: tuple[str, ...]
) -> None:
    assert read_arguments(given) == passed


FORBIDDEN = (
    "--settings", "--setting-sources", "--permission-mode", "--permission-prompt-tool",
    "--permission-prompts", "--dangerously-skip-permissions", "--allowedTools", "--allowed-tools",
    "--allow-dangerously-skip-permissions", "--disallowedTools", "--disallowed-tools", "--tools",
    "--mcp-config", "--strict-mcp-config", "--add-dir", "--bare", "--safe-mode", "--agents",
    "--agent", "--plugin-dir", "--plugin-url", "--system-prompt", "--append-system-prompt-file",
    "--input-format", "--output-format", "--include-hook-events", "--verbose", "--bg",
    "--background", "--cloud", "--teleport", "--remote-control", "--chrome", "--ide", "--debug",
    "--debug-file", "--worktree", "--session-id", "--restricted", "--file", "--environment",
    "--print",
)  # fmt: skip


@pytest.mark.parametrize("flag", FORBIDDEN)
@pytest.mark.parametrize("spelling", [("{}",), ("{}", "x"), ("{}=x",), ("--model=opus", "{}=x")])
def test_a_flag_that_could_loosen_the_run_is_refused_and_says_why(
    flag: str, spelling: tuple[str, ...]
) -> None:
    with pytest.raises(RunRefused) as refused:
        read_arguments(tuple(word.format(flag) for word in spelling))
    assert refused.value.why == why_not(flag)
    assert "not one of the arguments" not in refused.value.why


ODD = (
    ("--Model", "x"), ("-m", "x"), ("--", "x"), ("-",), ("",), ("x",), ("doctor",), ("--mod", "x"),
    ("--model",), ("--model=",), ("--model", "--bare"), ("--model=--bare",), ("--model= x",),
    ("--model", "a", "--model", "b"), ("--continue=yes",), ("--resume",), ("--resume", "last"),
    ("--resume=../x",), ("--effort", "extreme"), ("--max-turns", "0"), ("--max-turns", "-1"),
    ("--max-turns", "1e9"), ("--max-turns", "\uff11"), ("--append-system-prompt", "-x"),
    ("--append-system-prompt=",), ("--append-system-prompt=a\0b",), ("-p",), ("-c", "-c"),
    ("-r", "-c"), ("--append-system-prompt=" + "x" * 140_000,), ("--future-flag",),
)  # fmt: skip


@pytest.mark.parametrize("given", ODD, ids=lambda given: " ".join(given)[:40] or "empty")
def test_whatever_is_not_exactly_allowed_is_refused(given: tuple[str, ...]) -> None:
    with pytest.raises(RunRefused) as refused:
        read_arguments(given)
    assert refused.value.why


@pytest.mark.parametrize("task", ["", "  \n", "a\0b", "x" * 131_001, "é" * 70_000, "\ud800"])
def test_a_task_that_no_argument_can_carry_is_refused(task: str) -> None:
    with pytest.raises(RunRefused):
        read_task(task)


@pytest.mark.parametrize("task", ["--bare", "-x", "doctor", "x" * 131_000])
def test_a_task_stands_behind_the_end_of_all_flags(task: str) -> None:
    assert plan(task=task).argv[-2:] == ("--", task)


NEVER = (
    "SSH_AUTH_SOCK", "GPG_AGENT_PID", "DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR", "DISPLAY",
    "WAYLAND_DISPLAY", "TMUX", "TMUX_PANE", "LD_PRELOAD", "LD_LIBRARY_PATH", "NODE_OPTIONS",
    "NODE_EXTRA_CA_CERTS", "BUN_OPTIONS", "BUN_BE_BUN", "BASH_ENV", "BASH_FUNC_ls", "ENV",
    "PROMPT_COMMAND", "PYTHONPATH", "PYTHONSTARTUP", "PERL5OPT", "RUBYOPT", "JAVA_TOOL_OPTIONS",
    "GIT_SSH_COMMAND", "GIT_CONFIG_COUNT", "GIT_EXEC_PATH", "SSH_ASKPASS", "EDITOR", "PAGER",
    "MANPAGER", "CLAUDE_CODE_SIMPLE", "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_SHELL_PREFIX",
    "CLAUDE_ENV_FILE", "ANTHROPIC_BASE_URL", "HTTPS_PROXY", "https_proxy", "NO_PROXY", "HOME",
    "PATH", "IFS", "SHELLOPTS", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "GH_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS", "SLACK_BOT_TOKEN", "AGP_HOME", "DOCKER_HOST", "IS_SANDBOX",
    "GLIBC_TUNABLES", "SSL_CERT_FILE", "DISABLE_TELEMETRY", "", "A B", "A=B", "1A", "A\n",
)  # fmt: skip


@pytest.mark.parametrize("name", NEVER)
def test_a_variable_that_could_load_code_or_open_a_way_out_is_refused_even_if_named(
    name: str,
) -> None:
    with pytest.raises(RunRefused) as refused:
        plan(named_environment=((name, "x"),))
    assert refused.value.why


def test_no_variable_of_ours_can_be_replaced_by_name() -> None:
    for name in OWN_NAMES:
        with pytest.raises(RunRefused):
            check_name(name)


def test_the_login_is_handed_on_only_where_it_is_named() -> None:
    assert "ANTHROPIC_API_KEY" not in dict(plan().environment)
    named = plan(named_environment=(("ANTHROPIC_API_KEY", "sk-ant-dummy"),))
    assert dict(named.environment)["ANTHROPIC_API_KEY"] == "sk-ant-dummy"


def test_a_git_identity_is_one_line() -> None:
    with pytest.raises(RunRefused):
        build_environment(model_relay=True, git_name="a\nb", git_email="c")


def test_the_digest_covers_everything_that_is_started() -> None:
    first = launch_digest(plan())
    changed = (
        plan(task="other"),
        plan(arguments=("--model=opus",)),
        plan(bridge=b"other"),
        plan(forwarder=b"other"),
        plan(reconnect_s=31),
        plan(model_relay=False),
        plan(executable="/usr/lib/other"),
        plan(executable_sha256=Digest("b" * 64)),
        plan(version="2.1.330"),
        plan(git_name="Bob"),
        plan(named_environment=(("ANTHROPIC_API_KEY", "x"),)),
        plan(unsafe=("unsafe-harness-version",)),
    )
    assert launch_digest(plan()) == first
    assert len({first, *(launch_digest(other) for other in changed)}) == len(changed) + 1


def test_the_digest_is_no_oracle_for_a_secret() -> None:
    one = plan(named_environment=(("ANTHROPIC_API_KEY", "a"),))
    other = plan(named_environment=(("ANTHROPIC_API_KEY", "b"),))
    assert launch_digest(one) == launch_digest(other)


def test_an_executable_without_an_absolute_path_is_refused() -> None:
    with pytest.raises(RunRefused):
        plan(executable="claude")


def test_a_subscription_s_token_is_the_only_name_of_its_family_that_enters() -> None:
    """It is a login; every other CLAUDE* changes what governs the harness."""
    named = (("CLAUDE_CODE_OAUTH_TOKEN", "sk-ant-oat01-dummy"),)
    assert named[0] in plan(named_environment=named).environment
    for name in (
        "CLAUDE_CODE_OAUTH_TOKEN_",
        "CLAUDE_CODE_OAUTH",
        "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
    ):
        with pytest.raises(RunRefused):
            plan(named_environment=((name, "x"),))


def test_what_is_carried_is_started_and_digested() -> None:
    carried = CarriedSet(
        files=(("/opt/carried/memory.md", b"m"),),
        arguments=("--append-system-prompt-file=/opt/carried/memory.md",),
        home_files=(("/home/me/.claude/.credentials.json", ".claude/.credentials.json", False),),
    )
    made = plan(carried=carried)
    assert carried.arguments[0] in made.argv[: made.argv.index("--")]
    assert carried.files[0] in made.files
    assert made.home_files == carried.home_files
    assert launch_digest(made) != launch_digest(plan())
