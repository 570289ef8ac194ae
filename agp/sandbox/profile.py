"""The profile: a frozen value that says what a view shows, and its one list of bubblewrap options.

Pure. The root is an empty tmpfs; whatever is not named in the value does not exist inside. The
same profile serves root and an ordinary user: only where the sources come from differs
(`agp.sandbox.staging`).

Source: system.md §9; ADR 0006; bwrap(1).
"""

from __future__ import annotations

import hashlib
import os
from typing import Annotated

from pydantic import Field

from agp.contracts.base import Contract, Digest
from agp.errors import RunRefused

MOST_WORDS = 8_900
"""bubblewrap 0.8 takes 9,000 words, those of its command line included."""

HOME_IN_VIEW = "/home/agent"
ASK_IN_VIEW = "/run/agp"
OURS_IN_VIEW = "/opt/agp"
INTERPRETER = "/usr/bin/python3"
"""What runs our own scripts inside; the host's /usr is the only place that every view shows."""


class Bind(Contract):
    """One host path shown inside, with everything mounted below it."""

    source: str
    target: str
    writable: bool = False
    follow: bool = True
    """False, for a writable directory: no link on this mount leads anywhere (`nosymfollow`)."""


class OurFile(Contract):
    """A read-only file of ours: its bytes travel by descriptor, nothing on the host backs it."""

    path: str
    content: bytes
    mode: Annotated[int, Field(ge=0, le=0o777)] = 0o444


class Scratch(Contract):
    """A private, empty, writable tmpfs."""

    target: str
    size: Annotated[int, Field(gt=0)]
    """Bytes."""
    mode: Annotated[int, Field(ge=0, le=0o1777)] = 0o1777


class ViewSpec(Contract):
    """Everything that a view shows, in mount order, and the command that runs in it."""

    system: tuple[Bind, ...]
    """The host's own /usr and named entries of /etc; readable for every user."""
    links: tuple[tuple[str, str], ...]
    """Link, target: /bin -> usr/bin and the like."""
    scratch: tuple[Scratch, ...]
    shared: tuple[Bind, ...] = ()
    """Directories of the session's own that several views see: in the place of a scratch."""
    files: tuple[OurFile, ...]
    binds: tuple[Bind, ...]
    """Toolchains, harness, HOME, ask directory, workspace."""
    masks: tuple[Bind, ...] = ()
    """Over the workspace: parents of executing places writable, the places themselves not."""
    environment: tuple[tuple[str, str], ...]
    """The whole environment of the command."""
    cwd: str
    argv: tuple[str, ...] = Field(min_length=1)
    nesting: bool = False
    """True: processes inside may make user namespaces, and can then remove every mask (measured:
    a mount point can be renamed from a mount namespace that does not show it)."""


def bwrap_options(spec: ViewSpec, *, seccomp_fd: int, file_fds: tuple[int, ...]) -> tuple[str, ...]:
    """Spell the view as bubblewrap's options, without the command.

    `file_fds` holds one readable descriptor for each of `spec.files`, in order. bwrap's own init
    stays pid 1: it reaps orphans, and its end ends every process of the view.
    """
    words: list[str] = [*_NAMESPACES, *([] if spec.nesting else ["--disable-userns"])]
    words += ["--cap-drop", "ALL", "--new-session", "--die-with-parent", "--hostname", "agp"]
    words += ["--seccomp", str(seccomp_fd), "--clearenv"]
    for name, value in spec.environment:
        words += ["--setenv", name, value]
    words += ["--proc", "/proc", "--dev", "/dev"]
    for scratch in spec.scratch:
        words += ["--perms", f"{scratch.mode:04o}", "--size", str(scratch.size)]
        words += ["--tmpfs", scratch.target]
    for bind in (*spec.shared, *spec.system):
        words += _bind(bind)
    for link, target in spec.links:
        words += ["--symlink", target, link]
    for file, descriptor in zip(spec.files, file_fds, strict=True):
        words += ["--perms", f"{file.mode:04o}", "--file", str(descriptor), file.path]
    sealed = _sealed(spec)
    for parent in sealed:
        words += ["--perms", "0755", "--tmpfs", parent]
    for bind in (*spec.binds, *spec.masks):
        words += _bind(bind)
    for parent in sealed:
        words += ["--remount-ro", parent]
    # Last: the root and /dev are the view user's own tmpfs; without this he could add
    # /etc/claude-code/managed-settings.d or a file in /opt/agp.
    words += ["--remount-ro", "/dev", "--remount-ro", "/"]
    return (*words, "--chdir", spec.cwd)


def format_options(words: tuple[str, ...]) -> bytes:
    """Write options for bubblewrap's `--args`: an argv would show every local user the environment.

    Raises:
        RunRefused: a word holds a NUL (it would be two options), or there are too many words.
    """
    if any("\0" in word for word in words):
        raise RunRefused("a path or an environment variable of the view holds a NUL")
    if len(words) > MOST_WORDS:
        raise RunRefused(
            "the view would need more mounts than bubblewrap can make",
            why=f"{len(words)} words of options, at most {MOST_WORDS}; each nested repository of "
            "the workspace needs about 25",
            fix="start AGP in the directory that the agent shall work on",
        )
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def digest_of(spec: ViewSpec, filter_program: bytes) -> Digest:
    """Name everything that defines the view, for the journal."""
    text = spec.model_dump_json().encode()
    return Digest(hashlib.sha256(b"agp/view/v1\0" + filter_program + b"\0" + text).hexdigest())


_NAMESPACES = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-net",
    "--unshare-cgroup-try",
)


def _sealed(spec: ViewSpec) -> tuple[str, ...]:
    """Name the parents of binds that would lie in a writable place: they become read-only mounts.

    Attack: rename `/tmp/a` of a workspace `/tmp/a/b` and build another `/tmp/a/b`; what the policy
    resolves on the host and what runs inside are then two things under one name.
    """
    tops: set[str] = set()
    places = (*(one.target for one in spec.scratch), *(one.target for one in spec.shared))
    for bind in spec.binds:
        for place in places:
            below = bind.target.removeprefix(place + "/")
            if below != bind.target and "/" in below:
                tops.add(f"{place}/{below.partition('/')[0]}")
    return tuple(sorted(tops - {bind.target for bind in spec.binds}))


def _bind(bind: Bind) -> list[str]:
    return ["--bind" if bind.writable else "--ro-bind", bind.source, bind.target]
