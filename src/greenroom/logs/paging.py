"""Pages of a listing: how many rows, and where the next one begins.

A cursor names the last row that was shown, by the time of its last change and the number of its log, never a count of rows:
so a page costs the same at the beginning and at the end, and sessions that change meanwhile make no row appear twice.

Rule: a cursor is opaque to whoever holds it, and whatever comes back is checked before it is used.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final, NamedTuple

from greenroom.errors import InvalidArgument, InvalidStream

_FORM: Final = re.compile(r"p1\.(-?\d{1,18})\.(\d{1,18})")


class Position(NamedTuple):
    """A row of a listing; the order of positions is the order of the rows, newest last.

    Attributes:
        number: of the log, in the order of their creation: it tells sessions of the same millisecond apart.
    """

    updated_at_ms: int
    number: int


BEFORE_ALL: Final = Position(2**63 - 1, 2**63 - 1)
"""Newer than every row: where the first page begins."""


def encode_cursor(position: Position) -> str:
    """Returns the cursor of the page that begins behind `position`."""
    text = f"p1.{position.updated_at_ms}.{position.number}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> Position:
    """Returns the row that the page begins behind; no cursor is the first page.

    Raises:
        InvalidStream: the cursor is not one of ours.
    """
    if cursor is None:
        return BEFORE_ALL
    if not isinstance(cursor, str):
        raise _not_ours(str(cursor))
    try:
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _not_ours(cursor) from error
    if (form := _FORM.fullmatch(text)) is None:
        raise _not_ours(cursor)
    return Position(int(form[1]), int(form[2]))


def check_limit(limit: int, most: int) -> int:
    """Returns `limit` if a page can have that many rows.

    Raises:
        InvalidArgument: it cannot.
    """
    if isinstance(limit, int) and 1 <= limit <= most:
        return limit
    raise InvalidArgument(f"limit={limit!r} is out of range", hint=f"a page has 1 to {most} rows")


def _not_ours(cursor: str) -> InvalidStream:
    return InvalidStream(
        f"{cursor[:80]!r} is not a cursor of a listing", hint="pass the cursor of the page before, or none"
    )
