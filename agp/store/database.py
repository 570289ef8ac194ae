"""The store's file: opened privately, checked before it is written, brought to the newest schema.

The one place that translates what SQLite and the file system raise.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from sqlite_utils import Database

from agp.errors import ConfigurationError, IntegrityError, StoreDamaged, Unavailable
from agp.store.schema import APPLICATION_ID, MIGRATIONS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOTHING_APPLIED: Final = -1
NO_HASH: Final = "0" * 64
"""What the journal's first line names as its predecessor."""
_BUSY_TIMEOUT_MS: Final = 2000
_DAMAGE: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


def open_database(path: Path, log_id: str) -> Database:
    """Open or create the file, 0600, and check that it is the projection of this log.

    Raises:
        StoreDamaged: it does not read.
        IntegrityError: it shows another log.
        ConfigurationError: a newer AGP wrote it, or it is not AGP's at all.
        Unavailable: the file system does not let us.
    """
    with port(path):
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            # Plugins of other packages must not run inside the daemon.
            database = Database(connection, execute_plugins=False)
            _prepare(database, path, log_id)
        except BaseException:
            connection.close()
            raise
    return database


@contextmanager
def writing(database: Database) -> Iterator[None]:
    """Hold one write transaction; any exception rolls it back."""
    # Immediate: a deferred BEGIN meets "database is locked" when it turns into a writer.
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.conn.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextmanager
def port(path: Path) -> Iterator[None]:
    """Translate foreign exceptions into the error tree."""
    try:
        yield
    except sqlite3.IntegrityError as error:
        raise IntegrityError(
            "a journal line contradicts the store's rows",
            where=str(path),
            why=str(error),
            fix=f"check the journal with `agp verify`; then move {path} away",
        ) from error
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE:
            raise StoreDamaged(
                "the store is damaged",
                where=str(path),
                why=str(error),
                fix="restart the daemon: it fills a new one from the journal",
            ) from error
        raise _unavailable(path, str(error)) from error
    except OSError as error:
        raise _unavailable(path, os.strerror(error.errno or 0)) from error


def move_aside(path: Path) -> Path:
    """Rename the file with what belongs to it; an older one that was moved so is replaced."""
    aside = path.with_name(f"{path.name}.corrupt")
    with port(path):
        for suffix in ("-wal", "-shm"):
            side = path.with_name(path.name + suffix)
            if side.exists():
                side.replace(aside.with_name(aside.name + suffix))
        return path.replace(aside)


def _prepare(database: Database, path: Path, log_id: str) -> None:
    """Check whose file it is before anything is written, then bring it up to date."""
    database.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    if _pragma(database, "quick_check(1)") != "ok":
        raise StoreDamaged("the store is damaged", where=str(path))
    version = _check_owner(database, path)
    database.execute("PRAGMA foreign_keys = ON")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    with writing(database):
        _migrate(database, version, log_id)
    _check_log_id(database, path, log_id)


def _pragma(database: Database, name: str) -> object:
    return database.execute(f"PRAGMA {name}").fetchone()[0]


def _check_owner(database: Database, path: Path) -> int:
    tables = database.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]
    version = int(str(_pragma(database, "user_version")))
    if tables and _pragma(database, "application_id") != APPLICATION_ID:
        raise ConfigurationError(
            "the store's file is some other program's database",
            where=str(path),
            fix="move it away; AGP fills a new one from the journal",
        )
    if version > len(MIGRATIONS):
        raise ConfigurationError(
            "a newer AGP wrote the store",
            where=str(path),
            why=f"its schema is {version}, this AGP knows {len(MIGRATIONS)}",
            fix="run the newer AGP, or move the file away: it is filled from the journal",
        )
    return version


def _migrate(database: Database, version: int, log_id: str) -> None:
    for statements in MIGRATIONS[version:]:
        for statement in statements:
            database.execute(statement)
    if version == 0:
        database.execute("INSERT INTO meta VALUES (1, ?, ?, ?)", (log_id, NOTHING_APPLIED, NO_HASH))
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


def _check_log_id(database: Database, path: Path, log_id: str) -> None:
    row = database.execute("SELECT log_id FROM meta WHERE one = 1").fetchone()
    if row is None:
        raise StoreDamaged("the store does not say which log it shows", where=str(path))
    if row[0] != log_id:
        raise IntegrityError(
            "the store shows another log",
            where=str(path),
            why=f"it was filled from log {row[0]}, the journal here is {log_id}",
            fix="move the file away; AGP fills a new one from the journal",
        )


def _unavailable(path: Path, why: str) -> Unavailable:
    return Unavailable(
        "the store cannot be used now",
        where=str(path),
        why=why,
        fix="free the disk or the file; the journal is untouched and the store follows it",
    )
