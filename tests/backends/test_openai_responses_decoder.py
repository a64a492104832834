"""The answers of the Responses dialect: recorded ones, every cut of them, and what servers make of the rules."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.backends.faults import Endpoint
from greenroom.backends.openai_responses_decoder import DIALECT, ResponsesDecoder
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnavailable,
    ContextTooLong,
    GreenroomError,
    LimitExceeded,
)
from greenroom.limits import DEFAULT_LIMITS, SSE_LINE_BYTES_MAX, Limits
from greenroom.messages import PartDelta, PartStarted, StreamEnded, StreamItem, Usage, UsageCounted
from greenroom.testing.backend_conformance import Heard, put_together
from source_tree import ROOT

ENDPOINT = Endpoint(
    provider="OpenAI",
    base_url="https://api.openai.com/v1",
    key_variable="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
)
FOLDERS = (
    Path(__file__).parent / "recordings" / "openai-responses",
    ROOT.parent / "shared" / "recordings" / "openai-responses",
)
RECORDINGS = [path for folder in FOLDERS for path in sorted(folder.glob("*.sse"))]
SMALL = [path for path in RECORDINGS if path.stat().st_size < 20_000]

recorded = pytest.mark.parametrize("recording", RECORDINGS, ids=[path.stem[-60:] for path in RECORDINGS])


# --- decoding in tests --------------------------------------------------------------------------------------------------


def decoder(limits: Limits = DEFAULT_LIMITS) -> ResponsesDecoder:
    return ResponsesDecoder(ENDPOINT, model="asked", limits=limits)


def decode(pieces: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> tuple[list[StreamItem], GreenroomError | None]:
    """Returns the items of a stream, and the error that broke it off."""
    reader = decoder(limits)
    items: list[StreamItem] = []
    try:
        for piece in pieces:
            items += reader.feed(piece)
        while not reader.is_ended:
            items += reader.close()
    except GreenroomError as error:
        return items, error
    return items, None


def bytewise(stream: bytes) -> Iterator[bytes]:
    return (stream[index : index + 1] for index in range(len(stream)))


def shown(items: Iterable[StreamItem]) -> tuple[list[tuple[Any, ...]], StreamEnded | None]:
    """Returns the parts that items make, in a form that can be compared, and the end."""
    parts, end = put_together(items)
    return [
        (part.started, part.text, part.ended and part.ended.sidecar and bytes(part.ended.sidecar.data))
        for part in parts
    ], end


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def response(kind: str = "completed", *output: Any, **fields: Any) -> bytes:
    status = "in_progress" if kind == "created" else kind
    return event(
        f"response.{kind}",
        response={"id": "resp_1", "model": "m-1", "status": status, "output": list(output)} | fields,
    )


def added(index: int | None = 0, **item: Any) -> bytes:
    return event("response.output_item.added", **_place(index), item=item)


def done(index: int | None = 0, **item: Any) -> bytes:
    return event("response.output_item.done", **_place(index), item=item)


def delta(text: Any, index: int | None = 0, *, of: str = "output_text", **fields: Any) -> bytes:
    return event(f"response.{of}.delta", **_place(index), delta=text, **fields)


def _place(index: int | None) -> dict[str, int]:
    return {} if index is None else {"output_index": index}


def message(text: str = "Hello", item_id: str = "msg_1", **fields: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": content} | fields


def call(name: str = "f", arguments: Any = '{"a":1}', number: int = 1) -> dict[str, Any]:
    head = {"id": f"fc_{number}", "type": "function_call", "call_id": f"call_{number}", "status": "completed"}
    return head | {"name": name, "arguments": arguments}


def thought(*summary: str, **fields: Any) -> dict[str, Any]:
    texts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": "rs_1", "type": "reasoning", "summary": texts, "encrypted_content": "gAAA"} | fields


CREATED = response("created")
COMPLETED = response("completed")
ARGUMENTS = "function_call_arguments"
SUMMARY = "reasoning_summary_text"


def answer(*events: bytes, is_begun: bool = True) -> tuple[list[Heard], StreamEnded]:
    """Returns the whole answer; the same in one piece and in single bytes."""
    stream = b"".join([CREATED, *events] if is_begun else events)
    items, error = decode([stream])
    assert error is None, error
    again, error = decode(bytewise(stream))
    assert error is None, error
    assert shown(again) == shown(items)
    parts, end = put_together(items)
    assert end is not None
    return parts, end


def texts(parts: Iterable[Heard]) -> list[tuple[str, str]]:
    return [(part.started.kind, part.text) for part in parts]


def sidecar_of(part: Heard) -> Any:
    assert part.ended is not None
    if (sidecar := part.ended.sidecar) is None:
        return None
    assert (sidecar.backend, sidecar.model) == (DIALECT, "asked")
    return msgspec.json.decode(sidecar.data)


# --- recordings ---------------------------------------------------------------------------------------------------------


def answers_of(recording: Path) -> list[bytes]:
    """Returns the answers that a recording holds."""
    stream = recording.read_bytes()
    begin = stream.index(b"response.created")
    mark = stream[:begin] + b"response.created"
    return [mark + rest for rest in stream.split(mark)[1:]]


def said(kind: str, parts: Iterable[Heard]) -> str:
    return "".join(part.text for part in parts if part.started.kind == kind)


@pytest.mark.parametrize(
    "recording", [path for path in RECORDINGS if len(answers_of(path)) == 1], ids=lambda path: path.stem[-60:]
)
def test_recordings(recording: Path) -> None:
    expected = json.loads(recording.with_suffix(".expected.json").read_bytes())
    items, error = decode([recording.read_bytes()])
    assert error is None
    parts, end = put_together(items)
    assert end is not None
    usage = end.usage
    assert expected == {
        "text": said("text", parts),
        "reasoning": said("reasoning", parts),
        "refusal": said("refusal", parts),
        "tool_calls": [
            {"id": part.started.call_id, "name": part.started.name, "arguments": part.text}
            for part in parts
            if part.started.kind == "tool_call"
        ],
        "finish_reason": end.raw_reason,
        "error": None,
        "usage": usage and {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
    }


def test_a_recording_of_four_answers() -> None:
    [recording] = FOLDERS[0].glob("*four-answers.sse")
    heard = [put_together(decode([stream])[0]) for stream in answers_of(recording)]
    assert [texts(parts)[-1] for parts, _ in heard] == [
        ("tool_call", '{"a":12,"b":7,"op":"add"}'),
        ("tool_call", '{"a":19,"b":3,"op":"multiply"}'),
        ("tool_call", '{"a":57,"b":10,"op":"multiply"}'),
        ("text", "The final result is **570**."),
    ]
    assert sidecar_of(heard[0][0][0])["encrypted_content"].startswith("gAAAA")
    # Whoever reads on behind the end of the first one reads nothing.
    assert shown(decode([recording.read_bytes()])[0]) == shown(decode(answers_of(recording)[:1])[0])


@recorded
def test_recordings_in_pieces(recording: Path) -> None:
    stream = answers_of(recording)[0]
    whole = shown(decode([stream])[0])
    dice = random.Random(recording.name)  # the same cuts in every run
    counts = (3, 30, len(stream) // 9)
    cuts = [sorted(dice.sample(range(len(stream)), count)) for count in counts]
    if recording in SMALL:
        cuts.append(list(range(len(stream))))
    for edges in cuts:
        items, error = decode(stream[start:stop] for start, stop in pairwise([0, *edges, len(stream)]))
        assert error is None
        assert shown(items) == whole


@recorded
def test_recordings_that_are_cut_off(recording: Path) -> None:
    """Wherever a stream ends: what was said by then, and an error; no error where all items that have begun are whole."""
    stream = answers_of(recording)[0].removesuffix(b"data: [DONE]\n\n")
    whole = put_together(decode([stream])[0])[0]
    events = stream.split(b"\n\n")
    step = max(1, len(events) // 60)
    for kept in range(0, len(events) - 1, step):
        head = b"\n\n".join(events[:kept])
        for tail in (b"", b"\n\n", b'\n\ndata: {"type": "cut in the mid'):
            items, error = decode([head + tail])
            parts, end = put_together(items)
            if end is not None:
                assert b"response.output_item.done" in events[kept - 1]
                assert b"cut in the mid" not in tail
                assert [part.text for part in parts] == [part.text for part in whole[: len(parts)]]
                continue
            assert isinstance(error, BackendGarbled)
            for part, one in zip(parts, whole, strict=False):
                assert part.started == one.started
                assert one.text.startswith(part.text)


def test_sidecars_of_recordings_say_whose_they_are() -> None:
    for recording in RECORDINGS:
        for stream in answers_of(recording):
            for part in put_together(decode([stream])[0])[0]:
                sidecar = sidecar_of(part)
                assert sidecar is None or "type" in sidecar
                assert part.started.kind != "text" or "text" not in (sidecar or {})


# --- text, refusal, reasoning -------------------------------------------------------------------------------------------


def test_a_plain_answer() -> None:
    usage = {
        "input_tokens": 20,
        "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 3},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
    }
    parts, end = answer(
        added(id="msg_1", type="message", status="in_progress", content=[]),
        event("response.content_part.added", output_index=0, part={"type": "output_text", "text": ""}),
        delta("Hel"),
        delta("lo"),
        event("response.output_text.done", output_index=0, text="Hello"),
        done(**message(phase="final_answer")),
        response("completed", message(), usage=usage),
    )
    assert texts(parts) == [("text", "Hello")]
    assert sidecar_of(parts[0]) == {"id": "msg_1", "type": "message", "status": "completed", "phase": "final_answer"}
    assert end == StreamEnded(
        reason="stop",
        raw_reason="completed",
        usage=Usage(
            input_tokens=20, output_tokens=9, cached_input_tokens=8, cache_write_input_tokens=3, reasoning_tokens=4
        ),
        model="m-1",
        response_id="resp_1",
    )


@pytest.mark.parametrize("later", [{}, {"input_tokens": 0}, {"output_tokens_details": {"reasoning_tokens": 0}}])
def test_a_count_of_nothing_takes_nothing_back(later: dict[str, Any]) -> None:
    """Found by the fuzzer: in one read, a count of something and then one of nothing."""
    counted = {"input_tokens": 22, "output_tokens": 6}
    first, second = (event("response.in_progress", response={"usage": usage}) for usage in (counted, later))
    assert decoder().feed(first + second) == [UsageCounted(usage=Usage(**counted))]


def test_deltas_of_one_read_are_one_delta() -> None:
    reader = decoder()
    assert reader.feed(CREATED + delta("a") + delta("b") + delta("c")) == [
        PartStarted(part=0, kind="text"),
        PartDelta(part=0, delta="abc"),
    ]
    assert reader.feed(delta("d")) == [PartDelta(part=0, delta="d")]


def test_a_message_of_several_texts_and_a_refusal() -> None:
    content = [
        {"type": "output_text", "text": "A", "annotations": [{"type": "url_citation", "url": "u"}], "logprobs": [1]},
        {"type": "output_text", "text": "B"},
        {"type": "refusal", "refusal": "C"},
    ]
    parts, end = answer(
        delta("A"),
        delta("B", content_index=1),
        delta("C", of="refusal", content_index=2),
        done(**message(content=content)),
        COMPLETED,
    )
    assert texts(parts) == [("text", "A"), ("text", "B"), ("refusal", "C")]
    assert sidecar_of(parts[0])["content"] == {"annotations": [{"type": "url_citation", "url": "u"}]}
    assert "content" not in sidecar_of(parts[1])
    assert sidecar_of(parts[2]) is None
    assert end.reason == "refusal"


def test_annotations_that_come_alone_are_kept() -> None:
    parts, _ = answer(
        delta("A"),
        event(
            "response.output_text.annotation.added", output_index=0, content_index=0, annotation={"type": "file_path"}
        ),
        done(**message("A", content=[{"type": "output_text", "text": "A"}])),
        COMPLETED,
    )
    assert sidecar_of(parts[0])["content"] == {"annotations": [{"type": "file_path"}]}


def test_summaries_are_parts_and_the_last_one_has_the_item() -> None:
    parts, _ = answer(
        added(id="rs_1", type="reasoning", summary=[], encrypted_content="half"),
        delta("One", of=SUMMARY, summary_index=0),
        delta("Two", of=SUMMARY, summary_index=1),
        done(**thought("One", "Two", status="completed", content=[])),
        COMPLETED,
    )
    assert texts(parts) == [("reasoning", "One"), ("reasoning", "Two")]
    assert sidecar_of(parts[0]) is None
    assert sidecar_of(parts[1]) == {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "One"}, {"type": "summary_text", "text": "Two"}],
        "encrypted_content": "gAAA",
    }


@pytest.mark.parametrize(
    ("item", "goes_back"),
    [
        (thought(), True),
        (thought(encrypted_content=None), False),
        (thought(encrypted_content=""), False),
        (thought("Hm"), True),
        (thought("Hm", encrypted_content=None), False),
        (thought(encrypted_content=None, content=[{"type": "reasoning_text", "text": "Hm"}]), True),
        (thought(status="incomplete"), False),
        ({"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA"}, True),
    ],
)
def test_only_reasoning_that_somebody_could_read_goes_back(item: dict[str, Any], *, goes_back: bool) -> None:
    parts, _ = answer(done(**item), done(1, **message()), COMPLETED)
    assert [part.started.kind for part in parts] == ["reasoning", "text"]
    sidecar = sidecar_of(parts[0])
    assert (sidecar is not None) is goes_back
    assert sidecar is None or ("summary" in sidecar and "status" not in sidecar)


def test_reasoning_that_was_never_said_as_a_whole_does_not_go_back() -> None:
    parts, _ = answer(
        added(id="rs_1", type="reasoning", encrypted_content="half"), delta("Hm", of=SUMMARY), delta("Hi", 1), COMPLETED
    )
    assert texts(parts) == [("reasoning", "Hm"), ("text", "Hi")]
    assert [sidecar_of(part) for part in parts] == [None, None]


# --- calls --------------------------------------------------------------------------------------------------------------


def test_parallel_calls_that_arrive_interleaved() -> None:
    first, second = call(number=1), call("g", '{"b":2}', number=2)
    parts, end = answer(
        added(0, **first | {"arguments": ""}),
        added(1, **second | {"arguments": ""}),
        delta('{"a"', 0, of=ARGUMENTS),
        delta('{"b"', 1, of=ARGUMENTS),
        delta(":1}", 0, of=ARGUMENTS),
        delta(":2}", 1, of=ARGUMENTS),
        done(1, **second),
        done(0, **first),
        COMPLETED,
    )
    assert [(part.started.call_id, part.started.name, part.text) for part in parts] == [
        ("call_1", "f", '{"a":1}'),
        ("call_2", "g", '{"b":2}'),
    ]
    assert sidecar_of(parts[0]) == {"id": "fc_1", "type": "function_call", "status": "completed"}
    assert end.reason == "tool_calls"


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([done(**call())], id="only done"),
        pytest.param([added(**call(arguments="")), done(**call())], id="no deltas"),
        pytest.param([delta('{"a":1}', of=ARGUMENTS, item_id="fc_1"), done(**call())], id="not announced"),
        pytest.param([added(**call(name="")), delta('{"a":', of=ARGUMENTS), done(**call())], id="late name"),
        pytest.param([added(**call()), delta('{"a":', of=ARGUMENTS), done(**call())], id="lost deltas"),
        pytest.param([added(**call()), event(f"response.{ARGUMENTS}.done", output_index=0, arguments='{"a":1}')], id="no item done"),
        pytest.param([added(**call()), delta('{"a":1}', of=ARGUMENTS)], id="nothing done"),
        pytest.param([added(**call()), delta('{"a":1}', of=ARGUMENTS), done(**call(arguments='{"a": 1}'))], id="written otherwise"),
        pytest.param([added(**call()), done(**call(arguments={"a": 1}))], id="an object"),
        pytest.param([added(**call()), added(**call()), delta('{"a":1}', of=ARGUMENTS), done(**call()), done(**call())], id="everything twice"),
    ],
)  # fmt: skip
def test_a_call_that_is_told_with_gaps(events: list[bytes]) -> None:
    parts, end = answer(*events, COMPLETED)
    assert [(part.started.call_id, part.started.name, part.text) for part in parts] == [("call_1", "f", '{"a":1}')]
    assert end.reason == "tool_calls"


def test_a_call_without_arguments_has_an_empty_object() -> None:
    parts, _ = answer(added(**call(arguments="")), done(**call(arguments="")), COMPLETED)
    assert texts(parts) == [("tool_call", "{}")]


def test_arguments_that_contradict_each_other_are_garbled() -> None:
    _, error = decode([CREATED, delta('{"a": 1', of=ARGUMENTS), done(**call(arguments='{"b": 2}'))])
    assert isinstance(error, BackendGarbled)
    assert "different ones" in error.message


def test_a_call_that_was_cut_is_no_whole_one() -> None:
    half = call(arguments='{"a"') | {"status": "incomplete"}
    parts, end = answer(
        added(**call(arguments="")),
        delta('{"a"', of=ARGUMENTS),
        response("incomplete", half, incomplete_details={"reason": "max_output_tokens"}),
    )
    assert texts(parts) == [("tool_call", '{"a"')]
    assert sidecar_of(parts[0]) is None
    assert end.reason == "length"


def test_a_call_without_a_call_id_goes_by_its_own() -> None:
    parts, _ = answer(done(**{k: v for k, v in call().items() if k != "call_id"}), COMPLETED)
    assert parts[0].started.call_id == "fc_1"


# --- what only the provider understands ---------------------------------------------------------------------------------


def test_a_providers_own_tool_is_kept_whole() -> None:
    item = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
    parts, end = answer(
        added(**item | {"status": "in_progress"}),
        event("response.web_search_call.searching", output_index=0, item_id="ws_1"),
        event("response.code_interpreter_call_code.delta", output_index=0, item_id="ws_1", delta="print()"),
        done(**item),
        COMPLETED,
    )
    assert texts(parts) == [("opaque", "")]
    assert sidecar_of(parts[0]) == item
    assert end.reason == "stop"


def test_half_a_providers_tool_does_not_go_back() -> None:
    parts, _ = answer(added(id="ws_1", type="web_search_call", status="in_progress"), delta("Hi", 1), COMPLETED)
    assert [sidecar_of(part) for part in parts] == [None, None]


def test_what_a_lost_reasoning_led_to_goes_back_without_its_id() -> None:
    """The provider would miss the reasoning by it."""
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    lost, kept = thought(encrypted_content=None), thought(id="rs_2")
    events = [done(0, **lost), done(1, **search), done(2, **message(phase="commentary")), done(3, **call())]
    parts, _ = answer(
        *events, done(4, **kept), done(5, **search | {"id": "ws_2"}), done(6, **message("b", "msg_2")), COMPLETED
    )
    assert [(part.started.kind, sidecar_of(part)) for part in parts] == [
        ("reasoning", None),
        ("opaque", None),
        ("text", {"type": "message", "status": "completed", "phase": "commentary"}),
        ("tool_call", None),
        ("reasoning", kept),
        ("opaque", search | {"id": "ws_2"}),
        ("text", {"id": "msg_2", "type": "message", "status": "completed"}),
    ]


# --- gaps, repeats and disorder -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([response("completed", thought("Hm"), message(), call())], id="only the end"),
        pytest.param([done(0, **thought("Hm")), done(1, **message()), done(2, **call()), COMPLETED], id="only done"),
        pytest.param([done(None, **thought("Hm")), done(None, **message()), done(None, **call()), COMPLETED], id="no index"),
        pytest.param([done(0, **thought("Hm")), done(0, **message()), done(0, **call()), COMPLETED], id="always index 0"),
        pytest.param([done(0, **thought("Hm")), response("completed", thought("Hm"), message(), call())], id="half of it only at the end"),
        pytest.param(
            [
                added(0, **thought()), added(1, **message(content=[])), added(2, **call(arguments="")),
                response("completed", thought("Hm"), message(), call()),
            ],
            id="announced, then only the end",
        ),
        pytest.param(
            [
                added(None, **thought()), delta("Hm", None, of=SUMMARY, item_id="rs_1"), done(None, **thought("Hm")),
                added(None, **message(content=[])), delta("Hello", None, item_id="msg_1"), done(None, **message()),
                added(None, **call(arguments="")), delta('{"a":1}', None, of=ARGUMENTS, item_id="fc_1"), done(None, **call()),
                response("completed", thought("Hm"), message(), call()),
            ],
            id="only ids",
        ),
        pytest.param(
            [
                added(0, **thought(id="1")), delta("Hm", 0, of=SUMMARY, item_id="2"), done(0, **thought("Hm", id="rs_1")),
                added(1, **message(item_id="4")), delta("Hello", 1, item_id="5"), done(1, **message()),
                added(2, **call() | {"id": "7"}), delta('{"a":1}', 2, of=ARGUMENTS, item_id="8"), done(2, **call()),
                response("completed", thought("Hm", id="10"), message(item_id="11"), call() | {"id": "12"}),
            ],
            id="ids that change",
        ),
        pytest.param(
            [
                delta("Hm", 0, of=SUMMARY), delta("Hello", 1), delta('{"a":1}', 2, of=ARGUMENTS, item_id="fc_1"),
                event("response.output_text.done", output_index=1, text="Hello"),
                event("response.reasoning_summary_text.done", output_index=0, summary_index=0, text="Hm"),
                done(2, **call()), done(1, **message()), done(0, **thought("Hm")),
                event("response.output_text.done", output_index=1, text="Hello"), COMPLETED,
            ],
            id="ends in another order",
        ),
    ],
)  # fmt: skip
def test_an_answer_is_whole_whatever_is_left_out(events: list[bytes]) -> None:
    parts, end = answer(*events)
    assert texts(parts) == [("reasoning", "Hm"), ("text", "Hello"), ("tool_call", '{"a":1}')]
    assert [part.started.call_id for part in parts] == ["", "", "call_1"]
    ids = [(sidecar_of(part) or {}).get("id") for part in parts]
    # What ends before the reasoning that led to it does not rely on that.
    assert ids in (["rs_1", "msg_1", "fc_1"], ["rs_1", None, None])
    assert end.reason == "tool_calls"


def test_calls_stand_in_the_order_of_their_announcement() -> None:
    parts, _ = answer(
        added(0, **call("f", "", 1)), added(1, **call("g", "", 2)),
        delta('{"b"', 1, of=ARGUMENTS, item_id="fc_2"), delta('{"a":1}', 0, of=ARGUMENTS, item_id="fc_1"),
        delta(":2}", 1, of=ARGUMENTS, item_id="fc_2"), done(1, **call("g", '{"b":2}', 2)), done(0, **call("f", '{"a":1}', 1)),
        COMPLETED,
    )  # fmt: skip
    assert [(part.started.name, part.text) for part in parts] == [("f", '{"a":1}'), ("g", '{"b":2}')]


def test_an_answer_may_begin_without_a_beginning() -> None:
    parts, _ = answer(delta("Hello"), COMPLETED, is_begun=False)
    assert texts(parts) == [("text", "Hello")]


def test_text_that_was_passed_on_stands() -> None:
    """As the official SDK reads it: the end of a text is not its correction."""
    parts, _ = answer(delta("Hel"), event("response.output_text.done", output_index=0, text="Hullo"), COMPLETED)
    assert texts(parts) == [("text", "Hel")]


def test_two_items_under_one_index() -> None:
    parts, _ = answer(
        added(**message(content=[])),
        delta("A", item_id="msg_1"),
        added(**message(item_id="msg_2", content=[])),
        delta("B", item_id="msg_2"),
        done(**message("A")),
        done(**message("B", "msg_2")),
        COMPLETED,
    )
    assert texts(parts) == [("text", "A"), ("text", "B")]


@pytest.mark.parametrize(
    "late",
    [
        delta("more", item_id="msg_1"),
        event("response.output_text.done", output_index=0, item_id="msg_1", text="Hello")
        + delta("more", item_id="msg_1"),
    ],
)
def test_more_of_what_has_ended_is_garbled(late: bytes) -> None:
    items, error = decode([CREATED + added(**message(content=[])) + delta("Hello") + done(**message()) + late])
    assert isinstance(error, BackendGarbled)
    assert said("text", put_together(items)[0]) == "Hello"


def test_a_second_response_in_the_middle_is_garbled() -> None:
    second = event("response.created", response={"id": "resp_2"})
    items, error = decode([CREATED, delta("Hello"), second, delta("again")])
    assert isinstance(error, BackendGarbled)
    assert said("text", put_together(items)[0]) == "Hello"


def test_what_follows_the_end_does_not_count() -> None:
    stream = CREATED + delta("a") + COMPLETED + delta("b") + b"data: {broken\n\n" + b"data: [DONE]\n\n"
    items, error = decode([stream, stream])
    assert error is None
    assert said("text", put_together(items)[0]) == "a"


@pytest.mark.parametrize(
    "odd",
    [
        {},
        {"type": 7},
        {"type": ["\ud83d"]},
        {"type": "response.unheard_of", "output_index": "x"},
        {"type": "response.output_text.delta", "delta": ""},
        {"type": "response.output_text.delta", "delta": None},
        {"type": "response.content_part.added", "part": 7},
        {"type": "response.output_text.done", "output_index": 0, "text": 7},
        {"type": "response.in_progress", "response": 7},
        {"type": "response.in_progress", "response": {"id": 7, "model": None, "usage": []}},
        {"type": "response.output_text.annotation.added", "output_index": 0, "content_index": "x", "annotation": None},
        {"type": "keepalive"},
        {"error": None},
    ],
)
def test_odd_events_are_harmless(odd: dict[str, Any]) -> None:
    stray = b"data: " + json.dumps(odd).encode() + b"\n\n"
    parts, _ = answer(added(**message(content=[])), stray, delta("ab"), done(**message("ab")), stray, COMPLETED)
    assert texts(parts) == [("text", "ab")]


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "reason", "raw"),
    [
        (response("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", "max_output_tokens"),
        (response("incomplete", incomplete_details={"reason": "content_filter"}), "refusal", "content_filter"),
        (response("incomplete", incomplete_details={"reason": "steered"}), "other", "steered"),
        (response("incomplete"), "other", "incomplete"),
        (response("completed", status="incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", "max_output_tokens"),
        (response("completed", status=None), "stop", "completed"),
        (event("response.completed"), "stop", "completed"),
    ],
)  # fmt: skip
def test_ends(end: bytes, reason: str, raw: str) -> None:
    parts, ended = answer(delta("Hello"), end)
    assert texts(parts) == [("text", "Hello")]
    assert (ended.reason, ended.raw_reason) == (reason, raw)


def test_an_answer_of_nothing() -> None:
    parts, end = answer(COMPLETED)
    assert parts == []
    assert end.reason == "stop"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "server_error", "message": "Overloaded"}, BackendUnavailable),
        ({"code": "rate_limit_exceeded", "message": "Overloaded"}, BackendUnavailable),
        ({"code": "vector_store_timeout", "message": "Overloaded"}, BackendUnavailable),
        ({"code": "invalid_prompt", "message": "Overloaded"}, BackendRejected),
        ({"code": "image_too_large", "message": "Overloaded"}, BackendRejected),
        ({"code": "unsupported_image_media_type", "message": "Overloaded"}, BackendRejected),
        ({"code": "bio_policy", "message": "Overloaded"}, BackendRejected),
        ({"code": "context_length_exceeded", "message": "Overloaded"}, ContextTooLong),
        ({"code": "insufficient_quota", "message": "Overloaded"}, BackendRejected),
    ],
)
def test_a_failure_comes_after_what_was_said(error: dict[str, Any], kind: type[BackendError]) -> None:
    for failed in (
        response("failed", error=error),
        event("error", **error, param=None),
        event("error", error=error),
        b"data: " + json.dumps({"error": error}).encode() + b"\n\n",
    ):
        items, found = decode([CREATED + delta("par") + delta("tial") + failed + delta("no")])
        assert type(found) is kind
        assert "Overloaded" in str(found)
        assert said("text", put_together(items)[0]) == "partial"


def test_a_failure_says_what_was_used() -> None:
    usage = {"input_tokens": 20, "output_tokens": 9}
    items, error = decode([CREATED + delta("Hello") + response("failed", error={"code": "server_error"}, usage=usage)])
    assert isinstance(error, BackendUnavailable)
    assert items[-1] == UsageCounted(usage=Usage(input_tokens=20, output_tokens=9), model="m-1")
    counted = {"input_tokens": 20, "output_tokens": 1}
    reader = decoder()
    assert reader.feed(response("in_progress", usage=counted) * 2) == [
        UsageCounted(usage=Usage(input_tokens=20, output_tokens=1), model="m-1")
    ]
    assert reader.feed(response("in_progress", usage=counted)) == []


@pytest.mark.parametrize("kind", ["failed", "cancelled"])
def test_a_failure_without_a_reason_is_one(kind: str) -> None:
    _, error = decode([CREATED, response(kind)])
    assert isinstance(error, BackendUnavailable)


@pytest.mark.parametrize(
    ("stream", "said_by_then"),
    [
        (b"", "ended before it began"),
        (b": ping\n\n", "ended before it began"),
        (CREATED, "ended in the middle"),
        (delta("x"), "ended in the middle"),
        (CREATED + delta("x") + b"data: [DONE]\n\n", "ended in the middle"),
        (CREATED + delta("x") + COMPLETED[:-20], "ended in the middle"),
    ],
)
def test_answers_that_are_not_complete(stream: bytes, said_by_then: str) -> None:
    _, error = decode([stream])
    assert isinstance(error, BackendGarbled)
    assert said_by_then in error.message


def test_an_end_without_its_blank_line_is_one() -> None:
    items, error = decode([CREATED + delta("Hello") + COMPLETED.rstrip(b"\n")])
    assert error is None
    assert put_together(items)[1] is not None


# --- what nobody should send --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "broken",
    [
        b"data: {not json\n\n",
        b'data: {"type": "response.output_text.delta", "delta": "\xff"}\n\n',
        b'data: {"type": "response.output_item.done", "item": {"type": "message", "\xff": 1}}\n\n',
        b'data: {"type": "response.output_text.delta", "delta": "\x00"}\n\n',
        b"data: 7\n\n",
        b"data: []\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"x": ' + b"[" * 100_000 + b"\n\n",
        delta("x", -1),
        done(-1, **message()),
        event("response.output_item.added", output_index=0, item=None),
        event("response.output_item.done", output_index=0, item={"id": "x"}),
        delta(7),
        delta({"text": "x"}),
        b"data: " + b"x" * (SSE_LINE_BYTES_MAX + 1),
    ],
)
def test_what_cannot_be_read_is_garbled(broken: bytes) -> None:
    items, error = decode([CREATED + delta("before"), broken, delta("after")])
    assert isinstance(error, BackendGarbled)
    assert len(error.message) < 1000
    assert said("text", put_together(items)[0]) == "before"


def test_a_failed_decoder_stays_failed() -> None:
    reader = decoder()
    assert reader.feed(delta("x") + b"data: {\n\n") != []
    for _ in range(2):
        with pytest.raises(BackendGarbled):
            reader.feed(COMPLETED)
        with pytest.raises(BackendGarbled):
            reader.close()


@pytest.mark.parametrize(
    "change", [(b"\n", b"\r\n"), (b"\n", b"\r"), (b"data: {", b": comment\ndata:{"), (b"event:", b"id: 1\nevent:")]
)
def test_other_ways_to_write_events(change: tuple[bytes, bytes]) -> None:
    stream = (CREATED + delta("Grüße") + done(**message("Grüße")) + COMPLETED).replace(*change)
    for pieces in ([stream], bytewise(stream)):
        items, error = decode(pieces)
        assert error is None
        assert said("text", put_together(items)[0]) == "Grüße"


def raw(text: str, kind: str = "output_text") -> bytes:
    return b'data: {"type": "response.%b.delta", "output_index": 0, "delta": "%b"}\n\n' % (kind.encode(), text.encode())


@pytest.mark.parametrize(
    ("pieces", "whole"),
    [
        ([r"a\ud83d\ude42b"], "a🙂b"),
        ([r"a\ud83d", r"\ude42b"], "a🙂b"),
        ([r"a\ud83d", "b"], "a\ufffdb"),
        ([r"a\ud83d"], "a\ufffd"),
        ([r"\ud83d", r"\ud83d", r"\ude42"], "\ufffd🙂"),
        ([r"nul \u0000"], "nul \x00"),
    ],
)
def test_halves_of_surrogate_pairs(pieces: list[str], whole: str) -> None:
    assert texts(answer(*map(raw, pieces), COMPLETED)[0]) == [("text", whole)]
    arguments = [raw(piece, ARGUMENTS) for piece in pieces]
    assert texts(answer(added(**call(arguments="")), *arguments, COMPLETED)[0]) == [("tool_call", whole)]


def test_half_pairs_in_what_is_kept() -> None:
    item = rb'{"type": "x", "id": "x\ud83d", "na\ud83dme": ["\ude42", NaN], "n": 123456789012345678901234567890}'
    parts, _ = answer(
        b'data: {"type": "response.output_item.done", "output_index": 0, "item": %b}\n\n' % item, COMPLETED
    )
    sidecar = sidecar_of(parts[0])
    assert sidecar["id"] == "x\ufffd"
    assert sidecar["na\ufffdme"][0] == "\ufffd"


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_an_answer_has_a_size() -> None:
    for kind in ("output_text", "reasoning_text", "refusal"):
        items, error = decode([delta("x" * 60, of=kind), delta("é" * 30, of=kind)] * 2, Limits(step_bytes_max=200))
        assert isinstance(error, LimitExceeded)
        assert sum(len(part.text.encode()) for part in put_together(items)[0]) <= 240
    kept = [done(index, id=f"i{index}", type="code_interpreter_call", code="x" * 90) for index in range(9)]
    assert isinstance(decode(kept, Limits(step_bytes_max=500))[1], LimitExceeded)
    noted = event("response.output_text.annotation.added", output_index=0, annotation={"url": "x" * 90})
    assert isinstance(decode([noted] * 9, Limits(step_bytes_max=500))[1], LimitExceeded)


def test_an_answer_has_a_number_of_parts() -> None:
    for events in (
        [done(index, **call(number=index)) for index in range(10)],
        [delta("x", content_index=index) for index in range(10)],
        [added(index, id=f"m{index}", type="message") for index in range(10)],
        [delta("x", index, of=ARGUMENTS) for index in range(10)],
        [delta("x", of=SUMMARY, summary_index=index) for index in range(10)],
    ):
        items, error = decode(events, Limits(step_parts_max=4))
        assert isinstance(error, LimitExceeded)
        assert len(put_together(items)[0]) <= 4


@pytest.mark.parametrize("begin", [added(**call(arguments="")), b""])
def test_arguments_have_a_size(begin: bytes) -> None:
    """Also those of a call whose name never comes."""
    _, error = decode([begin, *[delta("x" * 30, of=ARGUMENTS)] * 9], Limits(tool_arguments_bytes_max=100))
    assert isinstance(error, LimitExceeded)
    assert "100 bytes" in error.message


# --- anything at all ----------------------------------------------------------------------------------------------------


scraps = st.sampled_from(
    [
        CREATED, COMPLETED, response("incomplete", message("b")), response("completed", thought("s"), message("m"), call(), {"type": "odd", "id": "o"}),
        response("failed"), response("in_progress", usage={"input_tokens": 3}), event("response.created", response={"id": "resp_2"}), event("error", code="server_error", message="e"),
        added(0, **thought()), added(1, **message(content=[])), added(2, **call(arguments="")), added(2, **call(name="")), added(3, type="web_search_call", id="ws"),
        delta("a"), delta("b", 1), delta("c", None), delta("d", 1, item_id="msg_1"), delta("e", content_index=1), delta("r", of="refusal"),
        delta("s", of=SUMMARY), delta("t", of=SUMMARY, summary_index=1), delta("u", 1, of="reasoning_text"), delta("{", 2, of=ARGUMENTS), delta("}", 2, of=ARGUMENTS, item_id="fc_1"),
        delta("x", None, of=ARGUMENTS), delta("y", -1), delta(7), delta({"a": 1}, of=ARGUMENTS), raw(r"\ud83d"), raw(r"\ude42"), raw(r"\ude42", ARGUMENTS),
        event("response.output_text.done", output_index=0, text="whole"), event("response.output_text.done", output_index=1, content_index=1, text="whole"),
        event(f"response.{ARGUMENTS}.done", output_index=2, arguments="{}"), event("response.refusal.done", output_index=0, refusal="no"),
        event("response.output_text.annotation.added", output_index=0, annotation={"a": 1}),
        done(0, **thought("s", "t")), done(1, **message("m")), done(1, **message("m", "msg_2", content=[{"type": "refusal", "refusal": "x"}])), done(2, **call()), done(None, **call(number=2)),
        done(3, type="web_search_call", id="ws", status="completed"), done(0, type="odd"), done(0), b"data: {broken\n\n", b"data: [DONE]\n\n", b": c\n\n",
    ]
)  # fmt: skip


@given(chunks=st.lists(scraps, max_size=14), cuts=st.lists(st.integers(0, 3000), max_size=8))
def test_items_are_well_formed_whatever_comes(chunks: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(chunks)
    items, error = decode([stream])
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    again, cut_error = decode(stream[start:stop] for start, stop in pairwise(edges))
    assert shown(again) == shown(items)
    assert type(error) is type(cut_error)
    assert (put_together(items)[1] is None) == (error is not None)


@given(data=st.data(), recording=st.sampled_from([path for path in SMALL if path.parent == FOLDERS[0]]))
def test_damage_is_an_error_or_harmless(data: st.DataObject, recording: Path) -> None:
    """Bytes of a real answer, some of them changed, lost or doubled: nothing but our own errors, nothing malformed."""
    stream = bytearray(recording.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(stream) - 1))
        match data.draw(st.sampled_from(["change", "lose", "double"])):
            case "change":
                stream[at] = data.draw(st.integers(0, 255))
            case "lose":
                del stream[at : at + data.draw(st.integers(1, 200))]
            case _:
                stream[at:at] = stream[at : at + data.draw(st.integers(1, 2000))]
    items, _ = decode([bytes(stream)])
    put_together(items)
