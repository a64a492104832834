"""The threads and connections of one open store, and who does what.

* one writes (`writer`);
* one answers what costs little: a log, a row, a page;
* one searches, so that nobody's search keeps a session from being opened;
* and one connection without a thread answers at once (`look`), for callers that cannot wait.

Rule: every way into the database goes through here. It is refused when the store belongs to another process, and, but for a
look, when it is not open.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any, Final, TypeVar

from greenroom.errors import LogUnavailable
from greenroom.limits import Limits
from greenroom.logs.sqlite import schema
from greenroom.logs.sqlite.append import Append
from greenroom.logs.sqlite.database import Database
from greenroom.logs.sqlite.worker import Ticket, Worker
from greenroom.logs.sqlite.writer import BATCH_MAX, Glance, Writer

T = TypeVar("T")
Question = Callable[[sqlite3.Connection], T]


class Engine:
    """Opens, closes, and hands out work.

    Attributes:
        limits: bounds that the parts of the store hold.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        self.limits = limits
        self._database = database
        self._threads: _Threads | None = None
        self._lock: Final = threading.Lock()

    async def open(self) -> str:
        """Opens the database and returns the id of this incarnation. Idempotent; a failed opening can be repeated."""
        with self._lock:
            if self._threads is not None:
                self._threads.check_process()
            threads = self._threads = self._threads or _Threads(self._database, self.limits)
        try:
            node: str = await threads.writing.run(Glance(lambda _: threads.node))
        except Exception:
            # Not on a cancellation: it ends one caller's waiting, and the store may be open for others.
            with self._lock:
                if self._threads is threads:
                    self._threads = None
            await threads.close()
            raise
        return node

    async def write(self, operation: Question[T]) -> T:
        """Returns what the operation returned in a transaction that is on the disk now."""
        result: T = await self._opened().writing.run(operation)
        return result

    async def append(self, append: Append) -> Any:
        """Makes an append together with whatever else is being written."""
        return await self._opened().writing.run(append)

    async def append_all(self, appends: Sequence[Append]) -> Sequence[Any]:
        """Makes appends together with whatever else is being written; returns the result or the error of each."""
        return await self._opened().writing.run_all(appends)

    async def glance(self, question: Question[T]) -> T:
        """Asks the connection that writes."""
        result: T = await self._opened().writing.run(Glance(question))
        return result

    async def read(self, question: Question[T]) -> T:
        """Asks for something that costs little."""
        result: T = await self._opened().reading.run(question)
        return result

    async def search(self, question: Question[T]) -> T:
        """Asks for something that may cost more."""
        result: T = await self._opened().searching.run(question)
        return result

    def look(self, question: Question[T]) -> T | None:
        """Asks at once, in the thread of the caller, opened or not; `None` from a database that does not exist yet."""
        threads = self._threads
        if threads is not None and threads.is_open:
            threads.check_process()
            return threads.look(question)
        if not self._database.path.is_file():
            return None
        return _looked_once(self._database, question)

    def is_alive(self, node: str) -> bool:
        """Returns whether the process behind `node` has the database open. Touches files: not for the event loop."""
        presence = self._opened().writer.presence
        return presence is not None and presence.is_alive(node)

    async def close(self) -> None:
        """Finishes what was asked for, and lets go. Idempotent."""
        with self._lock:
            if self._threads is not None:
                self._threads.check_process()
            threads, self._threads = self._threads, None
        if threads is not None:
            await threads.close()

    def _opened(self) -> _Threads:
        threads = self._threads
        if threads is None or not threads.is_open:
            raise LogUnavailable("the store is not open", hint="call `await store.open()` first")
        threads.check_process()
        return threads


class _Threads:
    """What lives from one opening to its closing."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._process = os.getpid()
        self.writer = Writer(database, limits)
        self.writing = Worker("greenroom-writer", self.writer, batch_max=BATCH_MAX)
        self.reading = Worker("greenroom-reader", _Reader(database), batch_max=1)
        self.searching = Worker("greenroom-search", _Reader(database), batch_max=1)
        self._looker = _Reader(database, is_shared_by_threads=True)
        self._looking = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether the database was opened: the presence is taken last."""
        return self.writer.presence is not None

    @property
    def node(self) -> str:
        """Id of this incarnation, once it is open."""
        assert self.writer.presence is not None, "the store is not open"
        return self.writer.presence.node

    def check_process(self) -> None:
        """Refuses to be used in a child: SQLite connections and locks do not survive a fork.

        Raises:
            LogUnavailable: this is not the process that opened the store.
        """
        if os.getpid() != self._process:
            raise LogUnavailable(
                "the store was opened by the process that this one was forked from",
                hint="make a new store in the child, or start children with `spawn`",
            )

    def look(self, question: Question[T]) -> T:
        with self._looking:
            try:
                return question(self._looker.connected())
            except sqlite3.Error as error:
                raise self._database.translated(error) from error

    async def close(self) -> None:
        # All are told before one is waited for: a cancellation in between leaves none of them behind.
        workers = (self.reading, self.searching, self.writing)
        for worker in workers:
            worker.end()
        with self._looking:
            self._looker.close()
        for worker in workers:
            await worker.ended()


class _Reader:
    """Serves a thread that reads."""

    def __init__(self, database: Database, *, is_shared_by_threads: bool = False) -> None:
        self._database = database
        self._is_shared_by_threads = is_shared_by_threads
        self._connection: sqlite3.Connection | None = None

    def connected(self) -> sqlite3.Connection:
        """Returns the connection; the first call makes it."""
        if self._connection is None:
            connection = self._database.connect(is_shared_by_threads=self._is_shared_by_threads)
            connection.execute("PRAGMA query_only = ON")
            self._connection = connection
        return self._connection

    def serve(self, tickets: list[Ticket]) -> None:
        """Answers questions."""
        for ticket in tickets:
            try:
                ticket.result = ticket.operation(self.connected())
            except sqlite3.Error as error:
                ticket.error = self._database.translated(error)

    def rest(self, *, is_idle: bool) -> float | None:
        """Waits for the next question, however long."""
        del is_idle
        return None

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _looked_once(database: Database, question: Question[T]) -> T | None:
    # Not a read-only connection: it would leave the files of the write-ahead log behind, which the last one cleans up.
    try:
        with closing(database.connect()) as connection:
            connection.execute("PRAGMA query_only = ON")
            if schema.check(connection, schema.migrations()) == 0:
                return None
            return question(connection)
    except sqlite3.Error as error:
        raise database.translated(error) from error
