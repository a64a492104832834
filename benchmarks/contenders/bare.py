"""What reading a provider costs at least: a bare asyncio protocol, which is the floor of all tables, and aiohttp.

Rule: every reader here does the same request and sees the same bytes; it counts the deltas and makes nothing of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from benchmarks.contenders.contract import Show, Store
from benchmarks.fake_provider import STAMP_CHARS

MARKS: Final = {"v1/chat/completions": b'"content":"', "v1/messages": b'"text":"'}
"""What stands before the text of a delta, by path. The first one that comes is empty in both dialects."""


class _Reader(asyncio.Protocol):
    """Shows deltas until the last chunk. The least that a client can do in Python."""

    def __init__(self, mark: bytes, show: Show) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._mark = mark
        self._show = show
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        # The bytes of a delta that is cut in two are looked at with the next read.
        end = data.rfind(b"\n\n") + 2
        at = data.find(self._mark, 0, end)
        while at >= 0:
            at += len(self._mark)
            if data[at] != 0x22:
                self._show(data[at : at + STAMP_CHARS].decode())
            at = data.find(self._mark, at, end)
        self._tail = data[end:]
        if self._tail.endswith(b"0\r\n\r\n") and not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("the provider left in the middle of an answer"))


class Bare:
    """Has no sessions, and a connection for each answer."""

    def __init__(self, url: str, path: str) -> None:
        parts = urlsplit(url)
        self._port = parts.port or 80
        self._mark = MARKS[path]
        self._request = (
            f"POST {parts.path}/{path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
            "content-length: 2\r\n\r\n{}"
        ).encode()

    async def create(self) -> None:
        """Returns nothing: there is nothing to keep."""

    async def answer(self, session: None, show: Show) -> None:
        """Reads one answer."""
        del session
        loop = asyncio.get_running_loop()
        transport, reader = await loop.create_connection(lambda: _Reader(self._mark, show), "127.0.0.1", self._port)
        transport.write(self._request)
        try:
            await reader.done
        finally:
            transport.close()


@asynccontextmanager
async def opened(url: str, store: Store, folder: Path) -> AsyncIterator[Bare]:
    """Gives the reader of the OpenAI dialect."""
    del store, folder
    yield Bare(url, "v1/chat/completions")


@asynccontextmanager
async def opened_claude(url: str, store: Store, folder: Path) -> AsyncIterator[Bare]:
    """Gives the reader of the Claude dialect."""
    del store, folder
    yield Bare(url, "v1/messages")
