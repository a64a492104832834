"""OpenAI Agents: `Runner.run_streamed` with a session of its own.

Rule: sessions are `SQLiteSession`, which keeps to memory without a path; tracing, which would call OpenAI, is off.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from agents import Agent, OpenAIChatCompletionsModel, RunConfig, Runner, SQLiteSession
from openai import AsyncOpenAI

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming


class OpenAIAgents(Streaming):
    """One agent, a session object for each session."""

    def __init__(self, client: AsyncOpenAI, path: Path | str) -> None:
        self._agent = Agent(name="a", instructions=INSTRUCTIONS, model=OpenAIChatCompletionsModel(MODEL, client))
        self._config = RunConfig(tracing_disabled=True)
        self._path = path

    async def create(self) -> SQLiteSession:
        """Returns a session; it is written with its first message."""
        return SQLiteSession(uuid.uuid4().hex, self._path)

    async def pieces(self, session: SQLiteSession) -> AsyncIterator[str]:
        """Reads the raw response events, as the guide on streaming does."""
        result = Runner.run_streamed(self._agent, QUESTION, session=session, run_config=self._config)
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                yield event.data.delta


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[OpenAIAgents]:
    """Connects."""
    async with AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        yield OpenAIAgents(client, ":memory:" if store == "memory" else folder / "sessions.db")
