"""What is large is written and read in slices, and is what msgspec would have made of it.

Issue 11, "Speed": one user's largest allowed request delays another user's by at most 100 ms. How long that takes is measured by
`benchmarks/large_requests.py`; here it is counted how much one call handles.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
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
    Unwritten,
    encoded,
    encoder,
    from_base64,
    hollowed,
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
    assert str(Unwritten(VALUE, 1)) == encoder.encode(VALUE).decode()


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


# --- from a request: without its files --------------------------------------------------------------------------------------

BASE64 = to_base64(DATA).decode()
URL = f"data:application/pdf;base64,{BASE64}"


class File(msgspec.Struct, frozen=True):
    data: str
    name: str = ""


class Files(msgspec.Struct, frozen=True):
    message: str
    files: tuple[File, ...]
    more: Any = None


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (f'{{"message":"m","files":[{{"data":"{BASE64}"}}]}}', 1),
        (f'{{"message":"m","files":[{{"data":"{BASE64}"}},{{"name":"b","data" : \n"{URL}"}},{{"data":"YWJj"}}]}}', 2),
        (f'{{"more":[{{"parts":[{{"url":"{URL}"}},{{"value":"{BASE64}"}}]}}],"message":"m","files":[]}}', 2),
        (f'{{"message":"m","files":[{{"data":"{BASE64}","data":"YWJj"}},{{"data":"YWJj","data":"{BASE64}"}}]}}', 2),
        (f'{{"message":"\\"data\\":","files":[],"more":{{"text":"{BASE64}"}}}}', 0),
        (f'{{"message":"\\"data\\": {BASE64}","files":[{{"data":"{BASE64}"}}]}}', 1),
        (f'{{"message":"m","files":[{{"data":"{BASE64}\\n"}}]}}', 0),
        (f'{{"message":"m","files":[{{"data":"{BASE64}é"}}]}}', 0),
        (f'{{"message":"m","files":[{{"data":"{BASE64}\\\\"}}]}}', 0),
        (f'{{"message":"m","files":[{{"data":{" " * 2 * LARGE_BYTES}"{BASE64}"}}]}}', 0),
        (f'{{"message":"m","files":[],"more":{{"data":["{BASE64}"]}}}}', 0),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", [bytes, bytearray])
def test_a_body_is_the_same_with_its_files_taken_out_and_put_in(
    body: str, taken: int, kind: type[bytes | bytearray]
) -> None:
    decoder, raw = msgspec.json.Decoder(Files), kind(body.encode())
    hollow = hollowed(raw, token="x7")
    assert (hollow is not None) == bool(taken)
    if hollow is not None:
        assert len(hollow.body) < len(raw) - taken * len(BASE64) + 32 * taken
        assert hollow.filled(decoder.decode(hollow.body)) == decoder.decode(raw)
        assert hollow.filled(msgspec.json.decode(hollow.body)) == msgspec.json.decode(raw)


@pytest.mark.parametrize("shift", [*range(-3, 4), LARGE_BYTES // 4, LARGE_BYTES // 2 - 1])
def test_a_large_file_is_found_wherever_it_begins_and_ends(shift: int) -> None:
    before, size = "a" * (LARGE_BYTES + shift), LARGE_BYTES + 4
    body = f'{{"message":"{before}","files":[{{"data":"{"b" * size}"}},{{"data":"{"c" * size}"}}]}}'.encode()
    hollow = hollowed(body, token="x7")
    assert hollow is not None
    assert len(hollow.body) < len(before) + 200
    decoder = msgspec.json.Decoder(Files)
    assert hollow.filled(decoder.decode(hollow.body)) == decoder.decode(body)


@pytest.mark.parametrize("damage", ['"', "}", "", "\x00", "\n"])
def test_what_is_no_json_is_none_without_its_files_either(damage: str) -> None:
    body = f'{{"message":"m","files":[{{"data":"{BASE64}{damage}"{damage}}}]'.encode()
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body)
    if (hollow := hollowed(body, token="x7")) is not None:
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(hollow.body)


# --- from a request ---------------------------------------------------------------------------------------------------------


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


FORKING = """
import asyncio, os, threading
from greenroom.large import LARGE_BYTES
from greenroom.large_thread import in_thread

def other(): return threading.get_ident() != threading.main_thread().ident

def asked(): return asyncio.run(asyncio.wait_for(in_thread(LARGE_BYTES + 1, other), 10))

assert asked() and asked()
child = os.fork()
if not child:
    os._exit(0 if asked() else 1)
assert os.waitpid(child, 0)[1] == 0
assert asked()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_each_loop_and_each_child_process_has_the_thread() -> None:
    """A child of a fork has no thread of its parent: what it gives to one would wait for ever."""
    subprocess.run([sys.executable, "-c", FORKING], check=True, timeout=30)


async def test_work_that_nobody_waits_for_any_more_leaves_the_thread_to_others() -> None:
    has_begun, is_free = threading.Event(), threading.Event()

    def work() -> None:
        has_begun.set()
        is_free.wait(30)

    left = asyncio.ensure_future(in_thread(LARGE_BYTES + 1, work))
    assert await asyncio.to_thread(has_begun.wait, 30)
    done: list[int] = []
    queued = asyncio.ensure_future(in_thread(LARGE_BYTES + 1, done.append, 1))
    await asyncio.sleep(0)
    for task in (left, queued):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    is_free.set()
    assert await in_thread(LARGE_BYTES + 1, len, "abc") == 3
    assert not done, "work that had not begun is not done"


async def test_what_the_work_raises_is_raised_to_its_caller_alone() -> None:
    with pytest.raises(ZeroDivisionError):
        await in_thread(LARGE_BYTES + 1, lambda: 1 // 0)
    assert await in_thread(LARGE_BYTES + 1, len, "abc") == 3
