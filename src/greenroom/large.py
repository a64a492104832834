"""What is large, in slices: a file in base64, and JSON that holds one.

The event loop and all threads share one interpreter, which one call of a C function stops for as long as it takes: a message with 23 MB
of files takes 60 ms to decode and 60 ms to encode, in a thread too. So a file stays bytes until its JSON is written, and what is larger
than a slice is encoded and decoded a slice at a time. `in_thread` gives such work to a thread, where others get their turn
between two slices.

Rule: what is written is what `msgspec` writes, byte for byte, and what is read is what it reads. No call handles more than a slice of
base64 or text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import msgspec

LARGE_BYTES: Final = 256 * 1024
"""What is taken at once; more is work for a thread."""
SLICE_BYTES: Final = 3 * 64 * 1024
"""Bytes that are encoded at once, about 0.3 ms. A multiple of three: then the slices of base64 can be joined."""
SLICE_CHARACTERS: Final = SLICE_BYTES // 3 * 4
"""Base64, or text, that is decoded or encoded at once."""
_FILE_MEMBER: Final = re.compile(rb'"(?:data|url|value)"[ \t\r\n]{0,8}:[ \t\r\n]{0,8}\Z')
_BEFORE_FILE_BYTES: Final = 32


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


class Unwritten:
    """A value that is JSON as soon as somebody has the time to write it: `str` does, in slices.

    Attributes:
        weight: about how many bytes that will be.
    """

    __slots__ = ("_value", "weight")

    def __init__(self, value: Any, weight: int) -> None:
        self._value = value
        self.weight = weight

    def __str__(self) -> str:
        return encoded(self._value).decode()


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


class Hollow:
    """A JSON text without the files in it, which are its large strings under the names that protocols have for them.

    Attributes:
        body: the text; instead of each file a short string that nobody else can have written.
    """

    __slots__ = ("_files", "body")

    def __init__(self, body: bytes, files: Mapping[str, str]) -> None:
        self.body = body
        self._files = files

    def filled(self, value: Any) -> Any:
        """Returns what was decoded from `body` with the files in their places."""
        match value:
            case str():
                return self._files.get(value, value)
            case dict():
                return {name: self.filled(member) for name, member in value.items()}
            case list():
                return [self.filled(element) for element in value]
            case tuple():
                return tuple([self.filled(element) for element in value])
            case msgspec.Struct():
                before = {name: getattr(value, name) for name in value.__struct_fields__}
                after = {name: self.filled(member) for name, member in before.items()}
                changed = {name: member for name, member in after.items() if member is not before[name]}
                return msgspec.structs.replace(value, **changed) if changed else value
            case _:
                return value


def hollowed(body: bytes | bytearray, *, token: str) -> Hollow | None:
    """Returns a JSON text without its files; `None` if there are none in it, or not such as could be taken out unseen.

    Args:
        body: the text.
        token: what nobody can have written: letters and digits by chance, of each text others.
    """
    files: dict[str, str] = {}
    pieces: list[bytes | bytearray] = []
    at = 0
    window = LARGE_BYTES // 2
    start = 0
    while start + window <= len(body):
        # A string that is large fills at least one window: others are not looked at.
        if body.find(b'"', start, start + window) >= 0:
            start += window
            continue
        begin, end = body.rfind(b'"', at, start) + 1, body.find(b'"', start + window)
        if begin > 0 and end >= 0 and _FILE_MEMBER.search(body, max(begin - 1 - _BEFORE_FILE_BYTES, 0), begin - 1):
            text = _plain_text(body, begin, end)
            if text is None:
                return None
            name = f"{token}{len(files)}"
            files[name] = text
            pieces += (body[at:begin], name.encode())
            at = end
        start = (end if end >= 0 else len(body)) // window * window + window
    return Hollow(b"".join([*pieces, body[at:]]), files) if files else None


def _plain_text(body: bytes | bytearray, begin: int, end: int) -> str | None:
    """Returns what a string of JSON says, if it says what it is: printable ASCII in which nothing is escaped."""
    texts: list[str] = []
    for start in range(begin, end, SLICE_CHARACTERS):
        piece = body[start : min(start + SLICE_CHARACTERS, end)]
        text = piece.decode("latin-1")
        if b"\\" in piece or not text.isascii() or not text.isprintable():
            return None
        texts.append(text)
    return "".join(texts)


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
