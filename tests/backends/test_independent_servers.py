"""Our wire backends against servers that others wrote: llama.cpp, which really streams, and llmock, which really fails.

What our own doubles send is what we believe that providers send; these two were written by people who believe something else.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from llmock.chaos import StreamChaos
from llmock.pytest_plugin import LLMock

from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.local.server import Child, LocalServer, Orders
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
)
from greenroom.interfaces import Backend, BackendRequest
from greenroom.limits import Limits
from greenroom.messages import (
    AssistantMessage,
    PartDelta,
    PartStarted,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    ToolSpec,
    TranscriptMessage,
    UserMessage,
)

Wire = type[OpenAIBackend] | type[OpenAIResponsesBackend] | type[ClaudeBackend]

WIRES: tuple[Wire, ...] = (OpenAIBackend, OpenAIResponsesBackend, ClaudeBackend)

every_wire = pytest.mark.parametrize("wire", WIRES)

WEATHER = ToolSpec(
    name="get_weather",
    description="The weather of a city.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def user(text: str) -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def request(*messages: TranscriptMessage, **settings: Any) -> BackendRequest:
    plain: dict[str, Any] = {
        "model": "m",
        "system": "Answer in one short English sentence.",
        "temperature": 0.0,
    }
    return BackendRequest(messages=messages or (user("Hello"),), **(plain | settings))


async def played(backend: Backend, asked: BackendRequest | None = None) -> list[StreamItem]:
    async with backend.stream(asked or request()) as stream:
        return [item async for items in stream for item in items]


def text_of(items: list[StreamItem]) -> str:
    return "".join(item.delta for item in items if isinstance(item, PartDelta))


def end_of(items: list[StreamItem]) -> StreamEnded:
    assert isinstance(items[-1], StreamEnded)
    return items[-1]


# --- llama.cpp ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def llama(local_model: Any) -> AsyncIterator[Child]:
    server = LocalServer()
    orders = Orders(model_path=str(local_model), model_name="m", context_tokens=1024, answer_tokens=64)
    yield await server.start(lambda: orders)
    await server.close()


def wire_to_llama(wire: Wire, llama: Child) -> Backend:
    assert llama.report is not None
    base_url = llama.report.base_url
    # Anthropic's base URLs end before the version.
    url = base_url.removesuffix("/v1") if wire is ClaudeBackend else base_url
    return wire(base_url=url, api_key=llama.orders.api_key)


@pytest.mark.local_model
@pytest.mark.timeout(120)
class TestLlama:
    async def test_all_dialects_tell_the_same_answer(self, llama: Child) -> None:
        asked = request(user("What is the capital of France?"), max_tokens=24)
        answers = {}
        for wire in WIRES:
            backend = wire_to_llama(wire, llama)
            items = await played(backend, asked)
            end = end_of(items)
            assert end.usage is not None
            assert sum(isinstance(item, PartDelta) for item in items) > 1
            answers[wire.__name__] = (text_of(items), end.usage.input_tokens, end.usage.output_tokens, end.reason)
            await backend.close()
        assert len(set(answers.values())) == 1, answers

    @every_wire
    async def test_the_length_of_an_answer_is_bounded_and_said(self, llama: Child, wire: Wire) -> None:
        backend = wire_to_llama(wire, llama)
        end = end_of(await played(backend, request(user("Tell me a long story."), max_tokens=8)))
        # llama.cpp calls every response completed.
        assert end.reason == ("stop" if wire is OpenAIResponsesBackend else "length")
        assert end.usage is not None
        assert end.usage.output_tokens == 8
        await backend.close()

    @pytest.mark.parametrize("wire", [OpenAIBackend, ClaudeBackend])  # Responses knows no such setting
    async def test_a_stop_text_ends_the_answer(self, llama: Child, wire: Wire) -> None:
        backend = wire_to_llama(wire, llama)
        items = await played(backend, request(user("Count from one to ten."), max_tokens=40, stop=("e",)))
        assert "e" not in text_of(items)
        assert end_of(items).reason == "stop"
        await backend.close()

    @every_wire
    async def test_a_history_with_tools_is_accepted(self, llama: Child, wire: Wire) -> None:
        call = ToolCallPart(call_id="call_1", name="get_weather", arguments='{"city":"Rome"}')
        result = ToolResult(call_id="call_1", name="get_weather", content="sunny")
        history = (user("Weather?"), AssistantMessage(parts=(call,)), ToolMessage(results=(result,)))
        backend = wire_to_llama(wire, llama)
        end_of(await played(backend, request(*history, tools=(WEATHER,), max_tokens=8)))
        await backend.close()

    @every_wire
    async def test_a_transcript_beyond_the_context_is_typed(self, llama: Child, wire: Wire) -> None:
        backend = wire_to_llama(wire, llama)
        with pytest.raises(ContextTooLong):
            await played(backend, request(user("word " * 3000)))
        await backend.close()

    @every_wire
    async def test_a_wrong_key_is_typed(self, llama: Child, wire: Wire) -> None:
        assert llama.report is not None
        backend = wire(base_url=llama.report.base_url.removesuffix("/v1"), api_key="wrong")
        with pytest.raises(BackendUnauthorized):
            await played(backend)
        await backend.close()

    @every_wire
    async def test_leaving_frees_the_server(self, llama: Child, wire: Wire) -> None:
        backend = wire_to_llama(wire, llama)
        for _ in range(4):
            async with backend.stream(request(user("Tell me a long story."), max_tokens=900)) as stream:
                await anext(stream)
        async with asyncio.timeout(15):
            end_of(await played(backend, request(user("Hi"), max_tokens=4)))
        await backend.close()


# --- llmock -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def wire_to_llmock(llmock: LLMock) -> Any:
    """Returns what makes a backend that asks llmock."""

    def make(wire: Wire, limits: Limits | None = None) -> Backend:
        provider = "anthropic" if wire is ClaudeBackend else "openai"
        return wire(base_url=llmock.base_url(provider), api_key="key", limits=limits or Limits())

    return make


@every_wire
class TestLlmock:
    async def test_an_answer_is_read(self, llmock: LLMock, wire: Wire, wire_to_llmock: Any) -> None:
        llmock.reply("Grüße, 世界! 🎭 And more.")
        backend = wire_to_llmock(wire)
        items = await played(backend)
        assert text_of(items) == "Grüße, 世界! 🎭 And more."
        assert end_of(items).reason == "stop"
        await backend.close()

    async def test_a_tool_is_called_and_its_result_answered(
        self, llmock: LLMock, wire: Wire, wire_to_llmock: Any
    ) -> None:
        llmock.call_tool("get_weather", {"city": "Roma/Lazio", "note": 'a "quoted" one'})
        backend = wire_to_llmock(wire)
        items = await played(backend, request(user("Weather?"), tools=(WEATHER,)))
        started = [item for item in items if isinstance(item, PartStarted) and item.kind == "tool_call"]
        assert [item.name for item in started] == ["get_weather"]
        assert msgspec.json.decode(text_of(items)) == {"city": "Roma/Lazio", "note": 'a "quoted" one'}
        assert end_of(items).reason == "tool_calls"
        call = ToolCallPart(call_id=started[0].call_id, name="get_weather", arguments=text_of(items))
        result = ToolResult(call_id=call.call_id, name="get_weather", content="sunny")
        history = (user("Weather?"), AssistantMessage(parts=(call,)), ToolMessage(results=(result,)))
        answered = await played(backend, request(*history, tools=(WEATHER,)))
        assert end_of(answered).reason == "stop"
        await backend.close()

    async def test_arguments_that_are_not_json_reach_whoever_checks_them(
        self, llmock: LLMock, wire: Wire, wire_to_llmock: Any
    ) -> None:
        llmock.break_tool_call("malformed_arguments")
        backend = wire_to_llmock(wire)
        items = await played(backend, request(user("Weather in Rome?"), tools=(WEATHER,)))
        with pytest.raises(msgspec.DecodeError):
            msgspec.json.decode(text_of(items))
        end_of(items)
        await backend.close()

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, BackendRejected),
            (401, BackendUnauthorized),
            (403, BackendUnauthorized),
            (404, BackendRejected),
            (422, BackendRejected),
            (429, BackendUnavailable),
            (500, BackendUnavailable),
            (503, BackendUnavailable),
            (529, BackendUnavailable),
        ],
    )
    async def test_a_refusal_is_typed_and_the_next_request_works(
        self, llmock: LLMock, wire: Wire, wire_to_llmock: Any, status: int, kind: type[BackendError]
    ) -> None:
        llmock.fail(status)
        backend = wire_to_llmock(wire)
        with pytest.raises(BackendError) as refused:
            await played(backend)
        assert type(refused.value) is kind
        end_of(await played(backend))
        asked = [request for request in llmock.requests if request.method == "POST"]
        assert len(asked) == 2, "nothing is asked again by itself; what models there are is asked with a GET"
        await backend.close()

    async def test_a_quota_says_how_long_to_wait(self, llmock: LLMock, wire: Wire, wire_to_llmock: Any) -> None:
        llmock.limits(rpm=1)
        backend = wire_to_llmock(wire)
        end_of(await played(backend))
        with pytest.raises(BackendUnavailable) as refused:
            await played(backend)
        assert refused.value.retry_after_s is not None
        assert 0 < refused.value.retry_after_s <= 60
        await backend.close()

    async def test_a_context_that_is_too_long_is_typed(self, llmock: LLMock, wire: Wire, wire_to_llmock: Any) -> None:
        llmock.context_overflow()
        backend = wire_to_llmock(wire)
        with pytest.raises(ContextTooLong):
            await played(backend)
        await backend.close()

    @pytest.mark.parametrize("fault", ["disconnect", "truncate", "corrupt"])
    @pytest.mark.parametrize("after_chunks", [0, 1, 4])
    async def test_a_broken_stream_is_never_taken_for_an_answer(
        self, llmock: LLMock, wire: Wire, wire_to_llmock: Any, fault: str, after_chunks: int
    ) -> None:
        llmock.reply("one two three four five six seven eight")
        getattr(llmock, fault)(after_chunks=after_chunks)
        backend = wire_to_llmock(wire)
        with pytest.raises((BackendGarbled, BackendUnavailable)):
            await played(backend)
        end_of(await played(backend))
        await backend.close()

    async def test_a_stream_that_stalls_is_given_up(self, llmock: LLMock, wire: Wire, wire_to_llmock: Any) -> None:
        llmock.stall(after_chunks=2, seconds=2.0)
        backend = wire_to_llmock(wire, Limits(stream_idle_s_max=0.2))
        with pytest.raises(BackendUnavailable):
            await played(backend)
        await backend.close()

    async def test_under_random_faults_every_request_ends_and_tells_the_truth(
        self, llmock: LLMock, wire: Wire, wire_to_llmock: Any
    ) -> None:
        rates = (("disconnect", 0.2), ("truncate", 0.2), ("malformed", 0.2))
        llmock._server.state.stream_chaos = StreamChaos(fault_rates=rates).validated()
        answer = "one two three four five six seven eight"
        llmock.reply(answer, times=None)
        backend = wire_to_llmock(wire)

        async def ends() -> str:
            try:
                items = await played(backend)
            except (BackendGarbled, BackendUnavailable) as error:
                return type(error).__name__
            end_of(items)
            return text_of(items)

        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*(ends() for _ in range(80)))
        assert set(outcomes) <= {answer, "BackendGarbled", "BackendUnavailable"}
        assert answer in outcomes
        assert len(set(outcomes)) > 1
        await backend.close()
