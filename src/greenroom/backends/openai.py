"""The backend `openai`: every server that speaks Chat Completions, OpenAI's own first of all.

OpenAI's models since 5.6 take no tools there unless they do not reason, and some models it has not at all. At OpenAI's own address,
and at Azure's, these are asked over the Responses API, with the same key and over the same connections: who sets `openai` and a model
need not know of it. Other servers of the dialect have no Responses API that anybody could count on.

Rule: a composition, nothing else: `openai_chat` and `openai_responses` know the dialects, `openai_models` which model wants which one,
`transport` the way. The SDK is not imported with this module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial

from greenroom.backends.clouds import CloudOptions
from greenroom.backends.model_ends import successor_named
from greenroom.backends.model_facts import NO_OVERRIDES
from greenroom.backends.model_list import existing_named
from greenroom.backends.openai_chat import DIALECT, ChatDecoder, encode, notices
from greenroom.backends.openai_client import NO_KEY, OPENAI_URL, connection_to, is_openai_address
from greenroom.backends.openai_models import ModelTraits, traits_of
from greenroom.backends.openai_responses import OpenAIResponsesBackend
from greenroom.backends.streamed_answer import StreamedAnswer
from greenroom.backends.transport import open_stream
from greenroom.config import ModelOverride
from greenroom.interfaces import BackendRequest, ListedModel, Notice
from greenroom.large_thread import in_thread
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import StreamItem

__all__ = ["NO_KEY", "OPENAI_URL", "OpenAIBackend"]


class OpenAIBackend:
    """Asks a server for Chat Completions. One instance serves any number of sessions over shared connections."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        cloud: CloudOptions | None = None,
        model: str | None = "gpt-4o",
        models: Mapping[str, ModelOverride] = NO_OVERRIDES,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Takes what is needed later; does nothing yet.

        Args:
            api_key: `None` reads `OPENAI_API_KEY` at the first request.
            base_url: `None` reads `OPENAI_BASE_URL` at the first request, else it is OpenAI's own.
            cloud: asks Azure instead; the other two are then left out.
            model: the default one.
            models: what models are like whose names do not tell.
            limits: bounds of an answer.
        """
        self.default_model = model
        self._models = models
        self._limits = limits
        self._connection = connection_to(api_key=api_key, base_url=base_url, cloud=cloud, limits=limits)
        self._responses = OpenAIResponsesBackend(models=models, limits=limits, connection=self._connection)

    def dialect(self, request: BackendRequest) -> str:
        """Returns in which of its dialects the model of the request is asked, with its effort."""
        return self._responses.dialect(request) if self._is_for_responses(request) else DIALECT

    @asynccontextmanager
    async def stream(self, request: BackendRequest) -> AsyncIterator[AsyncIterator[Sequence[StreamItem]]]:
        """Asks for one step; see `Backend.stream`.

        Raises:
            BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled: on entering or while
                iterating.
            LimitExceeded: while iterating: the answer is larger than the limits allow.
        """
        if self._is_for_responses(request):
            async with self._responses.stream(request) as items:
                yield items
            return
        client = self._connection.client()
        endpoint = client.endpoint
        # Only OpenAI itself is known to take the key; it routes requests of one session to the same cache.
        cache_key = request.session_id if is_openai_address(endpoint.base_url) else ""
        encoding = partial(encode, request, prompt_cache_key=cache_key, traits=self._traits(request))
        body = await in_thread(request.weight, encoding)
        async with AsyncExitStack() as opened:
            with successor_named(request.model) if is_openai_address(endpoint.base_url) else nullcontext():
                async with existing_named(request.model, self.list_models):
                    asking = open_stream(client, "/chat/completions", body, weight=request.weight)
                    chunks = await opened.enter_async_context(asking)
            decoder = ChatDecoder(endpoint, model=request.model, limits=self._limits, request=request)
            yield StreamedAnswer(chunks, decoder)
            if decoder.is_ended:
                await chunks.drain()

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns which settings of the request its model will not honour."""
        if self._is_for_responses(request):
            return self._responses.notices(request)
        return [*notices(request, traits=self._traits(request)), *self._connection.end_notices(request.model)]

    async def list_models(self) -> Sequence[ListedModel] | None:
        """Returns which models the provider has; see `ListsModels.list_models`.

        Raises:
            BackendError: as there.
        """
        return await self._connection.list_models()

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        await self._connection.close()

    def _traits(self, request: BackendRequest) -> ModelTraits:
        return traits_of(request.model, self._models.get(request.model))

    def _is_for_responses(self, request: BackendRequest) -> bool:
        traits = self._traits(request)
        if traits.dialect is not None:
            return traits.dialect == "responses"
        return self._connection.is_own and traits.wants_responses(request.reasoning_effort)
