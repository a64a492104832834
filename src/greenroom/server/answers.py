"""What a request is answered with, as ASGI messages.

Rule: an answer is complete before it is sent, and goes to the connection in pieces, as its client reads them. What goes on and on
is a `streaming.Stream`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from greenroom.large import LARGE_BYTES, encoded, encoder
from greenroom.large_thread import in_thread

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PIECE_BYTES: Final = 16 * 1024
"""What is given to a connection at a time; and what may wait in it before the next piece has to wait."""


class Answer(Protocol):
    """Something that can be sent."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        ...

    @property
    def headers(self) -> dict[str, str]:
        """Headers in lower case; whoever passes the answer on may add some."""
        ...

    async def send_to(self, receive: Receive, send: Send) -> None:
        """Sends it whole."""
        ...


class Data:
    """Bytes of a media type.

    Attributes:
        holding: left when the client was given everything.
    """

    def __init__(
        self, body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.body = body
        self.holding: AbstractContextManager[object] = nullcontext()
        self.headers = {"content-type": media_type, "cache-control": "no-store"} | dict(headers or {})

    async def send_to(self, receive: Receive, send: Send) -> None:
        """Sends it whole."""
        del receive
        self.headers["content-length"] = str(len(self.body))
        with self.holding:
            await send({"type": "http.response.start", "status": self.status, "headers": raw_headers(self.headers)})
            for piece in pieces(self.body):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


class Json(Data):
    """A value as JSON."""

    def __init__(self, value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(encoder.encode(value), "application/json", status=status, headers=headers)


async def large_json(weight: int, make: Callable[[], Any]) -> Data:
    """Returns a value as JSON, made and written in a thread if it is large; `weight` is about its size in bytes."""
    if weight <= LARGE_BYTES:
        return Json(make())
    return Data(await in_thread(weight, lambda: encoded(make())), "application/json")


class Empty:
    """An answer that has no body: 204, 303, 304."""

    def __init__(self, status: int = 204, *, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.headers = {"cache-control": "no-store"} | dict(headers or {})

    async def send_to(self, receive: Receive, send: Send) -> None:
        """Sends it whole."""
        del receive
        if self.status not in {204, 304}:
            self.headers["content-length"] = "0"
        await send({"type": "http.response.start", "status": self.status, "headers": raw_headers(self.headers)})
        await send({"type": "http.response.body", "body": b""})


def pieces(body: bytes) -> Iterator[bytes]:
    """Returns a body as it goes to a connection."""
    if len(body) <= PIECE_BYTES:
        yield body
        return
    for start in range(0, len(body), PIECE_BYTES):
        yield body[start : start + PIECE_BYTES]


def joined_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Returns the headers of a request by lower-case name. Lines of one name are one list, in their order (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("latin-1"), value.decode("latin-1")
        if key in found:
            text = f"{found[key]}{'; ' if key == 'cookie' else ', '}{text}"
        found[key] = text
    return found


def raw_headers(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Returns headers as ASGI wants them."""
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]
