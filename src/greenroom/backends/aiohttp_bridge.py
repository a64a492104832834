"""Lets the providers' SDKs, which speak httpx2, send their requests over our aiohttp connections.

The SDKs ship such a bridge of their own; this one hands on the aiohttp response itself.

Rule: import this module late: it loads aiohttp and httpx2.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import aiohttp
import httpx2

from greenroom.backends.connections import Connections

ANSWER: Final = "aiohttp_response"
"""Extension of an httpx2 response under which the aiohttp response travels."""


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of one httpx2 client."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request and returns as soon as the head of the answer is there.

        Raises:
            BackendError: the provider refused; classified by status and body.
            aiohttp.ClientError, TimeoutError: the way to the provider failed.
        """
        headers = dict(request.headers)
        # A compressed event stream arrives in lumps: the compressor holds back what it has not yet filled a block with.
        headers["accept-encoding"] = "identity"
        # httpx2 has made a header of credentials in the address; aiohttp would refuse to have both.
        url = str(request.url.copy_with(userinfo=b""))
        answer = await self._connections.send(request.method, url, headers=headers, body=await request.aread())
        # The body is decompressed by aiohttp, so its encoding must not be named again.
        said = [
            (name, value)
            for name, value in answer.raw_headers
            if name.lower() not in {b"content-encoding", b"content-length", b"transfer-encoding"}
        ]
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            return httpx2.Response(answer.status, headers=said)  # httpx2 follows it
        return httpx2.Response(answer.status, headers=said, stream=_Body(answer), extensions={ANSWER: answer})

    async def aclose(self) -> None:
        """Closes the connections. Idempotent."""
        await self._connections.aclose()


class _Body(httpx2.AsyncByteStream):
    """The body as httpx2 wants it: for closing. Nobody reads through it."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def aclose(self) -> None:
        """Gives the connection back if the body was read to its end, else closes it. Does not wait for anything."""
        self._answer.close()
