"""One of Greenroom's backends alone: from the provider's bytes to stream items, without a session.

Rule: shows where the price of a delta arises, beside `greenroom_manager`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Show, Store
from benchmarks.contenders.greenroom_manager import CLAUDE_MODEL, Greenroom
from benchmarks.contenders.greenroom_manager import opened as opened_manager
from greenroom.interfaces import Backend, BackendRequest
from greenroom.messages import PartDelta, TextPart, UserMessage


class BackendAlone:
    """Has no sessions."""

    def __init__(self, backend: Backend, model: str) -> None:
        self._backend = backend
        self._request = BackendRequest(
            model=model,
            system=INSTRUCTIONS,
            messages=(UserMessage(parts=(TextPart(text=QUESTION),)),),
            max_tokens=1000,
        )

    async def create(self) -> None:
        """Returns nothing: there is nothing to keep."""

    async def answer(self, session: None, show: Show) -> None:
        """Reads one answer."""
        del session
        async with self._backend.stream(self._request) as answer:
            async for items in answer:
                for item in items:
                    if isinstance(item, PartDelta):
                        show(item.delta)


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[BackendAlone]:
    """Gives the backend for OpenAI."""
    async with opened_manager(url, store, folder) as greenroom:
        yield _alone(greenroom, "openai", MODEL)


@asynccontextmanager
async def opened_claude(url: str, store: Store, folder: Path) -> AsyncIterator[BackendAlone]:
    """Gives the backend for Claude."""
    async with opened_manager(url, store, folder) as greenroom:
        yield _alone(greenroom, "claude", CLAUDE_MODEL)


def _alone(greenroom: Greenroom, name: str, model: str) -> BackendAlone:
    return BackendAlone(greenroom.manager.catalog.backend(name), model)
