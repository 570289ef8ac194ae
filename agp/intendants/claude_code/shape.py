"""What a canary starts in the place of a launch, and the digest by which a proof is remembered.

The canary's launch is made from the launch itself by taking away: the person's task, arguments and
set-up (which has its own checks, and changes with every edit), MCP servers (starting one executes
code), the login. Its digest is the launch's shape, so that a proof covers exactly what was started.
An interactive launch is proved in print mode: same binary, same settings, same bridge.
"""

from __future__ import annotations

import hashlib
import json

from agp import __version__
from agp.contracts.base import Digest
from agp.contracts.intendant import LaunchPlan
from agp.errors import RunRefused
from agp.intendants.claude_code.canary_model import CANARY_KEY
from agp.intendants.claude_code.environment import OWN_NAMES, RELAY_URL, SCREEN_ENVIRONMENT

TASK = "Do what the script says."
LOGINS = frozenset({"ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"})
"""Never handed to a canary: it has a key of its own, which opens nothing."""
_PRINT = ("-p", "--output-format", "stream-json", "--verbose", "--include-hook-events")
_PERSONAL = frozenset(
    {
        "--append-system-prompt",
        "--append-system-prompt-file",
        "--continue",
        "--effort",
        "--max-turns",
        "--mcp-config",
        "--model",
        "--plugin-dir",
        "--resume",
    }
)
"""Each written by AGP as one word; they say what is asked and carried, not what governs."""
_GOVERNING = ("/opt/agp/", "/etc/")
"""Where in the view the files lie that govern; the others are a person's own."""
_LEFT = frozenset(
    {"ANTHROPIC_BASE_URL", "NO_PROXY", "HTTPS_PROXY", "CLAUDE_CODE_SHELL_PREFIX"}
    | {name for name, _ in SCREEN_ENVIRONMENT}
)
"""The way to the model and the terminal: a canary has its own, or none. Nobody runs its calls in
views of their own, so the shell that lets nothing else through is not there."""


def canary_launch(plan: LaunchPlan) -> LaunchPlan:
    """Turn a launch into the canary's: the same harness, settings, bridge, flags, environment.

    Raises:
        RunRefused: the launch has no place for a task, so nothing can be said about it.
    """
    if "--" in plan.argv:
        words = plan.argv[1 : plan.argv.index("--")]
    elif plan.argv[1:2] != ("-p",):
        words = plan.argv[1:]
    else:
        raise RunRefused("a launch without `--` has no place for the canary's task")
    kept = [word for word in words if word not in _PRINT]
    flags = [word for word in kept if word.partition("=")[0] not in _PERSONAL]
    changed = {
        "argv": (plan.argv[0], *_PRINT, *flags, "--", TASK),
        "environment": _environment(plan),
        "files": tuple(file for file in plan.files if file[0].startswith(_GOVERNING)),
        "home_files": (),
        "interactive": False,
    }
    return LaunchPlan.model_validate(plan.model_dump() | changed)


def shape_digest(plan: LaunchPlan) -> Digest:
    """Digest what the launch's canary starts, in this version of AGP.

    Without the values of what the operator named (a digest of a short secret is an oracle), and
    without where the harness lies on the host: its content has a digest of its own.
    """
    shaped = canary_launch(plan)
    shape = {
        "agp": __version__,
        "argv": shaped.argv,
        "environment": [[n, v if n in OWN_NAMES else ""] for n, v in shaped.environment],
        "files": [[path, hashlib.sha256(data).hexdigest()] for path, data in shaped.files],
        "harness": [shaped.intendant, shaped.version, [to for _, to in shaped.harness_files]],
    }
    text = json.dumps(shape, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    return Digest(hashlib.sha256(b"agp/shape/v1\0" + text.encode()).hexdigest())


def installed_digest(settings: bytes, *, version: str, scope: str) -> Digest:
    """Digest installed hooks as a canary tries them; the socket's path is taken out before."""
    shape = ["agp", __version__, version, scope, hashlib.sha256(settings).hexdigest()]
    return Digest(hashlib.sha256(b"agp/installed/v1\0" + json.dumps(shape).encode()).hexdigest())


def _environment(plan: LaunchPlan) -> tuple[tuple[str, str], ...]:
    """Give the canary its own key and the relay; the way to the model is no part of the proof."""
    kept = {name: value for name, value in plan.environment if name not in _LEFT | LOGINS}
    kept |= {"ANTHROPIC_API_KEY": CANARY_KEY, "ANTHROPIC_BASE_URL": RELAY_URL}
    kept |= {"NO_PROXY": "127.0.0.1,localhost"}
    return tuple(sorted(kept.items()))
