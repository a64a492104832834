"""Which version a store's data has, found without opening the store: opening would already change it.

Rule: a look, nothing more: no file is made, no lock is taken, and what cannot be read is no answer rather than an error.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec

from greenroom.interfaces import Store
from greenroom.logs.sqlite import SqliteStore
from greenroom.logs.sqlite.schema import migrations


class StoreVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a database.

    Attributes:
        found: what it has; 0 for one that does not exist yet, `None` if it cannot be told.
        known: what this version of Greenroom makes of it.
    """

    found: int | None
    known: int


def store_version(store: Store) -> StoreVersion | None:
    """Returns the version of the store's data; `None` for a store that has no versions. Blocks for a moment."""
    if not isinstance(store, SqliteStore):
        return None
    return StoreVersion(found=_user_version(store.path), known=migrations()[-1].version)


def _user_version(path: Path) -> int | None:
    if not path.exists():
        return 0
    try:
        # Not read-only: such a connection leaves the files of the write-ahead log behind. `rw` makes no database.
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True)
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()
    except (OSError, sqlite3.Error):  # opening the store explains what is wrong with it
        return None
