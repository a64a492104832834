"""The way to the providers: streams and failures. `clients` says who asks.

`open_stream` posts a request and gives the raw body of its answer; `map_exceptions` turns what may fail on the way into our errors.

Rule: nothing here knows a dialect, and nothing loads aiohttp, httpx2 or an SDK: by the time that one of them is looked into, the
client has loaded it.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

from greenroom.backends import faults
from greenroom.backends.clients import Client, DirectClient, SdkClient, bad_address, network_hint
from greenroom.backends.faults import Endpoint
from greenroom.backends.sse import Held, as_event, without_mark
from greenroom.errors import BackendError, BackendGarbled, BackendRejected, BackendUnavailable
from greenroom.limits import SSE_LINE_BYTES_MAX

if TYPE_CHECKING:
    import aiohttp

__all__ = ["ByteStream", "Client", "DirectClient", "Endpoint", "SdkClient", "map_exceptions", "open_stream"]

FAREWELL_S_MAX: Final = 0.1
"""How long the end of the body may take to arrive after the end of the answer; then the connection is given up."""


class ByteStream:
    """The body of an answer, in the pieces in which it arrives. Empty pieces do not occur.

    Invariant: what has been yielded began like an event stream. A server that does not stream answers with JSON: that is one event.
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
        if chunk and not chunk.strip():
            return b"\n"  # white space keeps a connection alive until the answer is there: OpenRouter's, for one that is not streamed
        content_type = self._answer.headers.get("content-type", "").lower()
        if chunk and faults.not_an_event_stream(chunk, content_type, self._endpoint) is not None:
            # It is not, but only the whole of it tells what it is.
            body = await self._whole(chunk)
            if faults.is_answer(body):
                chunk = as_event(body)
            elif (
                error := faults.not_an_event_stream(body[: faults.BODY_BYTES_MAX], content_type, self._endpoint)
            ) is not None:
                raise error
            else:
                chunk = body
        self._is_checked = self._is_checked or bool(chunk)
        return chunk

    async def _whole(self, chunk: bytes) -> bytes:
        """Returns a body that began with `chunk` and is no event stream, as far as it is looked at."""
        is_json = without_mark(chunk).lstrip()[:1] == b"{"
        missing = (SSE_LINE_BYTES_MAX if is_json else faults.BODY_BYTES_MAX) - len(chunk)
        pieces, held = [chunk], Held()
        while missing > 0 and (piece := await self._content.read(missing)):
            held.grow(len(piece))
            pieces.append(piece)
            missing -= len(piece)
        if is_json and missing <= 0:
            raise BackendGarbled(
                f"{self._endpoint.provider} did not stream its answer, which has more than {SSE_LINE_BYTES_MAX} bytes"
            )
        return b"".join(pieces)


@asynccontextmanager
async def open_stream(
    client: Client,
    path: str,
    body: Mapping[str, Any],
    *,
    weight: int = 0,
    headers: Mapping[str, str] | None = None,
    read: Callable[[aiohttp.ClientResponse, Endpoint], ByteStream] = ByteStream,
) -> AsyncIterator[ByteStream]:
    """Posts `body` to `path` under the base URL and yields the answer's body. Leaving closes the connection, in any case.

    A `body` of a large `weight` is encoded in a thread. `read` makes the stream out of an answer: another than `ByteStream` where the events are wrapped.

    Raises:
        BackendUnavailable, BackendRejected, BackendUnauthorized, ContextTooLong, BackendGarbled: on entering; and while
            iterating, as `ByteStream` says.
    """
    with map_exceptions(client.endpoint):
        answer = await client.post(path, body, headers or {}, weight=weight)
    try:
        yield read(answer, client.endpoint)
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
        mapped = cause if isinstance(cause, BackendError) else _meaning(cause, endpoint)
        if mapped is not None:
            return mapped
        cause = cause.__cause__
    return None


def _meaning(error: BaseException, endpoint: Endpoint) -> BackendError | None:
    # Nobody raises an error of a module that nobody has loaded.
    of_sdk = _sdk_way(error, endpoint) if "httpx2" in sys.modules else None
    return of_sdk or _refused_way(error, endpoint) or _broken_way(error, endpoint)


def _sdk_way(error: BaseException, endpoint: Endpoint) -> BackendError | None:
    """Failures of what the SDKs stand on."""
    import httpx2

    match error:
        case httpx2.InvalidURL() | httpx2.UnsupportedProtocol():
            return bad_address(endpoint)
        case httpx2.TooManyRedirects():
            said = f"{endpoint.shown_url} sends from one address to the next without end"
            return BackendRejected(said, hint=network_hint(endpoint))
        case httpx2.RequestError():
            said = faults.redacted(str(error), endpoint.key) or type(error).__name__
            return BackendUnavailable(
                f"the connection to {endpoint.provider} failed: {said}", hint=network_hint(endpoint)
            )
        case _:
            return None


def _refused_way(error: BaseException, endpoint: Endpoint) -> BackendError | None:
    """Failures before there was a connection."""
    import aiohttp

    who, where = endpoint.provider, endpoint.shown_url
    match error:
        case aiohttp.ConnectionTimeoutError():
            return BackendUnavailable(
                f"no connection to {who} at {where} in time", hint=network_hint(endpoint), refused=None
            )
        case aiohttp.ClientConnectorDNSError():
            return BackendUnavailable(f"the host of {where} is unknown", hint=network_hint(endpoint), refused=None)
        case aiohttp.ClientProxyConnectionError():
            return BackendUnavailable(f"no connection to the proxy on the way to {who}", hint=_PROXY_HINT, refused=None)
        case aiohttp.ClientHttpProxyError():
            return BackendUnavailable(f"the proxy on the way to {who} answered {error.status}", hint=_PROXY_HINT)
        case aiohttp.ClientSSLError():
            said = faults.redacted(str(error.os_error), endpoint.key)
            return BackendUnavailable(f"no trusted connection to {where}: {said}", hint=_CERTIFICATE_HINT, refused=None)
        case aiohttp.ClientConnectorError(os_error=ConnectionRefusedError()):
            hint = f"is the server at {where} running? {endpoint.base_url_variable} sets the address"
            return BackendUnavailable(f"{who} refused the connection", hint=hint, refused=None)
        case aiohttp.InvalidURL():
            return bad_address(endpoint)
        case _:
            return None


def _broken_way(error: BaseException, endpoint: Endpoint) -> BackendError | None:
    """Failures of a connection that there was, and those of which no more is known."""
    import aiohttp

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
            return BackendUnavailable(f"the connection to {who} failed: {said}", hint=network_hint(endpoint))
        case aiohttp.ClientError():
            said = faults.redacted(str(error), endpoint.key) or type(error).__name__
            return BackendUnavailable(f"the connection to {who} failed: {said}", hint=network_hint(endpoint))
        case _:
            return None


_PROXY_HINT: Final = "HTTPS_PROXY and NO_PROXY say which way requests go"
_CERTIFICATE_HINT: Final = "SSL_CERT_FILE names the certificates to trust"
