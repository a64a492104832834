"""Listing and search: `greenroom.interfaces.SessionIndex` on SQLite.

Strategy: whatever is asked, the work is bounded. A page begins at a place in an index, never at a count of rows. A search
looks at the latest texts that match, found in the order of their writing: a word that is in every text is as cheap as a rare
one, and what a rare one finds is complete.

Rule: a user's words reach the full-text table only as quoted words; nothing a person types is query syntax.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from greenroom.errors import Corrupted
from greenroom.interfaces import Page, SearchHit, SessionSummary
from greenroom.limits import Limits
from greenroom.logs.appending import decode_summary
from greenroom.logs.paging import Position, check_limit, decode_cursor, encode_cursor
from greenroom.logs.ranking import CHARS_MAX, RANKED_MAX, best
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.engine import Engine
from greenroom.logs.sqlite.texts import owner_word
from greenroom.logs.words import Query, parse_query, snippet

_COMPLETIONS_MAX = 50
"""Words that an unfinished word can stand for."""

_Values = Mapping[str, Any]

_row_decoder = msgspec.json.Decoder(tuple[int, int, msgspec.Raw])


class SqliteSessionIndex:
    """The index over the sessions of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def get(self, session_id: str) -> SessionSummary | None:
        """Returns the row of a session, or `None`.

        Raises:
            Corrupted: the row is not what was written.
            LogUnavailable: the storage failed.
        """
        return await self._engine.read(lambda connection: _get(connection, session_id))

    def get_now(self, session_id: str) -> SessionSummary | None:
        """As `get`, at once: one indexed read, in the thread of the caller.

        Raises:
            Corrupted: the row is not what was written.
            LogUnavailable: the storage failed.
        """
        return self._engine.look(lambda connection: _get(connection, session_id))

    async def page(
        self, *, user_id: str | None = None, query: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page:
        """Returns sessions by time of their last change, newest first: see `greenroom.interfaces.SessionIndex`.

        Raises:
            InvalidArgument: a limit out of range, or a cursor that is not one of ours.
            Corrupted: a row is not what was written.
            LogUnavailable: the storage failed.
        """
        check_limit(limit, self._engine.limits.page_max)
        after = decode_cursor(cursor)
        if not query or query.isspace():
            return await self._engine.read(lambda connection: _page(connection, user_id, limit, after))
        parsed = self._parsed(query)
        question = {"user_id": user_id, "texts": self._engine.limits.search_texts_max}
        return await self._engine.search(
            lambda connection: _page_of_matches(connection, parsed, question, limit, after)
        )

    async def search(self, query: str, *, user_id: str | None = None, limit: int = 50) -> Sequence[SearchHit]:
        """Returns places where all words of `query` occur, best first. Any text is a valid query.

        Raises:
            InvalidArgument: a limit out of range.
            LogUnavailable: the storage failed.
        """
        check_limit(limit, self._engine.limits.page_max)
        parsed = self._parsed(query)
        question = {"user_id": user_id, "texts": min(RANKED_MAX, self._engine.limits.search_texts_max)}
        return await self._engine.search(lambda connection: _search(connection, parsed, question, limit))

    async def unfinished(self) -> Sequence[str]:
        """Returns ids of sessions with an open turn or something in their inbox.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.read(_unfinished)

    async def orphaned(self, *, after: str = "", limit: int) -> Sequence[str]:
        """Returns ids of sessions that need a process and have none: see `greenroom.interfaces.SessionIndex`.

        Raises:
            InvalidArgument: a limit out of range.
            LogUnavailable: the storage failed.
        """
        check_limit(limit, self._engine.limits.page_max)
        return await self._engine.read(
            lambda connection: _orphaned(connection, self._engine.is_alive, {"after": after, "limit": limit})
        )

    def _parsed(self, query: str) -> Query:
        limits: Limits = self._engine.limits
        return parse_query(query, words_max=limits.search_words_max)


def quoted(phrase: Sequence[str]) -> str:
    """Returns words that follow each other as FTS5 wants them. They are letters and digits only: `words_of` sees to that."""
    return f'"{" ".join(phrase)}"'


def _get(connection: sqlite3.Connection, session_id: str) -> SessionSummary | None:
    row = connection.execute(statements.load("index")["get"], (session_id,)).fetchone()
    return decode_summary(row[0]) if row else None


def _page(connection: sqlite3.Connection, user_id: str | None, limit: int, after: Position) -> Page:
    name = "page" if user_id is None else "page_of_user"
    return _listed(connection, name, {"user_id": user_id}, limit, after)


def _page_of_matches(
    connection: sqlite3.Connection, query: Query, question: _Values, limit: int, after: Position
) -> Page:
    if (match := _match(connection, query, question["user_id"])) is None:
        return Page(sessions=())
    return _listed(connection, "page_of_matches", {**question, "match": match}, limit, after)


def _listed(connection: sqlite3.Connection, name: str, question: _Values, limit: int, after: Position) -> Page:
    place = {"updated_at_ms": after.updated_at_ms, "log_id": after.number, "limit": limit + 1}
    (lines,) = connection.execute(statements.load("index")[name], {**question, **place}).fetchone()
    rows = [_row(line) for line in lines.split(b"\n")] if lines else []
    return Page(
        sessions=tuple(summary for _, summary in rows[:limit]),
        cursor=encode_cursor(rows[limit - 1][0]) if len(rows) > limit else None,
    )


def _row(line: bytes) -> tuple[Position, SessionSummary]:
    try:
        updated_at_ms, number, summary = _row_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupted(f"not a stored index row: {error}") from error
    return Position(updated_at_ms, number), decode_summary(summary)


def _search(connection: sqlite3.Connection, query: Query, question: _Values, limit: int) -> list[SearchHit]:
    if (match := _match(connection, query, question["user_id"])) is None:
        return []
    sql = statements.load("index")
    (answer,) = connection.execute(sql["search"], {**question, "match": match, "chars": CHARS_MAX}).fetchone()
    found = msgspec.json.decode(answer, type=list[tuple[int, str]])
    wanted = [found[place][0] for place in best(query, [text for _, text in found], limit)]
    (answer,) = connection.execute(sql["hits"], {"text_ids": msgspec.json.encode(wanted).decode()}).fetchone()
    rows = {row[0]: row[1:] for row in msgspec.json.decode(answer, type=list[tuple[int, str, int, str, str, str]])}
    return [
        SearchHit(session_id=session_id, seq=seq, role=role, snippet=snippet(body, query), title=title)
        for session_id, seq, role, body, title in (rows[text_id] for text_id in wanted if text_id in rows)
    ]


def _match(connection: sqlite3.Connection, query: Query, user_id: str | None) -> str | None:
    """Returns the query as FTS5 wants it; `None` if there is nothing to look for or nothing can be found."""
    wanted = [quoted(phrase) for phrase in query.phrases]
    if query.is_open:
        words = _completions(connection, query.phrases[-1][0])
        wanted[-1] = f"({' OR '.join(quoted([word]) for word in words)})" if words else ""
    if not wanted or not all(wanted):
        return None
    owner = f'owner : "{owner_word(user_id)}" AND ' if user_id is not None else ""
    return f"{owner}words : ({' AND '.join(wanted)})"


def _completions(connection: sqlite3.Connection, prefix: str) -> list[str]:
    (answer,) = connection.execute(
        statements.load("index")["words_from"], {"prefix": prefix, "limit": _COMPLETIONS_MAX}
    ).fetchone()
    words: list[str] = msgspec.json.decode(answer, type=list[str])
    return words


def _unfinished(connection: sqlite3.Connection) -> list[str]:
    (answer,) = connection.execute(statements.load("index")["unfinished"]).fetchone()
    session_ids: list[str] = msgspec.json.decode(answer, type=list[str])
    return session_ids


def _orphaned(connection: sqlite3.Connection, is_alive: Callable[[str], bool], question: _Values) -> list[str]:
    sql = statements.load("index")
    (owners,) = connection.execute(sql["owners"]).fetchone()
    gone = [owner for owner in msgspec.json.decode(owners, type=list[str]) if not is_alive(owner)]
    given = {**question, "gone": msgspec.json.encode(gone).decode()}
    (answer,) = connection.execute(sql["orphaned"], given).fetchone()
    session_ids: list[str] = msgspec.json.decode(answer, type=list[str])
    return session_ids
