"""An answer that is not whole says so: in the history, in every protocol, to a reader that comes later, in the client.

Case P3 (CherryHQ/cherry-studio#16079): an answer that was cut off at the output limit was a success like any other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import only, types
from greenroom.backends.scripted import Call, Count, Finish, Say
from greenroom.client.answer import Answer
from greenroom.messages import FinishReason, Usage
from greenroom.protocols.projection import ProtocolName

Json = dict[str, Any]

FULL = (
    "the answer was cut off because the context window of the model is full: start a new session, "
    "or choose a model with a larger one"
)
ENDS = [
    (
        "length",
        "length",
        "length",
        "the answer was cut off at the limit of 7 tokens: ask for the rest, or raise max_tokens",
    ),
    (
        "length",
        "MAX_TOKENS",
        "length",
        "the answer was cut off at the limit of 7 tokens: ask for the rest, or raise max_tokens",
    ),
    ("length", "model_context_window_exceeded", "context", FULL),
    ("length", "model_length", "context", FULL),
    ("refusal", "content_filter", "content_filter", "the provider's content filter cut the answer off"),
    ("refusal", "SAFETY", "content_filter", "the provider's content filter cut the answer off"),
    ("refusal", "refusal", "refusal", "the model declined to answer"),
    (
        "other",
        "moonrise",
        "other",
        "the answer may be incomplete: its provider ended it for an unknown reason ('moonrise')",
    ),
]


def cut(reason: FinishReason, raw_reason: str) -> Sequence[Any]:
    usage = Usage(input_tokens=3, output_tokens=7)
    return [Say("Half a sent"), Count(usage), Finish(reason=reason, raw_reason=raw_reason, usage=usage)]


async def frames_of(manager: Any, session_id: str, protocol: ProtocolName) -> list[Json]:
    turn_id = (await manager.history(session_id))[-1].turn_id
    texts = [frame.data async for frame in manager.attach(session_id, protocol=protocol, turn_id=turn_id)]
    return [json.loads(text) for text in texts if text != "[DONE]"]


@in_memory
@pytest.mark.parametrize(("reason", "raw_reason", "finish", "text"), ENDS)
async def test_every_reader_is_told(
    open_stage: OpenStage, reason: FinishReason, raw_reason: str, finish: str, text: str
) -> None:
    stage = open_stage(lambda _: cut(reason, raw_reason))
    session_id = await stage.session()
    live = await stage.say(session_id)
    later = await frames_of(stage.manager, session_id, "ag-ui")
    older = await frames_of(stage.manager, session_id, "ag-ui-0")
    for events in (live, later, older):
        finished = only(events, "RUN_FINISHED")
        assert finished["outcome"] == {"type": "success"}
        assert finished["result"] == {"finishReason": finish, "outputTokens": 7}
        (notice,) = [event["value"] for event in events if event["type"] == "CUSTOM"]
        if notice["code"] == "finish_reason:moonrise":
            assert finish == "other", "told once, where it is new to the session"
            assert "'moonrise'" in notice["text"]
        else:
            assert notice == {"code": f"answer_{finish}", "text": text}

    answer = (await stage.manager.history(session_id))[-1]
    assert (answer.outcome, answer.finish_reason) == ("completed", finish)

    folded = Answer()
    for event in live:
        folded.apply(event)
    assert (folded.outcome, folded.finish_reason) == ("success", finish)

    chat = await frames_of(stage.manager, session_id, "ai-sdk")
    metadata = only(chat, "finish")["messageMetadata"]
    assert (metadata["finishReason"], metadata["finishTokens"]) == (finish.replace("_", "-"), 7)

    native = await frames_of(stage.manager, session_id, "native")
    (ended,) = [frame for frame in native if frame["type"] == "step_finished"]
    assert (ended["reason"], ended["raw_reason"]) == (reason, raw_reason)


@in_memory
async def test_a_whole_answer_says_nothing_more(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: [Say("A sentence."), Finish(raw_reason="stop")])
    session_id = await stage.session()
    events = await stage.say(session_id)
    assert "result" not in only(events, "RUN_FINISHED")
    assert "CUSTOM" not in types(events)
    assert (await stage.manager.history(session_id))[-1].finish_reason == "stop"


@in_memory
async def test_an_unknown_reason_is_told_of_every_answer_and_once(open_stage: OpenStage) -> None:
    """It was told twice of the first answer: as new to the session, and as the end of the answer."""
    stage = open_stage(lambda _: cut("other", "moonrise"))
    session_id = await stage.session()
    for code in ("finish_reason:moonrise", "answer_other"):
        events = await stage.say(session_id)
        (notice,) = [event["value"] for event in events if event["type"] == "CUSTOM"]
        assert notice["code"] == code
        assert "moonrise" in notice["text"]
        assert only(events, "RUN_FINISHED")["result"]["finishReason"] == "other"


@in_memory
async def test_only_the_last_step_counts(open_stage: OpenStage) -> None:
    """What an earlier turn ended with is not told of the next one."""
    script = iter([cut("length", "length"), [Say("Whole.")]])
    stage = open_stage(lambda _: next(script))
    session_id = await stage.session()
    first, second = await stage.say(session_id), await stage.say(session_id, "Go on")
    assert "result" in only(first, "RUN_FINISHED")
    assert "result" not in only(second, "RUN_FINISHED")
    assert [message.finish_reason for message in await stage.manager.history(session_id)] == ["", "length", "", "stop"]


@in_memory
async def test_an_answer_that_failed_has_no_such_reason(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: [Call("no_such_tool", {})])
    session_id = await stage.session(max_steps=1)
    await stage.say(session_id)
    answer = (await stage.manager.history(session_id))[-1]
    assert (answer.outcome, answer.finish_reason) == ("failed", "")
