"""The store: one SQLite file as `greenroom.interfaces.Store`.

Rule: nothing happens before `open`: making a store touches no file and starts no thread.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.logs.sqlite.database import Database
from greenroom.logs.sqlite.engine import Engine
from greenroom.logs.sqlite.inbox import SqliteInbox
from greenroom.logs.sqlite.index import SqliteSessionIndex
from greenroom.logs.sqlite.ledger import SqliteLedger
from greenroom.logs.sqlite.log import SqliteEventLog
from greenroom.logs.sqlite.logins import SqliteLogins
from greenroom.logs.sqlite.notes import SqliteNotes


class SqliteStore:
    """Sessions in the file at `path`, which is made when it is missing.

    Attributes:
        log, index, ledger, inbox, notes, logins: as `greenroom.interfaces.Store` describes them.
        node: id of this incarnation; empty while the store is not open.
        path: of the database.
    """

    def __init__(self, path: str | Path, *, limits: Limits = DEFAULT_LIMITS, busy_timeout_s: float = 5.0) -> None:
        self.path = Path(path)
        self.node = ""
        self._engine = Engine(Database(self.path, busy_timeout_s), limits)
        self.log = SqliteEventLog(self._engine)
        self.index = SqliteSessionIndex(self._engine)
        self.ledger = SqliteLedger(self._engine)
        self.inbox = SqliteInbox(self._engine)
        self.notes = SqliteNotes(self._engine)
        self.logins = SqliteLogins(self._engine)

    async def open(self) -> None:
        """Connects; makes or migrates the schema. Idempotent.

        Raises:
            NewerFormat: the database is of a newer version.
            Corrupted: the file is damaged, or no database.
            LogUnavailable: no access, no space, locked, or another program's database.
        """
        self.node = await self._engine.open()

    async def is_alive(self, node: str) -> bool:
        """Returns whether the process behind `node` has the database open now; exact, also after `kill -9`.

        Raises:
            LogUnavailable: the store is not open.
        """
        return await self._engine.read(lambda _: self._engine.is_alive(node))

    async def foreign_changes(self) -> int:
        """Returns a number that changes when another process has committed something.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.glance(_data_version)

    async def close(self) -> None:
        """Finishes what was asked for, and lets go of file and threads. Idempotent."""
        await self._engine.close()
        self.node = ""


def _data_version(connection: sqlite3.Connection) -> int:
    # Of the connection that writes: its own commits do not change the number.
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
