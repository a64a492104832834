"""The one connection that changes the file: group commit, and keeping the write-ahead log small.

Theory of operation. What waits in the queue becomes one transaction, so that a hundred callers share one flush of the disk.
It is first tried as a whole. When something in it fails, everything is undone and done again with each operation inside of a
savepoint of its own: the guilty one fails, the others do not. Only trouble that would have hit all (no space, a lock, a broken
disk) fails all.

SQLite copies the write-ahead log into the file when it is told to. We do it between commits: when nobody writes for a moment,
at the latest when the log has some thousand pages, so that it begins again from its start and stays small. Its file keeps the pages
that it had; after a deletion the deleted words leave the index (`word_eraser`), and the log is cut to nothing as soon as no connection
writes.

Rule: an answer is given after the commit, never before.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from itertools import groupby
from typing import Any, Final

from greenroom.errors import Conflict, GreenroomError
from greenroom.limits import Limits
from greenroom.logs.sqlite.append import Append, append_all
from greenroom.logs.sqlite.database import Database, is_weather, transaction
from greenroom.logs.sqlite.presence import Presence
from greenroom.logs.sqlite.schema import check, migrate, migrations
from greenroom.logs.sqlite.word_eraser import PAGES_PER_STEP, WordEraser
from greenroom.logs.sqlite.worker import Ticket

BATCH_MAX: Final = 512
"""Operations of one transaction: what comes later waits some ten milliseconds for the next."""

_PAGES_MAX: Final = 1000
"""Pages that the write-ahead log may grow to under load (SQLite's own measure too): 4 MB."""
_PAGES_PER_COMMIT: Final = 3
_PAGES_PER_OPERATION: Final = 3
_IDLE_S: Final = 0.2

_logger: Final = logging.getLogger("greenroom")

Operation = Callable[[sqlite3.Connection], Any]
"""Something to do in a transaction. When it raises one of our errors, it has written nothing."""


class Glance:
    """A question to the writer's connection that needs no transaction."""

    __slots__ = ("ask",)

    def __init__(self, ask: Operation) -> None:
        self.ask = ask


class Erasing:
    """Something to do in a transaction that deletes what people have said: soon nothing of it is left in the write-ahead log."""

    __slots__ = ("_do",)

    def __init__(self, do: Operation) -> None:
        self._do = do

    def __call__(self, connection: sqlite3.Connection) -> Any:
        """Does it."""
        return self._do(connection)


class Writer:
    """Serves the thread that writes.

    Attributes:
        presence: of this process, once the database is open.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self.presence: Presence | None = None
        self._database = database
        self._limits = limits
        self._connection: sqlite3.Connection | None = None
        self._pages = 0
        self._has_erased = False
        self._words = WordEraser()

    def serve(self, tickets: list[Ticket]) -> None:
        """Commits what the tickets ask for."""
        connection = self._connection or self._open()
        writing = [ticket for ticket in tickets if not isinstance(ticket.operation, Glance)]
        try:
            if writing:
                self._commit(connection, writing)
        except sqlite3.Error as error:
            for ticket in writing:  # one error each: a shared one would collect the traces of all who raise it
                ticket.error = self._database.translated(error)
        for ticket in tickets:
            if isinstance(ticket.operation, Glance):
                self._glance(connection, ticket)

    def rest(self, *, is_idle: bool) -> float | None:
        """Takes deleted words out of the index, and moves the write-ahead log into the file, when that disturbs nobody or must be."""
        if self._connection is None:
            return None
        has_merged = is_idle and self._words.step(self._connection)
        if has_merged:
            self._pages += _PAGES_PER_COMMIT + PAGES_PER_STEP
            self._has_erased = True  # the write-ahead log has the pages with the words
        if self._pages > _PAGES_MAX or (is_idle and not has_merged and (self._pages or self._has_erased)):
            self._checkpoint(self._connection, empties=is_idle and not has_merged and self._has_erased)
        waits = (self._words.wait_s, _IDLE_S if self._pages or self._has_erased else None)
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    def close(self) -> None:
        """Closes the database; as the last one of all processes SQLite empties the write-ahead log."""
        if self._connection is not None:
            self._words.finish(self._connection)
            self._connection.close()
            self._connection = None
        if self.presence is not None:
            self.presence.close()
            self.presence = None

    def _open(self) -> sqlite3.Connection:
        self._database.make()
        connection = self._database.connect()
        try:
            check(connection, migrations())
            connection.execute("PRAGMA journal_mode = WAL")
            migrate(connection, migrations())
            self.presence = Presence(self._database)
        except sqlite3.Error as error:
            connection.close()
            raise self._database.translated(error) from error
        except GreenroomError:
            connection.close()
            raise
        self._connection = connection
        return connection

    def _glance(self, connection: sqlite3.Connection, ticket: Ticket) -> None:
        try:
            ticket.result = ticket.operation.ask(connection)
        except Exception as error:  # noqa: BLE001 # broad: it is delivered to whoever asked, and to nobody else
            ticket.error = self._database.translated(error)

    def _commit(self, connection: sqlite3.Connection, tickets: list[Ticket]) -> None:
        try:
            with transaction(connection):
                self._perform(connection, tickets)
        except Exception as error:  # broad: of one operation, most likely; the others shall not suffer for it
            if is_weather(error):
                raise
            self._commit_apart(connection, tickets)
        self._pages += _PAGES_PER_COMMIT + _PAGES_PER_OPERATION * len(tickets)

    def _commit_apart(self, connection: sqlite3.Connection, tickets: list[Ticket]) -> None:
        with transaction(connection):
            for ticket in tickets:
                ticket.result = ticket.error = None
                connection.execute("SAVEPOINT operation")
                try:
                    self._perform(connection, [ticket])
                except Exception as error:  # broad: it is delivered to whoever asked for this
                    if is_weather(error):
                        raise
                    ticket.error = self._database.translated(error)
                    connection.execute("ROLLBACK TO operation")
                connection.execute("RELEASE operation")

    def _perform(self, connection: sqlite3.Connection, tickets: list[Ticket]) -> None:
        for is_append, group in groupby(tickets, key=lambda ticket: isinstance(ticket.operation, Append)):
            members = list(group)
            if is_append:
                self._append(connection, members)
                continue
            for ticket in members:
                if isinstance(ticket.operation, Erasing):
                    self._has_erased = True
                    self._words.want()
                try:
                    ticket.result = ticket.operation(connection)
                except GreenroomError as error:
                    ticket.error = error

    def _append(self, connection: sqlite3.Connection, tickets: list[Ticket]) -> None:
        writes = [ticket.operation.write for ticket in tickets]
        outcomes = append_all(connection, writes, text_chars_max=self._limits.search_text_chars_max)
        for ticket, outcome in zip(tickets, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                ticket.error = outcome
            else:
                ticket.result = outcome

    def _checkpoint(self, connection: sqlite3.Connection, *, empties: bool) -> None:
        """Moves the write-ahead log into the file; empties its file too, which still has the pages as they were before a deletion."""
        try:
            _, pages, moved = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if empties and pages == moved:
                self._has_erased = not self._emptied(connection)
        except sqlite3.Error as error:
            # Nothing is lost: everything stands in the write-ahead log, and the next commit will tell its caller.
            _logger.warning("the write-ahead log could not be moved into the database: %s", error)
            pages, moved = 0, 0
        # What a reader still looks at stays, and is tried again.
        self._pages = max(0, pages - moved)

    def _emptied(self, connection: sqlite3.Connection) -> bool:
        """Cuts the write-ahead log to nothing, unless another connection reads: then it is tried again when no connection writes."""
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            (is_busy, *_) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {round(self._database.busy_timeout_s * 1000)}")
        return not is_busy
