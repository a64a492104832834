"""A session's settings, as the fields of a Messages request, and what a person should know about those that cannot be kept.

Theory of operation: thinking decides about most of the rest (the room for the answer, sampling, whether thinking blocks go
back), so it is decided first. Three ways lead to it: `thinking_budget_tokens`, `reasoning_effort`, and a model that thinks
unless it is stopped. Models since 4.6 are asked adaptively, with an effort; older ones with a budget, for which an effort
stands by `EFFORT_BUDGETS`.

Rule: a setting is sent, or a notice says why not and what to do; both are decided in the same place.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.backends.claude_models import model_of
from greenroom.backends.model_facts import ClaudeModel, nearest_effort
from greenroom.config import ReasoningEffort
from greenroom.interfaces import BackendRequest, Notice

EFFORT_BUDGETS: Final[dict[ReasoningEffort, int]] = {
    "minimal": 1_024,
    "low": 4_096,
    "medium": 8_192,
    "high": 16_384,
    "xhigh": 24_576,
    "max": 32_768,
}
"""Thinking tokens that stand for an effort on models that know only budgets."""

BUDGET_MIN: Final = 1_024
"""Smallest thinking budget that the API accepts."""

BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"
"""Value of `anthropic-beta` without which `thinking.block_binding` is refused."""

SAMPLING_VERSION: Final = "2023-06-01"
"""The latest `anthropic-version` that knows `temperature` and `top_p`; 2026-10-21 refuses them at any value and model."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one request.

    Attributes:
        fields: what goes into the body, `max_tokens` always.
        thinks: whether the model will think, and so may see its earlier thinking again.
        has_budget: it will, with a budget: the API then wants the running tool loop to begin with thinking.
        notices: what is not as the session asked for.
    """

    fields: dict[str, Any]
    thinks: bool
    has_budget: bool
    notices: tuple[Notice, ...]


class _Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """What was decided about thinking. `config` is the field `thinking`; `None` leaves it out."""

    config: dict[str, Any] | None = None
    effort: str | None = None
    budget: int = 0
    is_on: bool = False


def settings_of(request: BackendRequest, *, model: ClaudeModel | None = None, may_use_budget: bool = True) -> Settings:
    """Returns the settings of `request`.

    Args:
        request: what is asked for.
        model: what its model accepts; `None` for what its name says.
        may_use_budget: `False` where thinking with a budget would be refused, because the running tool loop began without.
    """
    model = model_of(request.model) if model is None else model
    notices: list[Notice] = []
    max_tokens = _max_tokens(request, model, notices)
    thinking = _thinking(request, model, max_tokens, notices)
    fields: dict[str, Any] = {"max_tokens": max_tokens, **_sampling(request, model, notices, thinks=thinking.is_on)}
    if thinking.budget and not may_use_budget:
        thinking = _Thinking()
    if thinking.config is not None:
        fields["thinking"] = thinking.config
    if thinking.effort is not None:
        fields["output_config"] = {"effort": thinking.effort}
    if stop := [text for text in dict.fromkeys(request.stop) if text.strip()]:
        fields["stop_sequences"] = stop
    if len(stop) < len(set(request.stop)):
        notices.append(_ignored("stop", "Claude accepts no stop text that is only whitespace"))
    if request.tools and request.parallel_tool_calls is False:
        fields["tool_choice"] = {"type": "auto", "disable_parallel_tool_use": True}
    return Settings(fields=fields, thinks=thinking.is_on, has_budget=thinking.budget > 0, notices=tuple(notices))


def headers_of(body: dict[str, Any]) -> dict[str, str]:
    """Returns the headers that a request with this body needs beside the SDK's own."""
    headers = {}
    if "temperature" in body or "top_p" in body:
        headers["anthropic-version"] = SAMPLING_VERSION
    if "block_binding" in body.get("thinking", {}):
        headers["anthropic-beta"] = BINDING_BETA
    return headers


def _max_tokens(request: BackendRequest, model: ClaudeModel, notices: list[Notice]) -> int:
    if request.max_tokens is not None:
        if request.max_tokens <= model.max_tokens_max:
            return request.max_tokens
        notices.append(
            _changed("max_tokens", f"{request.model} writes at most {model.max_tokens_max} tokens at a time")
        )
        return model.max_tokens_max
    wanted = request.thinking_budget_tokens or 0
    if model.thinking in {"budget", "either"} and wanted:
        # The budget is spent out of `max_tokens`: an answer must still fit behind it.
        return min(model.max_tokens_max, max(model.max_tokens, wanted + model.max_tokens // 2))
    return model.max_tokens


def _thinking(request: BackendRequest, model: ClaudeModel, max_tokens: int, notices: list[Notice]) -> _Thinking:
    effort, budget = request.reasoning_effort, request.thinking_budget_tokens
    if effort == "none":
        if budget is not None:
            notices.append(_ignored("thinking_budget_tokens", "reasoning_effort is 'none'"))
        return _off(request, model, notices)
    if model.thinking == "none":
        for name, value in (("reasoning_effort", effort), ("thinking_budget_tokens", budget)):
            if value is not None:
                notices.append(_ignored(name, f"{request.model} does not think"))
        return _Thinking()
    if model.thinking == "budget" or (model.thinking == "either" and budget is not None):
        return _with_budget(request, model, max_tokens, notices)
    if budget is not None:
        notices.append(
            _ignored("thinking_budget_tokens", f"{request.model} decides itself; reasoning_effort guides it")
        )
    if effort is None and budget is None and not model.thinks_unasked:
        return _Thinking()
    return _Thinking(config=_adaptive(model), effort=_effort(request, model, notices), is_on=True)


def _effort(request: BackendRequest, model: ClaudeModel, notices: list[Notice]) -> ReasoningEffort | None:
    """Returns the effort to send: the nearest that the model knows."""
    if (wanted := request.reasoning_effort) is None or not model.efforts:
        return None
    if (sent := nearest_effort(wanted, model.efforts)) != wanted:
        known = f"{', '.join(model.efforts[:-1])} and {model.efforts[-1]}"
        notices.append(_changed("reasoning_effort", f"{request.model} takes {known}; {sent!r} is the nearest"))
    return sent


def _with_budget(request: BackendRequest, model: ClaudeModel, max_tokens: int, notices: list[Notice]) -> _Thinking:
    effort, budget = request.reasoning_effort, request.thinking_budget_tokens
    if effort is None and budget is None:
        return _Thinking()
    tokens = budget if budget is not None else min(EFFORT_BUDGETS[effort or "low"], max(max_tokens // 2, BUDGET_MIN))
    if max_tokens <= BUDGET_MIN:
        name = "reasoning_effort" if budget is None else "thinking_budget_tokens"
        notices.append(_ignored(name, f"thinking needs max_tokens above {BUDGET_MIN}"))
        return _Thinking()
    if tokens >= max_tokens:
        notices.append(_changed("thinking_budget_tokens", f"it must be below max_tokens, which is {max_tokens}"))
        tokens = max_tokens - 1
    if effort is not None and budget is not None and not model.efforts:
        notices.append(_ignored("reasoning_effort", "thinking_budget_tokens says how much to think"))
    return _Thinking(
        config={"type": "enabled", "budget_tokens": tokens},
        effort=_effort(request, model, notices),
        budget=tokens,
        is_on=True,
    )


def _off(request: BackendRequest, model: ClaudeModel, notices: list[Notice]) -> _Thinking:
    match model.thinking_off:
        case "omit":
            return _Thinking()
        case "disabled" | "between_tools":
            return _Thinking(config={"type": model.thinking_off})
        case "never":
            notices.append(_changed("reasoning_effort", f"{request.model} always thinks; the effort 'low' is sent"))
            return _Thinking(config=_adaptive(model), effort="low", is_on=True)


def _adaptive(model: ClaudeModel) -> dict[str, Any]:
    # Newer models keep what they think to themselves unless they are asked for it: people would see a long silence.
    config: dict[str, Any] = {"type": "adaptive", "display": "summarized"}
    if model.binds_thinking:
        # The date changes, and so do tools and personas: by default such a change would refuse the whole conversation from
        # then on ("the block is bound to a different conversation"). Forgetting the thinking before it is the lesser harm.
        config["block_binding"] = {"prefix_mismatch_behavior": "drop_block"}
    return config


def _sampling(request: BackendRequest, model: ClaudeModel, notices: list[Notice], *, thinks: bool) -> dict[str, float]:
    wanted = {name: value for name in ("temperature", "top_p") if (value := getattr(request, name)) is not None}
    if model.sampling == "none" or thinks:
        because = "a thinking model chooses itself" if thinks else f"{request.model} does not accept it"
        notices.extend(_ignored(name, because) for name in wanted)
        return {}
    if len(wanted) > 1 and model.sampling == "one":
        notices.append(_ignored("top_p", f"{request.model} accepts it only without temperature"))
        del wanted["top_p"]
    if wanted.get("temperature", 0) > 1:
        notices.append(_changed("temperature", "Claude's highest temperature is 1"))
        wanted["temperature"] = 1.0
    return wanted


def _ignored(name: str, because: str) -> Notice:
    return Notice(code=f"{name}_ignored", text=f"{name} is not sent: {because}")


def _changed(name: str, because: str) -> Notice:
    return Notice(code=f"{name}_changed", text=f"{name} is sent with another value: {because}")
