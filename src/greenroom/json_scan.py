"""How much a JSON text holds, counted before anything is decoded.

Decoding makes an object of every value and stops the whole interpreter while it does, in a thread too. So what a client or a file
may make us decode is bounded by how many values it has and how deep they are, not only by its bytes: 30 MB of `{},` are ten
million objects. Counting needs no objects: it is a few passes over the bytes as they arrive, a piece at a time.

Rule: counts, and never judges. What is not JSON is the decoder's to refuse; a count is never lower than what a decoder makes of it.
"""

from __future__ import annotations

from typing import Final

from greenroom.errors import LimitExceeded
from greenroom.limits import JSON_DEPTH_MAX, JSON_NUMBER_CHARACTERS_MAX

_NOT_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS: Final = bytes.maketrans(b"0123456789.eE+-", b"0" * 15)
_ENDLESS: Final = b"0" * JSON_NUMBER_CHARACTERS_MAX


def is_crowded(text: bytes, values_max: int) -> bool:
    """Returns whether a JSON text may have more values than that; what its strings hold is counted too, so it need not."""
    count = 0
    for mark in (b",", b"[", b"{"):
        at = text.find(mark)
        while at >= 0:  # between marks as fast as memory: base64 has none
            count += 1
            if count > values_max:
                return True
            at = text.find(mark, at + 1)
    return False


class JsonScan:
    """Counts the values of one JSON text that arrives in pieces.

    Args:
        what: names the text in errors: `the body`.
        values_max: lists, objects, members and elements that are taken.
    """

    def __init__(self, what: str, *, values_max: int) -> None:
        self._what = what
        self._values_max = values_max
        self._values = 0
        self._depth = 0
        self._in_string = False
        self._tail = b""
        self._digits = b""

    def feed(self, piece: bytes) -> None:
        """Counts what a piece holds. Costs a few passes over it, and nothing that a decoder would make of it.

        Raises:
            LimitExceeded: the text has more values, deeper ones or longer numbers than are taken.
        """
        outside = self._outside_of_strings(piece)
        self._values += outside.count(b",") + outside.count(b"[") + outside.count(b"{")
        if self._values > self._values_max:
            raise LimitExceeded(
                f"{self._what} has more than {self._values_max} values",
                hint="send fewer list elements and object members",
            )
        digits = self._digits + outside.translate(_DIGITS)
        if _ENDLESS in digits:
            raise LimitExceeded(f"{self._what} has a number of {JSON_NUMBER_CHARACTERS_MAX} characters or more")
        self._digits = digits[len(digits.rstrip(b"0")) :]
        for bracket in outside.translate(None, _NOT_BRACKETS):
            self._depth += 1 if bracket in b"[{" else -1
            if self._depth > JSON_DEPTH_MAX:
                raise LimitExceeded(f"{self._what} has more than {JSON_DEPTH_MAX} levels of nesting")
            if self._depth < 0:  # not JSON: no decoder reads past this
                self._depth = 0
                break

    def _outside_of_strings(self, piece: bytes) -> bytes:
        """Returns what stands between the strings of the text; of a string in the middle of a piece, it remembers that."""
        if self._tail:
            piece, self._tail = self._tail + piece, b""
        backslashes = len(piece) - len(piece.rstrip(b"\\"))
        if backslashes % 2:  # what it escapes is in the next piece
            piece, self._tail = piece[:-1], b"\\"
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        strings = (piece.count(b'"') + 1) // 2
        if strings > 2 * self._values_max + 1:  # each value may have a name; do not make an object of each to see that
            raise LimitExceeded(f"{self._what} has more than {self._values_max} values")
        parts = piece.split(b'"')
        outside = parts[1 if self._in_string else 0 :: 2]
        self._in_string ^= len(parts) % 2 == 0
        return b'""'.join(outside)
