"""The answers of the Chat Completions dialect: recorded ones, every cut of them, and what servers make of the rules."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.backends.faults import Endpoint
from greenroom.backends.openai_chat import DIALECT, ChatDecoder
from greenroom.errors import BackendError, BackendGarbled, BackendUnavailable, GreenroomError, LimitExceeded
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import PartDelta, PartEnded, PartStarted, Sidecar, StreamEnded, StreamItem, Usage
from source_tree import ROOT

ENDPOINT = Endpoint(
    provider="OpenAI",
    base_url="https://api.openai.com/v1",
    key_variable="OPENAI_API_KEY",
    base_url_variable="OPENAI_BASE_URL",
)
FOLDERS = (Path(__file__).parent / "recordings" / "openai-chat", ROOT.parent / "shared" / "recordings" / "openai-chat")
RECORDINGS = [path for folder in FOLDERS for path in sorted(folder.glob("*.sse"))]

recorded = pytest.mark.parametrize("recording", RECORDINGS, ids=[path.stem[-60:] for path in RECORDINGS])


# --- decoding in tests --------------------------------------------------------------------------------------------------


def decoder(limits: Limits = DEFAULT_LIMITS) -> ChatDecoder:
    return ChatDecoder(ENDPOINT, model="some-model", limits=limits)


def decode(pieces: Iterable[bytes], limits: Limits = DEFAULT_LIMITS) -> tuple[list[StreamItem], GreenroomError | None]:
    """Returns the items of a stream, and the error that broke it off."""
    items: list[StreamItem] = []
    reader = decoder(limits)
    try:
        for piece in pieces:
            items += reader.feed(piece)
        items += reader.close()
        if not reader.is_ended:
            reader.close()
    except GreenroomError as error:
        return items, error
    return items, None


def sse(*chunks: dict[str, Any] | bytes) -> bytes:
    events = [chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode() for chunk in chunks]
    return b"".join(b"data: %b\n\n" % event for event in events)


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"id": "r1", "model": "m1", "choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def call(*entries: dict[str, Any]) -> dict[str, Any]:
    return delta(tool_calls=list(entries))


def entry(arguments: Any = None, *, name: Any = None, **fields: Any) -> dict[str, Any]:
    return fields | {"function": {"name": name, "arguments": arguments}}


STOP = delta("stop")
DONE = b"[DONE]"


class Answer:
    """What the items of a stream say together. Folding them checks that they are well formed."""

    def __init__(self, items: Sequence[StreamItem]) -> None:
        self.parts: dict[int, list[Any]] = {}
        self.sidecars: dict[int, Sidecar] = {}
        self.end: StreamEnded | None = None
        ended = set()
        for item in items:
            assert self.end is None, "something follows the end"
            match item:
                case PartStarted(part=part):
                    assert part == len(self.parts), "parts are counted from 0"
                    self.parts[part] = [item.kind, item.call_id, item.name, ""]
                case PartDelta(part=part, delta=text):
                    assert text, "an empty delta"
                    assert part in self.parts
                    assert part not in ended
                    text.encode()
                    self.parts[part][3] += text
                case PartEnded(part=part, sidecar=sidecar):
                    assert part in self.parts
                    assert part not in ended
                    ended.add(part)
                    if sidecar is not None:
                        self.sidecars[part] = sidecar
                case StreamEnded():
                    assert ended == set(self.parts), "a part was left open"
                    self.end = item

    def joined(self, kind: str) -> str:
        return "".join(part[3] for part in self.parts.values() if part[0] == kind)

    @property
    def kinds(self) -> list[str]:
        return [part[0] for part in self.parts.values()]

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        return [(part[1], part[2], part[3]) for part in self.parts.values() if part[0] == "tool_call"]


def answer(*chunks: dict[str, Any] | bytes) -> Answer:
    """Returns the whole answer; the same in one piece and in single bytes."""
    stream = sse(*chunks)
    items, error = decode([stream])
    assert error is None, error
    whole = Answer(items)
    items, error = decode(stream[index : index + 1] for index in range(len(stream)))
    assert error is None
    assert vars(Answer(items)) == vars(whole)
    return whole


# --- recordings ---------------------------------------------------------------------------------------------------------


def as_expected(items: Sequence[StreamItem]) -> dict[str, Any]:
    """Returns the answer in the form of the `expected.json` files."""
    said = Answer(items)
    assert said.end is not None
    usage = said.end.usage
    return {
        "text": said.joined("text"),
        "reasoning": said.joined("reasoning"),
        "refusal": said.joined("refusal"),
        "tool_calls": [{"id": call_id, "name": name, "arguments": text} for call_id, name, text in said.calls],
        "finish_reason": said.end.raw_reason or None,
        "usage": usage and {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens},
    }


def expected_of(recording: Path) -> dict[str, Any]:
    """Returns what the recording says: what the SDK makes of it, but for its known mistakes."""
    expected: dict[str, Any] = json.loads(expected_path(recording).read_bytes())
    if "cerebras" in recording.name:
        # Two calls under one index: the SDK glues their arguments together.
        call_id, name = "bbd2b9d98", "nonUsefulTool"
        expected["tool_calls"] = [{"id": i, "name": name, "arguments": "{}"} for i in (call_id, "e0ecf32e0")]
    if "xai" in recording.name:
        # Reasoning tokens are billed as output, but xAI counts them beside it.
        expected["usage"]["output_tokens"] += {12: 340, 307: 227}[expected["usage"]["input_tokens"]]
    if "groq_model_web_search" in recording.name:
        # Usage under `x_groq` only, where the SDK does not look.
        expected["usage"] = {"input_tokens": 5003, "output_tokens": 359}
    return expected


def expected_path(recording: Path) -> Path:
    return recording.with_name(recording.name.removesuffix(".sse") + ".expected.json")


def test_there_are_recordings() -> None:
    assert len([path for path in RECORDINGS if path.parent == FOLDERS[0]]) > 15


@recorded
def test_recordings(recording: Path) -> None:
    stream = recording.read_bytes()
    items, error = decode([stream])
    expected = expected_of(recording)
    if "sdk_error" in expected:
        assert isinstance(error, BackendError)
        assert expected["message"] in error.message
        return
    assert error is None
    assert as_expected(items) == expected


@recorded
def test_recordings_in_pieces(recording: Path) -> None:
    stream = recording.read_bytes()
    items, error = decode([stream])
    whole = vars(Answer(items))
    dice = random.Random(recording.name)  # the same cuts in every run
    cuts = [
        range(len(stream)),
        *(sorted(dice.sample(range(len(stream)), count)) for count in (3, 30, len(stream) // 9)),
    ]
    for edges in cuts:
        pieces = (stream[start:stop] for start, stop in zip([0, *edges], [*edges, len(stream)], strict=True))
        items, cut_error = decode(pieces)
        assert vars(Answer(items)) == whole
        assert type(cut_error) is type(error)


@recorded
def test_recordings_that_are_cut_off(recording: Path) -> None:
    """Wherever a stream ends: what was said by then, and an error unless the model had finished."""
    stream = recording.read_bytes()
    whole, _ = decode([stream])
    texts = {kind: Answer(whole).joined(kind) for kind in ("text", "reasoning", "refusal", "tool_call")}
    events = stream.count(b"\n\n")
    step = max(1, events // 40)
    for kept in range(0, events, step):
        head = b"\n\n".join(stream.split(b"\n\n")[:kept])
        for tail in (b"", b"\n\n", b'\n\ndata: {"id": "cut in the mid'):
            items, error = decode([head + tail])
            said = Answer(items)
            for kind, text in texts.items():
                assert text.startswith(said.joined(kind)) or kind == "tool_call"
            assert (error is None) == (said.end is not None)
            if error is None:
                assert b"finish_reason" in head
            else:
                assert isinstance(error, BackendError)


# --- text, reasoning, refusal -------------------------------------------------------------------------------------------


def test_a_plain_answer() -> None:
    said = answer(delta(role="assistant", content=""), delta(content="Hel"), delta(content="lo"), STOP, DONE)
    assert said.parts == {0: ["text", "", "", "Hello"]}
    assert said.end == StreamEnded(reason="stop", raw_reason="stop", model="m1", response_id="r1")


def test_deltas_of_one_read_are_one_delta() -> None:
    reader = decoder()
    assert reader.feed(sse(delta(content="a"), delta(content="b"), delta(content="c"))) == [
        PartStarted(part=0, kind="text"),
        PartDelta(part=0, delta="abc"),
    ]
    assert reader.feed(sse(delta(content="d"))) == [PartDelta(part=0, delta="d")]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_ends_when_text_begins(field: str) -> None:
    said = answer(
        delta(**{field: "Let me "}),
        delta(**{field: "think.", "content": ""}),
        delta(**{field: None, "content": "Yes."}),
        STOP,
    )
    assert [(part[0], part[3]) for part in said.parts.values()] == [("reasoning", "Let me think."), ("text", "Yes.")]


def test_reasoning_in_both_fields_counts_once() -> None:
    assert answer(delta(reasoning="A", reasoning_content="A"), STOP).joined("reasoning") == "A"


def test_only_reasoning_that_can_go_back_has_a_sidecar() -> None:
    said = answer(delta(reasoning_content="x"), delta(content="y"), delta(reasoning="z"), STOP)
    assert list(said.sidecars) == [0]
    assert said.sidecars[0].backend == DIALECT
    assert said.sidecars[0].model == "some-model"
    assert msgspec.json.decode(said.sidecars[0].data) == {"field": "reasoning_content"}


def test_think_tags_stay_text() -> None:
    assert answer(delta(content="<think>hm</think>Yes"), STOP).joined("text") == "<think>hm</think>Yes"


def test_content_as_a_list_of_parts() -> None:
    said = answer(
        delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}, {"type": "reference"}]}]),
        delta(content=[{"type": "text", "text": "Y"}, "es", {"type": "image"}, {"type": "text", "text": None}]),
        delta(content={"type": "text", "text": "!"}),
        STOP,
    )
    assert [(part[0], part[3]) for part in said.parts.values()] == [
        ("reasoning", "hm"),
        ("text", "Yes!"),
        ("opaque", ""),
    ]


def test_a_refusal() -> None:
    said = answer(delta(refusal="I'm "), delta(refusal="sorry"), STOP)
    assert said.joined("refusal") == "I'm sorry"
    assert said.end is not None
    assert said.end.reason == "refusal"


def test_only_the_first_choice_counts() -> None:
    both = {"choices": [{"index": 1, "delta": {"content": "B"}}, {"index": 0, "delta": {"content": "A"}}]}
    uncounted = {"choices": [{"delta": {"content": "!"}, "index": None}]}
    other_end = {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]}
    said = answer(both, uncounted, other_end, STOP, DONE)
    assert said.joined("text") == "A!"
    assert said.end is not None
    assert said.end.raw_reason == "stop"


@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [], "prompt_filter_results": []},
        {"choices": None},
        {},
        {"choices": [{"index": 0, "delta": None}]},
        {"choices": [{"index": 0}]},
        {"choices": [{"index": 0, "delta": {"content": 7, "reasoning": 7, "refusal": 7, "tool_calls": 7, "function_call": 7}}]},
        {"choices": [{"index": 0, "delta": {"tool_calls": [7, None, "x"]}}]},
        {"id": 7, "model": 7, "usage": 7, "x_groq": 7, "error": None, "object": 7, "choices": []},
        {"error": {}, "usage": {}, "choices": []},
    ],
)  # fmt: skip
def test_odd_chunks_are_harmless(odd: dict[str, Any]) -> None:
    assert answer(delta(content="a"), odd, delta(content="b"), odd, STOP, odd, DONE).joined("text") == "ab"


# --- tool calls ---------------------------------------------------------------------------------------------------------


F, G = ("1", "f", '{"a": 1}'), ("2", "g", '{"b": 2}')


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [call(entry("", name="f", index=0, id="1")), call(entry('{"a"', index=0)), call(entry(": 1}", index=0)),
             call(entry("", name="g", index=1, id="2")), call(entry('{"b": 2}', index=1))],
            id="by the rules",
        ),
        pytest.param(
            [call(entry("", name="f", index=0, id="1"), entry("", name="g", index=1, id="2")),
             call(entry('{"a"', index=0)), call(entry('{"b"', index=1)), call(entry(": 1}", index=0), entry(": 2}", index=1))],
            id="interleaved",
        ),
        pytest.param(
            [call(entry('{"a": 1}', name="f", index=0, id="1")), call(entry('{"b": 2}', name="g", index=0, id="2"))],
            id="every call under index 0",
        ),
        pytest.param(
            [call(entry("", name="f", index=0, id="1")), call(entry('{"a": 1}', index=0, id="")),
             call(entry("", name="g", index=0, id="2")), call(entry('{"b": 2}', index=0, id=""))],
            id="every call under index 0, in deltas",
        ),
        pytest.param(
            [call(entry('{"a": 1}', name="f", id="1"), entry('{"b": 2}', name="g", id="2"))],
            id="no index, whole, in one chunk",
        ),
        pytest.param(
            [call(entry("", name="f", id="1")), call(entry('{"a": 1}', id="1")),
             call(entry("", name="g", id="2")), call(entry('{"b"', id="2")), call(entry(": 2}"))],
            id="no index, ids repeated",
        ),
        pytest.param(
            [call(entry('{"a"', name="f", index=0, id="1")), call(entry(": 1}", name="f", index=0, id="1")),
             call(entry('{"b"', name="g", index=1, id="2")), call(entry(": 2}", name="g", index=1, id="2")),
             call(entry("", name="g", index=1, id="2"))],
            id="name and id repeated in every chunk",
        ),
        pytest.param(
            [call(entry('{"a"', name="f", index=0, id="1")), call(entry(": 1}", index=0, id="x9")),
             call(entry('{"b"', name="g", index=1, id="2")), call(entry(": 2}", index=1, id="x8"))],
            id="a new id with every chunk",
        ),
        pytest.param(
            [call(entry('{"a"', name="f", index=0, id="1")), call(entry(": 1}", name="f", index=0, id="x9")),
             call(entry('{"b"', name="g", index=1, id="2")), call(entry(": 2}", name="g", index=1, id="x8"))],
            id="a new id and the name with every chunk",
        ),
        pytest.param(
            [call(entry(None, name="f", index=0, id="1")), call(entry('{"a": 1}', name="", index=0, id=None)),
             call(entry(None, name="g", index=1, id="2")), call(entry('{"b": 2}', name=None, index=1))],
            id="null in place of texts",
        ),
        pytest.param(
            [call(entry(None, index=0, id="1")), call(entry('{"a"', name="f", index=0)), call(entry(": 1}", index=0)),
             call({"index": 1, "id": "2"}), call({"index": 1, "function": None}), call(entry('{"b": 2}', name="g", index=1))],
            id="the name comes later",
        ),
        pytest.param(
            [call(entry('{"a": 1}', index=0, id="1")), call(entry("", name="f", index=0)), call(entry('{"b": 2}', name="g", index=1, id=2))],
            id="the name comes last, the id is a number",
        ),
        pytest.param(
            [call(entry('{"a": 1}', name="f", index=0, id="1")), call(entry("", name="g", index=0, id="2")),
             call(entry('{"b"', index=1)), call(entry(": 2}", index=1))],
            id="the beginning of the second under the index of the first",
        ),
    ],
)  # fmt: skip
def test_tool_calls_as_servers_write_them(chunks: list[dict[str, Any]]) -> None:
    said = answer(*chunks, delta("tool_calls"), DONE)
    assert said.calls == [F, G]
    assert said.end is not None
    assert said.end.reason == "tool_calls"


def test_calls_of_the_same_tool_under_one_index() -> None:
    chunks = [call(entry(f'{{"n": {n}}}', name="f", index=0, id=str(n))) for n in range(3)]
    assert answer(*chunks, STOP).calls == [(str(n), "f", f'{{"n": {n}}}') for n in range(3)]


def test_calls_without_any_id_or_index() -> None:
    chunks = [call(entry('{"n": 0}', name="f")), call(entry('{"n": 1}', name="f")), call(entry("{}", name="g"))]
    assert answer(*chunks, STOP).calls == [("", "f", '{"n": 0}'), ("", "f", '{"n": 1}'), ("", "g", "{}")]


@pytest.mark.parametrize("places", [(0, 1), (0, 0), (1, 0), (None, None), (0, None), ("a", "b")])
def test_a_whole_call_that_is_said_again_is_one(places: tuple[Any, Any]) -> None:
    """An id is of one call. It ran twice under two indices, as a payment would."""
    first, again = (call(entry('{"a": 1}', name="f", index=place, id="x")) for place in places)
    assert answer(first, again, STOP).calls == [("x", "f", '{"a": 1}')]
    other = call(entry("{}", name="g", index=2, id="y"))
    assert answer(first, other, again, STOP).calls == [("x", "f", '{"a": 1}'), ("y", "g", "{}")]
    # Nothing more of it comes under the new index.
    rest = call(entry("", index=places[1], id="x"))
    assert answer(first, again, rest, STOP).calls == [("x", "f", '{"a": 1}')]


@pytest.mark.parametrize(("first_id", "second_id"), [("", ""), ("f", "f"), ("x", "y"), ("", "x")])
def test_two_calls_that_look_the_same_are_two(first_id: str, second_id: str) -> None:
    """Two dice: nothing tells them from a call that is said twice, and a call that is left out is an answer that is missing.

    run-llama/llama_index#22464 dropped the second one by its name and arguments. Without ids (Ollama before 0.12.10), or with the name
    for an id (tetsuo-ai/agenc-core#417), both run. A server that says a call twice without an id has it run twice: that cannot be told apart.
    """
    chunks = [call(entry("{}", name="f", index=index, id=own)) for index, own in enumerate((first_id, second_id))]
    assert answer(*chunks, STOP).calls == [(first_id, "f", "{}"), (second_id, "f", "{}")]


def test_the_same_id_with_other_arguments_is_another_call() -> None:
    """Servers with one id for all calls; and what comes in pieces has begun to be shown before anybody can see that it is the same."""
    chunks = [call(entry(f'{{"n": {n}}}', name="f", index=n, id="x")) for n in range(2)]
    assert answer(*chunks, STOP).calls == [("x", "f", '{"n": 0}'), ("x", "f", '{"n": 1}')]
    pieces = [call(entry("", name="f", index=1, id="x")), call(entry('{"n": 0}', index=1))]
    assert answer(chunks[0], *pieces, STOP).calls == [("x", "f", '{"n": 0}')] * 2


def test_arguments_as_an_object() -> None:
    said = answer(call(entry({"a": [1, "ü"]}, name="f", index=0)), STOP)
    assert json.loads(said.calls[0][2]) == {"a": [1, "ü"]}


def test_no_arguments_and_no_name() -> None:
    assert answer(call(entry("", name="f", index=0, id="1")), delta("tool_calls")).calls == [("1", "f", "")]
    assert answer(call(entry('{"a": 1}', index=0, id="1")), STOP).calls == [("1", "", '{"a": 1}')]


def test_a_legacy_function_call() -> None:
    said = answer(
        delta(function_call={"name": "f", "arguments": ""}),
        delta(function_call={"arguments": '{"a"'}),
        delta(function_call={"arguments": ": 1}"}),
        delta("function_call"),
    )
    assert said.calls == [("", "f", '{"a": 1}')]
    assert said.end is not None
    assert (said.end.reason, said.end.raw_reason) == ("tool_calls", "function_call")


def test_a_signed_call_keeps_its_signature() -> None:
    signed = {"extra_content": {"google": {"thought_signature": "sig"}}}
    calls = call(entry("{}", name="roll", index=0, id="a", **signed), entry("{}", name="look", index=1, id="b"))
    items, _ = decode([sse(calls, delta("tool_calls"))])
    answer = Answer(items)
    assert [msgspec.json.decode(sidecar.data) for sidecar in answer.sidecars.values()] == [signed]
    assert list(answer.sidecars) == [0]


def test_reasoning_details_are_put_together() -> None:
    text = {"type": "reasoning.text", "index": 0, "format": "anthropic-claude-v1"}
    chunks = [
        delta(reasoning="Hm, ", reasoning_details=[{**text, "text": "Hm, "}]),
        delta(reasoning="well.", reasoning_details=[{**text, "text": "well.", "signature": None}]),
        delta(reasoning_details=[{**text, "signature": "sig"}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "b1", "id": "r1", "index": 1}]),
        delta(reasoning_details=[{"type": "reasoning.encrypted", "data": "b2", "id": "r2", "index": 1}, 7]),
        delta(content="Yes."),
        STOP,
    ]
    items, _ = decode([sse(*chunks)])
    answer = Answer(items)
    assert answer.kinds == ["reasoning", "text", "opaque"]
    assert msgspec.json.decode(answer.sidecars[2].data) == {
        "reasoning_details": [
            {**text, "text": "Hm, well.", "signature": "sig"},
            {"type": "reasoning.encrypted", "data": "b1", "id": "r1", "index": 1},
            {"type": "reasoning.encrypted", "data": "b2", "id": "r2", "index": 1},
        ]
    }


def test_a_signature_beside_the_text_is_kept() -> None:
    chunks = [delta(content="Yes.", extra_content={"google": {"thought": False}}), STOP]
    chunks.insert(1, delta(content="", extra_content={"google": {"thought_signature": "\ud800s"}}))
    items, _ = decode([sse(*chunks)])
    kept = msgspec.json.decode(Answer(items).sidecars[1].data)
    assert kept == {"extra_content": {"google": {"thought": False, "thought_signature": "\ufffds"}}}


@pytest.mark.parametrize(
    "event",
    [
        b'{"error": {"message": {"a": %s}}}' % (b"9" * 60),
        b'{"error": {"message": NaN, "code": 1e400}}',
        b'{"error": {"code": "\\ud800", "other": "\\udfff"}}',
        b'{"error": ' + b'{"error": ' * 800 + b"1" + b"}" * 801,
        b'{"choices": [{"delta": {"extra_content": ' + b"[" * 900 + b"]" * 900 + b"}}]}",
        b'{"choices": [{"delta": {"content": "a"}, "index": -1}], "usage": {"prompt_tokens": %s}}' % (b"9" * 5000),
        b'{"choices": [{"delta": {"tool_calls": [{"index": -7, "function": {"arguments": {"a": [%s]}}}]}}]}'
        % (b"[" * 700 + b"]" * 700),
    ],
)
def test_numbers_and_nests_beyond_all_measure(event: bytes) -> None:
    items, error = decode([sse(delta(content="Half"), event)])
    assert Answer(items).joined("text") == "Half"
    assert isinstance(error, BackendError)
    error.message.encode()


def test_text_before_and_after_calls() -> None:
    said = answer(
        delta(content="Let me look."), call(entry("{}", name="f", index=0)), delta(content="\n"), delta("tool_calls")
    )
    assert said.kinds == ["text", "tool_call", "text"]


def test_a_text_ends_before_a_call_begins() -> None:
    items = decoder().feed(sse(delta(content="a"), call(entry('{"a', name="f", index=0, id="1"))))
    assert items == [
        PartStarted(part=0, kind="text"),
        PartDelta(part=0, delta="a"),
        PartEnded(part=0),
        PartStarted(part=1, kind="tool_call", call_id="1", name="f"),
        PartDelta(part=1, delta='{"a'),
    ]


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("content_filter", "refusal"),
        ("a_word_of_tomorrow", "other"),
        ("tool_calls", "stop"),  # without any call
    ],
)
def test_finish_reasons(raw: str, reason: str) -> None:
    said = answer(delta(content="x"), delta(raw), DONE)
    assert said.end is not None
    assert (said.end.reason, said.end.raw_reason) == (reason, raw)


def test_calls_decide_over_the_finish_reason() -> None:
    said = answer(call(entry("{}", name="f", index=0)), delta("stop"))
    assert said.end is not None
    assert (said.end.reason, said.end.raw_reason) == ("tool_calls", "stop")
    said = answer(call(entry('{"a', name="f", index=0)), delta("length"))
    assert said.end is not None
    assert said.end.reason == "length"


def test_done_without_a_finish_reason_is_an_end() -> None:
    said = answer(delta(content="x"), DONE)
    assert said.end is not None
    assert (said.end.reason, said.end.raw_reason) == ("stop", "")


def test_a_finish_reason_without_done_is_an_end() -> None:
    assert answer(delta(content="x"), STOP).end is not None


def test_content_after_the_finish_reason_counts() -> None:
    assert answer(delta("stop", content="a"), delta(content="b"), DONE).joined("text") == "ab"


def test_what_follows_done_does_not() -> None:
    stream = sse(delta(content="a"), STOP, DONE, delta(content="b"), b"{broken", DONE)
    items, error = decode([stream, stream])
    assert error is None
    assert Answer(items).joined("text") == "a"


def test_an_event_that_is_cut_behind_the_finish_reason() -> None:
    items, error = decode([sse(delta(content="x"), STOP) + b'data: {"choices": [], "usage": {"promp'])
    assert error is None
    assert Answer(items).end is not None


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"", "ended before it began"),
        (b": ping\n\n", "ended before it began"),
        (sse(delta(content="x")), "ended in the middle"),
        (sse(delta(role="assistant")), "ended in the middle"),
        (sse(DONE), "without an answer"),
        (sse({"choices": [], "usage": {"prompt_tokens": 1}}, DONE), "without an answer"),
    ],
)
def test_answers_that_are_not_complete(stream: bytes, said: str) -> None:
    _, error = decode([stream])
    assert isinstance(error, BackendGarbled)
    assert said in error.message


# --- usage --------------------------------------------------------------------------------------------------------------


OPENAI_USAGE = {
    "prompt_tokens": 100,
    "completion_tokens": 50,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 80, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 30},
}
USAGE = Usage(input_tokens=100, output_tokens=50, cached_input_tokens=80, reasoning_tokens=30)


@pytest.mark.parametrize(
    ("chunks", "usage"),
    [
        ([STOP, {"choices": [], "usage": OPENAI_USAGE}], USAGE),
        ([STOP | {"usage": OPENAI_USAGE}], USAGE),
        ([delta(content="x") | {"usage": {"prompt_tokens": 100, "completion_tokens": 1}}, STOP | {"usage": OPENAI_USAGE}], USAGE),
        ([STOP | {"usage": OPENAI_USAGE}, {"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0}}], USAGE),
        ([STOP | {"usage": OPENAI_USAGE}, {"choices": [], "usage": None}], USAGE),
        ([STOP | {"x_groq": {"usage": OPENAI_USAGE}}], USAGE),
        ([{"choices": [{"delta": {}, "finish_reason": "stop", "usage": OPENAI_USAGE}]}], USAGE),
        (
            [STOP | {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_cache_hit_tokens": 7}}],
            Usage(input_tokens=9, output_tokens=4, cached_input_tokens=7),
        ),
        (
            [STOP | {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "cached_tokens": 7}}],
            Usage(input_tokens=9, output_tokens=4, cached_input_tokens=7),
        ),
        (
            [STOP | {"usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 10}}}],
            Usage(input_tokens=9, output_tokens=12, reasoning_tokens=10),
        ),
        (
            [STOP | {"usage": {"prompt_tokens": "9", "completion_tokens": -4, "prompt_tokens_details": [], "completion_tokens_details": None}}],
            Usage(),
        ),
        (
            [STOP | {"usage": {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cache_write_tokens": 5}}}],
            Usage(input_tokens=9, output_tokens=4, cache_write_input_tokens=5),
        ),
        ([STOP], None),
    ],
)  # fmt: skip
def test_usage(chunks: list[dict[str, Any]], usage: Usage | None) -> None:
    said = answer(delta(content="x"), *chunks, DONE)
    assert said.end is not None
    assert said.end.usage == usage


# --- errors -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"error": {"message": "Overloaded", "type": "server_error"}}, BackendUnavailable),
        ({"error": {"code": 502, "message": "Overloaded"}, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, BackendUnavailable),
        ({"choices": [{"index": 0, "delta": {}, "error": {"code": 503, "message": "Overloaded"}}]}, BackendUnavailable),
        ({"object": "error", "message": "Overloaded", "type": "InternalServerError", "code": 500}, BackendUnavailable),
        ({"error": "Overloaded"}, BackendUnavailable),
    ],
)  # fmt: skip
def test_an_error_in_the_stream_comes_after_what_was_said(event: dict[str, Any], expected: type[BackendError]) -> None:
    items, error = decode([sse(delta(content="par"), delta(content="tial"), event, delta(content="no"))])
    assert type(error) is expected
    assert "Overloaded" in str(error)
    assert Answer(items).joined("text") == "partial"


def test_a_finish_reason_error_is_one() -> None:
    items, error = decode([sse(delta(content="x"), delta("error"), DONE)])
    assert isinstance(error, BackendUnavailable)
    assert Answer(items).end is None


@pytest.mark.parametrize(
    "event",
    [
        b"{not json",
        b'{"choices": [',
        b'{"choices": [{"delta": {"content": "\xff"}}]}',
        b'{"choices": [{"delta": {"content": "\x00"}}]}',
        b"7",
        b"[]",
        b'"text"',
        b'{"choices": {"0": {}}}',
        b'{"choices": [null]}',
        b'{"choices": [{"delta": []}]}',
        b"[" * 100_000,
        b'{"x": ' + b"[" * 100_000,
    ],
)
def test_what_cannot_be_read_is_garbled(event: bytes) -> None:
    items, error = decode([sse(delta(content="before"), event, delta(content="after"))])
    assert isinstance(error, BackendGarbled)
    assert "cannot be read" in error.message
    assert len(error.message) < 1000
    assert Answer(items).joined("text") == "before"


def test_a_failed_decoder_stays_failed() -> None:
    reader = decoder()
    assert reader.feed(sse(delta(content="x"), b"{")) != []
    assert isinstance(reader.failure, BackendGarbled)
    for _ in range(2):
        with pytest.raises(BackendGarbled):
            reader.feed(sse(STOP, DONE))
        with pytest.raises(BackendGarbled):
            reader.close()


# --- Unicode ------------------------------------------------------------------------------------------------------------


def raw(text: str) -> bytes:
    return b'{"choices": [{"index": 0, "delta": {"content": "%b"}}]}' % text.encode()


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([r"a\ud83d\ude42b"], "a🙂b"),
        ([r"a\ud83d", r"\ude42b"], "a🙂b"),
        ([r"a\ud83d", "b"], "a\ufffdb"),
        ([r"\ude42b"], "\ufffdb"),
        ([r"a\ud83d"], "a\ufffd"),
        ([r"\ud83d", r"\ud83d", r"\ude42"], "\ufffd🙂"),
        ([r"a\ud83d", "", r"\ude42"], "a🙂"),
        (["naïve 🙂"], "naïve 🙂"),
        ([r"nul \u0000"], "nul \x00"),
    ],
)
def test_halves_of_surrogate_pairs(texts: list[str], said: str) -> None:
    assert answer(*map(raw, texts), STOP).joined("text") == said


def test_a_half_pair_does_not_cross_into_another_part() -> None:
    said = answer(raw(r"a\ud83d"), call(entry("{}", name="f", index=0)), raw(r"\ude42b"), STOP)
    assert said.joined("text") == "a\ufffd\ufffdb"


def test_half_pairs_in_arguments_names_and_ids() -> None:
    halves = rb'{"choices": [{"delta": {"tool_calls": [{"id": "x\ud83d", "function": {"name": "f\ud83d", "arguments": "%b"}}]}}]}'
    more = rb'{"choices": [{"delta": {"tool_calls": [{"function": {"arguments": "\ude42"}}]}}]}'
    assert answer(halves % rb"a\ud83d", more, STOP).calls == [("x\ufffd", "f\ufffd", "a🙂")]
    assert answer(halves % rb"a\ud83d", STOP).calls == [("x\ufffd", "f\ufffd", "a\ufffd")]


def test_not_a_number_is_read() -> None:
    chunk = b'{"choices": [{"index": 0, "delta": {"content": "x"}, "logprobs": NaN}]}'
    assert answer(chunk, STOP).joined("text") == "x"


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_an_answer_has_a_size() -> None:
    items, error = decode([sse(delta(content="x" * 60), delta(content="é" * 30))] * 2, Limits(step_bytes_max=200))
    assert isinstance(error, LimitExceeded)
    assert len(Answer(items).joined("text").encode()) <= 240


def test_an_answer_has_a_number_of_parts() -> None:
    chunks = [call(entry("{}", name="f", index=index)) for index in range(10)]
    items, error = decode([sse(*chunks)], Limits(step_parts_max=4))
    assert isinstance(error, LimitExceeded)
    assert len(Answer(items).parts) == 4


def test_arguments_have_a_size() -> None:
    chunks = [call(entry("x" * 50, name="f", index=0)), call(entry("x" * 60, index=0))]
    _, error = decode([sse(chunk) for chunk in chunks], Limits(tool_arguments_bytes_max=100))
    assert isinstance(error, LimitExceeded)
    assert "100 bytes" in error.message


def test_a_hostile_stream_of_calls_stays_cheap() -> None:
    """Arguments that always might be complete must not be tried again and again."""
    first = call(entry('{"a": "', name="f", index=0, id="0"))
    rest = [call(entry("{}", name="f", index=0, id=str(number))) for number in range(20_000)]
    items, error = decode([sse(first, *rest, STOP)])
    assert error is None
    assert len(Answer(items).calls) == 1


# --- anything at all ----------------------------------------------------------------------------------------------------


scraps = st.sampled_from(
    [
        delta(content="a"), delta(content="b🙂"), delta(reasoning_content="r"), delta(refusal="n"), delta(content=[{"text": "l"}]),
        call(entry("{", name="f", index=0, id="1")), call(entry("}", index=0)), call(entry('{"x": 1}', name="g", id="2")),
        call(entry("{}", name="f", index=1, id="1")), call(entry(None)), call({}), delta(function_call={"name": "h", "arguments": "{}"}),
        delta("stop"), delta("tool_calls"), delta("length"), {"choices": []}, {"choices": [], "usage": {"prompt_tokens": 3}},
        raw(r"\ud83d"), raw(r"\ude42"), {"error": {"message": "e"}}, b"{broken", DONE,
    ]
)  # fmt: skip


@given(chunks=st.lists(scraps, max_size=12), cuts=st.lists(st.integers(0, 1500), max_size=8))
def test_items_are_well_formed_whatever_comes(chunks: list[dict[str, Any] | bytes], cuts: list[int]) -> None:
    stream = sse(*chunks)
    whole, error = decode([stream])
    edges = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    items, cut_error = decode(stream[start:stop] for start, stop in pairwise(edges))
    assert vars(Answer(items)) == vars(Answer(whole))
    assert type(error) is type(cut_error)
    assert (Answer(items).end is None) == (error is not None)
