"""One connection: uvicorn's, with bounds on what a client may send before anybody looks at it, on what may wait to be read by it,
and on how long either may take.

Rule: a connection that is refused here costs its buffers and nothing more, and is told why as everywhere: in JSON.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from greenroom.large import encoder
from greenroom.limits import Limits
from greenroom.server.answers import PIECE_BYTES
from greenroom.server.proxies import counted
from greenroom.server.refusal import RETRY_AFTER_S, error_body

logger: Final = logging.getLogger("greenroom.server")

_AROUND_A_BYTE: Final = 8
"""What a client that sends its body byte by byte sends around each: its length, two ends of lines, and room for a longer length."""
_LINGER_S: Final = 1.0
"""How long a client that is refused may go on sending, unheard, while it reads why."""
_CLOSES: Final = b"content-type: application/json\r\nconnection: close\r\n"


class BoundedConnection(HttpToolsProtocol):
    """A connection with limits.

    Attributes:
        limits, by_client, is_exempt: set on a subclass that belongs to one server: its bounds, how many connections each address
            has (of IPv6, each network), and which addresses may have any number.
    """

    limits: Limits
    by_client: Counter[str]
    is_exempt: Callable[[str], bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Takes the connection, unless there are too many."""
        super().connection_made(transport)
        self._is_in_head = True
        self._head_bytes = 0
        self._around_body_bytes = 0
        self._is_refused = False
        self._timer: asyncio.TimerHandle | None = None
        self._unread_timer: asyncio.TimerHandle | None = None
        self._set_timer()
        transport.set_write_buffer_limits(high=PIECE_BYTES)
        address = _address_of(transport)
        self._client = counted(address)
        self.by_client[self._client] += 1
        if len(self.connections) > self.limits.connections_max:
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE, "too_many_connections", "the server has no room for another connection"
            )
        elif self.by_client[self._client] > self.limits.connections_per_address_max and not type(self).is_exempt(
            address
        ):
            self._refuse(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "too_many_connections",
                f"{self.limits.connections_per_address_max} connections of this address are open already",
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Lets go of it."""
        self._stop_timer()
        self._stop_unread_timer()
        self.by_client[self._client] -= 1
        if not self.by_client[self._client]:
            del self.by_client[self._client]
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Too much waits to be read: whoever writes has to wait, and the client has its time."""
        super().pause_writing()
        self._start_unread_timer()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        self._stop_unread_timer()
        if self.transport.is_closing():
            self._start_unread_timer()

    def data_received(self, data: bytes) -> None:
        """Reads on, but of the first line and the headers no more than the bound; nor of what stands around a body in pieces."""
        while data and self._is_in_head and not self._is_over:
            room = self.limits.request_headers_bytes_max - self._head_bytes
            piece, data = data[:room], data[room:]
            self._head_bytes += len(piece)
            super().data_received(piece)
            if self._is_in_head and self._head_bytes >= self.limits.request_headers_bytes_max:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "limit_exceeded",
                    f"the first line and the headers have more than {self.limits.request_headers_bytes_max} bytes",
                )
        if data and not self._is_over:
            self._around_body_bytes += len(data)
            super().data_received(data)
            if self._around_body_bytes > self.limits.request_headers_bytes_max:
                self._refuse(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "limit_exceeded",
                    f"around the pieces of the body there are more than {self.limits.request_headers_bytes_max} bytes",
                )

    def on_message_begin(self) -> None:
        """A request begins: the next of its connection has as long as the first."""
        super().on_message_begin()
        self._set_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header. What comes behind a body is no header of ours (RFC 9110, 6.5.1): nobody waits for it."""
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The headers are complete: what follows is the application's to bound."""
        self._is_in_head, self._around_body_bytes = False, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body has come, and pays for what stood around it."""
        self._around_body_bytes = max(0, self._around_body_bytes - _AROUND_A_BYTE * len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete; another may follow."""
        super().on_message_complete()
        self._stop_timer()
        self._is_in_head, self._head_bytes, self._around_body_bytes = True, 0, 0

    def on_response_complete(self) -> None:
        """The answer is complete. If its request is not, the rest of it has as long as another request."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_unread_timer()
        elif not self._is_in_head:
            self._set_timer()

    def timeout_keep_alive_handler(self) -> None:
        """No other request has come."""
        super().timeout_keep_alive_handler()
        self._start_unread_timer()

    def send_400_response(self, msg: str) -> None:
        """Says that what came is not HTTP."""
        self._refuse(HTTPStatus.BAD_REQUEST, "malformed_request", msg)

    @property
    def _is_over(self) -> bool:
        """Whether nothing that comes is looked at any more."""
        return self._is_refused or self.transport.is_closing()

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.limits.request_read_s_max, self._is_too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _is_too_slow(self) -> None:
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the request took too long to arrive")

    def _start_unread_timer(self) -> None:
        """Gives the client its time to read; closing a connection too waits until everything was."""
        if self._unread_timer is None:
            self._unread_timer = self.loop.call_later(self.limits.unread_s_max, self._drop)

    def _stop_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _drop(self) -> None:
        logger.info("a client does not read: dropped")
        self.transport.abort()

    def _refuse(self, status: HTTPStatus, code: str, message: str) -> None:
        if self._is_over:
            return
        cycle = self.cycle
        is_answering = cycle is not None and cycle.response_started and not cycle.response_complete
        is_answered = cycle is not None and cycle.response_complete and not self._is_in_head
        if not (is_answering or is_answered):
            body = encoder.encode(error_body(code, message, None))
            retry = f"retry-after: {RETRY_AFTER_S}\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
            head = f"HTTP/1.1 {status.value} {status.phrase}\r\n{retry}content-length: {len(body)}\r\n"
            self.transport.write(head.encode() + _CLOSES + b"\r\n" + body)
        self._start_unread_timer()
        if status == HTTPStatus.SERVICE_UNAVAILABLE or not self.transport.can_write_eof():
            self.transport.close()
            return
        # Closed at once, with something unread, the system would take the answer back from a client that has not read it.
        self._is_refused = True
        self._stop_timer()
        self.transport.write_eof()
        self._timer = self.loop.call_later(_LINGER_S, self.transport.close)


def bounded(limits: Limits, *, is_exempt: Callable[[str], bool]) -> Any:
    """Returns the class of the connections of a server.

    Args:
        limits: of the server.
        is_exempt: tells of an address whether many clients come from it: a proxy.
    """
    members = {"limits": limits, "by_client": Counter(), "is_exempt": staticmethod(is_exempt)}
    return type("Connection", (BoundedConnection,), members)


def _address_of(transport: asyncio.Transport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) and peer else ""  # a Unix socket has none
