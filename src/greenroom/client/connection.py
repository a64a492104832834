"""Requests to one server, repeated where that is harmless and may help.

Rule: a request is repeated only if the server would do the same thing once more, or nothing: reading, and sending a message that
carries the id of its turn.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, Self

import aiohttp
import msgspec

from greenroom import errors
from greenroom.client.frames import FrameDecoder, WireFrame
from greenroom.errors import GreenroomError, LimitExceeded

_FIRST_PAUSE_S: Final = 0.1
_PAUSE_S_MAX: Final = 5.0
_SILENCE_S_MAX: Final = 45.0
"""A server says something every 15 seconds, if only that it is there."""
_LATER: Final = frozenset({429, 502, 503, 504})


class ServerUnavailable(GreenroomError):
    """The server cannot be reached, or does not answer now. Repeating later may help.

    Attributes:
        retry_after_s: seconds after which it wants to be asked again, or `None`.
    """

    code = "server_unavailable"
    status_hint = 503

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class Connection:
    """One server, asked as one user.

    Args:
        url: of the server.
        token: what it asks for; `None` if it is in front of a proxy that adds it.
        patience_s: how long a server may be away before a request fails.
    """

    def __init__(self, url: str, token: str | None, *, patience_s: float) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        self._patience_s = patience_s
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Closes all connections. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        data: bytes | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        is_repeatable: bool | None = None,
    ) -> tuple[bytes, str]:
        """Returns the body of an answer, and its media type.

        Raises:
            GreenroomError: what the server refuses, as the manager would; `ServerUnavailable` if there is no answer.
        """
        repeats = method in {"GET", "PUT", "DELETE"} if is_repeatable is None else is_repeatable
        waiting = Patience(self._patience_s if repeats else 0.0)
        while True:
            try:
                async with self._answer(method, path, body, data, query, headers or {}) as response:
                    return await response.read(), response.content_type
            except ServerUnavailable as error:
                await waiting.wait(error)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                await waiting.wait(_unreachable(self._url, error))

    async def frames(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, Any] | None = None,
        last_event_id: str | None = None,
    ) -> AsyncGenerator[WireFrame, None]:
        """Yields the frames of one response, to its end: its own, or that of the connection.

        Raises:
            GreenroomError: as `ask`.
        """
        given = {"last-event-id": last_event_id} if last_event_id else {}
        decoder = FrameDecoder()
        try:
            async with self._answer(method, path, body, None, query, given) as response:
                async for piece in response.content.iter_any():
                    for frame in decoder.feed(piece):
                        yield frame
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _unreachable(self._url, error) from error

    @asynccontextmanager
    async def _answer(  # noqa: PLR0917 - all of a request
        self,
        method: str,
        path: str,
        body: Any,
        data: bytes | None,
        query: Mapping[str, Any] | None,
        headers: Mapping[str, str],
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0, sock_read=_SILENCE_S_MAX)
            # As many connections as somebody wants streams; the server has the limits.
            self._session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        given = {**self._headers, **headers}
        content = data
        if data is not None:
            given.setdefault("content-type", "application/octet-stream")
        elif method in {"POST", "PATCH"}:
            content = msgspec.json.encode(body if body is not None else {})
            given["content-type"] = "application/json"
        params = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        from yarl import URL

        url = URL(self._url + path, encoded=True).update_query(params)
        async with self._session.request(method, url, data=content, headers=given, allow_redirects=False) as response:
            if response.status >= 300:  # noqa: PLR2004 - a redirection is no answer of ours either
                raise await _refused(response)
            yield response


class Patience:
    """Waits longer and longer, and gives up when it has waited long enough without anything new."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self.begin_anew()

    def begin_anew(self) -> None:
        """Something has come."""
        self._waited_s = 0.0
        self._pause_s = _FIRST_PAUSE_S

    async def wait(self, error: ServerUnavailable) -> None:
        """Waits before the next attempt.

        Raises:
            ServerUnavailable: `error`, when there is no patience left.
        """
        pause_s = self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        pause_s = max(pause_s, min(error.retry_after_s or 0.0, self._patience_s))
        if self._waited_s + pause_s > self._patience_s:
            raise error
        self._waited_s += pause_s
        self._pause_s = min(self._pause_s * 2, _PAUSE_S_MAX)
        await asyncio.sleep(pause_s)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unreachable(url: str, error: BaseException) -> ServerUnavailable:
    unreachable = ServerUnavailable(
        f"{url} cannot be reached: {type(error).__name__}", hint="start it with `greenroom serve`, or check the address"
    )
    unreachable.__cause__ = error
    return unreachable


async def _refused(response: aiohttp.ClientResponse) -> GreenroomError:
    text = await response.content.read(64 * 1024)
    try:
        told = msgspec.json.decode(text)["error"]
        code, message, hint = str(told["code"]), str(told["message"]), told.get("hint")
    except (msgspec.DecodeError, LookupError, TypeError, AttributeError, UnicodeDecodeError):
        code, message, hint = "", f"the server answered {response.status}", "is this a Greenroom server?"
    # What the manager raises for a reason that lasts keeps its own class, also where its status sounds like weather.
    kind = _KINDS.get(code)
    if response.status in _LATER and (kind is None or issubclass(kind, errors.ManagerClosed | errors.EventLogError)):
        after = response.headers.get("retry-after", "")
        return ServerUnavailable(message, hint=hint, retry_after_s=float(after) if after.isdigit() else None)
    return raised_as(code, message, hint, status=response.status)


def raised_as(code: str, message: str, hint: str | None, *, status: int = 0) -> GreenroomError:
    """Returns the error of a code, as the manager would have raised it."""
    kind = _KINDS.get(code) or (LimitExceeded if status == 413 else GreenroomError)  # noqa: PLR2004 - too large
    error = kind.__new__(kind, message)
    # Constructors of some have arguments of their own, which did not travel.
    GreenroomError.__init__(error, message, hint=hint)
    if kind is GreenroomError:
        error.__dict__.update(code=code or "internal_error", status_hint=status or 500)
    return error


def _kinds(kind: type[GreenroomError]) -> dict[str, type[GreenroomError]]:
    found = {} if kind is GreenroomError else {kind.code: kind}
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            found = _kinds(below) | found
    return found


_KINDS: Final = _kinds(GreenroomError)
