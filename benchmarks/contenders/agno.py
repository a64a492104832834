"""Agno: `Agent.arun(stream=True)` with its database of sessions.

Rule: one agent serves all sessions by their id, with `InMemoryDb` or `AsyncSqliteDb` and the history in the context; telemetry is off.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agno.agent import Agent, RunContentEvent
from agno.db.in_memory import InMemoryDb
from agno.db.sqlite import AsyncSqliteDb
from agno.models.openai import OpenAIChat
from openai import AsyncOpenAI

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming


class Agno(Streaming):
    """One agent; sessions are ids."""

    def __init__(self, client: AsyncOpenAI, database: Any) -> None:
        self._agent = Agent(
            model=OpenAIChat(id=MODEL, api_key="none", async_client=client),
            instructions=INSTRUCTIONS,
            db=database,
            add_history_to_context=True,
            telemetry=False,
        )

    async def create(self) -> str:
        """Returns an id; the session is written with its first run."""
        return uuid.uuid4().hex

    async def pieces(self, session: str) -> AsyncIterator[str]:
        """Reads the content events."""
        async for event in self._agent.arun(QUESTION, session_id=session, stream=True):
            if isinstance(event, RunContentEvent) and event.content:
                yield event.content


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[Agno]:
    """Opens the database."""
    database = InMemoryDb() if store == "memory" else AsyncSqliteDb(db_file=str(folder / "agno.db"))
    async with AsyncOpenAI(api_key="none", base_url=f"{url}/v1") as client:
        yield Agno(client, database)
