"""A Unix socket's place in the file system: bound once, shared with nobody, removed by its owner.

Anyio unlinks whatever socket it finds at a path. Here a socket is removed only if it is ours and
nobody answers on it; anything else at the path is an error that a person looks at.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, sleep

from agp.contracts.gateway import Peer
from agp.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from anyio.abc import SocketListener, SocketStream

PATH_LIMIT = 107
"""Bytes of a Unix socket address on Linux, without the final zero (unix(7))."""
BACKLOG = 64
ACCEPT_PAUSE_S = 0.1
_PASSING = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ECONNABORTED, errno.EPROTO}
)
"""Errors of accept that pass: peers who use up descriptors must not end the listener."""


class Address:
    """One bound and listening socket, and the inode by which its path is recognised later."""

    def __init__(self, path: Path, listening: socket.socket) -> None:
        self.path = path
        self.socket = listening
        self._inode = path.lstat().st_ino

    def remove(self) -> None:
        """Remove the path if it is still this socket."""
        try:
            if self.path.lstat().st_ino == self._inode:
                self.path.unlink()
        except FileNotFoundError:
            return


def bind(path: Path, mode: int) -> Address:
    """Bind a listening socket at a path, whose directory only its owner may write.

    Raises:
        ConfigurationError: the directory is open to others, the path is too long, somebody answers
            there, or something that is not a dead socket of ours is in the way.
    """
    if len(os.fsencode(path)) > PATH_LIMIT:
        raise ConfigurationError(
            "a socket's path is too long", where=str(path), fix="set AGP_HOME to a shorter path"
        )
    _check_directory(path.parent)
    _remove_stale(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(os.fspath(path))
        path.chmod(mode)
        listening.listen(BACKLOG)
        return Address(path, listening)
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            "a socket cannot be made", where=str(path), why=error.strerror or str(error)
        ) from error


async def accept(listener: SocketListener) -> SocketStream:
    """Accept one connection, resting while the system has no room for it.

    Raises:
        BrokenResourceError: the listening socket itself is broken.
    """
    while True:
        try:
            return await listener.accept()
        except BrokenResourceError as error:
            if not isinstance(error.__cause__, OSError) or error.__cause__.errno not in _PASSING:
                raise
        await sleep(ACCEPT_PAUSE_S)


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who connected (unix(7), SO_PEERCRED: as of connect, in our namespaces)."""
    size = struct.calcsize("iII")
    pid, uid, gid = struct.unpack(
        "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return Peer(pid=pid, uid=uid, gid=gid)


def _check_directory(directory: Path) -> None:
    try:
        state = directory.lstat()
    except OSError as error:
        raise ConfigurationError(
            "there is no directory for a socket", where=str(directory), why=error.strerror or ""
        ) from error
    if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.geteuid():
        raise ConfigurationError("a socket's directory is not ours", where=str(directory))
    if state.st_mode & 0o022:
        raise ConfigurationError(
            "others could replace a socket in this directory",
            where=str(directory),
            fix=f"chmod go-w {directory}",
        )


def _remove_stale(path: Path) -> None:
    try:
        state = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(state.st_mode) or state.st_uid != os.geteuid():
        raise ConfigurationError(
            "something that is not a socket of ours is in a socket's place",
            where=str(path),
            fix="look at it, and move it away",
        )
    if _answers(path):
        raise ConfigurationError(
            "somebody already answers on this socket",
            where=str(path),
            why="another daemon uses this home",
            fix="agp daemon stop",
        )
    path.unlink()


def _answers(path: Path) -> bool:
    """Tell whether a process listens there; one with a full backlog does too."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            return False
        except BlockingIOError:
            return True
    return True
