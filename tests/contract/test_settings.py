"""Every session setting: what is valid reaches the model or does what it says, what is not is refused."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory, on_file
from contract.reading import error_of, results_of, run_of, text_of
from contract.stage import Stage
from greenroom import BackendUnavailable, GreenroomError, Toolset, tool
from greenroom.backends.scripted import Call, Fail, Pause, Say, ScriptedBackend
from greenroom.interfaces import BackendRequest

# --- what the model is asked with ---------------------------------------------------------------------------------------

SENT: list[tuple[str, Any, Callable[[BackendRequest], Any]]] = [
    ("llm_model", "some/model:7b", lambda request: request.model),
    ("temperature", 0, lambda request: request.temperature),
    ("temperature", 2, lambda request: request.temperature),
    ("temperature", 0.7, lambda request: request.temperature),
    ("top_p", 1, lambda request: request.top_p),
    ("top_p", 0.01, lambda request: request.top_p),
    ("max_tokens", 1, lambda request: request.max_tokens),
    ("max_tokens", 100_000, lambda request: request.max_tokens),
    ("stop", ["a", "\n\n"], lambda request: list(request.stop)),
    ("reasoning_effort", "none", lambda request: request.reasoning_effort),
    ("reasoning_effort", "minimal", lambda request: request.reasoning_effort),
    ("reasoning_effort", "low", lambda request: request.reasoning_effort),
    ("reasoning_effort", "medium", lambda request: request.reasoning_effort),
    ("reasoning_effort", "high", lambda request: request.reasoning_effort),
    ("thinking_budget_tokens", 4096, lambda request: request.thinking_budget_tokens),
    ("parallel_tool_calls", True, lambda request: request.parallel_tool_calls),
    ("parallel_tool_calls", False, lambda request: request.parallel_tool_calls),
]


@in_memory
@pytest.mark.parametrize(("name", "value", "sent"), SENT, ids=[f"{name}={value}" for name, value, _ in SENT])
@pytest.mark.parametrize("how", ["create", "recreate", "update"])
async def test_a_setting_reaches_the_model(
    stage: Stage, name: str, value: Any, sent: Callable[[BackendRequest], Any], how: str
) -> None:
    if how == "create":
        session_id = await stage.session(**{name: value})
    else:
        session_id = await stage.session()
        change = {name: value}
        if how == "recreate":
            await stage.manager.create_session(existing_session_id=session_id, **change)
        else:
            await stage.manager.update_session(session_id, **change)
    await stage.say(session_id)
    assert sent(stage.last_request) == value


async def test_what_is_not_set_is_not_sent(stage: Stage) -> None:
    await stage.say(await stage.session())
    request = stage.last_request

    assert (request.temperature, request.top_p, request.max_tokens, request.stop) == (None, None, None, ())
    assert (request.reasoning_effort, request.thinking_budget_tokens, request.parallel_tool_calls) == (None, None, None)


async def test_custom_persona_text_reaches_the_model(stage: Stage) -> None:
    await stage.say(await stage.session(custom_persona_text="Rhyme, always."))
    assert "Rhyme, always." in stage.last_request.system


async def test_nothing_about_the_user_is_taken_for_a_setting_of_the_model(stage: Stage) -> None:
    session_id = await stage.session(user_id="ann", title="Our title", metadata={"note": "private note"})
    await stage.say(session_id)
    assert "private note" not in stage.last_request.system


# --- refused ------------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, Any]] = [
    *(("user_id", value) for value in ("", "a\nb", "x" * 257, 7)),
    *(("title", value) for value in (7, "x" * 501, None, ["a"])),
    *(("metadata", value) for value in ("a", [1], {1: "a"}, {"a": object()}, {"a": "x" * 70_000}, {"a": math.nan})),
    *(("temperature", value) for value in (-0.1, 2.1, "warm", True, math.nan, math.inf, [0.5])),
    *(("top_p", value) for value in (0, -1, 1.1, "high", math.nan)),
    *(("max_tokens", value) for value in (0, -1, 1.5, "many", True)),
    *(("stop", value) for value in ([""], [7], ["x"] * 17, {"a": 1})),
    *(("reasoning_effort", value) for value in ("extreme", "", 1, "HIGH")),
    *(("thinking_budget_tokens", value) for value in (0, -5, 1023, "much")),
    *(("parallel_tool_calls", value) for value in ("yes", 1)),
    *(("custom_persona_text", value) for value in (7, None, "x" * (256 * 1024 + 1))),
    *(("max_steps", value) for value in (0, -1, 1001, 2.5, None, True)),
    *(("turn_timeout_s", value) for value in (0, -1, "long", None, math.nan, math.inf, 10**9)),
    *(("tool_timeout_s", value) for value in (0, -1, "long", None, math.nan, math.inf, 10**9)),
    *(("overlap", value) for value in ("maybe", "", None, 1)),
    *(("recovery", value) for value in ("perhaps", "", None, True)),
    *(("fallbacks", value) for value in (["model"], [":model"], ["scripted:"], [7], ["scripted:m"] * 9, ["no:m"])),
    *(("llm_model", value) for value in ("", "a\nb", 7, "x" * 257)),
    *(("backend", value) for value in ("", 7, "x" * 65)),
    *(("persona_name", value) for value in ("", 7, "../secret", "a/b", "x" * 200)),
    *(("additional_tools", value) for value in ([7], 7, [""], ["os.system"], {"a": 1})),
]


@in_memory
@pytest.mark.parametrize(("name", "value"), REFUSED, ids=[f"{n}={str(v)[:20]!r}" for n, v in REFUSED])
async def test_a_wrong_value_is_refused_by_name(stage: Stage, name: str, value: Any) -> None:
    names = {
        "additional_tools": "additional_tools|toolset",
        "fallbacks": "fallbacks|backend",
        "persona_name": "persona",
    }
    with pytest.raises(ValueError, match=names.get(name, name)) as refused:
        await stage.session(**{name: value})
    assert isinstance(refused.value, GreenroomError)
    assert (await stage.manager.list_sessions()).sessions == ()


@in_memory
@pytest.mark.parametrize("name", ["temprature", "model", "max_token", "session_id", "tools", "_config", "api_key"])
async def test_an_unknown_setting_is_refused_with_the_known_ones(stage: Stage, name: str) -> None:
    session_id = await stage.session()
    setting = {name: 1}
    attempts = [
        lambda: stage.session(**setting),
        lambda: stage.manager.create_session(existing_session_id=session_id, **setting),
    ]
    if name != "session_id":  # Python itself refuses a second one
        attempts.append(lambda: stage.manager.update_session(session_id, **setting))
    for attempt in attempts:
        with pytest.raises(TypeError) as refused:
            await attempt()
        for known in ("temperature", "reasoning_effort", "max_steps", "custom_persona_text", "user_id"):
            assert known in str(refused.value)


@in_memory
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mcp_servers", ["files"]),
    ],
)
async def test_what_comes_later_is_refused_and_not_ignored(stage: Stage, name: str, value: Any) -> None:
    with pytest.raises(GreenroomError, match=name) as refused:
        await stage.session(**{name: value})
    assert refused.value.code == "not_supported"


# --- settings that bound a turn -----------------------------------------------------------------------------------------


class Slow(Toolset):
    """Takes its time."""

    def __init__(self) -> None:
        self.cancelled = 0

    @tool
    async def ponder(self) -> str:
        """Ponders."""
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return "42"


async def test_max_steps_ends_a_loop(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: Call("roll_dice"))
    session_id = await stage.session(max_steps=3)
    events = await stage.say(session_id)

    assert stage.backend.request_count == 3
    assert error_of(events)["code"] == "limit_exceeded"
    assert "max_steps" in error_of(events)["message"]
    await stage.say(session_id, "again")  # the transcript stays valid


async def test_invalid_arguments_do_not_loop_for_ever(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: Call("roll_dice", '{"notation": '))
    session_id = await stage.session()
    events = await run_of(stage.manager.stream_response(session_id, "Roll"))
    error_of(events)
    assert stage.backend.request_count <= 25


@pytest.mark.virtual_time
@in_memory
async def test_turn_timeout_ends_a_turn_that_hangs(open_stage: OpenStage) -> None:
    stage = open_stage(lambda _: [Say("Wait "), Pause(10_000), Say("for it")])
    session_id = await stage.session(turn_timeout_s=20)
    started = asyncio.get_running_loop().time()
    events = await stage.say(session_id)

    assert asyncio.get_running_loop().time() - started == pytest.approx(20, abs=0.5)
    assert text_of(events) == "Wait "
    assert "turn_timeout_s" in error_of(events)["message"]
    assert stage.backend.streams_open == 0


@pytest.mark.virtual_time
@in_memory
async def test_turn_timeout_covers_tools_and_waiting_for_a_retry(open_stage: OpenStage) -> None:
    slow = Slow()
    stage = open_stage([Call("ponder"), Fail(BackendUnavailable("busy", retry_after_s=50))],
        toolsets=[slow], config={"limits": {"retry_wait_s_max": 60.0}})  # fmt: skip
    session_id = await stage.session(turn_timeout_s=20, tool_timeout_s=1000, additional_tools=["Slow"])
    for _ in range(2):
        started = asyncio.get_running_loop().time()
        error_of(await stage.say(session_id))
        assert asyncio.get_running_loop().time() - started == pytest.approx(20, abs=0.5)
    assert slow.cancelled == 1


@pytest.mark.virtual_time
@in_memory
async def test_tool_timeout_becomes_a_result_that_the_model_reads(open_stage: OpenStage) -> None:
    slow = Slow()
    stage = open_stage([[Call("ponder"), Call("roll_dice", {"notation": "1d1"})], "It took too long."], toolsets=[slow])
    session_id = await stage.session(tool_timeout_s=5, additional_tools=["Slow"])
    started = asyncio.get_running_loop().time()
    events = await stage.say(session_id)

    assert asyncio.get_running_loop().time() - started == pytest.approx(5, abs=0.5)
    assert slow.cancelled == 1
    assert sorted("5" in result for result in results_of(events)) == [False, True]
    assert text_of(events) == "It took too long."


@on_file
async def test_recovery_close_ends_a_turn_that_was_cut(open_stage: OpenStage, store: str) -> None:
    cut: dict[str, str] = {}
    for recovery in ("close", "resume"):
        first = open_stage(lambda _: [Say("Half "), Pause(10_000)])
        session_id = await first.session(recovery=recovery)
        stream = first.manager.stream_response(session_id, "Go")
        while "TEXT_MESSAGE_CONTENT" not in await anext(stream):
            pass
        await first.manager.close()

        second = open_stage(lambda _: "Whole.")
        async for _ in second.manager.attach(session_id):
            pass
        cut[recovery] = (await second.manager.history(session_id))[-1].outcome or ""
        assert second.data(session_id)["status"] == "idle"
        assert "Whole." in text_of(await second.say(session_id, "Next"))
    assert cut == {"close": "interrupted", "resume": "completed"}


async def test_fallbacks_are_asked_in_order(open_stage: OpenStage) -> None:
    asked: list[str] = []

    def script(request: BackendRequest) -> Any:
        asked.append(request.model)
        return "Here." if request.model == "third" else Fail(BackendUnavailable("down"))

    other = ScriptedBackend(script)
    stage = open_stage(script, backends={"other": other})
    session_id = await stage.session(llm_model="first", fallbacks=["other:second", "scripted:third"])

    assert text_of(await stage.say(session_id)) == "Here."
    assert list(dict.fromkeys(asked)) == ["first", "second", "third"]
    assert {request.model for request in other.requests} == {"second"}
