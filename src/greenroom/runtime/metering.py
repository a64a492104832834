"""Watches what a running step uses, where a budget bounds it.

Rule: what the provider has counted goes before what we estimate; and nothing is measured where nothing is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from greenroom.core.budget import Budget, Prices, exceeded, running_usage
from greenroom.core.session import SessionState
from greenroom.core.step import Intake
from greenroom.errors import BudgetExceeded
from greenroom.interfaces import BackendRequest
from greenroom.messages import Usage
from greenroom.runtime.allowance import Account
from greenroom.runtime.families import Families

_SAMPLE_TOKENS = 1000


class Meter:
    """Measures one step.

    Args:
        state: of the session.
        intake: of the step.
        request: what was asked.
        prices: of the model.
        account: of the user.
    """

    def __init__(
        self,
        state: SessionState,
        intake: Intake,
        request: BackendRequest,
        prices: Prices,
        account: Account,
    ) -> None:
        self._state = state
        self._intake = intake
        self._sent = len(request.system) + len(msgspec.json.encode((request.messages, request.tools)))
        self._prices = prices
        self._account = account

    def usage(self) -> Usage:
        """Returns what the step has used so far, with an estimate of what the provider has not counted."""
        return self._running(self._sent)

    def _running(self, sent_characters: int) -> Usage:
        return running_usage(
            told=self._intake.usage,
            sent_characters=sent_characters,
            said_characters=self._intake.size,
            prices=self._prices,
        )

    def check(self) -> None:
        """Accepts a step that may go on. What was sent is paid for whether it goes on or not: it counts once it was counted.

        Raises:
            BudgetExceeded: a budget is used up.
        """
        running = self._running(0)
        self._account.run(self._state.session_id, running)
        check_budgets([*self._state.budgets(running), self._account.budget()])


def check_budgets(budgets: Iterable[Budget]) -> None:
    """Accepts budgets of which something is left.

    Raises:
        BudgetExceeded: one is used up.
    """
    if (end := exceeded(budgets)) is not None:
        raise BudgetExceeded(end.message, hint=end.hint)


async def prices_of(families: Families, *, backend: str, model: str) -> Prices:
    """Returns what a token of the model costs.

    Raises:
        BudgetExceeded: nobody knows, so that no money budget could be kept.
    """
    sent = await families.priced(Usage(input_tokens=_SAMPLE_TOKENS), backend=backend, model=model)
    said = await families.priced(Usage(output_tokens=_SAMPLE_TOKENS), backend=backend, model=model)
    if sent.cost_usd is None or said.cost_usd is None:
        raise BudgetExceeded(
            f"a money budget cannot be kept: the price of {backend}:{model} is not known",
            hint="add it to the file that `prices` names in greenroom.toml",
        )
    return Prices(input_usd=sent.cost_usd / _SAMPLE_TOKENS, output_usd=said.cost_usd / _SAMPLE_TOKENS)
