"""The environment of the harness: built from empty, from a named list, and from what is asked for.

Whatever an environment variable can make the harness, its runtime, its shell or its tools load or
run is refused even where the operator names it: a name in a configuration file is too easily
copied without its consequences.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from agp.contracts.git import GIT_ENVIRONMENT
from agp.errors import RunRefused

VIEW_HOME = "/home/agent"
VIEW_PATH = "/usr/local/bin:/usr/bin:/bin"
RELAY_URL = "http://127.0.0.1:8080"
PROXY_URL = "http://127.0.0.1:3128"
LOGIN_VARIABLE = "ANTHROPIC_API_KEY"
OAUTH_VARIABLE = "CLAUDE_CODE_OAUTH_TOKEN"
"""A subscription's token (`claude setup-token`): the only CLAUDE* name that may be handed over."""

_FIXED = (
    ("HOME", VIEW_HOME),
    ("PATH", VIEW_PATH),
    ("LANG", "C.UTF-8"),
    ("TMPDIR", "/tmp"),  # noqa: S108 - the view's own, private /tmp
    ("SHELL", "/bin/bash"),
    *GIT_ENVIRONMENT,
    ("DISABLE_AUTOUPDATER", "1"),
    ("DISABLE_ERROR_REPORTING", "1"),
    ("DISABLE_TELEMETRY", "1"),
    ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
    # Attack: its daemon and spare processes listen in /tmp whatever TMPDIR says; a granted call
    # took their sockets over and had its own commands run in the harness's view.
    ("CLAUDE_CODE_DISABLE_AGENT_VIEW", "1"),
    # Attack: a mentioned file is read before any hook is heard, and brought back by /compact.
    ("CLAUDE_CODE_DISABLE_ATTACHMENTS", "1"),
)
_NO_EDITOR = "/opt/agp/no-editor"
"""Nothing lies there and nobody in a view can put anything there, so starting it fails. Attack:
Ctrl-G, `v` in the transcript, /memory and /keybindings start an editor beside the harness, and an
editor runs commands, with the harness's login and with no decision."""
SCREEN_ENVIRONMENT = (
    ("COLORTERM", "truecolor"),
    ("EDITOR", _NO_EDITOR),
    ("TERM", "xterm-256color"),
    ("VISUAL", _NO_EDITOR),
)
"""For the harness's own screen: what AGP's filter lets through, whatever the real terminal is."""
HARNESS_TMP = f"{VIEW_HOME}/tmp"  # noqa: S108 - the view's own
"""The harness's own temporary files: /tmp is shared with the calls, which must not reach these."""
CALL_VIEW_ENVIRONMENT = (
    ("CLAUDE_CODE_SHELL_PREFIX", "/opt/agp/agp-shell"),
    ("CLAUDE_CODE_TMPDIR", HARNESS_TMP),
    ("TMPDIR", HARNESS_TMP),
)
"""Where calls have views of their own. Measured with 2.1.329: every shell goes through the prefix,
also `!command` at its screen; task outputs, its socket and its notes follow CLAUDE_CODE_TMPDIR."""
OWN_NAMES = frozenset(
    {name for name, _ in (*_FIXED, *SCREEN_ENVIRONMENT, *CALL_VIEW_ENVIRONMENT)}
    | {"ANTHROPIC_BASE_URL", "NO_PROXY", "HTTPS_PROXY"}
    | {f"GIT_{role}_{what}" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
)
"""The variables whose values AGP chooses; none of them can be named by the operator."""

_NEVER = {
    "another way to the operator's session": (
        "*_AUTH_SOCK", "*_AGENT_PID", "DBUS_*", "XDG_*", "DISPLAY", "WAYLAND_*", "XAUTHORITY",
        "TMUX*", "STY", "VSCODE_*", "TERM_PROGRAM*", "AGP_*", "SYSTEMD_*", "NOTIFY_SOCKET",
        "DOCKER_*", "CONTAINER_HOST", "KUBECONFIG",
    ),
    "it makes a program load or run code": (
        "LD_*", "GLIBC_*", "GCONV_PATH", "MALLOC_*", "DYLD_*", "NODE_*", "BUN_*", "BASH_*", "ENV",
        "PS0", "PS1", "PS4", "PROMPT_COMMAND", "IFS", "SHELLOPTS", "PYTHON*", "PERL*", "RUBY*",
        "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "GIT_*", "EDITOR", "VISUAL",
        "PAGER", "*PAGER", "*EDITOR", "*ASKPASS", "BROWSER", "npm_*", "NPM_*",
    ),
    "it changes what governs the harness, or where its model is": (
        "CLAUDE*", "ANTHROPIC_BASE_URL", "ANTHROPIC_*_URL", "ANTHROPIC_CUSTOM_*", "DISABLE_*",
        "ENABLE_*", "USE_*", "USER_TYPE", "CCR_*", "OTEL_*", "BETA_TRACING_*", "IS_SANDBOX",
        "MCP_*", "*_PROXY", "*_proxy", "SSL_*", "*_CA_BUNDLE",
        "HOME", "PATH", "LANG", "SHELL", "TMPDIR", "USER", "LOGNAME", "PWD", "TERM", "COLORTERM",
    ),
    "cloud and forge credentials do not enter the view": (
        "AWS_*", "AZURE_*", "GOOGLE_*", "GCLOUD_*", "GCP_*", "CLOUDSDK_*", "VERTEX_*", "GH_*",
        "GITHUB_*", "GITLAB_*", "BITBUCKET_*", "HF_*", "DIGITALOCEAN_*", "VAULT_*", "SLACK_*",
    ),
}  # fmt: skip
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def build_environment(
    *,
    model_relay: bool,
    git_name: str,
    git_email: str,
    named: tuple[tuple[str, str], ...] = (),
) -> tuple[tuple[str, str], ...]:
    """Write the harness's whole environment, sorted by name.

    With `model_relay` the model is reached as plain HTTP inside the view. Measured: without
    NO_PROXY a set proxy is used even for loopback, and the run fails.

    Raises:
        RunRefused: a named variable is one that never enters a view, or holds a NUL.
    """
    whole = dict(_FIXED)
    whole |= _route(model_relay)
    for role in ("AUTHOR", "COMMITTER"):
        whole |= {f"GIT_{role}_NAME": git_name, f"GIT_{role}_EMAIL": git_email}
    for name, value in named:
        check_name(name)
        whole[name] = value
    for name, value in whole.items():
        if "\0" in value or (name.startswith("GIT_") and "\n" in value):
            raise RunRefused(f"the environment variable {name} is not one line of text")
    return tuple(sorted(whole.items()))


def call_environment(environment: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Take out of a harness's environment what its calls get as well: identity, and what was named.

    Never what the harness logs in with: a call needs no model.
    """
    return tuple(
        (name, value)
        for name, value in environment
        if name.startswith(("GIT_AUTHOR_", "GIT_COMMITTER_"))
        or (name not in OWN_NAMES and not name.startswith(("ANTHROPIC_", "CLAUDE")))
    )


def check_name(name: str) -> None:
    """Refuse the name of a variable that must not enter a view.

    Raises:
        RunRefused: with the family that it belongs to, and why.
    """
    if not _NAME.fullmatch(name):
        raise _refused(name, "it is not the name of an environment variable")
    if name == OAUTH_VARIABLE:
        return
    for why, patterns in _NEVER.items():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            raise _refused(name, why)


def _route(model_relay: bool) -> dict[str, str]:  # noqa: FBT001 - private, one caller
    if model_relay:
        return {"ANTHROPIC_BASE_URL": RELAY_URL, "NO_PROXY": "127.0.0.1,localhost"}
    return {"HTTPS_PROXY": PROXY_URL}


def _refused(name: str, why: str) -> RunRefused:
    return RunRefused(
        f"the environment variable {name!r} is never handed to a harness",
        where="pass_environment",
        why=why,
        fix="do not name it, neither in pass_environment nor with --pass-env",
    )
