"""What providers say that an answer has used: tokens, and sometimes money, under the names of each and in the way of each to count.

Rule: absent is not zero, and zero takes nothing back. What stands only in a total was billed, so it counts.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from greenroom.messages import Usage

COUNT_MAX: Final = 2**53
"""Above it numbers are not exact everywhere: no server means them."""


def usage_of(usage: dict[str, Any]) -> Usage:
    """Returns what a `usage` object of the OpenAI dialects, and of the many servers that speak them, says."""
    sent = _details(usage, "prompt_tokens_details", "input_tokens_details")
    said = _details(usage, "completion_tokens_details", "output_tokens_details")
    input_tokens = count_of(usage, "prompt_tokens", "input_tokens")
    output_tokens = count_of(usage, "completion_tokens", "output_tokens")
    # OpenAI; DeepSeek, Moonshot, Mistral; LiteLLM and others that pass on Anthropic's names.
    cached = count_of(sent, "cached_tokens", "cache_read_tokens") or count_of(
        usage, "prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens"
    )
    cache_write = count_of(sent, "cache_write_tokens", "cache_creation_tokens") or count_of(
        usage, "cache_creation_input_tokens", "cache_write_input_tokens"
    )
    total = count_of(usage, "total_tokens")
    only_in_total = max(0, total - input_tokens - output_tokens)
    beside = cached + cache_write
    is_lone = total > 0 and not input_tokens and not output_tokens
    if is_lone:
        input_tokens = total  # most of it; what the answer has said is taken out of it later, where that is known
    elif (only_in_total and only_in_total == beside) or (not total and beside > input_tokens > 0):
        input_tokens += beside  # counted beside the rest of the input, as Anthropic counts it
    elif output_tokens and not input_tokens:
        input_tokens = only_in_total
    else:
        output_tokens += only_in_total  # xAI's reasoning, and what others leave out of the completion
    return Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        cache_write_input_tokens=cache_write,
        reasoning_tokens=count_of(said, "reasoning_tokens"),
        cost_usd=cost_of(usage),
        estimated=is_lone,
    )


def claude_usage_of(counts: dict[str, Any]) -> Usage:
    """Returns what the counts of Anthropic's dialect say, put together from all events."""
    read, written = count_of(counts, "cache_read_input_tokens"), count_of(counts, "cache_creation_input_tokens")
    return Usage(
        # What is read from the cache and written to it is counted beside the rest, not within it.
        input_tokens=count_of(counts, "input_tokens") + read + written,
        output_tokens=count_of(counts, "output_tokens"),
        cached_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_tokens=count_of(counts, "thinking_tokens"),
        cost_usd=cost_of(counts),
    )


def merged(before: Usage | None, told: Usage) -> Usage:
    """Returns what an answer has used after its provider has told more: totals, of which none falls back to zero."""
    if before is None:
        return told
    new = msgspec.structs.asdict(told)
    totals = {name: new[name] or old for name, old in msgspec.structs.asdict(before).items()}
    # Only a total is estimated: more than that takes it back, and an empty count does not.
    return Usage(**{**totals, "estimated": told.estimated if told != Usage() else before.estimated})


def count_of(counts: dict[str, Any], *names: str) -> int:
    """Returns the first count of these names that is there and not zero; else zero."""
    for name in names:
        if is_count(value := counts.get(name)) and value:
            return int(value)
    return 0


def is_count(value: Any) -> bool:
    """Returns whether a value counts something."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < COUNT_MAX


def cost_of(usage: dict[str, Any]) -> float | None:
    """Returns the price in US dollars that a provider states; `None` if it states none. OpenRouter, Vercel, Perplexity and DeepInfra do."""
    cost = _money(usage.get("cost"))
    if cost is None:
        return _money(usage.get("estimated_cost"))  # DeepInfra's name for it
    # With a provider's key of one's own the price of the gateway is only its fee; the provider bills the rest.
    upstream = _money(_details(usage, "cost_details").get("upstream_inference_cost"))
    return cost + upstream if upstream is not None and usage.get("is_byok") is True else cost


def _money(value: Any) -> float | None:
    if isinstance(value, dict):
        value = value.get("total_cost")
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return float(value) if is_count(value) else None


def _details(usage: dict[str, Any], *names: str) -> dict[str, Any]:
    return next((details for name in names if isinstance(details := usage.get(name), dict)), {})
