"""What an append changes in the index: the session's row, and the texts that search finds.

Search finds a text by its words and by its owner, so that a user's search costs what the user has, not what everybody has.
The title is a text too, at record 0.

Rule: a text and its words are written and deleted together. The full-text table keeps no text: it forgets one when it is told
the same words again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import msgspec

from greenroom.logs.appending import Head, Write
from greenroom.logs.sqlite import statements
from greenroom.logs.words import words_of

_TITLE: Final = 0
"""The record that a title is the text of: none is."""

_OWNER_MARK = "\ue000"
"""Begins the words that name owners: a character of no language, so that no text has such a word."""


class LogRow:
    """What a transaction knows of a log: what is stored, and what will have been when it is committed.

    Attributes:
        log_id: `None` for a session that does not exist.
        user_id, title: of its index row, if it has one.
    """

    __slots__ = ("head", "log_id", "title", "user_id")

    def __init__(self, log_id: int | None, head: Head, user_id: str | None, title: str) -> None:
        self.log_id = log_id
        self.head = head
        self.user_id = user_id
        self.title = title

    @property
    def known_id(self) -> int:
        """The number of a log that exists."""
        assert self.log_id is not None, "the log was not made"
        return self.log_id


@lru_cache(maxsize=4096)
def owner_word(*names: str) -> str:
    """Returns the word by which what belongs to a user (or to a collection of a user) is found."""
    digest = blake2b(digest_size=8)
    for name in names:
        digest.update(f"{len(name)}:{name}".encode())
    return _OWNER_MARK + digest.hexdigest()


def update_index(connection: sqlite3.Connection, changes: Sequence[tuple[LogRow, Write]], text_chars_max: int) -> None:
    """Writes index rows and texts of appends, in their order."""
    rows: dict[int, tuple[int, str, str, int, bool, str, bytes]] = {}
    texts = _Texts(connection)
    for log, write in changes:
        assert write.index is not None, "the append changes nothing in the index"
        update, summary = write.index, write.index.summary
        title = summary.labels.title
        if update.forget:
            texts.forget(log, update.forget)
        if log.user_id not in {None, summary.user_id}:
            texts.give(log, summary.user_id)
        log.user_id = summary.user_id
        if title != log.title:
            texts.forget(log, (_TITLE,))
            if title:
                texts.add(log, _TITLE, "title", title)
            log.title = title
        for text in update.texts:
            texts.add(log, text.seq, text.role, text.text[:text_chars_max])
        rows[log.known_id] = (
            log.known_id,
            summary.user_id,
            title,
            summary.updated_at_ms,
            summary.open_turn,
            summary.owner,
            write.summary,
        )
    texts.flush()
    statements.insert_rows(connection, statements.load("index")["put_sessions"], list(rows.values()))


def forget_all(connection: sqlite3.Connection, log: LogRow) -> None:
    """Takes every text of a log, its title too, out of the search."""
    _Texts(connection).forget(log, None)


class _Texts:
    """The texts of one transaction: additions are collected, so that they are written together."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._sql = statements.load("index")
        self._added: list[tuple[LogRow, int, str, str]] = []

    def add(self, log: LogRow, seq: int, role: str, text: str) -> None:
        self._added.append((log, seq, role, text))

    def flush(self) -> None:
        """Writes what was added."""
        added, self._added = self._added, []
        numbers = statements.insert_rows(
            self._connection,
            self._sql["add_texts"],
            [(log.known_id, seq, role, text) for log, seq, role, text in added],
        )
        statements.insert_rows(
            self._connection,
            self._sql["index_texts"],
            [
                (number, owner_word(log.user_id or ""), " ".join(words_of(text)))
                for number, (log, _, _, text) in zip(numbers, added, strict=True)
            ],
        )

    def forget(self, log: LogRow, seqs: Sequence[int] | None) -> None:
        """Deletes the texts of these records; all of the log, if `None`."""
        ids = [number for number, _ in self._take_out(log, seqs)]
        self._connection.execute(self._sql["delete_texts"], (msgspec.json.encode(ids).decode(),))

    def give(self, log: LogRow, user_id: str) -> None:
        """Makes all texts of the log another user's."""
        texts = self._take_out(log, None)
        statements.insert_rows(
            self._connection,
            self._sql["index_texts"],
            [(number, owner_word(user_id), " ".join(words_of(text))) for number, text in texts],
        )

    def _take_out(self, log: LogRow, seqs: Sequence[int] | None) -> Sequence[tuple[int, str]]:
        self.flush()  # what was added by an append before this one can be forgotten too
        wanted = None if seqs is None else msgspec.json.encode(seqs).decode()
        question = {"log_id": log.known_id, "seqs": wanted}
        (answer,) = self._connection.execute(self._sql["texts"], question).fetchone()
        texts: list[tuple[int, str]] = msgspec.json.decode(answer, type=list[tuple[int, str]])
        statements.insert_rows(
            self._connection,
            self._sql["unindex_texts"],
            [(number, owner_word(log.user_id or ""), " ".join(words_of(text))) for number, text in texts],
        )
        return texts
