"""What a new session costs: one after the other for everybody, and for Greenroom durably with many callers at once.

Rule: `create_session` as users call it; durable means on the disk when it returns. What others call a session differs: the table
says what it is.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.comparing import compared
from benchmarks.contenders.greenroom_manager import Greenroom, opened
from benchmarks.contenders.roster import GREENROOM, PEERS, Entry
from benchmarks.contenders.works import Figures
from benchmarks.measure import Row, Sizes, quantiles_ms, run

GROUP = "a new session: wall time"
AT_ONCE = "new sessions, 100 callers at once"
CALLERS = 100
_TARGETS_US = {"memory": 50, "sqlite": 2_000}
_NOBODY = "http://127.0.0.1:9"
"""Creating a session never asks a provider."""


def rows(sizes: Sizes) -> list[Row]:
    """Measures everybody, then Greenroom with many callers."""

    def row(entry: Entry, name: str, figures: Figures) -> Row:
        p50_ms, p99_ms = quantiles_ms([value / 1e6 for value in figures["us"]])
        target = _TARGETS_US[name.rpartition(" ")[2]] if entry.role == "ours" else None
        note = f"p99 {p99_ms * 1e3:,.0f} us; {entry.session_is}"
        return Row(GROUP, name, p50_ms * 1e3, "us", target, entry.role, note=note)

    found = compared(GROUP, (GREENROOM, *PEERS), work="create", url=_NOBODY, sizes=sizes, row=row)
    return [*found, run(_at_once(max(1, sizes.created // CALLERS)))]


async def _at_once(each: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with opened(_NOBODY, "sqlite", Path(folder)) as greenroom:
            await _some(greenroom, 50)
            rates = []
            for _ in range(3):
                began_s = time.perf_counter()
                await asyncio.gather(*(_some(greenroom, each) for _ in range(CALLERS)))
                rates.append(CALLERS * each / (time.perf_counter() - began_s))
    return Row(AT_ONCE, "Greenroom, sqlite", sorted(rates)[1], "/s", target=5_000, samples=rates)


async def _some(greenroom: Greenroom, count: int) -> None:
    for _ in range(count):
        await greenroom.create()
