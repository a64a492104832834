"""What a new session costs: in memory, durably one after the other, and durably with many callers at once.

Rule: `create_session` as users call it; durable means on the disk when it returns.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.inprocess import manager_for
from benchmarks.measure import Row, quantiles_ms, run
from greenroom import AgentManager

GROUP = "create_session"
_NOBODY = "http://127.0.0.1:9"
"""Creating a session never asks a provider."""


async def one_after_the_other(manager: AgentManager, count: int) -> list[float]:
    """Returns wall seconds of each creation."""
    walls: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await manager.create_session(backend="openai", llm_model="gpt-4o")
        walls.append(time.perf_counter() - began)
    return walls


async def at_once(manager: AgentManager, callers: int, each: int) -> float:
    """Returns creations per second of `callers` tasks."""
    began = time.perf_counter()
    await asyncio.gather(*(one_after_the_other(manager, each) for _ in range(callers)))
    return callers * each / (time.perf_counter() - began)


async def measured() -> list[Row]:
    """Returns the rows."""
    rows: list[Row] = []
    async with manager_for("memory", _NOBODY) as manager:
        await one_after_the_other(manager, 100)
        p50_ms, p99_ms = quantiles_ms(await one_after_the_other(manager, 2_000))
        rows.append(Row(GROUP, "memory log, p50", p50_ms * 1e3, "us", target=50, note=f"p99 {p99_ms * 1e3:.0f} us"))
    async with manager_for("sqlite", _NOBODY) as manager:
        await one_after_the_other(manager, 50)
        p50_ms, p99_ms = quantiles_ms(await one_after_the_other(manager, 500))
        rows.append(Row(GROUP, "SQLite, durable, p50", p50_ms, "ms", target=2, note=f"p99 {p99_ms:.1f} ms"))
        rate = await at_once(manager, callers=100, each=30)
        rows.append(Row(GROUP, "SQLite, durable, 100 callers at once", rate, "/s", target=5_000))
    return rows


def rows() -> list[Row]:
    """Measures and returns the rows."""
    return run(measured())
