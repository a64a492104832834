"""What a turn and a session may use: tokens and money.

A budget is looked at before each step, and while a step streams. A step that is over it is cut off: what was said stays, and so
does a history that every provider takes.

Rule: money is counted where its price is known. Where it is not, a money budget ends the turn: nobody is surprised by a bill.
"""

from __future__ import annotations

from typing import Final

import msgspec

from greenroom.config import SessionConfig
from greenroom.core.turn import FinishTurn
from greenroom.messages import Usage

CHARACTERS_PER_TOKEN: Final = 4
"""The usual rule of thumb, for what a provider has not counted yet."""

_HINT: Final = "raise the budget with update_session, or begin a new session"


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """What a token of a model costs, in US dollars; `None` where nobody knows."""

    input_usd: float | None = None
    output_usd: float | None = None


def exceeded(config: SessionConfig, *, turn: Usage, session: Usage) -> FinishTurn | None:
    """Returns the end of a turn whose budget, or whose session's, is used up; `None` if another step may be asked.

    Args:
        config: of the session.
        turn: what the turn has used.
        session: what the session has used, this turn included.
    """
    for what, usage, tokens_max, usd_max in (
        ("turn", turn, config.turn_budget_tokens, config.turn_budget_usd),
        ("session", session, config.budget_tokens, config.budget_usd),
    ):
        if tokens_max is not None and (tokens := usage.input_tokens + usage.output_tokens) >= tokens_max:
            return _end(f"the {what} has used {tokens} tokens of its budget of {tokens_max}")
        if usd_max is None:
            continue
        if usage.cost_usd is None:
            return _end(f"the {what} has a budget of {usd_max:g} USD, and used a model whose price is not known")
        if usage.cost_usd >= usd_max:
            return _end(f"the {what} has used {usage.cost_usd:.6f} USD of its budget of {usd_max:g} USD")
    return None


def has_budget(config: SessionConfig) -> bool:
    """Returns whether anything is bounded."""
    return needs_prices(config) or not (config.budget_tokens is None and config.turn_budget_tokens is None)


def needs_prices(config: SessionConfig) -> bool:
    """Returns whether money is bounded."""
    return not (config.budget_usd is None and config.turn_budget_usd is None)


def running_usage(*, told: Usage | None, sent_characters: int, said_characters: int, prices: Prices) -> Usage:
    """Returns what a step has used so far: what its provider has counted, and an estimate of what it has not.

    Args:
        told: the provider's count, or `None` if it has not said anything yet.
        sent_characters: of the request.
        said_characters: of the answer so far.
        prices: of the model.
    """
    input_tokens = told.input_tokens if told is not None else sent_characters // CHARACTERS_PER_TOKEN
    output_tokens = max(told.output_tokens if told is not None else 0, said_characters // CHARACTERS_PER_TOKEN)
    cost_usd = None
    if prices.input_usd is not None and prices.output_usd is not None:
        cost_usd = input_tokens * prices.input_usd + output_tokens * prices.output_usd
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=told.cached_input_tokens if told is not None else 0,
        cost_usd=cost_usd,
    )


def _end(message: str) -> FinishTurn:
    return FinishTurn(outcome="failed", code="budget_exceeded", message=message, hint=_HINT)
