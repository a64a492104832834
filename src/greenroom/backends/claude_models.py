"""What each Claude model accepts: thinking, effort, sampling and length of the answer.

The Messages API is one, but a setting that one model needs is a "400 Bad Request" on the next. The facts are in `models.toml`,
with their sources; the provider's Models API says the same, at the price of another request.

Rule: a model is described there or by its successors' row; a name that is not Claude's gets what most servers of this dialect
accept. Nothing here looks at a request.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import msgspec

from greenroom.backends.model_facts import Sampling, ThinkingForm, ThinkingOff, Version, claude_row
from greenroom.config import ModelOverride, ReasoningEffort


class ClaudeModel(msgspec.Struct, frozen=True, kw_only=True):
    """What a model accepts.

    Attributes:
        max_tokens: length of an answer, thinking included, where the session does not set one.
        max_tokens_max: longest answer that the model can be asked for.
        thinks_unasked: a request that does not mention thinking gets it.
        efforts: accepted values of `output_config.effort`; none: it is not known.
        binds_thinking: the API checks that nothing before a thinking block has changed since it was made.
    """

    max_tokens: int
    max_tokens_max: int
    thinking: ThinkingForm = "none"
    thinking_off: ThinkingOff = "omit"
    thinks_unasked: bool = False
    efforts: tuple[ReasoningEffort, ...] = ()
    sampling: Sampling = "both"
    binds_thinking: bool = False


_NAME: Final = re.compile(r"claude-(?:([a-z]+)-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")
_LATEST: Final[Version] = (99, 0)

# A server that speaks the dialect without being Anthropic: thinking as it was asked for when the dialect was copied.
# How long its answers may be, only the server knows.
_FOREIGN: Final = ClaudeModel(max_tokens=8_192, max_tokens_max=1_000_000, thinking="budget")


@lru_cache(maxsize=256)
def model_of(name: str, override: ModelOverride | None = None) -> ClaudeModel:
    """Returns what the model called `name` accepts; the name may be a gateway's, as in `anthropic/claude-opus-4.6`.

    What `override` says goes before what the name says.
    """
    named = _by_name(name if override is None or override.like is None else override.like)
    if override is None or override.efforts is None:
        return named
    return msgspec.structs.replace(named, efforts=override.efforts)


def _by_name(name: str) -> ClaudeModel:
    lowered = name.lower()
    found = _NAME.search(lowered)
    if found is None and "claude-" not in lowered:
        return _FOREIGN
    # An alias without a version (`claude-opus-latest`) means the newest one.
    version = (int(found[2]), int(found[3] or 0)) if found else _LATEST
    family = (found[1] if found else lowered.partition("claude-")[2].partition("-")[0]) or ""
    row = claude_row(version, family)
    return ClaudeModel(**{name: getattr(row, name) for name in ClaudeModel.__struct_fields__})
