"""The way to the providers that an SDK knows: clients, streams, failures.

The official SDKs carry authentication, base URLs and provider variants; their response parsers cost 20 to 30 times what
decoding costs, and are not used. `SdkClient` holds the SDK's client, `open_stream` asks it for the raw answer, and
`map_exceptions` turns what may fail on the way into our errors.

The SDK's generic `post` is used, not its typed methods: these copy and check the whole request against its types first, which
doubles the fixed cost of a request, and the request has been built by our own encoder.

Rule: nothing here knows a dialect. The SDKs, aiohttp and httpx2 are imported at the first request, in a thread: that takes a
second, in which every other session must go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar

from greenroom.backends import faults
from greenroom.backends.faults import Endpoint
from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnauthorized, BackendUnavailable
from greenroom.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import aiohttp
    import httpx2

    from greenroom.backends.aiohttp_bridge import AiohttpTransport

__all__ = ["ByteStream", "Endpoint", "SdkClient", "map_exceptions", "open_stream"]

FAREWELL_S_MAX: Final = 0.1
"""How long the end of the body may take to arrive after the end of the answer; then the connection is given up."""


class PostingClient(Protocol):
    """What is used of an SDK's client. Both SDKs have it."""

    async def post(
        self, path: str, *, cast_to: Any, body: Any, options: Any, stream: bool, stream_cls: None = None
    ) -> Any:
        """Sends a request; with `cast_to=httpx2.Response`, returns the answer unread."""
        ...


ClientT = TypeVar("ClientT", bound=PostingClient)


class SdkClient(Generic[ClientT]):
    """The SDK client for one endpoint and key, built at the first request and shared by all that follow.

    Connections belong to an event loop, so there is one client per loop: a process may call `asyncio.run` again and again.

    Attributes:
        endpoint: who is asked.
    """

    def __init__(
        self, endpoint: Endpoint, *, build: Callable[[httpx2.AsyncClient], ClientT], limits: Limits = DEFAULT_LIMITS
    ) -> None:
        """`build` imports the SDK and makes its client around the given HTTP client. It runs in a thread."""
        self.endpoint = endpoint
        self._build = build
        self._limits = limits
        self._clients: dict[asyncio.AbstractEventLoop, tuple[ClientT, AiohttpTransport]] = {}
        self._locks: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}

    async def get(self) -> ClientT:
        """Returns the client of the running loop.

        Raises:
            BackendUnauthorized: the key cannot be sent.
            BackendRejected: the base URL is not one.
        """
        loop = asyncio.get_running_loop()
        if (known := self._clients.get(loop)) is not None:
            return known[0]
        self._forget_closed_loops()
        async with self._locks.setdefault(loop, asyncio.Lock()):
            if (known := self._clients.get(loop)) is None:
                known = self._clients[loop] = await asyncio.to_thread(self._build_both)
        return known[0]

    async def close(self) -> None:
        """Closes the connections of the running loop. Idempotent; a later request opens new ones."""
        self._forget_closed_loops()
        loop = asyncio.get_running_loop()
        self._locks.pop(loop, None)
        if (known := self._clients.pop(loop, None)) is not None:
            await known[1].aclose()

    def _build_both(self) -> tuple[ClientT, AiohttpTransport]:
        import httpx2

        from greenroom.backends.aiohttp_bridge import AiohttpTransport

        _check(self.endpoint)
        transport = AiohttpTransport(self.endpoint, self._limits)
        return self._build(httpx2.AsyncClient(transport=transport, follow_redirects=True)), transport

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._clients if loop.is_closed()]:
            self._clients.pop(loop)[1].abandon()
        for loop in [loop for loop in self._locks if loop.is_closed()]:
            del self._locks[loop]


class ByteStream:
    """The body of an answer, in the pieces in which it arrives. Empty pieces do not occur.

    Invariant: what has been yielded began like an event stream.
    """

    __slots__ = ("_answer", "_content", "_endpoint", "_is_checked")

    def __init__(self, answer: aiohttp.ClientResponse, endpoint: Endpoint) -> None:
        self._answer = answer
        self._content = answer.content
        self._endpoint = endpoint
        self._is_checked = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        """As `read`, as an iterator.

        Raises:
            BackendError: as `read`.
        """
        chunk = await self.read()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def read(self) -> bytes:
        """Returns what has arrived since the last call, all of it, or waits for more; nothing at the end.

        Raises:
            BackendUnavailable: the provider was silent for `Limits.stream_idle_s_max`.
            BackendGarbled: the connection broke, or the answer is not an event stream.
            BackendError: the answer is an error in spite of its status.
        """
        # As `map_exceptions`, without the price of a context manager for each chunk.
        try:
            chunk = await self._content.readany()
            if not self._is_checked:
                chunk = await self._checked(chunk)
        except Exception as error:
            if (mapped := _mapped(error, self._endpoint)) is None:
                raise
            raise mapped from error
        return chunk

    async def drain(self) -> None:
        """Reads what little follows the end of the answer, so that the connection can serve the next request.

        For whoever has decoded the last event. Gives up after `FAREWELL_S_MAX`: the connection is then closed on leaving.
        """
        with contextlib.suppress(TimeoutError, BackendError):
            async with asyncio.timeout(FAREWELL_S_MAX):
                while await self.read():
                    pass

    async def _checked(self, chunk: bytes) -> bytes:
        content_type = self._answer.headers.get("content-type", "").lower()
        if chunk and faults.not_an_event_stream(chunk, content_type, self._endpoint) is not None:
            # It is not, but only the whole of it tells what it is.
            pieces = [chunk]
            missing = faults.BODY_BYTES_MAX - len(chunk)
            while missing > 0 and (piece := await self._content.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
            error = faults.not_an_event_stream(b"".join(pieces), content_type, self._endpoint)
            if error is not None:
                raise error
            chunk = b"".join(pieces)
        self._is_checked = self._is_checked or bool(chunk)
        return chunk


@asynccontextmanager
async def open_stream(
    client: SdkClient[Any], path: str, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
) -> AsyncIterator[ByteStream]:
    """Posts `body` to `path` under the base URL and yields the answer's body. Leaving closes the connection, in any case.

    Raises:
        BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled: on entering; and while
            iterating, as `ByteStream` says.
    """
    with map_exceptions(client.endpoint):
        sdk = await client.get()
        # Loaded by now; naming it at the top would load it with this module.
        import httpx2

        from greenroom.backends.aiohttp_bridge import ANSWER

        options = {"headers": dict(headers)} if headers else {}
        response = await sdk.post(path, cast_to=httpx2.Response, body=body, options=options, stream=True)
    answer: aiohttp.ClientResponse = response.extensions[ANSWER]
    try:
        yield ByteStream(answer, client.endpoint)
    finally:
        # Synchronous, so that no cancellation can come between; a body read to its end has given its connection back already.
        answer.close()


@contextmanager
def map_exceptions(endpoint: Endpoint) -> Iterator[None]:
    """Turns the failures of SDKs, httpx2, aiohttp and sockets into our errors; lets everything else pass.

    Raises:
        BackendError: in place of a failure on the way to the provider.
    """
    try:
        yield
    except Exception as error:
        if (mapped := _mapped(error, endpoint)) is None:
            raise
        raise mapped from error


def _mapped(error: Exception, endpoint: Endpoint) -> BackendError | None:
    """Returns our error for `error`; `None` if it is ours already, or nobody's failure but a bug."""
    if isinstance(error, BackendError):
        return None
    # An SDK wraps what the transport raised: the first cause that says something is the one meant.
    cause: BaseException | None = error
    while cause is not None:
        mapped = (
            cause if isinstance(cause, BackendError) else _refused_way(cause, endpoint) or _broken_way(cause, endpoint)
        )
        if mapped is not None:
            return mapped
        cause = cause.__cause__
    return None


def _refused_way(error: BaseException, endpoint: Endpoint) -> BackendError | None:
    """Failures before there was a connection."""
    import aiohttp
    import httpx2

    who, where = endpoint.provider, endpoint.shown_url
    match error:
        case aiohttp.ConnectionTimeoutError():
            return BackendUnavailable(f"no connection to {who} at {where} in time", hint=_network_hint(endpoint))
        case aiohttp.ClientConnectorDNSError():
            return BackendUnavailable(f"the host of {where} is unknown", hint=_network_hint(endpoint))
        case aiohttp.ClientProxyConnectionError():
            return BackendUnavailable(f"no connection to the proxy on the way to {who}", hint=_PROXY_HINT)
        case aiohttp.ClientHttpProxyError():
            return BackendUnavailable(f"the proxy on the way to {who} answered {error.status}", hint=_PROXY_HINT)
        case aiohttp.ClientSSLError():
            said = faults.redacted(str(error.os_error), endpoint.key)
            return BackendUnavailable(f"no trusted connection to {where}: {said}", hint=_CERTIFICATE_HINT)
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            hint = f"is the server at {where} running? {endpoint.base_url_variable} sets the address"
            return BackendUnavailable(f"{who} refused the connection", hint=hint)
        case aiohttp.InvalidURL() | httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
            return _bad_address(endpoint)
        case httpx2.TooManyRedirects():
            return BackendRejected(
                f"{where} sends from one address to the next without end", hint=_network_hint(endpoint)
            )
        case _:
            return None


def _broken_way(error: BaseException, endpoint: Endpoint) -> BackendError | None:
    """Failures of a connection that there was, and those of which no more is known."""
    import aiohttp
    import httpx2

    who = endpoint.provider
    match error:
        case aiohttp.ServerTimeoutError() | TimeoutError():
            return BackendUnavailable(f"{who} stopped answering: it was silent for too long")
        case aiohttp.ServerDisconnectedError():
            return BackendUnavailable(f"{who} closed the connection before it answered")
        case aiohttp.ClientPayloadError():
            return BackendGarbled(f"the connection to {who} broke in the middle of the answer")
        case aiohttp.ClientResponseError():
            said = faults.redacted(error.message, endpoint.key)
            return BackendGarbled(f"{endpoint.shown_url} does not speak HTTP: {said}")
        case OSError():
            # Not its text: that can hold a path of this machine.
            said = error.strerror or type(error).__name__
            return BackendUnavailable(f"the connection to {who} failed: {said}", hint=_network_hint(endpoint))
        case aiohttp.ClientError() | httpx2.RequestError():
            said = faults.redacted(str(error), endpoint.key) or type(error).__name__
            return BackendUnavailable(f"the connection to {who} failed: {said}", hint=_network_hint(endpoint))
        case _:
            return None


def _check(endpoint: Endpoint) -> None:
    import httpx2

    if not (endpoint.key.isascii() and endpoint.key.isprintable()) or endpoint.key != endpoint.key.strip():
        raise BackendUnauthorized(
            f"the key for {endpoint.provider} holds characters that no key has",
            hint=f"look for a line end, a blank or quotation marks in {endpoint.key_variable}",
        )
    try:
        url = httpx2.URL(endpoint.base_url)
    except httpx2.InvalidURL as error:
        raise _bad_address(endpoint) from error
    if url.scheme not in {"http", "https"} or not _HOST.fullmatch(url.raw_host.decode("ascii")):
        raise _bad_address(endpoint)


def _bad_address(endpoint: Endpoint) -> BackendRejected:
    return BackendRejected(
        f"{endpoint.shown_url!r} is not the address of an API",
        hint=f"{endpoint.base_url_variable} is a URL such as http://127.0.0.1:8000/v1",
    )


def _network_hint(endpoint: Endpoint) -> str:
    return f"check the network, and {endpoint.base_url_variable} if it is set"


_HOST: Final = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+(%25\w+)?")
_PROXY_HINT: Final = "HTTPS_PROXY and NO_PROXY say which way requests go"
_CERTIFICATE_HINT: Final = "SSL_CERT_FILE names the certificates to trust"
