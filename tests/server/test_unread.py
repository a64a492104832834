"""Clients that ask and do not read: what waits for them is bounded, for one and for all, and not for ever.

Sockets here have a small window, as over a network: loopback's own would swallow megabytes.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from greenroom.client import Client
from greenroom.limits import Limits
from greenroom.server.answers import PIECE_BYTES, pieces
from greenroom.server.connection import bounded
from greenroom.server.quotas import Quotas
from greenroom.server.refusal import Refusal
from greenroom.server.streaming import encoded, encoded_pieces
from greenroom.streams import Frame
from server.process import TOKEN, ServerProcess, running

FILE_BYTES = 3 * 1024 * 1024


class Silent:
    """A connection whose client asks and reads when it is told to."""

    def __init__(self, port: int, window_bytes: int = 4096) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window_bytes)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self._socket.setblocking(False)
        self._address = ("127.0.0.1", port)

    async def ask(self, method: str, path: str, body: str = "") -> None:
        loop = asyncio.get_running_loop()
        head = [f"{method} {path} HTTP/1.1", "host: localhost", f"authorization: Bearer {TOKEN}"]
        head += ["content-type: application/json", f"content-length: {len(body)}"] if body else []
        await loop.sock_connect(self._socket, self._address)
        await loop.sock_sendall(self._socket, ("\r\n".join(head) + "\r\n\r\n" + body).encode())

    async def status(self) -> int:
        return int((await asyncio.get_running_loop().sock_recv(self._socket, 12))[9:])

    async def some(self, size: int) -> int:
        return len(await asyncio.get_running_loop().sock_recv(self._socket, size))

    async def rest(self) -> bytes:
        """Reads to the end of the connection, also to one that is no good end."""
        found = b""
        try:
            while piece := await asyncio.get_running_loop().sock_recv(self._socket, 65536):
                found += piece
        except ConnectionError:
            pass
        return found

    def close(self) -> None:
        self._socket.close()


@asynccontextmanager
async def silent(server: ServerProcess, count: int, **options: int) -> AsyncIterator[Sequence[Silent]]:
    clients = [Silent(server.port, **options) for _ in range(count)]
    try:
        yield clients
    finally:
        for client in clients:
            client.close()


async def large_file(server: ServerProcess) -> str:
    """Makes a session with a large file; returns the file's path."""
    async with Client(server.url, TOKEN) as client:
        session_id = (await client.create_session())["session_id"]
    path = f"/v1/sessions/{session_id}/workspace/large"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"PUT {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\nconnection: close\r\n"
    head += f"content-type: application/octet-stream\r\ncontent-length: {FILE_BYTES}\r\n\r\n"
    writer.write(head.encode() + b"x" * FILE_BYTES)
    assert b" 201 " in await reader.read()
    writer.close()
    return path


async def test_what_waits_for_a_user_is_bounded_and_comes_whole(home: Path) -> None:
    limits = {"answers_per_user_bytes_max": 3 * FILE_BYTES}
    async with running(home, limits, counts_memory=True) as server:
        path = await large_file(server)
        before = await server.held_bytes()
        async with silent(server, 40) as clients:
            statuses: list[int] = []
            for client in clients:
                await client.ask("GET", path)
                statuses.append(await client.status())
            assert statuses == [200] * 3 + [429] * 37
            # Three, and what was refused a moment ago: it was read before its size was known.
            assert await server.held_bytes() - before < 10 * FILE_BYTES
            refused = (await clients[3].rest()).decode()
            assert "retry-after: 5" in refused
            assert json.loads(refused.partition("\r\n\r\n")[2])["error"]["code"] == "too_many_answers"
            assert (await clients[0].rest()).endswith(b"\r\n\r\n" + b"x" * FILE_BYTES)
        async with silent(server, 1) as (again,):
            await again.ask("GET", path)
            assert await again.status() == 200, "what nobody waits for any more is given back"


@pytest.mark.parametrize("kind", ["a file", "a stream", "a stream that begins in the middle"])
async def test_who_does_not_read_is_dropped(home: Path, kind: str) -> None:
    async with running(home, {"unread_s_max": 0.3}) as server:
        path = await large_file(server)
        session = path.partition("/workspace/")[0]
        async with silent(server, 1) as (client,):
            if kind == "a file":
                await client.ask("GET", path)
            else:
                if "middle" in kind:
                    async with Client(server.url, TOKEN) as other:
                        await other.ask(session.rpartition("/")[2], "large 4000")
                method, where, body = (
                    ("GET", "/events", "") if "middle" in kind else ("POST", "/messages", '{"message": "large 4000"}')
                )
                await client.ask(method, session + where, body)
            await asyncio.sleep(1.5)  # real time: the server's clock decides
            found = await client.rest()
            assert found.startswith(b"HTTP/1.1 200"), found[:200]
            assert len(found) < FILE_BYTES, f"{len(found)} bytes came"


async def test_a_stream_for_which_there_is_no_room_says_so(home: Path) -> None:
    async with running(home, {"answers_per_user_bytes_max": 100_000}) as server:
        path = await large_file(server)
        session = path.partition("/workspace/")[0]
        async with Client(server.url, TOKEN) as client:
            await client.ask(session.rpartition("/")[2], "large 200")
        async with silent(server, 1) as (holder,), silent(server, 1, window_bytes=64 * 1024) as (reader,):
            await holder.ask("GET", path)
            assert await holder.status() == 200
            await reader.ask("GET", f"{session}/events?cursor=0.0~0")
            found = await reader.rest()
            assert b"limit_exceeded" in found, found[-300:]
            assert len(found) < 100_000


async def test_a_connection_that_ends_is_not_kept_by_what_nobody_reads() -> None:
    state, ended = ServerState(), asyncio.Event()

    class Watched(bounded(Limits(unread_s_max=0.2), is_exempt=lambda _: False)):  # type: ignore[misc]
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            ended.set()

    async def app(_: Any, receive: Any, send: Any) -> None:
        del receive
        (connection,) = state.connections
        own = connection.transport.get_extra_info("socket")
        own.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # so that the system does not take more later
        await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
        while connection.transport.get_write_buffer_size() < PIECE_BYTES // 2:  # until the system takes no more
            await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
            await asyncio.sleep(0)
        assert not connection.flow.write_paused
        await send({"type": "http.response.body", "body": b""})

    config = uvicorn.Config(app, http=Watched, ws="none", lifespan="off", log_config=None)
    config.load()
    protocol = partial(config.http_protocol_class, config=config, server_state=state, app_state={})
    async with await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0) as server:
        client = Silent(server.sockets[0].getsockname()[1])
        await client.ask("GET", "/")
        async with asyncio.timeout(30):
            assert await client.status() == 200
            await ended.wait()
        client.close()


async def test_who_reads_slowly_is_not_dropped(home: Path) -> None:
    async with running(home, {"unread_s_max": 1.0}) as server:
        path = await large_file(server)
        async with silent(server, 1, window_bytes=64 * 1024) as (client,):
            await client.ask("GET", path)
            received = 0
            for _ in range(40):
                received += await client.some(64 * 1024)
                await asyncio.sleep(0.05)  # real time: the server's clock decides
            assert received + len(await client.rest()) > FILE_BYTES


# --- the parts ----------------------------------------------------------------------------------------------------------


def test_the_last_byte_of_answers_and_one_above() -> None:
    quotas = Quotas(Limits(answers_bytes_max=100, answers_per_user_bytes_max=60))
    with quotas.hold("ann", 500), pytest.raises(Refusal) as caught:
        quotas.hold("ann", 1)
    assert caught.value.status == 429
    with quotas.hold("ann", 30), quotas.hold("ann", 30), quotas.hold("bob", 40):
        for user, status in {"ann": 429, "bob": 503, "eve": 503}.items():
            with pytest.raises(Refusal) as caught:
                quotas.hold(user, 1)
            assert caught.value.status == status
    with quotas.hold("eve", 500):
        pass


@given(st.binary(max_size=3 * PIECE_BYTES))
def test_pieces_are_the_whole(body: bytes) -> None:
    found = list(pieces(body))
    assert b"".join(found) == body
    assert max(map(len, found)) <= PIECE_BYTES


@given(st.lists(st.tuples(st.sampled_from(["", "a", "ö", "😀"]), st.integers(0, 3 * PIECE_BYTES)), max_size=5))
def test_frames_in_pieces_are_the_whole(texts: list[tuple[str, int]]) -> None:
    batch = [Frame(f"1.{number}", text * count) for number, (text, count) in enumerate(texts)]
    found = list(encoded_pieces(batch))
    assert b"".join(found) == encoded(batch)
    assert max(map(len, found), default=0) <= 4 * 2 * PIECE_BYTES + 1000
    small = [frame for frame in batch if len(frame.data) < PIECE_BYTES]
    assert all(piece.endswith(b"\n\n") for piece in encoded_pieces(small)), "only what is too large is cut"
