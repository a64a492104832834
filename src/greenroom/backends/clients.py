"""Who posts to the providers. Two kinds of client, for two kinds of endpoint.

`DirectClient` posts over aiohttp by itself: all that a plain endpoint with a key needs. `SdkClient` asks the provider's SDK, which
knows what we do not want to: profiles, tokens that expire, the clouds' signatures.

Of an SDK the generic `post` is used, not its typed methods: these copy and check the whole request against its types first, which
doubles the fixed cost of a request, and the request has been built by our own encoder.

Rule: nothing here knows a dialect. The SDKs, aiohttp and httpx2 are imported at the first request, in a thread: that takes up to two
seconds, in which every other session must go on.
"""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlencode, urlsplit, urlunsplit

from greenroom.backends.faults import Endpoint
from greenroom.errors import BackendRejected, BackendUnauthorized
from greenroom.large import LARGE_BYTES, encoded, encoder, settled
from greenroom.large_thread import in_thread
from greenroom.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import aiohttp
    import httpx2

    from greenroom.backends.connections import Connections

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%(25)?\w+)?")


NO_QUERY: Final[Mapping[str, str]] = {}


class Client(Protocol):
    """Somebody who can post to one endpoint.

    Attributes:
        endpoint: who is asked.
    """

    @property
    def endpoint(self) -> Endpoint:
        """See above."""
        ...

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, weight: int = 0
    ) -> aiohttp.ClientResponse:
        """Posts `body`, whose size is at most about `weight`, to `path` under the base URL; returns the answer when its head is there.

        Raises:
            BackendError: the provider refused.
            Exception: whatever `map_exceptions` knows.
        """
        ...

    async def close(self) -> None:
        """Closes the connections of the running loop. Idempotent; a later request opens new ones."""
        ...


class _Way(Protocol):
    """What a client keeps for one event loop."""

    @property
    def connections(self) -> Connections:
        """The connections."""
        ...


WayT = TypeVar("WayT", bound=_Way)


class _PerLoop(ABC, Generic[WayT]):
    """Connections belong to an event loop, so there is one way per loop: a process may call `asyncio.run` again and again.

    Attributes:
        endpoint: who is asked.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self.endpoint = endpoint
        self._limits = limits
        self._ways: dict[asyncio.AbstractEventLoop, WayT] = {}
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    async def way(self) -> WayT:
        """Returns the way from the running loop; the first call makes it, in a thread.

        Raises:
            BackendUnauthorized: the key cannot be sent.
            BackendRejected: the base URL is not one.
        """
        loop = asyncio.get_running_loop()
        if (known := self._ways.get(loop)) is not None:
            return known
        self._forget_closed_loops()
        async with self._locks.setdefault(loop, asyncio.Lock()):
            if (known := self._ways.get(loop)) is None:
                known = self._ways[loop] = await asyncio.to_thread(self._checked_way)
        return known

    async def close(self) -> None:
        """Closes the connections of the running loop. Idempotent; a later request opens new ones."""
        self._forget_closed_loops()
        loop = asyncio.get_running_loop()
        self._locks.pop(loop, None)
        if (known := self._ways.pop(loop, None)) is not None:
            await known.connections.aclose()

    @abstractmethod
    def _make_way(self, connections: Connections) -> WayT:
        """Returns a way over `connections`. Runs in a thread."""

    def _checked_way(self) -> WayT:
        from greenroom.backends.connections import Connections

        _check(self.endpoint)
        return self._make_way(Connections(self.endpoint, self._limits))

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._ways if loop.is_closed()]:
            self._ways.pop(loop).connections.abandon()
        for loop in [loop for loop in self._locks if loop.is_closed()]:
            del self._locks[loop]


class _DirectWay(NamedTuple):
    connections: Connections
    headers: dict[str, str]


class DirectClient(_PerLoop[_DirectWay]):
    """Posts to an endpoint that wants nothing but a key, without an SDK.

    Args:
        endpoint: who is asked.
        headers: of every request, beside those that HTTP wants.
        limits: bounds of an answer.
    """

    def __init__(self, endpoint: Endpoint, *, headers: Mapping[str, str], limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(endpoint, limits)
        self._headers = headers
        self._base = endpoint.base_url

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, weight: int = 0
    ) -> aiohttp.ClientResponse:
        """Posts `body`; see `Client.post`.

        Raises:
            BackendError: the provider refused.
            Exception: whatever `map_exceptions` knows.
        """
        connections, common = await self.way()
        own = {name.lower(): value for name, value in headers.items()}
        if weight > LARGE_BYTES:
            content = await in_thread(weight, encoded, body)
        else:
            content = encoder.encode(body)
        return await connections.post(_joined(self._base, path), headers=common | own, body=content)

    async def get(self, path: str, query: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Gets `path` under the base URL, with `query` behind that of the base; returns the answer when its head is there.

        Raises:
            BackendError: the provider refused.
            Exception: whatever `map_exceptions` knows.
        """
        connections, common = await self.way()
        headers = {name: value for name, value in common.items() if name.lower() != "content-type"}
        return await connections.get(_joined(self._base, path, query), headers=headers)

    def _make_way(self, connections: Connections) -> _DirectWay:
        from importlib.metadata import version

        headers = {
            "accept": "application/json, text/event-stream",
            # A compressed event stream arrives in lumps: the compressor holds back what it has not yet filled a block with.
            "accept-encoding": "identity",
            "content-type": "application/json",
            "user-agent": f"greenroom/{version('greenroom')}",
            **self._headers,
        }
        if "@" in urlsplit(self._base).netloc:
            # Credentials in the address are an authorization too, and the one that was meant for this server.
            headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        return _DirectWay(connections, headers)


class PostingClient(Protocol):
    """What is used of an SDK's client. Both SDKs have it."""

    async def post(
        self, path: str, *, cast_to: Any, body: Any, options: Any, stream: bool, stream_cls: None = None
    ) -> Any:
        """Sends a request; with `cast_to=httpx2.Response`, returns the answer unread."""
        ...


ClientT = TypeVar("ClientT", bound=PostingClient)


class _SdkWay(NamedTuple, Generic[ClientT]):
    connections: Connections
    sdk: ClientT


class SdkClient(_PerLoop[_SdkWay[ClientT]], Generic[ClientT]):
    """Asks by means of the provider's SDK, whose client is built at the first request and shared by all that follow.

    Args:
        endpoint: who is asked.
        build: imports the SDK and makes its client around the given HTTP client. It runs in a thread.
        limits: bounds of an answer.
    """

    def __init__(
        self, endpoint: Endpoint, *, build: Callable[[httpx2.AsyncClient], ClientT], limits: Limits = DEFAULT_LIMITS
    ) -> None:
        super().__init__(endpoint, limits)
        self._build = build

    async def get(self) -> ClientT:
        """Returns the SDK's client for the running loop.

        Raises:
            BackendUnauthorized: the key cannot be sent.
            BackendRejected: the base URL is not one.
        """
        return (await self.way()).sdk

    async def post(
        self, path: str, body: Mapping[str, Any], headers: Mapping[str, str], *, weight: int = 0
    ) -> aiohttp.ClientResponse:
        """Posts `body`; see `Client.post`.

        Raises:
            BackendError: the provider refused.
            Exception: whatever `map_exceptions` knows.
        """
        sdk = await self.get()
        # Loaded by now; naming it at the top would load it with this module.
        import httpx2

        from greenroom.backends.aiohttp_bridge import ANSWER

        # The SDK writes the JSON itself, on the event loop.
        body = await in_thread(weight, settled, body)
        options = {"headers": dict(headers)} if headers else {}
        response = await sdk.post(path, cast_to=httpx2.Response, body=body, options=options, stream=True)
        answer: aiohttp.ClientResponse = response.extensions[ANSWER]
        return answer

    def _make_way(self, connections: Connections) -> _SdkWay[ClientT]:
        import httpx2

        from greenroom.backends.aiohttp_bridge import AiohttpTransport

        http_client = httpx2.AsyncClient(transport=AiohttpTransport(connections), follow_redirects=True)
        return _SdkWay(connections, self._build(http_client))


def headers_in(text: str) -> dict[str, str]:
    """Returns the headers that a variable holds, one `Name: value` a line, as both SDKs read theirs."""
    lines = (line.partition(":") for line in text.split("\n"))
    return {name.strip(): value.strip() for name, colon, value in lines if colon}


def _check(endpoint: Endpoint) -> None:
    if not (endpoint.key.isascii() and endpoint.key.isprintable()) or endpoint.key != endpoint.key.strip():
        raise BackendUnauthorized(
            f"the key for {endpoint.provider} holds characters that no key has",
            hint=f"look for a line end, a blank or quotation marks in {endpoint.key_variable}",
        )
    try:
        url = urlsplit(endpoint.base_url)
        host = (url.hostname or "").encode("idna").decode("ascii")
        is_address = url.scheme in {"http", "https"} and url.port != 0
    except ValueError as error:  # brackets, a port that is no number, a host that no domain name can be
        raise bad_address(endpoint) from error
    if not is_address or not _HOST.fullmatch(host):
        raise bad_address(endpoint)


def _joined(base_url: str, path: str, query: Mapping[str, str] = NO_QUERY) -> str:
    """Returns the address of `path` under a base URL, which may end with a slash and have a query."""
    parts = urlsplit(base_url)
    queries = "&".join(filter(None, (parts.query, urlencode(query))))
    return urlunsplit(parts._replace(path=parts.path.rstrip("/") + path, query=queries, fragment=""))


def bad_address(endpoint: Endpoint) -> BackendRejected:
    """Returns the error about a base URL that is none."""
    return BackendRejected(
        f"{endpoint.shown_url!r} is not the address of an API",
        hint=f"{endpoint.base_url_variable} is a URL such as http://127.0.0.1:8000/v1",
    )


def network_hint(endpoint: Endpoint) -> str:
    """Returns what to look at when an endpoint cannot be reached."""
    return f"check the network, and {endpoint.base_url_variable} if it is set"
