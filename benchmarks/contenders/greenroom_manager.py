"""Greenroom: `AgentManager.stream_response`, as users call it; the text is taken out of the AG-UI events that it yields.

Rule: what is measured is the public API, with the durability that a user gets; nothing is switched off. Reading the events back
from JSON is part of the price, although a server would send them on as they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from benchmarks.contenders.contract import MODEL, QUESTION, Store, Streaming
from greenroom import AgentManager

CLAUDE_MODEL = "claude-sonnet-5-5"


class _Event(msgspec.Struct):
    """What a reader has to know of an AG-UI event."""

    type: str
    delta: str = ""
    message: str = ""


_decode = msgspec.json.Decoder(_Event).decode


def text_of(data: str) -> str:
    """Returns the text that an AG-UI event adds to the answer.

    Raises:
        RuntimeError: the event says that the turn failed.
    """
    event = _decode(data)
    if event.type == "RUN_ERROR":
        raise RuntimeError(event.message)
    return event.delta if event.type == "TEXT_MESSAGE_CONTENT" else ""


class Greenroom(Streaming):
    """Sessions are ids."""

    def __init__(self, manager: AgentManager, backend: str = "openai") -> None:
        self.manager = manager
        self._backend = backend
        self._model = MODEL if backend == "openai" else CLAUDE_MODEL

    async def create(self) -> str:
        """Creates a session; it is durable on return."""
        return await self.manager.create_session(llm_model=self._model, backend=self._backend)

    async def pieces(self, session: str) -> AsyncIterator[str]:
        """Reads the AG-UI events.

        Raises:
            RuntimeError: the turn failed.
        """
        async for data in self.manager.stream_response(session, QUESTION):
            if text := text_of(data):
                yield text


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[Greenroom]:
    """Opens a manager whose providers are the fake one at `url`; new sessions talk to OpenAI."""
    config = {
        "openai": {"api_key": "none", "base_url": f"{url}/v1"},
        "claude": {"api_key": "none", "base_url": url},
    }
    store_url = "memory://" if store == "memory" else f"sqlite:///{folder / 'greenroom.db'}"
    async with AgentManager(store_url, home=folder, config=config) as manager:
        yield Greenroom(manager)


@asynccontextmanager
async def opened_claude(url: str, store: Store, folder: Path) -> AsyncIterator[Greenroom]:
    """As `opened`, and new sessions talk to Claude."""
    async with opened(url, store, folder) as greenroom:
        yield Greenroom(greenroom.manager, "claude")
