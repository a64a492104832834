"""A thousand answers at once in one process: is it steady, and how much memory does it take?

Rule: every stream has a reader that counts what it gets; a lost delta is an error.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from benchmarks.contenders.greenroom_manager import opened
from benchmarks.contenders.works import chunks_of
from benchmarks.fake_provider import provider, stats
from benchmarks.measure import Row, Sizes, cost_of, peak_mb, quantiles_ms, run

EVERY_MS = 100
CHUNKS = 50
JOIN_S = 2.0


def rows(sizes: Sizes) -> list[Row]:
    """Measures Greenroom over SQLite."""
    with provider() as base:
        return run(_measured(base, sizes.many))


async def _measured(base: str, streams: int) -> list[Row]:
    group = f"{streams:,} concurrent streaming sessions in one process, sqlite, a delta each {EVERY_MS} ms each"
    late: list[float] = []
    idle_mb = peak_mb()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with opened(f"{base}/paced/{CHUNKS}/{EVERY_MS}", "sqlite", Path(folder)) as greenroom:
            sessions = [await greenroom.create() for _ in range(streams)]

            async def joined(number: int) -> int:
                await asyncio.sleep(number * JOIN_S / streams)
                return await chunks_of(greenroom, sessions[number], late)

            async def all_streams() -> int:
                return sum(await asyncio.gather(*map(joined, range(streams))))

            cost = await cost_of(all_streams, chunks=streams * CHUNKS)
    p50_ms, p99_ms = quantiles_ms(late)
    ideal_s = CHUNKS * EVERY_MS / 1000 + JOIN_S
    note = f"{idle_mb:.0f} MB before; {cost.wall_s:.1f} s for {ideal_s:.1f} s; the provider itself p99 {stats(base)['p99_ms']:.1f} ms"
    return [
        Row(group, "peak memory of the process (RSS)", peak_mb(), "MB", target=300, note=note),
        Row(group, "CPU per chunk", cost.cpu_s / (streams * CHUNKS) * 1e6, "us"),
        Row(group, "late, p50", p50_ms, "ms"),
        Row(group, "late, p99", p99_ms, "ms"),
    ]
