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

from greenroom.backends.model_facts import ClaudeModel, Version, claude_row
from greenroom.config import ModelOverride

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
    return msgspec.convert(claude_row(version, family), ClaudeModel, from_attributes=True)
