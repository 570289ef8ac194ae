"""How a governed harness logs in: a variable or a login file that the operator names."""

from __future__ import annotations

LOGIN_NAMES = frozenset({"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"})
"""Variables with which Claude Code logs in."""
LOGIN_WORDS = frozenset({"login", "login-refresh"})
"""Words of `carry` that hand over its own login file."""
NO_LOGIN = (
    "no login is handed to Claude Code; if it cannot log in: --pass-env ANTHROPIC_API_KEY,"
    " or --carry login for a subscription; in config.toml: pass_environment, carry"
)


def without_login(intendant: str, *named: tuple[str, ...]) -> bool:
    """Tell whether a harness would start with no key and no login handed over."""
    known = LOGIN_NAMES | LOGIN_WORDS
    return intendant == "claude-code" and known.isdisjoint(name for n in named for name in n)
