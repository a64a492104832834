"""The backend `openai-responses` end to end, over real sockets, against a server that enforces the rules."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from backends.wire import END, EVENTS, HANG, chunked, serve
from greenroom.backends.openai_client import NO_KEY
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.scripted import Call, Cut, Gate, Refuse, Say, Think
from greenroom.core.step import Assembly
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    LimitExceeded,
)
from greenroom.interfaces import Backend, BackendRequest
from greenroom.limits import Limits
from greenroom.messages import (
    AssistantMessage,
    FilePart,
    StreamEnded,
    StreamItem,
    TextPart,
    ToolMessage,
    ToolResult,
    ToolSpec,
    TranscriptMessage,
    Usage,
    UserMessage,
)
from greenroom.testing.backend_conformance import put_together
from greenroom.testing.strict_openai import Refused
from greenroom.testing.strict_responses import (
    Answer,
    Bytes,
    ErrorEvent,
    Failed,
    Incomplete,
    Output,
    Reset,
    StrictResponses,
)

pytestmark = pytest.mark.every_loop

TOOL = ToolSpec(name="roll", description="Rolls.", parameters={"type": "object", "properties": {}})
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}


def user(text: str = "Hello") -> UserMessage:
    return UserMessage(parts=(TextPart(text=text),))


def request(*messages: TranscriptMessage, **settings: Any) -> BackendRequest:
    plain: dict[str, Any] = {"model": "gpt-5", "system": "Be kind.", "tools": (TOOL,)}
    return BackendRequest(messages=messages or (user(),), **(plain | settings))


def backend_for(server: StrictResponses, **settings: Any) -> OpenAIResponsesBackend:
    return OpenAIResponsesBackend(**{"api_key": server.key, "base_url": server.base_url} | settings)


async def items_of(backend: OpenAIResponsesBackend, asked: BackendRequest | None = None) -> list[StreamItem]:
    async with backend.stream(asked or request()) as batches:
        return [item async for batch in batches for item in batch]


def text_of(items: Sequence[StreamItem]) -> str:
    return "".join(part.text for part in put_together(items)[0] if part.started.kind == "text")


def said(items: Sequence[StreamItem]) -> tuple[AssistantMessage, ToolMessage]:
    """Returns the messages that an answer leaves in the transcript, its calls answered."""
    assembly = Assembly()
    assembly.add(item for item in items if not isinstance(item, StreamEnded))
    calls = assembly.calls()
    results = tuple(ToolResult(call_id=call.call_id, name=call.name, content="4") for call in calls)
    return AssistantMessage(parts=assembly.complete()), ToolMessage(results=results)


async def test_a_whole_answer() -> None:
    cues = [
        Think("Let me think."),
        Say("Both, then."),
        Call("f", {"a": "long enough for pieces"}),
        Call("g", {}, "mine"),
    ]
    async with StrictResponses([cues]) as server:
        backend = backend_for(server)
        items = await items_of(backend, request(session_id="s1", reasoning_effort="low", max_tokens=100))
        await backend.close()
    parts, end = put_together(items)
    assert [(part.started.kind, part.started.name, part.text) for part in parts] == [
        ("reasoning", "", "Let me think."),
        ("text", "", "Both, then."),
        ("tool_call", "f", '{"a":"long enough for pieces"}'),
        ("tool_call", "g", "{}"),
    ]
    assert parts[2].started.call_id.startswith("call_")
    assert parts[3].started.call_id == "mine"
    assert end == StreamEnded(
        reason="tool_calls",
        raw_reason="completed",
        usage=Usage(input_tokens=10, output_tokens=5, cached_input_tokens=4, reasoning_tokens=2),
        model="gpt-5",
        response_id="resp_0001",
    )
    [body] = server.bodies
    assert body == {
        "model": "gpt-5",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "low", "summary": "auto"},
        "max_output_tokens": 100,
        "tools": [
            {
                "type": "function",
                "name": "roll",
                "description": "Rolls.",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            }
        ],
        "instructions": "Be kind.",
        "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}],
    }
    assert server.headers[0]["authorization"] == f"Bearer {server.key}"


async def test_reasoning_and_items_go_back_as_they_came() -> None:
    answers: list[Answer] = [
        [Think(""), Output(SEARCH), Think("Hm."), Say("Looking."), Call("roll", {}), Call("roll", {"sides": 6})],
        [Think("A four."), Say("A four.")],
        "You are welcome.",
    ]
    async with StrictResponses(answers) as server:
        backend = backend_for(server)
        first = said(await items_of(backend))
        second = said(await items_of(backend, request(user(), *first)))
        await items_of(backend, request(user(), *first, second[0], user("Thanks")))
        await backend.close()
    assert server.refused == []
    kinds = [item["type"] for item in server.bodies[2]["input"]]
    assert kinds == [
        *("message", "reasoning", "web_search_call", "reasoning", "message"),
        *("function_call", "function_call", "function_call_output", "function_call_output"),
        *("reasoning", "message", "message"),
    ]
    for earlier, later in zip(server.bodies, server.bodies[1:], strict=False):
        assert later["input"][: len(earlier["input"])] == earlier["input"], "what was once sent stays the beginning"


async def test_another_model_gets_the_history_without_what_it_cannot_read() -> None:
    answers: list[Answer] = [[Think("Hm."), Say("Yes."), Call("roll", {})], "A four.", "A four."]
    async with StrictResponses(answers) as server:
        backend = backend_for(server)
        first = said(await items_of(backend))
        for model in ("gpt-5-mini", "gpt-4o"):
            await items_of(backend, request(user(), *first, model=model))
        await backend.close()
    assert server.refused == []
    for body in server.bodies[1:]:
        assert [item["type"] for item in body["input"]] == [
            *("message", "message", "function_call", "function_call_output"),
        ]
        assert not any("id" in item for item in body["input"])


async def test_reasoning_that_cannot_be_read_any_more_is_left_out() -> None:
    """The key belongs to another organisation now: the conversation goes on."""
    async with StrictResponses([[Think("Hm."), Say("Yes.")], "Still here.", "And here."]) as server:
        backend = backend_for(server)
        first, _ = said(await items_of(backend))
        server.forget()
        again = await items_of(backend, request(user(), first, user("And?")))
        assert text_of(again) == "Still here."
        assert len(server.headers) == 3
        assert "could not be verified" in server.refused[0]
        assert [item["type"] for item in server.bodies[1]["input"]] == ["message", "message", "message"]
        await backend.close()


async def test_an_account_without_summaries_gets_answers_without() -> None:
    async with StrictResponses([[Think("Hm."), Say("One")], "Two"], gives_summaries=False) as server:
        backend = backend_for(server)
        parts, _ = put_together(await items_of(backend))
        assert [(part.started.kind, part.text) for part in parts] == [("reasoning", ""), ("text", "One")]
        assert text_of(await items_of(backend)) == "Two"
        assert len(server.headers) == 3, "it is asked for once"
        await backend.close()


async def test_text_arrives_while_the_server_still_writes() -> None:
    gate = Gate()
    async with StrictResponses([[Say("Hello"), gate, Say(" there")]]) as server:
        backend = backend_for(server)
        async with backend.stream(request()) as batches:
            heard: list[StreamItem] = []
            while text_of(heard) != "Hello":
                heard += await anext(batches)
            gate.open()
            heard += [item async for batch in batches for item in batch]
        assert text_of(heard) == "Hello there"
        await backend.close()


async def test_one_connection_serves_one_answer_after_the_other() -> None:
    async with StrictResponses(["One", Refused(status=503), "Two", "Three"]) as server:
        backend = backend_for(server)
        assert text_of(await items_of(backend)) == "One"
        with pytest.raises(BackendUnavailable):
            await items_of(backend)
        assert text_of(await items_of(backend)) == "Two"
        assert text_of(await items_of(backend)) == "Three"
        assert server.connections == 1
        await backend.close()


async def test_attachments() -> None:
    files = (
        FilePart(media_type="image/png", data=b"x" * 3_000_000),
        FilePart(media_type="application/pdf", data=b"%PDF", name="a.pdf"),
    )
    async with StrictResponses(["Nice."]) as server:
        backend = backend_for(server)
        assert text_of(await items_of(backend, request(UserMessage(parts=(TextPart(text="Look"), *files))))) == "Nice."
        await backend.close()
    assert [part["type"] for part in server.bodies[0]["input"][0]["content"]] == [
        "input_text",
        "input_image",
        "input_file",
    ]


async def test_a_refusal_is_a_part() -> None:
    async with StrictResponses([[Think("Hm."), Refuse("I cannot help with that.")], "Fine."]) as server:
        backend = backend_for(server)
        items = await items_of(backend)
        parts, end = put_together(items)
        assert [(part.started.kind, part.text) for part in parts][1] == ("refusal", "I cannot help with that.")
        assert end is not None
        assert end.reason == "refusal"
        assert text_of(await items_of(backend, request(user(), said(items)[0], user("Well")))) == "Fine."
        await backend.close()
    assert server.refused == []


async def test_an_answer_that_is_too_long() -> None:
    async with StrictResponses([[Say("Once upon a"), Incomplete()]]) as server:
        backend = backend_for(server)
        _, end = put_together(await items_of(backend))
        assert end is not None
        assert (end.reason, end.raw_reason) == ("length", "max_output_tokens")
        await backend.close()


# --- errors -------------------------------------------------------------------------------------------------------------


async def failure_of(answer: Answer, *, limits: Limits | None = None, **settings: Any) -> tuple[BackendError, str]:
    """Returns the error that an answer causes, and the text before it."""
    items: list[StreamItem] = []

    async def ask() -> None:
        async with backend.stream(request()) as batches:
            async for batch in batches:
                items.extend(batch)

    async with StrictResponses([answer]) as server:
        backend = backend_for(server, **settings | ({"limits": limits} if limits else {}))
        with pytest.raises(BackendError) as failed:
            await ask()
        await backend.close()
    assert server.key not in str(failed.value)
    return failed.value, text_of(items)


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ([Say("Hello there"), Cut()], BackendGarbled, "in the middle"),
        ([Say("Hello there"), Reset()], BackendGarbled, "broke"),
        ([Say("Hello there"), Failed("server_error", "Overloaded")], BackendUnavailable, "Overloaded"),
        ([Say("Hello there"), Failed("invalid_prompt", "Bad")], BackendRejected, "Bad"),
        ([Say("Hello there"), ErrorEvent("rate_limit_exceeded", "Slow")], BackendUnavailable, "Slow"),
        ([Say("Hello there"), Bytes(b'data: {"ty\n\n')], BackendGarbled, "cannot be read"),
    ],
)
async def test_failures_come_after_what_was_said(answer: Answer, kind: type[BackendError], words: str) -> None:
    error, text = await failure_of(answer)
    assert type(error) is kind
    assert words in error.message
    assert text == "Hello there"


async def test_a_wrong_key() -> None:
    error, _ = await failure_of("", api_key="sk-another-key-of-mine")
    assert isinstance(error, BackendUnauthorized)
    assert "Incorrect API key provided: [key]" in error.message


async def test_a_silent_stream() -> None:
    error, text = await failure_of([Say("Hello"), Think("Hm."), Gate()], limits=Limits(stream_idle_s_max=0.05))
    assert isinstance(error, BackendUnavailable)
    assert text == "Hello"


async def test_a_page_in_place_of_an_answer() -> None:
    async with serve(EVENTS + chunked(b"<h1>Welcome to the proxy</h1>") + END) as wire:
        backend = OpenAIResponsesBackend(base_url=wire.base_url)
        with pytest.raises(BackendGarbled, match="Welcome to the proxy"):
            await items_of(backend)
        await backend.close()


WHOLE = b'data: {"type": "response.completed", "response": {"output": [{"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}]}}\n\n'


@pytest.mark.parametrize("rest", [[], [HANG], [END], [chunked(b"data: {"), HANG]])
async def test_a_connection_that_breaks_behind_the_end(rest: list[bytes]) -> None:
    async with serve([EVENTS + chunked(WHOLE), *rest]) as wire:
        backend = OpenAIResponsesBackend(base_url=wire.base_url, limits=Limits(stream_idle_s_max=0.1))
        assert text_of(await items_of(backend)) == "Hello"
        await backend.close()


async def test_a_call_that_never_ends_is_cut_off() -> None:
    item = {"type": "function_call", "name": "f", "call_id": "1"}
    begin = {"type": "response.output_item.added", "output_index": 0, "item": item}
    more = {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": "x" * 900}
    events = [b"data: %b\n\n" % msgspec.json.encode(event) for event in (begin, *[more] * 100)]
    async with StrictResponses([[*map(Bytes, events), Gate()]]) as server:
        backend = backend_for(server, limits=Limits(tool_arguments_bytes_max=10_000))
        with pytest.raises(LimitExceeded):
            await items_of(backend)
        await server.left.wait()
        await backend.close()


# --- beside the official SDK --------------------------------------------------------------------------------------------


async def read_by_the_sdk(base_url: str) -> tuple[str, str, list[tuple[str, str, str]], tuple[int, int]]:
    """Returns what the official SDK reads from an answer: text, reasoning, calls, tokens."""
    from openai import AsyncOpenAI

    spoken: dict[str, str] = {"text": "", "reasoning": ""}
    kinds = {
        "response.output_text.delta": "text",
        "response.reasoning_text.delta": "reasoning",
        "response.reasoning_summary_text.delta": "reasoning",
    }
    calls: list[tuple[str, str, str]] = []
    tokens = (0, 0)
    async with AsyncOpenAI(api_key="key", base_url=base_url, max_retries=0) as client:
        async for event in await client.responses.create(model="m", input="Hello", stream=True):
            if event.type in kinds:
                spoken[kinds[event.type]] += event.delta  # type: ignore[union-attr]
            elif event.type == "response.output_item.done" and event.item.type == "function_call":
                calls.append((event.item.call_id, event.item.name, event.item.arguments))
            elif event.type == "response.completed" and event.response.usage is not None:
                tokens = (event.response.usage.input_tokens, event.response.usage.output_tokens)
    return spoken["text"], spoken["reasoning"], calls, tokens


RECORDINGS = sorted((Path(__file__).parent / "recordings" / "openai-responses").glob("*.sse"))


@pytest.mark.parametrize(
    "recording", [path for path in RECORDINGS if "four-answers" not in path.name], ids=lambda path: path.stem
)
async def test_we_read_what_the_sdk_reads(recording: Path) -> None:
    answer = EVENTS + chunked(recording.read_bytes()) + END
    async with serve(answer, answer) as wire:
        backend = OpenAIResponsesBackend(base_url=wire.base_url)
        parts, end = put_together(await items_of(backend))
        await backend.close()
        theirs = await read_by_the_sdk(wire.base_url)
    assert end is not None
    assert end.usage is not None
    by_kind = {
        kind: "".join(part.text for part in parts if part.started.kind == kind) for kind in ("text", "reasoning")
    }
    calls = [(part.started.call_id, part.started.name, part.text) for part in parts if part.started.kind == "tool_call"]
    tokens = (end.usage.input_tokens, end.usage.output_tokens)
    assert (by_kind["text"], by_kind["reasoning"], calls, tokens) == theirs


# --- keys and addresses -------------------------------------------------------------------------------------------------


async def test_no_key_at_all() -> None:
    with pytest.raises(BackendUnauthorized, match="there is no key for OpenAI"):
        await items_of(OpenAIResponsesBackend())


async def test_a_server_of_ones_own_needs_no_key() -> None:
    async with StrictResponses(["Hello"], key=NO_KEY) as server:
        backend = OpenAIResponsesBackend(base_url=server.base_url)
        assert text_of(await items_of(backend)) == "Hello"
        await backend.close()


async def test_openai_itself_gets_the_cache_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with StrictResponses(["Hello"]) as server:
        # A proxy sees plain requests as they are, so one can play OpenAI.
        monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
        backend = OpenAIResponsesBackend(api_key=server.key, base_url="http://api.openai.com/v1")
        assert text_of(await items_of(backend, request(session_id="session-1"))) == "Hello"
        await backend.close()
    assert server.bodies[0]["prompt_cache_key"] == "session-1"


async def test_many_answers_at_once() -> None:
    async with StrictResponses(lambda body: f"You said {body['input'][0]['content'][0]['text']}.") as server:
        backend = backend_for(server)
        answers = await asyncio.gather(*(items_of(backend, request(user(str(number)))) for number in range(40)))
        assert [text_of(answer) for answer in answers] == [f"You said {number}." for number in range(40)]
        await backend.close()


def test_it_is_a_backend() -> None:
    backend: Backend = OpenAIResponsesBackend()
    assert backend.default_model == "gpt-6.1-sol"  # today's, from the table
    assert backend.dialect(request()) == "openai-responses"
    codes = [notice.code for notice in backend.notices(request(temperature=0.5))]
    assert [code for code in codes if code != "model_ends"] == [
        "temperature_ignored"
    ]  # that a model ends depends on the day
    assert [notice.code for notice in backend.notices(request()) if notice.code != "model_ends"] == []


def test_importing_it_loads_no_sdk() -> None:
    code = (
        "import sys, greenroom.backends.openai_responses as module\n"
        "module.OpenAIResponsesBackend(api_key='x').notices\n"
        "print([name for name in ('openai', 'aiohttp', 'httpx2', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
