"""HTTP to one endpoint from one event loop, over aiohttp.

aiohttp's response itself is handed on, so that a body is read without any layer in between. Failures are reported as aiohttp does,
undamaged; of a refusal no more is read than its bound; the session closes itself, so that a process which never closes anything
still ends without complaints; and nobody waits for a free connection.

Rule: import this module late: it loads aiohttp.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import urllib.request
import weakref
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from types import SimpleNamespace
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp

from greenroom.backends.faults import BODY_BYTES_MAX, Endpoint, classified, fault_of_body
from greenroom.errors import BackendRejected
from greenroom.limits import Limits

CONNECT_S_MAX: Final = 15.0
"""How long finding the host, connecting and the TLS handshake may take together."""

KEEP_ALIVE_S: Final = 30.0
"""How long an idle connection is kept: below the 60 s after which common load balancers drop theirs without a word."""

REDIRECTIONS_MAX: Final = 10
"""Redirections of one request, one after the other."""

_WHOLE_BYTES_MAX: Final = 64 * 1024
_KEEPS_METHOD: Final = frozenset({HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})


class Connections:
    """Sends requests in the event loop that sends the first of them. Making one reads certificates: not for an event loop."""

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        self._endpoint = endpoint
        self._timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S_MAX, sock_read=limits.stream_idle_s_max)
        # As the SDKs do it: SSL_CERT_FILE, then the certificates of the system, wherever it has them.
        self._tls = _tls_context() if endpoint.base_url.startswith("https:") else True
        self._proxies = urllib.request.getproxies()
        self._session: aiohttp.ClientSession | None = None
        self._finalizer: weakref.finalize[[aiohttp.ClientSession, asyncio.AbstractEventLoop], Connections] | None = None

    async def get(self, url: str, *, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Gets, follows redirections, and returns as soon as the head of the answer is there.

        Raises:
            BackendError, aiohttp.ClientError, TimeoutError: as `post`.
        """
        return await self._followed("GET", url, headers=headers, body=None)

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> aiohttp.ClientResponse:
        """Posts `body`, follows redirections, and returns as soon as the head of the answer is there.

        Raises:
            BackendError: the provider refused; classified by status and body.
            aiohttp.ClientError, TimeoutError: the way to the provider failed.
        """
        return await self._followed("POST", url, headers=headers, body=body)

    async def _followed(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        for _ in range(REDIRECTIONS_MAX + 1):
            answer = await self.send(method, url, headers=headers, body=body)
            if answer.status < HTTPStatus.MULTIPLE_CHOICES:
                return answer
            target = urljoin(url, answer.headers["location"])
            if answer.status not in _KEEPS_METHOD and body is not None:
                # Followed to the letter, the request would become a GET without its body: what comes back is no answer.
                raise BackendRejected(
                    f"{self._endpoint.shown_url} answered {answer.status}: it has moved",
                    hint=f"set {self._endpoint.base_url_variable} to the new address, {_shown(target)}",
                )
            if _origin(urlsplit(target)) != _origin(urlsplit(url)):
                headers = {name: value for name, value in headers.items() if name.lower() not in _SECRETS}
            url = target
        where = self._endpoint.shown_url
        hint = f"check the network, and {self._endpoint.base_url_variable} if it is set"
        raise BackendRejected(f"{where} sends from one address to the next without end", hint=hint)

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """Sends one request; returns an answer, or a redirection, whose body is closed.

        Raises:
            BackendError, aiohttp.ClientError, TimeoutError: as `post`.
        """
        answer = await self._sent(method, url, headers, body)
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return answer
        try:
            if "location" in answer.headers:
                return answer
            fault = fault_of_body(await read_at_most(answer, BODY_BYTES_MAX), status=answer.status)
        finally:
            answer.close()
        raise classified(fault, self._endpoint, {name.lower(): value for name, value in answer.headers.items()})

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

    async def _sent(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open_session()
        while True:
            attempt = _Attempt()
            # In pieces, between which the event loop serves others. Not as a `BytesIO`, of which aiohttp makes a copy to measure it.
            data = _pieces(body) if body and len(body) > _WHOLE_BYTES_MAX else body
            if body and data is not body:
                headers = {**headers, "content-length": str(len(body))}
            try:
                return await session.request(
                    method,
                    url,
                    data=data,
                    headers=headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                    proxy=self._proxy_for(url) if self._proxies else None,
                    trace_request_ctx=attempt,
                )
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                # A kept connection that the other side has closed meanwhile (llama.cpp does it behind every stream, without a
                # word) tells nothing about the server: the request goes out again, at the latest on a new connection.
                if not attempt.is_reused:
                    raise

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls, keepalive_timeout=KEEP_ALIVE_S)
        trace = aiohttp.TraceConfig()
        trace.on_connection_reuseconn.append(_note_reuse)
        # Providers' cookies pin clients to machines; no conversation should depend on that.
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[trace])
        self._finalizer = weakref.finalize(self, _let_go, session, asyncio.get_running_loop())
        self._session = session
        return session

    def _proxy_for(self, url: str) -> str | None:
        parts = urlsplit(url)
        found = self._proxies.get(parts.scheme) or self._proxies.get("all")
        host = parts.netloc.rpartition("@")[2]
        # No proxy reaches the loopback interface of this machine, whatever NO_PROXY forgets.
        if not found or is_loopback(parts.hostname or "") or urllib.request.proxy_bypass(host):
            return None
        proxy = found if "://" in found else f"http://{found}"
        scheme = proxy.partition("://")[0]
        if scheme not in {"http", "https"}:
            raise BackendRejected(
                f"the environment names a {scheme} proxy, and only http and https proxies are supported",
                hint="set HTTPS_PROXY to an http proxy, or NO_PROXY to the provider's host",
            )
        return proxy


_SECRETS: Final = frozenset({"authorization", "x-api-key", "api-key"})


class _Attempt:
    """One sending of a request."""

    is_reused = False


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    del session, params
    context.trace_request_ctx.is_reused = True


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


def _tls_context() -> ssl.SSLContext:
    import httpx2

    return httpx2.create_ssl_context()


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


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


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _WHOLE_BYTES_MAX):
        yield body[start : start + _WHOLE_BYTES_MAX]
