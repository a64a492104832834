"""Case P1: whichever of OpenAI's models is named, a session is answered, tools and all; nobody has to know about dialects.

Sources: livekit/agents#7169, BerriAI/litellm#34569, pipecat-ai/pipecat#4043, danny-avila/LibreChat#14231; genkit-ai/genkit#6303.
The doubles of OpenAI's platform refuse what OpenAI refuses; it is asked at its own address by way of a proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from contract.reading import run_of
from contract.stage import QUICK_LIMITS
from greenroom import AgentManager, Toolset, tool
from greenroom.backends.scripted import Call, Say, Think
from greenroom.testing.strict_claude import StrictClaude
from greenroom.testing.strict_openai import Reply, ReplyCall, StrictOpenAI
from greenroom.testing.strict_platform import OWN_URL, StrictPlatform

ROLL = [Think("A die is wanted."), Say("Rolling."), Call("roll", {})]


class Dice(Toolset):
    """Dice."""

    @tool(effect="pure")
    async def roll(self) -> str:
        """Rolls a die."""
        return "four"


def responses(body: dict[str, Any]) -> Any:
    """Calls the tool, and says what came of it."""
    return [Think("That was it."), Say("A four.")] if body["input"][-1]["type"] == "function_call_output" else ROLL


def chat(body: dict[str, Any]) -> Any:
    if body["messages"][-1]["role"] == "tool":
        return Reply(text="A four.")
    return Reply(text="Rolling.", calls=(ReplyCall("roll"),))


@pytest_asyncio.fixture
async def platform(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StrictPlatform]:
    """OpenAI, as far as the backend `openai` can tell."""
    async with StrictPlatform(chat=chat, responses=responses) as platform:
        monkeypatch.setenv("OPENAI_API_KEY", platform.key)
        monkeypatch.setenv("OPENAI_BASE_URL", OWN_URL)
        monkeypatch.setenv("HTTP_PROXY", platform.url)
        yield platform


def manager_in(home: Path, **config: Any) -> AgentManager:
    return AgentManager(home=home, toolsets=[Dice], config={"limits": {**QUICK_LIMITS}, **config})


async def session(manager: AgentManager, model: str, backend: str = "openai", **settings: Any) -> str:
    return await manager.create_session(backend=backend, llm_model=model, additional_tools=["Dice"], **settings)


async def said(manager: AgentManager, session_id: str) -> str:
    """Sends a message and returns the text of the answer, which ends well."""
    events = await run_of(manager.stream_response(session_id, "Roll."))
    assert events[-1]["type"] == "RUN_FINISHED", events[-1]
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


async def test_todays_models_are_answered_on_the_default_backend(platform: StrictPlatform, home: Path) -> None:
    """P1: `gpt-5.6-*`, `gpt-6-*` and later, with tools and no effort, over Responses with the same key."""
    models = ["gpt-5.6-sol", "gpt-6-luna", "gpt-6.2-astra", "gpt-7-sol", "gpt-5.3-codex", "gpt-5.5-pro"]
    async with manager_in(home) as manager:
        for model in models:
            assert await said(manager, await session(manager, model)) == "Rolling.A four."
    assert platform.refused == []
    assert platform.chat.bodies == []
    assert [body["model"] for body in platform.responses.bodies[::2]] == models
    again = platform.responses.bodies[1]["input"]
    assert [item["type"] for item in again[-4:]] == ["reasoning", "message", "function_call", "function_call_output"]


async def test_older_models_stay_where_they_were(platform: StrictPlatform, home: Path) -> None:
    async with manager_in(home) as manager:
        for model in ("gpt-4o", "gpt-5", "o3", "gpt-5.4"):
            assert await said(manager, await session(manager, model)) == "Rolling.A four."
    assert platform.refused == []
    assert platform.responses.bodies == []


async def test_an_effort_of_ones_own_is_kept(platform: StrictPlatform, home: Path) -> None:
    """P1: `none` asks Chat Completions, which takes tools then; gpt-5.4 takes none there at any other effort."""
    async with manager_in(home) as manager:
        await said(manager, await session(manager, "gpt-5.6-sol", reasoning_effort="none"))
        assert [body["reasoning_effort"] for body in platform.chat.bodies] == ["none", "none"]
        await said(manager, await session(manager, "gpt-5.6-sol", reasoning_effort="max"))
        await said(manager, await session(manager, "gpt-5.4", reasoning_effort="low"))
    efforts = [body["reasoning"]["effort"] for body in platform.responses.bodies]
    assert efforts == ["max", "max", "low", "low"]
    assert platform.refused == []


@pytest.mark.parametrize("prefix", ["/openai/v1", "/openai"])
async def test_azure_is_asked_likewise(home: Path, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    """P1 at Azure, at both of its kinds of address; P23: a deployment is told what it is like."""
    deployments = {"our-own-prod": "gpt-6-astra"}
    async with StrictPlatform(chat=chat, responses=responses, prefix=prefix, deployments=deployments) as azure:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", azure.url if prefix == "/openai" else azure.base_url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", azure.key)
        monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01-preview")
        models = {"azure:our-own-prod": {"like": "gpt-6-astra"}}
        async with manager_in(home, models=models) as manager:
            assert await said(manager, await session(manager, "gpt-5.6-terra", "azure")) == "Rolling.A four."
            prod = await session(manager, "our-own-prod", "azure", reasoning_effort="none")
            assert await said(manager, prod) == "Rolling.A four."
        assert azure.refused == []
        assert [body["model"] for body in azure.responses.bodies[1:3]] == ["gpt-5.6-terra", "our-own-prod"]
        assert azure.responses.bodies[2]["reasoning"]["effort"] == "low"


async def test_a_session_moves_between_the_dialects_with_its_history(platform: StrictPlatform, home: Path) -> None:
    """P1: to and fro between both dialects of one backend, and Claude; nothing is refused, and nothing is forgotten."""

    def claude(body: dict[str, Any]) -> Any:
        content = body["messages"][-1]["content"]
        if isinstance(content, list) and content[0]["type"] == "tool_result":
            return [Say("A four.")]
        return [Say("Rolling."), Call("roll", {})]

    async with (
        StrictClaude(claude) as anthropic,
        manager_in(home, claude={"api_key": anthropic.key, "base_url": anthropic.base_url}) as manager,
    ):
        session_id = await session(manager, "gpt-4o")
        stops = [
            *(
                ("openai", "gpt-5.6-sol"),
                ("openai", "gpt-4o"),
                ("openai", "gpt-5.6-sol"),
                ("claude", "claude-sonnet-5-5"),
            ),
            *(
                ("openai", "gpt-6.2-astra"),
                ("openai", "gpt-5"),
                ("claude", "claude-haiku-4-5"),
                ("openai", "gpt-5.6-sol"),
            ),
        ]
        assert await said(manager, session_id) == "Rolling.A four."
        for backend, model in stops:
            await manager.update_session(session_id, backend=backend, llm_model=model)
            assert await said(manager, session_id) == "Rolling.A four."
        assert anthropic.refused == []
    assert platform.refused == []
    last = platform.responses.bodies[-1]["input"]
    assert [item["type"] for item in last].count("function_call") == 9
    # What each gpt-5.6-sol has thought came back to it, and nothing that another has thought: the double remembers whose it was.
    assert [item["type"] for item in last].count("reasoning") == 2 * 2 + 1


async def test_the_prompt_cache_is_hit_within_a_model(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """P1: each request begins with the one before, byte for byte; the session names the cache."""
    async with StrictPlatform(responses=responses, counts_usage=True) as platform:
        for name, value in (
            ("OPENAI_API_KEY", platform.key),
            ("OPENAI_BASE_URL", OWN_URL),
            ("HTTP_PROXY", platform.url),
        ):
            monkeypatch.setenv(name, value)
        async with manager_in(home) as manager:
            session_id = await session(manager, "gpt-5.6-sol")
            for _ in range(3):
                await said(manager, session_id)
        bodies = platform.responses.bodies
        for before, after in pairwise(bodies):
            assert after["input"][: len(before["input"])] == before["input"]
            assert {**after, "input": 0} == {**before, "input": 0}
        assert {body["prompt_cache_key"] for body in bodies} == {session_id}


async def test_plans_say_which_dialect_is_used(platform: StrictPlatform, home: Path) -> None:
    """P1: and that the thoughts which only the other dialect can carry are not seen; after the way back they are."""
    async with manager_in(home) as manager:
        session_id = await session(manager, "gpt-5.6-sol")
        await said(manager, session_id)
        plans = {
            model: await manager.plan_update(session_id, llm_model=model)
            for model in ("gpt-5.6-sol", "gpt-5.6-luna", "gpt-5.4")
        }
        assert {model: plan.dialect for model, plan in plans.items()} == {
            "gpt-5.6-sol": "openai-responses",
            "gpt-5.6-luna": "openai-responses",
            "gpt-5.4": "openai",
        }
        lost = {model: [loss.kind for loss in plan.losses] for model, plan in plans.items()}
        assert lost == {"gpt-5.6-sol": [], "gpt-5.6-luna": ["signatures"], "gpt-5.4": ["signatures"]}
        quiet = await manager.plan_update(session_id, reasoning_effort="none")
        assert (quiet.dialect, [loss.kind for loss in quiet.losses]) == ("openai", ["signatures"])
        await said(manager, session_id)
    assert platform.refused == []


async def test_a_fallback_is_asked_in_its_own_dialect(platform: StrictPlatform, home: Path) -> None:
    """Sibling of P1: the model that steps in wants another dialect than the one that it stands in for."""
    config = {"backends": {"down": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key": "k"}}}
    async with manager_in(home, **config) as manager:
        session_id = await session(manager, "gpt-4o", "down", fallbacks=["openai:gpt-5.6-sol"])
        assert await said(manager, session_id) == "Rolling.A four."
    assert platform.refused == []
    assert [body["model"] for body in platform.responses.bodies] == ["gpt-5.6-sol", "gpt-5.6-sol"]


async def test_a_server_elsewhere_is_asked_again_without_an_effort(home: Path) -> None:
    """P1: at other addresses `none` is used after the refusal, which is told once and remembered for the model."""
    async with StrictOpenAI(chat) as gateway:
        backends = {"gateway": {"kind": "openai", "base_url": gateway.base_url, "api_key": gateway.key}}
        async with manager_in(home, backends=backends) as manager:
            session_id = await session(manager, "openai/gpt-5.6-luna", "gateway", reasoning_effort="high")
            for _ in range(2):
                assert await said(manager, session_id) == "Rolling.A four."
        assert len(gateway.refused) == 1, "it is not tried again"
        assert {body["reasoning_effort"] for body in gateway.bodies} == {"none"}
        assert all(body["tools"] for body in gateway.bodies)


async def test_a_deployment_that_nobody_described_is_answered_all_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P23, sibling of P1: Azure, under a name that tells nothing, before anybody wrote `[models]`."""
    deployments = {"our-own-prod": "gpt-5.6-sol"}
    async with StrictPlatform(chat=chat, responses=responses, prefix="/openai/v1", deployments=deployments) as azure:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", azure.base_url)
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", azure.key)
        async with manager_in(home) as manager:
            assert await said(manager, await session(manager, "our-own-prod", "azure")) == "Rolling.A four."
        assert len(azure.refused) == 1
        assert [body["reasoning_effort"] for body in azure.chat.bodies] == ["none", "none"]
