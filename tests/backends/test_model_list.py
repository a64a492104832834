"""Providers are asked for their models, and whatever comes back is data of strangers.

Case P26 (providers.md): no model list was asked, 1 of 41 models of a server was offered. And P25: the day on which a model ends is what
the provider says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from aiohttp import web

from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.clouds import CloudOptions
from greenroom.backends.faults import Endpoint
from greenroom.backends.model_list import LIST_BYTES_MAX, models_in, named_first
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.scripted import ScriptedBackend
from greenroom.errors import BackendGarbled, BackendRejected
from greenroom.interfaces import BackendRequest, ListedModel
from greenroom.messages import TextPart, UserMessage
from greenroom.model_lists import (
    AGAIN_S,
    FRESH_S,
    MODELS_MAX,
    Listing,
    ModelLists,
    is_listed,
    listing,
    offer_of,
)
from greenroom.runtime.tasks import Tasks
from greenroom.testing.loopback import Loopback
from greenroom.testing.strict_platform import StrictPlatform
from greenroom.usable import Candidate

KEY = "sk-strict-test-key"
SOON = (datetime.now(UTC).date() + timedelta(days=20)).isoformat()
OVER = (datetime.now(UTC).date() - timedelta(days=1)).isoformat()
ENDPOINT = Endpoint(provider="X", base_url="http://x/v1", key=KEY, key_variable="K", base_url_variable="U")


def asked(model: str) -> BackendRequest:
    return BackendRequest(model=model, system="", messages=(UserMessage(parts=(TextPart(text="?"),)),))


def names(found: Listing) -> list[str]:
    assert found.models is not None, found.note
    return [model.name for model in found.models]


Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(serve: Serve, path: str = "/v1/models", **answers: Serve) -> AsyncIterator[Loopback]:
    server = Loopback()
    server.route("GET", path, serve)
    for asked_at, answer in answers.items():
        server.route("POST", f"/v1/{asked_at}", answer)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


def saying(body: bytes | str, status: int = 200, content_type: str = "application/json", **headers: str) -> Serve:
    async def serve(_: web.Request) -> web.StreamResponse:
        data = body.encode() if isinstance(body, str) else body
        return web.Response(body=data, status=status, content_type=content_type, headers=headers)

    return serve


async def test_a_server_with_41_models_shows_41() -> None:
    """P26."""
    async with StrictPlatform(models=[f"model-{number:02}" for number in range(41)]) as platform:
        backend = OpenAIBackend(api_key=platform.key, base_url=platform.base_url)
        found = await listing(lambda: backend)
        await backend.close()
    assert names(found) == [f"model-{number:02}" for number in range(41)]
    assert found.note == ""


async def test_only_what_may_be_talked_to_and_still_answers_is_listed() -> None:
    """P26, P25."""
    rows: list[str | dict[str, Any]] = [
        "gpt-9",
        "text-embedding-3-large",
        "whisper-1",
        {"id": "gpt-soon", "shutdown_date": SOON},
        {"id": "gpt-over", "shutdown_date": OVER},
        {"id": "gpt-odd", "shutdown_date": "some day"},
        {"id": "painter", "type": "image"},
        {"id": "painter-2", "architecture": {"output_modalities": ["image"]}},
        {"id": "ocr", "capabilities": {"completion_chat": False}},
        {"id": "seer", "architecture": {"output_modalities": ["text", "image"]}},
    ]
    async with StrictPlatform(models=rows) as platform:
        backend = OpenAIBackend(api_key=platform.key, base_url=platform.base_url)
        assert backend.notices(asked("gpt-soon")) == []
        found = await listing(lambda: backend)
        told = [notice.text for notice in backend.notices(asked("gpt-soon"))]
        await backend.close()
    assert names(found) == ["gpt-9", "gpt-odd", "gpt-soon", "seer"]
    assert {model.name: model.ends_on for model in found.models or ()}["gpt-soon"] == SOON
    assert told == [f"gpt-soon ends on {SOON}"]


async def test_claude_is_asked_as_its_api_wants_it() -> None:
    """P26: with its version and key, for a page as long as there is; P25: what is retired is not offered."""
    asked_for: list[web.Request] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        asked_for.append(request)
        rows = [
            {"type": "model", "id": "claude-now", "lifecycle": "active", "retires_at": None},
            {"type": "model", "id": "claude-late", "lifecycle": "deprecated", "retires_at": f"{SOON}T00:00:00Z"},
            {"type": "model", "id": "claude-gone", "lifecycle": "retired", "retires_at": f"{OVER}T00:00:00Z"},
        ]
        return web.json_response({"data": rows, "has_more": False})

    async with serving(serve) as server:
        backend = ClaudeBackend(api_key=KEY, base_url=server.url)
        found = await listing(lambda: backend)
        told = [notice.code for notice in backend.notices(asked("claude-late"))]
        await backend.close()
    assert names(found) == ["claude-late", "claude-now"]
    assert told == ["model_ends"]
    (request,) = asked_for
    assert request.query == {"limit": "1000"}
    assert request.headers["anthropic-version"]
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "body",
    [
        {"object": "list", "data": [{"id": "a"}, {"id": "b"}]},
        [{"id": "a"}, {"id": "b"}],  # Together
        {"models": [{"name": "a"}, {"name": "b"}]},  # Ollama's own
        {"data": ["a", "b"]},
        {"data": [{"id": "a"}, {"id": 7}, None, [], {}, {"id": "b"}]},
    ],
)
def test_lists_come_in_several_forms(body: object) -> None:
    assert [model.name for model in models_in(msgspec.json.encode(body), ENDPOINT)] == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Sign in</body></html>",
        b"{}",
        b'{"data": {"id": "a"}}',
        b'{"data": [1, 2]}',
        b"[" * 100_000,
        b"\xff\xfe",
        b'"models"',
        b"null",
    ],
)
def test_what_is_no_list_is_an_error_that_says_what_came(body: bytes) -> None:
    with pytest.raises(BackendGarbled, match="is not a list of models"):
        models_in(body, ENDPOINT)


@pytest.mark.parametrize(
    ("serve", "note"),
    [
        (saying("<html><h1>Welcome</h1></html>", content_type="text/html"), "not a list of models: Welcome"),
        (saying(b"{" + b" " * LIST_BYTES_MAX + b"}"), "more than 4194304 bytes"),
        (saying('{"error": {"message": "no such route"}}', 404), "no such route"),
        (saying("", 500), "500"),
        (saying("", 302, location="http://127.0.0.1:9/elsewhere"), "could not be fetched"),
        (saying('{"data": []}'), "names no model to chat with"),
        (saying('{"data": [{"id": "text-embedding-3-small"}]}'), "names no model to chat with"),
        (saying(f'{{"error": {{"message": "bad key {KEY}"}}}}', 401), "bad key [key]"),
    ],
)
async def test_a_provider_that_cannot_say_is_told_of_in_words(serve: Serve, note: str) -> None:
    """P26: garbage, HTML, huge, refusing, moved away: nothing is raised, and no key is shown."""
    async with serving(serve) as server:
        backend = OpenAIBackend(api_key=KEY, base_url=f"{server.url}/v1")
        found = await listing(lambda: backend)
        await backend.close()
    assert not found.models
    assert note in found.note
    assert KEY not in found.note


async def test_a_wrong_key_is_told_and_not_shown() -> None:
    async with StrictPlatform(models=["gpt-9"]) as platform:
        backend = OpenAIBackend(api_key="sk-wrong-secret-key", base_url=platform.base_url)
        found = await listing(lambda: backend)
        await backend.close()
    assert found.models is None
    assert "key" in found.note
    assert "wrong-secret" not in found.note


async def test_an_endless_list_is_cut_at_its_bound() -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        while True:
            await response.write(b'{"data": [' + b" " * 65_536)

    async with serving(serve) as server:
        backend = OpenAIBackend(api_key=KEY, base_url=f"{server.url}/v1")
        found = await listing(lambda: backend)
        await backend.close()
    assert "more than" in found.note


@pytest.mark.virtual_time
async def test_a_slow_list_is_given_up() -> None:
    class Slow(ScriptedBackend):
        async def list_models(self) -> list[ListedModel]:
            await asyncio.Event().wait()
            return []

    assert (await listing(Slow)).note == "its list of models did not arrive within 10 s"


class Lister(ScriptedBackend):
    """A backend that lists what it is told to, or fails."""

    def __init__(self, *rows: Any) -> None:
        super().__init__()
        self.rows = rows
        self.fails: BaseException | None = None
        self.asked = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def list_models(self) -> list[Any]:
        self.asked += 1
        await self.may_answer.wait()
        if self.fails is not None:
            raise self.fails
        return list(self.rows)


async def test_names_are_bounded_in_length_letters_and_number() -> None:
    """P26: what could not be set is not offered, nor more than a person could look at."""
    odd = ["", " x", "a\nb", "x" * 257, "\u202eevil", "ok", "ok", "x" * 256]
    found = await listing(lambda: Lister(*(ListedModel(name=name) for name in odd)))
    assert names(found) == ["ok", "x" * 256]
    many = await listing(lambda: Lister(*(ListedModel(name=f"m{number}") for number in range(1200))))
    assert len(names(many)) == MODELS_MAX
    assert many.note == "the first 1000 of 1200 models are shown"


@pytest.mark.parametrize("failure", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()])
async def test_a_foreign_backend_may_raise_what_it_likes(failure: BaseException) -> None:
    backend = Lister()
    backend.fails = failure
    found = await listing(lambda: backend)
    assert found.models is None
    assert found.note.startswith("its list of models could not be fetched")
    assert "could not be fetched" in (await listing(lambda: Lister(7, "x"))).note

    def broken() -> ScriptedBackend:
        raise failure

    assert "could not be fetched" in (await listing(broken)).note


async def test_who_has_no_list_has_nothing_to_say() -> None:
    assert await listing(ScriptedBackend) == Listing()
    azure = OpenAIBackend(cloud=CloudOptions(api_key="k", base_url="https://me.openai.azure.com/openai/v1"))
    assert await listing(lambda: azure) == Listing(), "Azure lists what could be deployed"
    assert await listing(lambda: ClaudeBackend(cloud="vertex")) == Listing()


@pytest.mark.virtual_time
async def test_a_list_is_asked_for_once_at_a_time_and_kept_for_minutes() -> None:
    """P26: nobody waits for it; a failure leaves what was known, and says so."""
    backend, tasks = Lister(ListedModel(name="a")), Tasks()
    lists = ModelLists(lambda _: backend, tasks)
    backend.may_answer.clear()
    assert [lists.known("x").models for _ in range(5)] == [None] * 5
    assert lists.known("x").note == "its list of models is being fetched"
    await asyncio.sleep(1)
    assert backend.asked == 1
    backend.may_answer.set()
    await lists.settled()
    assert names(lists.known("x")) == ["a"]
    await asyncio.sleep(FRESH_S - 1)
    assert names(lists.known("x")) == ["a"]
    assert backend.asked == 1
    backend.fails = ValueError("boom")
    await asyncio.sleep(2)
    assert names(lists.known("x")) == ["a"], "what is old is shown while it is asked for again"
    await lists.settled()
    found = lists.known("x")
    assert (names(found), backend.asked) == (["a"], 2)
    assert found.note == "its list of models may be old: its list of models could not be fetched: ValueError: boom"
    backend.fails, backend.rows = None, (ListedModel(name="b"),)
    await asyncio.sleep(AGAIN_S + 1)
    lists.known("x")
    await lists.settled()
    assert (names(lists.known("x")), lists.known("x").note) == (["b"], "")
    await tasks.end()


@pytest.mark.virtual_time
async def test_closing_ends_what_is_being_asked() -> None:
    backend, tasks = Lister(), Tasks()
    backend.may_answer.clear()
    lists = ModelLists(lambda _: backend, tasks)
    lists.known("x")
    await asyncio.sleep(1)
    await tasks.end()
    assert len(tasks) == 0
    await lists.settled()


# --- what is offered ----------------------------------------------------------------------------------------------------

FOUND = Listing(models=(ListedModel(name="a"), ListedModel(name="b", ends_on=SOON)))


def candidate(**values: Any) -> Candidate:
    return Candidate(label="x", backend="x", is_usable=True, why="", **values)


@pytest.mark.parametrize(
    ("who", "suggested", "found", "offered", "source"),
    [
        (candidate(), "gpt-4o", FOUND, ["a", "b"], "provider"),  # a server of one's own has what it lists
        (candidate(), "b", FOUND, ["b", "a"], "provider"),
        (candidate(models=("gpt-*",)), "gpt-4o", FOUND, ["gpt-4o", "a", "b"], "provider"),
        (candidate(model="mine"), "mine", FOUND, ["mine", "a", "b"], "provider"),
        (candidate(), "gpt-4o", Listing(), ["gpt-4o"], "known"),
        (candidate(), None, Listing(models=()), [None], "known"),
        (candidate(listed=("q", "r"), model="q"), "q", Listing(), ["q", "r"], "provider"),
    ],
)
def test_what_is_offered(
    who: Candidate, suggested: str | None, found: Listing, offered: list[str | None], source: str
) -> None:
    offer = offer_of(who, suggested, found)
    assert [name for name, _ in offer.models] == offered
    assert offer.source == source


def test_who_is_asked_for_a_list() -> None:
    assert is_listed(candidate())
    assert not is_listed(candidate(listed=("a",)))
    assert not is_listed(msgspec.structs.replace(candidate(), is_usable=False))
    assert not is_listed(msgspec.structs.replace(candidate(), backend="openai-responses"))


# --- a model that does not exist ----------------------------------------------------------------------------------------

LISTED = '{"data": [{"id": "qwen3:8b"}, {"id": "llama3.2:3b"}, {"id": "gemma3:4b"}, {"id": "text-embedding-3-small"}]}'
NEAR = "it has llama3.2:3b, qwen3:8b, gemma3:4b: set llm_model to one of them"
BACKENDS: list[tuple[str, Callable[[str], Any]]] = [
    ("chat/completions", lambda url: OpenAIBackend(api_key=KEY, base_url=f"{url}/v1")),
    ("responses", lambda url: OpenAIResponsesBackend(api_key=KEY, base_url=f"{url}/v1")),
    ("messages", lambda url: ClaudeBackend(api_key=KEY, base_url=url)),
]
REFUSALS: list[tuple[int, str]] = [
    (404, '{"error": {"message": "model \'llama3\' not found", "type": "not_found_error"}}'),
    (404, '{"error": {"message": "The model `llama3` does not exist", "code": "model_not_found"}}'),
    (404, "404 page not found"),
    (
        400,
        '{"error": {"message": "Invalid model name passed in model=llama3. Call `/v1/models`", "code": "400"}}',
    ),  # LiteLLM
    (400, '{"error": {"message": "llama3 is not a valid model ID", "code": 400}}'),  # OpenRouter
]


async def rejected(backend: Any) -> BackendRejected:
    with pytest.raises(BackendRejected) as caught:
        async with backend.stream(asked("llama3")):
            pass
    await backend.close()
    return caught.value


@pytest.mark.parametrize(("path", "make"), BACKENDS)
@pytest.mark.parametrize(("status", "body"), REFUSALS)
async def test_an_error_about_a_model_names_those_that_exist(
    path: str, make: Callable[[str], Any], status: int, body: str
) -> None:
    """Case P26's sibling: the provider knows what it has, and the error left people to guess."""
    async with serving(saying(LISTED), **{path: saying(body, status)}) as server:
        error = await rejected(make(server.url))
    assert f"answered {status}" in error.message
    assert error.hint == NEAR
    assert error.refused is None, "nothing of the conversation was the reason"


@pytest.mark.parametrize(
    ("status", "body", "listed"),
    [
        (404, REFUSALS[0][1], saying("nothing here", 404)),
        (404, REFUSALS[0][1], saying('{"data": []}')),
        (404, REFUSALS[0][1], saying('{"data": [{"id": "llama3"}]}')),
        (400, '{"error": {"message": "temperature is too high"}}', saying(LISTED)),
        (401, '{"error": {"message": "model llama3 not found for this key"}}', saying(LISTED)),
    ],
)
async def test_an_error_stays_as_it_was_where_no_list_would_help(status: int, body: str, listed: Serve) -> None:
    async with serving(listed, **{"chat/completions": saying(body, status)}) as server:
        error = await rejected(OpenAIBackend(api_key=KEY, base_url=f"{server.url}/v1"))
    assert "it has" not in (error.hint or ""), error.message
    assert f"answered {status}" in error.message


def test_the_names_in_an_error_are_few_and_those_alike_come_first() -> None:
    many = [f"model-{number}" for number in range(50)] + ["gpt-6.1-sol", "x" * 300]
    said = named_first("gpt-6-sol", many)
    assert said.startswith("it has gpt-6.1-sol, ")
    assert said.endswith(" and 44 more")
    assert len(named_first("y", ["x" * 300] * 3)) < 300
