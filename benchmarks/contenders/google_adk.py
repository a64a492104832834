"""Google ADK: `Runner.run_async` in streaming mode, over LiteLLM, which is its way to other providers' models.

Rule: a session belongs to its session service, in memory or `DatabaseSessionService` over SQLite.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import Runner
from google.adk.sessions import DatabaseSessionService, InMemorySessionService
from google.genai import types

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming

_APP, _USER = "bench", "user"


class GoogleAdk(Streaming):
    """One runner, with a session service."""

    def __init__(self, url: str, service: Any) -> None:
        model = LiteLlm(model=f"openai/{MODEL}", api_base=f"{url}/v1", api_key="none")
        agent = LlmAgent(name="a", model=model, instruction=INSTRUCTIONS)
        self._runner = Runner(app_name=_APP, agent=agent, session_service=service)
        self._service = service
        self._config = RunConfig(streaming_mode=StreamingMode.SSE)

    async def create(self) -> str:
        """Returns the id of a session, which is kept."""
        session = await self._service.create_session(app_name=_APP, user_id=_USER)
        return str(session.id)

    async def pieces(self, session: str) -> AsyncIterator[str]:
        """Reads the partial events; the last one repeats the whole text."""
        question = types.Content(role="user", parts=[types.Part(text=QUESTION)])
        events = self._runner.run_async(
            user_id=_USER, session_id=session, new_message=question, run_config=self._config
        )
        async for event in events:
            if event.partial and event.content:
                for part in event.content.parts or ():
                    if part.text:
                        yield part.text


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[GoogleAdk]:
    """Opens the session service."""
    service = (
        InMemorySessionService()
        if store == "memory"
        else DatabaseSessionService(db_url=f"sqlite+aiosqlite:///{folder / 'adk.db'}")
    )
    yield GoogleAdk(url, service)
