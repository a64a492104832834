"""How every dialect of OpenAI is asked: where the key and the address come from, the client, and one answer as it arrives.

Rule: knows no dialect. What is set in the environment is read at the first request. No SDK is needed: the endpoint wants a key and
nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final
from urllib.parse import urlsplit

from greenroom.backends.clients import DirectClient, headers_in
from greenroom.backends.clouds import CloudConnection, CloudOptions, azure_client
from greenroom.backends.faults import Endpoint, missing_key
from greenroom.backends.model_ends import end_notices
from greenroom.backends.model_list import fetch_models
from greenroom.interfaces import ListedModel, Notice
from greenroom.limits import Limits

OPENAI_URL: Final = "https://api.openai.com/v1"

_OPENAI_HOST: Final = "api.openai.com"
_AZURE_DOMAINS: Final = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")

NO_KEY: Final = "no-key"
"""Sent to servers of one's own when no key is set: most ignore it, and some insist on one."""


def connection_to(
    *, api_key: str | None, base_url: str | None, cloud: CloudOptions | None, limits: Limits
) -> OpenAIConnection | CloudConnection:
    """Returns the way to a server of these dialects: to Azure if `cloud` is given, else to the address, else to OpenAI."""
    if cloud is not None:
        return CloudConnection(lambda: azure_client(cloud, limits))
    return OpenAIConnection(api_key=api_key, base_url=base_url, limits=limits)


class OpenAIConnection:
    """The client for one key and address, made at the first request."""

    @property
    def is_own(self) -> bool:
        """Whether OpenAI, or its models' own cloud, is asked: there both dialects are, with the same key."""
        return is_own_address(self._address())

    @property
    def is_openai(self) -> bool:
        """Whether OpenAI itself is asked."""
        return is_openai_address(self._address())

    def __init__(self, *, api_key: str | None, base_url: str | None, limits: Limits) -> None:
        """`None` reads `OPENAI_API_KEY` and `OPENAI_BASE_URL` at the first request, else the address is OpenAI's own."""
        self._api_key = api_key
        self._base_url = base_url
        self._limits = limits
        self._client: DirectClient | None = None
        self._ends: Mapping[str, date] = {}

    def client(self) -> DirectClient:
        """Returns the client.

        Raises:
            BackendUnauthorized: there is no key, and OpenAI is asked.
        """
        if self._client is None:
            endpoint = self._endpoint()
            self._client = DirectClient(endpoint, headers=_headers(endpoint.key), limits=self._limits)
        return self._client

    async def list_models(self) -> Sequence[ListedModel]:
        """Returns which models the server has, and keeps what it says of their ends.

        Raises:
            BackendError: there is no key, or the server cannot be asked.
        """
        models = await fetch_models(self.client(), "/models")
        self._ends = {model.name: date.fromisoformat(model.ends_on) for model in models if model.ends_on}
        return models

    def end_notices(self, model: str) -> Sequence[Notice]:
        """Returns what is to be said about the end of a model: as the server told it, else as it is known of OpenAI's own."""
        told = self._ends.get(model)
        return end_notices(model, told=told) if told is not None or self.is_openai else ()

    async def close(self) -> None:
        """Closes the connections. Idempotent."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _address(self) -> str:
        return address_of(self._base_url)

    def _endpoint(self) -> Endpoint:
        key = self._api_key or os.environ.get("OPENAI_API_KEY", "")
        base_url = self._address()
        host = host_of(base_url)
        is_openai = is_openai_address(base_url)
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


def _headers(key: str) -> dict[str, str]:
    """Returns what the SDK would send, from the variables that it reads."""
    environment = os.environ
    headers = {"authorization": f"Bearer {key or NO_KEY}"}
    if organization := environment.get("OPENAI_ORG_ID"):
        headers["openai-organization"] = organization
    if project := environment.get("OPENAI_PROJECT_ID"):
        headers["openai-project"] = project
    custom = headers_in(environment.get("OPENAI_CUSTOM_HEADERS", ""))
    return headers | {name.lower(): value for name, value in custom.items()}


def address_of(base_url: str | None) -> str:
    """Returns the address that is asked where `base_url` is set: `OPENAI_BASE_URL` for `None`, else OpenAI's own."""
    return base_url or os.environ.get("OPENAI_BASE_URL", "") or OPENAI_URL


def is_openai_address(url: str) -> bool:
    """Returns whether an address is OpenAI's own, in whatever region."""
    host = host_of(url).partition(":")[0]
    return host == _OPENAI_HOST or host.endswith(f".{_OPENAI_HOST}")


def is_own_address(url: str) -> bool:
    """Returns whether OpenAI or Azure serves an address: both have both dialects, under the same path and key."""
    return is_openai_address(url) or host_of(url).partition(":")[0].endswith(_AZURE_DOMAINS)


def host_of(url: str) -> str:
    """Returns host and port of a URL, without credentials; empty where it is none."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2].lower()
    except ValueError:  # not a URL: the transport says so
        return ""
