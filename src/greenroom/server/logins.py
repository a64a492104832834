"""How often a client may try credentials that are not accepted.

A client is its address. From one that fails too often nothing new is looked at for a while; what has been accepted from it before still is,
so that a page with an old cookie, or a guesser behind the same proxy, locks nobody out who is in.

Rule: the answer to a try that is too much does not depend on whether its credential is right.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from greenroom.limits import Limits
from greenroom.server.quotas import Rate
from greenroom.server.refusal import Refusal

_KNOWN_MAX: Final = 10_000


class Logins:
    """The tries of each address, and what was accepted from it.

    Args:
        limits: say how many may fail.
        clock: seconds that never go back.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = Rate(limits.failed_logins_per_minute_max, clock)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    def check(self, address: str, credential: str) -> None:
        """Accepts a try, before the credential is looked at.

        Raises:
            Refusal: 429.
        """
        wait_s = self._failures.wait_s(address)
        if wait_s and _pair(address, credential) not in self._known:
            seconds = str(math.ceil(wait_s))
            raise Refusal(
                429,
                "too_many_requests",
                f"more than {self._failures.per_minute} credentials in a minute were not accepted",
                hint=f"wait {seconds} s",
                headers={"retry-after": seconds},
            )

    def failed(self, address: str, credential: str) -> None:
        """Counts a credential that was not accepted."""
        self._known.pop(_pair(address, credential), None)  # of a signed token that has expired
        self._failures.hit(address)

    def succeeded(self, address: str, credential: str) -> None:
        """Remembers a credential that was accepted."""
        pair = _pair(address, credential)
        self._known[pair] = None
        self._known.move_to_end(pair)
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)


def _pair(address: str, credential: str) -> bytes:
    return hashlib.sha256(f"{address}\n{credential}".encode("utf-8", "surrogatepass")).digest()
