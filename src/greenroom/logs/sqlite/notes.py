"""Memories and preferences: `greenroom.interfaces.Notes` on SQLite.

Rule: a note and its words are written and deleted together, as the texts of sessions are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from greenroom.errors import LimitExceeded
from greenroom.interfaces import Note
from greenroom.logs.paging import check_limit
from greenroom.logs.ranking import RANKED_MAX, best
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.engine import Engine
from greenroom.logs.sqlite.index import quoted
from greenroom.logs.sqlite.texts import owner_word
from greenroom.logs.sqlite.writer import Erasing
from greenroom.logs.words import Query, parse_query, words_of


class SqliteNotes:
    """The notes of all users of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def put(self, user_id: str, note: Note, *, count_max: int) -> None:
        """Adds or replaces a note. Durable on return.

        Raises:
            LimitExceeded: it would be new, and the user's collection has `count_max` already.
            LogUnavailable: the storage failed.
        """
        await self._engine.write(lambda connection: _put(connection, user_id, note, count_max))

    async def get(self, user_id: str, kind: str, key: str) -> Note | None:
        """Returns a note, or `None`.

        Raises:
            LogUnavailable: the storage failed.
        """

        def get(connection: sqlite3.Connection) -> Note | None:
            row = connection.execute(statements.load("notes")["get"], (user_id, kind, key)).fetchone()
            return _note(*row) if row else None

        return await self._engine.read(get)

    async def page(self, user_id: str, kind: str, *, limit: int, offset: int = 0) -> Sequence[Note]:
        """Returns notes, the latest first.

        Raises:
            InvalidArgument: a limit out of range.
            LogUnavailable: the storage failed.
        """
        check_limit(limit, self._engine.limits.memories_max)
        question = {"user_id": user_id, "kind": kind, "limit": limit, "offset": max(0, offset)}

        def page(connection: sqlite3.Connection) -> list[Note]:
            (answer,) = connection.execute(statements.load("notes")["page"], question).fetchone()
            return [_note(*row) for row in msgspec.json.decode(answer, type=list[tuple[str, str, str, int]])]

        return await self._engine.read(page)

    async def search(self, user_id: str, kind: str, query: str, *, limit: int) -> Sequence[Note]:
        """Returns notes with any of the words of `query`, best first.

        Raises:
            InvalidArgument: a limit out of range.
            LogUnavailable: the storage failed.
        """
        check_limit(limit, self._engine.limits.memories_max)
        parsed = parse_query(query, words_max=self._engine.limits.search_words_max, is_open=False)
        return await self._engine.search(lambda connection: _search(connection, user_id, kind, parsed, limit))

    async def delete(self, user_id: str, kind: str, key: str) -> bool:
        """Removes a note; returns whether there was one.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.write(Erasing(lambda connection: _delete(connection, user_id, kind, key)))


def _note(kind: str, key: str, body: str, at_ms: int) -> Note:
    return Note(kind=kind, key=key, text=body, at_ms=at_ms)


def _put(connection: sqlite3.Connection, user_id: str, note: Note, count_max: int) -> None:
    sql = statements.load("notes")
    is_known = connection.execute(sql["find"], (user_id, note.kind, note.key)).fetchone() is not None
    if not is_known:
        (count,) = connection.execute(sql["count"], (user_id, note.kind)).fetchone()
        if count >= count_max:
            raise LimitExceeded(f"there are {count} notes of kind {note.kind!r} already", hint="delete some first")
    _delete(connection, user_id, note.kind, note.key)
    note_id = connection.execute(sql["add"], (user_id, note.kind, note.key, note.text, note.at_ms)).lastrowid
    connection.execute(sql["index"], (note_id, owner_word(user_id, note.kind), " ".join(words_of(note.text))))


def _delete(connection: sqlite3.Connection, user_id: str, kind: str, key: str) -> bool:
    sql = statements.load("notes")
    row = connection.execute(sql["find"], (user_id, kind, key)).fetchone()
    if row is None:
        return False
    note_id, body = row
    connection.execute(sql["unindex"], (note_id, owner_word(user_id, kind), " ".join(words_of(body))))
    connection.execute(sql["delete"], (note_id,))
    return True


def _search(connection: sqlite3.Connection, user_id: str, kind: str, query: Query, limit: int) -> list[Note]:
    found: dict[int, Note] = {}
    for phrase in query.phrases:
        (answer,) = connection.execute(
            statements.load("notes")["search"],
            {
                "match": f'owner : "{owner_word(user_id, kind)}" AND words : {quoted(phrase)}',
                "user_id": user_id,
                "kind": kind,
                "notes": RANKED_MAX,
            },
        ).fetchone()
        for note_id, kept_as, key, body, at_ms in msgspec.json.decode(
            answer, type=list[tuple[int, str, str, str, int]]
        ):
            found[note_id] = Note(kind=kept_as, key=key, text=body, at_ms=at_ms)
    latest = sorted(found.items(), key=lambda entry: (-entry[1].at_ms, -entry[0]))
    notes = [note for _, note in latest]
    return [notes[place] for place in best(query, [note.text for note in notes], limit)]
