"""The backend `openai-responses`: OpenAI's Responses API, and every other server that speaks it.

A refusal that is about a convenience does not end a conversation: whoever may not have summaries of the reasoning gets the answer
without them, and a reasoning that the provider cannot decrypt any more (the account or the address is another one now) is left out.
Such a request was refused as a whole, so it is not asked twice.

Rule: a composition, nothing else: `openai_responses_request` and `openai_responses_decoder` know the dialect, `transport` the way.
The SDK is not imported with this module.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Final

from greenroom.backends.clouds import CloudConnection, CloudOptions
from greenroom.backends.model_ends import successor_named
from greenroom.backends.model_facts import NO_OVERRIDES, current_model
from greenroom.backends.model_list import existing_named
from greenroom.backends.openai_client import OpenAIConnection, connection_to, is_openai_address
from greenroom.backends.openai_models import traits_of
from greenroom.backends.openai_responses_decoder import DIALECT, ResponsesDecoder
from greenroom.backends.openai_responses_request import encode, notices
from greenroom.backends.streamed_answer import StreamedAnswer
from greenroom.backends.transport import ByteStream, open_stream
from greenroom.config import ModelOverride
from greenroom.errors import BackendRejected, BackendUnauthorized
from greenroom.interfaces import BackendRequest, ListedModel, Notice
from greenroom.large_thread import in_thread
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import StreamItem

_NO_SUMMARY: Final = re.compile(r"must be verified to generate reasoning summar|'reasoning\.summary'")
_NO_REASONING: Final = re.compile(r"encrypted content .{0,200}could not be (verified|decrypted)", re.IGNORECASE)


class OpenAIResponsesBackend:
    """Asks a server for Responses. One instance serves any number of sessions over shared connections."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        cloud: CloudOptions | None = None,
        model: str | None = None,
        models: Mapping[str, ModelOverride] = NO_OVERRIDES,
        limits: Limits = DEFAULT_LIMITS,
        connection: OpenAIConnection | CloudConnection | None = None,
    ) -> None:
        """Takes what is needed later; does nothing yet.

        Args:
            api_key: `None` reads `OPENAI_API_KEY` at the first request.
            base_url: `None` reads `OPENAI_BASE_URL` at the first request, else it is OpenAI's own.
            cloud: asks Azure instead; the other two are then left out.
            model: the default one; `None` for OpenAI's current one.
            models: what models are like whose names do not tell.
            limits: bounds of an answer.
            connection: a shared one to ask over; the first three are then left out.
        """
        self._model = model
        self._models = models
        self._limits = limits
        if connection is None:
            connection = connection_to(api_key=api_key, base_url=base_url, cloud=cloud, limits=limits)
        self._connection = connection
        self._may_have_summaries = True

    @property
    def default_model(self) -> str:
        """The model that is asked when none was named."""
        return self._model or current_model("openai")

    def dialect(self, _: BackendRequest) -> str:
        """Returns the one dialect that it speaks."""
        return DIALECT

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
        """Asks for one step; see `Backend.stream`.

        Raises:
            BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled: on entering or while
                iterating.
            LimitExceeded: while iterating: the answer is larger than the limits allow.
        """
        async with AsyncExitStack() as opened:
            with successor_named(request.model) if self._connection.is_openai else nullcontext():
                async with existing_named(request.model, self.list_models):
                    chunks = await self._opened(request, opened)
            decoder = ResponsesDecoder(
                self._connection.client().endpoint, model=request.model, limits=self._limits, request=request
            )
            yield StreamedAnswer(chunks, decoder)
            if decoder.is_ended:
                await chunks.drain()

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns which settings and files of the request its model will not be given."""
        given = notices(request, traits=traits_of(request.model, self._models.get(request.model)))
        return [*given, *self._connection.end_notices(request.model)]

    async def list_models(self) -> Sequence[ListedModel] | None:
        """Returns which models the provider has; see `ListsModels.list_models`.

        Raises:
            BackendError: as there.
        """
        return await self._connection.list_models()

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._connection.close()

    async def _opened(self, request: BackendRequest, opened: AsyncExitStack) -> ByteStream:
        client = self._connection.client()
        # Only OpenAI itself is known to take the key; it routes requests of one session to the same cache.
        cache_key = request.session_id if is_openai_address(client.endpoint.base_url) else ""
        traits = traits_of(request.model, self._models.get(request.model))
        with_reasoning = True
        while True:
            with_summary = self._may_have_summaries
            encoding = partial(
                encode,
                request,
                prompt_cache_key=cache_key,
                with_summary=with_summary,
                with_reasoning=with_reasoning,
                traits=traits,
            )
            body = await in_thread(request.weight, encoding)
            try:
                return await opened.enter_async_context(open_stream(client, "/responses", body, weight=request.weight))
            except BackendUnauthorized:
                raise
            except BackendRejected as refused:
                if with_summary and _NO_SUMMARY.search(refused.message):
                    self._may_have_summaries = False
                elif with_reasoning and _NO_REASONING.search(refused.message):
                    with_reasoning = False
                else:
                    raise
