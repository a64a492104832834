"""Coming back in the middle of a long answer: the time to the first frame, by a position and without one.

The answer has 2,000 deltas; half of them have been written when the readers come, the rest still arrives at a pace.

Rule: every reader that is measured is a new one, and its first frame is looked at.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.contenders.greenroom_manager import Greenroom, opened, text_of
from benchmarks.fake_provider import STAMP_CHARS, provider
from benchmarks.measure import PACED_MS, Row, Sizes, quantiles_ms, run

GROUP = "rejoin in the middle of an answer of 2,000 deltas: time to the first frame"
DELTAS = 2_000
MISSED = DELTAS // 4
READERS = 40
TARGET_MS = 5


def rows(sizes: Sizes) -> list[Row]:
    """Measures both stores."""
    del sizes  # one answer is quick enough
    with provider() as base:
        url = f"{base}/middle/{DELTAS}/{PACED_MS}"
        return [row for store in ("memory", "sqlite") for row in run(_measured(url, store))]


async def _measured(url: str, store: str) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with opened(url, "memory" if store == "memory" else "sqlite", Path(folder)) as greenroom:
            session_id = await greenroom.create()
            await greenroom.manager.send(session_id, "go")
            cursor = await _middle_of(greenroom, session_id)
            rows = []
            for name, position in (("at a position in the middle", cursor), ("without a position (a snapshot)", None)):
                first_s = [await _first_frame_s(greenroom, session_id, position) for _ in range(READERS)]
                p50_ms, p99_ms = quantiles_ms(first_s)
                rows.append(Row(GROUP, f"{store}, {name}", p50_ms, "ms", target=TARGET_MS, note=f"p99 {p99_ms:.1f} ms"))
            caught_s = [await _caught_up_s(greenroom, session_id, cursor) for _ in range(READERS)]
            p50_ms, p99_ms = quantiles_ms(caught_s)
            name = f"{store}, at a position, until the {MISSED} missed deltas are there"
            rows.append(Row(GROUP, name, p50_ms, "ms", note=f"p99 {p99_ms:.1f} ms"))
            await greenroom.manager.cancel(session_id)
            return rows


async def _middle_of(greenroom: Greenroom, session_id: str) -> str:
    """Reads until some paced deltas have come after the first half; returns a position in the middle of that half."""
    middle, characters = "", 0
    async with asyncio.timeout(30):
        async for cursor, data in greenroom.manager.attach(session_id):
            characters += len(text_of(data))
            if characters <= (DELTAS // 2 - MISSED) * STAMP_CHARS:
                middle = cursor
            if characters > (DELTAS // 2 + 10) * STAMP_CHARS:
                return middle
    raise RuntimeError("the answer ended before its middle")


async def _first_frame_s(greenroom: Greenroom, session_id: str, cursor: str | None) -> float:
    began_s = time.perf_counter()
    async for _, data in greenroom.manager.attach(session_id, cursor):
        took_s = time.perf_counter() - began_s
        if not data:
            raise RuntimeError("an empty frame")
        return took_s
    raise RuntimeError("the session is idle: nothing was rejoined")


async def _caught_up_s(greenroom: Greenroom, session_id: str, cursor: str) -> float:
    began_s = time.perf_counter()
    characters = 0
    async for _, data in greenroom.manager.attach(session_id, cursor):
        characters += len(text_of(data))
        if characters >= MISSED * STAMP_CHARS:
            return time.perf_counter() - began_s
    raise RuntimeError("the session is idle: nothing was rejoined")
