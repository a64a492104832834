"""Streams that are damaged, whatever the dialect: the right answer, or one of our errors behind what was said before it.

Rule: nothing here knows how a decoder works. What one of them must survive, all of them must.
"""

from __future__ import annotations

import copy
import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from greenroom.backends.claude_messages import MessagesDecoder
from greenroom.backends.faults import Endpoint
from greenroom.backends.openai_chat_decoder import ChatDecoder
from greenroom.backends.openai_responses_decoder import ResponsesDecoder
from greenroom.errors import BackendError, BackendGarbled, GreenroomError, LimitExceeded
from greenroom.limits import SSE_LINE_BYTES_MAX
from greenroom.messages import PartDelta, PartEnded, PartStarted, StreamEnded, StreamItem
from source_tree import ROOT

Json = dict[str, Any]
Decoder = ChatDecoder | MessagesDecoder | ResponsesDecoder

ENDPOINT: Final = Endpoint(
    provider="Somebody", base_url="https://example.test", key_variable="KEY", base_url_variable="URL"
)


class Dialect(msgspec.Struct, frozen=True):
    """A dialect: its decoder, and a short answer that says `Hello you` and calls `f`."""

    folder: str
    decoder: Callable[[], Decoder]
    events: tuple[Json, ...]
    first_text: int
    """Which event brings `Hello`."""
    is_named: bool = True

    def written(self, events: Sequence[Json] | None = None, *, line_end: str = "\n") -> bytes:
        text = ""
        for event in self.events if events is None else events:
            name = f"event: {event['type']}{line_end}" if self.is_named and "type" in event else ""
            text += f"{name}data: {json.dumps(event)}{line_end}{line_end}"
        return (text if self.is_named else f"{text}data: [DONE]{line_end}{line_end}").encode()


def _chunk(delta: Json, finish: str | None = None) -> Json:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _call(**function: str) -> Json:
    return {"tool_calls": [{"index": 0, "id": "t", "type": "function", "function": function}]}


CHAT: Final = Dialect(
    folder="openai-chat",
    decoder=lambda: ChatDecoder(ENDPOINT, model="m"),
    events=(
        _chunk({"role": "assistant", "content": ""}),
        _chunk({"content": "Hello"}),
        _chunk({"content": " you"}),
        _chunk(_call(name="f", arguments='{"a":')),
        _chunk(_call(arguments="1}")),
        _chunk({}, "tool_calls"),
    ),
    first_text=1,
    is_named=False,
)
MESSAGES: Final = Dialect(
    folder="anthropic-messages",
    decoder=lambda: MessagesDecoder(ENDPOINT, model="m"),
    events=(
        {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": {"input_tokens": 3}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " you"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "t", "name": "f"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ),
    first_text=2,
)
_MESSAGE: Final = {"type": "message", "id": "m", "role": "assistant"}
_FUNCTION: Final = {"type": "function_call", "id": "fc", "call_id": "t", "name": "f"}
RESPONSES: Final = Dialect(
    folder="openai-responses",
    decoder=lambda: ResponsesDecoder(ENDPOINT, model="m"),
    events=(
        {"type": "response.created", "response": {"id": "r", "model": "m", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**_MESSAGE, "content": []}},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m", "delta": "Hello"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "m", "delta": " you"},
        {"type": "response.output_item.added", "output_index": 1, "item": {**_FUNCTION, "arguments": ""}},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "item_id": "fc", "delta": '{"a":1}'},
        {"type": "response.output_item.done", "output_index": 1, "item": {**_FUNCTION, "arguments": '{"a":1}'}},
        {"type": "response.completed", "response": {"id": "r", "status": "completed"}},
    ),
    first_text=2,
)
DIALECTS: Final = (CHAT, MESSAGES, RESPONSES)
every_dialect = pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.folder for dialect in DIALECTS])


def heard(decoder: Decoder, stream: bytes, *, size: int = 1 << 16) -> tuple[list[StreamItem], GreenroomError | None]:
    """Returns the items of a stream, and the error that broke it off; what was started is ended, or the error says why not."""
    items: list[StreamItem] = []
    error: GreenroomError | None = None
    try:
        for start in range(0, len(stream), size):
            items += decoder.feed(stream[start : start + size])
        while not decoder.is_ended:
            items += decoder.close()
    except GreenroomError as failure:
        error = failure
    started = [item.part for item in items if isinstance(item, PartStarted)]
    ended = [item.part for item in items if isinstance(item, PartEnded)]
    assert started == list(range(len(started)))
    assert len(set(ended)) == len(ended)
    assert (error is None) == isinstance(items[-1] if items else None, StreamEnded)
    if error is None:
        assert sorted(ended) == started
    return items, error


def said(items: Sequence[StreamItem]) -> list[str]:
    texts: dict[int, str] = {}
    for item in items:
        if isinstance(item, PartStarted):
            texts[item.part] = ""
        elif isinstance(item, PartDelta):
            texts[item.part] += item.delta
    return list(texts.values())


WHOLE: Final = ["Hello you", '{"a":1}']


# --- what is no damage --------------------------------------------------------------------------------------------------


HARMLESS: Final[Mapping[str, Callable[[Dialect], bytes]]] = {
    "as it is": lambda d: d.written(),
    "CRLF": lambda d: d.written(line_end="\r\n"),
    "CR": lambda d: d.written(line_end="\r"),
    "a byte order mark": lambda d: b"\xef\xbb\xbf" + d.written(),
    "comments": lambda d: b": hi\n\n:\n\n" + d.written().replace(b"\n\n", b"\n\n: ping\n\n"),
    "unknown fields of the protocol": lambda d: d.written().replace(b"data:", b"retry: 3\nid: 7\nx: y\ndata:"),
    "no space behind the colon": lambda d: d.written().replace(b"data: ", b"data:"),
    "unknown events": lambda d: d.written([*d.events[:1], {"type": "news.from.tomorrow", "x": [1]}, *d.events[1:]]),
    "unknown members": lambda d: d.written([{**event, "future": {"a": [None]}} for event in d.events]),
    "empty lines in between": lambda d: d.written().replace(b"\n\n", b"\n\n\n\n"),
    "no empty line at the end": lambda d: d.written().rstrip(b"\n") + b"\n",
    "more behind the end": lambda d: d.written() + d.written() + b"\xff\x00garbage",
}


@every_dialect
@pytest.mark.parametrize("size", [1, 7, 1 << 16])
@pytest.mark.parametrize("what", sorted(HARMLESS))
def test_what_is_no_damage(dialect: Dialect, what: str, size: int) -> None:
    items, error = heard(dialect.decoder(), HARMLESS[what](dialect), size=size)
    assert error is None
    assert said(items) == WHOLE


# --- what is ------------------------------------------------------------------------------------------------------------


def _broken_at(dialect: Dialect, what: bytes) -> bytes:
    """The stream with something else behind `Hello`."""
    before = dialect.written(dialect.events[: dialect.first_text + 1]).replace(b"data: [DONE]\n\n", b"")
    return before + what


DAMAGE: Final[Mapping[str, Callable[[Dialect], bytes]]] = {
    "invalid JSON": lambda d: _broken_at(d, b'data: {"a": \n\n'),
    "two objects on a line": lambda d: _broken_at(d, b"data: {}{}\n\n"),
    "a list": lambda d: _broken_at(d, b"data: []\n\n"),
    "invalid UTF-8": lambda d: _broken_at(d, b'data: {"type": "\xff\xfe"}\n\n'),
    "a line that never ends": lambda d: _broken_at(d, b"data: " + b"x" * (SSE_LINE_BYTES_MAX + 10)),
    "nested too deeply": lambda d: _broken_at(d, b'data: {"type":' + b"[" * 100_000 + b"\n\n"),
    "too many values": lambda d: _broken_at(
        d, b'data: {"type": "?", "choices": [], "x": [' + b"[]," * 500_001 + b"1]}\n\n"
    ),
    "cut off": lambda d: _broken_at(d, b""),
    "cut off in an event": lambda d: _broken_at(d, d.written()[:20]),
    "HTML in the middle": lambda d: _broken_at(d, b"data: <html><body>502 Bad Gateway</body></html>\n\n"),
}


@every_dialect
@pytest.mark.parametrize("size", [977, 1 << 16])
@pytest.mark.parametrize("what", sorted(DAMAGE))
def test_damage_is_told_and_what_was_said_is_kept(dialect: Dialect, what: str, size: int) -> None:
    tracemalloc.start()
    try:
        items, error = heard(dialect.decoder(), DAMAGE[what](dialect), size=size)
        assert tracemalloc.get_traced_memory()[1] < 8 * SSE_LINE_BYTES_MAX
    finally:
        tracemalloc.stop()
    assert isinstance(error, BackendGarbled | LimitExceeded), error
    assert error.message
    assert said(items) == ["Hello"]


NO_STREAM: Final = {
    "nothing": b"",
    "HTML": b"<!DOCTYPE html><html><head><title>502</title></head><body>Bad Gateway</body></html>",
    "gzip": gzip.compress(b"data: {}\n\n" * 100),
    "NUL": b"\x00" * 4096,
    "plain text": b"upstream connect error or disconnect/reset before headers\n",
    "JSON that is no stream": json.dumps({"object": "chat.completion", "choices": []}).encode(),
    "only comments": b": ping\n\n" * 100,
}


@every_dialect
@pytest.mark.parametrize("what", sorted(NO_STREAM))
def test_what_is_no_stream_at_all(dialect: Dialect, what: str) -> None:
    items, error = heard(dialect.decoder(), NO_STREAM[what])
    assert isinstance(error, BackendError)
    assert said(items) == []


@every_dialect
def test_nul_bytes_in_a_text_are_a_text(dialect: Dialect) -> None:
    events = json.loads(json.dumps(dialect.events).replace("Hello", "He\\u0000llo"))
    items, error = heard(dialect.decoder(), dialect.written(events))
    assert error is None
    assert said(items)[0] == "He\x00llo you"


@every_dialect
@pytest.mark.parametrize("index", [-1, 2**40, 2**70, "0", None, [0], 1.5, True])
def test_indexes_that_are_none(dialect: Dialect, index: Any) -> None:
    """Either they do not matter, or they are told; what was said before stays."""
    names = {"index", "output_index", "content_index"}

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: index if name in names else changed(inner) for name, inner in value.items()}
        return [changed(inner) for inner in value] if isinstance(value, list) else value

    for number in range(len(dialect.events)):
        events = [*dialect.events[:number], changed(dialect.events[number]), *dialect.events[number + 1 :]]
        items, error = heard(dialect.decoder(), dialect.written(events))
        if error is None:
            assert "".join(said(items)).startswith(("Hello", " you", "{"))
        elif number > dialect.first_text:
            assert said(items)[0].startswith("Hello")


@every_dialect
def test_events_out_of_order_or_twice_or_missing(dialect: Dialect) -> None:
    for number in range(len(dialect.events)):
        event, rest = dialect.events[number], [*dialect.events[:number], *dialect.events[number + 1 :]]
        for place in range(len(rest) + 1):
            heard(dialect.decoder(), dialect.written([*rest[:place], event, *rest[place:]]))
        heard(dialect.decoder(), dialect.written(rest))
        heard(dialect.decoder(), dialect.written([*dialect.events[: number + 1], *dialect.events[number:]]))


# --- every field of every event that was recorded -----------------------------------------------------------------------


WRONG: Final[tuple[Any, ...]] = (None, 7, -1, 2**70, 1.5, True, "x", "\ud800", [], [None], {}, {"a": None})


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from _paths(each, (*path, key))


def _wrong(event: Any, path: tuple[Any, ...]) -> Iterator[Any]:
    """The event with each wrong value at a place, and without any."""
    for value in (*WRONG, msgspec.UNSET):
        changed = copy.deepcopy(event)
        place = changed
        for key in path[:-1]:
            place = place[key]
        if value is msgspec.UNSET:
            del place[path[-1]]
        else:
            place[path[-1]] = value
        yield changed


@every_dialect
def test_every_field_may_be_wrong_or_missing(dialect: Dialect) -> None:
    """Each field of each kind of event once, wherever it was recorded first."""
    folders = (
        Path(__file__).parent / "recordings" / dialect.folder,
        ROOT.parent / "shared/recordings" / dialect.folder,
    )
    seen: set[Any] = set()
    for recording in (path for folder in folders for path in sorted(folder.glob("*.sse"))):
        lines = recording.read_bytes().split(b"\n")
        for number, line in enumerate(lines):
            try:
                event = json.loads(line.removeprefix(b"data:"))
            except ValueError:
                continue
            for path in _paths(event):
                shape = event.get("type"), tuple(key if isinstance(key, str) else 0 for key in path)
                if shape in seen:
                    continue
                seen.add(shape)
                for changed in _wrong(event, path):
                    wrong = b"data: " + json.dumps(changed).encode()
                    heard(dialect.decoder(), b"\n".join([*lines[:number], wrong, *lines[number + 1 :]]))
    assert len(seen) > 15
