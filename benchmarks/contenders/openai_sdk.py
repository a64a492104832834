"""The official OpenAI SDK over its quickest transport: what everybody who streams from OpenAI pays at least, without sessions.

Rule: the caller keeps the messages in a list, as the SDK's documentation shows it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming

if TYPE_CHECKING:
    import openai
    from openai.types.chat import ChatCompletionMessageParam

    Messages = list[ChatCompletionMessageParam]


class OpenAISdk(Streaming):
    """Sessions are lists."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def create(self) -> Messages:
        """Returns a list of messages."""
        return [{"role": "system", "content": INSTRUCTIONS}]

    async def pieces(self, session: Messages) -> AsyncIterator[str]:
        """Reads the SDK's own events."""
        session.append({"role": "user", "content": QUESTION})
        stream = await self._client.chat.completions.create(
            model=MODEL, messages=session, stream=True, stream_options={"include_usage": True}
        )
        pieces: list[str] = []
        async for chunk in stream:
            if chunk.choices and (text := chunk.choices[0].delta.content):
                pieces.append(text)
                yield text
        session.append({"role": "assistant", "content": "".join(pieces)})


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[OpenAISdk]:
    """Connects."""
    del store, folder
    import openai

    async with openai.AsyncOpenAI(
        api_key="none", base_url=f"{url}/v1", http_client=openai.DefaultAioHttpClient()
    ) as client:
        yield OpenAISdk(client)
