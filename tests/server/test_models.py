"""`GET /v1/models`: what the providers say that they have, without waiting for them.

Case P26 (providers.md): 1 of 41 models of a server was offered.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web as http

from cli.conftest import NO_OLLAMA
from cli.provider import Say, provider
from greenroom.testing.loopback import Loopback
from greenroom.testing.strict_platform import StrictPlatform
from server.asgi import Web
from server.conftest import OpenWeb


@pytest.fixture(autouse=True)
def _no_ollama(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", NO_OLLAMA)


async def rows(web: Web, backend: str) -> list[dict[str, Any]]:
    answer = await web.get("/v1/models")
    assert answer.status == 200
    return [row for row in answer.json()["models"] if row["backend"] == backend]


async def test_all_models_of_a_server_are_offered(open_web: OpenWeb) -> None:
    """P26: the first look does not wait for the list; the next ones have it, and ask nobody."""
    async with StrictPlatform(models=[f"model-{number:02}" for number in range(41)]) as platform:
        web = open_web(config={"openai": {"api_key": platform.key, "base_url": platform.base_url}})
        first = await rows(web, "openai")
        assert [row["source"] for row in first] == ["known"]
        assert first[0]["note"] == "its list of models is being fetched"
        await web.app.place.lists.settled()
        for _ in range(3):
            found = await rows(web.of("token-of-another-user"), "openai")
            assert [row["model"] for row in found] == [f"model-{number:02}" for number in range(41)]
            assert {row["source"] for row in found} == {"provider"}
            assert all(row["usable"] and "note" not in row for row in found)
        assert platform.asked_for_list == 1
        sent = [headers["authorization"] for headers in platform.chat.headers]
        assert sent == [f"Bearer {platform.key}"], "the server's own key, no user's token"


@pytest.mark.parametrize("default_backend", ["openai", "openai-responses"])
async def test_a_dialect_that_a_server_of_ones_own_may_not_have_is_not_offered(
    open_web: OpenWeb, default_backend: str
) -> None:
    """P26's sibling: `openai-responses` was offered at every address, also of servers without that API; who names it, gets it."""
    async with StrictPlatform(models=["a"]) as platform:
        config = {
            "openai": {"api_key": platform.key, "base_url": platform.base_url},
            "default_backend": default_backend,
        }
        web = open_web(config=config)
        assert bool(await rows(web, "openai-responses")) is (default_backend == "openai-responses")
        assert await rows(web, "openai")
    at_openai = open_web(config={"openai": {"api_key": "sk-x"}, "default_backend": "openai"})
    assert await rows(at_openai, "openai-responses"), "OpenAI has both"
    assert (await web.post("/v1/sessions", {"backend": "openai-responses", "llm_model": "a"})).status == 201


async def test_a_named_backend_is_asked_too(open_web: OpenWeb) -> None:
    """P26: what the configuration names is its author's to know, and comes first."""
    async with StrictPlatform(models=["a", "b"]) as platform:
        named = {"kind": "openai", "api_key": platform.key, "base_url": platform.base_url, "model": "mine"}
        web = open_web(config={"backends": {"vllm": named}, "default_backend": "vllm"})
        await rows(web, "vllm")
        await web.app.place.lists.settled()
        found = await rows(web, "vllm")
    assert [(row["model"], row["is_default"]) for row in found] == [("mine", True), ("a", False), ("b", False)]


async def test_a_provider_that_fails_is_told_of(open_web: OpenWeb) -> None:
    """P26: a wrong key: what is known stays offered, the note says why it is no more, and shows no key."""
    async with StrictPlatform(models=["a", "b"]) as platform:
        web = open_web(config={"openai": {"api_key": "sk-wrong-secret-key", "base_url": platform.base_url}})
        await rows(web, "openai")
        await web.app.place.lists.settled()
        (row,) = await rows(web, "openai")
        again = await rows(web, "openai")
    assert (row["source"], row["usable"]) == ("known", True)
    assert "could not be fetched" in row["note"]
    assert "wrong-secret" not in str(again)
    assert platform.asked_for_list == 1, "it is left alone for a while"


async def test_a_provider_that_hangs_delays_nobody(open_web: OpenWeb) -> None:
    """P26: neither the route nor the end of the server."""
    came, never = asyncio.Event(), asyncio.Event()

    async def hang(_: http.Request) -> http.StreamResponse:
        came.set()
        await never.wait()
        return http.Response()

    server = Loopback()
    server.route("GET", "/v1/models", hang)
    await server.start()
    opened = open_web(config={"openai": {"api_key": "k", "base_url": f"{server.url}/v1"}})
    await rows(opened, "openai")
    await came.wait()
    assert [row["source"] for row in await rows(opened, "openai")] == ["known"]
    await opened.app.stop()
    await server.stop()


async def test_nobody_is_asked_before_somebody_looks(open_web: OpenWeb) -> None:
    async with StrictPlatform(models=["a"]) as platform:
        web = open_web(config={"openai": {"api_key": platform.key, "base_url": platform.base_url}})
        await web.app.start()
        assert (await web.get("/v1/status")).status == 200
        assert platform.asked_for_list == 0


async def test_ollama_offers_all_that_it_has_at_once(open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["nomic-embed-text:latest", "qwen3:8b", "llama3.2:latest"]
        monkeypatch.setenv("OLLAMA_HOST", running.base_url.removesuffix("/v1"))
        found = await rows(open_web(), "ollama")
    assert [(row["model"], row["source"]) for row in found] == [
        ("qwen3:8b", "provider"),
        ("llama3.2:latest", "provider"),
    ]


async def test_going_over_to_ollama_takes_one_of_its_models(open_web: OpenWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    """P26: not the name of the model before, in an update as in its plan; one that Ollama has is kept."""
    with provider(lambda _: [Say("x")]) as running:
        running.models = ["nomic-embed-text:latest", "qwen3:8b", "llama3.2:latest"]
        monkeypatch.setenv("OLLAMA_HOST", running.base_url.removesuffix("/v1"))
        web = open_web()
        await web.post("/v1/sessions", {"session_id": "s", "llm_model": "gpt-4o"})
        plan = (await web.ask("PATCH", "/v1/sessions/s?dry_run=true", {"backend": "ollama"})).json()
        assert {"name": "llm_model", "before": "gpt-4o", "after": "qwen3:8b"} in plan["changes"]
        await web.ask("PATCH", "/v1/sessions/s", {"backend": "ollama"})
        assert (await web.get("/v1/sessions/s")).json()["llm_model"] == "qwen3:8b"
        await web.ask("PATCH", "/v1/sessions/s", {"backend": "ollama", "llm_model": "other"})
        assert (await web.get("/v1/sessions/s")).json()["llm_model"] == "other", "what is named is taken"
        await web.ask("PATCH", "/v1/sessions/s", {"title": "x"})
        assert (await web.get("/v1/sessions/s")).json()["llm_model"] == "other"
        await web.post("/v1/sessions", {"session_id": "t", "backend": "scripted", "llm_model": "llama3.2"})
        await web.ask("PATCH", "/v1/sessions/t", {"backend": "ollama"})
        assert (await web.get("/v1/sessions/t")).json()["llm_model"] == "llama3.2"


async def test_going_over_to_an_ollama_that_does_not_run_changes_nothing(open_web: OpenWeb) -> None:
    web = open_web()
    await web.post("/v1/sessions", {"session_id": "s", "llm_model": "gpt-4o"})
    refused = await web.ask("PATCH", "/v1/sessions/s", {"backend": "ollama"})
    assert refused.status >= 400
    assert "no model of Ollama can be asked" in refused.json()["error"]["message"]
    assert (await web.get("/v1/sessions/s")).json()["backend"] == "scripted"
