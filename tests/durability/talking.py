"""The agent that is killed: it thinks, pays, looks, and tells a story in small pieces of real time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from greenroom import AgentManager, ToolContext, Toolset, tool
from greenroom.backends.scripted import Call, Pause, Say, ScriptedBackend, Think
from greenroom.interfaces import BackendRequest
from greenroom.messages import ToolMessage

STORY = [f"word{i} " for i in range(30)]


def step_for(request: BackendRequest) -> list[Any]:
    if isinstance(request.messages[-1], ToolMessage):
        return [cue for word in STORY for cue in (Say(word), Pause(0.003))]
    return [Think("Paying first."), Pause(0.002), Call("pay", {}), Call("look", {})]


def manager_at(home: str | Path, *, on_paid: Callable[[str], None] = lambda _: None) -> AgentManager:
    class Till(Toolset):
        """A till."""

        @tool(effect="once")
        async def pay(self, context: ToolContext) -> str:
            """Pay."""
            on_paid(context.idempotency_key)
            return "paid"

        @tool(effect="pure")
        async def look(self) -> str:
            """Look."""
            return "seen"

    return AgentManager(
        home=home,
        backends={"scripted": ScriptedBackend(step_for)},
        toolsets=[Till],
    )
