"""Events to bytes and back, the same bytes in every log, export and import.

Rule: what this module has once written, every later version reads. `tests/golden/` holds a log of every format.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar, get_args

import msgspec

from greenroom.errors import Corrupted, NewerFormat
from greenroom.events import FORMAT, Event, MessageAccepted, MessageEdited, Record
from greenroom.large import LARGE_BYTES, encoded, from_base64
from greenroom.messages import FilePart

_Message = MessageAccepted | MessageEdited
DecodedT = TypeVar("DecodedT", bound=Event | Record)

_encoder: Final = msgspec.json.Encoder()
_event_decoder: Final[msgspec.json.Decoder[Event]] = msgspec.json.Decoder(Event)
_record_decoder: Final = msgspec.json.Decoder(Record)


_TAGS: Final = frozenset(str(kind.__struct_config__.tag) for kind in get_args(Event))


class _Tag(msgspec.Struct):
    type: str = ""


class _Tagged(msgspec.Struct):
    """An event, or a record with an event in it."""

    type: str = ""
    event: _Tag | None = None


def encode_event(event: Event) -> bytes:
    """Returns the event as compact JSON."""
    if weight_of_files(event) > LARGE_BYTES and isinstance(event, _WITH_FILES) and (files := _plain_files(event)):
        return _filled(_encoder.encode(_emptied(event, files)), files)
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """Returns the event that `encode_event` wrote.

    Raises:
        Corrupted: the bytes are not an event.
        NewerFormat: an event that this version does not know.
    """
    if len(body) > LARGE_BYTES and (whole := _decoded_in_slices(body, _event_decoder)) is not None:
        return whole
    try:
        return _event_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _explained(body, error) from error


def encode_record(record: Record) -> bytes:
    """Returns the record as one line of JSON, without the line end."""
    event = record.event
    if weight_of_files(event) > LARGE_BYTES and isinstance(event, _WITH_FILES) and (files := _plain_files(event)):
        return _filled(_encoder.encode(msgspec.structs.replace(record, event=_emptied(event, files))), files)
    return _encoder.encode(record)


def decode_record(line: bytes) -> Record:
    """Returns the record that `encode_record` wrote.

    Raises:
        Corrupted: the line is not a record.
        NewerFormat: it holds an event that this version does not know.
    """
    if len(line) > LARGE_BYTES and (whole := _decoded_in_slices(line, _record_decoder)) is not None:
        return whole
    try:
        return _record_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _explained(line, error) from error


# --- messages with large files --------------------------------------------------------------------------------------------

# Their files are written and read apart, in slices. `"data":"` cannot stand in a text of JSON, where quotation marks are escaped: what
# begins with it is a member of that name.


def weight_of_files(event: Event) -> int:
    """Returns the bytes of the files of a message; 0 for any other event. Asked of every event that is written: it has to cost little."""
    size = 0
    if type(event) is MessageAccepted or type(event) is MessageEdited:
        for part in event.parts:
            if type(part) is FilePart:
                size += len(part.data)
    return size


def _plain_files(event: _Message) -> list[bytes]:
    """Returns the files of a message, unless something else of it may look like one."""
    if any(part.sidecar for part in event.parts if isinstance(part, FilePart)):
        return []
    return [part.data for part in event.parts if isinstance(part, FilePart)]


def _emptied(event: _Message, files: Sequence[bytes]) -> _Message:
    left = iter([b""] * len(files))
    return _with_files(event, left)


def _with_files(event: _Message, files: Iterator[bytes]) -> _Message:
    parts = tuple(
        msgspec.structs.replace(part, data=next(files)) if isinstance(part, FilePart) else part for part in event.parts
    )
    return msgspec.structs.replace(event, parts=parts)


def _filled(body: bytes, files: Sequence[bytes]) -> bytes:
    """Returns the JSON of a message with its files at the places where it has empty ones."""
    head, *rest = body.split(_EMPTY)
    assert len(rest) == len(files), "a message has a place for each of its files"
    pieces = [head]
    for data, after in zip(files, rest, strict=True):
        pieces += (_MEMBER, encoded(data), after)
    return b"".join(pieces)


def _decoded_in_slices(body: bytes, decoder: msgspec.json.Decoder[DecodedT]) -> DecodedT | None:
    """Returns the event or record of a message with files; `None` for whatever is not exactly what `encode_event` writes."""
    begins, ends = [0], []
    files = []
    found = body.find(_MEMBER + b'"')
    while found >= 0:
        start = found + len(_MEMBER) + 1
        end = body.find(b'"', start)
        if end < 0:
            return None
        try:
            files.append(from_base64(body[start:end].decode("ascii")))
        except ValueError:
            return None
        ends.append(start)
        begins.append(end)
        found = body.find(_MEMBER + b'"', end)
    if not files:
        return None
    hollow = b"".join([body[begin:end] for begin, end in zip(begins, [*ends, len(body)], strict=True)])
    try:
        decoded = decoder.decode(hollow)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    event = decoded.event if isinstance(decoded, Record) else decoded
    if not isinstance(event, _WITH_FILES) or len(_files_in(event)) != len(files):
        return None
    whole = _with_files(event, iter(files))
    return msgspec.structs.replace(decoded, event=whole) if isinstance(decoded, Record) else whole  # type: ignore[return-value]


def _files_in(event: _Message) -> list[FilePart]:
    return [part for part in event.parts if isinstance(part, FilePart)]


_WITH_FILES: Final = (MessageAccepted, MessageEdited)
_MEMBER: Final = b'"data":'
_EMPTY: Final = b'"data":""'


def check_format(version: int) -> None:
    """Accepts data of this format and older.

    Raises:
        NewerFormat: the data is of a later format.
    """
    if version > FORMAT:
        raise NewerFormat(
            f"the data has log format {version}; this version of Greenroom reads up to {FORMAT}",
            hint="upgrade Greenroom: pip install --upgrade greenroom",
        )


def _explained(body: bytes, error: Exception) -> Corrupted | NewerFormat:
    # An unknown tag in well-formed JSON was written by somebody newer; anything else is damage.
    try:
        tagged = msgspec.json.decode(body, type=_Tagged)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Corrupted(f"not a stored event: {error}")
    tag = tagged.event.type if isinstance(tagged.event, _Tag) else tagged.type
    if tag and tag not in _TAGS:
        return NewerFormat(f"unknown event {tag!r}", hint="upgrade Greenroom: pip install --upgrade greenroom")
    return Corrupted(f"not a stored event: {error}")
