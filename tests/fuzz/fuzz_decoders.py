"""Coverage-guided fuzzing of what reads providers' bytes: `python fuzz_decoders.py TARGET CORPUS [libFuzzer options]`.

The first byte of an input says how the rest is cut. A decoder may refuse what it is fed with one of our errors, and with nothing
else; what it gives before must be well formed, encodable and within its limits, and must not depend on where the bytes were cut.

Rule: the promises stand in `check`, once for all targets; a target only says how its decoder is made.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

import atheris

with atheris.instrument_imports(include=["greenroom.backends"]):
    from greenroom.backends import claude_messages, openai_chat, openai_responses_decoder, sse
    from greenroom.backends.faults import Endpoint, classified, fault_of_body, not_an_event_stream

import msgspec

from greenroom.errors import BackendGarbled, GreenroomError
from greenroom.limits import Limits
from greenroom.messages import StreamEnded, StreamItem
from greenroom.testing.backend_conformance import put_together

ENDPOINT = Endpoint(
    provider="P", base_url="http://p.test", key_variable="K", base_url_variable="U", key="sk-secret-1234"
)
LIMITS = Limits(step_bytes_max=20_000, tool_arguments_bytes_max=10_000, step_parts_max=50)

Heard = tuple[list[tuple[str, str, str, str]], StreamEnded | None, str]


def cuts(data: bytes) -> Iterator[bytes]:
    """Returns the rest of the input in pieces whose length the first byte says."""
    size, body = (data[0] % 64) + 1 if data else 1, data[1:]
    for start in range(0, len(body), size):
        yield body[start : start + size]


def heard(decoder: Any, pieces: Iterator[bytes] | list[bytes]) -> Heard:
    """Returns what a decoder makes of the pieces: parts, the end, and the kind of error."""
    items: list[StreamItem] = []
    error = ""
    try:
        for piece in pieces:
            items += decoder.feed(piece)
        while not decoder.is_ended:
            items += decoder.close()
    except GreenroomError as failure:
        error = type(failure).__name__
        failure.message.encode()
    parts, end = put_together(items)
    msgspec.json.decode(msgspec.json.encode(items))
    assert sum(len(part.text) for part in parts) <= LIMITS.step_bytes_max + len(b"".join(items_bytes(items)))
    assert end is None or not error
    return [(p.started.kind, p.started.call_id, p.started.name, p.text) for p in parts], end, error


def items_bytes(items: list[StreamItem]) -> Iterator[bytes]:
    """Returns the last delta: what came in the same read as the end of the bounds is still shown."""
    for item in items[-3:]:
        yield msgspec.json.encode(item)


def check(make: Callable[[], Any], data: bytes) -> None:
    """Holds one decoder to its promises."""
    whole = heard(make(), [data[1:]])
    pieces = heard(make(), cuts(data))
    if whole[2] == pieces[2] == "":
        assert whole == pieces, "the result depends on where the bytes are cut"


def chat(data: bytes) -> None:
    """Chat Completions."""
    check(lambda: openai_chat.ChatDecoder(ENDPOINT, model="m", limits=LIMITS), data)


def messages(data: bytes) -> None:
    """Messages."""
    check(lambda: claude_messages.MessagesDecoder(ENDPOINT, model="m", limits=LIMITS), data)


def responses(data: bytes) -> None:
    """Responses."""
    check(lambda: openai_responses_decoder.ResponsesDecoder(ENDPOINT, model="m", limits=LIMITS), data)


def events(data: bytes) -> None:
    """Server-sent events."""
    splitter, pieces = sse.SseSplitter(), sse.SseSplitter()
    try:
        whole = [*splitter.feed(data[1:]), *splitter.close()]
        cut = [payload for piece in cuts(data) for payload in pieces.feed(piece)] + list(pieces.close())
    except BackendGarbled:
        return
    assert whole == cut
    assert not any(b"\r" in payload for payload in whole)


def errors(data: bytes) -> None:
    """Bodies of refusals."""
    error = classified(fault_of_body(data[1:], status=(data[0] if data else 0) + 400), ENDPOINT)
    assert ENDPOINT.key not in error.message
    error.message.encode()
    if (found := not_an_event_stream(data[1:], "application/json", ENDPOINT)) is not None:
        found.message.encode()


TARGETS: dict[str, Callable[[bytes], None]] = {
    "sse": events,
    "chat": chat,
    "messages": messages,
    "responses": responses,
    "errors": errors,
}

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
