"""The shape of the database, as numbered steps from an empty file to the present.

`PRAGMA user_version` says which step a file has reached. Each step is one transaction: a file is before it or behind it. Two
processes that open a file at once take the steps one behind the other, and the second finds nothing left to do.

Rule: a migration that was released is never changed; a new shape is a new file. A rise of `greenroom.events.FORMAT` comes
with one, so that an older version refuses the file as a whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from greenroom.errors import LogUnavailable, NewerFormat
from greenroom.logs.sqlite.database import transaction

APPLICATION_ID: Final = 0x47524E52
"""`GRNR`: how a file says whose it is."""


class Migration(NamedTuple):
    """One step: the version that it leads to, and its SQL."""

    version: int
    script: str


@cache
def migrations() -> tuple[Migration, ...]:
    """Returns all steps in order."""
    found = sorted(files(__package__).joinpath("sql", "migrations").iterdir(), key=lambda file: file.name)
    return tuple(
        Migration(int(file.name.partition("_")[0]), file.read_text(encoding="utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


def check(connection: sqlite3.Connection, steps: Sequence[Migration]) -> int:
    """Accepts an empty database and one of ours that is not of a later version; returns its version, 0 for an empty one.

    Raises:
        NewerFormat: a later version made it.
        LogUnavailable: another program made it.
    """
    # In this order: another process may make the schema, with its marks, between two of these looks.
    is_empty = not _value(connection, "SELECT count(*) FROM sqlite_schema")
    application_id = _value(connection, "PRAGMA application_id")
    version = _value(connection, "PRAGMA user_version")
    if application_id != APPLICATION_ID and not is_empty:
        raise LogUnavailable(
            "the file is a database of another program", hint="choose another place for the store; nothing was changed"
        )
    if version > steps[-1].version:
        raise NewerFormat(
            f"the database has version {version}; this version of Greenroom reads up to {steps[-1].version}",
            hint="upgrade Greenroom: pip install --upgrade greenroom",
        )
    return version


def migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    """Brings an accepted database to the present shape.

    Raises:
        sqlite3.Error: a step failed; the database is as it was before that step.
    """
    for step in steps:
        if step.version <= _value(connection, "PRAGMA user_version"):
            continue
        with transaction(connection):
            if step.version <= _value(connection, "PRAGMA user_version"):
                continue  # another process has taken the step while we waited for the right to write
            for statement in _split(step.script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {step.version}")


def _split(script: str) -> Iterator[str]:
    # `executescript` would commit first, and the step would not be one transaction.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _value(connection: sqlite3.Connection, question: str) -> int:
    return int(connection.execute(question).fetchone()[0])
