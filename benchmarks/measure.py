"""How things are measured here: CPU seconds per chunk, medians of rounds with their spread, and lateness of paced deltas.

CPU time is of this process with all its threads, kernel and user together; the provider runs in another process. Ratios within
one run of one machine mean something; seconds of different machines do not. Everything here runs in the environments of the
peers too, where nothing of ours is installed: the standard library and uvloop only.

Rule: nothing is measured without being counted: a round that did not receive exactly what was sent is an error, not a number.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")

ROUND_S_MAX = 90
"""A round that takes longer is an error: a benchmark that hangs measures nothing."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything is measured.

    Attributes:
        chunks: deltas of a burst.
        rounds: repetitions of a burst, after one that warms up.
        streams, paced_chunks: concurrent streams of a paced run, one delta each `PACED_MS` each.
        paced_rounds: repetitions of a paced run, after one of a few streams that warms up; of peers, which take many times as
            long for one, there is one.
        turns: turns of one delta, one after the other.
        sessions: sessions of which the memory is counted.
        created: sessions that are created, for the time it takes.
        stored: sessions in the store that is opened, listed and searched.
        many: concurrent streams of the test of many.
    """

    chunks: int = 2_000
    rounds: int = 5
    streams: int = 200
    paced_chunks: int = 200
    paced_rounds: int = 3
    turns: int = 50
    sessions: int = 100
    created: int = 2_000
    stored: int = 1_000_000
    many: int = 1_000


FULL = Sizes()
QUICK = Sizes(
    chunks=500,
    rounds=2,
    streams=20,
    paced_chunks=25,
    paced_rounds=1,
    turns=10,
    sessions=50,
    created=200,
    stored=5_000,
    many=100,
)

PACED_MS = 20
PACED_JOIN_S = 1.0
"""The streams of a paced run begin one after the other during this time, as people do."""


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, the number, its unit, and what it is compared with.

    Attributes:
        group: heading of the table that the row belongs to.
        value: median of `samples`, or the only number.
        target: what the number has to stay below; rates (`/s`) and ratios (`x`) have to reach it.
        role: the rows of a group are compared with its floor and with ours.
        samples: the numbers of the rounds.
        note: more numbers of the same run, for people.
        more: the same for programs.
        failure: why there is no number; `value` is 0 then.
    """

    group: str
    name: str
    value: float
    unit: str
    target: float | None = None
    role: Literal["", "floor", "ours"] = ""
    samples: Sequence[float] = ()
    note: str = ""
    failure: str = ""
    more: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the target is reached; `None` without one."""
        if self.target is None:
            return None
        return not self.failure and (
            self.value >= self.target if self.unit in {"/s", "x"} else self.value <= self.target
        )

    @property
    def spread(self) -> float | None:
        """Half of the distance between the best and the worst round, as a share of the median."""
        if len(self.samples) < 2 or not self.value:
            return None
        return (max(self.samples) - min(self.samples)) / 2 / self.value


@dataclass(frozen=True)
class Cost:
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


async def burst_samples_us(work: Callable[[], Awaitable[int]], *, chunks: int, rounds: int) -> list[float]:
    """Returns CPU microseconds per chunk of each round; one round before them warms up connections and caches."""
    await cost_of(work, chunks=chunks)
    return [(await cost_of(work, chunks=chunks)).cpu_s / chunks * 1e6 for _ in range(rounds)]


def quantiles_ms(values_s: Sequence[float]) -> tuple[float, float]:
    """Returns median and 99th percentile in milliseconds."""
    ordered = sorted(values_s)
    return ordered[len(ordered) // 2] * 1e3, ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)] * 1e3


def median_row(
    group: str,
    name: str,
    samples: Sequence[float],
    unit: str,
    *,
    target: float | None = None,
    role: Literal["", "floor", "ours"] = "",
    note: str = "",
) -> Row:
    """Returns the row of several rounds."""
    return Row(group, name, statistics.median(samples), unit, target, role, samples, note)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` on uvloop, as servers do."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def peak_mb() -> float:
    """Returns the most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
