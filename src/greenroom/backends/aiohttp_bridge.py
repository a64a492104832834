"""Lets the providers' SDKs, which speak httpx2, send their requests over aiohttp.

The SDKs ship such a bridge of their own. This one hands on the aiohttp response itself, so that the body is read without any
layer in between; reports failures as aiohttp does, undamaged; bounds what is read of a refusal; owns its session, so that a
process which never closes anything still ends without complaints; and waits for connections without a limit of their number.

Rule: import this module late: it loads aiohttp and httpx2.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
import urllib.request
import weakref
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final

import aiohttp
import httpx2

from greenroom.backends.faults import BODY_BYTES_MAX, Endpoint, classified, fault_of_body
from greenroom.errors import BackendRejected
from greenroom.limits import Limits

CONNECT_S_MAX: Final = 15.0
"""How long finding the host, connecting and the TLS handshake may take together."""

KEEP_ALIVE_S: Final = 30.0
"""How long an idle connection is kept: below the 60 s after which common load balancers drop theirs without a word."""

ANSWER: Final = "aiohttp_response"
"""Extension of an httpx2 response under which the aiohttp response travels."""


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of one httpx2 client, in the event loop that sends the first of them."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self._endpoint = endpoint
        self._timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S_MAX, sock_read=limits.stream_idle_s_max)
        self._tls = httpx2.create_ssl_context()
        self._session: aiohttp.ClientSession | None = None
        self._finalizer: (
            weakref.finalize[[aiohttp.ClientSession, asyncio.AbstractEventLoop], AiohttpTransport] | None
        ) = None
        self._proxies = urllib.request.getproxies()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends one request and returns as soon as the head of the answer is there.

        Raises:
            BackendError: the provider refused; classified by status and body.
            aiohttp.ClientError, TimeoutError: the way to the provider failed.
        """
        if self._session is None:
            self._session = self._open_session()
        headers = dict(request.headers)
        # A compressed event stream arrives in lumps: the compressor holds back what it has not yet filled a block with.
        headers["accept-encoding"] = "identity"
        body = await request.aread()
        answer = await self._sent(self._session, request, headers, body)
        try:
            return await self._translated(answer)
        except BaseException:
            answer.close()
            raise

    async def _sent(
        self, session: aiohttp.ClientSession, request: httpx2.Request, headers: dict[str, str], body: bytes
    ) -> aiohttp.ClientResponse:
        while True:
            attempt = _Attempt()
            try:
                return await session.request(
                    request.method,
                    # httpx2 has made a header of credentials in the address; aiohttp would refuse to have both.
                    str(request.url.copy_with(userinfo=b"")),
                    # A buffer is sent in pieces, between which the event loop serves others.
                    data=io.BytesIO(body) if body else None,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                    proxy=self._proxy_for(request.url),
                    trace_request_ctx=attempt,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A kept connection that the other side has closed meanwhile (llama.cpp does it behind every stream, without a
                # word) tells nothing about the server: the request goes out again, at the latest on a new connection.
                if not attempt.is_reused:
                    raise

    async def aclose(self) -> None:
        """Closes the connections. Idempotent."""
        if self._finalizer is not None:
            self._finalizer.detach()
        if self._session is not None:
            await self._session.close()

    def abandon(self) -> None:
        """Closes what is left when the event loop of the connections is closed already. Idempotent."""
        if self._finalizer is not None:
            self._finalizer()

    async def _translated(self, answer: aiohttp.ClientResponse) -> httpx2.Response:
        # The body is decompressed by aiohttp, so its encoding must not be named again.
        headers = [
            (name, value)
            for name, value in answer.raw_headers
            if name.lower() not in {b"content-encoding", b"content-length", b"transfer-encoding"}
        ]
        is_redirection = answer.status >= HTTPStatus.MULTIPLE_CHOICES and "location" in answer.headers
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES and not is_redirection:
            fault = fault_of_body(await read_at_most(answer, BODY_BYTES_MAX), status=answer.status)
            raise classified(fault, self._endpoint, {name.lower(): value for name, value in answer.headers.items()})
        if is_redirection:
            # Only the head of a redirection is of interest; httpx2 follows it.
            answer.close()
            return httpx2.Response(answer.status, headers=headers)
        return httpx2.Response(answer.status, headers=headers, stream=_Body(answer), extensions={ANSWER: answer})

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=KEEP_ALIVE_S)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        # Providers' cookies pin clients to machines; no conversation should depend on that.
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace])
        self._finalizer = weakref.finalize(self, _let_go, session, asyncio.get_running_loop())
        return session

    def _proxy_for(self, url: httpx2.URL) -> str | None:
        found = self._proxies.get(url.scheme) or self._proxies.get("all")
        # No proxy reaches the loopback interface of this machine, whatever NO_PROXY forgets.
        if not found or is_loopback(url.host) or urllib.request.proxy_bypass(url.netloc.decode("ascii")):
            return None
        proxy = found if "://" in found else f"http://{found}"
        scheme = proxy.partition("://")[0]
        if scheme not in {"http", "https"}:
            raise BackendRejected(
                f"the environment names a {scheme} proxy, and only http and https proxies are supported",
                hint="set HTTPS_PROXY to an http proxy, or NO_PROXY to the provider's host",
            )
        return proxy


class _Attempt:
    """One sending of a request."""

    is_reused = False


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    del session, params
    context.trace_request_ctx.is_reused = True


class _Body(httpx2.AsyncByteStream):
    """The body as httpx2 wants it: for closing. Nobody reads through it."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def aclose(self) -> None:
        """Gives the connection back if the body was read to its end, else closes it. Does not wait for anything."""
        self._answer.close()


def is_loopback(host: str) -> bool:
    """Returns whether the host of a URL is this machine's loopback interface."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def read_at_most(answer: aiohttp.ClientResponse, bytes_max: int) -> bytes:
    """Returns the beginning of the body."""
    pieces = []
    missing = bytes_max
    while missing > 0 and (piece := await answer.content.read(missing)):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def _let_go(session: aiohttp.ClientSession, loop: asyncio.AbstractEventLoop) -> None:
    """Closes a session whose owner is gone. Runs in the garbage collector's thread, whichever that is, or at exit."""
    if loop.is_closed():
        # A closed loop leaves nothing to wait for: the coroutine ends at its first step.
        _step(session)
    else:
        loop.call_soon_threadsafe(_step, session)


def _step(session: aiohttp.ClientSession) -> None:
    closing = session.close()
    try:
        closing.send(None)
    except StopIteration:
        return
    # What is left is only waiting for sockets to say goodbye.
    closing.close()
