"""What installed hooks hold against, scope by scope; every cell is measured with the real binary.

`agp hooks status` prints this table, `docs/hooks.md` shows it, and
`tests/integration/test_hooks_install_table.py` tries each cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Holds(StrEnum):
    """What comes of calls that a person would be asked about, or that a rule denies."""

    GOVERNED = "governed"
    """AGP decides: what it allows runs, and nothing else."""
    NOTHING = "nothing runs"
    """The harness has nobody to ask and refuses, also what AGP would have allowed."""
    ASKS = "asks you"
    """The harness asks at its own screen, beside AGP; with `-p` nothing runs."""
    UNGOVERNED = "UNGOVERNED"
    """Calls run without AGP."""


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that fails, or that somebody does."""

    id: str
    what: str
    user: Holds
    project: Holds
    managed: Holds

    def of(self, scope: str) -> Holds:
        """Give one scope's cell."""
        return {"user": self.user, "project": self.project, "managed": self.managed}[scope]


_G, _N, _A, _U = Holds.GOVERNED, Holds.NOTHING, Holds.ASKS, Holds.UNGOVERNED
CASES: Final = (
    Case("plain", "the harness is started as usual", _G, _G, _G),
    Case("modes", "--dangerously-skip-permissions, --allowedTools", _G, _G, _G),
    Case("no-daemon", "no AGP daemon is running", _N, _N, _N),
    Case("bridge-gone", "the bridge is missing", _N, _N, _N),
    Case("bridge-crash", "the bridge crashes", _N, _N, _N),
    Case("bridge-silent", "the bridge ends well and says nothing", _N, _A, _N),
    Case("silent-hooks", "the same, and hooks of the repository allow", _U, _U, _N),
    Case("repo-hooks", "hooks of the repository allow", _G, _G, _G),
    Case("flag-hooks", "hooks in --settings allow", _G, _G, _G),
    Case("repo-off", "the repository disables hooks, allows tools, sets SIMPLE", _N, _G, _G),
    Case("user-simple", "your own settings' `env` sets SIMPLE", _N, _A, _G),
    Case("flag-off", "--settings disables hooks", _N, _A, _G),
    Case("bare", "--bare", _N, _A, _G),
    Case("safe-mode", "--safe-mode", _N, _A, _G),
    Case("simple", "environment CLAUDE_CODE_SIMPLE=1", _N, _A, _G),
    Case("safe", "environment CLAUDE_CODE_SAFE_MODE=1", _N, _A, _G),
    Case("others-hooks", "an administrator sets allowManagedHooksOnly", _N, _A, _G),
    Case("others-rules", "... and allowManagedPermissionRulesOnly", _U, _U, _G),
    Case("sources", "--setting-sources leaves the scope out", _U, _U, _G),
    Case("config-dir", "CLAUDE_CONFIG_DIR names another directory", _U, _G, _G),
    Case("restricted", "--restricted", _U, _U, _N),
    Case("invalid", "another entry of the same file is invalid", _U, _U, _G),
    Case("emptied", "a granted call empties the settings file, in this session", _U, _U, _G),
)
UNSEEN: Final = (
    "`!command` typed by you",
    "files named with @ and what CLAUDE.md loads",
    "the start of MCP servers",
    "apiKeyHelper and statusLine",
)
"""What no hook of the harness is asked about, in any scope."""
DIALOG: Final = (
    "\"asks you\": a project's settings cannot forbid the harness's own dialogs, so where the hooks"
    " do not run it asks at its own screen, and AGP sees no answer there; with -p nothing runs."
)
ADVISORY: Final = (
    "Grade: advisory. The agent runs as you, with your rights, and nothing confines it. What it is"
    " granted to run could answer its own question with `agp approve`, edit the settings or stop"
    " the daemon; AGP refuses calls that it recognises as such, as well as it can. To be held by"
    " more than hooks, start the harness with `agp run`."
)
