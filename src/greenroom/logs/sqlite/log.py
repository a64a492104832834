"""The records: `greenroom.interfaces.EventLog` on SQLite.

Rule: what is read is checked: every record is decoded, and none may be missing.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from functools import partial

from greenroom.codec import decode_record
from greenroom.errors import Corrupted, EventLogError, GreenroomError
from greenroom.events import Event, Record
from greenroom.interfaces import IndexUpdate, PendingAppend
from greenroom.large_thread import in_thread
from greenroom.logs.appending import AT_ONCE_EVENTS_MAX, SEQ_MAX, bounded_seq, prepare, prepared, weight_of_all
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.append import Append, look_up
from greenroom.logs.sqlite.engine import Engine
from greenroom.logs.sqlite.texts import forget_all
from greenroom.logs.sqlite.writer import Erasing

_CHUNK_RECORDS = 1000
_CHUNK_BYTES = 8 * 1024 * 1024
"""What one statement reads: its answer is one text, which should not become huge."""


_REMEDY = "restore a backup of the database; other sessions are not affected"


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
        at_ms: int | Sequence[int],
        key: str,
        index: IndexUpdate | None = None,
    ) -> Sequence[Record]:
        """Adds `events` after record `expected_seq`, all or none: see `greenroom.interfaces.EventLog`.

        Raises:
            Conflict: the log does not end there, or a later epoch has written. Nothing was written.
            LogUnavailable: unknown whether written; read before repeating.
            InvalidArgument, LimitExceeded: no log could take this. Nothing was written.
        """
        prepared_write = partial(
            prepare, session_id, events, expected_seq=expected_seq, epoch=epoch, at_ms=at_ms, key=key, index=index
        )
        if len(events) > AT_ONCE_EVENTS_MAX:
            write = await asyncio.to_thread(prepared_write)
        else:
            write = await in_thread(weight_of_all(events), prepared_write)
        records: Sequence[Record] = await self._engine.append(Append(write))
        return records

    async def append_all(self, appends: Sequence[PendingAppend]) -> Sequence[Sequence[Record] | Exception]:
        """Makes several appends, each by itself, in this order: see `greenroom.interfaces.EventLog`.

        Raises:
            LogUnavailable: the store is not open.
        """
        outcomes: list[Sequence[Record] | Exception | None] = []
        writes: list[Append] = []
        for append in appends:
            try:
                writes.append(Append(await in_thread(weight_of_all(append.events), prepared, append)))
                outcomes.append(None)
            except GreenroomError as error:
                outcomes.append(error)
        made = iter(await self._engine.append_all(writes))
        return [next(made) if outcome is None else outcome for outcome in outcomes]

    async def read(
        self, session_id: str, *, after_seq: int = 0, limit: int | None = None, bytes_max: int | None = None
    ) -> Sequence[Record]:
        """Returns the records behind `after_seq` in order; none for a session that does not exist.

        Raises:
            Corrupted: a stored record is missing, or is not what was written.
            NewerFormat: a record of a newer version.
            LogUnavailable: the storage failed.
        """
        return await self._engine.read(lambda connection: _read(connection, session_id, after_seq, limit, bytes_max))

    async def delete(self, session_id: str) -> bool:
        """Removes the session's records, index row, texts and inbox; returns whether there was one.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.write(Erasing(lambda connection: _delete(connection, session_id)))


def _read(
    connection: sqlite3.Connection, session_id: str, after_seq: int, limit: int | None, bytes_max: int | None
) -> list[Record]:
    records: list[Record] = []
    wanted = SEQ_MAX if limit is None else limit
    first_seq = bounded_seq(after_seq) + 1
    question = {"session_id": session_id, "log_id": None, "bytes": min(_CHUNK_BYTES, bytes_max or _CHUNK_BYTES)}
    while len(records) < wanted:
        seq = first_seq + len(records)
        question |= {"after_seq": seq - 1, "limit": min(_CHUNK_RECORDS, wanted - len(records))}
        answer = connection.execute(statements.load("log")["read"], question).fetchone()
        if answer is None:  # no such session; or none any more, and what was read is how far it is known
            break
        question["log_id"], last_seq, lines = answer
        if lines is not None:
            records.extend(_decoded(line, session_id, seq + at) for at, line in enumerate(lines.split(b"\n")))
        elif seq <= last_seq:
            raise Corrupted(f"record {seq} of session {session_id!r} is missing", hint=_REMEDY)
        if bytes_max is not None or first_seq + len(records) > last_seq:
            break
    return records


def _decoded(line: bytes, session_id: str, seq: int) -> Record:
    try:
        record = decode_record(line)
    except EventLogError as error:
        raise type(error)(f"record {seq} of session {session_id!r}: {error.message}", hint=error.hint) from error
    if record.seq != seq:
        raise Corrupted(f"record {seq} of session {session_id!r} has number {record.seq}", hint=_REMEDY)
    return record


def _delete(connection: sqlite3.Connection, session_id: str) -> bool:
    log = look_up(connection, {session_id})[session_id]
    if log.log_id is None:
        return False
    forget_all(connection, log)
    for part, name in (
        ("log", "delete_records"),
        ("index", "delete_session"),
        ("inbox", "delete_inbox"),
        ("log", "delete_log"),
    ):
        connection.execute(statements.load(part)[name], {"log_id": log.log_id})
    return True
