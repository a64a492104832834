"""A session leaves the Responses API and comes back: its reasoning waits, is sent to nobody else, and is understood again."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from greenroom import AgentManager
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.scripted import Call, Cut, Say, Think
from greenroom.testing.strict_claude import StrictClaude
from greenroom.testing.strict_openai import Refused, StrictOpenAI
from greenroom.testing.strict_responses import Answer, ErrorEvent, Incomplete, Output, StrictResponses
from runtime.test_switching import Two, claude_step, openai_step, said

SEARCH = {"type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}

TOUR: list[tuple[str, str]] = [
    ("openai", "gpt-4o"),
    ("openai-responses", "gpt-5"),
    ("claude", "claude-sonnet-4-5"),
    ("local", "any"),
    ("openai-responses", "gpt-5"),
    ("openai-responses", "gpt-5-mini"),
    ("openai-responses", "gpt-4o"),
    ("openai-responses", "gpt-5"),
]


def responses_step(body: dict[str, Any]) -> Answer:
    if body["input"][-1]["type"] == "function_call_output":
        return [Think(""), Say(f"answer {len(body['input'])}")]
    calls = (Call("left", {"what": "it"}, "call_same"), Call("right", "", "call_same"), Call("no.such", "{"))
    if body["model"] == "gpt-4o":
        return [Say("Looking."), *calls]
    return [Think(""), Output(SEARCH), Think("Which one?"), Say("Looking."), *calls]


class Providers(msgspec.Struct):
    """Four servers that enforce their rules."""

    openai: StrictOpenAI
    responses: StrictResponses
    claude: StrictClaude
    local: StrictOpenAI

    def refused(self) -> list[str]:
        return [*self.openai.refused, *self.responses.refused, *self.claude.refused, *self.local.refused]


@asynccontextmanager
async def stage(
    home: Path, script: Any = responses_step, *, chat: Any = openai_step, claude: Any = claude_step
) -> AsyncIterator[tuple[AgentManager, Providers]]:
    async with (
        StrictOpenAI(chat) as openai,
        StrictResponses(script) as responses,
        StrictClaude(claude) as anthropic,
        StrictOpenAI(chat) as local,
    ):
        backends = {
            "openai": OpenAIBackend(api_key=openai.key, base_url=openai.base_url),
            "openai-responses": OpenAIResponsesBackend(api_key=responses.key, base_url=responses.base_url),
            "claude": ClaudeBackend(api_key=anthropic.key, base_url=anthropic.base_url),
            "local": OpenAIBackend(api_key=local.key, base_url=local.base_url),
        }
        config = {"limits": {"retry_base_s": 0.001}}
        async with AgentManager(home=home, toolsets=[Two], backends=backends, config=config) as manager:
            yield manager, Providers(openai, responses, anthropic, local)


def reasonings(body: dict[str, Any]) -> list[str]:
    return [item["encrypted_content"] for item in body["input"] if item["type"] == "reasoning"]


async def test_a_tour_over_all_backends_restores_the_reasoning(home: Path) -> None:
    async with stage(home) as (manager, providers):
        session_id = await manager.create_session(backend="openai", additional_tools=["Two"])
        for number, (backend, model) in enumerate(TOUR * 2):
            await manager.update_session(session_id, backend=backend, llm_model=model)
            end = await said(manager, session_id, f"question {number}")
            assert end["type"] == "RUN_FINISHED", end
        history = await manager.history(session_id)
        assert providers.refused() == []
        bodies = providers.responses.bodies
        # Two requests a turn; the first of a turn goes back with what the turns before left.
        by_turn = [(body["model"], len(reasonings(body))) for body in bodies[::2]]
        assert by_turn == [
            *(("gpt-5", 0), ("gpt-5", 3), ("gpt-5-mini", 0), ("gpt-4o", 0), ("gpt-5", 6)),
            *(("gpt-5", 9), ("gpt-5", 12), ("gpt-5-mini", 3), ("gpt-4o", 0), ("gpt-5", 15)),
        ]
        last = bodies[-1]
        assert len(reasonings(last)) == len(set(reasonings(last))) == 17
        assert sum(item["type"] == "web_search_call" for item in last["input"]) == 6
        assert all(f"question {number}" in json.dumps(last) for number in range(16))
        for body in (*providers.openai.bodies, *providers.claude.bodies, *providers.local.bodies):
            assert "gAAAA" not in json.dumps(body), "foreign sidecars stay at home"
        ids = [item["call_id"] for item in last["input"] if item["type"] == "function_call"]
        assert len(ids) == len(set(ids)), "repeated ids became unique"
        assert all("answer" in message.text for message in history if message.role == "assistant")


async def test_failures_and_cuts_in_between_do_not_brick_it(home: Path) -> None:
    troubles: list[Answer] = [
        [Think("Hm."), Say("half an ans"), ErrorEvent("server_error")],
        [Think("Hm."), Call("left", ['{"what": "i']), Cut()],
        [Think("Hm."), Say("better")],
        [Think("Hm."), Say("as far as"), Incomplete()],
        [Think("Hm."), Call("left", '{"what": "i'), Incomplete()],
        [Think("Hm."), Incomplete()],
        Refused(status=400, message="nonsense", kind="invalid_request_error"),
        [Think("Hm."), Say("whole")],
    ]
    async with stage(home, troubles) as (manager, providers):
        session_id = await manager.create_session(
            backend="openai-responses", llm_model="gpt-5", additional_tools=["Two"]
        )
        ends = [(await said(manager, session_id, f"question {number}"))["type"] for number in range(5)]
        assert ends.count("RUN_FINISHED") >= 3, ends
        for backend, model in (("claude", "claude-sonnet-4-5"), ("local", "any"), ("openai", "gpt-4o")):
            await manager.update_session(session_id, backend=backend, llm_model=model)
            assert (await said(manager, session_id, f"to {backend}"))["type"] == "RUN_FINISHED"
        assert providers.refused() == []


async def test_a_key_of_another_organisation_does_not_brick_it(home: Path) -> None:
    async with stage(home) as (manager, providers):
        session_id = await manager.create_session(
            backend="openai-responses", llm_model="gpt-5", additional_tools=["Two"]
        )
        assert (await said(manager, session_id, "one"))["type"] == "RUN_FINISHED"
        providers.responses.forget()
        assert (await said(manager, session_id, "two"))["type"] == "RUN_FINISHED"
        assert all("could not be verified" in refused for refused in providers.responses.refused)
