"""Clients of a server under measurement: a bare protocol each, so that two hundred of them cost next to nothing.

Rule: a reader looks at what it gets: every delta is counted and its lateness noted; an answer that is no stream is an error.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from functools import partial
from typing import Final, cast

from benchmarks.fake_provider import STAMP_CHARS, lateness_s, now_us
from benchmarks.serving.servers import Server

_BETWEEN_CHUNKS: Final = re.compile(rb"\r\n[0-9a-f]+\r\n")
"""What stands in a large delta where one piece of the body ends and the next begins; JSON has no line ends of its own."""


def request(server: Server, method: str, path: str, body: str = "") -> bytes:
    """Returns a request."""
    headers = {
        "host": f"127.0.0.1:{server.port}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **server.headers,
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class StreamReader(asyncio.Protocol):
    """Reads one stream to its end.

    Attributes:
        deltas: how many there were.
        late: how late each was.
        first_at_s: when the first one came.
    """

    def __init__(self, mark: bytes) -> None:
        self._mark = mark
        self.deltas = 0
        self.late: list[float] = []
        self.first_at_s = 0.0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tail = b""
        self._has_status = False

    def data_received(self, data: bytes) -> None:
        """Looks at what came."""
        if not self._has_status:
            self._has_status = True
            if not data.startswith(b"HTTP/1.1 200"):
                self._end(ConnectionError(f"answered {data[:300]!r}"))
                return
        now = now_us()
        data = self._tail + data
        end = data.rfind(b"\n\n") + 2
        at = 0
        while (found := data.find(self._mark, at, end)) >= 0:
            start = found + len(self._mark)
            at = data.index(b'"', start)
            if text := _BETWEEN_CHUNKS.sub(b"", data[start:at]).decode():
                self.first_at_s = self.first_at_s or time.perf_counter()
                self.deltas += len(text) // STAMP_CHARS
                self.late += lateness_s(text, now)
        self._tail = data[end:]
        if self._tail.endswith(b"0\r\n\r\n"):
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notes that the server left."""
        self._end(exc or ConnectionError("the server closed in the middle of a stream"))

    def _end(self, error: Exception | None) -> None:
        if not self.done.done():
            if error:
                self.done.set_exception(error)
            else:
                self.done.set_result(None)


async def create(server: Server, backend: str = "openai") -> str:
    """Makes a session, which talks to `backend` where there is a choice, and returns its id.

    Raises:
        ConnectionError: the server refused.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request(server, "POST", server.create, server.create_bodies[backend]))
    head = await reader.readuntil(b"\r\n\r\n")
    if head[9:12] not in {b"200", b"201"}:
        raise ConnectionError(f"no session: answered {head[:200]!r}")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    body = json.loads(await reader.readexactly(length))
    writer.close()
    return cast("str", body["session_id"])


async def read(server: Server, path: str, *, method: str = "POST", body: str = "") -> StreamReader:
    """Reads a stream to its end.

    Raises:
        ConnectionError: it was refused, or cut.
    """
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(partial(StreamReader, server.mark), "127.0.0.1", server.port)
    transport.write(request(server, method, path, body))
    try:
        await reader.done
    finally:
        transport.close()
    return reader


async def answer(server: Server, session_id: str) -> StreamReader:
    """Sends a message and reads the answer."""
    return await read(server, server.message.format(session_id), body=server.message_body)
