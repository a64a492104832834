"""The AI SDK's UI message stream: whole, joined and rejoined at every position, and however a turn ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, cast

import msgspec
import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import all_of
from contract.stage import Stage, becomes, let_others_run, words
from greenroom import BackendRejected
from greenroom.backends.scripted import Call, Cut, Fail, Finish, Gate, Refuse, Say, Think
from greenroom.core.session import replayed
from greenroom.events import StepFailed, TurnEnded
from greenroom.large import encoded
from greenroom.protocols.ai_sdk import AiSdkProjection
from greenroom.protocols.ai_sdk_messages import ui_messages
from greenroom.runtime.feed import entries_of
from ui_stream_client import UiMessage, messages_of

Frames = Sequence[tuple[str, str]]

ANSWER: list[Any] = [
    [Think(["Let ", "me ", "see", "…"]), Say(["I", " will", " rôll"]), Call("roll_dice", ['{"nota', 'tion":', ' "2d1"}']),
     Call("roll_dice", {"notation": "3d1"})],
    [Think("Good."), Say(list('Zwei und drei: 👋🏽\n"fünf"\\.'))],
]  # fmt: skip


def folded(*parts: Frames, knows_reset: bool = False) -> UiMessage:
    return UiMessage(knows_reset=knows_reset).apply_all(data for frames in parts for _, data in frames)


def content(message: UiMessage) -> Any:
    return message.kept, message.metadata, message.finish_reason, message.errors


async def live(stage: Stage, session_id: str, text: str = "Go", protocol: str = "ai-sdk") -> list[tuple[str, str]]:
    """All frames of a turn, seen from its very beginning."""
    receipt = await stage.manager.send(session_id, text)
    attached = stage.manager.attach(session_id, receipt.cursor, protocol=protocol, turn_id=receipt.turn_id)  # type: ignore[arg-type]
    return await all_of(attached)


async def fetched(stage: Stage, session_id: str) -> list[dict[str, Any]]:
    """What a page is given when it is loaded."""
    opened = await stage.manager._existing(session_id)
    messages = ui_messages(await opened.operations.peek(session_id))
    told = json.loads(encoded(messages))
    assert told == messages
    return cast("list[dict[str, Any]]", told)


# --- the message ---------------------------------------------------------------------------------------------------------


async def test_an_answer_is_one_message(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    message = folded(await live(stage, session_id))

    turn_id = message.metadata["turnId"]
    assert message.id == f"{turn_id}-answer"
    assert message.finish_reason == "stop"
    assert message.text("reasoning") == "Let me see…Good."
    assert message.text() == 'I will rôllZwei und drei: 👋🏽\n"fünf"\\.'
    (first, second) = message.tools()
    assert (first[:3], second[:3]) == (
        ("roll_dice", "output-available", {"notation": "2d1"}),
        ("roll_dice", "output-available", {"notation": "3d1"}),
    )
    metadata = message.metadata
    assert (metadata["backend"], metadata["persona"], metadata["configVersion"]) == ("scripted", "default", 1)
    assert metadata["outcome"] == "completed"
    assert metadata["usage"]["outputTokens"] > 0
    assert metadata["createdAt"] > 0


async def test_a_fetched_message_is_the_streamed_one(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    streamed = folded(await live(stage, session_id, "Roll"))
    said, answer = await fetched(stage, session_id)

    assert (said["role"], said["parts"]) == ("user", [{"type": "text", "text": "Roll"}])
    assert (answer["id"], answer["metadata"]) == (streamed.id, streamed.metadata)
    assert answer["parts"] == streamed.parts
    await stage.manager.hibernate(session_id)
    assert await fetched(stage, session_id) == [said, answer]


async def test_what_runs_is_not_fetched_and_what_waits_is_marked(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("a"), gate, Say("b")], "two"])
    session_id = await stage.session()
    await stage.manager.send(session_id, "one", message_id="said-1")
    await gate.reached()
    await stage.manager.send(session_id, "two", message_id="said-2")
    first, second = await fetched(stage, session_id)
    assert (first["id"], first["metadata"].get("queued")) == ("said-1", None)
    assert (second["id"], second["metadata"]["queued"]) == ("said-2", True)
    gate.open()


async def test_attachments_are_file_parts(stage: Stage) -> None:
    session_id = await stage.session()
    file = {"data": b"\x89PNG", "media_type": "image/png", "name": "dot.png"}
    await stage.say(session_id, "Look", attachments=[file])
    said, _ = await fetched(stage, session_id)
    url = "data:image/png;base64,iVBORw=="
    assert said["parts"][0] == {"type": "file", "mediaType": "image/png", "url": url, "filename": "dot.png"}


@in_memory
@pytest.mark.parametrize(
    "arguments", ["{", "nonsense", "[1]", '{"n": 1}{"n": 2}', '{"n": 123456789012345678901234567890}', '{"a": NaN}']
)
async def test_whatever_a_model_writes_as_arguments_is_well_formed(open_stage: OpenStage, arguments: str) -> None:
    stage = open_stage([[Call("roll_dice", arguments)], "Done."])
    session_id = await stage.session()
    message = folded(await live(stage, session_id))
    ((name, state, _, error),) = message.tools()
    assert (name, state) == ("roll_dice", "output-error")
    assert error
    assert message.text() == "Done."
    assert (await fetched(stage, session_id))[1]["parts"] == message.parts


# --- joining and rejoining ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("life", ["in memory", "hibernated"])
@pytest.mark.parametrize("protocol", ["ai-sdk", "ai-sdk-7"])
async def test_rejoining_a_finished_turn_at_every_cursor_is_exact(
    open_stage: OpenStage, life: str, protocol: Any
) -> None:
    stage = open_stage(lambda request: ANSWER[sum(role == "assistant" for role, _ in words(request)) % 2])
    session_id = await stage.session()
    await stage.say(session_id, "Roll before")
    frames = await live(stage, session_id)
    expected = content(folded(frames))
    if life == "hibernated":
        await stage.manager.hibernate(session_id)
    for number, (cursor, _) in enumerate(frames, start=1):
        rest = await all_of(stage.manager.attach(session_id, cursor, protocol=protocol))
        assert content(folded(frames[:number], rest)) == expected, f"after frame {number}, at {cursor}"
        if life == "hibernated":
            await stage.manager.hibernate(session_id)


async def test_rejoining_at_every_cursor_while_it_runs_is_exact(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Think(["a", "b"]), Say(list("wörld👋")), gate, Say(list(" again"))]])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Go")
    seen: list[tuple[str, str]] = []
    reader = stage.manager.attach(session_id, receipt.cursor, protocol="ai-sdk")
    async for cursor, data in reader:
        seen.append((cursor, data))
        if '"👋"' in data:
            break
    await gate.reached()
    rejoined = [
        (number, asyncio.ensure_future(all_of(stage.manager.attach(session_id, cursor, protocol="ai-sdk"))))
        for number, (cursor, _) in enumerate(seen, start=1)
    ]
    joined = asyncio.ensure_future(all_of(stage.manager.attach(session_id, protocol="ai-sdk")))
    await let_others_run()
    gate.open()
    for number, reading in rejoined:
        message = folded(seen[:number], await reading)
        assert (message.text("reasoning"), message.text()) == ("ab", "wörld👋 again"), f"after frame {number}"
    whole = folded(await joined)
    assert (whole.text("reasoning"), whole.text(), whole.finish_reason) == ("ab", "wörld👋 again", "stop")
    await reader.aclose()


@pytest.mark.parametrize("cut", range(1, 9))
async def test_a_cut_within_the_arguments_of_a_call(open_stage: OpenStage, cut: int) -> None:
    """Live they come in small pieces, from the log in large ones: what was seen of a piece still belongs to the input."""
    gate = Gate()
    stage = open_stage([[Call("roll_dice", list('{"notation":"2d1"}')), gate], "Done."])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Go")
    seen: list[tuple[str, str]] = []
    reader = stage.manager.attach(session_id, receipt.cursor, protocol="ai-sdk")
    async for cursor, data in reader:
        seen.append((cursor, data))
        if sum("tool-input-delta" in data for _, data in seen) == cut:
            break
    await reader.aclose()
    gate.open()
    await becomes(lambda: stage.data(session_id)["status"] == "idle")
    await stage.manager.hibernate(session_id)
    message = folded(seen, await all_of(stage.manager.attach(session_id, seen[-1][0], protocol="ai-sdk")))
    assert message.tools()[0][:3] == ("roll_dice", "output-available", {"notation": "2d1"})


async def test_joining_an_idle_session_shows_the_last_answer(open_stage: OpenStage) -> None:
    stage = open_stage(ANSWER)
    session_id = await stage.session()
    assert await all_of(stage.manager.attach(session_id, protocol="ai-sdk")) == []
    frames = await live(stage, session_id)
    joined = await all_of(stage.manager.attach(session_id, protocol="ai-sdk"))
    assert content(folded(joined)) == content(folded(frames))
    assert len({cursor for cursor, _ in joined}) == len(joined)


async def test_several_turns_are_several_messages(stage: Stage) -> None:
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "one")
    await stage.manager.send(session_id, "two")
    frames = await all_of(stage.manager.attach(session_id, receipt.cursor, protocol="ai-sdk"))
    assert [message.text() for message in messages_of(data for _, data in frames)] == ["You said: one", "You said: two"]


# --- ends ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "reason"),
    [
        ([Say("x")], "stop"),
        ([Refuse("I will not.")], "content-filter"),
        ([Say("x"), Finish(reason="length")], "length"),
        ([Say("x"), Finish(reason="other")], "other"),
    ],
    ids=["stop", "refusal", "length", "other"],
)
async def test_why_an_answer_finished(open_stage: OpenStage, step: list[Any], reason: str) -> None:
    stage = open_stage([step])
    message = folded(await live(stage, await stage.session()))
    assert (message.finish_reason, message.metadata["outcome"]) == (reason, "completed")


@pytest.mark.parametrize(
    "where", [Think("Hm"), Say("So far"), Call("roll_dice", '{"nota')], ids=["reasoning", "text", "call"]
)
async def test_a_cancelled_answer_is_aborted_and_closed(open_stage: OpenStage, where: Any) -> None:
    gate = Gate()
    stage = open_stage([[where, gate]])
    session_id = await stage.session()
    reading = asyncio.ensure_future(live(stage, session_id))
    await gate.reached()
    assert await stage.manager.cancel(session_id)
    frames = await reading
    message = folded(frames)
    assert (message.is_aborted, message.finish_reason, message.metadata["outcome"]) == (True, "other", "cancelled")
    joined = folded(await all_of(stage.manager.attach(session_id, protocol="ai-sdk")))
    assert content(joined) == content(message)
    if not isinstance(where, Call):
        assert (await fetched(stage, session_id))[1]["parts"] == message.parts


async def test_a_call_that_was_cancelled_before_it_was_run_is_closed(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("a"), Call("roll_dice", {"notation": "1d1"}), gate]])
    session_id = await stage.session()
    reading = asyncio.ensure_future(live(stage, session_id))
    await gate.reached()
    await stage.manager.cancel(session_id)
    message = folded(await reading)
    ((_, state, _, error),) = message.tools()
    assert (state, bool(error)) == ("output-error", True)
    assert (await fetched(stage, session_id))[1]["parts"] == message.parts


async def test_a_failed_answer_ends_with_the_error_behind_everything_else(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("Half"), Fail(BackendRejected("no such model", hint="choose another"))]])
    session_id = await stage.session()
    message = folded(await live(stage, session_id))
    assert message.errors == ["no such model (choose another)"]
    assert (message.finish_reason, message.metadata["outcome"]) == ("error", "failed")
    error = {"code": "backend_rejected", "message": "no such model", "hint": "choose another"}
    assert message.metadata["error"] == error
    (_, answer) = await fetched(stage, session_id)
    assert (answer["metadata"]["error"], answer["parts"]) == (error, message.parts)


async def test_a_turn_whose_process_died_is_interrupted(open_stage: OpenStage, file_store: str) -> None:
    gate = Gate()
    first = open_stage([[Say("Half"), gate]], store=file_store)
    session_id = await first.session(recovery="close")
    receipt = await first.manager.send(session_id, "Go")
    await gate.reached()
    await first.manager.close()
    second = open_stage([], store=file_store)
    frames = await all_of(second.manager.attach(session_id, protocol="ai-sdk", turn_id=receipt.turn_id, joins=True))
    message = folded(frames)
    assert (message.finish_reason, message.metadata["outcome"]) == ("error", "interrupted")
    assert message.text() == "Half"


# --- what is void -------------------------------------------------------------------------------------------------------


BROKEN: list[Any] = [
    [Think("Hm."), Say(["Wrong ", "one"]), Call("roll_dice", '{"nota'), Cut()],
    [Say(list("Right.")), Call("roll_dice", {"notation": "1d1"})],
    [Say("End.")],
]


@pytest.mark.parametrize("protocol", ["ai-sdk", "ai-sdk-7"])
async def test_a_step_that_is_asked_again_is_one_answer_at_every_cursor(open_stage: OpenStage, protocol: Any) -> None:
    stage = open_stage(BROKEN)
    session_id = await stage.session()
    knows_reset = protocol == "ai-sdk-7"
    frames = await live(stage, session_id, protocol=protocol)
    message = folded(frames, knows_reset=knows_reset)
    assert message.text() == "Right.End."
    assert len(message.tools()) == 1
    if knows_reset:
        assert "voidSteps" not in message.metadata
        assert message.parts == message.kept
    else:
        assert message.metadata["voidSteps"] == [0]
    for number, (cursor, _) in enumerate(frames, start=1):
        rest = await all_of(stage.manager.attach(session_id, cursor, protocol=protocol))
        assert content(folded(frames[:number], rest, knows_reset=knows_reset)) == content(message), f"at {cursor}"


async def test_who_joins_is_never_shown_what_is_void(open_stage: OpenStage) -> None:
    stage = open_stage(BROKEN)
    session_id = await stage.session()
    frames = await live(stage, session_id)
    joined = folded(await all_of(stage.manager.attach(session_id, protocol="ai-sdk")))
    assert "voidSteps" not in joined.metadata
    assert joined.parts == folded(frames).kept
    assert (await fetched(stage, session_id))[1]["parts"] == joined.parts


async def test_who_joins_between_two_attempts(open_stage: OpenStage) -> None:
    stage = open_stage(BROKEN)
    session_id = await stage.session()
    await live(stage, session_id)
    records = await stage.manager._installation.store.log.read(session_id)
    failed = next(number for number, record in enumerate(records) if isinstance(record.event, StepFailed))
    between = replayed(session_id, records[: failed + 1])
    shown = AiSdkProjection(find_state=lambda: between)
    begun = shown.begin_with(between, ())
    assert "Wrong" not in str(begun)
    rest = [
        chunk
        for record in records[failed + 1 :]
        for entry in entries_of(record)
        for chunk in shown.events(entry.payload, seq=entry.seq)
    ]
    message = UiMessage().apply_all([*begun, *rest])
    assert "voidSteps" not in message.metadata
    assert message.text() == "Right.End."

    # Nobody asks again: then it counts, as it does in what is fetched.
    shown = AiSdkProjection(find_state=lambda: between)
    turn_id = between.turns[-1].turn_id
    ended = TurnEnded(turn_id=turn_id, outcome="cancelled")
    message = UiMessage().apply_all([*shown.begin_with(between, ()), *shown.events(ended, seq=between.seq + 1)])
    assert message.text() == "Wrong one"
    between.apply(msgspec.structs.replace(records[failed], seq=between.seq + 1, event=ended))
    assert message.parts == ui_messages(between)[1]["parts"]


async def test_what_was_shown_but_never_written_is_taken_back(open_stage: OpenStage, file_store: str) -> None:
    gate = Gate()
    first = open_stage([[Say(["The ", "wrong ", "answer"]), gate]], store=file_store)
    session_id = await first.session()
    receipt = await first.manager.send(session_id, "Ask")
    seen: list[tuple[str, str]] = []
    reader = first.manager.attach(session_id, receipt.cursor, protocol="ai-sdk")
    async for frame in reader:
        seen.append((frame.cursor, frame.data))
        if "answer" in frame.data and "delta" in frame.data:
            break
    await gate.reached()
    await reader.aclose()
    await first.manager.close()

    second = open_stage([[Say(list("Right."))]], store=file_store)
    for cursor in (None, *(cursor for cursor, _ in seen)):
        rest = await all_of(second.manager.attach(session_id, cursor, protocol="ai-sdk"))
        starts_anew = json.loads(rest[0][1])["type"] == "start"
        message = folded(rest) if starts_anew else folded(seen[: [c for c, _ in seen].index(str(cursor)) + 1], rest)
        assert message.text() == "Right.", f"at {cursor}"


# --- what waits for a person --------------------------------------------------------------------------------------------


ASKING: list[Any] = [
    [Say("May I?"), Call("roll_dice", {"notation": "1d1"}), Call("roll_dice", {"notation": "2d1"})],
    [Say("Done.")],
]


async def asked_about(stage: Stage) -> tuple[str, str, list[tuple[str, str]]]:
    """A session that waits for a person: its id, the turn, and what a page has seen."""
    session_id = await stage.session(approval={"roll_dice": "ask"})
    receipt = await stage.manager.send(session_id, "Go")
    frames = await all_of(stage.manager.attach(session_id, receipt.cursor, protocol="ai-sdk", turn_id=receipt.turn_id))
    return session_id, receipt.turn_id, frames


async def test_a_turn_that_waits_finishes_its_stream_and_asks(open_stage: OpenStage) -> None:
    stage = open_stage(ASKING)
    session_id, turn_id, frames = await asked_about(stage)
    message = folded(frames)
    assert (message.finish_reason, message.text()) == ("tool-calls", "May I?")
    assert [part["state"] for part in message.parts if part["type"] == "dynamic-tool"] == ["approval-requested"] * 2

    pending = await stage.manager.approvals(session_id)
    _, answer = await fetched(stage, session_id)
    assert [part["approval"] for part in answer["parts"] if part["type"] == "dynamic-tool"] == [
        {"id": asked.approval_id} for asked in pending
    ]
    joined = await all_of(stage.manager.attach(session_id, protocol="ai-sdk", turn_id=turn_id, joins=True))
    assert folded(joined).parts == message.parts


@pytest.mark.parametrize("decision", ["approve", "deny", "approve with other arguments"])
async def test_what_was_decided_goes_on_with_the_same_message(open_stage: OpenStage, decision: str) -> None:
    stage = open_stage(ASKING)
    session_id, turn_id, seen = await asked_about(stage)
    first, second = await stage.manager.approvals(session_id)
    arguments = {"notation": "3d1"} if decision.startswith("approve with") else None
    word: Any = "deny" if decision == "deny" else "approve"
    receipt = await stage.manager.approve(session_id, first.approval_id, word, arguments=arguments, reason=None)
    await stage.manager.approve(session_id, second.approval_id, "approve")
    rest = await all_of(stage.manager.attach(session_id, receipt.cursor, protocol="ai-sdk", turn_id=turn_id))

    assert json.loads(rest[0][1])["messageId"] == f"{turn_id}-answer"
    message = folded(seen, rest)
    assert (message.finish_reason, message.text()) == ("stop", "May I?Done.")
    (_, state, given, _), (_, other, *_) = message.tools()
    assert (state, other) == ("output-denied" if word == "deny" else "output-available", "output-available")
    assert given == (arguments or {"notation": "1d1"})

    frames = [*seen, *rest]
    for number, (cursor, _) in enumerate(frames, start=1):
        again = await all_of(stage.manager.attach(session_id, cursor, protocol="ai-sdk"))
        assert content(folded(frames[:number], again)) == content(message), f"after frame {number}, at {cursor}"
    joined = folded(await all_of(stage.manager.attach(session_id, protocol="ai-sdk")))
    (_, answer) = await fetched(stage, session_id)
    for parts in (joined.parts, answer["parts"]):
        assert [part["state"] for part in parts if part["type"] == "dynamic-tool"] == [state, other]
        assert next(part["input"] for part in parts if part["type"] == "dynamic-tool") == given


async def test_a_turn_that_is_cancelled_while_it_waits(open_stage: OpenStage) -> None:
    stage = open_stage(ASKING)
    session_id, _, seen = await asked_about(stage)
    await stage.manager.cancel(session_id)
    rest = await all_of(stage.manager.attach(session_id, seen[-1][0], protocol="ai-sdk"))
    message = folded(seen, rest)
    assert (message.is_aborted, message.metadata["outcome"]) == (True, "cancelled")
    assert {part["state"] for part in message.parts if part["type"] == "dynamic-tool"} == {"output-error"}
    (_, answer) = await fetched(stage, session_id)
    assert {part["state"] for part in answer["parts"] if part["type"] == "dynamic-tool"} == {"output-error"}
