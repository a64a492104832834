"""Server-sent events, from bytes to payloads, without I/O.

Every wire dialect of today streams `data:` lines that hold one JSON object each; which kind of object it is, the object says
itself. So the splitter keeps the data and drops the rest of the format (`event:`, `id:`, `retry:`, comments). One thing the data may
not say: that it is an error. What an event named `error` holds, or a field `error` (llama.cpp, GPUStack), is marked as `ErrorData`.

Theory of operation: an event ends at a blank line. Line ends are made `LF` as they arrive, then everything up to the last
`LF LF` is split at once. Bytes behind it wait as a list of pieces and are joined only when their end is there, so that the
cost stays linear however the network cuts the stream.

Rule: this file knows no JSON and no provider. The same bytes give the same payloads, wherever they are cut.
"""

from __future__ import annotations

import threading
import weakref
from typing import Final

from greenroom import limits
from greenroom.errors import BackendGarbled, BackendUnavailable

DONE: Final = b"[DONE]"
"""The payload with which the OpenAI dialects end a stream."""

_BOM: Final = b"\xef\xbb\xbf"
_END: Final = b"\n\n"
_FIELD: Final = b"data: "
_FIELD_BYTES: Final = len(_FIELD)
_FREE_BYTES: Final = 1024 * 1024
"""What each stream may hold without being counted among the large ones."""


def as_event(json: bytes) -> bytes:
    """Returns the event whose data is a JSON text: a line end in it is white space, and may stand in no event."""
    return _FIELD + without_mark(json).replace(b"\n", b" ").replace(b"\r", b" ") + _END


def without_mark(data: bytes) -> bytes:
    """Returns the beginning of a body without its byte order mark."""
    return data.removeprefix(_BOM)


class ErrorData(bytes):
    """The data of an event that is an error by its name, whatever it looks like."""

    __slots__ = ()


class Held:
    """How many bytes one stream holds of an event, or of a whole answer, of which the end has not come.

    Those of a process that hold more than a megabyte share a bound: one may be as long as an answer with pictures, all at once may not.
    """

    __slots__ = ("__weakref__", "size")

    def __init__(self) -> None:
        self.size = 0

    def grow(self, size: int) -> None:
        """Counts more bytes.

        Raises:
            BackendGarbled: they are more than `limits.SSE_LINE_BYTES_MAX`.
            BackendUnavailable: all streams together hold more than `limits.SSE_LINES_BYTES_MAX`.
        """
        self.size += size
        if self.size > limits.SSE_LINE_BYTES_MAX:
            raise BackendGarbled(
                f"the provider sent an event of more than {limits.SSE_LINE_BYTES_MAX} bytes without an end"
            )
        if self.size > _FREE_BYTES:
            with _large_lock:
                _large.add(self)
                total = sum(held.size for held in _large)
            if total > limits.SSE_LINES_BYTES_MAX:
                raise BackendUnavailable(
                    f"providers are sending more than {limits.SSE_LINES_BYTES_MAX} bytes in large events at the same time",
                    hint="try again later",
                    refused=None,
                )

    def clear(self) -> None:
        """Counts from zero: what was held is passed on."""
        if self.size > _FREE_BYTES:
            with _large_lock:
                _large.discard(self)
        self.size = 0


# A stream that is given up in the middle of an event leaves by itself.
_large: Final[weakref.WeakSet[Held]] = weakref.WeakSet()
_large_lock: Final = threading.Lock()


class SseSplitter:
    """Cuts one stream of server-sent events into the data of its events.

    Invariant: `_pieces`, joined, holds no complete event, and `_held` is its length.
    """

    __slots__ = ("_at_start", "_cr_last", "_held", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = Held()
        self._at_start = True
        self._cr_last = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Takes the next bytes and returns the data of each event that they complete. Events without data are left out.

        Raises:
            BackendGarbled: a line, or an event that does not end, is longer than `limits.SSE_LINE_BYTES_MAX`.
            BackendUnavailable: as `Held.grow`.
        """
        if self._at_start or self._cr_last or b"\r" in chunk:
            chunk = self._normalised(chunk)
        pieces = self._pieces
        if pieces:
            if _END not in chunk and not (chunk[:1] == b"\n" and pieces[-1][-1:] == b"\n"):
                self._keep(chunk)
                return []
            pieces.append(chunk)
            chunk = b"".join(pieces)
            pieces.clear()
            self._held.clear()
        frames = chunk.split(_END)
        if rest := frames.pop():
            self._keep(rest)
        payloads = []
        for frame in frames:
            # The shape that nearly every event has, one line of data, is taken as it is.
            is_plain = frame[:_FIELD_BYTES] == _FIELD and b"\n" not in frame
            payload = frame[_FIELD_BYTES:] if is_plain else _data(frame)
            if payload:
                payloads.append(payload)
        return payloads

    @property
    def is_in_event(self) -> bool:
        """Whether the part of an event that has arrived is the beginning of one with data, not a comment."""
        return bool(self._pieces) and not self._pieces[0].startswith(b":")

    def close(self) -> list[bytes]:
        """Ends the stream and returns the data of a last event that lacks its blank line, as some providers send it.

        The event may be cut in the middle: whoever decodes it has to expect that.
        """
        rest = b"".join(self._pieces)
        self._pieces.clear()
        self._held.clear()
        payload = _data(rest)
        return [payload] if payload else []

    def _keep(self, piece: bytes) -> None:
        if not piece:
            return
        self._held.grow(len(piece))
        self._pieces.append(piece)

    def _normalised(self, chunk: bytes) -> bytes:
        """Returns the chunk with `LF` for every line end and without the byte order mark, if it is the stream's beginning."""
        if self._at_start:
            chunk = b"".join((*self._pieces, chunk))
            self._pieces.clear()
            self._held.clear()
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                # Still undecided: what is held back holds no line end, so it is kept as it is.
                self._keep(chunk)
                return b""
            self._at_start = False
            chunk = chunk.removeprefix(_BOM)
        if self._cr_last and chunk:
            # The CR before was a line end already; an LF that follows it is the second half of the same one.
            chunk = chunk.removeprefix(b"\n")
            self._cr_last = False
        if b"\r" in chunk:
            self._cr_last = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk


def _data(frame: bytes) -> bytes:
    """Returns the joined data of an event that is written in any other than the common shape."""
    lines = []
    errors = []
    is_error = False
    for line in frame.split(b"\n"):
        name, _, value = line.partition(b":")
        if name == b"data":
            lines.append(value.removeprefix(b" "))
        elif name == b"error":
            errors.append(value.removeprefix(b" "))
        elif name == b"event" and value.strip() == b"error":
            is_error = True
    if is_error or errors:
        return ErrorData(b"\n".join(errors or lines))
    return b"\n".join(lines)
