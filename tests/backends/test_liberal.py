"""What the three decoders make of what providers send: liberal in what comes.

Each case names its line in the collection of real trouble (P..) and where it was seen. Every stream is decoded in one piece and in
single bytes, with the same items.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest

from backends.test_damage import CHAT, DIALECTS, ENDPOINT, MESSAGES, RESPONSES, Decoder, Dialect, heard, said
from greenroom.backends import streamed_answer
from greenroom.backends.claude_messages import MessagesDecoder
from greenroom.backends.openai_chat import encode as encode_chat
from greenroom.backends.openai_chat_decoder import ChatDecoder
from greenroom.backends.openai_responses_decoder import ResponsesDecoder
from greenroom.backends.sse import as_event
from greenroom.backends.streamed_answer import TAIL_S, StreamedAnswer
from greenroom.backends.transport import ByteStream
from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnavailable, GreenroomError
from greenroom.finish_reasons import ending_of, is_given, is_normal
from greenroom.interfaces import BackendRequest
from greenroom.limits import Limits
from greenroom.messages import (
    AssistantMessage,
    OpaquePart,
    PartDelta,
    PartEnded,
    PartStarted,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    Usage,
    UsageCounted,
    UserMessage,
)

Json = dict[str, Any]
RECORDINGS: Final = Path(__file__).parent / "recordings" / "liberal"


def chunk(delta: Json | None = None, finish: Any = None, **fields: Any) -> Json:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c", "model": "m", "choices": [choice], **fields}


def of_choice(finish: Any = None, **fields: Any) -> Json:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "finish_reason": finish, **fields}]}


def read(dialect: Dialect, stream: bytes) -> tuple[list[StreamItem], GreenroomError | None]:
    """Returns the items, without how they were batched, and the error; the same in one piece and in single bytes."""
    items, error = heard(dialect.decoder(), stream)
    by_byte, other = heard(dialect.decoder(), stream, size=1)
    assert said(by_byte) == said(items)
    assert ends(by_byte) == ends(items)
    assert str(other) == str(error)
    assert type(other) is type(error)
    return items, error


def ends(items: Sequence[StreamItem]) -> list[StreamItem]:
    return [item for item in items if isinstance(item, StreamEnded | PartStarted | PartEnded)]


def chat(*chunks: Json, done: bool = True) -> list[StreamItem]:
    stream = "".join(f"data: {json.dumps(one)}\n\n" for one in chunks) + ("data: [DONE]\n\n" if done else "")
    items, error = read(CHAT, stream.encode())
    assert error is None, error
    return items


def claude(*events: Json) -> list[StreamItem]:
    items, error = read(MESSAGES, MESSAGES.written(events))
    assert error is None, error
    return items


def end_of(items: Sequence[StreamItem]) -> StreamEnded:
    end = items[-1]
    assert isinstance(end, StreamEnded)
    return end


def kinds(items: Sequence[StreamItem]) -> list[str]:
    return [item.kind for item in items if isinstance(item, PartStarted)]


def texts(items: Sequence[StreamItem], kind: str) -> str:
    numbers = {item.part for item in items if isinstance(item, PartStarted) and item.kind == kind}
    return "".join(item.delta for item in items if isinstance(item, PartDelta) and item.part in numbers)


def usage_of(items: Sequence[StreamItem]) -> Usage:
    usage = end_of(items).usage
    assert usage is not None
    return usage


STOP: Final = chunk(finish="stop")
HELLO: Final = chunk({"content": "Hello"})
START: Final = MESSAGES.events[0]


def block(text: str, index: int = 0) -> list[Json]:
    return [
        {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": index},
    ]


def stop(reason: str | None = "end_turn", **usage: Any) -> Json:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}


MESSAGE_STOP: Final = {"type": "message_stop"}


# --- why an answer ended (P2: vllm-project/vllm#57082, NousResearch/hermes-agent#83882) -----------------------------------


@pytest.mark.parametrize(
    ("word", "ending"),
    [
        ("stop", "whole"), ("eos_token", "whole"), ("COMPLETE", "whole"), ("tool_calls", "whole"), ("eosFound", "whole"),
        ("MAX_TOKENS", "length"), ("max-tokens", "length"), ("MaxTokens", "length"), ("model_length", "context"),
        ("model_context_window_exceeded", "context"), ("max-context", "context"), ("ERROR_LIMIT", "context"), ("contextSizeExceeded", "context"), ("context canceled", "broken"), ("context deadline exceeded", "broken"), ("FinishReason.MAX_TOKENS", "length"),
        ("content_filter", "filtered"), ("SAFETY", "filtered"), ("sensitive", "filtered"), ("RECITATION", "filtered"),
        ("content_filter: PROHIBITED_CONTENT", "filtered"), ("guardrail_intervened", "filtered"), ("ERROR_TOXIC", "filtered"),
        ("refusal", "refused"), ("pause_turn", "paused"),
        ("abort", "broken"), ("error", "broken"), ("network_error", "broken"), ("insufficient_system_resource", "broken"),
        ("TIMEOUT", "broken"), ("cancelled", "broken"),
        ("MALFORMED_FUNCTION_CALL", "garbled"), ("function_call_filter: MALFORMED_FUNCTION_CALL", "garbled"),
        ("UNEXPECTED_TOOL_CALL", "garbled"), ("malformed_tool_use", "garbled"),
        ("upstream_error", "broken"), ("providerTimeout", "broken"), ("request-aborted", "broken"), ("rate_limited", "broken"),
        ("engine_overloaded", "broken"), ("malformed_json", "garbled"), ("safety_filter", "filtered"), ("content_blocked", "filtered"),
        ("token_limit_exceeded", "length"), ("truncated", "length"), ("stop_token_id", "unknown"),
        ("OTHER", "unknown"), ("a_word_of_tomorrow", "unknown"), ("", "unknown"), ("x" * 10_000, "unknown"),
    ],
)  # fmt: skip
def test_what_a_word_means(word: str, ending: str) -> None:
    assert ending_of(word) == ending


def test_a_word_that_says_that_there_is_none_yet_is_none() -> None:
    assert not any(map(is_given, ("", "null", "None", "FINISH_REASON_UNSPECIFIED")))
    assert end_of(chat(chunk({"content": "a"}, "null"), chunk({"content": "b"}, "stop"))).raw_reason == "stop"


@pytest.mark.parametrize("word", ["abort", "network_error", "insufficient_system_resource", "error", "ERROR_LIMIT"])
def test_a_provider_that_failed_is_no_success_in_any_dialect(word: str) -> None:
    """Case P2: completed, success, and not asked again."""
    streams: list[tuple[Dialect, list[Json]]] = [
        (CHAT, [HELLO, chunk(finish=word)]),
        (MESSAGES, [START, *block("Hello"), stop(word), MESSAGE_STOP]),
        (
            RESPONSES,
            [
                *RESPONSES.events[:3],
                {
                    "type": "response.incomplete",
                    "response": {"status": "incomplete", "incomplete_details": {"reason": word}},
                },
            ],
        ),
    ]
    for dialect, events in streams:
        items, error = read(dialect, dialect.written(events))
        is_limit = word == "ERROR_LIMIT"
        assert isinstance(error, BackendUnavailable) != is_limit, (dialect.folder, error)
        assert texts(items, "text") == "Hello"
        if is_limit:
            assert end_of(items).reason == "length"
        else:
            assert word in str(error)


def test_what_the_provider_behind_a_gateway_says_counts_where_the_gateway_hides_it() -> None:
    """OpenRouter's `native_finish_reason`."""
    items = chat(HELLO, of_choice("stop", delta={}, native_finish_reason="MAX_TOKENS"))
    assert (end_of(items).reason, end_of(items).raw_reason) == ("length", "MAX_TOKENS")
    _, error = read(
        CHAT, CHAT.written([HELLO, of_choice("stop", delta={}, native_finish_reason="MALFORMED_FUNCTION_CALL")])
    )
    assert isinstance(error, BackendGarbled)
    assert end_of(chat(HELLO, of_choice("stop", delta={}, native_finish_reason="completed"))).raw_reason == "stop"


def test_a_word_that_it_was_cut_off_is_not_taken_back() -> None:
    """Sibling of P3 and T1: a gateway that ends every answer with its own `stop`."""
    for word in ("length", "content_filter"):
        assert end_of(chat(HELLO, chunk(finish=word), STOP)).raw_reason == word
    assert end_of(claude(START, *block("a"), stop("max_tokens"), stop("end_turn"), MESSAGE_STOP)).reason == "length"
    assert end_of(chat(HELLO, STOP, chunk(finish="length"))).reason == "length"


def test_half_a_word_is_kept_of_a_long_one() -> None:
    assert len(end_of(chat(HELLO, chunk(finish="y" * 5_000))).raw_reason) == 100


@pytest.mark.parametrize(
    ("reason", "raw", "normal"),
    [("stop", "", True), ("tool_calls", "own", True), ("pause", "pause_turn", True), ("tool_calls", "abort", False),
     ("other", "own", False), ("length", "length", False), ("refusal", "refusal", False)],
)  # fmt: skip
def test_which_ends_are_normal(reason: Any, raw: str, *, normal: bool) -> None:
    assert is_normal(reason, raw) == normal


# --- when an answer is whole ---------------------------------------------------------------------------------------------


def test_claude_without_message_stop_is_whole() -> None:
    """Case P8 (esengine/DeepSeek-Reasonix#8756): thrown away, asked and paid three times, failed."""
    items = claude(START, *block("Hello"), stop(output_tokens=7))
    assert (texts(items, "text"), end_of(items).reason, usage_of(items).output_tokens) == ("Hello", "stop", 7)
    # Siblings: a block that is left open, the end of another dialect, and no word why.
    items = claude(START, *block("Hello")[:2], stop())
    assert texts(items, "text") == "Hello"
    items, error = read(MESSAGES, MESSAGES.written([START, *block("Hello"), stop()]) + b"data: [DONE]\n\n")
    assert error is None
    assert end_of(items).raw_reason == "end_turn"
    _, error = read(MESSAGES, MESSAGES.written([START, *block("Hello"), stop(None)]))
    assert isinstance(error, BackendGarbled)


def test_claude_that_says_at_the_beginning_why_it_stops_is_still_read_to_its_end() -> None:
    message = {**START["message"], "stop_reason": "end_turn"}
    decoder = MessagesDecoder(ENDPOINT, model="m")
    decoder.feed(MESSAGES.written([{"type": "message_start", "message": message}, *block("Hello")[:2]]))
    assert not decoder.is_answered
    decoder.feed(MESSAGES.written([block("")[-1], MESSAGE_STOP]))
    assert decoder.is_ended


def done(item: Json, index: int = 0) -> Json:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


CREATED: Final = RESPONSES.events[0]
MESSAGE: Final = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "Hello you"}]}  # fmt: skip
FUNCTION: Final = {
    "type": "function_call",
    "id": "fc",
    "call_id": "t",
    "name": "f",
    "arguments": '{"a":1}',
    "status": "completed",
}
REASONING: Final = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"}
SEARCH: Final = {"type": "web_search_call", "id": "ws", "status": "completed"}
ADDED: Final = {"type": "response.output_item.added", "output_index": 1, "item": {**FUNCTION, "arguments": "", "status": "in_progress"}}  # fmt: skip

WHOLE_WITHOUT_AN_END: Final[dict[str, list[Json]]] = {
    "a message": [*RESPONSES.events[:4], done(MESSAGE)],
    "a message without deltas": [CREATED, done(MESSAGE)],
    "a call": [CREATED, done(FUNCTION)],
    "a message and a call": [*RESPONSES.events[:4], done(MESSAGE), ADDED, done(FUNCTION, 1)],
    "a reasoning and a message": [CREATED, done(REASONING), done(MESSAGE, 1)],
    "a search and a message": [CREATED, done(SEARCH), done(MESSAGE, 1)],
    "a final message": [CREATED, done({**MESSAGE, "phase": "final_answer"})],
}
NOT_WHOLE: Final[dict[str, list[Json]]] = {
    "half a message": list(RESPONSES.events[:4]),
    "a call that was only announced": [CREATED, done(MESSAGE), ADDED],
    "half a call": [CREATED, done(MESSAGE), *RESPONSES.events[4:6]],
    "an incomplete message": [CREATED, done({**MESSAGE, "status": "incomplete"})],
    "a call that is cut off": [CREATED, done({**FUNCTION, "arguments": '{"a"', "status": "incomplete"})],
    "a message before another that is open": [*RESPONSES.events[:4], done({**MESSAGE, "id": "n"}, 1)],
    "a reasoning": [CREATED, done(REASONING)],
    "a search": [CREATED, done(SEARCH)],
    "a remark on what comes next": [CREATED, done({**MESSAGE, "phase": "commentary"})],
    "nothing": [CREATED],
}


@pytest.mark.parametrize("name", WHOLE_WITHOUT_AN_END)
def test_responses_of_which_all_items_are_whole_are_whole_without_their_end(name: str) -> None:
    """A sibling of P8 (esengine/DeepSeek-Reasonix#8756): asked and paid for three times, then failed."""
    body = RESPONSES.written(WHOLE_WITHOUT_AN_END[name])
    half_an_end = b'data: {"type":"response.completed","response":{"id":"r","outp'
    for stream in (body, body + b"data: [DONE]\n\n", body + half_an_end):
        items, error = read(RESPONSES, stream)
        assert error is None
        has_call, has_message = "call" in name, "message" in name
        assert (end_of(items).reason, end_of(items).raw_reason) == ("tool_calls" if has_call else "stop", "completed")
        assert end_of(items).usage is None, "what it has used is estimated by the runtime"
        assert texts(items, "text") == ("Hello you" if has_message else "")
        assert texts(items, "tool_call") == ('{"a":1}' if has_call else "")


@pytest.mark.parametrize("name", NOT_WHOLE)
def test_responses_of_which_something_is_open_are_not_whole(name: str) -> None:
    body = RESPONSES.written(NOT_WHOLE[name])
    for stream in (body, body + b"data: [DONE]\n\n"):
        _, error = read(RESPONSES, stream)
        assert isinstance(error, BackendGarbled)


def test_responses_that_break_off_at_the_beginning_of_another_item_are_not_whole() -> None:
    body = RESPONSES.written(WHOLE_WITHOUT_AN_END["a message"]) + b'data: {"type":"response.output_item.added","outp'
    _, error = read(RESPONSES, body)
    assert isinstance(error, BackendGarbled)


@pytest.mark.parametrize(
    ("dialect", "events"),
    [
        (MESSAGES, [START, *block("Hello")]),
        (CHAT, [HELLO]),
        (CHAT, [chunk({"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]})]),
    ],
)
def test_where_only_the_end_tells_an_answer_is_not_whole_without_it(dialect: Dialect, events: list[Json]) -> None:
    """Claude's blocks end one by one, but not even the last text says that it is the last; chunks say nothing at all."""
    _, error = read(dialect, dialect.written(events).removesuffix(b"data: [DONE]\n\n"))
    assert isinstance(error, BackendGarbled)


# --- an answer that is not streamed ----------------------------------------------------------------------------------------

NOT_STREAMED: Final[dict[str, tuple[Dialect, Json]]] = {
    "chat": (
        CHAT,
        {
            "id": "r", "object": "chat.completion", "model": "m",
            "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "Hello you", "reasoning_content": "Hm.", "refusal": None, "tool_calls": [{"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]}}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
        },
    ),
    "messages": (
        MESSAGES,
        {
            "id": "r", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use", "stop_sequence": None,
            "content": [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Hello you"}, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}],
            "usage": {"input_tokens": 5, "output_tokens": 2},
        },
    ),
    "responses": (
        RESPONSES,
        {
            "id": "r", "object": "response", "model": "m", "status": "completed", "error": None, "incomplete_details": None, "text": {"format": {"type": "text"}},
            "output": [{**REASONING, "summary": [{"type": "summary_text", "text": "Hm."}]}, MESSAGE, FUNCTION],
            "usage": {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
        },
    ),
}  # fmt: skip


def as_streamed(answer: Json, **json_options: Any) -> bytes:
    return as_event(json.dumps(answer, **json_options).encode())


@pytest.mark.parametrize("name", NOT_STREAMED)
def test_an_answer_that_is_not_streamed_is_read(name: str) -> None:
    """A sibling of P19: gateways that ignore `stream`, and answer with the whole of it. How it arrives: `test_transport`."""
    dialect, answer = NOT_STREAMED[name]
    for stream in (
        as_streamed(answer),
        as_streamed(answer, indent=2),
        as_event(b"\xef\xbb\xbf" + json.dumps(answer).encode()),
    ):
        items, error = read(dialect, stream)
        assert error is None
        assert sorted(kinds(items)) == ["reasoning", "text", "tool_call"]
        assert (texts(items, "text"), texts(items, "reasoning"), json.loads(texts(items, "tool_call"))) == ("Hello you", "Hm.", {"a": 1})  # fmt: skip
        end = end_of(items)
        assert (end.reason, end.model, end.response_id) == ("tool_calls", "m", "r")
        assert usage_of(items) == Usage(input_tokens=5, output_tokens=2)


def changed(name: str, **fields: Any) -> tuple[Dialect, bytes]:
    dialect, answer = NOT_STREAMED[name]
    return dialect, as_streamed({**answer, **fields})


def test_an_answer_that_is_not_streamed_says_how_it_ended() -> None:
    cut = [
        changed("messages", stop_reason="max_tokens", content=[{"type": "text", "text": "Hel"}]),
        changed("responses", status="incomplete", incomplete_details={"reason": "max_output_tokens"}, output=[MESSAGE]),
        changed("chat", choices=[{"message": {"content": "Hel"}, "finish_reason": "length"}]),
    ]
    for dialect, stream in cut:
        items, error = read(dialect, stream)
        assert error is None
        assert end_of(items).reason == "length"
    failed = [
        changed("responses", status="failed", error={"code": "server_error", "message": "no"}, output=[]),
        changed("responses", status="in_progress", output=[]),
        changed("chat", choices=[]),
        changed("messages", type="error", error={"type": "overloaded_error", "message": "no"}),
    ]
    for dialect, stream in failed:
        _, error = read(dialect, stream)
        assert isinstance(error, BackendError)
    # One that does not say why it ended is read, and its end is unknown.
    items, error = read(*changed("messages", stop_reason=None, content=[{"type": "text", "text": "Hello"}]))
    assert error is None
    assert (end_of(items).reason, texts(items, "text")) == ("other", "Hello")
    items, error = read(
        *changed("responses", output=[{**MESSAGE, "content": [{"type": "output_text", "text": "a\ud800b"}]}])
    )
    assert error is None
    assert texts(items, "text") == "a\ufffdb"


# --- beginnings that are left out (P9) -------------------------------------------------------------------------------------


def test_a_delta_of_claude_without_the_beginning_of_its_block() -> None:
    """Case P9: garbled after three paid tries, though a text delta says that it is text."""
    hello, thinking = block("Hello")[1], {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}}  # fmt: skip
    signature = {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "s"}}
    after = block("Hello", 1)[1]
    stopped = block("", 0)[-1]
    for events in (
        [thinking, signature, stopped, after, block("", 1)[-1]],
        [thinking, signature, after],
        [thinking, signature, hello],
        [*block("", 0)[:1], thinking, signature, hello],
    ):
        items = claude(START, *events, stop(), MESSAGE_STOP)
        assert [kind for kind in kinds(items) if kind != "text"] == ["reasoning"]
        assert (texts(items, "reasoning"), texts(items, "text")) == ("Hm.", "Hello")
        [sidecar] = [item.sidecar for item in items if isinstance(item, PartEnded) and item.sidecar]
        assert json.loads(bytes(sidecar.data)) == {"type": "thinking", "thinking": "Hm.", "signature": "s"}
    # More of a text that has ended is text, too.
    assert texts(claude(START, *block("Hel"), block("lo")[1], stop(), MESSAGE_STOP), "text") == "Hello"


@pytest.mark.parametrize(
    "kind", ["input_json_delta", "citations_delta", "signature_delta", "new_delta", "", None, 7, []]
)
def test_a_delta_that_may_be_of_anything_begins_nothing(kind: Any) -> None:
    """Arguments without the name of their tool are no call."""
    lone = {"type": "content_block_delta", "index": 0, "delta": {"type": kind, "partial_json": "{}", "text": "x"}}
    _, error = read(MESSAGES, MESSAGES.written([START, lone, stop("tool_use"), MESSAGE_STOP]))
    assert isinstance(error, BackendGarbled)
    assert "not open" in str(error)


def test_deltas_of_responses_without_the_beginning_of_their_item() -> None:
    """Siblings of P9 in the other dialects, which had been read before."""
    text = {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "delta": "Hello"}
    thinking = {"type": "response.reasoning_summary_text.delta", "output_index": 1, "item_id": "rs", "delta": "Hm."}
    items, error = read(RESPONSES, RESPONSES.written([CREATED, text, thinking, RESPONSES.events[-1]]))
    assert error is None
    assert (texts(items, "text"), texts(items, "reasoning")) == ("Hello", "Hm.")
    # Arguments without a name: a call that names no tool, which the model is told.
    arguments = {"type": "response.function_call_arguments.delta", "output_index": 0, "item_id": "fc", "delta": "{}"}
    items, error = read(RESPONSES, RESPONSES.written([CREATED, arguments, RESPONSES.events[-1]]))
    assert error is None
    assert [item.name for item in items if isinstance(item, PartStarted)] == [""]
    # If the item is said at last, that has the name.
    items, error = read(RESPONSES, RESPONSES.written([CREATED, RESPONSES.events[5], done(FUNCTION, 1)]))
    assert error is None
    assert [(item.name, item.call_id) for item in items if isinstance(item, PartStarted)] == [("f", "t")]
    items = chat(chunk({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}), chunk(finish="tool_calls"))
    assert [(item.kind, item.name) for item in items if isinstance(item, PartStarted)] == [("tool_call", "")]


@pytest.mark.parametrize("last", [0, 3])
def test_a_new_block_under_an_index_that_an_ended_one_had(last: int) -> None:
    """Case P9 (anthropics/anthropic-sdk-typescript#879): the index only tells open blocks apart."""
    call = {"type": "content_block_start", "index": last, "content_block": {"type": "tool_use", "id": "t", "name": "f"}}
    items = claude(START, *block("a", last), *block("b", last), call, {"type": "content_block_stop", "index": last}, stop("tool_use"), MESSAGE_STOP)  # fmt: skip
    assert kinds(items) == ["text", "text", "tool_call"]
    assert (texts(items, "text"), texts(items, "tool_call")) == ("ab", "{}")


def test_the_end_of_a_block_is_said_twice() -> None:
    """Sibling of P9."""
    assert texts(claude(START, *block("a"), *block("")[-1:], *block("b", 1), stop(), MESSAGE_STOP), "text") == "ab"


def test_blocks_without_an_index() -> None:
    """Sibling of P9: gateways leave out zeros."""
    events = [{name: value for name, value in event.items() if name != "index"} for event in block("a") + block("b")]
    assert texts(claude(START, *events, stop(), MESSAGE_STOP), "text") == "ab"


def test_a_block_whose_end_was_left_out() -> None:
    items = claude(START, *block("a")[:2], *block("b"), stop(), MESSAGE_STOP)
    assert [item.delta for item in items if isinstance(item, PartDelta)] == ["a", "b"]


# --- what is said elsewhere (P19: NVIDIA/NeMo-Agent-Toolkit#889) -----------------------------------------------------------


def test_a_message_in_place_of_a_delta() -> None:
    assert texts(chat(of_choice("stop", message={"role": "assistant", "content": "Hello"})), "text") == "Hello"
    # Siblings: in pieces, in each chunk all so far, with calls, beside an empty delta, beside the deltas, as plain text.
    assert (
        texts(chat(of_choice(message={"content": "Hel"}), of_choice(message={"content": "lo"}), STOP), "text")
        == "Hello"
    )
    so_far = [of_choice(message={"content": text}) for text in ("Hel", "Hello", "Hello")]
    assert texts(chat(*so_far, STOP), "text") == "Hello"
    call = {"id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    items = chat(of_choice("tool_calls", message={"content": None, "tool_calls": [call]}))
    assert (kinds(items), texts(items, "tool_call")) == (["tool_call"], '{"a":1}')
    # A call that is said in each message, or again at the end, is one call.
    whole = of_choice("tool_calls", message={"tool_calls": [call]})
    half = of_choice(message={"tool_calls": [{**call, "function": {"name": "f", "arguments": '{"a"'}}]})
    for first in (of_choice(message={"tool_calls": [call]}), half):
        items = chat(first, whole)
        assert (kinds(items), texts(items, "tool_call")) == (["tool_call"], '{"a":1}')
    others = [{**call, "id": other} for other in ("u", "v")]
    assert kinds(chat(*[of_choice(message={"tool_calls": [one]}) for one in others], STOP)) == ["tool_call"] * 2
    # A message at the end says what no delta said.
    at_end = of_choice("stop", delta={}, message={"content": "Hello", "reasoning": "hm", "tool_calls": [call]})
    assert kinds(chat(chunk({"reasoning": "hm"}), at_end)) == ["reasoning", "text", "tool_call"]
    assert kinds(chat(HELLO, at_end)) == ["text", "reasoning", "tool_call"]
    assert kinds(chat(chunk({"tool_calls": [{"index": 0, **call}]}), at_end)) == ["tool_call", "reasoning", "text"]
    beside_nothing = of_choice("stop", delta={}, message={"content": "Hello"})
    assert texts(chat(beside_nothing), "text") == "Hello"
    beside = [of_choice(delta={"content": "Hel"}, message={"content": "Hel"}), of_choice("stop", delta={"content": "lo"}, message={"content": "Hello"})]  # fmt: skip
    assert texts(chat(*beside), "text") == "Hello"
    assert texts(chat(of_choice(text="Hel"), of_choice("stop", text="lo")), "text") == "Hello"
    # Not the API that completes texts: the official SDK reads nothing of it as a chat, and neither do we.
    completed = [
        answer | {"object": "text_completion"} for answer in (of_choice(text="Hel"), of_choice("stop", text="lo"))
    ]
    assert kinds(chat(*completed)) == []
    request = BackendRequest(model="m", system="", messages=(UserMessage(parts=(TextPart(text="Hello"),)),))
    _, error = heard(ChatDecoder(ENDPOINT, model="m", request=request), CHAT.written(completed))
    assert error is not None, "an answer to a person that says nothing is not whole"


def test_a_call_that_is_said_again_runs_once() -> None:
    """Sibling of P19: the last chunk has the whole call, with its id."""
    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    begun = {**call, "function": {"name": "f", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ":1}"}}
    for chunks in ([call, call], [begun, rest, call]):
        items = chat(*[chunk({"tool_calls": [one]}) for one in chunks], chunk(finish="tool_calls"))
        assert (kinds(items), texts(items, "tool_call")) == (["tool_call"], '{"a":1}')
    # Without an id, or with another one, it is another call.
    for other in ({**call, "id": None}, {**call, "id": "u", "index": 1}):
        items = chat(*[chunk({"tool_calls": [one]}) for one in (call, other)], chunk(finish="tool_calls"))
        assert kinds(items) == ["tool_call"] * 2


def test_a_choice_that_counts_in_text() -> None:
    assert texts(chat({"choices": [{"index": "0", "delta": {"content": "a"}, "finish_reason": "stop"}]}), "text") == "a"


# --- usage -----------------------------------------------------------------------------------------------------------------


def test_zero_takes_nothing_back_in_any_field_and_dialect() -> None:
    """Case P10 (envoyproxy/ai-gateway#1631): `input_tokens: 0` after 1500."""
    begun = {"input_tokens": 1500, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 5, "output_tokens": 1}
    start = {"type": "message_start", "message": {"id": "m", "model": "m", "content": [], "usage": begun}}
    nothing = dict.fromkeys(begun, 0)
    expected = Usage(input_tokens=1525, output_tokens=7, cached_input_tokens=20, cache_write_input_tokens=5)
    assert usage_of(claude(start, *block("a"), stop(**{**nothing, "output_tokens": 7}), MESSAGE_STOP)) == expected
    later = {"type": "message_delta", "delta": {}, "usage": nothing}
    assert usage_of(claude(start, *block("a"), stop(output_tokens=7), later, MESSAGE_STOP)) == expected
    details = {"cached_tokens": 4}, {"reasoning_tokens": 3}
    told = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": details[0], "completion_tokens_details": details[1], "cost": 0.25}  # fmt: skip
    zeros = {"prompt_tokens": 0, "completion_tokens": 6, "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": 0}, "cost": 0}  # fmt: skip
    items = chat({**HELLO, "usage": told}, {**STOP, "usage": zeros})
    assert usage_of(items) == Usage(input_tokens=9, output_tokens=6, cached_input_tokens=4, reasoning_tokens=3, cost_usd=0.25)  # fmt: skip
    counted = [item.usage for item in items if isinstance(item, UsageCounted)]
    assert all(usage.input_tokens == 9 for usage in counted)
    responses = [
        {"type": "response.created", "response": {"id": "r", "usage": {"input_tokens": 8, "output_tokens": 0}}},
        *RESPONSES.events[1:-1],
        {
            "type": "response.completed",
            "response": {"status": "completed", "usage": {"input_tokens": 0, "output_tokens": 3}},
        },
    ]
    items, error = read(RESPONSES, RESPONSES.written(responses))
    assert error is None
    assert usage_of(items) == Usage(input_tokens=8, output_tokens=3)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        # P11 (Clarifai/clarifai-python#978): what stands only in the total was billed.
        ({"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}, Usage(input_tokens=20, output_tokens=603)),
        ({"prompt_tokens": 20, "total_tokens": 50}, Usage(input_tokens=20, output_tokens=30)),
        ({"completion_tokens": 30, "total_tokens": 50}, Usage(input_tokens=20, output_tokens=30)),
        # Only the total: mostly what was sent. What the answer said is estimated later, as a part of it.
        ({"total_tokens": 50}, Usage(input_tokens=50, estimated=True)),
        ({"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 50}, Usage(input_tokens=50, estimated=True)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 7}, Usage(input_tokens=20, output_tokens=30)),
        # Counted beside the input, as Anthropic does: not output.
        ({"prompt_tokens": 20, "completion_tokens": 30, "total_tokens": 950, "cache_read_input_tokens": 900},
         Usage(input_tokens=920, output_tokens=30, cached_input_tokens=900)),
        ({"prompt_tokens": 20, "completion_tokens": 30, "cache_read_input_tokens": 900},
         Usage(input_tokens=920, output_tokens=30, cached_input_tokens=900)),
        # P18 (BerriAI/litellm#11789, Mistral, OpenRouter, Vercel).
        ({"prompt_tokens": 20, "completion_tokens": 3, "num_cached_tokens": 16},
         Usage(input_tokens=20, output_tokens=3, cached_input_tokens=16)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 0}, "cache_read_input_tokens": 16, "cache_creation_input_tokens": 2},
         Usage(input_tokens=20, output_tokens=3, cached_input_tokens=16, cache_write_input_tokens=2)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "cost": 0.0042}, Usage(input_tokens=20, output_tokens=3, cost_usd=0.0042)),
        # As deepinfra.com/openchat/openchat-3.6-8b/api shows it.
        ({"prompt_tokens": 15, "completion_tokens": 16, "total_tokens": 31, "estimated_cost": 0.0000268}, Usage(input_tokens=15, output_tokens=16, cost_usd=0.0000268)),
        ({"prompt_tokens": 15, "completion_tokens": 16, "estimated_cost": 0.5, "cost": 0.25}, Usage(input_tokens=15, output_tokens=16, cost_usd=0.25)),
        ({"prompt_tokens": 15, "completion_tokens": 16, "estimated_cost": None}, Usage(input_tokens=15, output_tokens=16)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "cost": "0.5"}, Usage(input_tokens=20, output_tokens=3, cost_usd=0.5)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "cost": {"total_cost": 0.5}}, Usage(input_tokens=20, output_tokens=3, cost_usd=0.5)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "cost": 0.01, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.2}},
         Usage(input_tokens=20, output_tokens=3, cost_usd=0.21)),
        ({"prompt_tokens": 20, "completion_tokens": 3, "cost": -1}, Usage(input_tokens=20, output_tokens=3)),
        ({"input_tokens": 20, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 2}},
         Usage(input_tokens=20, output_tokens=3, reasoning_tokens=2)),
    ],
)  # fmt: skip
def test_usage_is_read_under_all_names(told: Json, expected: Usage) -> None:
    usage = usage_of(chat(HELLO, {**STOP, "usage": told}))
    assert msgspec.structs.replace(usage, cost_usd=None) == msgspec.structs.replace(expected, cost_usd=None)
    assert usage.cost_usd == (None if expected.cost_usd is None else pytest.approx(expected.cost_usd))


# --- recordings ------------------------------------------------------------------------------------------------------------


def recording(name: str) -> tuple[list[StreamItem], GreenroomError | None]:
    return read(CHAT, (RECORDINGS / f"{name}.sse").read_bytes())


def test_the_words_of_an_error_field() -> None:
    """Case P22 (llama.cpp, GPUStack)."""
    items, error = recording("error-field-gpustack")
    assert isinstance(error, BackendUnavailable)
    assert "failed to decode, try again" in str(error)
    assert "Okay" in texts(items, "reasoning")


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.folder for dialect in DIALECTS])
@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (b'event: error\ndata: {"message":"overloaded","code":503}\n\n', BackendUnavailable),
        (b'event: error\ndata: {"detail":"overloaded"}\n\n', BackendUnavailable),
        (b"event: error\ndata: overloaded\n\n", BackendUnavailable),
        (b"error: overloaded\n\n", BackendUnavailable),
        (b'error: {"error":{"message":"overloaded"}}\n\n', BackendUnavailable),
        (b'event: error\ndata: {"message":"overloaded","code":400}\n\n', BackendRejected),
    ],
)
def test_an_error_by_its_name_alone(dialect: Dialect, event: bytes, expected: type[GreenroomError]) -> None:
    """Case P22: "ended in the middle", and the provider's words are lost."""
    begun = dialect.written(dialect.events[: dialect.first_text + 1]).removesuffix(b"data: [DONE]\n\n")
    items, error = read(dialect, begun + event)
    assert type(error) is expected
    assert "overloaded" in str(error)
    assert texts(items, "text") == "Hello"


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.folder for dialect in DIALECTS])
@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"type": "error", "message": "overloaded"}, BackendUnavailable),
        ({"code": 503, "message": "overloaded"}, BackendUnavailable),
        ({"code": "Throttling", "message": "overloaded"}, BackendUnavailable),
        ({"code": 400, "message": "overloaded"}, BackendRejected),
        ({"detail": "overloaded"}, BackendUnavailable),
        ({"success": False, "errors": [{"message": "overloaded"}]}, BackendUnavailable),
        ({"errors": [{"message": "overloaded"}]}, BackendUnavailable),
        ({"error": True, "message": "overloaded"}, BackendUnavailable),
        ({"error": True, "message": "overloaded", "code": 400}, BackendRejected),
        ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "overloaded"}}, BackendUnavailable),
        ({"choices": [], "base_resp": {"status_code": 1008, "status_msg": "overloaded"}}, BackendRejected),
    ],
)
def test_an_error_by_its_form_alone(dialect: Dialect, event: Json, expected: type[GreenroomError]) -> None:
    """Sibling of P22: what is said before `[DONE]` was a whole answer."""
    begun = dialect.written(dialect.events[: dialect.first_text + 1]).removesuffix(b"data: [DONE]\n\n")
    items, error = read(dialect, begun + f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n".encode())
    assert type(error) is expected
    assert "overloaded" in str(error)
    assert texts(items, "text") == "Hello"


def test_what_is_no_error_by_its_form() -> None:
    for event in (
        {"type": "status", "message": "searching"},
        {"choices": [], "base_resp": {"status_code": 0, "status_msg": ""}},
        {"choices": [], "code": 200, "message": "ok"},
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"id": "c", "choices": [], "usage": {"prompt_tokens": 1}, "code": 500, "message": "x"},
    ):
        assert texts(chat(HELLO, event, STOP), "text") == "Hello"


def test_the_words_of_a_bare_event() -> None:
    items, error = recording("event-error-chat")
    assert isinstance(error, BackendUnavailable)
    assert "overloaded" in str(error)
    assert texts(items, "text") == "a"


def test_cached_tokens_of_mistral() -> None:
    items, error = recording("num-cached-tokens-mistral")
    assert error is None
    assert usage_of(items) == Usage(input_tokens=10, output_tokens=142, cached_input_tokens=64)


# --- reasoning in all its shapes (P20: anomalyco/opencode#3077) ------------------------------------------------------------


def sent_back(items: Sequence[StreamItem], model: str = "m") -> Json:
    """Returns the assistant message that goes back to the model."""
    parts: list[Any] = []
    for item in items:
        if isinstance(item, PartStarted) and item.kind == "tool_call":
            parts.append(ToolCallPart(call_id=item.call_id, name=item.name, arguments="{}"))
        elif isinstance(item, PartStarted) and item.kind == "text":
            parts.append(TextPart(text=texts(items, "text")))
        elif isinstance(item, PartEnded) and item.sidecar is not None and b'"field"' not in bytes(item.sidecar.data):
            parts.append(OpaquePart(sidecar=item.sidecar))
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    results = [ToolResult(call_id=call.call_id, name=call.name, content="x") for call in calls]
    request = BackendRequest(
        model=model,
        system="s",
        messages=(
            UserMessage(parts=(TextPart(text="hi"),)),
            AssistantMessage(parts=tuple(parts)),
            *([ToolMessage(results=tuple(results))] if results else [UserMessage(parts=(TextPart(text="on"),))]),
        ),
    )
    body = encode_chat(request)
    return cast("Json", next(message for message in body["messages"] if message["role"] == "assistant"))


def test_thinking_blocks_of_litellm_are_shown_and_go_back() -> None:
    items, error = recording("litellm-thinking_blocks")
    assert error is None
    assert texts(items, "reasoning") == "hm"
    assert sent_back(items)["thinking_blocks"] == [{"type": "thinking", "thinking": "hm", "signature": "SIG"}]
    assert "thinking_blocks" not in sent_back(items, model="another")
    # Siblings: without a text of its own, two blocks, one that is redacted, one without a signature.
    blocks = [{"type": "thinking", "thinking": "a", "signature": "S1"}, {"type": "thinking", "thinking": "b"}]
    grown = chat(
        chunk({"thinking_blocks": [blocks[0]]}),
        chunk({"thinking_blocks": [blocks[1]]}),
        chunk({"thinking_blocks": [{"type": "thinking", "thinking": "c", "signature": "S2"}]}),
        chunk({"thinking_blocks": [{"type": "redacted_thinking", "data": "R"}]}),
        HELLO,
        STOP,
    )
    assert texts(grown, "reasoning") == "abc"
    assert sent_back(grown)["thinking_blocks"] == [
        blocks[0], {"type": "thinking", "thinking": "bc", "signature": "S2"}, {"type": "redacted_thinking", "data": "R"}
    ]  # fmt: skip
    unsigned = chat(chunk({"thinking_blocks": [{"type": "thinking", "thinking": "a"}]}), HELLO, STOP)
    assert kinds(unsigned) == ["reasoning", "text"]


def test_reasoning_of_copilot_is_shown_and_goes_back() -> None:
    items, error = recording("copilot-reasoning_text")
    assert error is None
    assert texts(items, "reasoning") == "Let me think"
    back = sent_back(items)
    assert (back["reasoning_text"], back["reasoning_opaque"]) == ("Let me think", "SIG")


def test_reasoning_among_the_content_is_shown_and_goes_back() -> None:
    """Databricks."""

    def part(text: str, **fields: Any) -> Json:
        return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text, **fields}]}

    items = chat(
        chunk({"content": [part("h")]}), chunk({"content": [part("m", signature="SIG")]}),
        chunk({"content": [{"type": "text", "text": "Hello"}]}), STOP,
    )  # fmt: skip
    assert (texts(items, "reasoning"), texts(items, "text")) == ("hm", "Hello")
    assert sent_back(items)["content"] == [part("hm", signature="SIG"), {"type": "text", "text": "Hello"}]


def test_thinking_of_mistral_is_shown_and_goes_back_where_it_wants_it() -> None:
    """Case P20, Mistral (vercel/ai#17930): `thinking` parts in the content; any field beside it is refused (OpenMinis/OpenMinis#87).

    The form is that of Mistral's client, `examples/mistral/chat/reasoning_with_streaming.py` (mistralai/client-python, Apache-2.0).
    """

    def part(*texts: str, **fields: Any) -> Json:
        return {"type": "thinking", "thinking": [{"type": "text", "text": text} for text in texts], **fields}

    reference = {"type": "reference", "reference_ids": [1]}
    text = {"type": "text", "text": "Hello"}
    streamed = [chunk({"content": [part("h")]}), chunk({"content": [part("m", closed=True), text]}), STOP]
    for answer in (
        streamed,
        [chunk({"content": [part("h", closed=True)]}), *streamed[1:]],  # its clients take it for closed all the time
        [of_choice("stop", message={"role": "assistant", "content": [part("hm", closed=True), text]})],
    ):
        items = chat(*answer)
        assert kinds(items) == ["reasoning", "text", "opaque"]
        assert (texts(items, "reasoning"), texts(items, "text")) == ("hm", "Hello")
        back = sent_back(items)
        assert back == {"role": "assistant", "content": [part("hm", closed=True), text]}
    # With calls, with references, signed twice, and without any text.
    call = {"tool_calls": [{"index": 0, "id": "t", "function": {"name": "f", "arguments": "{}"}}]}
    items = chat(chunk({"content": [part("hm")]}), chunk(call), chunk(finish="tool_calls"))
    back = sent_back(items)
    assert (back["content"], [called["function"]["name"] for called in back["tool_calls"]]) == ([part("hm")], ["f"])
    cited = {"type": "thinking", "thinking": [{"type": "text", "text": "a"}, reference, {"type": "text", "text": "b"}]}
    items = chat(chunk({"content": [cited]}), chunk({"content": [part("c")]}), HELLO, STOP)
    assert sent_back(items)["content"][0]["thinking"] == [
        {"type": "text", "text": "a"},
        reference,
        {"type": "text", "text": "bc"},
    ]
    items = chat(*[chunk({"content": [part(name, signature=name)]}) for name in "ab"], HELLO, STOP)
    assert sent_back(items)["content"][:2] == [part("a", signature="a"), part("b", signature="b")]
    # Another model's thinking is none of ours.
    assert sent_back(items, model="n")["content"] == "Hello"


@pytest.mark.parametrize(
    "reasoning", [{"text": "hm"}, [{"text": "h"}, {"text": "m"}], ["h", "m"], {"content": "hm"}, [{"type": "x", "summary": [{"text": "hm"}]}]]
)  # fmt: skip
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_in_any_shape_is_shown(reasoning: Any, field: str) -> None:
    assert texts(chat(chunk({field: reasoning}), HELLO, STOP), "reasoning") == "hm"


def test_the_explanation_of_a_refusal_is_the_providers() -> None:
    """Case P24: it went back as the assistant's own words."""
    events = [START, *block("I"), {"type": "message_delta", "delta": {"stop_reason": "refusal", "stop_details": {"explanation": "No."}}}, MESSAGE_STOP]  # fmt: skip
    items = claude(*events)
    [refusal] = [item for item in items if isinstance(item, PartStarted) and item.kind == "refusal"]
    assert refusal.by_provider
    own = chat(chunk({"refusal": "I will not."}), STOP)
    assert not any(item.by_provider for item in own if isinstance(item, PartStarted))


AFTERWARDS: Final[dict[str, tuple[Dialect, list[Json], bytes]]] = {
    "chat": (CHAT, [HELLO, STOP], b'data: {"error": {"code": 503, "message": "overloaded"}}\n\n'),
    "messages": (MESSAGES, [START, *block("Hello"), stop()], b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}\n\n'),
    "what cannot be read": (MESSAGES, [START, *block("Hello"), stop()], b"data: <html>\n\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", AFTERWARDS)
def test_an_error_after_the_reason_for_the_end_takes_nothing_away(name: str) -> None:
    """A sibling of P6 and P8: the answer is whole, and was paid for."""
    dialect, events, error = AFTERWARDS[name]
    body = dialect.written(events).removesuffix(b"data: [DONE]\n\n")
    for after in (error, error + error, error.removesuffix(b"\n\n")):
        items, failure = read(dialect, body + after)
        assert failure is None
        assert (texts(items, "text"), end_of(items).reason) == ("Hello", "stop")
    before, _, _ = body.rpartition(b"data: ")
    _, failure = read(dialect, before.removesuffix(b"event: message_delta\n") + error)
    assert isinstance(failure, BackendError), "before it, it ends the answer"


# --- stalls and tails: what counts is the answer ---------------------------------------------------------------------------


class Pipe:
    """A connection in virtual time: each piece comes after its pause, and then the connection stays open."""

    def __init__(self, *pieces: tuple[float, bytes], comments_s: float = 1.0, pulse: bytes = b": ping\n\n") -> None:
        self._pieces = list(pieces)
        self._comments_s = comments_s
        self._pulse = pulse

    async def read(self) -> bytes:
        pause_s, piece = self._pieces.pop(0) if self._pieces else (self._comments_s, self._pulse)
        await asyncio.sleep(pause_s)  # real time: none, its tests are marked virtual_time
        return piece


async def all_of(pipe: Pipe, decoder: Decoder) -> tuple[list[StreamItem], float]:
    """Returns the items, and how long they took."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    items = [item async for batch in StreamedAnswer(cast("ByteStream", pipe), decoder) for item in batch]
    return items, loop.time() - began_s


ANSWERED: Final[dict[str, tuple[Dialect, list[Json]]]] = {
    "chat": (CHAT, [HELLO, STOP]),
    "messages": (MESSAGES, [START, *block("Hello"), stop()]),
}


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", ANSWERED)
@pytest.mark.parametrize("pulse", [b": ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n', b"\n\n"])
async def test_an_answer_is_whole_though_comments_never_end(name: str, pulse: bytes) -> None:
    """Case P6 (maximhq/bifrost#6784): waited until `turn_timeout`, then failed a whole answer."""
    dialect, events = ANSWERED[name]
    body = dialect.written(events).removesuffix(b"data: [DONE]\n\n")
    for comments_s in (0.5, 1000.0):
        items, took_s = await all_of(Pipe((0, body), comments_s=comments_s, pulse=pulse), dialect.decoder())
        assert texts(items, "text") == "Hello"
        assert end_of(items).reason == "stop"
        assert took_s <= TAIL_S + 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", [*WHOLE_WITHOUT_AN_END, *NOT_WHOLE])
@pytest.mark.parametrize("way", ["stalls", "breaks"])
async def test_responses_that_lose_their_end(name: str, way: str) -> None:
    """A sibling of P8: a stall is a stall only where something is missing, and so is a connection that breaks."""

    class Broken(Pipe):
        async def read(self) -> bytes:
            if not self._pieces:
                raise BackendGarbled("the connection broke in the middle of the answer")
            return await super().read()

    is_whole = name in WHOLE_WITHOUT_AN_END
    body = RESPONSES.written(WHOLE_WITHOUT_AN_END[name] if is_whole else NOT_WHOLE[name])
    decoder = ResponsesDecoder(ENDPOINT, model="m", limits=Limits(stream_idle_s_max=30))
    pipe = Pipe((0, body)) if way == "stalls" else Broken((0, body))
    if not is_whole:
        with pytest.raises(BackendUnavailable if way == "stalls" else BackendGarbled):
            await all_of(pipe, decoder)
        return
    items, took_s = await all_of(pipe, decoder)
    assert end_of(items).raw_reason == "completed"
    # Until then something may follow a message: nobody has said that it is the last one.
    assert took_s == pytest.approx(31, abs=2) if way == "stalls" else took_s == 0


@pytest.mark.virtual_time
async def test_usage_may_come_after_the_finish_reason() -> None:
    body = CHAT.written([HELLO, STOP]).removesuffix(b"data: [DONE]\n\n")
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}\n\n'
    items, _ = await all_of(Pipe((0, body), (1, b": ping\n\n"), (1, usage)), CHAT.decoder())
    assert usage_of(items) == Usage(input_tokens=5, output_tokens=2)


async def test_comments_that_come_at_once_do_not_hold_an_answer_either(monkeypatch: pytest.MonkeyPatch) -> None:
    class Flood(Pipe):
        async def read(self) -> bytes:
            return self._pieces.pop(0)[1] if self._pieces else b": ping\n\n"  # never lets anything else run

    monkeypatch.setattr(streamed_answer, "TAIL_S", 0.01)
    body = CHAT.written([HELLO, STOP]).removesuffix(b"data: [DONE]\n\n")
    items, _ = await all_of(Flood((0, body)), CHAT.decoder())
    assert end_of(items).reason == "stop"


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "decoder",
    [
        lambda limits: ChatDecoder(ENDPOINT, model="m", limits=limits),
        lambda limits: MessagesDecoder(ENDPOINT, model="m", limits=limits),
        lambda limits: ResponsesDecoder(ENDPOINT, model="m", limits=limits),
    ],
)
@pytest.mark.parametrize("begins", [0, 3])
async def test_a_stream_that_stalls_is_given_up_whatever_comments_say(decoder: Any, begins: int) -> None:
    """Case P7 (anomalyco/opencode#43519): bytes counted, not data."""
    made = decoder(Limits(stream_idle_s_max=30))
    dialect = next(dialect for dialect in DIALECTS if isinstance(made, type(dialect.decoder())))
    body = dialect.written(dialect.events[:begins]).removesuffix(b"data: [DONE]\n\n") or b": hello\n\n"
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(BackendUnavailable, match="keep-alives"):
        await all_of(Pipe((0, body)), made)
    assert 29 <= asyncio.get_running_loop().time() - began_s <= 33


SAYS_NOTHING: Final[dict[str, tuple[Dialect, int, bytes]]] = {
    "chat, empty texts": (CHAT, 1, b'data: {"choices": [{"index": 0, "delta": {"content": ""}}]}\n\n'),
    "chat, no choices": (CHAT, 1, b'data: {"choices": []}\n\n'),
    "messages, pings": (MESSAGES, 3, b'event: ping\ndata: {"type": "ping"}\n\n'),
    "responses, its state": (
        RESPONSES,
        3,
        b'data: {"type": "response.in_progress", "response": {"status": "in_progress"}}\n\n',
    ),
    "responses, keep-alives": (
        RESPONSES,
        3,
        b'event: keepalive\ndata: {"type": "keepalive", "sequence_number": 4}\n\n',
    ),
}


@pytest.mark.virtual_time
@pytest.mark.parametrize("name", SAYS_NOTHING)
@pytest.mark.parametrize("is_cut", [False, True])
async def test_events_that_say_nothing_are_no_data(name: str, *, is_cut: bool) -> None:
    """Siblings of P7: a gateway that keeps the connection alive with events, while its provider has stalled."""
    dialect, begins, pulse = SAYS_NOTHING[name]
    made = type(dialect.decoder())(ENDPOINT, model="m", limits=Limits(stream_idle_s_max=30))
    body = dialect.written(dialect.events[:begins]).removesuffix(b"data: [DONE]\n\n")
    pulses = [(1.0, piece) for _ in range(100) for piece in ([pulse[:9], pulse[9:]] if is_cut else [pulse])]
    began_s = asyncio.get_running_loop().time()
    with pytest.raises(BackendUnavailable, match="keep-alives"):
        await all_of(Pipe((0, body), *pulses), made)
    assert 29 <= asyncio.get_running_loop().time() - began_s <= 34


@pytest.mark.virtual_time
async def test_a_slow_stream_is_no_stall() -> None:
    pieces = [(20.0, CHAT.written([chunk({"content": str(n)})]).removesuffix(b"data: [DONE]\n\n")) for n in range(9)]
    comments = [(9.0, b": ping\n\n")] * 9
    mixed = [piece for pair in zip(pieces, comments, strict=True) for piece in pair]
    # And an event that comes in many small pieces is data all the time.
    large = CHAT.written([chunk({"content": "x" * 50}), STOP])
    slow = [(20.0, large[n : n + 10]) for n in range(0, len(large), 10)]
    items, took_s = await all_of(Pipe(*mixed, *slow), ChatDecoder(ENDPOINT, model="m", limits=Limits(stream_idle_s_max=30)))  # fmt: skip
    assert texts(items, "text") == "012345678" + "x" * 50
    assert took_s > 300


# --- nothing at all --------------------------------------------------------------------------------------------------------

NOTHING: Final[dict[str, tuple[Any, Dialect, list[Json]]]] = {
    "chat": (ChatDecoder, CHAT, [STOP]),
    "chat, an empty text": (ChatDecoder, CHAT, [chunk({"content": ""}), STOP]),
    "messages": (MessagesDecoder, MESSAGES, [START, stop(), MESSAGE_STOP]),
    "messages, an empty block": (MessagesDecoder, MESSAGES, [START, *block(""), stop(), MESSAGE_STOP]),
    "responses": (ResponsesDecoder, RESPONSES, [RESPONSES.events[0], RESPONSES.events[-1]]),
}


@pytest.mark.parametrize("name", NOTHING)
def test_an_answer_that_says_nothing_to_a_person_is_asked_again(name: str) -> None:
    """Case P19: an answer with a finish reason and no part is suspicious. After results of tools it is Claude's way to be done."""
    made, dialect, events = NOTHING[name]
    person = UserMessage(parts=(TextPart(text="hi"),))
    call = AssistantMessage(parts=(ToolCallPart(call_id="t", name="f", arguments="{}"),))
    result = ToolMessage(results=(ToolResult(call_id="t", name="f", content="x"),))

    def heard_after(*messages: Any) -> GreenroomError | None:
        request = BackendRequest(model="m", system="s", messages=messages)
        return heard(made(ENDPOINT, model="m", request=request), dialect.written(events))[1]

    assert isinstance(heard_after(person), BackendGarbled)
    assert heard_after(person, call, result) is None


def test_an_answer_that_a_limit_or_filter_leaves_empty_is_whole() -> None:
    request = BackendRequest(model="m", system="s", messages=(UserMessage(parts=(TextPart(text="hi"),)),))
    for word in ("length", "content_filter"):
        items, error = heard(ChatDecoder(ENDPOINT, model="m", request=request), CHAT.written([chunk(finish=word)]))
        assert error is None
        assert end_of(items).raw_reason == word
