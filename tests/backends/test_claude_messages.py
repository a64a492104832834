"""The decoder of the Messages dialect: right for recorded answers however they are cut, and never at a loss for an error."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.backends.claude_messages import DIALECT, MessagesDecoder
from greenroom.backends.faults import Endpoint
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
    GreenroomError,
    LimitExceeded,
)
from greenroom.limits import Limits
from greenroom.messages import PartDelta, PartEnded, PartStarted, StreamEnded, StreamItem, Usage
from greenroom.testing.backend_conformance import Heard, put_together

HERE = Path(__file__).parent / "recordings" / "anthropic-messages"
SHARED = Path(__file__).parents[2].parent / "shared" / "recordings" / "anthropic-messages"
"""More of them, where the folder lies beside the repository."""

RECORDINGS = sorted((SHARED if SHARED.is_dir() else HERE).glob("*.sse"), key=lambda path: path.name)
SMALL = [path for path in RECORDINGS if path.stat().st_size < 4_000]

SPLICED = "vercel-ai--anthropic__spliced-message-start"
TWO_ANSWERS = "vercel-ai--anthropic__anthropic-tool-search-bm25.1"

ENDPOINT = Endpoint(
    provider="Anthropic",
    base_url="https://api.anthropic.com",
    key_variable="KEY",
    base_url_variable="URL",
    key="sk-secret-1",
)


def decoder(limits: Limits | None = None) -> MessagesDecoder:
    return MessagesDecoder(ENDPOINT, model="asked", limits=limits or Limits())


def decoded(chunks: Iterable[bytes], limits: Limits | None = None) -> tuple[list[StreamItem], GreenroomError | None]:
    """Returns the items of the stream, and what it failed with."""
    stream = decoder(limits)
    items: list[StreamItem] = []
    try:
        for chunk in chunks:
            items += stream.feed(chunk)
        while not stream.is_ended:
            items += stream.close()
    except GreenroomError as error:
        return items, error
    return items, None


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def started(index: int = 0, **block: Any) -> bytes:
    return event("content_block_start", index=index, content_block=block)


def delta(index: int = 0, **delta: Any) -> bytes:
    return event("content_block_delta", index=index, delta=delta)


def stopped(index: int = 0) -> bytes:
    return event("content_block_stop", index=index)


def said(text: str, index: int = 0) -> bytes:
    return started(index, type="text", text="") + delta(index, type="text_delta", text=text) + stopped(index)


BEGIN = event(
    "message_start", message={"id": "msg_1", "model": "claude-x", "usage": {"input_tokens": 3, "output_tokens": 1}}
)
STOP = event("message_stop")


def ended(reason: str = "end_turn", **fields: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, **fields}, usage={"output_tokens": 9}) + STOP


def whole(*blocks: bytes, end: bytes = ended()) -> bytes:
    return BEGIN + b"".join(blocks) + end


def answer(*blocks: bytes, end: bytes = ended()) -> tuple[list[Heard], StreamEnded]:
    items, error = decoded([whole(*blocks, end=end)])
    assert error is None, error
    parts, stream_end = put_together(items)
    assert stream_end is not None
    return parts, stream_end


def sidecar_of(part: Heard) -> Any:
    assert part.ended is not None
    sidecar = part.ended.sidecar
    if sidecar is None:
        return None
    assert (sidecar.backend, sidecar.model) == (DIALECT, "asked")
    return msgspec.json.decode(sidecar.data)


# --- recordings ---------------------------------------------------------------------------------------------------------


def summary(parts: Sequence[Heard], end: StreamEnded) -> dict[str, Any]:
    """Returns what an answer says, in the shape in which the recordings' expectations are written."""
    usage = end.usage or Usage()
    calls = [part for part in parts if part.started.kind == "tool_call"]
    return {
        "text": "".join(part.text for part in parts if part.started.kind == "text"),
        "reasoning": "".join(part.text for part in parts if part.started.kind == "reasoning"),
        "tool_calls": [
            # The SDK leaves the arguments of a call without any empty; we say that they are an empty object.
            {"id": call.started.call_id, "name": call.started.name, "arguments": call.text if call.text != "{}" else ""}
            for call in calls
        ],
        "finish_reason": end.raw_reason,
        "usage": {
            "input_tokens": usage.input_tokens - usage.cached_input_tokens - usage.cache_write_input_tokens,
            "output_tokens": usage.output_tokens,
        },
        "redacted_thinking": sum(
            (sidecar_of(part) or {}).get("type") == "redacted_thinking"
            for part in parts
            if part.started.kind == "opaque"
        ),
    }


def expected(path: Path) -> dict[str, Any]:
    wanted = json.loads(path.with_suffix(".expected.json").read_bytes())
    if path.stem == TWO_ANSWERS:
        # The SDK's expectation runs both answers into each other; ours is the first one, which has an end of its own.
        first_end = wanted["text"].index("The current weather")
        wanted |= {"text": wanted["text"][:first_end], "finish_reason": "tool_use"}
        wanted["usage"] = {"input_tokens": 1630, "output_tokens": 158}
    return wanted


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("cut", ["whole", "by_byte", "by_event", "anywhere"])
def test_a_recorded_answer_is_decoded_however_it_is_cut(path: Path, cut: str) -> None:
    body = path.read_bytes()
    items, error = decoded(cut_up(body, cut))
    parts, end = put_together(items)
    if path.stem == SPLICED:
        assert isinstance(error, BackendGarbled)
        assert "second message" in str(error)
        assert [part.text for part in parts] == ["I will call the tool.", '{"value":"Spark']
        return
    assert error is None
    assert end is not None
    assert summary(parts, end) == expected(path)


def cut_up(body: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [body]
    if how == "by_byte":
        return [body[place : place + 1] for place in range(len(body))]
    if how == "by_event":
        return re.split(rb"(?<=\n\n)", body)
    chance = random.Random(len(body))
    places = sorted(chance.randrange(len(body)) for _ in range(200))
    return [body[a:b] for a, b in zip([0, *places], [*places, len(body)], strict=True)]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_an_answer_that_is_cut_after_any_event_fails_behind_its_items(path: Path) -> None:
    events = path.read_bytes().split(b"\n\n")
    stop = next((place for place, one in enumerate(events) if b'"message_stop"' in one), len(events))
    if path.stem == SPLICED:
        stop = next(place for place, one in enumerate(events) if place and b'"message_start"' in one)
    full = "".join(part.text for part in put_together(decoded([path.read_bytes()])[0])[0])
    for count in range(0, stop, max(1, stop // 40)):
        items, error = decoded([b"".join(one + b"\n\n" for one in events[:count])])
        parts, end = put_together(items)
        # Once it has said why it stops, it is whole, also without `message_stop` (case P8).
        is_answered = any(b'"stop_reason":' in one and b'"message_delta"' in one for one in events[:count])
        assert (end is not None) == is_answered
        assert is_answered or isinstance(error, BackendGarbled)
        assert is_answered or "broke off" in str(error)
        assert full.startswith("".join(part.text for part in parts))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.stem)
def test_an_answer_that_is_cut_after_any_byte_is_whole_or_garbled(path: Path) -> None:
    body = path.read_bytes()
    for place in range(0, len(body), 7):
        items, error = decoded([body[:place]])
        _, end = put_together(items)
        assert (end is not None) == (error is None)
        assert error is None or isinstance(error, BackendGarbled)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_answers_end_in_one_of_our_errors(data: st.DataObject) -> None:
    body = bytearray(data.draw(st.sampled_from(SMALL)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    items, error = decoded([bytes(body)])
    put_together(items)
    assert error is None or isinstance(error, BackendError | LimitExceeded)


def test_damage_in_fields_that_are_kept_unread_is_noticed() -> None:
    # The frequent fields are decoded without a look at the others, whose names may be no UTF-8 either.
    body = whole(started(0, type="thinking", thinking=""), delta(0, type="signature_delta", signature="s"), stopped(0))
    _, error = decoded([body.replace(b'"signature":', b'"\x80signature":')])
    assert isinstance(error, BackendGarbled)


# --- what a stream is made of -------------------------------------------------------------------------------------------


def test_text_thinking_and_calls_become_parts() -> None:
    parts, end = answer(
        started(0, type="thinking", thinking="", signature=""),
        delta(0, type="thinking_delta", thinking="Hm, "),
        delta(0, type="thinking_delta", thinking="well."),
        delta(0, type="signature_delta", signature="sig=="),
        stopped(0),
        said("Let me look.", index=1),
        started(2, type="tool_use", id="toolu_1", name="look", input={}),
        delta(2, type="input_json_delta", partial_json='{"a":'),
        delta(2, type="input_json_delta", partial_json=" 1}"),
        stopped(2),
        end=ended("tool_use"),
    )
    assert [(part.started, part.text) for part in parts] == [
        (PartStarted(part=0, kind="reasoning"), "Hm, well."),
        (PartStarted(part=1, kind="text"), "Let me look."),
        (PartStarted(part=2, kind="tool_call", call_id="toolu_1", name="look"), '{"a": 1}'),
    ]
    assert end == StreamEnded(
        reason="tool_calls",
        raw_reason="tool_use",
        usage=Usage(input_tokens=3, output_tokens=9),
        model="claude-x",
        response_id="msg_1",
    )


def test_deltas_of_one_read_become_one_item() -> None:
    stream = decoder()
    stream.feed(BEGIN + started(type="text", text=""))
    deltas = [delta(type="text_delta", text=letter) for letter in "abcdef"]
    assert stream.feed(b"".join(deltas[:4])) == [PartDelta(part=0, delta="abcd")]
    assert stream.feed(deltas[4]) == [PartDelta(part=0, delta="e")]
    assert stream.feed(event("ping")) == []
    assert stream.feed(deltas[5] + stopped()) == [PartDelta(part=0, delta="f"), PartEnded(part=0)]


def test_text_that_comes_with_the_beginning_of_a_block_counts() -> None:
    parts, _ = answer(started(type="text", text="Hel"), delta(type="text_delta", text="lo"), stopped())
    assert [part.text for part in parts] == ["Hello"]


@pytest.mark.parametrize(
    ("block", "arguments"),
    [
        ({"input": {}}, {}),
        ({}, {}),
        ({"input": {"city": "Paris"}}, {"city": "Paris"}),
    ],
)
def test_a_call_without_deltas_has_the_arguments_it_began_with(block: dict[str, Any], arguments: Any) -> None:
    parts, _ = answer(started(type="tool_use", id="t", name="f", **block), stopped())
    assert json.loads(parts[0].text) == arguments


def test_what_was_said_before_the_stream_began_counts() -> None:
    """After tools that its servers run, a message may begin with its content, and have nothing else."""
    result = {"type": "code_execution_tool_result", "tool_use_id": "s", "content": {"stdout": "1"}}
    content = [
        result,
        {"type": "text", "text": "Done."},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
    ]
    begun = {"id": "m", "model": "asked", "content": content, "stop_reason": "tool_use", "usage": {"input_tokens": 3}}
    items, error = decoded([event("message_start", message=begun) + STOP])
    assert error is None
    parts, end = put_together(items)
    assert [(part.started.kind, part.text) for part in parts] == [
        ("opaque", ""), ("text", "Done."), ("tool_call", '{"a":1}'),
    ]  # fmt: skip
    assert sidecar_of(parts[0]) == result
    assert end is not None
    assert end.reason == "tool_calls"


def test_a_call_that_was_cut_by_the_limit_keeps_what_it_has() -> None:
    parts, end = answer(
        started(type="tool_use", id="t", name="f", input={}),
        delta(type="input_json_delta", partial_json='{"a'),
        end=ended("max_tokens"),
    )
    assert parts[0].text == '{"a'
    assert end.reason == "length"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("something_new", "other"),
    ],
)
def test_the_reason_is_ours_and_the_providers_own_word_is_kept(raw: str, reason: str) -> None:
    _, end = answer(said("x"), end=ended(raw))
    assert (end.reason, end.raw_reason) == (reason, raw)


def test_a_refusal_says_why() -> None:
    details = {"type": "refusal", "category": "cyber", "explanation": "Against the policy."}
    parts, end = answer(said("I was just"), end=ended("refusal", stop_details=details))
    assert [(part.started.kind, part.text) for part in parts] == [
        ("text", "I was just"),
        ("refusal", "Against the policy."),
    ]
    assert end.reason == "refusal"


def test_usage_counts_the_cache_within_the_input() -> None:
    begin = {"input_tokens": 5, "cache_creation_input_tokens": 100, "cache_read_input_tokens": 0, "output_tokens": 1}
    last = {"cache_read_input_tokens": 70, "output_tokens": 40, "output_tokens_details": {"thinking_tokens": 30}}
    stream = event("message_start", message={"usage": begin}) + said("x")
    stream += event("message_delta", delta={"stop_reason": "end_turn"}, usage=last) + STOP
    _, end = put_together(decoded([stream])[0])
    assert end is not None
    assert end.usage == Usage(
        input_tokens=175,
        output_tokens=40,
        cached_input_tokens=70,
        cache_write_input_tokens=100,
        reasoning_tokens=30,
    )


def test_usage_that_is_left_out_or_odd_costs_nothing() -> None:
    stream = event("message_start", message={"usage": {"input_tokens": None, "output_tokens": "many"}}) + said("x")
    _, end = put_together(decoded([stream + event("message_delta", delta={}, usage=None) + STOP])[0])
    assert end is not None
    assert end.usage is None
    assert end.reason == "other"


# --- what goes back to the provider -------------------------------------------------------------------------------------


def test_thinking_keeps_its_signature() -> None:
    parts, _ = answer(
        started(type="thinking", thinking="", signature=""),
        delta(type="thinking_delta", thinking="Hm."),
        delta(type="signature_delta", signature="EqQB"),
        stopped(),
    )
    assert sidecar_of(parts[0]) == {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}


def test_thinking_that_is_not_shown_keeps_its_signature_too() -> None:
    parts, _ = answer(
        started(type="thinking", thinking="", signature=""), delta(type="signature_delta", signature="EqQB"), stopped()
    )
    assert parts[0].text == ""
    assert sidecar_of(parts[0]) == {"type": "thinking", "thinking": "", "signature": "EqQB"}


def test_thinking_without_a_signature_cannot_go_back() -> None:
    parts, _ = answer(started(type="thinking", thinking=""), delta(type="thinking_delta", thinking="Hm."), stopped())
    assert sidecar_of(parts[0]) is None


def test_redacted_thinking_is_opaque() -> None:
    parts, _ = answer(started(type="redacted_thinking", data="EmwK"), stopped())
    assert parts[0].started.kind == "opaque"
    assert sidecar_of(parts[0]) == {"type": "redacted_thinking", "data": "EmwK"}


def test_cited_text_is_text_with_a_sidecar() -> None:
    citation = {"type": "web_search_result_location", "url": "https://example.org", "encrypted_index": "Eo8B"}
    parts, _ = answer(
        started(type="text", text="", citations=[]),
        delta(type="citations_delta", citation=citation),
        delta(type="text_delta", text="It is so."),
        delta(type="citations_delta", citation=citation | {"cited_text": "so"}),
        stopped(),
    )
    assert parts[0].text == "It is so."
    assert sidecar_of(parts[0]) == {
        "type": "text",
        "text": "It is so.",
        "citations": [citation, citation | {"cited_text": "so"}],
    }


def test_plain_text_and_plain_calls_need_no_sidecar() -> None:
    parts, _ = answer(
        started(0, type="text", text="", citations=None),
        delta(0, type="text_delta", text="x"),
        stopped(0),
        started(1, type="tool_use", id="t", name="f", input={}, caller={"type": "direct"}),
        stopped(1),
    )
    assert [sidecar_of(part) for part in parts] == [None, None]


def test_a_call_from_the_providers_sandbox_remembers_its_caller() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
    parts, _ = answer(started(type="tool_use", id="t", name="f", input={}, caller=caller), stopped())
    assert sidecar_of(parts[0]) == {"type": "tool_use", "caller": caller}


def test_blocks_that_only_the_provider_understands_are_kept_whole() -> None:
    result = {
        "type": "web_search_tool_result",
        "tool_use_id": "srv_1",
        "content": [{"encrypted_content": "Ab", "n": 1.5}],
    }
    parts, _ = answer(
        started(0, type="server_tool_use", id="srv_1", name="web_search", input={}),
        delta(0, type="input_json_delta", partial_json='{"query":'),
        delta(0, type="input_json_delta", partial_json='"x"}'),
        stopped(0),
        started(1, **result),
        stopped(1),
        started(2, type="compaction", content=None),
        delta(2, type="compaction_delta", content="Earlier ...", encrypted_content="Ep"),
        stopped(2),
    )
    assert [part.started.kind for part in parts] == ["opaque"] * 3
    assert [part.text for part in parts] == [""] * 3
    assert [sidecar_of(part) for part in parts] == [
        {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}},
        result,
        {"type": "compaction", "content": "Earlier ...", "encrypted_content": "Ep"},
    ]


def test_another_model_that_takes_over_is_named() -> None:
    block = {"type": "fallback", "from": {"model": "claude-a"}, "to": {"model": "claude-b"}}
    parts, end = answer(started(0, **block), stopped(0), said("x", index=1))
    assert end.model == "claude-b"
    assert sidecar_of(parts[0]) == block


# --- what is new, odd or wrong ------------------------------------------------------------------------------------------


def test_what_is_yet_to_be_invented_harms_nothing() -> None:
    parts, _ = answer(
        event("brand_new_event", surprise={"deep": [1]}),
        b": a comment\n\nretry: 5\n\ndata: [DONE]\n\n",
        started(0, type="text", text="", new_field=1),
        delta(0, type="text_delta", text="a", new_field={}),
        delta(0, type="new_delta", shade="blue"),
        stopped(0),
        started(1, type="new_block", id="x"),
        delta(1, type="text_delta", text="grows"),
        delta(1, type="new_delta", shade="red"),
        stopped(1),
        end=ended("end_turn", new_detail=1) + event("message_start", message={}) + b"data: nonsense\n\n",
    )
    assert [(part.started.kind, part.text) for part in parts] == [("text", "a"), ("opaque", "")]
    assert sidecar_of(parts[0]) == {"type": "text", "text": "a", "new_field": 1, "shade": "blue"}
    assert sidecar_of(parts[1]) == {"type": "new_block", "id": "x", "shade": "red"}


def test_a_message_that_begins_twice_before_it_says_anything_is_one() -> None:
    parts, end = answer(BEGIN, said("x"))
    assert [part.text for part in parts] == ["x"]
    assert end.usage == Usage(input_tokens=3, output_tokens=9)


@pytest.mark.parametrize(
    ("stream", "said_of_it"),
    [
        (BEGIN + delta(type="input_json_delta", partial_json="{}"), "which is not open"),
        (BEGIN + said("x") + delta(type="signature_delta", signature="y"), "which is not open"),
        (BEGIN + started(-1, type="text", text=""), "no index"),
        (BEGIN + event("content_block_start", index="0", content_block={"type": "text"}), "no index"),
        (BEGIN + delta(index=[0], type="text_delta", text="x"), "no index"),
        (BEGIN + started(0, text="no type"), "without a type"),
        (BEGIN + event("content_block_start", index=0, content_block="text"), "without a type"),
        (said("x"), "before the beginning"),
        (STOP, "never began"),
        (BEGIN + said("x") + BEGIN, "second message"),
        (BEGIN + started(type="text") + event("content_block_delta", index=0), "without a delta"),
        (BEGIN + started(type="text") + delta(type="text_delta", text=5), "type int"),
        (BEGIN + b"data: {not json}\n\n", "cannot be read"),
        (BEGIN + b"data: [1, 2]\n\n", "cannot be read"),
        (BEGIN + started(type="text") + delta(type="text_delta", text="#").replace(b"#", b"\xff"), "cannot be read"),
        (BEGIN + b"data: " + b"[" * 100_000 + b"\n\n", "cannot be read"),
        (b"", "broke off"),
        (BEGIN, "broke off"),
        (BEGIN + b'data: {"type": "message_st', "broke off"),
        (whole(said("x"), end=event("message_delta", delta={})), "broke off"),
    ],
)
def test_a_stream_that_breaks_the_rules_is_garbled(stream: bytes, said_of_it: str) -> None:
    for chunks in ([stream], cut_up(stream, "by_event")):
        items, error = decoded(chunks)
        _, end = put_together(items)
        assert isinstance(error, BackendGarbled), repr(error)
        assert said_of_it in str(error)
        assert "Anthropic" in str(error)
        assert end is None


def test_an_error_comes_behind_the_items_before_it_and_stays() -> None:
    stream = decoder()
    items = stream.feed(BEGIN + said("x") + delta(index=7, type="input_json_delta", partial_json="y"))
    assert [part.text for part in put_together(items)[0]] == ["x"]
    assert isinstance(stream.failure, BackendGarbled)
    for again in (lambda: stream.feed(said("y", index=1)), stream.close):
        with pytest.raises(BackendGarbled) as raised:
            again()
        assert raised.value is stream.failure


@pytest.mark.parametrize(
    ("kind", "message", "error"),
    [
        ("overloaded_error", "Overloaded", BackendUnavailable),
        ("rate_limit_error", "Number of requests has exceeded your rate limit", BackendUnavailable),
        ("api_error", "Internal server error", BackendUnavailable),
        ("timeout_error", "Timed out", BackendUnavailable),
        ("invalid_request_error", "messages.0: nonsense", BackendRejected),
        ("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum", ContextTooLong),
        ("invalid_request_error", "input length and `max_tokens` exceed context limit: 198000 + 20000", ContextTooLong),
        ("request_too_large", "Request exceeds the maximum size", ContextTooLong),
        ("invalid_request_error", "Your credit balance is too low to access the Anthropic API", BackendRejected),
        ("billing_error", "Check your billing", BackendRejected),
        ("not_found_error", "model: claude-zero", BackendRejected),
        ("authentication_error", "invalid x-api-key", BackendUnauthorized),
        ("permission_error", "Your key may not use this model", BackendUnauthorized),
        ("invented_tomorrow", "What?", BackendUnavailable),
    ],
)
@pytest.mark.parametrize("shape", ["event", "bare"])
def test_errors_in_the_middle_of_the_stream_are_classified(
    kind: str, message: str, error: type[BackendError], shape: str
) -> None:
    reported = {"type": kind, "message": f"{message} (key sk-secret-1)"}
    end = (
        event("error", error=reported)
        if shape == "event"
        else b"data: " + msgspec.json.encode({"error": reported}) + b"\n\n"
    )
    items, found = decoded([BEGIN + said("Half of it") + end])
    assert [part.text for part in put_together(items)[0]] == ["Half of it"]
    assert type(found) is error
    assert message in str(found)
    assert "sk-secret-1" not in str(found)


# --- text that is not quite text ----------------------------------------------------------------------------------------

# As Python's json writes it: an emoji is an escaped pair, which may come in two halves.
HIGH, LOW = "\ud83d", "\ude00"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["a" + HIGH, LOW + "b"], "a😀b"),
        ([HIGH, LOW, "c"], "😀c"),
        (["a" + HIGH, "b"], "a\ufffdb"),
        (["a" + HIGH], "a\ufffd"),
        ([LOW + "a"], "\ufffda"),
        ([HIGH, HIGH, LOW], "\ufffd😀"),
        ([HIGH + LOW], "😀"),
    ],
)
def test_half_characters_are_joined_or_replaced(pieces: list[str], text: str) -> None:
    deltas = [delta(type="text_delta", text=piece) for piece in pieces]
    chunks = [BEGIN, started(type="text", text=""), *deltas, stopped(), ended()]
    for reads in (chunks, [b"".join(chunks)]):
        items, error = decoded(reads)
        assert error is None
        assert [part.text for part in put_together(items)[0]] == [text]


def test_half_characters_in_what_only_the_provider_reads_are_replaced() -> None:
    parts, end = answer(
        started(0, type="redacted_thinking", data="x" + HIGH),
        stopped(0),
        started(1, type="text", text=""),
        delta(1, type="text_delta", text="y"),
        delta(1, type="citations_delta", citation={"cited_text": HIGH}),
        stopped(1),
        end=ended("refusal", stop_details={"explanation": "no" + LOW}),
    )
    assert sidecar_of(parts[0])["data"] == "x\ufffd"
    assert sidecar_of(parts[1])["citations"] == [{"cited_text": "\ufffd"}]
    assert parts[2].text == "no\ufffd"
    assert end.reason == "refusal"


# --- bounds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "stream"),
    [
        (Limits(step_bytes_max=1_000), b"".join(said("é" * 30, index=number) for number in range(20))),
        (Limits(step_parts_max=5), b"".join(said("x", index=number) for number in range(6))),
        (Limits(step_bytes_max=1_000), started(type="x") + delta(type="x_delta", blob="y" * 2_000)),
        (
            Limits(tool_arguments_bytes_max=10),
            started(type="tool_use", id="t", name="f") + delta(type="input_json_delta", partial_json="1" * 11),
        ),
    ],
)
def test_an_answer_that_is_too_large_fails_behind_its_items(limits: Limits, stream: bytes) -> None:
    items, error = decoded([BEGIN + stream], limits)
    assert isinstance(error, LimitExceeded)
    put_together(items)
    assert items
