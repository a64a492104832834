"""Time and randomness: the only place they come from.

Rule: nobody else asks the machine for the time or for a random number.
"""

from __future__ import annotations

import datetime as dt
import random
import secrets
import time
from typing import Protocol

_MS_PER_S = 1000


class Clock(Protocol):
    """The wall clock. Waiting is the event loop's business, which tests replace as a whole."""

    def now_ms(self) -> int:
        """Returns milliseconds since 1970."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Returns milliseconds since 1970."""
        return time.time_ns() // 1_000_000


def date_of(at_ms: int) -> str:
    """Returns the day in UTC, as `2026-11-23`."""
    return dt.datetime.fromtimestamp(at_ms / _MS_PER_S, tz=dt.UTC).date().isoformat()


def new_id(prefix: str, at_ms: int) -> str:
    """Returns an id that nobody can guess: the time, so that neighbours lie together, and 80 random bits.

    An id is no secret all the same: every access is checked against the owner.
    """
    return f"{prefix}{at_ms:012x}{secrets.token_hex(10)}"


def backoff_s(retry: int, *, base_s: float, longest_s: float) -> float:
    """Returns how long to wait before repetition number `retry` (from 1): doubled each time, half of it at random."""
    full = float(min(longest_s, base_s * 2 ** (retry - 1)))
    return full * (0.5 + random.random() / 2)  # noqa: S311 - spreads repetitions, guards nothing
