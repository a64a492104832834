"""The appends of one transaction: looked up together, decided one by one, written together.

Theory of operation. One question brings the ends of all logs that the appends are for. Then each append is decided by itself
(`Write.fits`), against what the ones before it will have written. Those that fit are collected and written with one statement
for each table. One that does not fit is a repetition or a conflict, and touches nobody else.

Rule: what a conflict means is decided by `greenroom.logs.appending`; here it is only looked up and written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from greenroom.codec import decode_record
from greenroom.errors import Conflict
from greenroom.events import Record
from greenroom.logs.appending import SEQ_MAX, Head, Write
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.accounts import spend
from greenroom.logs.sqlite.texts import LogRow, update_index

PLACE_BITS = 31
"""A place is the number of the log above these bits, and the number of the record in them."""


class Append:
    """An append, as the writer merges it with others."""

    __slots__ = ("write",)

    def __init__(self, write: Write) -> None:
        self.write = write


def place_of(log_id: int, seq: int) -> int:
    """Returns the key of a record."""
    return log_id << PLACE_BITS | seq


def look_up(connection: sqlite3.Connection, session_ids: set[str]) -> dict[str, LogRow]:
    """Returns what is known of the sessions, also of those that do not exist."""
    asked = msgspec.json.encode(tuple(session_ids)).decode()
    (answer,) = connection.execute(statements.load("log")["heads"], {"session_ids": asked}).fetchone()
    logs = {session_id: LogRow(None, Head(), None, "") for session_id in session_ids}
    for session_id, log_id, seq, epoch, user_id, title in msgspec.json.decode(answer):
        logs[session_id] = LogRow(log_id, Head(seq or 0, epoch or 0), user_id, title or "")
    return logs


def append_all(
    connection: sqlite3.Connection, writes: Sequence[Write], *, text_chars_max: int
) -> list[Sequence[Record] | Conflict]:
    """Makes the appends that fit, in this order, and returns the records or the conflict of each."""
    logs = look_up(connection, {write.session_id for write in writes})
    outcomes: list[Sequence[Record] | Conflict] = []
    fitting: list[Write] = []
    for write in writes:
        log = logs[write.session_id]
        if write.fits(log.head):
            log.head = write.end
            fitting.append(write)
            outcomes.append(write.records)
            continue
        # What it may repeat can be one of those that are not written yet.
        _write(connection, fitting, logs, text_chars_max)
        fitting.clear()
        outcomes.append(
            _appended(connection, write, log)
            or Conflict(write.session_id, expected_seq=write.expected.seq, actual_seq=log.head.seq)
        )
    _write(connection, fitting, logs, text_chars_max)
    return outcomes


def _write(
    connection: sqlite3.Connection, writes: Sequence[Write], logs: dict[str, LogRow], text_chars_max: int
) -> None:
    if not writes:
        return
    sql = statements.load("log")
    new = [write.session_id for write in writes if logs[write.session_id].log_id is None]
    new = list(dict.fromkeys(new))  # a batch may hold a session's creation and what follows it
    numbers = statements.insert_rows(connection, sql["add_logs"], [(session_id,) for session_id in new])
    for session_id, log_id in zip(new, numbers, strict=True):
        logs[session_id].log_id = log_id
    statements.insert_rows(
        connection,
        sql["add_records"],
        [row for write in writes for row in _rows(write, logs[write.session_id].known_id)],
    )
    indexed = [(logs[write.session_id], write) for write in writes if write.index is not None]
    if indexed:
        update_index(connection, indexed, text_chars_max)
        spend(connection, writes)


def _rows(write: Write, log_id: int) -> list[tuple[int, int, int, str | None, bytes]]:
    return [
        (place_of(log_id, record.seq), record.epoch, record.at_ms, None if at else write.key, body)
        for at, (record, body) in enumerate(zip(write.records, write.bodies, strict=True))
    ]


def _appended(connection: sqlite3.Connection, write: Write, log: LogRow) -> Sequence[Record]:
    """Returns the records of the earlier append that `write` repeats; none if it repeats nothing."""
    if log.log_id is None:
        return ()
    (lines,) = connection.execute(
        statements.load("log")["appended"],
        {
            "after": place_of(log.log_id, write.expected.seq),
            "last": place_of(log.log_id, SEQ_MAX),
            "key": write.key,
        },
    ).fetchone()
    return [decode_record(line) for line in lines.split(b"\n")] if lines else ()
