"""A way to the server that breaks: connections are reset after so many frames.

Rule: what went through arrived; where it breaks is the test's choice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

_IGNORED = re.compile(r"x-greenroom-ignored: ([^\r]*)", re.IGNORECASE)

FrameCount = Callable[[int], int | None]
"""Number of the connection -> after how many server-sent frames it breaks; `None`: never."""


class Proxy:
    """Forwards to `port`."""

    def __init__(self, port: int, cuts: FrameCount, *, resets: bool) -> None:
        self._target = port
        self._cuts = cuts
        self._resets = resets
        self.connections = 0
        self.broken = 0
        self.ignored: list[str] = []
        """What answers named as sent and not used."""
        self.port = 0
        self._open: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(serving)
        serving.add_done_callback(self._open.discard)

    async def close(self) -> None:
        """Breaks what is open."""
        for serving in list(self._open):
            serving.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        left = self._cuts(self.connections)
        try:
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        forward = asyncio.ensure_future(self._copied(reader, upstream))
        try:
            while data := await upstream_reader.read(1 << 16):
                self.ignored += _IGNORED.findall(data.decode(errors="replace"))
                if left is not None and b"text/event-stream" not in data:
                    left -= data.count(b"\n\n")
                writer.write(data)
                await writer.drain()
                if left is not None and left < 0:
                    self.broken += 1
                    if not self._resets:
                        writer.close()
                    break
            else:
                writer.close()
        except OSError:
            pass
        finally:
            forward.cancel()
            upstream.transport.abort()
            if not writer.is_closing():
                writer.transport.abort()
            await asyncio.gather(forward, writer.wait_closed(), upstream.wait_closed(), return_exceptions=True)

    async def _copied(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass


@asynccontextmanager
async def proxy(port: int, cuts: FrameCount, *, resets: bool = True) -> AsyncIterator[Proxy]:
    """Opens a way to `port` at a port of its own.

    Args:
        port: of the server.
        cuts: where connections break.
        resets: what the client has not read yet is lost; else the answer is cut off, and all before it arrives.
    """
    way = Proxy(port, cuts, resets=resets)
    server = await asyncio.start_server(way.accept, "127.0.0.1", 0)
    way.port = server.sockets[0].getsockname()[1]
    try:
        yield way
    finally:
        server.close()
        await way.close()
