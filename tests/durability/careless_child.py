"""The mutant of `talking_child`: its database does not wait for the disk. Run as `python careless_child.py HOME SESSION_ID`."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
import sys
from typing import Any

from talking_child import main


class Careless(sqlite3.Connection):
    """Is told to write through, and does not."""

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *arguments)


if __name__ == "__main__":
    sqlite3.connect = functools.partial(sqlite3.connect, factory=Careless)
    asyncio.run(main(sys.argv[1], sys.argv[2]))
