"""How a governed harness gets the key for its model: a variable that the operator names."""

from __future__ import annotations

LOGIN_NAMES = frozenset({"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"})
"""Variables with which Claude Code logs in; its own login file is not in the view."""
NO_LOGIN = (
    "no variable with a model key is handed to Claude Code; if it cannot log in:"
    ' --pass-env ANTHROPIC_API_KEY, or pass_environment = ["ANTHROPIC_API_KEY"] in config.toml'
)


def without_login(intendant: str, *named: tuple[str, ...]) -> bool:
    """Tell whether a harness would start with no key handed over."""
    return intendant == "claude-code" and LOGIN_NAMES.isdisjoint(name for n in named for name in n)
