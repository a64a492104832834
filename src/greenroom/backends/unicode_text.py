r"""Valid Unicode out of JSON strings that are not.

JSON can write half of a surrogate pair (`"\ud83d"`), and servers that cut their text by UTF-16 units do: the halves of one
emoji arrive in two deltas. A lone half cannot be encoded, so one of them would break logs and sockets far away from its origin.

Rule: what leaves is encodable as UTF-8, and joined it is what the whole text would have been, with U+FFFD for each lone half.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

_HIGH_FIRST: Final = "\ud800"
_HIGH_LAST: Final = "\udbff"


def valid_unicode(text: str) -> str:
    """Returns `text` with pairs of surrogates joined and lone ones replaced."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def valid_json(value: Any) -> bytes:
    """Returns decoded JSON as JSON again, with valid texts.

    Raises:
        RecursionError: it is nested more deeply than it can be written.
    """
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return valid_unicode(json.dumps(value, ensure_ascii=False)).encode()


def bytes_of(text: str) -> int:
    """Returns the length of valid text in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


class SurrogateJoiner:
    """Makes the deltas of one text valid; a pair that was cut between two of them leaves with the second one.

    Invariant: `_high` is empty or the first half of a pair, held back.
    """

    __slots__ = ("_high",)

    def __init__(self) -> None:
        self._high = ""

    def feed(self, text: str) -> str:
        """Returns what can be said by now, possibly nothing."""
        if not self._high and text.isascii():
            return text
        text = self._high + text
        self._high = ""
        if text and _HIGH_FIRST <= text[-1] <= _HIGH_LAST:
            self._high = text[-1]
            text = text[:-1]
        return valid_unicode(text)

    def close(self) -> str:
        """Returns what was held back, as the end of the text."""
        rest, self._high = valid_unicode(self._high), ""
        return rest
