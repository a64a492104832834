"""The `claude` backend over a server that enforces the rules of the Messages API."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anthropic
import pytest

from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.scripted import Call, Cut, Say, Think
from greenroom.errors import (
    BackendError,
    BackendGarbled,
    BackendRejected,
    BackendUnauthorized,
    BackendUnavailable,
    ContextTooLong,
    LimitExceeded,
)
from greenroom.interfaces import BackendRequest
from greenroom.limits import Limits
from greenroom.messages import (
    AssistantMessage,
    AssistantPart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
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
from greenroom.testing.backend_conformance import put_together
from greenroom.testing.strict_claude import (
    Bytes,
    ErrorEvent,
    HttpError,
    Redacted,
    Reset,
    Script,
    Stop,
    StrictClaude,
)

ROLL = ToolSpec(name="roll", description="Rolls dice.", parameters={"type": "object", "properties": {}})
HELLO = UserMessage(parts=(TextPart(text="Hello."),))


def asking(*messages: TranscriptMessage, **fields: Any) -> BackendRequest:
    fields.setdefault("model", "claude-opus-5-5")
    fields.setdefault("system", "Be brief.")
    return BackendRequest(messages=messages or (HELLO,), tools=(ROLL,), **fields)


def backend_for(server: StrictClaude, **options: Any) -> ClaudeBackend:
    return ClaudeBackend(api_key=server.key, base_url=server.base_url, **options)


async def asked(backend: ClaudeBackend, request: BackendRequest) -> list[StreamItem]:
    async with backend.stream(request) as stream:
        return [item async for items in stream for item in items]


async def failing(script: Script, **options: Any) -> tuple[list[StreamItem], Exception]:
    items: list[StreamItem] = []

    async def read(backend: ClaudeBackend) -> None:
        async with backend.stream(asking()) as stream:
            async for read in stream:
                items.extend(read)

    async with StrictClaude(script) as server:
        backend = backend_for(server, **options)
        with pytest.raises((BackendError, LimitExceeded)) as raised:
            await read(backend)
        await backend.close()
    return items, raised.value


def message_of(items: list[StreamItem]) -> AssistantMessage:
    """Returns what a transcript keeps of an answer."""
    parts: list[AssistantPart] = []
    for part in put_together(items)[0]:
        assert part.ended is not None
        sidecar = part.ended.sidecar
        match part.started.kind:
            case "text":
                parts.append(TextPart(text=part.text, sidecar=sidecar))
            case "reasoning":
                parts.append(ReasoningPart(text=part.text, sidecar=sidecar))
            case "refusal":
                parts.append(RefusalPart(text=part.text))
            case "opaque" if sidecar is not None:
                parts.append(OpaquePart(sidecar=sidecar))
            case "tool_call":
                call_id, name = part.started.call_id, part.started.name
                parts.append(ToolCallPart(call_id=call_id, name=name, arguments=part.text, sidecar=sidecar))
    return AssistantMessage(parts=tuple(parts))


def results_for(message: AssistantMessage) -> ToolMessage:
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    return ToolMessage(results=tuple(ToolResult(call_id=call.call_id, name=call.name, content="4") for call in calls))


@pytest.fixture
async def server() -> AsyncIterator[StrictClaude]:
    async with StrictClaude(["Hello back."] * 8) as running:
        yield running


# --- conversations ------------------------------------------------------------------------------------------------------

LOOP = [
    [Think("A die."), Redacted("EmwK"), Say("Let me."), Call("roll"), Call("roll", {"n": 2})],
    [Think("Again."), Call("roll")],
    "Four, four and four.",
]
SETTINGS = [
    {"model": "claude-opus-5-5"},
    {"model": "claude-sonnet-5-5", "reasoning_effort": "high"},
    {"model": "claude-haiku-4-5", "thinking_budget_tokens": 2_000},
    {"model": "claude-haiku-4-5", "temperature": 0.5},
    {"model": "claude-sonnet-4-6", "reasoning_effort": "low"},
    {"model": "claude-opus-4-8", "temperature": 0.5},
    {"model": "claude-sonnet-5-5", "reasoning_effort": "none"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
async def test_a_tool_loop_with_thinking_is_accepted_step_by_step(settings: dict[str, Any]) -> None:
    async with StrictClaude(LOOP) as server:
        backend = backend_for(server)
        history: list[TranscriptMessage] = [HELLO]
        for _ in LOOP:
            message = message_of(await asked(backend, asking(*history, **settings)))
            history += [message, results_for(message)]
        await backend.close()
    assert server.refused == []
    assert message.parts == (TextPart(text="Four, four and four."),)
    assert server.connections == 1
    thinks = "thinking" in str(server.bodies[-1]["messages"])
    assert thinks == ("thinking" in server.bodies[0] and settings.get("reasoning_effort") != "none")


async def test_a_conversation_moves_between_models_and_providers() -> None:
    """Each turn is a tool loop; now and then another provider has the word, whose calls and thoughts are in the history."""
    async with StrictClaude(
        lambda body: LOOP[0] if body["messages"][-1]["content"][0]["type"] == "text" else "Four."
    ) as server:
        backend = backend_for(server)
        history: list[TranscriptMessage] = []
        for turn in range(10):
            history.append(UserMessage(parts=(TextPart(text=f"Turn {turn}."),)))
            if turn % 3 == 1:
                foreign = (ReasoningPart(text="Hm."), ToolCallPart(call_id=f"call_{turn}", name="roll", arguments="{"))
                message = AssistantMessage(parts=foreign)
                history += [message, results_for(message)]
            system = f"Be brief, as on day {turn}."
            for _ in range(2):
                settings = SETTINGS[turn % len(SETTINGS)]
                message = message_of(await asked(backend, asking(*history, system=system, **settings)))
                history.append(message)
                if results := results_for(message).results:
                    history.append(ToolMessage(results=results))
                else:
                    break
        await backend.close()
    assert server.refused == []
    for turn in range(10):
        assert f"Turn {turn}." in str(server.bodies[-1]["messages"])


async def test_a_changed_prompt_does_not_refuse_the_conversation() -> None:
    """Newer models bind thinking to all that came before it: tools and prompt."""
    async with StrictClaude([[Think("Hm."), Say("Monday.")], "Tuesday."]) as server:
        backend = backend_for(server)
        answer = message_of(await asked(backend, asking(HELLO)))
        await asked(backend, asking(HELLO, answer, HELLO, system="Be long."))
        await backend.close()
    assert server.refused == []
    assert server.bodies[1]["messages"][1]["content"][0]["type"] == "thinking"
    assert server.headers[1]["anthropic-beta"] == "thinking-binding-controls-2026-08-01"


async def test_a_pause_can_be_asked_to_go_on() -> None:
    search = {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}
    begun = Bytes(
        b'data: {"type":"content_block_start","index":0,"content_block":'
        b'{"type":"server_tool_use","id":"s1","name":"web_search","input":{}}}\n\n'
        b'data: {"type":"content_block_stop","index":0}\n\n'
    )
    async with StrictClaude([[begun, Stop("pause_turn")], "Found."]) as server:
        backend = backend_for(server)
        items = await asked(backend, asking())
        assert isinstance(items[-1], StreamEnded)
        assert items[-1].reason == "pause"
        await asked(backend, asking(HELLO, message_of(items)))
        await backend.close()
    assert server.bodies[1]["messages"][-1] == {"role": "assistant", "content": [search]}


# --- the way there ------------------------------------------------------------------------------------------------------


async def test_the_request_is_the_sdks(server: StrictClaude, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Mine: a:b\nnonsense")
    backend = backend_for(server)
    await asked(backend, asking())
    await asked(backend, asking(model="claude-haiku-4-5", temperature=0.5))
    sdk = anthropic.AsyncAnthropic(api_key=server.key, base_url=server.base_url)
    theirs = {name.lower(): value for name, value in {**sdk.default_headers, **sdk.auth_headers}.items()}
    for name in ("authorization", "anthropic-version", "content-type", "x-mine"):
        assert server.headers[0][name] == theirs[name]
    await sdk.close()
    assert server.headers[0]["user-agent"].startswith("greenroom/")
    assert [headers["anthropic-version"] for headers in server.headers] == ["2026-10-21", "2023-06-01"]
    assert "anthropic-beta" not in server.headers[1]
    assert server.bodies[1]["temperature"] == 0.5
    await backend.close()


async def test_key_and_address_are_read_from_the_environment(
    server: StrictClaude, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", server.key)
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "the key comes first")
    backend = ClaudeBackend()
    await asked(backend, asking())
    await backend.close()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", server.key)
    await asked(backend, asking())
    await backend.close()
    assert [headers["authorization"] for headers in server.headers] == [f"Bearer {server.key}"] * 2


async def test_a_server_of_ones_own_needs_no_key(server: StrictClaude) -> None:
    backend = ClaudeBackend(base_url=server.base_url)
    with pytest.raises(BackendUnauthorized):
        await asked(backend, asking())
    assert server.headers[0]["authorization"] == "Bearer no-key"
    await backend.close()


async def test_without_a_key_nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where a profile of the provider's own command line would lie
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    with pytest.raises(BackendUnauthorized, match="there is no key for Anthropic") as raised:
        await asked(ClaudeBackend(), asking())
    assert raised.value.hint is not None
    assert "ANTHROPIC_API_KEY" in raised.value.hint


async def test_a_profile_that_cannot_be_used_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTHROPIC_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("ANTHROPIC_PROFILE", "nobody")
    with pytest.raises(BackendUnauthorized) as raised:
        await asked(ClaudeBackend(), asking())
    assert str(tmp_path) not in str(raised.value)


async def test_a_wrong_key_is_not_repeated_to_the_reader(server: StrictClaude) -> None:
    backend = ClaudeBackend(api_key="sk-ant-wrong-key-123", base_url=server.base_url)
    with pytest.raises(BackendUnauthorized) as raised:
        await asked(backend, asking())
    assert "sk-ant-wrong" not in str(raised.value)
    await backend.close()


def test_the_sdk_is_imported_with_the_first_request() -> None:
    code = "import sys, greenroom.backends.claude; print({'anthropic', 'aiohttp', 'httpx2'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "set()\n"


# --- failures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "retry_after_s"),
    [
        (HttpError(429, "rate_limit_error", "Slow down", {"retry-after": "7"}), BackendUnavailable, 7.0),
        (HttpError(529, "overloaded_error", "Overloaded"), BackendUnavailable, None),
        (HttpError(500, "api_error", "Internal server error"), BackendUnavailable, None),
        (HttpError(401, "authentication_error", "invalid x-api-key"), BackendUnauthorized, None),
        (HttpError(403, "permission_error", "Not yours"), BackendUnauthorized, None),
        (HttpError(400, "invalid_request_error", "messages.0: nonsense"), BackendRejected, None),
        (HttpError(404, "not_found_error", "model: claude-zero"), BackendRejected, None),
        (HttpError(400, "invalid_request_error", "prompt is too long: 3 tokens > 2 maximum"), ContextTooLong, None),
        (HttpError(413, "request_too_large", "Request exceeds the maximum size"), ContextTooLong, None),
    ],
    ids=lambda value: str(getattr(value, "status", "")),
)
async def test_refusals_are_classified(
    answer: HttpError, error: type[BackendError], retry_after_s: float | None
) -> None:
    items, raised = await failing([answer])
    assert items == []
    assert type(raised) is error
    assert answer.message in str(raised)
    if isinstance(raised, BackendUnavailable):
        assert raised.retry_after_s == retry_after_s


@pytest.mark.parametrize(
    ("cue", "error"),
    [
        (ErrorEvent("overloaded_error", "Overloaded"), BackendUnavailable),
        (ErrorEvent("invalid_request_error", "nonsense"), BackendRejected),
        (Cut(), BackendGarbled),
        (Reset(), BackendGarbled),
        (Bytes(b"data: {nonsense\n\n"), BackendGarbled),
        (Bytes(b"data: " + b"x" * 9_000_000), BackendGarbled),
    ],
    ids=["overloaded", "rejected", "cut", "reset", "nonsense", "endless"],
)
async def test_what_breaks_in_the_middle_keeps_what_came_before(cue: Any, error: type[BackendError]) -> None:
    items, raised = await failing([[Say("Half of it"), cue]])
    parts, end = put_together(items)
    assert [part.text for part in parts] == ["Half of it"]
    assert end is None
    assert type(raised) is error


async def test_an_answer_that_is_too_large_is_left() -> None:
    _, raised = await failing([[Say("word " * 100)]], limits=Limits(step_bytes_max=50))
    assert isinstance(raised, LimitExceeded)


async def test_a_server_that_is_not_there() -> None:
    backend = ClaudeBackend(api_key="any", base_url="http://127.0.0.1:9")
    with pytest.raises(BackendUnavailable, match="refused the connection"):
        await asked(backend, asking())
    await backend.close()


async def test_an_address_that_is_none() -> None:
    with pytest.raises(BackendRejected, match="not the address of an API"):
        await asked(ClaudeBackend(api_key="any", base_url="somewhere"), asking())
