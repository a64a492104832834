"""The backend `openai` end to end, over real sockets, against a server that enforces the rules."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from backends.wire import END, EVENTS, HANG, chunked, serve
from greenroom.backends.openai import NO_KEY, OpenAIBackend
from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnauthorized, BackendUnavailable
from greenroom.interfaces import Backend, BackendRequest
from greenroom.limits import Limits
from greenroom.messages import (
    FilePart,
    PartDelta,
    PartStarted,
    StreamEnded,
    StreamItem,
    TextPart,
    Usage,
    UserMessage,
)
from greenroom.testing.strict_openai import Refused, Reply, ReplyCall, StrictOpenAI

pytestmark = pytest.mark.every_loop


def request(text: str = "Hello", **settings: Any) -> BackendRequest:
    messages = (UserMessage(parts=(TextPart(text=text),)),)
    return BackendRequest(**{"model": "gpt-4o", "system": "Be kind.", "messages": messages} | settings)


def backend_for(server: StrictOpenAI, **settings: Any) -> OpenAIBackend:
    return OpenAIBackend(**{"api_key": server.key, "base_url": server.base_url} | settings)


async def items_of(backend: OpenAIBackend, asked: BackendRequest | None = None) -> list[StreamItem]:
    async with backend.stream(asked or request()) as batches:
        return [item async for batch in batches for item in batch]


def text_of(items: Sequence[StreamItem]) -> str:
    return "".join(item.delta for item in items if isinstance(item, PartDelta))


async def test_a_whole_answer() -> None:
    calls = (ReplyCall("f", '{"a": "long enough for pieces"}', "call_f"), ReplyCall("g", '{"b": 2}', "call_g"))
    async with StrictOpenAI([Reply(reasoning="Let me think.", text="Both, then.", calls=calls)]) as server:
        backend = backend_for(server)
        items = await items_of(backend, request(temperature=0.5, session_id="s1"))
        await backend.close()
    starts = [item for item in items if isinstance(item, PartStarted)]
    assert [(start.kind, start.call_id, start.name) for start in starts] == [
        ("reasoning", "", ""),
        ("text", "", ""),
        ("tool_call", "call_f", "f"),
        ("tool_call", "call_g", "g"),
    ]
    texts = ["".join(item.delta for item in items if isinstance(item, PartDelta) and item.part == n) for n in range(4)]
    assert texts == ["Let me think.", "Both, then.", calls[0].arguments, calls[1].arguments]
    assert items[-1] == StreamEnded(
        reason="tool_calls",
        raw_reason="tool_calls",
        usage=Usage(input_tokens=10, output_tokens=5),
        model="gpt-4o",
        response_id="chatcmpl-1",
    )
    [body] = server.bodies
    assert body["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hello"}]
    assert body["temperature"] == 0.5
    assert "prompt_cache_key" not in body, "only OpenAI itself is known to take it"
    assert server.headers[0]["authorization"] == f"Bearer {server.key}"


async def test_text_arrives_while_the_server_still_writes() -> None:
    gate = asyncio.Event()
    async with StrictOpenAI([Reply(text="Hello there", hold=gate, hold_after=2)]) as server:
        backend = backend_for(server)
        async with backend.stream(request()) as batches:
            first = await anext(batches)
            assert text_of(first) == "Hello"
            gate.set()
            rest = [item async for batch in batches for item in batch]
        assert text_of(rest) == " there"
        await backend.close()


async def test_leaving_in_the_middle_closes_the_connection() -> None:
    async with StrictOpenAI([Reply(text="Hello there", hold=asyncio.Event(), hold_after=2)]) as server:
        backend = backend_for(server)
        async with backend.stream(request()) as batches:
            await anext(batches)
        await server.left.wait()
        await backend.close()


@pytest.mark.parametrize("hold_after", [0, 1, 2])
async def test_cancelling_closes_the_connection(hold_after: int) -> None:
    reached = asyncio.Event()

    def script(_: dict[str, Any]) -> Reply:
        reached.set()
        return Reply(text="Hello there", hold=asyncio.Event(), hold_after=hold_after)

    async with StrictOpenAI(script) as server:
        backend = backend_for(server)
        task = asyncio.create_task(items_of(backend))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.left.wait()
        await backend.close()


async def test_one_connection_serves_one_answer_after_the_other() -> None:
    async with StrictOpenAI([Reply(text="One"), Refused(status=503), Reply(text="Two"), Reply(text="Three")]) as server:
        backend = backend_for(server)
        assert text_of(await items_of(backend)) == "One"
        with pytest.raises(BackendUnavailable):
            await items_of(backend)
        async with backend.stream(request()) as batches:
            async for batch in batches:
                if isinstance(batch[-1], StreamEnded):
                    break  # whoever has seen the end need not read on
        assert text_of(await items_of(backend)) == "Three"
        assert server.connections == 1
        await backend.close()


async def test_many_answers_at_once() -> None:
    async with StrictOpenAI(lambda body: Reply(text=f"You said {body['messages'][1]['content']}.")) as server:
        backend = backend_for(server)
        answers = await asyncio.gather(*(items_of(backend, request(str(number))) for number in range(40)))
        assert [text_of(answer) for answer in answers] == [f"You said {number}." for number in range(40)]
        await backend.close()


async def test_large_attachments() -> None:
    image = FilePart(media_type="image/png", data=b"x" * 3_000_000)
    async with StrictOpenAI([Reply(text="Nice.")]) as server:
        backend = backend_for(server)
        asked = request(messages=(UserMessage(parts=(TextPart(text="Look"), image)),))
        assert text_of(await items_of(backend, asked)) == "Nice."
        await backend.close()


# --- errors -------------------------------------------------------------------------------------------------------------


async def failure_of(
    step: Reply | Refused, *, limits: Limits | None = None, **settings: Any
) -> tuple[BackendError, list[StreamItem]]:
    """Returns the error that a step causes, and the items before it."""
    items: list[StreamItem] = []

    async def ask() -> None:
        async with backend.stream(request()) as batches:
            async for batch in batches:
                items.extend(batch)

    async with StrictOpenAI([step]) as server:
        backend = backend_for(server, **settings | ({"limits": limits} if limits else {}))
        with pytest.raises(BackendError) as failed:
            await ask()
        await backend.close()
    assert server.key not in str(failed.value)
    return failed.value, items


async def test_a_wrong_key() -> None:
    error, _ = await failure_of(Reply(), api_key="sk-another-key-of-mine")
    assert isinstance(error, BackendUnauthorized)
    assert "Incorrect API key provided: [key]" in error.message
    assert error.hint is not None
    assert error.hint.startswith("set OPENAI_API_KEY")


async def test_a_rate_limit() -> None:
    error, _ = await failure_of(Refused(status=429, message="Rate limit reached", headers={"retry-after": "2.5"}))
    assert isinstance(error, BackendUnavailable)
    assert error.retry_after_s == 2.5
    assert "Rate limit reached" in error.message


async def test_a_request_that_breaks_a_rule() -> None:
    async with StrictOpenAI() as server:
        backend = backend_for(server)
        with pytest.raises(BackendRejected, match="Invalid 'stop'"):
            await items_of(backend, request(stop=("1", "2", "3", "4", "5")))
        await backend.close()


async def test_a_stream_that_breaks_off() -> None:
    error, items = await failure_of(Reply(text="Hello there", cut_after=3))
    assert isinstance(error, BackendGarbled)
    assert "in the middle" in error.message
    assert "Hello there".startswith(text_of(items))


async def test_an_error_in_the_stream() -> None:
    fault = {"message": "The engine is overloaded", "type": "server_error"}
    error, items = await failure_of(Reply(text="Hello there", cut_after=2, error=fault))
    assert isinstance(error, BackendUnavailable)
    assert "The engine is overloaded" in error.message
    assert text_of(items) == "Hello"


async def test_a_silent_stream() -> None:
    reply = Reply(text="Hello there", hold=asyncio.Event(), hold_after=2)
    error, items = await failure_of(reply, limits=Limits(stream_idle_s_max=0.05))
    assert isinstance(error, BackendUnavailable)
    assert text_of(items) == "Hello"


async def test_an_answer_that_is_no_stream() -> None:
    error, _ = await failure_of(Reply(raw=b"<h1>Welcome to the proxy</h1>", content_type="text/html"))
    assert isinstance(error, BackendGarbled)
    assert "Welcome to the proxy" in error.message


async def test_garbage_after_good_items() -> None:
    raw = b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\ndata: {"cho\n\n'
    error, items = await failure_of(Reply(raw=raw))
    assert isinstance(error, BackendGarbled)
    assert text_of(items) == "Hello"


CHUNK = b'data: {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}]}\n\n'


@pytest.mark.parametrize("rest", [[], [HANG], [chunked(b'data: {"usage": {"pro'), HANG], [END]])
async def test_a_connection_that_breaks_behind_the_finish_reason(rest: list[bytes]) -> None:
    """The answer is whole: only its accounting is lost."""
    async with serve([EVENTS + chunked(CHUNK), *rest]) as wire:
        backend = OpenAIBackend(base_url=wire.base_url, limits=Limits(stream_idle_s_max=0.1))
        items = await items_of(backend)
        assert text_of(items) == "Hello"
        assert isinstance(items[-1], StreamEnded)
        await backend.close()


async def test_an_iterator_that_is_at_its_end_stays_there() -> None:
    async with StrictOpenAI([Reply(text="Hello")]) as server:
        backend = backend_for(server)
        async with backend.stream(request()) as batches:
            async for _ in batches:
                pass
            with pytest.raises(StopAsyncIteration):
                await anext(batches)
        await backend.close()


# --- keys and addresses -------------------------------------------------------------------------------------------------


async def test_no_key_at_all() -> None:
    with pytest.raises(BackendUnauthorized) as failed:
        await items_of(OpenAIBackend())
    assert str(failed.value) == (
        "there is no key for OpenAI (set OPENAI_API_KEY, or OPENAI_BASE_URL to a server that needs no key)"
    )


async def test_a_server_of_ones_own_needs_no_key() -> None:
    async with StrictOpenAI([Reply(text="Hello")], key=NO_KEY) as server:
        backend = OpenAIBackend(base_url=server.base_url)
        assert text_of(await items_of(backend)) == "Hello"
        await backend.close()


async def test_the_environment_is_read_at_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = OpenAIBackend()
    with pytest.raises(BackendUnauthorized):
        await items_of(backend)
    async with StrictOpenAI([Reply(text="Hello")]) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert text_of(await items_of(backend)) == "Hello"
    await backend.close()


async def test_the_headers_are_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Mine: a:b\nnonsense")
    async with StrictOpenAI([Reply(text="Hello")]) as server:
        backend = backend_for(server)
        await items_of(backend)
        await backend.close()
        sdk = openai.AsyncOpenAI(api_key=server.key, base_url=server.base_url)
        theirs = {name.lower(): value for name, value in {**sdk.default_headers, **sdk.auth_headers}.items()}
        await sdk.close()
    for name in ("authorization", "openai-organization", "openai-project", "content-type", "x-mine"):
        assert server.headers[0][name] == theirs[name]


async def test_openai_itself_gets_the_cache_key(monkeypatch: pytest.MonkeyPatch) -> None:
    async with StrictOpenAI([Reply(text="Hello")]) as server:
        # A proxy sees plain requests as they are, so one can play OpenAI.
        monkeypatch.setenv("http_proxy", server.base_url.removesuffix("/v1"))
        backend = OpenAIBackend(api_key=server.key, base_url="http://api.openai.com/v1")
        assert text_of(await items_of(backend, request(session_id="session-1"))) == "Hello"
        await backend.close()
    assert server.bodies[0]["prompt_cache_key"] == "session-1"


async def test_malformed_addresses() -> None:
    for address in ("127.0.0.1:8000", "http://[", "nonsense"):
        with pytest.raises(BackendRejected, match="not the address of an API"):
            await items_of(OpenAIBackend(base_url=address))


async def test_closing() -> None:
    async with StrictOpenAI([Reply(text="One"), Reply(text="Two")]) as server:
        backend = backend_for(server)
        await backend.close()
        assert text_of(await items_of(backend)) == "One"
        await backend.close()
        await backend.close()
        assert text_of(await items_of(backend)) == "Two"
        await backend.close()


# --- the rest of the contract -------------------------------------------------------------------------------------------


def test_it_is_a_backend() -> None:
    backend: Backend = OpenAIBackend()
    assert backend.default_model == "gpt-4o"  # that of `create_session`
    assert backend.dialect(request()) == "openai"
    codes = [notice.code for notice in backend.notices(request(model="o3", temperature=0.5))]
    assert [code for code in codes if code != "model_ends"] == [
        "temperature_ignored"
    ]  # that a model ends depends on the day
    assert [notice.code for notice in backend.notices(request()) if notice.code != "model_ends"] == []


def test_importing_it_loads_no_sdk() -> None:
    code = (
        "import sys, greenroom.backends.openai as module\n"
        "module.OpenAIBackend(api_key='x').notices\n"
        "print([name for name in ('openai', 'aiohttp', 'httpx2', 'pydantic') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
