"""How much one user, and all together, may ask for: requests and messages in a minute, streams at the same time.

Counted in this process: behind a load balancer each node counts for itself.

Rule: what is too much is refused at once, with the time after which it will not be.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Self

from greenroom.limits import Limits
from greenroom.server.refusal import Refusal

_STREAM_RETRY_S: Final = 5
_WINDOW_S: Final = 60.0
_USERS_TO_SWEEP: Final = 4096
"""Users are forgotten that have not asked for anything in a minute, whenever this many more have come."""


class Share:
    """What a user has taken of something that is counted; leaving its context gives it back."""

    def __init__(self, taken: Counter[str], user_id: str, count: int) -> None:
        self._taken = taken
        self._user_id = user_id
        self._count = count
        taken[user_id] += count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._taken[self._user_id] -= self._count
        if not self._taken[self._user_id]:
            del self._taken[self._user_id]


class Rate:
    """So much in a minute, for each user: all of it at once, or evenly (the generic cell rate algorithm).

    Args:
        per_minute: how much.
        clock: seconds that never go back.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._interval_s = _WINDOW_S / per_minute
        self._clock = clock
        self._free_at_s: dict[str, float] = {}
        self._sweep_at = _USERS_TO_SWEEP

    def __len__(self) -> int:
        return len(self._free_at_s)

    def wait_s(self, user_id: str) -> float:
        """Returns 0, or the seconds until one would be allowed; counts nothing."""
        now_s = self._clock()
        wait_s = max(self._free_at_s.get(user_id, now_s) - now_s, 0.0) + self._interval_s - _WINDOW_S
        return wait_s if wait_s > 1e-9 else 0.0  # noqa: PLR2004 - what sums of fractions are wrong by

    def hit(self, user_id: str) -> float:
        """Counts one; returns 0, or the seconds until it would be allowed, and then does not count it."""
        wait_s = self.wait_s(user_id)
        if wait_s:
            return wait_s
        now_s = self._clock()
        self._free_at_s[user_id] = max(self._free_at_s.get(user_id, now_s), now_s) + self._interval_s
        if len(self._free_at_s) > self._sweep_at:
            self._free_at_s = {user: at_s for user, at_s in self._free_at_s.items() if at_s > now_s}
            self._sweep_at = len(self._free_at_s) + _USERS_TO_SWEEP
        return 0.0

    def count(self, key: str, what: str) -> None:
        """Counts one; `what` names it and its kin in the refusal.

        Raises:
            Refusal: 429: it is one too many.
        """
        if wait_s := self.hit(key):
            seconds = str(math.ceil(wait_s))
            raise Refusal(
                429,
                "too_many_requests",
                f"more than {self.per_minute} {what} in a minute",
                hint=f"wait {seconds} s",
                headers={"retry-after": seconds},
            )


class Quotas:
    """Counts, and refuses."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._open: Counter[str] = Counter()
        self._held: Counter[str] = Counter()
        self._requests = Rate(limits.requests_per_minute_max)
        self._messages = Rate(limits.messages_per_minute_max)

    @property
    def open_streams(self) -> int:
        """Streams that are open now."""
        return self._open.total()

    def count_request(self, user_id: str) -> None:
        """Counts a request.

        Raises:
            Refusal: 429.
        """
        self._requests.count(user_id, "requests")

    def count_message(self, user_id: str) -> None:
        """Counts a message.

        Raises:
            Refusal: 429.
        """
        self._messages.count(user_id, "messages")

    def take_stream(self, user_id: str) -> Share:
        """Counts an open stream until the share is left.

        Raises:
            Refusal: 429 if the user has too many, 503 if all have.
        """
        retry = {"retry-after": str(_STREAM_RETRY_S)}
        if self._open[user_id] >= self._limits.streams_per_user_max:
            count = self._limits.streams_per_user_max
            raise Refusal(429, "too_many_streams", f"{count} streams are open already", hint="close one", headers=retry)
        if self.open_streams >= self._limits.streams_max:
            raise Refusal(503, "too_many_streams", "the server has no room for another stream", headers=retry)
        return Share(self._open, user_id, 1)

    def hold(self, user_id: str, size: int) -> Share:
        """Counts an answer of so many bytes until its client was given it. Whoever waits for nothing yet may always have one.

        Raises:
            Refusal: 429 if too much waits for the user's clients, 503 if for all together.
        """
        retry = {"retry-after": str(_STREAM_RETRY_S)}
        theirs, all_held = self._held[user_id], self._held.total()
        if theirs and theirs + size > self._limits.answers_per_user_bytes_max:
            raise Refusal(
                429,
                "too_many_answers",
                f"{theirs} bytes of answers wait to be read already",
                hint="read those first",
                headers=retry,
            )
        if all_held and all_held + size > self._limits.answers_bytes_max:
            raise Refusal(503, "too_many_answers", "the server has no room for another large answer", headers=retry)
        return Share(self._held, user_id, size)
