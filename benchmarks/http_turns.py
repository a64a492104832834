"""Over HTTP, with nothing else running: what the server adds to the time to the first token, and coming back to a long answer.

Rule: *directly* is the same request of the same reader to the provider itself, in the same run.
"""

from __future__ import annotations

import asyncio
import time
from statistics import median
from urllib.parse import urlsplit

from benchmarks.contenders.orders import Failed
from benchmarks.fake_provider import provider
from benchmarks.measure import PACED_MS, Row, Sizes, quantiles_ms, run
from benchmarks.serving import readers, servers
from benchmarks.serving.servers import Server

FIRST = "over HTTP, nothing else running: time to the first token"
REJOIN = "over HTTP, rejoin in the middle of an answer of 2,000 deltas"
TARGET_ADDED_MS = 2
TARGET_REJOIN_MS = 5
DELTAS = 2_000
READERS = 40


def rows(sizes: Sizes) -> list[Row]:
    """Measures `greenroom serve` over SQLite."""
    try:
        with provider() as base:
            with servers.greenroom(f"{base}/burst/1") as server:
                found = run(_first_tokens(server, base, sizes.turns))
            with servers.greenroom(f"{base}/middle/{DELTAS}/{PACED_MS}") as server:
                return [*found, *run(_rejoined(server))]
    except (Failed, OSError, TimeoutError) as error:
        return [Row(FIRST, "greenroom serve, sqlite", 0, "", failure=f"{type(error).__name__}: {error}")]


async def _first_tokens(server: Server, base: str, turns: int) -> list[Row]:
    path = "/burst/1/v1/chat/completions"
    direct = Server(urlsplit(base).port or 0, 0, "", {}, path, "{}", mark=b'"content":"')
    direct_s: list[float] = []
    ours_s: list[float] = []
    for number in range(turns + 3):
        session_id = await readers.create(server)
        for served, name, walls in ((direct, "", direct_s), (server, session_id, ours_s)):
            began_s = time.perf_counter()
            reader = await readers.answer(served, name)
            if number >= 3:  # the first ones connect and load what is loaded late
                walls.append(reader.first_at_s - began_s)
    (direct_ms, direct_p99_ms), (ours_ms, ours_p99_ms) = quantiles_ms(direct_s), quantiles_ms(ours_s)
    added_ms = median(ours - bare for ours, bare in zip(ours_s, direct_s, strict=True)) * 1e3
    return [
        Row(FIRST, "the provider directly", direct_ms, "ms", role="floor", note=f"p99 {direct_p99_ms:.1f} ms"),
        Row(FIRST, "greenroom serve, sqlite", ours_ms, "ms", role="ours", note=f"p99 {ours_p99_ms:.1f} ms"),
        Row(FIRST, "added, p50", added_ms, "ms", target=TARGET_ADDED_MS),
    ]


async def _rejoined(server: Server) -> list[Row]:
    session_id = await readers.create(server)
    running = asyncio.ensure_future(readers.answer(server, session_id))
    try:
        cursor = await _middle_of(server, session_id)
        found = []
        path = server.events.format(session_id)
        for name, query in (("at a position in the middle", f"?cursor={cursor}"), ("without a position", "")):
            walls_s = [await _first_frame_s(server, path + query) for _ in range(READERS)]
            p50_ms, p99_ms = quantiles_ms(walls_s)
            note = f"p99 {p99_ms:.1f} ms; connecting included"
            found.append(Row(REJOIN, f"{name}: first frame", p50_ms, "ms", target=TARGET_REJOIN_MS, note=note))
        if running.done():
            raise Failed("the answer ended before it was rejoined")
        return found
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _middle_of(server: Server, session_id: str) -> str:
    """Returns the position behind about a quarter of the deltas, once half of them are there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(readers.request(server, "GET", server.events.format(session_id)))
    received = b""
    async with asyncio.timeout(30):
        while received.count(server.mark) < 10 or len(received) < 10_000:
            piece = await reader.read(65_536)
            if not piece:
                raise Failed(f"the session could not be followed: {received[:200]!r}")
            received += piece
    writer.close()
    ids = [line[4:].decode() for line in received.split(b"\n") if line.startswith(b"id: ")]
    return ids[len(ids) // 2]


async def _first_frame_s(server: Server, path: str) -> float:
    began_s = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(readers.request(server, "GET", path))
    async with asyncio.timeout(10):
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:16]:
            raise Failed(f"no stream: answered {head[:200]!r}")
        await reader.readuntil(b"data: ")
    took_s = time.perf_counter() - began_s
    writer.close()
    return took_s
