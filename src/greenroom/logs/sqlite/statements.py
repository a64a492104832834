"""SQL by name: statements live in `sql/*.sql`, each behind a line `-- name: something`.

Rule: a statement that is not found is a bug of ours, and found by the tests: they ask for every name that is used.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

_NAME: Final = re.compile(r"^-- name: (\w+)$", re.MULTILINE)
_ROW: Final = re.compile(r"VALUES (\([^()]+\))")
_ROWS_MAX: Final = 128
"""Rows of one statement: SQLite compiles each length once, and compiling gets slower than it gains behind this."""


@cache
def load(name: str) -> Mapping[str, str]:
    """Returns the statements of `sql/<name>.sql` by their names."""
    text = files(__package__).joinpath("sql", f"{name}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME.split(text)
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def insert_rows(connection: sqlite3.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> list[int]:
    """Inserts `rows` in as few steps as lengths of powers of two allow, and returns their rowids.

    The rowids are right for tables that number their rows themselves.
    """
    numbers: list[int] = []
    for chunk in _chunks(rows):
        values = [value for row in chunk for value in row]
        last = connection.execute(_repeated(statement, len(chunk)), values).lastrowid or 0
        numbers.extend(range(last - len(chunk) + 1, last + 1))
    return numbers


def _chunks(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    start = 0
    while left := len(rows) - start:
        length = min(_ROWS_MAX, 1 << (left.bit_length() - 1))
        yield rows[start : start + length]
        start += length


@cache
def _repeated(statement: str, count: int) -> str:
    return _ROW.sub(lambda row: f"VALUES {', '.join([row[1]] * count)}", statement)
