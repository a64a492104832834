"""The backend `openai`: every server that speaks Chat Completions, OpenAI's own first of all.

Rule: a composition, nothing else: `openai_chat` knows the dialect, `transport` the way. The SDK is not imported with this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from greenroom.backends.clouds import CloudOptions
from greenroom.backends.openai_chat import DIALECT, ChatDecoder, encode, notices
from greenroom.backends.openai_client import NO_KEY, OPENAI_URL, StreamedAnswer, connection_to, host_of
from greenroom.backends.transport import open_stream
from greenroom.interfaces import BackendRequest, Notice
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import StreamItem

__all__ = ["NO_KEY", "OPENAI_URL", "OpenAIBackend"]


class OpenAIBackend:
    """Asks a server for Chat Completions. One instance serves any number of sessions over shared connections."""

    dialect: str = DIALECT

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        cloud: CloudOptions | None = None,
        model: str | None = "gpt-4o",
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Takes what is needed later; does nothing yet.

        Args:
            api_key: `None` reads `OPENAI_API_KEY` at the first request.
            base_url: `None` reads `OPENAI_BASE_URL` at the first request, else it is OpenAI's own.
            cloud: asks Azure instead; the other two are then left out.
            model: the default one.
            limits: bounds of an answer.
        """
        self.default_model = model
        self._limits = limits
        self._connection = connection_to(api_key=api_key, base_url=base_url, cloud=cloud, limits=limits)

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
        """Asks for one step; see `Backend.stream`.

        Raises:
            BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled: on entering or while
                iterating.
            LimitExceeded: while iterating: the answer is larger than the limits allow.
        """
        client = self._connection.client()
        endpoint = client.endpoint
        # Only OpenAI itself is known to take the key; it routes requests of one session to the same cache.
        cache_key = request.session_id if host_of(endpoint.base_url) == host_of(OPENAI_URL) else ""
        body = encode(request, prompt_cache_key=cache_key)
        async with open_stream(client, "/chat/completions", body) as chunks:
            decoder = ChatDecoder(endpoint, model=request.model, limits=self._limits)
            yield StreamedAnswer(chunks, decoder)
            if decoder.is_ended:
                await chunks.drain()

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns which settings of the request its model will not honour."""
        return notices(request)

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._connection.close()
