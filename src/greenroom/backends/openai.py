"""The backend `openai`: every server that speaks Chat Completions, OpenAI's own first of all.

Rule: a composition, nothing else: `openai_chat` knows the dialect, `transport` the way. The SDK is not imported with this module.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from greenroom.backends.faults import Endpoint, missing_key
from greenroom.backends.openai_chat import DIALECT, ChatDecoder, encode, notices
from greenroom.backends.transport import ByteStream, SdkClient, open_stream
from greenroom.errors import BackendError
from greenroom.interfaces import BackendRequest, Notice
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import StreamItem

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI

OPENAI_URL: Final = "https://api.openai.com/v1"

NO_KEY: Final = "no-key"
"""Sent to servers of one's own when no key is set: most ignore it, and the SDK insists on one."""


class OpenAIBackend:
    """Asks a server for Chat Completions. One instance serves any number of sessions over shared connections."""

    dialect: str = DIALECT
    default_model: str | None = "gpt-4o"

    def __init__(
        self, *, api_key: str | None = None, base_url: str | None = None, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """Takes what is needed later; does nothing yet.

        Args:
            api_key: `None` reads `OPENAI_API_KEY` at the first request.
            base_url: `None` reads `OPENAI_BASE_URL` at the first request, else it is OpenAI's own.
            limits: bounds of an answer.
        """
        self._api_key = api_key
        self._base_url = base_url
        self._limits = limits
        self._client: SdkClient[AsyncOpenAI] | None = None

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
        """Asks for one step; see `Backend.stream`.

        Raises:
            BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled: on entering or while
                iterating.
            LimitExceeded: while iterating: the answer is larger than the limits allow.
        """
        client = self._connected()
        endpoint = client.endpoint
        # Only OpenAI itself is known to take the key; it routes requests of one session to the same cache.
        cache_key = request.session_id if _host(endpoint.base_url) == _host(OPENAI_URL) else ""
        body = encode(request, prompt_cache_key=cache_key)
        async with open_stream(client, "/chat/completions", body) as chunks:
            decoder = ChatDecoder(endpoint, model=request.model, limits=self._limits)
            yield _Answer(chunks, decoder)
            if decoder.is_ended:
                await chunks.drain()

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns which settings of the request its model will not honour."""
        return notices(request)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _connected(self) -> SdkClient[AsyncOpenAI]:
        if self._client is None:
            endpoint = self._endpoint()

            def build(http_client: httpx2.AsyncClient) -> AsyncOpenAI:
                from openai import AsyncOpenAI

                return AsyncOpenAI(
                    api_key=endpoint.key or NO_KEY,
                    base_url=endpoint.base_url,
                    max_retries=0,
                    http_client=http_client,
                )

            self._client = SdkClient(endpoint, build=build, limits=self._limits)
        return self._client

    def _endpoint(self) -> Endpoint:
        key = self._api_key or os.environ.get("OPENAI_API_KEY", "")
        base_url = self._base_url or os.environ.get("OPENAI_BASE_URL", "") or OPENAI_URL
        host = _host(base_url)
        is_openai = host == _host(OPENAI_URL)
        endpoint = Endpoint(
            provider="OpenAI" if is_openai or not host else f"the API at {host}",
            base_url=base_url,
            key=key,
            key_variable="OPENAI_API_KEY",
            base_url_variable="OPENAI_BASE_URL",
        )
        if is_openai and not key:
            raise missing_key(endpoint)
        return endpoint


class _Answer:
    """The items of one answer, as they arrive. Not a generator: those hold their frames open when they are abandoned."""

    def __init__(self, chunks: ByteStream, decoder: ChatDecoder) -> None:
        self._chunks = chunks
        self._decoder = decoder

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Sequence[StreamItem]:
        decoder = self._decoder
        if decoder.is_ended:
            raise StopAsyncIteration
        while decoder.failure is None and (chunk := await self._read()):
            if items := decoder.feed(chunk):
                return items
        return decoder.close()

    async def _read(self) -> bytes:
        try:
            return await self._chunks.read()
        except BackendError:
            if not self._decoder.is_answered:
                raise
            # A connection that breaks behind the finish reason takes nothing of the answer along.
            return b""


def _host(url: str) -> str:
    try:
        parts = urlsplit(url)
        return parts.netloc.rpartition("@")[2].lower()
    except ValueError:  # not a URL: the transport says so
        return ""
