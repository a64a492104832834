"""The official Anthropic SDK over its quickest transport.

Rule: as `openai_sdk`, in the other dialect.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders.contract import INSTRUCTIONS, QUESTION, Store, Streaming

if TYPE_CHECKING:
    import anthropic
    from anthropic.types import MessageParam


class AnthropicSdk(Streaming):
    """Sessions are lists."""

    def __init__(self, client: anthropic.AsyncAnthropic) -> None:
        self._client = client

    async def create(self) -> list[MessageParam]:
        """Returns an empty history."""
        return []

    async def pieces(self, session: list[MessageParam]) -> AsyncIterator[str]:
        """Reads the SDK's own events."""
        session.append({"role": "user", "content": QUESTION})
        stream = await self._client.messages.create(
            model="claude-sonnet-5-5", max_tokens=1000, system=INSTRUCTIONS, messages=session, stream=True
        )
        pieces: list[str] = []
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                pieces.append(event.delta.text)
                yield event.delta.text
        session.append({"role": "assistant", "content": "".join(pieces)})


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[AnthropicSdk]:
    """Connects."""
    del store, folder
    import anthropic

    async with anthropic.AsyncAnthropic(
        api_key="none", base_url=url, http_client=anthropic.DefaultAioHttpClient()
    ) as client:
        yield AnthropicSdk(client)
