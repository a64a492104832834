"""The whole stack over HTTP: clients -> server -> session -> provider and back, each stream at the pace of a quick model.

Greenroom is `greenroom serve` over SQLite, speaking AG-UI. Beside it a relay without sessions on bare Starlette, and peers on
FastAPI, each on one uvicorn process with uvloop and httptools; kept sessions where a peer has them.

Rule: CPU is of the server process with all its threads and sockets; the readers and the provider are other processes.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Literal

from benchmarks.contenders.orders import Failed
from benchmarks.contenders.roster import PEERS, RELAY
from benchmarks.fake_provider import provider, stats
from benchmarks.measure import FULL, PACED_JOIN_S, PACED_MS, Row, Sizes, median_row, quantiles_ms, run
from benchmarks.serving import readers, servers
from benchmarks.serving.servers import Server

Role = Literal["", "floor", "ours"]
Start = Callable[[str], AbstractContextManager[Server]]
TARGET_US = 70
TARGET_P99_MS = 15
WARM_UP = 8


def group_of(streams: int) -> str:
    """Returns the heading of a run."""
    return f"over HTTP, {streams} clients, a delta each {PACED_MS} ms each: CPU per chunk of the server"


MANY_GROUP = group_of(FULL.streams)


def rows(sizes: Sizes) -> list[Row]:
    """Measures everybody."""

    def bare(url: str) -> AbstractContextManager[Server]:
        return servers.app(RELAY, "memory", "starlette", url)

    found = _rows_of("Starlette + aiohttp relay, no sessions", "floor", bare, sizes)
    found += _rows_of("greenroom serve, sqlite", "ours", servers.greenroom, sizes)
    # Who does not keep the pace takes many times as long: one round tells that.
    fewer = replace(sizes, paced_rounds=1)
    for entry in PEERS:
        for store in reversed(entry.stores):
            start = partial(servers.app, entry, store, "fastapi")
            rows = _rows_of(f"FastAPI + {entry.name(store)}", "", start, fewer)
            found += rows
            if not rows[0].failure:  # only one whose store on disk fails under this load is measured in memory too
                break
    return found


def _rows_of(name: str, role: Role, start: Start, sizes: Sizes) -> list[Row]:
    print(f"    {name}", file=sys.stderr, flush=True)
    try:
        with provider() as base, start(f"{base}/paced/{sizes.paced_chunks}/{PACED_MS}") as server:
            return _told(server, base, sizes, name, role)
    except Failed as error:
        return [Row(group_of(sizes.streams), name, 0, "", role=role, failure=str(error))]


def _told(server: Server, base: str, sizes: Sizes, name: str, role: Role) -> list[Row]:
    """Measures; if that fails, adds what the server says about it."""
    try:
        return run(_measured(server, base, sizes, name, role))
    except (OSError, TimeoutError) as error:
        raise Failed(f"{type(error).__name__}: {error}; the server: {server.complaint()}") from error


async def _measured(server: Server, base: str, sizes: Sizes, name: str, role: Role) -> list[Row]:
    group = group_of(sizes.streams)
    await asyncio.gather(*[readers.answer(server, await readers.create(server)) for _ in range(WARM_UP)])
    stats(base)
    rounds = [await _round(server, sizes) for _ in range(sizes.paced_rounds)]
    more = {key: median(figures[key] for figures in rounds) for key in ("p50_ms", "p99_ms", "wall_s")}
    more["peak_mb"] = server.memory_mb("VmHWM")
    ideal_s = sizes.paced_chunks * PACED_MS / 1000 + PACED_JOIN_S * (1 - 1 / sizes.streams)
    note = (
        f"late p50 {more['p50_ms']:,.1f} ms, p99 {more['p99_ms']:,.1f} ms; {more['wall_s']:.1f} s for {ideal_s:.1f} s; "
        f"peak {more['peak_mb']:.0f} MB; the provider itself p99 {stats(base)['p99_ms']:.1f} ms"
    )
    is_ours = role == "ours"
    costs = [figures["us"] for figures in rounds]
    row = median_row(group, name, costs, "us", target=TARGET_US if is_ours else None, role=role, note=note)
    found = [replace(row, more=more)]
    if is_ours:
        lates = [figures["p99_ms"] for figures in rounds]
        found.append(median_row(group, f"{name}: late, p99", lates, "ms", target=TARGET_P99_MS))
    return found


async def _round(server: Server, sizes: Sizes) -> dict[str, float]:
    sessions = [await readers.create(server) for _ in range(sizes.streams)]

    async def joined(number: int) -> readers.StreamReader:
        await asyncio.sleep(number * PACED_JOIN_S / sizes.streams)
        return await readers.answer(server, sessions[number])

    cpu_s, began_s = server.cpu_s(), time.perf_counter()
    async with asyncio.timeout(90):
        done = await asyncio.gather(*map(joined, range(sizes.streams)))
    wall_s = time.perf_counter() - began_s
    chunks = sum(reader.deltas for reader in done)
    if chunks != sizes.streams * sizes.paced_chunks:
        raise Failed(f"{chunks} chunks arrived of {sizes.streams * sizes.paced_chunks}")
    p50_ms, p99_ms = quantiles_ms([late for reader in done for late in reader.late])
    return {"us": (server.cpu_s() - cpu_s) / chunks * 1e6, "p50_ms": p50_ms, "p99_ms": p99_ms, "wall_s": wall_s}
