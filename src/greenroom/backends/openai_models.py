"""Which settings a model of the Chat Completions dialect takes, decided by its name.

The dialect has no way to ask. OpenAI's reasoning models refuse the settings that all its other models, and nearly all models of
other servers, take: `max_tokens`, `temperature`, `top_p`, `stop`. So:

* `o1`, `o3`, `o4-mini`, ... and `gpt-5` and later are OpenAI's reasoning models, except the `-chat` ones among them;
* `gpt-3...`, `gpt-4...`, `chatgpt-...` and those `-chat` models are OpenAI's others: they refuse `reasoning_effort`;
* every other name is foreign: it gets what its user set, under the names that all servers know. Some families among them have
  demands of their own: Mistral's ids of tool calls, DeepSeek's and Moonshot's reasoning, Gemini's signed calls.

A name counts without what gateways put before it (`openai/o3`, `ft:gpt-4o:...`).

Rule: the only place that looks at model names. Sources: OpenAI's reasoning guide and the parameters' descriptions in its API
reference; its errors "string too long" for descriptions above 1024 characters; Mistral's error for ids that are not nine letters
and digits; DeepSeek's guide to tool calls in thinking mode; Moonshot's error "thinking is enabled but reasoning_content is missing
in assistant tool call message"; Google's error "Function call is missing a thought_signature" and its page on them.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

import msgspec

from greenroom.config import ReasoningEffort

CallIds = Literal["any", "nine_characters"]
"""What a server accepts as the id of a tool call."""


class ModelTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes.

    Attributes:
        max_tokens_field: name under which it takes the bound of its answer.
        takes_sampling: takes `temperature` and `top_p`.
        takes_stop: takes `stop`.
        takes_parallel_tool_calls: takes `parallel_tool_calls`; a model that does not makes one call at a time.
        efforts: what to send for each reasoning effort; `None` as a whole: the model does not reason.
        call_ids: what it accepts as the id of a tool call.
        wants_reasoning_back: refuses a turn with tool calls whose reasoning is not sent back, were it empty.
        wants_signature: refuses a tool loop whose first call of a step is not signed.
        description_max: most characters of a tool's description, or `None`.
        is_openai: it is OpenAI's own.
        gives_encrypted_reasoning: gives its reasoning in a form that only it can read, and takes it back (Responses only).
    """

    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    takes_sampling: bool = True
    takes_stop: bool = True
    takes_parallel_tool_calls: bool = True
    efforts: dict[ReasoningEffort, ReasoningEffort] | None = None
    call_ids: CallIds = "any"
    wants_reasoning_back: bool = False
    wants_signature: bool = False
    description_max: int | None = None
    is_openai: bool = False
    gives_encrypted_reasoning: bool = False


@lru_cache(maxsize=256)
def traits_of(model: str) -> ModelTraits:
    """Returns what the model of that name takes."""
    name = model.lower().rpartition("/")[2].removeprefix("ft:")
    if match := _REASONING.match(name):
        if "-chat" in name:
            return ModelTraits(
                max_tokens_field="max_completion_tokens", description_max=_OPENAI_DESCRIPTION_MAX, is_openai=True
            )
        o_series, version = match["o"] is not None, match["version"]
        return ModelTraits(
            max_tokens_field="max_completion_tokens",
            takes_sampling=False,
            takes_stop=False,
            takes_parallel_tool_calls=not o_series,
            efforts=_O_EFFORTS if o_series else _GPT_5_EFFORTS if version == "5" else _LATER_EFFORTS,
            description_max=_OPENAI_DESCRIPTION_MAX,
            is_openai=True,
            gives_encrypted_reasoning=True,
        )
    if _NOT_REASONING.match(name):
        return ModelTraits(description_max=_OPENAI_DESCRIPTION_MAX, is_openai=True)
    return ModelTraits(
        efforts=_ALL_EFFORTS,
        call_ids="nine_characters" if _MISTRAL.search(name) else "any",
        # Distilled models bear the name of their teacher; other companies serve them, with other rules.
        wants_reasoning_back=("deepseek" in name and "distill" not in name) or _KIMI_THINKING.search(name) is not None,
        # Google itself, by the names that only it uses; gateways put a company before the name and sign in their own way.
        wants_signature=model.lower().removeprefix("models/").startswith("gemini-"),
        gives_encrypted_reasoning=name.startswith("grok"),
    )


_OPENAI_DESCRIPTION_MAX: Final = 1024

_REASONING: Final = re.compile(r"(?P<o>o[1-9]\d?(?=$|-))|gpt-(?P<version>([5-9]|\d{2,})(\.\d+)?)(?=$|-)")
_NOT_REASONING: Final = re.compile(r"gpt-[34]|chatgpt-")
_MISTRAL: Final = re.compile(r"mi[sx]tral|ministral|magistral|codestral|devstral|pixtral|voxtral")

_KIMI_THINKING: Final = re.compile(r"kimi-(k2[.]\d|k2-thinking|k[3-9]|thinking|for-coding|latest)")

_ALL_EFFORTS: Final[dict[ReasoningEffort, ReasoningEffort]] = {
    "none": "none",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
}
# The o-series always reasons; GPT-5 can be asked for the minimum, but not for none; its successors the other way round.
_O_EFFORTS: Final = _ALL_EFFORTS | {"none": "low", "minimal": "low"}
_GPT_5_EFFORTS: Final = _ALL_EFFORTS | {"none": "minimal"}
_LATER_EFFORTS: Final = _ALL_EFFORTS | {"minimal": "low"}
