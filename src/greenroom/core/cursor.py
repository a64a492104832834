"""A reader's position in a session, exact at every character.

`seq.offset~epoch`: everything up to record `seq` was seen, and `offset` units of the record behind it (a character of a delta
counts one, every other item one), under the writer `epoch`. Where one item becomes several frames of a protocol, `+n` counts the
frames seen of the next item; `!n` counts frames of a snapshot, which is not a position to go on from.

Rule: a cursor grows from frame to frame and is the same in every protocol. What an older epoch showed but never wrote does not
exist: such a cursor is answered with a snapshot.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from greenroom.errors import InvalidStream

_CURSOR: Final = re.compile(r"(\d{1,15})\.(\d{1,15})~(\d{1,15})(?:([+!])(\d{1,6}))?")


class Cursor(msgspec.Struct, frozen=True, order=True):
    """A position.

    Attributes:
        frame: frames seen of the item behind the position.
        in_snapshot: the frame belongs to a snapshot that was not complete.
    """

    seq: int = 0
    offset: int = 0
    epoch: int = 0
    frame: int = 0
    in_snapshot: bool = False

    def __str__(self) -> str:
        rest = "" if not self.frame else f"{'!' if self.in_snapshot else '+'}{self.frame}"
        return f"{self.seq}.{self.offset}~{self.epoch}{rest}"


def parse_cursor(text: str) -> Cursor:
    """Returns the position that `str(cursor)` wrote.

    Raises:
        InvalidStream: the text is not a cursor.
    """
    match = _CURSOR.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidStream(
            f"{str(text)[:60]!r} is not a cursor",
            hint="give a cursor that came with a frame, or none to begin with a snapshot",
        )
    seq, offset, epoch, mark, frame = match.groups()
    return Cursor(int(seq), int(offset), int(epoch), int(frame or 0), mark == "!")
