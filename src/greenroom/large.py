"""What is large, in slices: a file in base64, and JSON that holds one.

The event loop and all threads share one interpreter, which one call of a C function stops for as long as it takes: a message with 23 MB
of files takes 60 ms to decode and 60 ms to encode, in a thread too. So a file stays bytes until its JSON is written, and what is larger
than a slice is encoded and decoded a slice at a time. `in_thread` gives such work to a thread, where others get their turn
between two slices.

Rule: what is written is what `msgspec` writes, byte for byte, and what is read is what it reads. No call handles more than a slice of
base64 or text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

LARGE_BYTES: Final = 256 * 1024
"""What is taken at once; more is work for a thread."""
SLICE_BYTES: Final = 3 * 64 * 1024
"""Bytes that are encoded at once, about 0.3 ms. A multiple of three: then the slices of base64 can be joined."""
SLICE_CHARACTERS: Final = SLICE_BYTES // 3 * 4
"""Base64, or text, that is decoded or encoded at once."""


class InBase64:
    """Bytes that will stand in JSON as a text of base64, with something before it, as in a data URL. Equal to that text.

    Attributes:
        data: the bytes.
        prefix: what stands before them; ASCII that JSON does not escape.
    """

    __slots__ = ("data", "prefix")

    def __init__(self, data: bytes, prefix: str = "") -> None:
        self.data = data
        self.prefix = prefix

    def __str__(self) -> str:
        return self.prefix + to_base64(self.data).decode("ascii")

    def __eq__(self, other: object) -> bool:
        if isinstance(other, InBase64):
            return (self.prefix, self.data) == (other.prefix, other.data)
        return str(self) == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"InBase64({len(self.data)} bytes, prefix={self.prefix!r})"


def as_text(value: object) -> str:
    """Returns what an encoder writes for an `InBase64`: its `enc_hook`.

    Raises:
        NotImplementedError: for anything else, as msgspec wants it.
    """
    if isinstance(value, InBase64):
        return str(value)
    raise NotImplementedError


encoder: Final = msgspec.json.Encoder(enc_hook=as_text)


def to_base64(data: bytes) -> bytes:
    """Returns bytes in base64."""
    if len(data) <= SLICE_BYTES:
        return encoder.encode(data)[1:-1]
    return b"".join(_base64_slices(data))


def from_base64(text: str) -> bytes:
    """Returns the bytes of a text of base64: padded, of the standard alphabet, without line ends.

    Raises:
        ValueError: it is not such a text.
    """
    if len(text) <= SLICE_CHARACTERS:
        return msgspec.convert(text, bytes)
    pieces = []
    for start in range(0, len(text), SLICE_CHARACTERS):
        piece: bytes = msgspec.convert(text[start : start + SLICE_CHARACTERS], bytes)
        if len(piece) < SLICE_BYTES and start + SLICE_CHARACTERS < len(text):
            raise ValueError("base64 that ends before its end")
        pieces.append(piece)
    return b"".join(pieces)


def encoded(value: Any) -> bytes:
    """Returns a value as compact JSON, written in slices. For lists and mappings with large texts or files in them.

    Raises:
        TypeError, ValueError, UnicodeEncodeError: as `msgspec`.
    """
    pieces: list[bytes] = []
    _write(value, pieces.append)
    return b"".join(pieces)


def settled(value: Any) -> Any:
    """Returns a value with the texts of its `InBase64`s in it: for an encoder that is not ours."""
    match value:
        case InBase64():
            return str(value)
        case dict():
            return {name: settled(member) for name, member in value.items()}
        case list() | tuple():
            return [settled(element) for element in value]
        case _:
            return value


def _write(value: Any, add: Callable[[bytes], None]) -> None:
    if isinstance(value, dict):
        opening = b"{"
        for name, member in value.items():
            add(opening + encoder.encode(name) + b":")
            _write(member, add)
            opening = b","
        add(b"{}" if opening == b"{" else b"}")
    elif isinstance(value, list | tuple):
        opening = b"["
        for element in value:
            add(opening)
            _write(element, add)
            opening = b","
        add(b"[]" if opening == b"[" else b"]")
    elif isinstance(value, str) and len(value) > SLICE_CHARACTERS:
        add(b'"')
        for start in range(0, len(value), SLICE_CHARACTERS):
            add(encoder.encode(value[start : start + SLICE_CHARACTERS])[1:-1])
        add(b'"')
    elif isinstance(value, InBase64 | bytes):
        data, prefix = (value.data, value.prefix) if isinstance(value, InBase64) else (value, "")
        add(encoder.encode(prefix)[:-1])
        for piece in _base64_slices(data):
            add(piece)
        add(b'"')
    else:
        add(encoder.encode(value))


def _base64_slices(data: bytes) -> Iterator[bytes]:
    view = memoryview(data)
    for start in range(0, len(view), SLICE_BYTES):
        yield encoder.encode(view[start : start + SLICE_BYTES])[1:-1]
