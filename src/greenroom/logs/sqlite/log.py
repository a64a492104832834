"""The records: `greenroom.interfaces.EventLog` on SQLite.

Rule: what is read is checked: every record is decoded, and none may be missing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from greenroom.codec import decode_record
from greenroom.errors import Corrupted, EventLogError
from greenroom.events import Event, Record
from greenroom.interfaces import IndexUpdate
from greenroom.logs.appending import SEQ_MAX, prepare
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.append import Append, find_log, place_of
from greenroom.logs.sqlite.engine import Engine
from greenroom.logs.sqlite.texts import forget_all

_RECORDS_MAX = 1000
"""Records of one statement: its answer is one text, which should not become huge."""


class SqliteEventLog:
    """The logs of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        expected_seq: int,
        epoch: int,
        at_ms: int,
        key: str,
        index: IndexUpdate | None = None,
    ) -> Sequence[Record]:
        """Adds `events` after record `expected_seq`, all or none: see `greenroom.interfaces.EventLog`.

        Raises:
            Conflict: the log does not end there, or a later epoch has written. Nothing was written.
            LogUnavailable: unknown whether written; read before repeating.
            InvalidArgument, LimitExceeded: no log could take this. Nothing was written.
        """
        write = prepare(session_id, events, expected_seq=expected_seq, epoch=epoch, at_ms=at_ms, key=key, index=index)
        records: Sequence[Record] = await self._engine.append(Append(write))
        return records

    async def read(self, session_id: str, *, after_seq: int = 0, limit: int | None = None) -> Sequence[Record]:
        """Returns the records behind `after_seq` in order; none for a session that does not exist.

        Raises:
            Corrupted: a stored record is missing, or is not what was written.
            NewerFormat: a record of a newer version.
            LogUnavailable: the storage failed.
        """
        return await self._engine.read(lambda connection: _read(connection, session_id, after_seq, limit))

    async def delete(self, session_id: str) -> bool:
        """Removes the session's records, index row, texts and inbox; returns whether there was one.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.write(lambda connection: _delete(connection, session_id))


def _read(connection: sqlite3.Connection, session_id: str, after_seq: int, limit: int | None) -> list[Record]:
    wanted = SEQ_MAX if limit is None else limit
    connection.execute("BEGIN")  # one view of the log, also when it takes several statements
    try:
        log = find_log(connection, session_id)
        records: list[Record] = []
        while log.log_id is not None and len(records) < wanted:
            lines = _lines(connection, log.log_id, after_seq + len(records), min(_RECORDS_MAX, wanted - len(records)))
            records.extend(_decoded(line, session_id, after_seq + len(records) + at) for at, line in enumerate(lines, 1))
            if len(lines) < _RECORDS_MAX:
                break
    finally:
        connection.execute("COMMIT")
    return records
