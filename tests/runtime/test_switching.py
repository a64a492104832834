"""A session moves between providers that enforce their rules, with its whole history, and every request is accepted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from greenroom import AgentManager, Toolset, tool
from greenroom.backends.claude import ClaudeBackend
from greenroom.backends.openai import OpenAIBackend
from greenroom.backends.scripted import Call, Cut, Say, Think
from greenroom.core.view import ToolCallView
from greenroom.testing.strict_claude import ErrorEvent, StrictClaude
from greenroom.testing.strict_openai import Refused, Reply, ReplyCall, StrictOpenAI

TOUR: list[tuple[str, dict[str, Any]]] = [
    ("openai", {"llm_model": "gpt-4o"}),
    ("claude", {"llm_model": "claude-sonnet-4-5"}),
    ("local", {"llm_model": "any"}),
    ("openai", {"llm_model": "gpt-5"}),
    ("claude", {"llm_model": "claude-sonnet-4-5", "thinking_budget_tokens": 2048}),
]


class Two(Toolset):
    """Two tools that are called together."""

    @tool(effect="pure")
    async def left(self, what: str) -> str:
        """Left."""
        return f"left of {what}"

    @tool(effect="once")
    async def right(self) -> str:
        """Right."""
        raise RuntimeError("the right one is broken")


def openai_step(body: dict[str, Any]) -> Reply:
    if body["messages"][-1]["role"] == "tool":
        return Reply(text=f"answer {len(body['messages'])}")
    calls = (
        ReplyCall("left", '{"what": "it"}', "call_same"),
        ReplyCall("right", "", "call_same"),
        ReplyCall("no.such", "{"),
    )
    return Reply(text="Looking.", calls=calls)


def claude_step(body: dict[str, Any]) -> Any:
    content = body["messages"][-1]["content"]
    if isinstance(content, list) and content[0]["type"] == "tool_result":
        return [Say(f"answer {len(body['messages'])}")]
    thinking = [Think("Which one?")] if body.get("thinking") else []
    return [*thinking, Say("Looking."), Call("left", {"what": "it"}), Call("right", {})]


def manager_over(home: Path, openai: StrictOpenAI, claude: StrictClaude, local: StrictOpenAI) -> AgentManager:
    return AgentManager(
        home=home,
        toolsets=[Two],
        backends={
            "openai": OpenAIBackend(api_key=openai.key, base_url=openai.base_url),
            "claude": ClaudeBackend(api_key=claude.key, base_url=claude.base_url),
            "local": OpenAIBackend(api_key=local.key, base_url=local.base_url),
        },
        config={"limits": {"retry_base_s": 0.001}},
    )


async def said(manager: AgentManager, session_id: str, text: str) -> dict[str, Any]:
    events = [json.loads(event) async for event in manager.stream_response(session_id, text)]
    return dict(events[-1])


async def test_ten_turns_with_parallel_tools_move_between_providers(home: Path) -> None:
    async with (
        StrictOpenAI(openai_step) as openai,
        StrictClaude(claude_step) as claude,
        StrictOpenAI(openai_step) as local,
    ):
        async with manager_over(home, openai, claude, local) as manager:
            session_id = await manager.create_session(backend="openai", additional_tools=["Two"])
            for number, (backend, settings) in enumerate(TOUR * 2):
                await manager.update_session(session_id, backend=backend, thinking_budget_tokens=None)
                await manager.update_session(session_id, **settings)
                end = await said(manager, session_id, f"question {number}")
                assert end["type"] == "RUN_FINISHED", end
            history = await manager.history(session_id)
        assert (openai.refused, claude.refused, local.refused) == ([], [], [])
        assert [m.text for m in history if m.role == "user"] == [f"question {n}" for n in range(10)]
        answers = [m for m in history if m.role == "assistant"]
        assert all("answer" in answer.text and "Looking." in answer.text for answer in answers)
        results = [[part.outcome for part in answer.parts if isinstance(part, ToolCallView)] for answer in answers]
        assert all(outcomes[:2] == ["ok", "error"] for outcomes in results)
        # The last request of all holds the whole history: every question, every result.
        last = json.dumps(claude.bodies[-1])
        assert all(f"question {n}" in last for n in range(10))
        assert last.count("left of it") == 10
        assert "signature" in last, "its own thinking went back"
        assert "signature" not in json.dumps(openai.bodies[-1]), "foreign sidecars stay at home"
        ids = [call["id"] for message in openai.bodies[-1]["messages"] for call in message.get("tool_calls", ())]
        assert len(ids) == len(set(ids)), "repeated ids became unique"


async def test_failures_and_cuts_in_between_do_not_brick_it(home: Path) -> None:
    troubles: list[Any] = [
        [Say("half an ans"), ErrorEvent("api_error")],
        [Say("Looking."), Call("left", '{"what": "i'), Cut()],
        [Say("better")],
        [ErrorEvent("invalid_request_error")],
    ]
    more = [
        Refused(status=500),
        Reply(text="cut off here", cut_after=3),
        Reply(text="whole"),
        Refused(status=400),
        Refused(status=400),
    ]
    async with StrictOpenAI(more) as openai, StrictClaude(troubles) as claude, StrictOpenAI(openai_step) as local:
        async with manager_over(home, openai, claude, local) as manager:
            session_id = await manager.create_session(
                backend="claude", llm_model="claude-sonnet-4-5", additional_tools=["Two"]
            )
            assert (await said(manager, session_id, "one"))["type"] == "RUN_FINISHED"
            assert (await said(manager, session_id, "two"))["type"] == "RUN_ERROR"
            await manager.update_session(session_id, backend="openai", llm_model="gpt-4o")
            assert (await said(manager, session_id, "three"))["type"] == "RUN_FINISHED"
            end = await said(manager, session_id, "four")
            assert (end["type"], end["code"]) == ("RUN_ERROR", "backend_rejected")
            await manager.update_session(session_id, backend="local", llm_model="any")
            assert (await said(manager, session_id, "five"))["type"] == "RUN_FINISHED"
            texts = [m.text for m in await manager.history(session_id) if m.role == "assistant"]
        assert (openai.refused, claude.refused, local.refused) == ([], [], [])
        assert texts[0] == "better"
        assert texts[2] == "whole"
        body = json.dumps(local.bodies[-1])
        assert all(f'"{word}' in body or word in body for word in ("one", "two", "three", "four", "five"))
        assert "half an ans" not in body, "a void attempt is not part of the transcript"


@pytest.mark.virtual_time
async def test_a_fallback_answers_when_the_first_is_down(home: Path) -> None:
    from greenroom.backends.scripted import Fail, ScriptedBackend
    from greenroom.errors import BackendUnavailable

    down = ScriptedBackend(lambda _: [Fail(BackendUnavailable("down"))])
    manager = AgentManager("memory://", home=home, backends={"first": down, "second": ScriptedBackend(["here"])})
    async with manager:
        session_id = await manager.create_session(backend="first", fallbacks=["second:m2"])
        assert (await said(manager, session_id, "hello"))["type"] == "RUN_FINISHED"
        answer = (await manager.history(session_id))[-1]
        assert (answer.text, answer.model) == ("here", "second:m2")
