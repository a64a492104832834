"""The work that every contender does: a burst, many streams at a pace, short turns, new sessions, sessions that stay.

Each work returns its raw figures by name; `worker` runs one in a process of its own.

Rule: nothing here knows a contender, and nothing is measured before it has been done once.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any, Final

from benchmarks.contenders.contract import Contender
from benchmarks.fake_provider import STAMP_CHARS, lateness_s, now_us
from benchmarks.measure import PACED_JOIN_S, Sizes, burst_samples_us, cost_of, peak_mb, quantiles_ms

Figures = dict[str, list[float]]
Work = Callable[[Contender, Sizes], Awaitable[Figures]]

_WARM_UP_STREAMS: Final = 8


async def chunks_of(contender: Contender, session: Any, late: list[float] | None = None) -> int:
    """Reads one answer and returns how many deltas it had; adds how late each of them was to `late`."""
    characters = 0

    def show(text: str) -> None:
        nonlocal characters
        characters += len(text)
        if late is not None:
            late.extend(lateness_s(text, now_us()))

    await contender.answer(session, show)
    return characters // STAMP_CHARS


async def burst(contender: Contender, sizes: Sizes) -> Figures:
    """One answer as fast as it comes, in a session that is new: CPU per chunk."""

    async def round_() -> int:
        return await chunks_of(contender, await contender.create())

    return {"us": await burst_samples_us(round_, chunks=sizes.chunks, rounds=sizes.rounds)}


async def paced(contender: Contender, sizes: Sizes) -> Figures:
    """Many sessions at once, each at the pace of a quick model: CPU per chunk, lateness, and the time that it takes."""
    await asyncio.gather(*[chunks_of(contender, await contender.create()) for _ in range(_WARM_UP_STREAMS)])
    figures: Figures = {"us": [], "p50_ms": [], "p99_ms": [], "wall_s": [], "peak_mb": []}
    for _ in range(sizes.paced_rounds):
        late: list[float] = []
        sessions = [await contender.create() for _ in range(sizes.streams)]

        async def joined(number: int, sessions: list[Any] = sessions, late: list[float] = late) -> int:
            await asyncio.sleep(number * PACED_JOIN_S / len(sessions))
            return await chunks_of(contender, sessions[number], late)

        async def all_streams(joined: Callable[[int], Awaitable[int]] = joined) -> int:
            return sum(await asyncio.gather(*map(joined, range(sizes.streams))))

        chunks = sizes.streams * sizes.paced_chunks
        cost = await cost_of(all_streams, chunks=chunks)
        p50_ms, p99_ms = quantiles_ms(late)
        for name, value in (
            ("us", cost.cpu_s / chunks * 1e6),
            ("p50_ms", p50_ms),
            ("p99_ms", p99_ms),
            ("wall_s", cost.wall_s),
            ("peak_mb", peak_mb()),
        ):
            figures[name].append(value)
    return figures


async def turns(contender: Contender, sizes: Sizes) -> Figures:
    """Short answers one after the other, each in a new session: time to the first delta, and CPU of a whole turn."""
    first_ms: list[float] = []
    cpu_ms: list[float] = []
    for number in range(sizes.turns + 3):
        session = await contender.create()
        shown: list[float] = []
        began_s, cpu_s = time.perf_counter(), time.process_time()
        await contender.answer(session, lambda _, shown=shown: shown.append(time.perf_counter()))  # type: ignore[misc]
        if number >= 3:  # the first ones connect and load what is loaded late
            first_ms.append((shown[0] - began_s) * 1e3)
            cpu_ms.append((time.process_time() - cpu_s) * 1e3)
    return {"first_ms": first_ms, "cpu_ms": cpu_ms}


async def create(contender: Contender, sizes: Sizes) -> Figures:
    """New sessions, one after the other."""
    for _ in range(20):
        await contender.create()
    walls_us: list[float] = []
    kept: list[Any] = []
    for _ in range(sizes.created):
        began_s = time.perf_counter()
        kept.append(await contender.create())
        walls_us.append((time.perf_counter() - began_s) * 1e6)
    return {"us": walls_us}


async def keep(contender: Contender, sizes: Sizes) -> Figures:
    """Sessions that have had a short turn and are still there: what Python holds for each.

    As many others go the same way before: they pay for caches and for tables that have grown.
    """
    before: list[Any] = []
    after: list[Any] = []
    tracemalloc.start()
    for sessions in (before, after):
        held = held_bytes()
        for _ in range(sizes.sessions):
            session = await contender.create()
            sessions.append(session)
            await contender.answer(session, lambda _: None)
    kib = (held_bytes() - held) / sizes.sessions / 1024
    tracemalloc.stop()
    return {"kib": [kib]}


def held_bytes() -> int:
    """Returns what Python holds now."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


WORKS: Final[dict[str, Work]] = {"burst": burst, "paced": paced, "turns": turns, "create": create, "keep": keep}
