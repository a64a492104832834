"""A server for wire-level tests: it answers each request with the bytes it is given, right or wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

HANG: Final = b""
"""In place of an answer: the connection stays open, in silence."""


class Wire:
    """What a server of `serve` saw.

    Attributes:
        port: where it listens, on 127.0.0.1.
        requests: heads of the requests, one text each.
        bodies: their bodies.
        asked: set when a request has arrived.
        left: set when a client has closed its connection.
    """

    def __init__(self) -> None:
        self.port = 0
        self.requests: list[str] = []
        self.bodies: list[bytes] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@asynccontextmanager
async def serve(*answers: bytes | Sequence[bytes]) -> AsyncIterator[Wire]:
    """Answers the n-th request with the n-th answer and then closes the connection, unless the answer ends with `HANG`."""
    wire = Wire()
    waiting = list(answers)
    answering: dict[asyncio.Task[None] | None, asyncio.StreamWriter] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answering[asyncio.current_task()] = writer
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next(
                (line.split(":")[1] for line in head.lower().split("\r\n") if line.startswith("content-length")), "0"
            )
            wire.bodies.append(await reader.readexactly(int(length)))
            wire.requests.append(head)
            wire.asked.set()
            planned = waiting.pop(0)
            pieces = [planned] if isinstance(planned, bytes) else planned
            for piece in pieces:
                if piece == HANG:
                    await reader.read()
                else:
                    writer.write(piece)
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client left, which is what some tests want
        finally:
            wire.left.set()
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    async with server:
        yield wire
    for writer in answering.values():
        writer.close()
    await asyncio.gather(*filter(None, answering))


def head(status: str = "200 OK", **headers: str) -> bytes:
    """Returns the head of an answer; a header's `_` is a `-`."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


EVENTS: Final = head(content_type="text/event-stream", transfer_encoding="chunked")
"""Head of an event stream."""

END: Final = b"0\r\n\r\n"
"""End of a body in chunks."""


def chunked(body: bytes) -> bytes:
    """Returns one chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(body), body)
