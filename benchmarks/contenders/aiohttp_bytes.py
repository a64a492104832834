"""aiohttp at its best, without decoding anything: the price of an HTTP client.

Rule: one session without a limit, `iter_any`, and a search for the deltas.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from benchmarks.contenders.bare import MARKS
from benchmarks.contenders.contract import Show, Store
from benchmarks.fake_provider import STAMP_CHARS

_PATH = "v1/chat/completions"


class AiohttpBytes:
    """Has no sessions."""

    def __init__(self, client: aiohttp.ClientSession, url: str) -> None:
        self._client = client
        self._url = f"{url}/{_PATH}"

    async def create(self) -> None:
        """Returns nothing: there is nothing to keep."""

    async def answer(self, session: None, show: Show) -> None:
        """Reads one answer; shows as many characters as came."""
        del session
        tail, mark = b"", MARKS[_PATH]
        seen = -1
        async with self._client.post(self._url, json={}) as response:
            async for piece in response.content.iter_any():
                data = tail + piece
                end = data.rfind(b"\n\n") + 2
                seen += data.count(mark, 0, end)
                tail = data[end:]
        show("0" * STAMP_CHARS * seen)


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[AiohttpBytes]:
    """Connects."""
    del store, folder
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
        yield AiohttpBytes(client, url)
