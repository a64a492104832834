"""A relay: aiohttp, `json.loads` for each event, no session. What one writes who wants no framework.

Rule: the least that gives text to an HTTP client, and keeps nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.contenders.contract import INSTRUCTIONS, MODEL, QUESTION, Store, Streaming


class Relay(Streaming):
    """Has no sessions."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self._url = f"{url}/v1/chat/completions"

    async def create(self) -> None:
        """Returns nothing: there is nothing to keep."""

    async def pieces(self, session: None) -> AsyncIterator[str]:
        """Reads one answer."""
        del session
        messages = [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": QUESTION}]
        rest = b""
        async with self._client.post(self._url, json={"model": MODEL, "messages": messages, "stream": True}) as answer:
            async for piece in answer.content.iter_any():
                *events, rest = (rest + piece).split(b"\n\n")
                for event in events:
                    if event != b"data: [DONE]":
                        choices = json.loads(event[6:])["choices"]
                        if choices and (text := choices[0]["delta"].get("content")):
                            yield text


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[Relay]:
    """Connects."""
    del store, folder
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield Relay(client, url)
