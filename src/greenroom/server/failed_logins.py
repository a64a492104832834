"""How often an address may bring credentials that are not accepted.

A credential is looked at first and counted afterwards, and only if it is not accepted: behind a proxy, or in an office, many people
have one address, and what one of them fails at must not keep the others out. Guessing is not what this keeps away: a credential is
random, signed, or long (`strength`). It bounds what a broken client or a scanner costs, and says so to it.

Rule: a request whose credential is accepted is never refused because of others.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from greenroom.limits import Limits
from greenroom.server.quotas import Rate


class FailedLogins:
    """The failures of each address.

    Args:
        limits: say how many may be.
        clock: seconds that never go back.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._failures = Rate(limits.failed_logins_per_minute_max, clock)

    def count(self, address: str) -> None:
        """Counts a credential that was not accepted.

        Raises:
            Refusal: 429: it is one too many.
        """
        self._failures.count(address, "credentials from this address that were not accepted")
