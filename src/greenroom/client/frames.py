"""Server-sent events of a Greenroom server, from bytes in pieces of any size.

Rule: no I/O; a frame is complete or not there, and never larger than its bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from greenroom.errors import LimitExceeded

_FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""A snapshot of a long session, with its attachments, is one frame."""


class WireFrame(NamedTuple):
    """One event: the position behind it, and its data. What has no position is named `""`."""

    cursor: str
    data: str


class FrameDecoder:
    """Decodes one response."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[WireFrame]:
        """Yields the frames that `data` completes.

        Raises:
            LimitExceeded: a frame without end.
        """
        self._buffer += data
        while (end := self._buffer.find(b"\n\n")) >= 0:
            text = self._buffer[:end].decode("utf-8", "replace")
            del self._buffer[: end + 2]
            frame = _frame(text)
            if frame is not None:
                yield frame
        if len(self._buffer) > _FRAME_BYTES_MAX:
            raise LimitExceeded(f"a frame of more than {_FRAME_BYTES_MAX} bytes")


def _frame(text: str) -> WireFrame | None:
    cursor, data = "", None
    for line in text.split("\n"):
        name, _, value = line.partition(":")
        if name == "id":
            cursor = value.removeprefix(" ")
        elif name == "data":
            data = value.removeprefix(" ")
    return WireFrame(cursor, data) if data is not None else None
