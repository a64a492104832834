"""What users may still use: what the ledger has, and what runs for them in this process now.

The ledger learns of a step when it is over. Until then the steps that run here are counted together, so that many sessions of a
user at once do not each believe that the whole budget is left. Steps in other processes are seen when they are over.

Rule: the ledger is asked before each step: what it says goes before what was remembered.
"""

from __future__ import annotations

from typing import Final
from weakref import WeakValueDictionary

import msgspec

from greenroom.config import DAYS_MAX, UserBudget
from greenroom.core.budget import Budget, budget_of_user
from greenroom.errors import InvalidArgument
from greenroom.interfaces import Ledger
from greenroom.messages import Usage
from greenroom.runtime.clock import Clock

DAY_MS: Final = 86_400_000
_DAYS: Final = 30
"""What people mean by lately."""


class UserUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What a user has used lately.

    Attributes:
        days: in how many days of UTC, today included.
        usage: in all sessions, also in those that were deleted; its cost is that of the tokens whose price is known, and `None` where
            no price is.
        unpriced_tokens: how many of them have no known price.
        estimated_tokens: how many of them are in usage of which a part was estimated.
        budget: what the user may use; `None` bounds nothing. It may count other days.
    """

    user_id: str
    days: int
    usage: Usage
    unpriced_tokens: int
    estimated_tokens: int
    budget: UserBudget | None


class Account:
    """What one user has used and uses now.

    Args:
        bound: what the user may use; `None` bounds nothing.
    """

    __slots__ = ("__weakref__", "_bound", "_ended", "_running", "_settled")

    def __init__(self, bound: UserBudget | None) -> None:
        self._bound = bound
        self._settled = Usage(cost_usd=0.0)
        self._running: dict[str, Usage] = {}
        self._ended: list[Usage] = []

    @property
    def is_bounded(self) -> bool:
        """Whether anything is bounded."""
        return self._bound is not None

    @property
    def needs_prices(self) -> bool:
        """Whether money is bounded."""
        return self._bound is not None and self._bound.usd is not None

    def run(self, session_id: str, usage: Usage) -> None:
        """Takes note of what the session's step has used so far."""
        self._running[session_id] = usage

    def end(self, session_id: str) -> None:
        """The session's step is over, and written. It counts here until the ledger is asked again."""
        if (usage := self._running.pop(session_id, None)) is not None:
            self._ended.append(usage)

    async def settle(self, ledger: Ledger, user_id: str, now_ms: int) -> None:
        """Asks the ledger.

        Raises:
            LogUnavailable: the storage failed.
        """
        if self._bound is not None:
            before = [*self._ended]
            spent = await ledger.spent(user_id, from_day=first_day(self._bound.days, now_ms))
            self._settled = spent.usage
            self._ended = [usage for usage in self._ended if not any(usage is known for known in before)]

    def budget(self) -> Budget:
        """Returns the user's budget, with what is used of it now."""
        used = self._settled
        for usage in (*self._ended, *self._running.values()):
            used = used.plus(usage)
        return budget_of_user(self._bound, used=used)


class Allowances:
    """The accounts of those for whom something runs here.

    Args:
        ledger: of the store.
        bound: what each user may use; `None` bounds nothing.
        clock: tells the day.
    """

    def __init__(self, ledger: Ledger, bound: UserBudget | None, clock: Clock) -> None:
        self._ledger = ledger
        self._bound = bound
        self._clock = clock
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    async def of(self, user_id: str) -> Account:
        """Returns the user's account, as the ledger has it now.

        Raises:
            LogUnavailable: the storage failed.
        """
        account = self._accounts.get(user_id)
        if account is None:
            account = self._accounts[user_id] = Account(self._bound)
        await account.settle(self._ledger, user_id, self._clock.now_ms())
        return account

    async def usage(self, user_id: str, days: int | None = None) -> UserUsage:
        """Returns what the user has used, as the ledger has it.

        Args:
            user_id: the user.
            days: how many, today included; `None` for those that the budget counts.

        Raises:
            InvalidArgument: no number of days.
            LogUnavailable: the storage failed.
        """
        if days is None:
            days = self._bound.days if self._bound is not None else _DAYS
        if not 1 <= days <= DAYS_MAX:
            raise InvalidArgument(f"days={days} is out of range", hint=f"a whole number from 1 to {DAYS_MAX}")
        spent = await self._ledger.spent(user_id, from_day=first_day(days, self._clock.now_ms()))
        usage = spent.usage
        if 0 < usage.input_tokens + usage.output_tokens <= spent.unpriced_tokens:
            usage = msgspec.structs.replace(usage, cost_usd=None)
        return UserUsage(
            user_id=user_id,
            days=days,
            usage=usage,
            unpriced_tokens=spent.unpriced_tokens,
            estimated_tokens=spent.estimated_tokens,
            budget=self._bound,
        )


def first_day(days: int, now_ms: int) -> int:
    """Returns the first of the last `days` days, today included, counted from 1970 in UTC."""
    return max(0, now_ms // DAY_MS - days + 1)
