"""What users have used, as rows: added to by an append, and summed up.

Rule: written only in the transaction of the append that it belongs to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from greenroom.interfaces import Spent
from greenroom.logs.appending import Write
from greenroom.logs.spending import spending
from greenroom.logs.sqlite import statements
from greenroom.messages import Usage

_DAY_MAX: Final = 2**62


def spend(connection: sqlite3.Connection, writes: Sequence[Write]) -> None:
    """Writes what the appends add."""
    rows = [
        (
            *(account.user_id, account.day),
            *(spent.usage.input_tokens, spent.usage.output_tokens),
            *(spent.usage.cached_input_tokens, spent.usage.cache_write_input_tokens, spent.usage.reasoning_tokens),
            *(spent.usage.cost_usd, spent.unpriced_tokens, spent.estimated_tokens),
        )
        for account, spent in spending(writes).items()
    ]
    statements.insert_rows(connection, statements.load("ledger")["add"], rows)


def sum_up(connection: sqlite3.Connection, user_id: str, from_day: int) -> Spent:
    """Returns what the user has used since the beginning of that day."""
    question = (user_id, min(max(from_day, 0), _DAY_MAX))
    row = connection.execute(statements.load("ledger")["spent"], question).fetchone()
    sent, said, cached, cache_write, reasoning, cost_usd, unpriced, estimated = row
    usage = Usage(
        input_tokens=sent,
        output_tokens=said,
        cached_input_tokens=cached,
        cache_write_input_tokens=cache_write,
        reasoning_tokens=reasoning,
        cost_usd=cost_usd,
        estimated=estimated > 0,
    )
    return Spent(usage=usage, unpriced_tokens=unpriced, estimated_tokens=estimated)
