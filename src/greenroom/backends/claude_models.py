"""What each Claude model accepts: thinking, effort, sampling and length of the answer.

The Messages API is one, but a setting that one model needs is a "400 Bad Request" on the next. The sources are Anthropic's
pages on thinking (https://platform.claude.com/docs/en/build-with-claude/thinking), effort, preserved thinking and the
migration guide of each model; the provider's Models API says the same, at the price of another request.

Rule: a model is described here or by its successors' rule; a name that is not Claude's gets what most servers of this dialect
accept. Nothing here looks at a request.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

ThinkingForm = Literal["none", "budget", "either", "adaptive"]
"""How thinking is asked for: not at all, with a number of tokens, in both ways, or by effort alone."""

ThinkingOff = Literal["omit", "disabled", "between_tools", "never"]
"""How thinking is turned off: by saying nothing, with that `type`, or not at all."""

Sampling = Literal["both", "one", "none"]
"""Whether `temperature` and `top_p` are accepted together, one at a time, or not at all."""


class ClaudeModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a model accepts.

    Attributes:
        max_tokens: length of an answer, thinking included, where the session does not set one.
        max_tokens_max: longest answer that the model can be asked for.
        thinks_unasked: a request that does not mention thinking gets it.
        takes_effort: `output_config.effort` is known.
        binds_thinking: the API checks that nothing before a thinking block has changed since it was made.
    """

    max_tokens: int
    max_tokens_max: int
    thinking: ThinkingForm = "none"
    thinking_off: ThinkingOff = "omit"
    thinks_unasked: bool = False
    takes_effort: bool = False
    sampling: Sampling = "both"
    binds_thinking: bool = False


Version = tuple[int, int]

_NAME: Final = re.compile(r"claude-(?:([a-z]+)-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_LATEST: Final[Version] = (99, 0)

# A server that speaks the dialect without being Anthropic: thinking as it was asked for when the dialect was copied.
# How long its answers may be, only the server knows.
_FOREIGN: Final = ClaudeModel(max_tokens=8_192, max_tokens_max=1_000_000, thinking="budget")


@lru_cache(maxsize=256)
def model_of(name: str) -> ClaudeModel:
    """Returns what the model called `name` accepts; the name may be a gateway's, as in `anthropic/claude-opus-4.6`."""
    lowered = name.lower()
    found = _NAME.search(lowered)
    if found is None and "claude-" not in lowered:
        return _FOREIGN
    # An alias without a version (`claude-opus-latest`) means the newest one.
    version = (int(found[2]), int(found[3] or 0)) if found else _LATEST
    family = (found[1] if found else lowered.partition("claude-")[2].partition("-")[0]) or ""
    if version < (4, 6):
        return _before_adaptive(version, family)
    return _adaptive(version, family)


def _before_adaptive(version: Version, family: str) -> ClaudeModel:
    if version < (3, 5):
        return ClaudeModel(max_tokens=4_096, max_tokens_max=4_096)
    if version < (3, 7):
        return ClaudeModel(max_tokens=8_192, max_tokens_max=8_192)
    longest = 32_000 if family == "opus" and version < (4, 5) else 64_000
    return ClaudeModel(
        # Up to 4.1 a request is refused when its input and `max_tokens` together exceed the context window.
        max_tokens=32_000 if version < (4, 5) else longest,
        max_tokens_max=longest,
        thinking="budget",
        takes_effort=family == "opus" and version >= (4, 5),
        sampling="both" if version < (4, 1) else "one",
    )


def _adaptive(version: Version, family: str) -> ClaudeModel:
    if version < (4, 7):
        thinking: ThinkingForm = "either"
        sampling: Sampling = "one"
    else:
        thinking, sampling = "adaptive", "none"
    return ClaudeModel(
        max_tokens=64_000,
        max_tokens_max=128_000,
        thinking=thinking,
        thinking_off=_thinking_off(version, family),
        thinks_unasked=version >= (5, 0),
        takes_effort=True,
        sampling=sampling,
        binds_thinking=version >= (5, 1),
    )


def _thinking_off(version: Version, family: str) -> ThinkingOff:
    if version < (5, 0):
        return "omit"
    if family == "sonnet" and version >= (5, 5):
        return "between_tools"
    if family in {"haiku", "sonnet"} or (family == "opus" and version < (5, 5)):
        return "disabled"
    return "never"
