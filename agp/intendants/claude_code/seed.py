"""What Claude Code must find in its HOME to start straight into its prompt.

Three facts, measured to suffice with 2.1.329: the onboarding is done, the workspace is trusted (a
person named it to `agp run`; what it could execute is covered and not loaded), and the key that
the operator handed over is the one to use. Without them the screen opens with dialogs, or the
harness ends because it cannot reach its vendor. Nothing else of a person's own file is here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from agp.intendants.claude_code.environment import LOGIN_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Mapping

SEED_FILE: Final = ".claude.json"
"""Below HOME."""
_KEPT: Final = 20
"""Characters of a key by which the harness remembers that a person approved it."""


def home_seed(workspace: str, environment: tuple[tuple[str, str], ...]) -> bytes:
    """Write the file for a new HOME; it holds the last characters of a key that is in there."""
    seed: dict[str, object] = {
        "hasCompletedOnboarding": True,
        "projects": {workspace: {"hasTrustDialogAccepted": True}},
    }
    given: Mapping[str, str] = dict(environment)
    if key := given.get(LOGIN_VARIABLE):
        seed["customApiKeyResponses"] = {"approved": [key[-_KEPT:]], "rejected": []}
    return json.dumps(seed).encode() + b"\n"
