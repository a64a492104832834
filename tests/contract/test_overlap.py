"""Messages while a turn runs, receipts, repeated sends, and stopping."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from contract.conftest import OpenStage, in_memory, on_file
from contract.reading import FrontEnd, checked_run, error_of, text_of, types
from contract.stage import Stage, becomes, words
from greenroom import (
    GreenroomError,
    InvalidArgument,
    LimitExceeded,
    Receipt,
    SessionNotFound,
    Toolset,
    TurnInProgress,
    tool,
)
from greenroom.backends.scripted import Call, Gate, Say, Think


def gated(*gates: Gate) -> Any:
    """A script that repeats the last words, with a gate in the middle of the first answers."""
    left = list(gates)

    def script(request: Any) -> Any:
        said = words(request)[-1][1]
        return [Say(f"To {said}: "), *([left.pop(0)] if left else []), Say("yes.")]

    return script


# --- enqueue and reject -------------------------------------------------------------------------------------------------


async def test_messages_are_answered_in_the_order_of_their_arrival(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session()
    receipts = [await stage.manager.send(session_id, "one")]
    await gate.reached()
    receipts += [await stage.manager.send(session_id, text) for text in ("two", "three", "four")]
    assert [receipt.position for receipt in receipts] == [0, 1, 2, 3]
    assert stage.backend.request_count == 1

    gate.open()
    async for _ in stage.manager.attach(session_id):
        pass
    said = [message.text for message in await stage.manager.history(session_id)]
    assert said == ["one", "To one: yes.", "two", "To two: yes.", "three", "To three: yes.", "four", "To four: yes."]
    assert len({receipt.turn_id for receipt in receipts}) == 4


async def test_a_stream_of_a_queued_message_shows_its_own_turn_only(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session()
    await stage.manager.send(session_id, "one")
    await gate.reached()
    reading = asyncio.ensure_future(stage.say(session_id, "two"))
    await becomes(lambda: stage.data(session_id)["message_count"] == 2)
    gate.open()
    assert text_of(await reading) == "To two: yes."


@pytest.mark.parametrize("where", ["session", "call"])
async def test_reject_refuses_while_a_turn_runs_and_only_then(open_stage: OpenStage, where: str) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session(overlap="reject" if where == "session" else "enqueue")
    options: dict[str, Any] = {"overlap": "reject"} if where == "call" else {}
    stream = stage.manager.stream_response(session_id, "one", **options)
    events = [await anext(stream)]
    await gate.reached()
    seq = stage.data(session_id)["last_seq"]

    with pytest.raises(TurnInProgress) as refused:
        await stage.manager.send(session_id, "two", **options)
    assert refused.value.code == "turn_in_progress"
    assert error_of(await stage.say(session_id, "two", **options))["code"] == "turn_in_progress"
    assert stage.data(session_id)["message_count"] == 1
    assert stage.data(session_id)["last_seq"] >= seq

    gate.open()
    events += [event async for event in stream]
    assert text_of(checked_run(events)) == "To one: yes."
    assert text_of(await stage.say(session_id, "two", **options)) == "To two: yes."


async def test_the_call_wins_over_the_session(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session(overlap="reject")
    await stage.manager.send(session_id, "one")
    await gate.reached()
    receipt = await stage.manager.send(session_id, "two", overlap="enqueue")
    assert receipt.position == 1
    gate.open()


async def test_the_queue_is_bounded(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate), config={"limits": {"queue_max": 2}})
    session_id = await stage.session()
    await stage.manager.send(session_id, "one")
    await gate.reached()
    await stage.manager.send(session_id, "two")
    await stage.manager.send(session_id, "three")
    with pytest.raises(LimitExceeded):
        await stage.manager.send(session_id, "four")
    gate.open()
    async for _ in stage.manager.attach(session_id):
        pass
    assert stage.data(session_id)["turn_count"] == 3


@in_memory
@pytest.mark.parametrize("overlap", ["nonsense", "", 7])
async def test_send_refuses_a_policy_that_is_not_there(stage: Stage, overlap: Any) -> None:
    session_id = await stage.session()
    with pytest.raises(GreenroomError, match="enqueue"):
        await stage.manager.send(session_id, "Hi", overlap=overlap)
    assert stage.data(session_id)["message_count"] == 0


# --- receipts -----------------------------------------------------------------------------------------------------------


async def test_a_receipt_comes_before_the_answer_and_leads_to_it(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[gate, Say("Here it is.")]])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Ask")

    assert receipt.session_id == session_id
    assert receipt.position == 0
    assert (await stage.manager.history(session_id))[0].turn_id == receipt.turn_id
    gate.open()
    shown = FrontEnd().apply_all([data async for _, data in stage.manager.attach(session_id, receipt.cursor)])
    assert shown.said() == "Here it is."


async def test_an_accepted_message_outlives_its_manager(open_stage: OpenStage, file_store: str) -> None:
    gate = Gate()
    first = open_stage([[gate]], store=file_store)
    session_id = await first.session()
    receipts = [await first.manager.send(session_id, text) for text in ("one", "two")]
    await gate.reached()
    await first.manager.close()

    second = open_stage(store=file_store)
    async for _ in second.manager.attach(session_id):
        pass
    history = await second.manager.history(session_id)
    assert [message.text for message in history] == ["one", "You said: one", "two", "You said: two"]
    assert [message.turn_id for message in history[::2]] == [receipt.turn_id for receipt in receipts]


# --- idempotency keys ---------------------------------------------------------------------------------------------------


async def paid(stage: Stage, gate: Gate, when: str, **name: str) -> tuple[str, Receipt]:
    """A session with the message "Pay once", which waits, is answered, or was answered."""
    session_id = await stage.session()
    if when == "queued":
        await stage.manager.send(session_id, "before")
        await gate.reached()
    receipt = await stage.manager.send(session_id, "Pay once", **name)
    if when == "running":
        await gate.reached()
    if when in {"answered", "hibernated"}:
        gate.open()
        async for _ in stage.manager.attach(session_id):
            pass
    if when == "hibernated":
        await stage.manager.hibernate(session_id)
    return session_id, receipt


@pytest.mark.parametrize("when", ["running", "queued", "answered", "hibernated"])
async def test_a_repeated_key_is_the_same_message(open_stage: OpenStage, when: str) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id, first = await paid(stage, gate, when, idempotency_key="k1")
    second = await stage.manager.send(session_id, "Pay once", idempotency_key="k1")
    gate.open()
    async for _ in stage.manager.attach(session_id):
        pass

    assert second.turn_id == first.turn_id
    assert second.message_id == first.message_id
    history = await stage.manager.history(session_id)
    assert [message.text for message in history if message.role == "user"].count("Pay once") == 1


@pytest.mark.parametrize("name", [{"idempotency_key": "k1"}, {"turn_id": "run-1"}], ids=["key", "turn id"])
@pytest.mark.parametrize("when", ["queued", "running", "answered", "hibernated"])
async def test_another_message_under_a_known_name_is_refused(
    open_stage: OpenStage, when: str, name: dict[str, str]
) -> None:
    """It would never be answered, and its sender would take the old answer for its own."""
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id, _ = await paid(stage, gate, when, **name)
    before = stage.data(session_id)["last_seq"]
    for other in ({"message": "Pay twice"}, {"message": "Pay once", "attachments": [{"data": b"!", "name": "a.txt"}]}):
        with pytest.raises(InvalidArgument, match=f"'{next(iter(name.values()))}' is that of another message"):
            await stage.manager.send(session_id, **other, **name)
    assert stage.data(session_id)["last_seq"] == before
    gate.open()


async def test_a_message_that_was_edited_meanwhile_is_still_the_same(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session()
    await stage.manager.send(session_id, "before")
    await gate.reached()
    first = await stage.manager.send(session_id, "Pay", idempotency_key="k1")
    assert await stage.manager.edit_message(session_id, first.turn_id, "Pay less")
    assert (await stage.manager.send(session_id, "Pay", idempotency_key="k1")).turn_id == first.turn_id
    gate.open()
    async for _ in stage.manager.attach(session_id):
        pass
    assert (await stage.manager.send(session_id, "Pay", idempotency_key="k1")).is_repeat


async def test_a_repeated_stream_shows_the_same_answer(stage: Stage) -> None:
    session_id = await stage.session()
    first = await stage.say(session_id, "Once", idempotency_key="k1")
    again = await stage.say(session_id, "Once", idempotency_key="k1")

    assert stage.backend.request_count == 1
    assert again[0]["runId"] == first[0]["runId"]
    shown = FrontEnd()
    for event in again:
        shown.apply(json.dumps(event))
    assert shown.said() == text_of(first)


async def test_two_at_the_same_time_with_one_key_are_one(stage: Stage) -> None:
    session_id = await stage.session()
    receipts = await asyncio.gather(*(stage.manager.send(session_id, "Once", idempotency_key="k1") for _ in range(10)))
    async for _ in stage.manager.attach(session_id):
        pass
    assert len({receipt.turn_id for receipt in receipts}) == 1
    assert stage.backend.request_count == 1


async def test_a_repeated_key_is_not_rejected_by_its_own_turn(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session(overlap="reject")
    first = await stage.manager.send(session_id, "Once", idempotency_key="k1")
    await gate.reached()
    assert (await stage.manager.send(session_id, "Once", idempotency_key="k1")).turn_id == first.turn_id
    gate.open()


async def test_keys_belong_to_their_session_and_differ_from_each_other(stage: Stage) -> None:
    one, two = await stage.session(), await stage.session()
    for session_id in (one, two):
        await stage.say(session_id, "Hi", idempotency_key="k1")
        await stage.say(session_id, "Hi", idempotency_key="k2")
        await stage.say(session_id, "Hi")
        await stage.say(session_id, "Hi")
    assert stage.backend.request_count == 8


# --- cancel -------------------------------------------------------------------------------------------------------------


class Hanging(Toolset):
    """Hangs."""

    def __init__(self) -> None:
        self.running = asyncio.Event()
        self.was_cancelled = False

    @tool
    async def hang(self) -> str:
        """Hangs."""
        self.running.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        return ""


async def test_cancel_stops_the_stream_and_keeps_the_partial_answer(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Think("Hm."), Say("So far "), gate, Say("and no further")], "Next."])
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go")
    events = [await anext(stream)]
    await gate.reached()

    async with asyncio.timeout(1):
        assert await stage.manager.cancel(session_id) is True
        events += [event async for event in stream]
    assert stage.backend.streams_open == 0
    run = checked_run(events)
    assert text_of(run) == "So far "
    assert run[-1]["outcome"] == {"type": "cancelled"}
    history = await stage.manager.history(session_id)
    assert history[-1].text == "So far "
    assert history[-1].outcome == "cancelled"
    assert stage.data(session_id)["status"] == "idle"

    assert text_of(await stage.say(session_id, "Next")) == "Next."
    assert ("assistant", "So far ") in words(stage.last_request)


async def test_cancel_stops_running_tools_and_leaves_a_valid_transcript(open_stage: OpenStage) -> None:
    hanging = Hanging()
    stage = open_stage([[Call("roll_dice"), Call("hang"), Call("hang")], "Next."], toolsets=[hanging])
    session_id = await stage.session(additional_tools=["Hanging"])
    stream = stage.manager.stream_response(session_id, "Go")
    events = [await anext(stream)]
    await hanging.running.wait()

    assert await stage.manager.cancel(session_id) is True
    events += [event async for event in stream]
    assert hanging.was_cancelled
    assert checked_run(events)[-1]["outcome"] == {"type": "cancelled"}
    assert text_of(await stage.say(session_id, "Next")) == "Next."  # the stage checks the request


@pytest.mark.parametrize(
    "step",
    [
        [Gate()],
        [Think("Hm"), Gate()],
        [Say("a"), Gate()],
        [Call("roll_dice", '{"nota'), Gate()],
        [Say("a"), Call("roll_dice"), Call("roll_dice", "{"), Gate()],
    ],
    ids=["nothing", "reasoning", "text", "arguments", "call"],
)
async def test_cancel_at_any_point_leaves_a_valid_transcript(open_stage: OpenStage, step: list[Any]) -> None:
    gate = Gate()
    played = [*step[:-1], gate]
    stage = open_stage(lambda request: "Next." if "Next" in str(words(request)) else played)
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go")
    events = [await anext(stream)]
    await gate.reached()
    assert await stage.manager.cancel(session_id) is True
    events += [event async for event in stream]

    assert checked_run(events)[-1]["type"] == "RUN_FINISHED"
    assert text_of(await stage.say(session_id, "Next")) == "Next."


async def test_a_call_id_of_a_cancelled_step_is_not_used_again(open_stage: OpenStage) -> None:
    gate = Gate()
    call = Call("roll_dice", {}, call_id="same")
    stage = open_stage([[Say("a"), call, Say("b"), gate], [call], "Rolled.", "Next."])
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go")
    await anext(stream)
    await gate.reached()
    await stage.manager.cancel(session_id)
    await stream.aclose()
    assert text_of(await stage.say(session_id, "Roll")) == "Rolled."
    assert text_of(await stage.say(session_id, "Next")) == "Next."  # the stage checks that no id is there twice


async def test_cancel_right_after_sending_keeps_the_message(open_stage: OpenStage) -> None:
    stage = open_stage([[Gate()]])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Stop me")
    assert await stage.manager.cancel(session_id) is True
    run = checked_run([data async for _, data in stage.manager.attach(session_id, receipt.cursor)])
    assert run[-1].get("outcome") == {"type": "cancelled"}
    history = await stage.manager.history(session_id)
    assert [(message.role, message.text, message.outcome) for message in history] == [
        ("user", "Stop me", None),
        ("assistant", "", "cancelled"),
    ]
    assert stage.data(session_id)["status"] == "idle"


async def test_cancel_with_nothing_to_stop(stage: Stage) -> None:
    session_id = await stage.session()
    assert await stage.manager.cancel(session_id) is False
    await stage.say(session_id)
    assert await stage.manager.cancel(session_id) is False
    with pytest.raises(SessionNotFound):
        await stage.manager.cancel("never-there")


async def test_cancel_stops_the_running_turn_and_the_next_one_starts(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session()
    await stage.manager.send(session_id, "one")
    await gate.reached()
    await stage.manager.send(session_id, "two")
    assert await stage.manager.cancel(session_id) is True
    async for _ in stage.manager.attach(session_id):
        pass
    assert [(m.text, m.outcome) for m in await stage.manager.history(session_id) if m.role == "assistant"] == [
        ("To one: ", "cancelled"),
        ("To two: yes.", "completed"),
    ]


async def test_a_late_reader_of_a_cancelled_turn_sees_its_end(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("So far"), gate]])
    session_id = await stage.session()
    receipt = await stage.manager.send(session_id, "Go")
    await gate.reached()
    await stage.manager.cancel(session_id)
    run = checked_run([data async for _, data in stage.manager.attach(session_id, receipt.cursor)])
    assert run[-1]["outcome"] == {"type": "cancelled"}
    assert "STEP_FINISHED" in types(run)


# --- the other policies -------------------------------------------------------------------------------------------------


async def at_gate(open_stage: OpenStage, **settings: Any) -> tuple[Stage, str, Gate]:
    gate = Gate()
    stage = open_stage(gated(gate))
    session_id = await stage.session(**settings)
    await stage.manager.send(session_id, "one")
    await gate.reached()
    return stage, session_id, gate


async def told(stage: Stage, session_id: str) -> list[str]:
    await becomes(lambda: stage.data(session_id)["status"] == "idle")
    return [message.text for message in await stage.manager.history(session_id)]


async def test_interrupt_keeps_what_was_said_and_is_next(open_stage: OpenStage) -> None:
    stage, session_id, _ = await at_gate(open_stage)
    await stage.manager.send(session_id, "two")
    receipt = await stage.manager.send(session_id, "now", overlap="interrupt")
    assert receipt.position == 0
    assert await told(stage, session_id) == ["one", "To one: ", "now", "To now: yes.", "two", "To two: yes."]
    assert (await stage.manager.history(session_id))[1].outcome == "cancelled"


async def test_rollback_takes_the_running_turn_out(open_stage: OpenStage) -> None:
    stage, session_id, _ = await at_gate(open_stage)
    reading = asyncio.ensure_future(stage.say(session_id, "instead", overlap="rollback"))
    assert text_of(await reading) == "To instead: yes."
    assert await told(stage, session_id) == ["instead", "To instead: yes."]
    assert (stage.data(session_id)["turn_count"], stage.data(session_id)["message_count"]) == (1, 2)
    assert [role for role, _ in words(stage.last_request)] == ["user"]
    assert [hit for hit in await stage.manager.search("one") if hit.role != "title"] == []


async def test_latest_withdraws_what_waits(open_stage: OpenStage) -> None:
    stage, session_id, gate = await at_gate(open_stage)
    waiting = asyncio.ensure_future(stage.say(session_id, "two"))
    await becomes(lambda: stage.data(session_id)["message_count"] == 2)
    receipt = await stage.manager.send(session_id, "three", overlap="latest")
    assert receipt.position == 1
    assert error_of(await waiting)["message"].startswith("the message was taken back")
    gate.open()
    assert await told(stage, session_id) == ["one", "To one: yes.", "three", "To three: yes."]


async def test_merged_messages_become_one_turn(open_stage: OpenStage) -> None:
    stage, session_id, gate = await at_gate(open_stage)
    streams: list[asyncio.Future[Any]] = []
    for count, text in enumerate(("two", "three", "four"), start=2):
        streams.append(asyncio.ensure_future(stage.say(session_id, text, overlap="merge")))
        await becomes(lambda count=count: stage.data(session_id)["message_count"] == count)  # type: ignore[misc]
    gate.open()
    answers = [await stream for stream in streams]
    assert await told(stage, session_id) == ["one", "To one: yes.", "two", "three", "four", "To four: yes."]
    assert stage.data(session_id)["turn_count"] == 2
    assert stage.data(session_id)["message_count"] == 6
    assert [text for role, text in words(stage.last_request) if role == "user"] == ["one", "two", "three", "four"]
    for answer in answers:
        assert answer[-1]["type"] == "RUN_FINISHED", "each sender reads the turn that answers it"


class Patient(Toolset):
    """A tool that waits."""

    def __init__(self) -> None:
        self.gate = Gate()

    @tool(effect="pure")
    async def wait(self) -> str:
        """Waits."""
        await self.gate.pass_through()
        return "waited"


async def test_a_steering_message_is_read_before_the_next_step(open_stage: OpenStage) -> None:
    patient = Patient()

    def script(request: Any) -> Any:
        said = [text for role, text in words(request) if role == "user"]
        return [Call("wait")] if said == ["work"] else [Say(f"Done: {said}")]

    stage = open_stage(script, toolsets=[patient])
    session_id = await stage.session(additional_tools=["Patient"])
    await stage.manager.send(session_id, "work")
    await patient.gate.reached()
    receipt = await stage.manager.steer(session_id, "hurry")
    assert receipt.position == 0
    await stage.manager.send(session_id, "later")
    again = await stage.manager.send(session_id, "hurry", overlap="steer", idempotency_key="k")
    assert await stage.manager.send(
        session_id, "hurry", overlap="steer", idempotency_key="k"
    ) == msgspec.structs.replace(again, is_repeat=True)
    patient.gate.open()
    said = await told(stage, session_id)
    assert said[:4] == ["work", "hurry", "hurry", "Done: ['work', 'hurry', 'hurry']"]
    assert [role for role, _ in words(stage.backend.requests[1])] == ["user", "tool", "user", "user"]
    joined = (await stage.manager.history(session_id))[1]
    assert joined.turn_id == receipt.turn_id
    assert joined.joined_turn_id
    repeat = await stage.manager.send(session_id, "hurry", overlap="steer", idempotency_key="k")
    assert repeat.is_repeat


async def test_a_steering_message_without_a_next_step_is_the_next_turn(open_stage: OpenStage) -> None:
    stage, session_id, gate = await at_gate(open_stage)
    await stage.manager.send(session_id, "two")
    await stage.manager.steer(session_id, "first")
    gate.open()
    assert await told(stage, session_id) == ["one", "To one: yes.", "first", "To first: yes.", "two", "To two: yes."]


async def test_a_prompt_of_its_own_joins_nothing(open_stage: OpenStage) -> None:
    stage, session_id, gate = await at_gate(open_stage)
    await stage.manager.send(session_id, "two", overlap="merge")
    await stage.manager.send(session_id, "three", "Be a pirate.", overlap="merge")
    gate.open()
    await told(stage, session_id)
    assert stage.data(session_id)["turn_count"] == 3
    assert stage.last_request.system == "Be a pirate."


@in_memory
async def test_the_default_of_the_installation_is_taken_where_nobody_says_anything(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage(gated(gate), config={"overlap": "reject"})
    session_id = await stage.session()
    assert stage.data(session_id)["settings"]["overlap"] == "reject"
    await stage.manager.send(session_id, "one")
    await gate.reached()
    with pytest.raises(TurnInProgress):
        await stage.manager.send(session_id, "two")
    gate.open()


# --- what waits ---------------------------------------------------------------------------------------------------------


async def test_what_waits_can_be_listed_changed_and_taken_back(open_stage: OpenStage) -> None:
    stage, session_id, gate = await at_gate(open_stage)
    two = await stage.manager.send(session_id, "two", attachments=[{"data": b"x", "name": "a.txt"}])
    three = await stage.manager.send(session_id, "three")
    queued = await stage.manager.queue(session_id)
    assert [(each.turn_id, each.position) for each in queued] == [(two.turn_id, 1), (three.turn_id, 2)]
    assert await stage.manager.edit_message(session_id, two.turn_id, "2")
    assert await stage.manager.withdraw_message(session_id, three.turn_id)
    assert not await stage.manager.withdraw_message(session_id, three.turn_id)
    assert not await stage.manager.edit_message(session_id, three.turn_id, "3")
    with pytest.raises(GreenroomError, match="empty"):
        await stage.manager.edit_message(session_id, two.turn_id, " ")
    [left] = await stage.manager.queue(session_id)
    assert [type(part).__name__ for part in left.parts] == ["FilePart", "TextPart"], "what came with it stays"
    gate.open()
    assert await told(stage, session_id) == ["one", "To one: yes.", "2", "To 2: yes."]
    assert await stage.manager.queue(session_id) == []
    assert not await stage.manager.edit_message(session_id, two.turn_id, "too late")
    assert [hit.snippet for hit in await stage.manager.search("three")] == []


@on_file
async def test_policies_and_the_queue_work_from_another_process(open_stage: OpenStage, store: str) -> None:
    gate = Gate()
    owner, other = open_stage(gated(gate)), open_stage(gated())
    session_id = await owner.session()
    await owner.manager.send(session_id, "one")
    await gate.reached()
    two = await other.manager.send(session_id, "two")
    await other.manager.send(session_id, "three")
    await becomes(lambda: owner.data(session_id)["message_count"] == 3)
    assert await other.manager.edit_message(session_id, two.turn_id, "2")
    await other.manager.send(session_id, "now", overlap="interrupt")
    assert await told(owner, session_id) == [
        *("one", "To one: ", "now", "To now: yes.", "2", "To 2: yes.", "three", "To three: yes.")
    ]
