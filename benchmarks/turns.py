"""A short answer with nothing else running: what is added to the time to the first delta, and what a whole turn costs.

Rule: every turn is the first of its session; connections are warm.
"""

from __future__ import annotations

from statistics import median

from benchmarks.comparing import compared
from benchmarks.contenders.roster import BARE, GREENROOM, PEERS, SDK, Entry
from benchmarks.contenders.works import Figures
from benchmarks.fake_provider import provider
from benchmarks.measure import Row, Sizes, median_row, quantiles_ms

GROUP = "one turn of one delta, nothing else running: time to the first delta"
TARGET_ADDED_MS = 2


def rows(sizes: Sizes) -> list[Row]:
    """Measures everybody."""
    direct_ms = 0.0

    def row(entry: Entry, name: str, figures: Figures) -> Row:
        nonlocal direct_ms
        first_ms = figures["first_ms"]
        if entry.role == "floor":
            direct_ms = median(first_ms)
        target = direct_ms + TARGET_ADDED_MS if entry.role == "ours" else None
        _, p99_ms = quantiles_ms([value / 1e3 for value in first_ms])
        note = f"p99 {p99_ms:.1f} ms; CPU of the turn {median(figures['cpu_ms']):.2f} ms"
        # Turns are not rounds: how much they differ is told by p99.
        return Row(GROUP, name, median_row(GROUP, name, first_ms, "ms").value, "ms", target, entry.role, note=note)

    with provider() as base:
        return compared(
            GROUP, (BARE, GREENROOM, SDK, *PEERS), work="turns", url=f"{base}/burst/1", sizes=sizes, row=row
        )
