"""A thousand streams over HTTP at once, and a thousand readers that stop reading.

Rule: memory is the server's, read from the system; the others' lateness is measured without the stopped readers and with them.
"""

from __future__ import annotations

import asyncio
import socket

from benchmarks.contenders.orders import Failed
from benchmarks.fake_provider import provider
from benchmarks.measure import PACED_MS, Row, Sizes, quantiles_ms, run
from benchmarks.serving import readers, servers
from benchmarks.serving.servers import Server

EVERY_MS = 100
CHUNKS = 50
JOIN_S = 2.0
LONG = 100_000
"""Deltas of the answer that nobody reads to its end. Half of it, a quarter of a megabyte, is there when the readers come."""
SECONDS_MAX = 400
"""Of either part: an alarm."""
SEGMENT_BYTES = 1_400
OTHERS = 20
OTHERS_CHUNKS = 150
TARGET_MB = 300
TARGET_HELD_KIB = 128
"""What a stopped reader may hold: a full write buffer of the server (64 KiB), and what stood behind it."""
TARGET_GROWTH_MB = 8
"""What all of them together may still grow by, once they stand: nothing, but for what the allocator does."""


def rows(sizes: Sizes) -> list[Row]:
    """Measures `greenroom serve` over SQLite."""
    many = f"over HTTP, {sizes.many:,} concurrent streams, a delta each {EVERY_MS} ms each"
    slow = f"over HTTP, {sizes.many:,} readers that stop reading"
    found: list[Row] = []
    try:
        with provider() as base, servers.greenroom(f"{base}/paced/{CHUNKS}/{EVERY_MS}") as server:
            found += run(_many(server, many, sizes.many))
    except (Failed, OSError, TimeoutError) as error:
        found.append(Row(many, "greenroom serve, sqlite", 0, "", failure=f"{type(error).__name__}: {error}"))
    try:
        with provider() as base:
            others, long = f"{base}/paced/{OTHERS_CHUNKS}/{PACED_MS}", f"{base}/middle/{LONG}/{PACED_MS}"
            with servers.greenroom(others, claude_url=long) as server:
                found += run(_slow(server, slow, sizes.many))
    except (Failed, OSError, TimeoutError) as error:
        found.append(Row(slow, "greenroom serve, sqlite", 0, "", failure=f"{type(error).__name__}: {error}"))
    return found


async def _many(server: Server, group: str, streams: int) -> list[Row]:
    idle_mb = server.memory_mb()
    sessions = [await readers.create(server) for _ in range(streams)]

    async def joined(number: int) -> readers.StreamReader:
        await asyncio.sleep(number * JOIN_S / streams)
        return await readers.answer(server, sessions[number])

    cpu_s = server.cpu_s()
    async with asyncio.timeout(SECONDS_MAX):
        done = await asyncio.gather(*map(joined, range(streams)))
    chunks = sum(reader.deltas for reader in done)
    if chunks != streams * CHUNKS:
        raise Failed(f"{chunks} chunks arrived of {streams * CHUNKS}")
    p50_ms, p99_ms = quantiles_ms([late for reader in done for late in reader.late])
    peak_mb = server.memory_mb("VmHWM")
    return [
        Row(group, "peak memory of the server (RSS)", peak_mb, "MB", target=TARGET_MB, note=f"{idle_mb:.0f} MB before"),
        Row(group, "CPU per chunk", (server.cpu_s() - cpu_s) / chunks * 1e6, "us"),
        Row(group, "late, p50", p50_ms, "ms"),
        Row(group, "late, p99", p99_ms, "ms"),
    ]


async def _slow(server: Server, group: str, stopped: int) -> list[Row]:
    async with asyncio.timeout(SECONDS_MAX):
        before = await _others(server)
        long_id = await readers.create(server, backend="claude")
        running = asyncio.ensure_future(readers.answer(server, long_id))
        sockets: list[socket.socket] = []
        try:
            path = f"{server.events.format(long_id)}?cursor={await _beginning_of(server, long_id)}"
            flat_mb = server.memory_mb()
            sockets += [await _stopped_reader(server, path) for _ in range(stopped)]
            await _others(server)
            held_mb = server.memory_mb()
            during = await _others(server)
            later_mb = server.memory_mb()
            if running.done():
                raise Failed("the long answer ended too early")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            for stopped_socket in sockets:
                stopped_socket.close()
    held_kib = (held_mb - flat_mb) * 1024 / stopped
    note = f"{flat_mb:.0f} MB before they came, {held_mb:.0f} MB with them"
    return [
        Row(group, "memory that the server holds for each", held_kib, "KiB", target=TARGET_HELD_KIB, note=note),
        Row(group, "what it grew by later", later_mb - held_mb, "MB", target=TARGET_GROWTH_MB),
        Row(group, f"{OTHERS} others: late, p99, without them", before[1], "ms", note=f"p50 {before[0]:.1f} ms"),
        Row(group, f"{OTHERS} others: late, p99, with them", during[1], "ms", note=f"p50 {during[0]:.1f} ms"),
    ]


async def _others(server: Server) -> tuple[float, float]:
    """Returns how late the answers of others are: median and p99."""
    sessions = [await readers.create(server) for _ in range(OTHERS)]
    done = await asyncio.gather(*(readers.answer(server, session_id) for session_id in sessions))
    if sum(reader.deltas for reader in done) != OTHERS * OTHERS_CHUNKS:
        raise Failed("the others did not get all of their answers")
    return quantiles_ms([late for reader in done for late in reader.late])


async def _beginning_of(server: Server, session_id: str) -> str:
    """Returns a position near the beginning, once the first part of the answer is there."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(readers.request(server, "GET", server.events.format(session_id)))
    first, received = "", 0
    while received < LONG:
        line = await reader.readline()
        if not line:
            raise Failed("the long answer could not be followed")
        received += len(line)
        first = first or (line[4:].decode().strip() if line.startswith(b"id: ") else "")
    writer.close()
    return first


async def _stopped_reader(server: Server, path: str) -> socket.socket:
    """Returns a connection that has asked for a stream and does not read it."""
    loop = asyncio.get_running_loop()
    stopped = socket.socket()
    # As over a network: loopback's own segments of 64 KiB let the system swallow megabytes before the server notices.
    stopped.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    stopped.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stopped.setblocking(False)
    await loop.sock_connect(stopped, ("127.0.0.1", server.port))
    await loop.sock_sendall(stopped, readers.request(server, "GET", path))
    return stopped
