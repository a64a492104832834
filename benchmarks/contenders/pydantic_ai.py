"""Pydantic AI: `run_stream`, the message history handed on by the caller.

Rule: it has no store of sessions; the history is kept in a list, as its guide on chat does.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming


class PydanticAI(Streaming):
    """One agent; sessions are lists of messages."""

    def __init__(self, client: AsyncOpenAI) -> None:
        self._agent = Agent(
            OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)), instructions=INSTRUCTIONS
        )

    async def create(self) -> list[Any]:
        """Returns an empty history."""
        return []

    async def pieces(self, session: list[Any]) -> AsyncIterator[str]:
        """Reads each delta, not debounced: the quickest of its ways to stream text."""
        async with self._agent.run_stream(QUESTION, message_history=session) as result:
            async for text in result.stream_text(delta=True, debounce_by=None):
                yield text
            session[:] = result.all_messages()


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[PydanticAI]:
    """Connects."""
    del store, folder
    async with AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        yield PydanticAI(client)
