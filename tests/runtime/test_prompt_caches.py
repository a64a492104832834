"""What a session sends stays the beginning of what it sends later: the providers' caches hit, and the usage shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from greenroom import AgentManager
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.scripted import Call, Say, Think
from greenroom.testing.strict_claude import StrictClaude
from greenroom.testing.strict_openai import Reply, ReplyCall, StrictOpenAI
from greenroom.testing.strict_responses import Answer, StrictResponses
from runtime.test_switching import Two, said

PERSONA = "You are a careful test of prompt caches. " * 200


def openai_step(body: dict[str, Any]) -> Reply:
    if body["messages"][-1]["role"] == "tool":
        return Reply(text="Done. " * 40)
    return Reply(text="Looking.", calls=(ReplyCall("left", '{"what": "it"}'), ReplyCall("right")))


def claude_step(body: dict[str, Any]) -> Any:
    if body["messages"][-1]["content"][0]["type"] == "tool_result":
        return [Say("Done. " * 40)]
    return [Say("Looking."), Call("left", {"what": "it"}), Call("right", {})]


def responses_step(body: dict[str, Any]) -> Answer:
    if body["input"][-1]["type"] == "function_call_output":
        return [Think("Hm."), Say("Done. " * 40)]
    return [Think("Which?"), Say("Looking."), Call("left", {"what": "it"}), Call("right", {})]


@pytest.mark.parametrize("backend", ["openai", "openai-responses", "claude"])
async def test_every_request_reads_what_the_one_before_sent(home: Path, backend: str) -> None:
    async with (
        StrictOpenAI(openai_step, counts_usage=True) as openai,
        StrictResponses(responses_step, counts_usage=True) as responses,
        StrictClaude(claude_step, counts_usage=True) as claude,
    ):
        backends = {
            "openai": OpenAIBackend(api_key=openai.key, base_url=openai.base_url),
            "openai-responses": OpenAIResponsesBackend(api_key=responses.key, base_url=responses.base_url),
            "claude": ClaudeBackend(api_key=claude.key, base_url=claude.base_url),
        }
        async with AgentManager(home=home, toolsets=[Two], backends=backends) as manager:
            model = {"openai": "gpt-4o", "openai-responses": "gpt-5", "claude": "claude-sonnet-4-5"}[backend]
            session_id = await manager.create_session(
                backend=backend, llm_model=model, additional_tools=["Two"], custom_persona_text=PERSONA
            )
            for number in range(4):
                before = usage(manager, session_id)
                end = await said(manager, session_id, f"question {number} " * 30)
                assert end["type"] == "RUN_FINISHED", end
                steps = end["usage"]
                assert len(steps) == 2
                for place, step in enumerate(steps):
                    if number or place:
                        # All but what is new since the request before, and but what is rounded away.
                        assert step["cachedInputTokens"] > step["inputTokens"] - 700, step
                assert usage(manager, session_id)["cached_input_tokens"] > before["cached_input_tokens"]
        assert (openai.refused, responses.refused, claude.refused) == ([], [], [])
        if backend == "claude":
            assert all(0 < str(body).count("'cache_control'") <= 4 for body in claude.bodies)


def usage(manager: AgentManager, session_id: str) -> dict[str, Any]:
    data = manager.get_session_data(session_id)
    assert data is not None
    return dict(data["usage"])
