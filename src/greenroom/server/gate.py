"""What a request must be before anybody looks at what it wants: to this host, from this origin, of a bearable size.

A page of another origin must reach nothing through a browser that is logged in here, and must not log it in. Three things see to
that, each enough by itself for most: the cookie is SameSite=Strict; a request that says it comes from elsewhere is refused; and a
change needs a media type that no form can send. A configured origin may call with a token of its own, never with the cookie. The
check of the host stops names that point to this machine (DNS rebinding).

Rule: decides from headers alone; what is refused here has changed nothing.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Final
from urllib.parse import urlsplit

from greenroom.errors import InvalidConfig, LimitExceeded
from greenroom.json_scan import JsonScan
from greenroom.large import LARGE_BYTES
from greenroom.server.access import Principal
from greenroom.server.answers import Receive, Scope
from greenroom.server.operation import Operation
from greenroom.server.proxies import is_secure
from greenroom.server.refusal import RETRY_AFTER_S, Refusal
from greenroom.settings import Settings

JSON: Final = "application/json"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_PORTS: Final = {"http": 80, "https": 443}
_CORS_AGE_S: Final = 600
ALLOWED_HEADERS: Final = (
    *("authorization", "cache-control", "content-type", "if-none-match", "last-event-id", "prefer"),
    *("x-ai-sdk-version", "x-request-id", "x-run-id"),
)
"""What a page of a configured origin may send: what this server reads, and what the EventSource of libraries sends beside it."""
EXPOSED_HEADERS: Final = (
    *("content-disposition", "etag", "location", "retry-after"),
    *("x-greenroom-ignored", "x-request-id", "x-turn-id", "x-vercel-ai-ui-message-stream"),
)
"""What a page of a configured origin may read."""
_ONCE: Final = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"last-event-id",
        b"sec-fetch-site",
        b"sec-fetch-mode",
    }
)


class Gate:
    """The checks, as the settings want them.

    Raises:
        InvalidConfig: an origin or a host in the settings is none, and would match nothing.
    """

    def __init__(self, settings: Settings) -> None:
        self._limits = settings.limits
        self._held: Counter[str] = Counter()
        self._origins = frozenset(map(_origin, settings.server.origins))
        named = set(map(_host, settings.server.hosts))
        own = settings.host.lower()
        # Whoever listens to other machines is reached under names that only the operator knows; there a token protects.
        self._any_host = "*" in named or (not named and not is_loopback(own))
        self._hosts = named | _LOOPBACK_NAMES | {own, f"[{own}]"}

    def check_once(self, scope: Scope) -> None:
        """Accepts a request that says once what can be only one: of two, a proxy in front may have believed the other.

        Raises:
            Refusal: 400.
        """
        names = [name for name, _ in scope["headers"] if name in _ONCE]
        if len(names) != len(set(names)):
            twice = next(name for name in names if names.count(name) > 1).decode("latin-1")
            raise Refusal(400, "malformed_request", f"the header {twice} came more than once", hint="send it once")

    def check_host(self, headers: Mapping[str, str]) -> None:
        """Accepts a request that is meant for this server.

        Raises:
            Refusal: 403.
        """
        host = headers.get("host", "").lower()
        if self._any_host or host in self._hosts or _without_port(host) in self._hosts:
            return
        raise Refusal(
            403,
            "forbidden_host",
            f"this server is not {host[:100]!r}",
            hint="name the host in `server.hosts` of greenroom.toml",
        )

    def check_origin(self, scope: Scope, headers: Mapping[str, str]) -> str | None:
        """Accepts a request of a page of ours, of a configured origin, or of no page; returns a configured origin.

        Raises:
            Refusal: 403.
        """
        origin = headers.get("origin")
        if origin is None:
            site = headers.get("sec-fetch-site")
            is_navigation = headers.get("sec-fetch-mode") == "navigate" and scope["method"] in SAFE_METHODS
            if site in {"cross-site", "same-site"} and not is_navigation:
                raise _forbidden_origin("another site")
            return None
        origin = origin.lower()
        if origin in self._origins:
            return origin
        if _is_same(origin, headers.get("host", "")):
            return None
        raise _forbidden_origin(repr(origin[:100]))

    def cors_headers(self, origin: str) -> dict[str, str]:
        """Returns what lets a page of a configured origin read the answer."""
        return {
            "access-control-allow-origin": origin,
            "access-control-expose-headers": ", ".join(EXPOSED_HEADERS),
            "vary": "origin",
        }

    def preflight_headers(self, origin: str) -> dict[str, str]:
        """Returns what allows a page of a configured origin to ask."""
        return self.cors_headers(origin) | {
            "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
            "access-control-allow-headers": ", ".join(ALLOWED_HEADERS),
            "access-control-max-age": str(_CORS_AGE_S),
        }

    def check_own_page(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Accepts a request of a page of this server, or of no page: what only those may ask for, with whatever credential.

        Raises:
            Refusal: 403.
        """
        if "origin" in headers:
            if not _is_own(headers["origin"], scope, headers):
                raise _not_own_page()
        elif headers.get("sec-fetch-site", "same-origin") != "same-origin":
            raise _not_own_page()

    def check_forgery(self, scope: Scope, headers: Mapping[str, str], principal: Principal) -> None:
        """Accepts a change that a browser asks for with its cookie only if a page of ours made it do so.

        Raises:
            Refusal: 403.
        """
        if principal.by == "header" or scope["method"] in SAFE_METHODS:
            return
        if "origin" not in headers and "sec-fetch-site" not in headers:
            raise _not_own_page()
        self.check_own_page(scope, headers)

    def check_media_type(self, operation: Operation, headers: Mapping[str, str]) -> None:
        """Accepts a body of the media type that the operation takes.

        Raises:
            Refusal: 415.
        """
        given = headers.get("content-type", "").partition(";")[0].strip().lower()
        has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        taken = operation.raw_body or (JSON,)
        if (has_body or given) and given not in taken and "*/*" not in taken:
            raise Refusal(
                415,
                "unsupported_media_type",
                f"the body is {given[:80]!r}" if given else "the body has no content-type",
                hint=f"send {' or '.join(taken)}",
            )
        coding = headers.get("content-encoding", "identity").strip().lower()
        if has_body and coding not in {"identity", ""}:
            raise Refusal(415, "unsupported_encoding", f"the body is packed ({coding[:40]!r})", hint="send it as it is")

    async def body(
        self, operation: Operation, headers: Mapping[str, str], receive: Receive, *, whose: str, holding: ExitStack
    ) -> bytes | bytearray:
        """Returns the whole body, which counts among those in memory until `holding` is left.

        A large one is the array in which it was collected: a copy of thirty megabytes would stop everybody.

        Args:
            operation: what is asked.
            headers: of the request.
            receive: of ASGI.
            whose: the user, or the address of a client that is not known.
            holding: left when the request is answered.

        Raises:
            Refusal: 413 when it is too large, or is JSON of too many or too deep values, which is known before it is decoded; 408 when it takes too long, 400 when the client leaves, 429 when
                too many bodies of the same client are in memory, 503 when of all together.
        """
        bytes_max = self._bytes_max(operation)
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > bytes_max:
            raise _too_large(bytes_max)
        body = bytearray()
        held = 0
        holding.callback(lambda: self._let_go(whose, held))
        scan = None if operation.raw_body else JsonScan("the body", values_max=self._limits.json_values_max)
        try:
            async with asyncio.timeout(self._limits.request_read_s_max):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "client_left", "the client left in the middle of its request")
                    piece = message.get("body", b"")
                    self._hold(whose, len(piece), held)
                    held += len(piece)
                    if held > bytes_max:
                        raise _too_large(bytes_max)
                    if scan is not None:
                        _count(scan, piece)
                    body += piece
                    if not message.get("more_body", False):
                        return body if held > LARGE_BYTES else bytes(body)
        except TimeoutError as error:
            raise Refusal(
                408, "request_timeout", "the request took too long to arrive", headers={"connection": "close"}
            ) from error

    def _hold(self, whose: str, size: int, held_by_this: int) -> None:
        """Counts a piece of a body. A single body may always be as large as its route takes; further ones share what is one client's."""
        retry = {"retry-after": str(RETRY_AFTER_S), "connection": "close"}
        theirs = self._held[whose]
        if theirs > held_by_this and theirs + size > self._limits.request_bodies_per_user_bytes_max:
            raise Refusal(
                429,
                "too_many_bodies",
                f"{theirs} bytes of your requests are already being received or answered",
                hint="let those finish first",
                headers=retry,
            )
        if self._held.total() + size > self._limits.request_bodies_bytes_max:
            raise Refusal(503, "too_many_bodies", "the server has no room for another request", headers=retry)
        self._held[whose] += size

    def _let_go(self, whose: str, size: int) -> None:
        self._held[whose] -= size
        if not self._held[whose]:
            del self._held[whose]

    def _bytes_max(self, operation: Operation) -> int:
        size: int = getattr(self._limits, operation.bytes_limit)
        return size


def is_loopback(host: str) -> bool:
    """Returns whether only this machine reaches a server that listens at `host`."""
    if host.lower() in _LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _without_port(host: str) -> str:
    name, _, port = host.rpartition(":")
    return name if name and port.isdigit() and (":" not in name or name.endswith("]")) else host


def _is_same(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False  # an address in brackets that is none
    return parts.scheme in {"http", "https"} and parts.netloc == host.lower()


def _is_own(origin: str, scope: Scope, headers: Mapping[str, str]) -> bool:
    """Returns whether an origin is that of a page of this server; one without TLS is not where this server has TLS."""
    origin = origin.lower()
    return _is_same(origin, headers.get("host", "")) and not (
        is_secure(scope, headers) and origin.startswith("http://")
    )


def _origin(text: str) -> str:
    """Returns an origin as browsers write it.

    Raises:
        InvalidConfig: it is none.
    """
    wrong = InvalidConfig(
        f"server.origins: {text[:100]!r} is not an origin",
        hint="write scheme, host and port, as https://app.example.com, each by itself: there are no wildcards, because a page that "
        "may call this server can do what its user can",
    )
    try:
        parts = urlsplit(text.strip().rstrip("/"))
        port = parts.port
        host = (parts.hostname or "").encode("idna" if parts.scheme in _PORTS else "utf-8").decode()
    except (ValueError, UnicodeError) as error:
        raise wrong from error
    has_more = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if not parts.scheme or not host or has_more or "*" in host or any(map(str.isspace, host)):
        raise wrong
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port is not None and _PORTS.get(parts.scheme) != port else "")


def _host(text: str) -> str:
    """Returns a host as requests name it.

    Raises:
        InvalidConfig: it is none.
    """
    name = text.strip().lower()
    if name != "*" and (not name or any(character in "/*@?#" or character.isspace() for character in name)):
        raise InvalidConfig(
            f"server.hosts: {text[:100]!r} is not the name of a host",
            hint="write names as agents.example.com, without scheme and path, or `*` alone for any",
        )
    return name


def _not_own_page() -> Refusal:
    return Refusal(
        403,
        "forbidden_origin",
        "only pages of this server may use the cookie, log in or log out",
        hint="other programs send `Authorization: Bearer <token>`; a proxy has to pass the header Host unchanged",
    )


def _forbidden_origin(whose: str) -> Refusal:
    return Refusal(
        403,
        "forbidden_origin",
        f"a page of {whose} may not call this server",
        hint="name its origin in `server.origins` of greenroom.toml",
    )


def _count(scan: JsonScan, piece: bytes) -> None:
    try:
        scan.feed(piece)
    except LimitExceeded as error:
        # The rest of the body is not read: closing is what tells the client to stop sending it.
        raise Refusal(413, error.code, error.message, hint=error.hint, headers={"connection": "close"}) from error


def _too_large(bytes_max: int) -> Refusal:
    return Refusal(413, "limit_exceeded", f"the body has more than {bytes_max} bytes", headers={"connection": "close"})
