"""What is large is written and read in slices, and is what msgspec would have made of it.

Issue 11, "Speed": one user's largest allowed request delays another user's by at most 100 ms. How long that takes is measured by
`benchmarks/large_requests.py`; here it is counted how much one call handles.
"""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import msgspec
import pytest

from greenroom import codec, large
from greenroom.errors import Corrupted, InvalidArgument
from greenroom.events import MessageAccepted, Record, TurnStarted
from greenroom.large import (
    LARGE_BYTES,
    SLICE_BYTES,
    SLICE_CHARACTERS,
    InBase64,
    encoded,
    encoder,
    from_base64,
    settled,
    to_base64,
)
from greenroom.large_thread import in_thread
from greenroom.messages import FilePart, TextPart
from greenroom.protocols.attachments import attachment

DATA = random.Random(11).randbytes(3 * SLICE_BYTES + 1)
SIZES = (0, 1, 2, 3, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 2 * SLICE_BYTES, 3 * SLICE_BYTES + 1)


class Largest:
    """An encoder that notes the largest value that it is given."""

    def __init__(self) -> None:
        self.size = 0

    def encode(self, value: Any) -> bytes:
        self.size = max(self.size, len(value) if isinstance(value, str | bytes | memoryview) else 0)
        return encoder.encode(value)


@pytest.mark.parametrize("size", SIZES)
def test_base64_in_slices_is_that_of_msgspec(size: int) -> None:
    data = DATA[:size]
    text = msgspec.json.encode(data)[1:-1].decode()
    assert to_base64(data).decode() == text
    assert from_base64(text) == data


@pytest.mark.parametrize("place", [0, SLICE_CHARACTERS - 1, SLICE_CHARACTERS, 2 * SLICE_CHARACTERS, -1])
@pytest.mark.parametrize("wrong", ["=", "!", "\n", " ", "é"])
def test_what_is_no_base64_is_refused_wherever_it_stands(place: int, wrong: str) -> None:
    text = to_base64(DATA[: 3 * SLICE_BYTES]).decode()
    damaged = text[:place] + wrong + (text[place + 1 :] if place != -1 else "")
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(damaged if wrong != "=" or place != -1 else "=" + damaged, bytes)
    with pytest.raises(ValueError, match="base64"):
        from_base64(damaged if wrong != "=" or place != -1 else "=" + damaged)


VALUE = {
    "files": [InBase64(DATA, "data:image/png;base64,"), InBase64(b""), DATA[:5], b""],
    "text": 'ein "Wort" \\ Größe \n' * 60_000,
    "empty": [{}, [], "", None, True, 1.5, ()],
    'a "name"': {"ü": [InBase64(b"a")]},
}


def test_json_in_slices_is_that_of_msgspec() -> None:
    assert encoded(VALUE) == encoder.encode(VALUE)
    assert encoder.encode(settled(VALUE)) == encoder.encode(VALUE)


def test_no_call_handles_more_than_a_slice(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = Largest()
    monkeypatch.setattr(large, "encoder", largest)
    encoded(VALUE)
    to_base64(DATA)
    assert 0 < largest.size <= max(SLICE_BYTES, SLICE_CHARACTERS)


def test_a_file_is_equal_to_its_text() -> None:
    assert InBase64(b"abc", "data:,") == "data:,YWJj"
    assert InBase64(b"abc") == InBase64(b"abc") != InBase64(b"abd")
    assert len({InBase64(b"abc"), "YWJj"}) == 1


# --- in the log ------------------------------------------------------------------------------------------------------------


def message(*files: bytes, text: str = "") -> MessageAccepted:
    parts = [
        FilePart(media_type="image/png", data=data, name=f'"data":"{number}"') for number, data in enumerate(files)
    ]
    said = (TextPart(text=text),) if text else ()
    return MessageAccepted(message_id="m", turn_id="t", parts=(*parts, *said))


MESSAGES = (
    message(DATA),
    message(DATA, DATA[:7], b"", DATA[: SLICE_BYTES + 2], text='"data":"" and \\"data\\":\\"'),
    message(DATA[:9], text='"data":"YWJj"' * 40_000),
    message(text='"data":""' * 60_000),
)


@pytest.mark.parametrize("event", MESSAGES)
def test_a_message_with_large_files_is_stored_as_ever(event: MessageAccepted) -> None:
    body, record = msgspec.json.encode(event), Record(seq=1, epoch=2, at_ms=3, event=event)
    assert len(body) > LARGE_BYTES
    assert codec.encode_event(event) == body
    assert codec.encode_record(record) == msgspec.json.encode(record)
    assert codec.decode_event(body) == event
    assert codec.decode_record(msgspec.json.encode(record)) == record


def test_a_stored_message_is_read_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    body = codec.encode_event(MESSAGES[1])
    longest = 0

    def noted(text: str) -> bytes:
        nonlocal longest
        longest += len(text)
        return from_base64(text)

    monkeypatch.setattr(codec, "from_base64", noted)
    assert codec.decode_event(body) == MESSAGES[1]
    assert longest >= len(to_base64(DATA)), "the files did not go through the decoder of the event"


@pytest.mark.parametrize("escaped", ["\\/", "\\u002b", "\\u0041"])
def test_a_message_that_others_have_written_is_read_all_the_same(escaped: str) -> None:
    text = to_base64(DATA).decode()
    body = codec.encode_event(message(DATA)).decode()
    foreign = body.replace(text, escaped + text[1:])
    assert codec.decode_event(foreign.encode()) == msgspec.json.decode(foreign, type=MessageAccepted)


@pytest.mark.parametrize("damage", ["!", "=", '"', "\n"])
def test_a_damaged_message_is_refused_as_ever(damage: str) -> None:
    body = codec.encode_event(message(DATA)).decode()
    place = body.index('"data":"iV') + 20 if '"data":"iV' in body else body.index(to_base64(DATA[:30]).decode()) + 12
    with pytest.raises(Corrupted):
        codec.decode_event((body[:place] + damage + body[place + 1 :]).encode())


def test_other_large_events_are_read_as_ever() -> None:
    event = TurnStarted(turn_id="t", context='"data":"YWJj"' * 40_000)
    assert codec.decode_event(codec.encode_event(event)) == event


# --- from a request --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", range(4))
def test_a_quoted_data_url_is_read_in_slices(shift: int) -> None:
    content = b"a" * shift + bytes(range(256)) * 2_000
    quoted = "".join(f"%{byte:02X}" for byte in content[shift:])
    assert attachment("data:text/plain," + "a" * shift + quoted, "", "")["data"] == content
    for wrong in ("%", "%2", "%zz"):
        with pytest.raises(InvalidArgument, match="hexadecimal"):
            attachment("data:text/plain," + quoted + wrong, "", "")


async def test_what_is_large_is_done_in_one_thread_and_the_rest_at_once() -> None:
    own = threading.get_ident()
    assert await in_thread(LARGE_BYTES, threading.get_ident) == own
    others = await asyncio.gather(*(in_thread(LARGE_BYTES + 1, threading.get_ident) for _ in range(5)))
    assert len(set(others)) == 1
    assert others[0] != own
