"""The gitlinks of the workspace's index: `git status` at the top enters the repository at each.

git is asked as the workspace's owner, in a clean environment, for nothing but its index: the agent
may have written that file, so it is never read with root's rights.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING

from agp.contracts.git import GIT_ENVIRONMENT
from agp.errors import ConfigurationError
from agp.sandbox.host import TOOL_PATH, tool

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

TIMEOUT_S = 20.0
MOST_GITLINKS = 10_000
_CHUNK = 1 << 16
_LONGEST = 1 << 16
UNREADABLE = ".git/index (git cannot read it)"


def gitlinks(workspace: str) -> tuple[str, ...]:
    """Name the paths with mode 160000, sorted; blocking, about 5 ms.

    Without a repository of the workspace's own, or without git, there is none. What git cannot
    read in time is one finding of its own, so that a damaged index is a difference.
    """
    if not os.path.lexists(f"{workspace}/.git/HEAD"):
        return ()
    try:
        command = [*_as_owner(workspace), tool("git"), "--git-dir=.git", "ls-files", "-s", "-z"]
    except ConfigurationError:
        return ()
    # Relative: the owner may not be able to enter the directories above.
    with subprocess.Popen(
        command,
        cwd=workspace,
        env=dict(GIT_ENVIRONMENT) | _CLEAN,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        late = Timer(TIMEOUT_S, process.kill)
        late.start()
        found = set(_links(process.stdout)) if process.stdout else set()
        process.wait()
        late.cancel()
    return tuple(sorted(found)) if process.returncode == 0 else (UNREADABLE,)


_CLEAN = {
    "PATH": TOOL_PATH,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "",
    # The masked place itself, whatever a `.git/commondir` says.
    "GIT_COMMON_DIR": ".git",
}


def _as_owner(workspace: str) -> tuple[str, ...]:
    owner = Path(workspace).stat()
    if os.geteuid() != 0 or owner.st_uid == 0:
        return ()
    identity = ("--reuid", str(owner.st_uid), "--regid", str(owner.st_gid), "--clear-groups")
    return (tool("setpriv"), *identity, "--inh-caps=-all", "--no-new-privs", "--")


def _links(stream: IO[bytes]) -> Iterator[str]:
    """Keep the gitlinks of `ls-files -s -z`, whatever its length."""
    rest, given = b"", 0
    while chunk := stream.read(_CHUNK):
        *lines, rest = (rest + chunk).split(b"\0")
        for line in lines:
            if line.startswith(b"160000 ") and given < MOST_GITLINKS:
                given += 1
                yield os.fsdecode(line.partition(b"\t")[2])
        rest = rest[:_LONGEST]
