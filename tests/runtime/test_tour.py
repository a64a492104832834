"""Thirty turns over all dialects and a dozen models, with thinking, parallel tools, failures, cuts and cancels in between.

Rule: no provider refuses anything, and the last request of all holds the whole history.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from greenroom import AgentManager
from greenroom.backends.scripted import Call, Cut, Gate, Say, Think
from greenroom.testing.strict_claude import ErrorEvent
from greenroom.testing.strict_openai import Refused, Reply, ReplyCall
from greenroom.testing.strict_responses import Answer, Failed, Output
from runtime.test_switching_responses import SEARCH, stage

STOPS: list[tuple[str, dict[str, Any]]] = [
    ("openai", {"llm_model": "gpt-4o"}),
    ("claude", {"llm_model": "claude-sonnet-4-5", "thinking_budget_tokens": 2048}),
    ("local", {"llm_model": "deepseek-reasoner"}),
    ("openai", {"llm_model": "gpt-5", "reasoning_effort": "low"}),
    ("claude", {"llm_model": "claude-opus-4-8", "reasoning_effort": "high"}),
    ("local", {"llm_model": "gemini-3-pro"}),
    ("claude", {"llm_model": "claude-sonnet-5-5"}),
    ("local", {"llm_model": "kimi-k2.5"}),
    ("openai", {"llm_model": "o3"}),
    ("claude", {"llm_model": "claude-haiku-4-5"}),
    ("openai-responses", {"llm_model": "gpt-5", "reasoning_effort": "high"}),
    ("openai-responses", {"llm_model": "gpt-4o"}),
    ("openai-responses", {"llm_model": "o3"}),
]
# Coprime to the number of stops, so that every trouble comes to most of them.
TROUBLES = [None, "fail", None, "cut", "cancel", None, "tools"]


class Plan:
    """What goes wrong with the next request; `None` is nothing."""

    def __init__(self) -> None:
        self.trouble: str | None = None

    def taken(self) -> str | None:
        trouble, self.trouble = self.trouble, None
        return trouble

    def openai(self, body: dict[str, Any]) -> Any:
        reasoning = "Hm. " if body["model"] in {"deepseek-reasoner", "kimi-k2.5"} else ""
        match self.taken():
            case "fail":
                return Refused(status=400, message="scripted", kind="invalid_request_error")
            case "cut":
                return Reply(text="half of it", reasoning=reasoning, cut_after=3)
            case "cancel":
                return Reply(text="and so on, for ever", reasoning=reasoning, hold=asyncio.Event(), hold_after=4)
            case "tools":
                calls = (
                    ReplyCall("left", '{"what": "it"}', "same"),
                    ReplyCall("right", "", "same"),
                    ReplyCall("no.such", "{"),
                )
                return Reply(text="Looking.", reasoning=reasoning, calls=calls)
        return Reply(text=f"answer {len(body['messages'])}", reasoning=reasoning)

    def responses(self, body: dict[str, Any]) -> Answer:
        thinking = [] if body["model"] == "gpt-4o" else [Think("Which one?"), Output(SEARCH), Think("That one.")]
        match self.taken():
            case "fail":
                return [*thinking, Say("half of it"), Failed("invalid_prompt")]
            case "cut":
                return [*thinking, Say("half of it"), Cut()]
            case "cancel":
                return [*thinking, Say("and so on"), Gate()]
            case "tools":
                calls = (Call("left", {"what": "it"}, "same"), Call("right", "", "same"), Call("gone", "{"))
                return [*thinking, Say("Looking."), *calls]
        return [*thinking, Say(f"answer {len(body['input'])}")]

    def claude(self, body: dict[str, Any]) -> Any:
        thinking = [Think("Which one?")] if body.get("thinking", {}).get("type") in {"enabled", "adaptive"} else []
        match self.taken():
            case "fail":
                return [*thinking, Say("half of it"), ErrorEvent("invalid_request_error")]
            case "cut":
                return [*thinking, Say("half of it"), Cut()]
            case "cancel":
                return [*thinking, Say("and so on"), Gate()]
            case "tools":
                return [*thinking, Say("Looking."), Call("left", {"what": "it"}), Call("right", {}), Call("gone", "{")]
        return [*thinking, Say(f"answer {len(body['messages'])}")]


async def told(manager: AgentManager, session_id: str, text: str, *, cancels: bool) -> dict[str, Any]:
    last: dict[str, Any] = {}
    async for event in manager.stream_response(session_id, text):
        last = json.loads(event)
        if cancels and last["type"] in {"TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"}:
            await manager.cancel(session_id)
            cancels = False
    return last


async def test_thirty_turns(home: Path) -> None:
    plan = Plan()
    ends: list[tuple[str | None, str]] = []
    async with stage(home, plan.responses, chat=plan.openai, claude=plan.claude) as (manager, providers):
        session_id = await manager.create_session(backend="openai", additional_tools=["Two"])
        for number in range(30):
            backend, settings = STOPS[number % len(STOPS)]
            plain = {"thinking_budget_tokens": None, "reasoning_effort": None, "backend": backend}
            await manager.update_session(session_id, **plain | settings)
            plan.trouble = trouble = TROUBLES[number % len(TROUBLES)]
            end = await told(manager, session_id, f"question {number}.", cancels=trouble == "cancel")
            ends.append((trouble, end["type"]))
            if trouble == "cancel":
                assert end["outcome"] == {"type": "cancelled"}, (number, end)
        history = await manager.history(session_id)
    assert providers.refused() == []
    assert {end for trouble, end in ends if trouble != "fail"} == {"RUN_FINISHED"}
    # What is refused without a cause is an error, unless it is answered once what was new is left out.
    assert "RUN_ERROR" in {end for trouble, end in ends if trouble == "fail"} <= {"RUN_ERROR", "RUN_FINISHED"}
    assert [message.text for message in history if message.role == "user"] == [f"question {n}." for n in range(30)]
    last = json.dumps(providers.openai.bodies[-1])
    # The last question was refused without a reason: it was answered without what no model had taken before (decision 57).
    assert ends[-1] == ("fail", "RUN_FINISHED")
    assert all(f"question {n}." in last for n in range(30))
    assert last.count("left of it") == sum(trouble == "tools" for trouble, _ in ends)
