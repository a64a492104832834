"""The database file: made with care, connected to, and its troubles in our words.

An error's message reaches clients and names no path; the path is added as a note, which tracebacks and logs show.

Rule: no `sqlite3.Error` leaves the package; what it means for the caller is decided here.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from greenroom.errors import Corrupted, EventLogError, LogUnavailable

BUSY: Final = sqlite3.SQLITE_BUSY
_OLDEST_SQLITE: Final = (3, 37, 0)  # STRICT tables
_WAL_BYTES_KEPT: Final = 16 * 1024 * 1024
_CACHE_KIB: Final = 8 * 1024

_WEATHER: Final[dict[int, tuple[str, str]]] = {
    sqlite3.SQLITE_FULL: (
        "there is no space left for the database",
        "free some space; nothing acknowledged is lost, and work goes on when there is space",
    ),
    sqlite3.SQLITE_BUSY: (
        "another process holds the database locked",
        "close the program that holds it, for example a database browser with an open transaction",
    ),
    sqlite3.SQLITE_LOCKED: ("another connection holds the database locked", "try again"),
    sqlite3.SQLITE_READONLY: (
        "the database cannot be written",
        "check the permissions of the file and its folder, and whether the disk is mounted read-only",
    ),
    sqlite3.SQLITE_PERM: ("the database may not be used", "check the permissions of the file and its folder"),
    sqlite3.SQLITE_CANTOPEN: (
        "the database cannot be opened",
        "check that its folder exists and that file and folder may be written",
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk failed while the database was read or written",
        "check the disk and its free space; what was acknowledged before is on it",
    ),
    sqlite3.SQLITE_NOMEM: ("there is no memory left for the database", "free some memory"),
}
_DAMAGE: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}


class Database(NamedTuple):
    """Where the data is, and how long to wait for other processes."""

    path: Path
    busy_timeout_s: float

    def make(self) -> None:
        """Makes the file and its folder if they are missing, for their owner's eyes only.

        Raises:
            LogUnavailable: the file cannot be made or is none.
        """
        try:
            make_private_folder(self.path.parent)
            if self.path.is_dir():
                raise self.explained(LogUnavailable("the database path is a folder", hint="name a file in it"))
            if not self.path.exists():
                # SQLite gives its own files beside it (-wal, -shm) the permissions of this one.
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:  # another process was quicker
            pass
        except OSError as error:
            raise self._unusable(error.strerror) from error
        # A database is never opened to see whether that works: closing any descriptor of the file would take away the locks
        # that other connections of this process hold on it (sqlite.org/howtocorrupt.html, 2.2).
        if not os.access(self.path, os.R_OK | os.W_OK, effective_ids=bool(os.supports_effective_ids)):
            raise self._unusable("Permission denied")

    def connect(self, *, is_shared_by_threads: bool = False) -> sqlite3.Connection:
        """Returns a connection that reads and writes, in autocommit mode.

        Raises:
            LogUnavailable: this machine's SQLite is too old, or the file cannot be opened.
            Corrupted: the file is not a database.
        """
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise LogUnavailable(
                f"SQLite {sqlite3.sqlite_version} is too old",
                hint=f"use a Python with SQLite {'.'.join(map(str, _OLDEST_SQLITE))} or later",
            )
        try:
            connection = sqlite3.connect(
                self.path,
                isolation_level=None,
                timeout=self.busy_timeout_s,
                check_same_thread=not is_shared_by_threads,
            )
        except sqlite3.Error as error:
            raise self.translated(error) from error
        try:
            for setting in (
                "synchronous = FULL",  # on the disk when we say so, also after a power cut
                f"cache_size = -{_CACHE_KIB}",
                "secure_delete = ON",  # what is deleted is gone, not only unreachable
                "temp_store = MEMORY",
                "trusted_schema = OFF",
                "wal_autocheckpoint = 0",  # the writer does it between commits
                f"journal_size_limit = {_WAL_BYTES_KEPT}",
            ):
                connection.execute(f"PRAGMA {setting}")
        except sqlite3.Error as error:
            connection.close()
            raise self.translated(error) from error
        return connection

    def translated(self, error: Exception) -> Exception:
        """Returns a foreign error in our words; what is ours, or a bug, as it is."""
        if not isinstance(error, sqlite3.Error):
            return error
        return self.explained(_meaning(error))

    def explained(self, error: EventLogError) -> EventLogError:
        """Returns the error with the path for whoever reads the logs."""
        error.add_note(f"database: {self.path}")
        return error

    def _unusable(self, reason: str | None) -> EventLogError:
        return self.explained(
            LogUnavailable(
                f"the database cannot be made or written: {reason}",
                hint="choose another place for the store, or make the file and its folder writable",
            )
        )


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Makes what is done inside one transaction: on the disk behind it, or undone if anything was raised."""
    # The right to write is taken at the beginning: a transaction that asks for it later can be refused after its reads.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite undoes some by itself, for example when the disk is full
            connection.execute("ROLLBACK")
        raise


def primary_code(error: sqlite3.Error) -> int:
    """Returns the kind of an error, without its details; 0 for errors of the Python module itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_weather(error: BaseException) -> bool:
    """Returns whether the cause lies outside of the operation: every other one would have failed too."""
    return isinstance(error, sqlite3.Error) and primary_code(error) in _WEATHER


def make_private_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, each for its owner only.

    Raises:
        OSError: the system does not let us; or something else is in its place.
    """
    if folder.is_dir():
        return
    make_private_folder(folder.parent)
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(errno.ENOTDIR, "its folder is a file") from error


def _meaning(error: sqlite3.Error) -> EventLogError:
    code = primary_code(error)
    if code in _DAMAGE:
        return Corrupted(
            f"the database is damaged: {error}",
            hint="restore a backup, or save what can be read: sqlite3 damaged.db .recover | sqlite3 new.db",
        )
    if code in _WEATHER:
        message, hint = _WEATHER[code]
        return LogUnavailable(message, hint=hint)
    return LogUnavailable(f"the database failed: {error}")
