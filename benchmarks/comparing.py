"""Every contender at the same work: one row each, in the order of the roster, with the reason where there is no number.

Rule: who fails is in the table, and hides nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from benchmarks.contenders.orders import Failed, figures
from benchmarks.contenders.roster import Entry
from benchmarks.contenders.works import Figures
from benchmarks.measure import Row, Sizes


def compared(
    group: str,
    entries: Iterable[Entry],
    *,
    work: str,
    url: str,
    sizes: Sizes,
    row: Callable[[Entry, str, Figures], Row],
) -> list[Row]:
    """Returns a row for each contender and each of its stores; `row` makes it of entry, name and figures."""
    rows: list[Row] = []
    for entry in entries:
        for store in entry.stores:
            name = entry.name(store)
            try:
                rows.append(row(entry, name, figures(entry, store, work, url, sizes)))
            except Failed as error:
                rows.append(Row(group, name, 0, "", role=entry.role, failure=str(error)))
    return rows
