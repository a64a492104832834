"""Events to bytes and back, the same bytes in every log, export and import.

Rule: what this module has once written, every later version reads. `tests/golden/` holds a log of every format.
"""

from __future__ import annotations

from typing import Final, get_args

import msgspec

from greenroom.errors import Corrupted, NewerFormat
from greenroom.events import FORMAT, Event, Record

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
    return _encoder.encode(event)


def decode_event(body: bytes) -> Event:
    """Returns the event that `encode_event` wrote.

    Raises:
        Corrupted: the bytes are not an event.
        NewerFormat: an event that this version does not know.
    """
    try:
        return _event_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _explained(body, error) from error


def encode_record(record: Record) -> bytes:
    """Returns the record as one line of JSON, without the line end."""
    return _encoder.encode(record)


def decode_record(line: bytes) -> Record:
    """Returns the record that `encode_record` wrote.

    Raises:
        Corrupted: the line is not a record.
        NewerFormat: it holds an event that this version does not know.
    """
    try:
        return _record_decoder.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _explained(line, error) from error


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
