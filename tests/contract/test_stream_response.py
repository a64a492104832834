"""`stream_response`: AG-UI 1.0 events out, whatever happens inside."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import (
    FrontEnd,
    checked_run,
    error_of,
    only,
    parsed,
    results_of,
    run_of,
    text_of,
    types,
)
from contract.stage import Stage, words
from greenroom import (
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
    Persona,
    SessionNotFound,
)
from greenroom.backends.scripted import Call, Cut, Fail, Finish, Gate, Refuse, Say, Think
from greenroom.messages import Usage

# --- the events ---------------------------------------------------------------------------------------------------------


async def test_a_plain_answer(open_stage: OpenStage) -> None:
    stage = open_stage([[Say(["Hel", "lo", ", wörld ", "👋🏽"])]])
    session_id = await stage.session()
    events = await stage.say(session_id)

    assert types(events) == [
        "RUN_STARTED",
        "STEP_STARTED",
        "TEXT_MESSAGE_START",
        *["TEXT_MESSAGE_CONTENT"] * 4,
        "TEXT_MESSAGE_END",
        "STEP_FINISHED",
        "RUN_FINISHED",
    ]
    assert [event["delta"] for event in events if "delta" in event] == ["Hel", "lo", ", wörld ", "👋🏽"]
    started = events[0]
    assert started["threadId"] == session_id
    assert started["protocolVersion"] == "1.0"
    assert events[-1]["threadId"] == session_id
    assert events[-1]["runId"] == started["runId"]
    assert events[-1].get("outcome", {"type": "success"}) == {"type": "success"}


async def test_reasoning_text_and_parallel_tools(open_stage: OpenStage) -> None:
    stage = open_stage(
        [
            [
                Think("Two dice, "),
                Think("then."),
                Say("Rolling."),
                Call("roll_dice", {"notation": "1d1"}),
                Call("roll_dice", {"notation": "2d1"}),
            ],
            [Think("Both are there."), Say("One and two.")],
        ]
    )
    events = await stage.say(await stage.session())
    shown = FrontEnd()
    for event in events:
        shown.apply(json.dumps(event))

    assert shown.said("reasoning") == "Two dice, then.Both are there."
    assert shown.said("assistant") == "Rolling.One and two."
    assert [name for name, _ in shown.calls] == ["roll_dice", "roll_dice"]
    assert [result.split()[0] for result in results_of(events)] == ["1", "2"]
    assert types(events).count("STEP_STARTED") == 2
    assert types(events).index("TOOL_CALL_RESULT") > types(events).index("TOOL_CALL_END")


async def test_results_keep_the_order_of_the_calls_in_the_next_request(open_stage: OpenStage) -> None:
    stage = open_stage([[Call("roll_dice", {"notation": f"{n}d1"}) for n in range(1, 9)], "Done."])
    await stage.say(await stage.session())
    assert [text.split()[0] for role, text in words(stage.last_request) if role == "tool"] == list("12345678")


async def test_usage_is_told_at_the_end(open_stage: OpenStage) -> None:
    usage = Usage(input_tokens=100, output_tokens=20, cached_input_tokens=60, reasoning_tokens=5)
    stage = open_stage([[Say("Costly."), Finish(usage=usage)]])
    session_id = await stage.session(llm_model="m")
    (told,) = only(await stage.say(session_id), "RUN_FINISHED")["usage"]

    assert told["inputTokens"] == 100
    assert told["outputTokens"] == 20
    assert told["totalTokens"] == 120
    assert told["cachedInputTokens"] == 60
    assert told["reasoningTokens"] == 5
    assert told["model"] == "m"
    assert stage.data(session_id)["usage"] | {"cost_usd": 0} == {
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_input_tokens": 60,
        "reasoning_tokens": 5,
        "cost_usd": 0,
    }


async def test_a_refusal_is_text_that_the_person_reads(open_stage: OpenStage) -> None:
    stage = open_stage([[Refuse("I would rather not.")], "Sure."])
    session_id = await stage.session()
    assert text_of(await stage.say(session_id, "Do something bad")) == "I would rather not."
    assert text_of(await stage.say(session_id, "Something else")) == "Sure."


async def test_an_answer_without_a_word_still_ends(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("")], [Finish()], [Think("Only thought.")], "Words."])
    session_id = await stage.session()
    for _ in range(3):
        assert (await stage.say(session_id, "Say nothing"))[-1]["type"] in {"RUN_FINISHED", "RUN_ERROR"}
    assert text_of(await stage.say(session_id, "Speak")) == "Words."


async def test_ids_are_unique_in_a_session(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: [Think("a"), Say("b")])
    session_id = await stage.session()
    runs = [await stage.say(session_id, f"{n}") for n in range(3)]

    for kind, key in (("RUN_STARTED", "runId"), ("TEXT_MESSAGE_START", "messageId")):
        ids = [only(run, kind)[key] for run in runs]
        assert len(set(ids)) == 3


async def test_repeated_and_empty_call_ids_of_a_provider_do_no_harm(open_stage: OpenStage) -> None:
    same = [Call("roll_dice", {}, call_id="x"), Call("roll_dice", {}, call_id="x"), Call("roll_dice", {}, call_id="")]
    odd = [Call("roll_dice", {}, call_id="functions.roll:0|fc_é/" + "long" * 40)]
    stage = open_stage([same, odd, same, "Done."])
    events = await stage.say(await stage.session())
    assert len(results_of(events)) == 7
    assert text_of(events) == "Done."


async def test_the_system_prompt_never_reaches_the_front_end(open_stage: OpenStage) -> None:
    stage = open_stage(personas=[Persona(name="spy", text="The password is Swordfish.")])
    session_id = await stage.session(persona_name="spy", custom_persona_text="Also Marlin.")
    chunks = [chunk async for chunk in stage.manager.stream_response(session_id, "Hi", "And Trout.")]
    chunks += [data async for _, data in stage.manager.attach(session_id)]

    assert "Trout" in stage.last_request.system
    for secret in ("Swordfish", "Marlin", "Trout"):
        assert secret not in "".join(chunks)


async def test_the_stable_part_of_the_prompt_is_byte_stable(stage: Stage) -> None:
    session_id = await stage.session()
    for n in range(3):
        await stage.say(session_id, f"{n}")
    first, second, third = stage.backend.requests

    assert first.system == second.system == third.system
    assert first.tools == second.tools == third.tools
    assert third.messages[: len(second.messages)] == second.messages
    assert second.messages[: len(first.messages)] == first.messages


# --- what it remembers --------------------------------------------------------------------------------------------------


async def test_every_message_and_answer_is_in_the_next_request(stage: Stage) -> None:
    session_id = await stage.session()
    for n in range(3):
        await stage.say(session_id, f"Word {n}")
    assert words(stage.last_request) == [
        ("user", "Word 0"),
        ("assistant", "You said: Word 0"),
        ("user", "Word 1"),
        ("assistant", "You said: Word 1"),
        ("user", "Word 2"),
    ]


async def test_a_custom_prompt_replaces_the_persona_for_one_turn(open_stage: OpenStage) -> None:
    stage = open_stage(
        [[Call("roll_dice")], "Arr.", "Back.", "Again."], personas=[Persona(name="pirate", text="You are a pirate.")]
    )
    session_id = await stage.session(persona_name="pirate")
    await stage.say(session_id, "One", "You are a nun.")
    await stage.say(session_id, "Two")
    await stage.say(session_id, "Three", custom_prompt="You are a cat.")

    prompts = [request.system for request in stage.backend.requests]
    for text in prompts[:2]:  # both steps of the first turn
        assert "nun" in text
        assert "pirate" not in text
    assert "pirate" in prompts[2]
    assert "nun" not in prompts[2]
    assert "cat" in prompts[3]
    assert stage.data(session_id)["persona_name"] == "pirate"


async def test_attachments_reach_the_model(stage: Stage) -> None:
    session_id = await stage.session()
    events = await stage.say(
        session_id, "Look", attachments=[{"media_type": "image/png", "data": b"\x89PNG", "name": "a.png"}]
    )
    assert "1 attachment" in text_of(events)
    assert text_of(await stage.say(session_id, "And now?")) == "You said: And now?"


# --- an unknown session -------------------------------------------------------------------------------------------------


@in_memory
@pytest.mark.parametrize("session_id", ["never-there", "", "../up", "a b", None, 7])
async def test_an_unknown_session_is_a_value_error_and_nothing_is_written(stage: Stage, session_id: Any) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        await anext(stage.manager.stream_response(session_id, "Hello"))
    assert isinstance(refused.value, SessionNotFound)
    assert (await stage.manager.list_sessions()).sessions == ()
    assert stage.backend.request_count == 0


# --- errors arrive as events --------------------------------------------------------------------------------------------

FAILURES = [
    BackendUnavailable("the server is on fire"),
    BackendUnavailable("slow down", retry_after_s=3600.0),
    BackendRejected("HTTP 400: no such model"),
    BackendUnauthorized("HTTP 401: bad key"),
    ContextTooLong("too many tokens"),
    BackendGarbled("not JSON"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_failure_of_the_provider_is_told_with_its_text_and_code(open_stage: OpenStage, failure: Any) -> None:
    calls = 0

    def script(_request: Any) -> Any:
        nonlocal calls
        calls += 1
        return Fail(failure) if "Recovered" not in str(words(_request)) else "Yes."

    stage = open_stage(script)
    session_id = await stage.session()
    error = error_of(await stage.say(session_id, "Ask"))

    assert error["code"] == failure.code
    assert failure.message in error["message"]
    assert stage.data(session_id)["status"] == "idle"
    assert text_of(await stage.say(session_id, "Recovered?")) == "Yes."
    kept = {("user", "Ask"), ("user", "Ask\n\nRecovered?")} & set(words(stage.last_request))
    # What was too long to be taken would be too long again: it is left out, so that the next message is answered.
    assert bool(kept) == (not isinstance(failure, ContextTooLong))


@in_memory
@pytest.mark.parametrize("end", [Cut(), Fail(BackendGarbled("half a frame")), Fail(BackendUnavailable("reset"))])
@pytest.mark.parametrize(
    "before",
    [[Think("Let me")], [Say("The ans")], [Call("roll_dice", '{"notat')], [Say("So: "), Call("roll_dice", "{}")]],
    ids=["reasoning", "text", "arguments", "call"],
)
async def test_a_stream_that_breaks_in_the_middle_ends_in_an_error(
    open_stage: OpenStage, before: list[Any], end: Any
) -> None:
    stage = open_stage(lambda request: "Fine." if "Again" in str(words(request)) else [*before, end])
    session_id = await stage.session()
    events = await run_of(stage.manager.stream_response(session_id, "Ask"))

    assert error_of(events)["code"] in {"backend_garbled", "backend_unavailable"}
    assert results_of(events) == []
    assert text_of(await stage.say(session_id, "Again")) == "Fine."


async def test_a_stream_that_breaks_once_is_asked_again_and_shows_one_answer(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("The wrong "), Cut()], "The right answer."])
    session_id = await stage.session()
    chunks = [chunk async for chunk in stage.manager.stream_response(session_id, "Ask")]
    front_end = FrontEnd().apply_all(chunks)

    assert front_end.said() == "The right answer."
    assert front_end.ended[-1]["type"] == "RUN_FINISHED"
    assert [message.text for message in await stage.manager.history(session_id)] == ["Ask", "The right answer."]


async def test_a_provider_that_is_down_for_a_moment_is_not_noticed(open_stage: OpenStage) -> None:
    stage = open_stage(
        [Fail(BackendUnavailable("busy", retry_after_s=0.001)), Fail(BackendUnavailable("busy")), "Here."]
    )
    session_id = await stage.session()
    assert text_of(await stage.say(session_id)) == "Here."


async def test_a_fallback_answers_when_the_first_is_unavailable(open_stage: OpenStage) -> None:
    def script(request: Any) -> Any:
        return Fail(BackendUnavailable("down")) if request.model == "first" else "From the second."

    stage = open_stage(script)
    session_id = await stage.session(llm_model="first", fallbacks=["scripted:second"])
    assert text_of(await stage.say(session_id)) == "From the second."


@in_memory
@pytest.mark.parametrize(
    ("message", "code"),
    [("", "invalid_argument"), ("   \n", "invalid_argument"), (None, "invalid_argument"), (b"x", "invalid_argument"),
     ("\ud800", "invalid_argument"), ("x" * (1024 * 1024 + 1), "limit_exceeded")],
    ids=["empty", "blank", "none", "bytes", "surrogate", "huge"],
)  # fmt: skip
async def test_a_bad_message_is_an_error_event_and_is_not_kept(stage: Stage, message: Any, code: str) -> None:
    session_id = await stage.session()
    seq = stage.data(session_id)["last_seq"]

    assert error_of(await stage.say(session_id, message))["code"] == code
    assert stage.data(session_id)["last_seq"] == seq
    assert stage.backend.request_count == 0


BAD_EXTRAS = [
    ({"custom_prompt": 7}, "invalid_argument"),
    ({"custom_prompt": "x" * (256 * 1024 + 1)}, "limit_exceeded"),
    ({"custom_prompt": "\ud800"}, "invalid_argument"),
    ({"idempotency_key": 7}, "invalid_argument"),
    ({"idempotency_key": "x" * 5000}, "limit_exceeded"),
    ({"attachments": [{"name": "a.png"}]}, "invalid_argument"),
    ({"attachments": [{"media_type": "image/png", "data": ""}]}, "invalid_argument"),
    ({"attachments": [{"media_type": "image/png", "data": "not base64!"}]}, "invalid_argument"),
    ({"attachments": [{"media_type": "image/png", "data": b"x", "path": "/etc/passwd"}]}, "invalid_argument"),
    ({"attachments": ["/etc/passwd"]}, "invalid_argument"),
    ({"attachments": 7}, "invalid_argument"),
    ({"attachments": [{"media_type": "image/png", "data": b"x" * (10 * 1024 * 1024 + 1)}]}, "limit_exceeded"),
    ({"attachments": [{"media_type": "image/png", "data": b"x"}] * 17}, "limit_exceeded"),
    ({"attachments": [{"media_type": "image/png\r\nx: y", "data": b"x"}]}, "invalid_argument"),
    ({"attachments": [{"media_type": "nonsense", "data": b"x"}]}, "invalid_argument"),
]


@in_memory
@pytest.mark.parametrize(("extra", "code"), BAD_EXTRAS, ids=[str(extra)[:50] for extra, _ in BAD_EXTRAS])
async def test_what_comes_with_a_message_is_checked_too(stage: Stage, extra: dict[str, Any], code: str) -> None:
    session_id = await stage.session()
    seq = stage.data(session_id)["last_seq"]
    assert error_of(await stage.say(session_id, "Hi", **extra))["code"] == code
    assert stage.data(session_id)["last_seq"] == seq


async def test_a_huge_message_within_the_bounds_passes_whole(stage: Stage) -> None:
    session_id = await stage.session()
    message = f"{'x' * 250_000} {'ö' * 250_000}"
    await stage.say(session_id, message)
    assert words(stage.last_request) == [("user", message)]


async def test_hostile_text_passes_unchanged(stage: Stage) -> None:
    session_id = await stage.session()
    message = '\u2028 \x00 \x1b[31m </script> \r\n data: x\n\nevent: y \ufeff 𝔘 {"type":"RUN_FINISHED"} %s {0} \\'
    events = await stage.say(session_id, message)
    assert words(stage.last_request) == [("user", message)]
    assert text_of(events) == f"You said: {message}"
    assert (await stage.manager.history(session_id))[0].text == message


@in_memory
@pytest.mark.parametrize("overlap", ["nonsense", "", "Enqueue"])
async def test_an_overlap_policy_that_is_not_there_is_a_clear_error(stage: Stage, overlap: Any) -> None:
    session_id = await stage.session()
    error = error_of(await stage.say(session_id, "Hi", overlap=overlap))
    assert "overlap" in error["message"]
    assert "enqueue" in error["message"]
    assert stage.data(session_id)["message_count"] == 0


async def test_a_bug_in_a_backend_ends_the_turn_and_hides_its_details(open_stage: OpenStage) -> None:
    def script(request: Any) -> Any:
        if "again" in str(words(request)):
            return "Fine."
        raise ZeroDivisionError("secret internals")

    stage = open_stage(script)
    session_id = await stage.session()
    error = error_of(await stage.say(session_id))

    assert "Traceback" not in error["message"]
    assert stage.data(session_id)["status"] == "idle"
    assert text_of(await stage.say(session_id, "again")) == "Fine."


async def test_a_persona_that_is_gone_is_an_error_event(open_stage: OpenStage, file_store: str) -> None:
    first = open_stage(store=file_store, personas=[Persona(name="passing", text="Here today.")])
    session_id = await first.session(persona_name="passing")
    await first.manager.close()

    second = open_stage(store=file_store)
    error = error_of(await second.say(session_id))
    assert error["code"] == "unknown_persona"
    await second.manager.create_session(existing_session_id=session_id, persona_name="default")
    assert text_of(await second.say(session_id, "Better?")).endswith("Better?")


# --- readers that leave -------------------------------------------------------------------------------------------------


async def test_abandoning_the_generator_leaves_the_turn_running(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("All "), gate, Say("of it.")]])
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go")
    async for chunk in stream:
        if parsed(chunk)["type"] == "TEXT_MESSAGE_CONTENT":
            break
    await stream.aclose()
    assert stage.backend.streams_open == 1
    assert stage.data(session_id)["status"] == "running"

    gate.open()
    rejoined = FrontEnd().apply_all([data async for _, data in stage.manager.attach(session_id)])
    assert rejoined.said() == "All of it."
    assert [message.text for message in await stage.manager.history(session_id)] == ["Go", "All of it."]


async def test_a_reader_may_leave_after_any_event(open_stage: OpenStage) -> None:
    steps = [[Think("Hm."), Say("So: "), Call("roll_dice", {"notation": "1d1"})], "One."]
    stage = open_stage(lambda request: steps[len(request.messages) > 1])
    whole = await stage.say(await stage.session())
    for count in range(1, len(whole)):
        session_id = await stage.session()
        stream = stage.manager.stream_response(session_id, "Go")
        seen = [json.loads(await anext(stream)) for _ in range(count)]
        await stream.aclose()
        assert types(seen) == types(whole[:count])
        async for _ in stage.manager.attach(session_id):
            pass
        answer = (await stage.manager.history(session_id))[-1]
        assert (answer.text, answer.outcome) == ("So: \nOne.", "completed"), f"left after event {count}"


async def test_a_generator_that_is_forgotten_does_no_harm(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: "Said to nobody.")
    session_id = await stage.session()
    for _ in range(3):
        await anext(stage.manager.stream_response(session_id, "Go"))
    gc.collect()
    await stage.say(session_id, "Last")
    assert stage.data(session_id)["turn_count"] == 4


async def test_a_reader_that_is_cancelled_leaves_the_turn_running(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("All "), gate, Say("of it.")], "Next."])
    session_id = await stage.session()

    async def read() -> list[Any]:
        return [chunk async for chunk in stage.manager.stream_response(session_id, "Go")]

    reading = asyncio.ensure_future(read())
    await gate.reached()
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    gate.open()
    await stage.say(session_id, "And?")
    assert [message.text for message in await stage.manager.history(session_id)] == [
        "Go",
        "All of it.",
        "And?",
        "Next.",
    ]


async def test_a_generator_may_be_read_by_one_task_and_closed_by_another(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("All "), gate, Say("of it.")]])
    session_id = await stage.session()
    stream = stage.manager.stream_response(session_id, "Go")
    await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    await asyncio.create_task(anext(stream))  # type: ignore[arg-type]
    await gate.reached()
    await asyncio.create_task(stream.aclose())  # type: ignore[arg-type]
    gate.open()
    assert text_of(await stage.say(session_id, "More", overlap="enqueue")) == ""  # the script has ended
    assert (await stage.manager.history(session_id))[1].text == "All of it."


async def test_a_message_is_kept_before_the_model_is_asked(open_stage: OpenStage) -> None:
    seen: list[int] = []
    stages: list[Stage] = []

    def script(request: Any) -> Any:
        data = stages[0].manager.get_session_data(request.session_id)
        assert data is not None
        seen.append(data["message_count"])
        return "Yes."

    stages.append(open_stage(script))
    session_id = await stages[0].session()
    await stages[0].say(session_id)
    assert seen == [1]


async def test_two_chats_on_one_session_do_not_mix(open_stage: OpenStage) -> None:
    stage = open_stage(lambda request: [Say(list(f"Answer to {words(request)[-1][1]}."))])
    session_id = await stage.session()
    runs = await asyncio.gather(*(stage.say(session_id, f"question {n}") for n in range(6)))

    assert [text_of(run) for run in runs] == [f"Answer to question {n}." for n in range(6)]
    assert [role for role, _ in words(stage.last_request)] == ["user", "assistant"] * 5 + ["user"]
    checked = [checked_run([json.dumps(event) for event in run]) for run in runs]
    assert len({run[0]["runId"] for run in checked}) == 6


async def test_many_sessions_at_the_same_time(open_stage: OpenStage) -> None:
    stage = open_stage(lambda request: f"{request.session_id} heard {words(request)[-1][1]}")
    ids = [await stage.session() for _ in range(30)]
    runs = await asyncio.gather(*(stage.say(session_id, f"me {n}") for n, session_id in enumerate(ids)))
    assert [text_of(run) for run in runs] == [f"{session_id} heard me {n}" for n, session_id in enumerate(ids)]
