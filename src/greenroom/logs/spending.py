"""What appends add to the ledger.

Rule: one entry for a user and a day in each transaction, in the order of their names: two processes that write for the same users
wait for each other, and never in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from greenroom.interfaces import Spent
from greenroom.logs.appending import Write

_DAY_MS: Final = 86_400_000


class Account(NamedTuple):
    """Whose day it is, counted from 1970 in UTC."""

    user_id: str
    day: int


def spending(writes: Iterable[Write]) -> dict[Account, Spent]:
    """Returns what the appends add, sorted."""
    found: dict[Account, Spent] = {}
    for write in writes:
        if write.index is None or write.index.spent is None:
            continue
        account = Account(write.index.summary.user_id, max(0, write.records[-1].at_ms) // _DAY_MS)
        found[account] = found.get(account, Spent()).plus(Spent.of(write.index.spent))
    return dict(sorted(found.items()))
