"""The call vault: bodies and salts of calls, beside the journal and not part of it.

A body is the raw input of a call that still waits; it goes with the call's terminal line. A salt
stays, so that the commitment in the journal can be proved. Both are durable *before* the line that
refers to them. Everything here blocks: call it from a worker thread.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from agp.errors import ConfigurationError, MessageRefused, Unavailable
from agp.journal.commitment import SALT_BYTES

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from agp.contracts.base import CallId

_CALL_ID = re.compile(r"c-[0-9a-f]{16}")
_BODY, _SALT = ".body", ".salt"


class StoredCall(NamedTuple):
    """What the vault holds of one call."""

    salt: bytes
    body: bytes | None
    """The raw input; None once the call has ended."""


class CallVault:
    """One directory, 0700; two files a call, 0600."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, call_id: CallId, raw_input: bytes, salt: bytes) -> None:
        """Store a new call; files and directory are durable when this returns.

        Raises:
            Unavailable: it could not be stored; the call must be refused.
            MessageRefused: the id is not one, or is taken.
            ConfigurationError: the salt is not 32 bytes.
        """
        if len(salt) != SALT_BYTES:
            raise ConfigurationError("a call's salt is not 32 bytes long", why=str(len(salt)))
        self._write(call_id, _SALT, salt)
        self._write(call_id, _BODY, raw_input)
        self._sync()

    def get(self, call_id: CallId) -> StoredCall | None:
        """Read a call; None where the vault never had it, or dropped it all.

        Raises:
            Unavailable: a file is there and cannot be read.
        """
        salt = self._read(call_id, _SALT)
        if salt is None or len(salt) != SALT_BYTES:
            return None
        return StoredCall(salt, self._read(call_id, _BODY))

    def drop_body(self, call_id: CallId) -> None:
        """Remove a call's body after its terminal line; the salt stays. Safe to repeat.

        Raises:
            Unavailable: it could not be removed.
        """
        self._remove(self._path(call_id, _BODY))
        self._sync()

    def remove_orphans(self, *, live: AbstractSet[CallId], journaled: AbstractSet[CallId]) -> int:
        """Clean up on start: what a crash left before its line, or after its terminal line.

        Bodies stay for `live` calls, salts for `journaled` and live ones; anything else in the
        directory goes. Gives the number of files removed.

        Raises:
            Unavailable: the directory cannot be read or cleaned.
        """
        keep = {f"{call_id}{_BODY}" for call_id in live}
        keep |= {f"{call_id}{_SALT}" for call_id in live | journaled}
        try:
            orphans = [path for path in self._directory.iterdir() if path.name not in keep]
        except OSError as error:
            raise _unavailable(self._directory, error) from error
        for path in orphans:
            self._remove(path)
        self._sync()
        return len(orphans)

    def _path(self, call_id: CallId, suffix: str) -> Path:
        """Name a file; an id that is not one could name a place outside."""
        if not _CALL_ID.fullmatch(call_id):
            raise MessageRefused("a call id is malformed", where=repr(call_id))
        return self._directory / f"{call_id}{suffix}"

    def _write(self, call_id: CallId, suffix: str, data: bytes) -> None:
        path = self._path(call_id, suffix)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError as error:
            raise MessageRefused("a call of this id is stored already", where=call_id) from error
        except OSError as error:
            raise _unavailable(path, error) from error

    def _read(self, call_id: CallId, suffix: str) -> bytes | None:
        path = self._path(call_id, suffix)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unavailable(path, error) from error

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _unavailable(path, error) from error

    def _sync(self) -> None:
        try:
            directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        except OSError as error:
            raise _unavailable(self._directory, error) from error


def _unavailable(path: Path, error: OSError) -> Unavailable:
    return Unavailable(
        "the call vault cannot be used",
        where=str(path),
        why=error.strerror or "",
        fix="check the disk's free space and that the directory is yours, mode 0700",
    )
