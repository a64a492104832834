"""Many sessions in one process, each at the pace of a quick model: does it keep the pace, how late is it, what does it cost?

Each delta is the time at which the provider wrote it. A contender that cannot keep the pace reads several deltas at once, and its
CPU per chunk *falls*: look at the wall time and at the lateness first.

Rule: the provider's own lateness is measured in the same run, and printed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from statistics import median

from benchmarks.comparing import compared
from benchmarks.contenders.roster import BARE, GREENROOM, PEERS, SDK, Entry
from benchmarks.contenders.works import Figures
from benchmarks.fake_provider import provider, stats
from benchmarks.measure import FULL, PACED_JOIN_S, PACED_MS, Row, Sizes, median_row

FEW = 50
"""Streams at which the quicker peers nearly keep the pace."""


def group_of(streams: int) -> str:
    """Returns the heading of a run."""
    return f"{streams} sessions in one process, a delta each {PACED_MS} ms each: CPU per chunk"


MANY_GROUP = group_of(FULL.streams)


def rows(sizes: Sizes) -> list[Row]:
    """Measures many streams, then so few that the peers have a chance."""
    few = replace(sizes, streams=min(FEW, sizes.streams // 2), paced_rounds=1)
    return [*_measured(sizes), *_measured(few)]


def _measured(sizes: Sizes) -> list[Row]:
    group = group_of(sizes.streams)
    ideal_s = sizes.paced_chunks * PACED_MS / 1000 + PACED_JOIN_S * (1 - 1 / sizes.streams)

    def row(entry: Entry, name: str, figures: Figures) -> Row:
        more = {name: median(values) for name, values in figures.items() if name != "us"}
        late = stats(base)
        note = (
            f"late p50 {more['p50_ms']:,.1f} ms, p99 {more['p99_ms']:,.1f} ms; {more['wall_s']:.1f} s for {ideal_s:.1f} s; "
            f"peak {more['peak_mb']:.0f} MB; the provider itself p99 {late['p99_ms']:.1f} ms"
        )
        made = median_row(group, name, figures["us"], "us", role=entry.role, note=note)
        return replace(made, more=more)

    with provider() as base:
        measured = partial(compared, group, work="paced", url=f"{base}/paced/{sizes.paced_chunks}/{PACED_MS}", row=row)
        found = measured((BARE, GREENROOM, SDK), sizes=sizes)
        # Who does not keep the pace takes many times as long: one round tells that.
        fewer = replace(sizes, paced_rounds=1)
        for entry in PEERS:
            for store in reversed(entry.stores):
                found += measured((replace(entry, stores=(store,)),), sizes=fewer)
                # Kept on disk, as ours: only one whose store fails under this load is measured in memory too.
                if not found[-1].failure:
                    break
        return found
