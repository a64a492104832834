"""Watches what a running step uses, where a budget bounds it.

Rule: what the provider has counted goes before what we estimate; and nothing is measured where nothing is bounded.
"""

from __future__ import annotations

from collections.abc import Iterable

from greenroom.core.budget import Budget, Prices, characters_sent, exceeded, usage_so_far
from greenroom.core.session import SessionState
from greenroom.core.step import Intake
from greenroom.errors import BudgetExceeded
from greenroom.interfaces import BackendRequest
from greenroom.messages import Usage
from greenroom.runtime.allowance import Account
from greenroom.runtime.families import Families

_SAMPLE_TOKENS = 1000


def usage_of(intake: Intake, request: BackendRequest) -> Usage:
    """Returns what a step has used that is over, with an estimate of what its provider has not counted."""
    told = intake.usage
    is_input_told = told is not None and told.input_tokens
    sent = (
        0 if is_input_told else characters_sent(system=request.system, messages=request.messages, tools=request.tools)
    )
    return usage_so_far(told=told, sent_characters=sent, uncounted_characters=intake.uncounted, prices=Prices())


class Meter:
    """Measures one step.

    Args:
        state: of the session.
        intake: of the step.
        prices: of the model.
        account: of the user.
    """

    def __init__(
        self,
        state: SessionState,
        intake: Intake,
        prices: Prices,
        account: Account,
    ) -> None:
        self._state = state
        self._intake = intake
        self._prices = prices
        self._account = account

    def check(self) -> None:
        """Accepts a step that may go on. What was sent is paid for whether it goes on or not: it counts once it was counted.

        Raises:
            BudgetExceeded: a budget is used up.
        """
        intake = self._intake
        running = usage_so_far(
            told=intake.usage, sent_characters=0, uncounted_characters=intake.uncounted, prices=self._prices
        )
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
