"""How things are measured here: CPU seconds per chunk, medians of rounds, and lateness of paced deltas.

CPU time is of this process with all its threads, kernel and user together; the provider runs in another process. Ratios within
one run of one machine mean something; seconds of different machines do not.

Rule: nothing is measured without being counted: a round that did not receive exactly what was sent is an error, not a number.
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import msgspec
import uvloop

T = TypeVar("T")

CHUNKS = 2_000
"""Deltas of a burst."""
STREAMS = 200
"""Concurrent streams of a paced run; one delta each 20 ms each."""
PACED_CHUNKS = 200
PACED_MS = 20
PACED_JOIN_S = 1.0
"""The streams of a paced run begin one after the other during this time, as people do."""

ROUND_S_MAX = 60
"""A round that takes longer is an error: a benchmark that hangs measures nothing."""


class Row(msgspec.Struct, frozen=True):
    """One line of the table: what was measured, the number, its unit, and what it is compared with.

    Attributes:
        group: heading of the table that the row belongs to.
        target: what the number has to stay below (rates: reach).
        is_floor: the rows after it in the group are compared with this one.
        note: more numbers of the same run.
    """

    group: str
    name: str
    value: float
    unit: str
    target: float | None = None
    is_floor: bool = False
    note: str = ""


class Cost(msgspec.Struct, frozen=True):
    """What one round took."""

    cpu_s: float
    wall_s: float


async def cost_of(work: Callable[[], Awaitable[int]], *, chunks: int) -> Cost:
    """Runs `work` once, which returns how many chunks it saw.

    Raises:
        RuntimeError: it did not see all of them.
    """
    gc.collect()
    wall_s = time.perf_counter()
    cpu_s = time.process_time()
    async with asyncio.timeout(ROUND_S_MAX):
        seen = await work()
    cost = Cost(time.process_time() - cpu_s, time.perf_counter() - wall_s)
    if seen != chunks:
        raise RuntimeError(f"{seen} chunks arrived of {chunks}")
    return cost


async def burst_us(work: Callable[[], Awaitable[int]], *, chunks: int = CHUNKS, rounds: int = 7) -> float:
    """Returns the median of CPU microseconds per chunk; one round before it warms up connections and caches."""
    await cost_of(work, chunks=chunks)
    costs = [await cost_of(work, chunks=chunks) for _ in range(rounds)]
    return statistics.median(cost.cpu_s for cost in costs) / chunks * 1e6


def quantiles_ms(values_s: Sequence[float]) -> tuple[float, float]:
    """Returns median and 99th percentile in milliseconds."""
    ordered = sorted(values_s)
    return ordered[len(ordered) // 2] * 1e3, ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on uvloop, as servers do."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def rss_mb() -> float:
    """Returns the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def machine() -> str:
    """Returns one line on what the numbers were measured, and how busy it was with other things."""
    packages = []
    for name in ("greenroom", "msgspec", "aiohttp", "uvloop", "openai", "anthropic"):
        try:
            packages.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            packages.append(f"no {name}")
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return (
        f"{platform.system()} {platform.machine()}, {cores} cores, {platform.python_implementation()} "
        f"{platform.python_version()}; {', '.join(packages)}; load {load:.1f} when it began"
        + (" (BUSY: lateness and wall times mean nothing)" if load > cores / 2 else "")
    )
