"""What waits for the owner of a session: `greenroom.interfaces.Inbox` on SQLite.

Rule: an item belongs to a log, not to a name: with the session it goes, and a session of the same name begins without it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from greenroom.errors import SessionNotFound
from greenroom.interfaces import InboxItem
from greenroom.logs.sqlite import statements
from greenroom.logs.sqlite.engine import Engine


class SqliteInbox:
    """The inboxes of the sessions of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def post(self, session_id: str, body: bytes) -> None:
        """Adds an item. Durable on return.

        Raises:
            SessionNotFound: there is no such session, so nobody would ever look.
            LogUnavailable: the storage failed.
        """

        def post(connection: sqlite3.Connection) -> None:
            if connection.execute(statements.load("inbox")["post"], (body, session_id)).rowcount == 0:
                raise SessionNotFound(session_id)

        await self._engine.write(post)

    async def pending(self, session_id: str) -> Sequence[InboxItem]:
        """Returns the items in the order of their arrival.

        Raises:
            LogUnavailable: the storage failed.
        """

        def pending(connection: sqlite3.Connection) -> list[InboxItem]:
            rows = connection.execute(statements.load("inbox")["pending"], (session_id,)).fetchall()
            return [InboxItem(item_id=item_id, body=body) for item_id, body in rows]

        return await self._engine.read(pending)

    async def remove(self, session_id: str, item_ids: Sequence[int]) -> None:
        """Removes items that have been moved into the log.

        Raises:
            LogUnavailable: the storage failed.
        """
        question = {"session_id": session_id, "item_ids": msgspec.json.encode(list(item_ids)).decode()}
        await self._engine.write(lambda connection: connection.execute(statements.load("inbox")["remove"], question))
