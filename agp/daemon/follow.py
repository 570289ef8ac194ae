"""Following a path as a view would, on the host, without being led astray.

`os.path.realpath` answers for this process: `/proc/self` is the daemon, `/dev/fd/0` its input. Such
names mean something else in a view, so a path that enters them, by itself or through a link, has no
answer here. Neither has one that loops, that may not be read, or that is no text.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from typing import Final

VIEW_HOME: Final = "/home/agent"
Places = tuple[str, ...]
VIEW_OWN: Final[Places] = (VIEW_HOME, "/tmp", "/var/tmp", "/run", "/dev/shm")  # noqa: S108 - names
"""Places that every view has of its own: below them the host's files say nothing."""
_NO_ANSWER: Final = ("/proc", "/sys", "/dev/fd", "/dev/stdin", "/dev/stdout", "/dev/stderr")
_TMP: Final = ("/tmp", "/var/tmp")  # noqa: S108 - a view's own, and its other name
_MOST_LINKS: Final = 40
"""As the kernel's own limit (path_resolution(7))."""
_LONGEST: Final = 4096


def follow(
    raw: str, cwd: str, workspace: str, *, own: Places = VIEW_OWN, shared: str | None = None
) -> str | None:
    """Give the absolute path that a view would reach, existing or not; None: it cannot be told.

    `own`: where the view has its own files; none, where the harness has no view. `shared`: what the
    views of the session have as /tmp, whose links are followed too. Attack: a call plants a link
    there to what only the harness reaches, and the harness's own file tool is asked for its name.
    """
    joined = os.path.join(cwd, raw)  # noqa: PTH118 - a peer's words, not a path of ours
    if not joined.startswith("/") or len(joined) > _LONGEST or not _is_text(joined):
        return None
    rest = deque(joined.split("/"))
    at, links = "/", 0
    while rest:
        part = rest.popleft()
        if part in {"", "."}:
            continue
        at = os.path.dirname(at) if part == ".." else f"{at.rstrip('/')}/{part}"  # noqa: PTH120
        if any(below(at, place) for place in _NO_ANSWER):
            return None
        held = at
        if is_view_own(at, workspace, own=own):
            behind = _behind(at, shared)
            if behind is None:
                return os.path.normpath("/".join((at, *rest)))
            held = behind
        target = _link(held)
        if target is None:
            continue
        links += 1
        if links > _MOST_LINKS or not _is_text(target):
            return None
        rest.extendleft(reversed(target.split("/")))
        at = "/" if target.startswith("/") else os.path.dirname(at)  # noqa: PTH120
    return at if len(at) <= _LONGEST else None


def _behind(at: str, shared: str | None) -> str | None:
    """Say where the host holds a path below the session's /tmp; None: it holds none."""
    for place in () if shared is None else _TMP:
        if below(at, place):
            return f"{shared}{at[len(place) :]}"
    return None


def below(path: str, directory: str) -> bool:
    """Tell whether a path is a directory or lies below it; by name."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def is_view_own(path: str, workspace: str, *, own: Places = VIEW_OWN) -> bool:
    """Tell whether a path lies where a view has its own files: not the workspace or above it."""
    return any(below(path, place) for place in own) and not (
        below(path, workspace) or below(workspace, path)
    )


def _link(path: str) -> str | None:
    """Read a link; None: it is none, or nothing is there."""
    try:
        return os.readlink(path)  # noqa: PTH115 - text in, text out
    except OSError as error:
        if error.errno in {errno.EINVAL, errno.ENOENT, errno.ENOTDIR}:
            return None
        # What this process may not look at could lead anywhere: an answer that is never a path.
        return "\udcff"


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in path
