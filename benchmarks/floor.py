"""What reading a provider costs at least, and what its own SDK makes of it: the two ends between which we are.

Rule: every reader here does the same request and sees the same bytes; they differ only in what they make of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.fake_provider import lateness_s, now_us, provider
from benchmarks.measure import CHUNKS, Row, burst_us, run

if TYPE_CHECKING:
    import openai

GROUP = "reading a burst, CPU per chunk"
_MARKS = {"chat/completions": b'"content":"hello"', "messages": b'"text":"hello"'}


class _Reader(asyncio.Protocol):
    """Counts deltas until the last chunk. The least that a client can do in Python."""

    def __init__(self, mark: bytes) -> None:
        self.done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._mark = mark
        self._tail = b""
        self._seen = 0

    def data_received(self, data: bytes) -> None:
        data = self._tail + data
        # The bytes of a delta that is cut in two are counted with the next read.
        end = data.rfind(b"\n\n") + 2
        self._seen += data.count(self._mark, 0, end)
        self._tail = data[end:]
        if self._tail.endswith(b"0\r\n\r\n") and not self.done.done():
            self.done.set_result(self._seen)


def protocol_reader(url: str, path: str, *, mark: bytes = b"", minus: int = 0) -> Callable[[], Awaitable[int]]:
    """Returns a round over a bare asyncio protocol, which counts `mark` (by default, the deltas of a burst) less `minus`."""
    parts = urlsplit(url)
    request = (
        f"POST {parts.path}/{path} HTTP/1.1\r\nhost: {parts.netloc}\r\ncontent-type: application/json\r\n"
        "content-length: 2\r\n\r\n{}"
    ).encode()

    async def round_() -> int:
        loop = asyncio.get_running_loop()
        counted = mark or _MARKS[path.removeprefix("v1/")]
        transport, reader = await loop.create_connection(lambda: _Reader(counted), "127.0.0.1", parts.port or 80)
        transport.write(request)
        try:
            return await reader.done - minus
        finally:
            transport.close()

    return round_


async def aiohttp_us(url: str, path: str) -> float:
    """Returns the cost over aiohttp, without decoding anything."""
    import aiohttp

    mark = _MARKS[path.removeprefix("v1/")]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def round_() -> int:
            seen, tail = 0, b""
            async with session.post(f"{url}/{path}", json={}) as response:
                async for piece in response.content.iter_any():
                    data = tail + piece
                    end = data.rfind(b"\n\n") + 2
                    seen += data.count(mark, 0, end)
                    tail = data[end:]
            return seen

        return await burst_us(round_)


def openai_client(url: str) -> openai.AsyncOpenAI:
    """Returns the OpenAI SDK over its aiohttp transport, its quickest."""
    import openai

    return openai.AsyncOpenAI(api_key="none", base_url=f"{url}/v1", http_client=openai.DefaultAioHttpClient())


async def read_openai(client: openai.AsyncOpenAI, lateness: list[float] | None = None) -> int:
    """Reads one answer through the SDK's own events, and returns how many deltas it had."""
    stream = await client.chat.completions.create(
        model="gpt-4o", messages=[{"role": "user", "content": "go"}], stream=True
    )
    seen = 0
    async for chunk in stream:
        if chunk.choices and (text := chunk.choices[0].delta.content):
            seen += 1
            if lateness is not None:
                lateness += lateness_s(text, now_us())
    return seen


async def openai_us(url: str) -> float:
    """Returns the cost of the OpenAI SDK's own events."""
    async with openai_client(url) as client:
        return await burst_us(partial(read_openai, client), rounds=3)


async def anthropic_us(url: str) -> float:
    """Returns the cost of the Anthropic SDK's own events over its aiohttp transport."""
    import anthropic

    async with anthropic.AsyncAnthropic(
        api_key="none", base_url=url, http_client=anthropic.DefaultAioHttpClient()
    ) as client:

        async def round_() -> int:
            stream = await client.messages.create(
                model="claude-sonnet-4-5",
                max_tokens=1000,
                messages=[{"role": "user", "content": "go"}],
                stream=True,
            )
            seen = 0
            async for event in stream:
                seen += event.type == "content_block_delta"
            return seen

        return await burst_us(round_, rounds=3)


async def measured() -> list[Row]:
    """Returns the rows of both dialects."""
    rows: list[Row] = []
    with provider() as base:
        url = f"{base}/burst/{CHUNKS}"
        for dialect, path, sdk in (
            ("openai", "v1/chat/completions", openai_us),
            ("claude", "v1/messages", anthropic_us),
        ):
            bare_us = await burst_us(protocol_reader(url, path))
            rows += [
                Row(GROUP, f"{dialect}: bare asyncio protocol (the floor)", bare_us, "us", is_floor=True),
                Row(GROUP, f"{dialect}: aiohttp, bytes only", await aiohttp_us(url, path), "us"),
                Row(GROUP, f"{dialect}: official SDK, its own events", await sdk(url), "us"),
            ]
    return rows


def rows() -> list[Row]:
    """Measures and returns the rows."""
    return run(measured())
