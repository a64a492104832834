"""`greenroom.interfaces.Ledger` in SQLite.

Rule: it only reads; what is written is written by the appends.
"""

from __future__ import annotations

from greenroom.interfaces import Spent
from greenroom.logs.sqlite.accounts import sum_up
from greenroom.logs.sqlite.engine import Engine


class SqliteLedger:
    """The ledger of one database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def spent(self, user_id: str, *, from_day: int = 0) -> Spent:
        """Returns what the user has used since the beginning of that day.

        Raises:
            LogUnavailable: the storage failed.
        """
        return await self._engine.read(lambda connection: sum_up(connection, user_id, from_day))
