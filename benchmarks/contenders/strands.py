"""Strands: `Agent.stream_async`, an agent for each session.

Rule: an agent holds its own messages; kept sessions use `FileSessionManager`, the only local one that it ships.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from openai import AsyncOpenAI
from strands import Agent
from strands.models.openai import OpenAIModel
from strands.session.file_session_manager import FileSessionManager

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming


class Strands(Streaming):
    """An agent for each session."""

    def __init__(self, client: AsyncOpenAI, folder: Path | None) -> None:
        self._model = OpenAIModel(client=client, model_id=MODEL)
        self._folder = folder

    async def create(self) -> Agent:
        """Returns an agent."""
        manager = (
            FileSessionManager(session_id=uuid.uuid4().hex, storage_dir=str(self._folder)) if self._folder else None
        )
        return Agent(
            model=self._model, system_prompt=INSTRUCTIONS, callback_handler=None, session_manager=manager, agent_id="a"
        )

    async def pieces(self, session: Agent) -> AsyncIterator[str]:
        """Reads the text of the events."""
        async for event in session.stream_async(QUESTION):
            if "data" in event:
                yield event["data"]


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[Strands]:
    """Connects."""
    async with AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        yield Strands(client, folder if store == "files" else None)
