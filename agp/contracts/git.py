"""The part of every view's environment that keeps git from running what a repository names.

A repository's configuration may be older than the session: an unpacked archive, a shared directory.
Whatever git runs for `status`, `log` or `fetch` from there runs without a question. What no
variable reaches stays: `diff.external` (measured with git 2.39: an empty value breaks `git diff`),
`diff.*.textconv`, `filter.*`, hooks of the repository's own. The HOME that a session's calls share
is the agent's to write: git reads no configuration there, and ssh none that git starts.

Source: git-config(1), git(1), ssh(1); findings 10 and a-07 of the adversarial reviews.
"""

from __future__ import annotations

from typing import Final

_CONFIGURATION = (
    # A directory that looks like a bare repository is none: its config could name programs.
    ("safe.bareRepository", "explicit"),
    ("core.fsmonitor", "false"),
    ("core.pager", "cat"),
    ("core.askPass", ""),
    # Empty: the list of helpers begins anew, and nothing follows it.
    ("credential.helper", ""),
    ("protocol.ext.allow", "never"),
    # A signed commit would start the configured gpg.program in a plain `git log` (measured).
    ("log.showSignature", "false"),
)

GIT_ENVIRONMENT: Final = (
    ("GIT_CONFIG_COUNT", str(len(_CONFIGURATION))),
    # Attack: a quiet call writes ~/.gitconfig (filter, hooksPath); the next `git status` runs it.
    ("GIT_CONFIG_GLOBAL", "/dev/null"),
    *((f"GIT_CONFIG_KEY_{n}", key) for n, (key, _) in enumerate(_CONFIGURATION)),
    *((f"GIT_CONFIG_VALUE_{n}", value) for n, (_, value) in enumerate(_CONFIGURATION)),
    ("GIT_OPTIONAL_LOCKS", "0"),
    ("GIT_PAGER", "cat"),
    # Attack: a ProxyCommand in ~/.ssh/config runs in the `git fetch` that a person granted.
    ("GIT_SSH_COMMAND", "ssh -F /dev/null"),
    ("GIT_TERMINAL_PROMPT", "0"),
)
"""Read after every configuration file, so it wins."""
