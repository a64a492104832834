"""A call that the end of its answer may have cut off is never run, in no dialect, after no crash, with no approval.

Case T1 (OpenRouterTeam/typescript-agent#125, jaseci-labs/jac#6766): the output limit cuts the answer right after the name of a call;
with what is missing, the tool would run with all its defaults.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from backends.test_damage import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from backends.wire import END, EVENTS, chunked, serve
from contract.conftest import OpenStage, in_memory
from contract.reading import checked_run, results_of, types
from contract.stage import words
from contract.test_provider_faults import asking, plain
from greenroom import Toolset, tool
from greenroom.backends.scripted import Call, Finish, Say
from greenroom.messages import FinishReason

Json = dict[str, Any]
Answer = tuple[Dialect, Sequence[Json]]


class Disk(Toolset):
    """A disk."""

    def __init__(self) -> None:
        self.wiped: list[tuple[str, bool]] = []

    @tool
    async def wipe(self, folder: str = "/", force: bool = True) -> str:  # noqa: FBT001, FBT002 - the case's signature
        """Wipes a folder."""
        self.wiped.append((folder, force))
        return f"wiped {folder}"


# --- over the wire, in every dialect -------------------------------------------------------------------------------------


def chat(reason: str | None, *pieces: str, after: Sequence[Json] = ()) -> Answer:
    def chunk(delta: Json, finish: str | None = None) -> Json:
        return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    call = {"index": 0, "id": "t", "type": "function", "function": {"name": "wipe", "arguments": ""}}
    grown = [chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}) for piece in pieces]
    return CHAT, [chunk({"tool_calls": [call]}), *grown, *after, *([] if reason is None else [chunk({}, reason)])]


def messages(reason: str, *pieces: str, details: Json | None = None) -> Answer:
    block = {"type": "tool_use", "id": "t", "name": "wipe", "input": {}}
    delta = {"stop_reason": reason, **({"stop_details": details} if details else {})}
    return MESSAGES, [
        MESSAGES.events[0],
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {"type": "content_block_delta", "index": 0, "delta": {"type": "input_json_delta", "partial_json": piece}}
            for piece in pieces
        ),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]


def responses(end: str, reason: str | None, *pieces: str, status: str = "incomplete", done: bool = True) -> Answer:
    item = {"type": "function_call", "id": "fc", "call_id": "t", "name": "wipe"}
    about = {"output_index": 0, "item_id": "fc"}
    whole = {**item, "arguments": "".join(pieces), "status": status}
    details = {} if reason is None else {"incomplete_details": {"reason": reason}}
    return RESPONSES, [
        RESPONSES.events[0],
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "arguments": ""}},
        *({"type": "response.function_call_arguments.delta", **about, "delta": piece} for piece in pieces),
        *([{"type": "response.output_item.done", "output_index": 0, "item": whole}] if done else []),
        {"type": f"response.{end}", "response": {"id": "r", "status": end, **details}},
    ]


CUT: Final[dict[str, Answer]] = {
    "chat, length": chat("length"),
    "chat, content_filter": chat("content_filter"),
    "chat, Gemini's SAFETY": chat("SAFETY"),
    "chat, a word of tomorrow": chat("a_word_of_tomorrow"),
    "chat, [DONE] without a reason": chat(None),
    "chat, blanks": chat("length", "  "),
    "chat, half an object": chat("length", '{"folder": "/tm'),
    "chat, a beginning that is whole": chat("length", "{}"),
    "messages, max_tokens": messages("max_tokens"),
    "messages, model_context_window_exceeded": messages("model_context_window_exceeded"),
    "messages, refusal": messages("refusal"),
    "messages, refusal with words": messages("refusal", details={"type": "refusal", "explanation": "No."}),
    "messages, a word of tomorrow": messages("a_word_of_tomorrow"),
    "messages, half an object": messages("max_tokens", '{"folder": "/tm'),
    "responses, max_output_tokens": responses("incomplete", "max_output_tokens"),
    "responses, content_filter": responses("incomplete", "content_filter"),
    "responses, no reason": responses("incomplete", None),
    "responses, item not done": responses("incomplete", "max_output_tokens", done=False),
    "responses, an item that says it is whole": responses("incomplete", "max_output_tokens", status="completed"),
    "responses, only the item says it is cut": responses("completed", None),
    "responses, half an object": responses("incomplete", "max_output_tokens", '{"folder": "/tm'),
}
WHOLE: Final[dict[str, tuple[Answer, str]]] = {
    "chat, no arguments": (chat("tool_calls"), "/"),
    "chat, no arguments, stop": (chat("stop"), "/"),
    "chat, arguments, then length": (chat("length", '{"folder": ', '"/tmp"}'), "/tmp"),
    "messages, no arguments": (messages("tool_use"), "/"),
    "messages, arguments, then max_tokens": (messages("max_tokens", '{"folder": "/tmp"}'), "/tmp"),
    "responses, no arguments": (responses("completed", None, status="completed"), "/"),
    "responses, arguments, then incomplete": (
        responses("incomplete", "max_output_tokens", '{"folder": "/tmp"}'),
        "/tmp",
    ),
}


async def ran(open_stage: OpenStage, answer: Answer) -> tuple[Disk, list[str]]:
    """Returns the disk after an answer, and what the model was told of its call."""
    dialect, events = answer
    following = dialect.written(plain(dialect))
    disk = Disk()
    wire_answers = [[EVENTS, chunked(dialect.written(events)), END], [EVENTS, chunked(following), END]]
    async with serve(*wire_answers) as wire:
        stage, session_id = await asking(open_stage, dialect, wire, toolsets=[disk], additional_tools=["Disk"])
        events = checked_run(
            [event async for event in stage.manager.stream_response(session_id, "Tidy up")], broken_arguments=True
        )
        assert events[-1]["type"] == "RUN_FINISHED"
        assert len(wire.bodies) == 2
        results = results_of(events)
        assert json.dumps(results[0])[1:-1] in wire.bodies[-1].decode(), "the model reads what the person sees"
    return disk, results


@in_memory
@pytest.mark.parametrize("name", CUT)
async def test_a_call_that_was_cut_off_never_runs(open_stage: OpenStage, name: str) -> None:
    disk, results = await ran(open_stage, CUT[name])
    assert disk.wiped == []
    assert len(results) == 1
    assert "cut off" in results[0]
    assert "before this call was complete" in results[0]


@in_memory
@pytest.mark.parametrize("name", WHOLE)
async def test_a_call_that_is_whole_runs(open_stage: OpenStage, name: str) -> None:
    answer, folder = WHOLE[name]
    disk, results = await ran(open_stage, answer)
    assert disk.wiped == [(folder, True)]
    assert results == [f"wiped {folder}"]


def test_the_cases_are_of_every_dialect() -> None:
    for dialect in DIALECTS:
        assert any(answer[0] is dialect for answer in CUT.values())
        assert any(answer[0] is dialect for answer, _ in WHOLE.values())


# --- decided from the log: what a backend of somebody else says, approvals, several calls ---------------------------------


def once(*cues: Any) -> Callable[[Any], Any]:
    def step(request: Any) -> Any:
        role, said = words(request)[-1]
        return list(cues) if role == "user" else [Say(f"I read: {said}")]

    return step


@pytest.mark.parametrize("reason", ["length", "refusal", "other"])
async def test_nobody_is_asked_about_half_a_call(open_stage: OpenStage, reason: FinishReason) -> None:
    disk = Disk()
    stage = open_stage(once(Call("wipe", ""), Finish(reason=reason)), toolsets=[disk])
    session_id = await stage.session(additional_tools=["Disk"], approval={"wipe": "ask"})
    events = await stage.say(session_id, "Tidy up")
    assert events[-1]["type"] == "RUN_FINISHED"
    assert events[-1].get("outcome", {}).get("type") != "interrupt"
    assert await stage.manager.approvals(session_id) == []
    assert disk.wiped == []


@in_memory
async def test_of_several_calls_the_whole_ones_run(open_stage: OpenStage) -> None:
    disk = Disk()
    calls = [Call("wipe", {"folder": "/a"}), Call("wipe", {}), Call("wipe", '{"folder": "/b"'), Call("wipe", "{}")]
    stage = open_stage(once(*calls, Finish(reason="length")), toolsets=[disk])
    session_id = await stage.session(additional_tools=["Disk"])
    events = await stage.say(session_id, "Tidy up")
    # The second is followed by more of the answer, so it is whole; the last may be what stands in for arguments to come.
    assert disk.wiped == [("/a", True), ("/", True)]
    told = {event["toolCallId"]: event["content"] for event in events if event["type"] == "TOOL_CALL_RESULT"}
    assert [("cut off by the output limit" in told[f"call_1_{n}"]) for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert "TEXT_MESSAGE_CONTENT" in types(events)


@in_memory
@pytest.mark.parametrize(
    ("reason", "raw", "by"),
    [
        ("length", "max_tokens", "the output limit"),
        ("refusal", "content_filter", "the provider's content filter"),
        ("refusal", "refusal", "a refusal"),
        ("other", "weird", "its provider ('weird')"),
        ("other", "", "its provider before"),
        # What older versions wrote of a provider that had failed, whose unfinished call they would have run.
        ("tool_calls", "abort", "its provider ('abort')"),
        ("stop", "network_error", "its provider ('network_error')"),
    ],
)
async def test_the_model_is_told_by_what(open_stage: OpenStage, reason: FinishReason, raw: str, by: str) -> None:
    disk = Disk()
    stage = open_stage(once(Call("wipe", ""), Finish(reason=reason, raw_reason=raw)), toolsets=[disk])
    session_id = await stage.session(additional_tools=["Disk"])
    await stage.say(session_id, "Tidy up")
    assert disk.wiped == []
    assert f"cut off by {by}" in words(stage.last_request)[-1][1]


@in_memory
@pytest.mark.parametrize(
    ("reason", "raw"), [("tool_calls", "tool_use"), ("stop", ""), ("tool_calls", "a word of its own")]
)
async def test_without_arguments_it_runs_after_a_normal_end(
    open_stage: OpenStage, reason: FinishReason, raw: str
) -> None:
    disk = Disk()
    stage = open_stage(once(Call("wipe", ""), Finish(reason=reason, raw_reason=raw)), toolsets=[disk])
    session_id = await stage.session(additional_tools=["Disk"])
    await stage.say(session_id, "Tidy up")
    assert disk.wiped == [("/", True)]


# --- ends that nobody understands, and those that mean a failure (P2: vllm-project/vllm#57082) -----------------------------


@in_memory
@pytest.mark.parametrize("word", ["a_word_of_tomorrow", ""])
async def test_a_reason_that_is_not_known_is_told_once(open_stage: OpenStage, word: str) -> None:
    stage = open_stage([[Say("Hel"), Finish(reason="other", raw_reason=word)]] * 2)
    session_id = await stage.session()
    told: list[str] = []
    for _ in range(2):
        receipt = await stage.manager.send(session_id, "Hello")
        frames = [data async for _, data in stage.manager.attach(session_id, receipt.cursor, protocol="native")]
        told += [event["text"] for frame in frames if (event := json.loads(frame)).get("type") == "notice_given"]
    assert len(told) == 1
    assert repr(word) in told[0] if word else "did not say why" in told[0]


@in_memory
@pytest.mark.parametrize("word", ["abort", "MALFORMED_FUNCTION_CALL"])
async def test_a_reason_that_means_a_failure_is_asked_again(open_stage: OpenStage, word: str) -> None:
    stage = open_stage([[Say("Hel"), Finish(reason="other", raw_reason=word)], "Hello"])
    session_id = await stage.session()
    assert (await stage.say(session_id))[-1]["type"] == "RUN_FINISHED"
    assert (await stage.manager.history(session_id))[-1].text == "Hello"


@in_memory
async def test_the_explanation_of_a_refusal_is_shown_and_not_said_again(open_stage: OpenStage) -> None:
    """Case P24: it went back as the assistant's own words."""
    refusal = {
        "type": "message_delta",
        "delta": {"stop_reason": "refusal", "stop_details": {"explanation": "Too dangerous."}},
    }
    events = [MESSAGES.events[0], refusal, {"type": "message_stop"}]
    answers = [[EVENTS, chunked(MESSAGES.written(one)), END] for one in (events, plain(MESSAGES))]
    async with serve(*answers) as wire:
        stage, session_id = await asking(open_stage, MESSAGES, wire)
        said = [event async for event in stage.manager.stream_response(session_id, "How?")]
        assert any("Too dangerous." in event for event in said)
        assert [event async for event in stage.manager.stream_response(session_id, "And now?")]
        assert "Too dangerous." not in wire.bodies[-1].decode()
        assert "Too dangerous." in (await stage.manager.history(session_id))[1].text
