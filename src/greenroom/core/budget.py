"""What a turn, a session and a user may use: tokens and money.

A budget is looked at before each step, and while a step streams. A step that is over it is cut off: what was said stays, and so
does a history that every provider takes.

Rule: money is counted where its price is known. Where it is not, a money budget ends the turn: nobody is surprised by a bill.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from greenroom.config import SessionConfig, UserBudget
from greenroom.core.turn import FinishTurn
from greenroom.messages import (
    AnswerPart,
    AssistantMessage,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolSpec,
    TranscriptMessage,
    Usage,
    UserMessage,
)

CHARACTERS_PER_TOKEN: Final = 4
"""The usual rule of thumb, for what a provider has not counted yet."""

_FILE_TOKENS_MAX: Final = 1600
"""What a picture costs at most, about: its bytes are not what a model reads. Anthropic's vision guide has 1,568."""

_HINT: Final = "raise the budget with update_session, or begin a new session"


class Prices(msgspec.Struct, frozen=True, kw_only=True):
    """What a token of a model costs, in US dollars; `None` where nobody knows."""

    input_usd: float | None = None
    output_usd: float | None = None


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What may be used, and what of it is.

    Attributes:
        of: whose it is: `turn`, `session` or `user`.
        used: by now.
        tokens_max, usd_max: what may be used; `None` bounds nothing.
        period: in what time, for people; empty for ever.
        hint: what to do when it is used up.
    """

    of: str
    used: Usage
    tokens_max: int | None
    usd_max: float | None
    period: str = ""
    hint: str = _HINT


def budgets_of(config: SessionConfig, *, turn: Usage, session: Usage) -> tuple[Budget, Budget]:
    """Returns the budgets of a turn and its session.

    Args:
        config: of the session.
        turn: what the turn has used.
        session: what the session has used, this turn included.
    """
    return (
        Budget(of="turn", used=turn, tokens_max=config.turn_budget_tokens, usd_max=config.turn_budget_usd),
        Budget(of="session", used=session, tokens_max=config.budget_tokens, usd_max=config.budget_usd),
    )


def budget_of_user(bound: UserBudget | None, *, used: Usage) -> Budget:
    """Returns the budget of a user who has used so much in its days; one that bounds nothing, where there is none."""
    if bound is None:
        return Budget(of="user", used=used, tokens_max=None, usd_max=None)
    return Budget(
        of="user",
        used=used,
        tokens_max=bound.tokens,
        usd_max=bound.usd,
        period=f" for {bound.days} days" if bound.days > 1 else " for today",
        hint=f"it is set by [user_budget] in greenroom.toml, and counts the last {bound.days} days (UTC)",
    )


def exceeded(budgets: Iterable[Budget]) -> FinishTurn | None:
    """Returns the end of a turn for which a budget is used up; `None` if another step may be asked."""
    for budget in budgets:
        used, tokens_max, usd_max = budget.used, budget.tokens_max, budget.usd_max
        message = ""
        if tokens_max is not None and (tokens := used.input_tokens + used.output_tokens) >= tokens_max:
            message = f"the {budget.of} has used {tokens} tokens of its budget of {tokens_max}{budget.period}"
        elif usd_max is not None and used.cost_usd is None:
            message = f"the {budget.of} has a budget of {usd_max:g} USD, and used a model whose price is not known"
        elif usd_max is not None and used.cost_usd is not None and used.cost_usd >= usd_max:
            message = (
                f"the {budget.of} has used {used.cost_usd:.6f} USD of its budget of {usd_max:g} USD{budget.period}"
            )
        if message:
            return FinishTurn(outcome="failed", code="budget_exceeded", message=message, hint=budget.hint)
    return None


def has_budget(config: SessionConfig) -> bool:
    """Returns whether anything is bounded."""
    return needs_prices(config) or not (config.budget_tokens is None and config.turn_budget_tokens is None)


def needs_prices(config: SessionConfig) -> bool:
    """Returns whether money is bounded."""
    return not (config.budget_usd is None and config.turn_budget_usd is None)


def usage_so_far(*, told: Usage | None, sent_characters: int, uncounted_characters: int, prices: Prices) -> Usage:
    """Returns what a step has used so far: what its provider has counted, and an estimate of what it has not.

    Args:
        told: the provider's count, or `None` if it has not said anything yet.
        sent_characters: of the request; they count where the provider has counted no input.
        uncounted_characters: of the answer, since the provider last counted.
        prices: of the model, for a count without a price.
    """
    counted = told if told is not None else Usage()
    input_tokens = counted.input_tokens or sent_characters // CHARACTERS_PER_TOKEN
    output_tokens = counted.output_tokens + uncounted_characters // CHARACTERS_PER_TOKEN
    if counted.estimated and not counted.output_tokens:  # a total alone: what was said is part of it
        cached = counted.cached_input_tokens + counted.cache_write_input_tokens
        output_tokens = min(output_tokens, max(0, input_tokens - cached))
        input_tokens -= output_tokens
    if (input_tokens, output_tokens) == (counted.input_tokens, counted.output_tokens):
        usage = counted
    else:
        usage = msgspec.structs.replace(counted, input_tokens=input_tokens, output_tokens=output_tokens, estimated=True)
    if usage.cost_usd is None and prices.input_usd is not None and prices.output_usd is not None:
        cost_usd = input_tokens * prices.input_usd + output_tokens * prices.output_usd
        return msgspec.structs.replace(usage, cost_usd=cost_usd)
    return usage


def characters_sent(*, system: str, messages: Iterable[TranscriptMessage], tools: Iterable[ToolSpec]) -> int:
    """Returns how long a request is, for an estimate of its tokens."""
    count = len(system) + sum(len(msgspec.json.encode(tool)) for tool in tools)
    for message in messages:
        match message:
            case UserMessage(parts=parts):
                count += sum(_file_characters(part) if isinstance(part, FilePart) else len(part.text) for part in parts)
            case AssistantMessage(parts=answered):
                count += sum(characters_of(part) for part in answered)
            case ToolMessage(results=results):
                count += sum(len(result.content) for result in results)
    return count


def characters_of(part: AnswerPart) -> int:
    """Returns how long a part of an answer is, for an estimate of its tokens."""
    match part:
        case TextPart() | ReasoningPart() | RefusalPart():
            return len(part.text)
        case ToolCallPart():
            return len(part.name) + len(part.arguments)
        case FilePart():
            return _file_characters(part)
        case OpaquePart() | SourcePart():
            return 0


def _file_characters(part: FilePart) -> int:
    is_text = part.media_type.startswith("text/")
    return len(part.data) if is_text else min(len(part.data), _FILE_TOKENS_MAX * CHARACTERS_PER_TOKEN)
