"""The backend `claude`: Anthropic's Messages API, and every other server that speaks it.

Credentials are found as the SDK finds them: a key, a token, or the profile of Anthropic's own command line. For the latter the SDK
is asked, which knows how to renew its tokens; a key or a token needs no SDK.

Rule: a composition, nothing else: `claude_messages` knows the dialect, `clients` and `transport` the way. The SDK is not imported
with this module.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from greenroom.backends.claude_messages import DIALECT, MessagesDecoder, encode, notices
from greenroom.backends.claude_models import model_of
from greenroom.backends.claude_settings import headers_of
from greenroom.backends.clients import Client, DirectClient, SdkClient, headers_in
from greenroom.backends.clouds import NO_OPTIONS, CloudOptions, bedrock_client, vertex_client
from greenroom.backends.faults import Endpoint, missing_key
from greenroom.backends.model_ends import end_notices, successor_named
from greenroom.backends.model_facts import NO_OVERRIDES, ClaudeModel, current_model
from greenroom.backends.model_list import existing_named, fetch_models
from greenroom.backends.streamed_answer import StreamedAnswer
from greenroom.backends.transport import ByteStream, open_stream
from greenroom.config import ModelOverride
from greenroom.errors import BackendUnauthorized
from greenroom.interfaces import BackendRequest, ListedModel, Notice
from greenroom.large_thread import in_thread
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.messages import StreamItem

if TYPE_CHECKING:
    import aiohttp
    import httpx2
    from anthropic import AsyncAnthropic

Cloud = Literal["bedrock", "vertex"]
"""Who else serves Claude."""

ANTHROPIC_URL: Final = "https://api.anthropic.com"

API_VERSION: Final = "2026-10-21"
"""The `anthropic-version` that the requests are written for; the SDK names the same one."""

NO_KEY: Final = "no-key"
"""Sent to servers of one's own when no key is set: most ignore it, and some insist on one."""


class ClaudeBackend:
    """Asks Claude. One instance serves any number of sessions over shared connections."""

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        cloud: Cloud | None = None,
        cloud_options: CloudOptions = NO_OPTIONS,
        model: str | None = None,
        models: Mapping[str, ModelOverride] = NO_OVERRIDES,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Takes what is needed later; does nothing yet.

        Args:
            api_key: `None` reads `ANTHROPIC_API_KEY`, then `ANTHROPIC_AUTH_TOKEN`, then the SDK's profile, at the first request.
            base_url: `None` reads `ANTHROPIC_BASE_URL` at the first request, else it is Anthropic's own. Without `/v1`.
            cloud: asks this cloud instead, reached by `cloud_options`; the other two are then left out.
            cloud_options: see there.
            model: the default one; `None` for Anthropic's current one.
            models: what models are like whose names do not tell.
            limits: bounds of an answer.
        """
        self._model = model
        self._models = models
        self._cloud = cloud
        self._cloud_options = cloud_options
        self._api_key = api_key
        self._base_url = base_url
        self._limits = limits
        self._client: Client | None = None
        self._ends: Mapping[str, date] = {}

    @property
    def default_model(self) -> str:
        """The model that is asked when none was named."""
        return self._model or current_model("claude")

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
        client = self._connected()
        body = await in_thread(request.weight, partial(encode, request, model=self._facts(request)))
        headers = headers_of(body)
        if self._cloud is not None and (version := headers.pop("anthropic-version", "")):
            body["anthropic_version"] = version  # the clouds want it there
        read = _bedrock_stream if self._cloud == "bedrock" else ByteStream
        async with AsyncExitStack() as opened:
            with successor_named(request.model) if self._is_anthropic() else nullcontext():
                async with existing_named(request.model, self.list_models):
                    asking = open_stream(
                        client, "/v1/messages", body, weight=request.weight, headers=headers, read=read
                    )
                    chunks = await opened.enter_async_context(asking)
            decoder = MessagesDecoder(client.endpoint, model=request.model, limits=self._limits, request=request)
            yield StreamedAnswer(chunks, decoder)
            if decoder.is_ended:
                await chunks.drain()

    def notices(self, request: BackendRequest) -> Sequence[Notice]:
        """Returns which settings and files of the request its model will not be given, and why."""
        given = notices(request, model=self._facts(request))
        told = self._ends.get(request.model)
        is_known = told is not None or self._is_anthropic()
        return [*given, *(end_notices(request.model, told=told) if is_known else [])]

    async def list_models(self) -> Sequence[ListedModel] | None:
        """Returns which models the provider has; see `ListsModels.list_models`. Clouds, and profiles of the SDK, have no list here.

        Raises:
            BackendError: as there.
        """
        client = self._connected() if self._cloud is None else None
        if not isinstance(client, DirectClient):
            return None
        models = await fetch_models(client, "/v1/models", {"limit": "1000"})
        self._ends = {model.name: date.fromisoformat(model.ends_on) for model in models if model.ends_on}
        return models

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _is_anthropic(self) -> bool:
        return self._cloud is None and _host(self._address()) == _host(ANTHROPIC_URL)

    def _address(self) -> str:
        return self._base_url or os.environ.get("ANTHROPIC_BASE_URL", "") or ANTHROPIC_URL

    def _facts(self, request: BackendRequest) -> ClaudeModel:
        return model_of(request.model, self._models.get(request.model))

    def _connected(self) -> Client:
        if self._client is None and self._cloud is not None:
            make = bedrock_client if self._cloud == "bedrock" else vertex_client
            self._client = make(self._cloud_options, self._limits)
        if self._client is None:
            key = self._key()
            endpoint = self._endpoint(key=key)
            if not key and _host(endpoint.base_url) != _host(ANTHROPIC_URL):
                key = NO_KEY
            if key:
                self._client = DirectClient(endpoint, headers=_headers(key), limits=self._limits)
            else:

                def build(http_client: httpx2.AsyncClient) -> AsyncAnthropic:
                    return _sdk_client(endpoint, http_client)

                self._client = SdkClient(endpoint, build=build, limits=self._limits)
        return self._client

    def _key(self) -> str:
        environment = os.environ
        return self._api_key or environment.get("ANTHROPIC_API_KEY", "") or environment.get("ANTHROPIC_AUTH_TOKEN", "")

    def _endpoint(self, *, key: str) -> Endpoint:
        base_url = self._address()
        host = _host(base_url)
        return Endpoint(
            provider="Anthropic" if host in {"", _host(ANTHROPIC_URL)} else f"the API at {host}",
            base_url=base_url,
            key=key,
            key_variable="ANTHROPIC_API_KEY",
            base_url_variable="ANTHROPIC_BASE_URL",
        )


def _bedrock_stream(answer: aiohttp.ClientResponse, endpoint: Endpoint) -> ByteStream:
    # Loaded by now, with the client.
    from greenroom.backends.bedrock_frames import BedrockStream

    return BedrockStream(answer, endpoint)


def _headers(key: str) -> dict[str, str]:
    """Returns what the SDK would send."""
    headers = {"authorization": f"Bearer {key}", "anthropic-version": API_VERSION}
    custom = headers_in(os.environ.get("ANTHROPIC_CUSTOM_HEADERS", ""))
    return headers | {name.lower(): value for name, value in custom.items()}


def _sdk_client(endpoint: Endpoint, http_client: httpx2.AsyncClient) -> AsyncAnthropic:
    """Returns a client with the credentials of the profile that the SDK finds."""
    import anthropic

    arguments: dict[str, Any] = {}
    if endpoint.base_url != ANTHROPIC_URL:
        # Left out where it is the default: a profile may name the provider's address for its account.
        arguments["base_url"] = endpoint.base_url
    try:
        client = anthropic.AsyncAnthropic(max_retries=0, http_client=http_client, **arguments)
    except anthropic.CredentialsError as error:
        raise BackendUnauthorized(
            "the profile with the credentials for Anthropic cannot be used",
            hint="set ANTHROPIC_API_KEY, or repair the profile with `ant auth login`",
        ) from error
    if not client.auth_headers and client.credentials is None:
        raise missing_key(endpoint)
    return client


def _host(url: str) -> str:
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # not a URL: the transport says so
        return ""
