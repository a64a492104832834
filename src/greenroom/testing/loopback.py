"""What the doubles of providers have in common as servers: paths on the loopback interface, streamed answers, who came and left.

Rule: knows no dialect. It listens on 127.0.0.1 only, on a port that is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, Final

from aiohttp import web

__all__ = ["Broken", "Loopback"]

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""Answers a request."""

EVENT_STREAM: Final = {"content-type": "text/event-stream; charset=utf-8"}


class Broken(Exception):
    """Raised by what is streamed: the connection breaks here, as when a machine on the way dies."""


class Loopback:
    """The server.

    Attributes:
        headers: of all requests, with lower-case names.
        connections: connections that were opened.
        left: set each time a client leaves in the middle of an answer.
    """

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str]] = []
        self.connections = 0
        self.left = asyncio.Event()
        self._routes: list[tuple[str, str, Serve]] = []
        self._peers: set[Any] = set()
        self._runner: web.AppRunner | None = None
        self._port = 0

    def route(self, method: str, path: str, serve: Serve) -> None:
        """Has `serve` answer requests to `path`. Before it starts."""
        self._routes.append((method, path, serve))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Starts to listen.

        Raises:
            OSError: no port is free.
        """
        app = web.Application(client_max_size=0)
        for method, path, serve in self._routes:
            app.router.add_route(method, path, self._taking(serve))
        # Leaving clients cancel their handler: that is how the server knows of them.
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops to listen and cancels what is being answered. Idempotent."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def stream(
        self, request: web.Request, events: AsyncIterator[bytes], headers: Mapping[str, str] = EVENT_STREAM
    ) -> web.StreamResponse:
        """Answers a request with bytes as they come.

        Raises:
            ConnectionError: the client has left.
        """
        response = web.StreamResponse(headers=headers)
        try:
            await response.prepare(request)
            async for event in events:
                await response.write(event)
        except Broken:
            if request.transport is not None:
                request.transport.abort()
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise
        return response

    def _taking(self, serve: Serve) -> Serve:
        async def take(request: web.Request) -> web.StreamResponse:
            peer = request.transport.get_extra_info("peername") if request.transport is not None else None
            if peer not in self._peers:
                self._peers.add(peer)
                self.connections += 1
            self.headers.append({name.lower(): value for name, value in request.headers.items()})
            return await serve(request)

        return take
