"""One answer as fast as it comes: provider bytes to text in the caller's hands, CPU per chunk, for everybody.

Rule: what is measured of Greenroom is the public API: backend -> log -> feed -> AG-UI events, with the durability that a user gets.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.comparing import compared
from benchmarks.contenders.roster import BACKEND, BARE, BYTES, CLAUDE, GREENROOM, PEERS, SDK, Entry
from benchmarks.fake_provider import provider
from benchmarks.measure import Row, Sizes, median_row

OPENAI = "one burst, OpenAI dialect, whole path in process: CPU per chunk"
CLAUDE_GROUP = "one burst, Claude dialect, whole path in process: CPU per chunk"
TARGET_US = 12
TARGET_X = 12


def rows(sizes: Sizes) -> list[Row]:
    """Measures both dialects."""
    with provider() as base:
        url = f"{base}/burst/{sizes.chunks}"
        found = _measured(OPENAI, (BARE, BYTES, BACKEND, GREENROOM, SDK, *PEERS), url, sizes)
        peers = {entry.name(store) for entry in PEERS for store in entry.stores}
        return [*found, *_beside_best(found, peers), *_measured(CLAUDE_GROUP, CLAUDE, url, sizes)]


def _measured(group: str, entries: Iterable[Entry], url: str, sizes: Sizes) -> list[Row]:
    def row(entry: Entry, name: str, figures: dict[str, list[float]]) -> Row:
        target = TARGET_US if entry.role == "ours" else None
        return median_row(group, name, figures["us"], "us", target=target, role=entry.role)

    return compared(group, entries, work="burst", url=url, sizes=sizes, row=row)


def _beside_best(found: list[Row], peers: set[str]) -> list[Row]:
    """Returns how many times cheaper we are than the best of the peers."""
    ours = [row for row in found if row.role == "ours" and not row.failure]
    theirs = [row for row in found if row.name in peers and not row.failure]
    if not ours or not theirs:
        return []
    best, mine = min(theirs, key=lambda row: row.value), ours[-1]
    return [Row(OPENAI, f"{best.name} (best peer) / {mine.name}", best.value / mine.value, "x", target=TARGET_X)]
