"""What a model of OpenAI's dialects takes, decided by its name or by what its installation says of it.

The dialects have no way to ask. OpenAI's reasoning models refuse the settings that all its other models, and nearly all models of
other servers, take: `max_tokens`, `temperature`, `top_p`, `stop`. Every name that is not OpenAI's is foreign: it gets what its user
set, under the names that all servers know, and what its family demands besides (`model_facts`).

A name is only the default: a deployment has the name that its operator gave it, so `greenroom.toml` can say what it is like.

Rule: a pure function of a name and an override. Which address is asked plays no part here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, Literal

import msgspec

from greenroom.backends.model_facts import CallIds, ChatTools, nearest_effort, openai_row, other_rows
from greenroom.config import EFFORTS, ModelOverride, ReasoningEffort
from greenroom.interfaces import Notice


class ModelTraits(msgspec.Struct, frozen=True, kw_only=True):
    """What a model takes.

    Attributes:
        max_tokens_field: name under which it takes the bound of its answer.
        takes_sampling: takes `temperature` and `top_p`.
        takes_stop: takes `stop`.
        takes_parallel_tool_calls: takes `parallel_tool_calls`; a model that does not makes one call at a time.
        efforts: the reasoning efforts that it knows; none: it does not reason.
        chat_efforts: those that it knows on Chat Completions.
        chat_tools: with which effort Chat Completions takes function tools for it.
        dialect: which one it is asked in, whatever its server is; `None` if that is not set.
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
    efforts: tuple[ReasoningEffort, ...] = ()
    chat_efforts: tuple[ReasoningEffort, ...] = ()
    chat_tools: ChatTools = "any"
    dialect: Literal["chat", "responses"] | None = None
    call_ids: CallIds = "any"
    wants_reasoning_back: bool = False
    wants_signature: bool = False
    description_max: int | None = None
    is_openai: bool = False
    gives_encrypted_reasoning: bool = False

    def wants_responses(self, effort: ReasoningEffort | None) -> bool:
        """Returns whether a session that is set to this effort has to be asked over the Responses API to have tools.

        Whether it has tools plays no part: they come and go with a session's settings, and with every change of the dialect the
        model loses sight of its reasoning.
        """
        match self.chat_tools:
            case "any":
                return False
            case "never":
                return True
            case "no_effort":
                return effort is not None and nearest_effort(effort, self.efforts) != "none"
            case "none":
                return effort is None or nearest_effort(effort, self.efforts) != "none"


@lru_cache(maxsize=256)
def traits_of(model: str, override: ModelOverride | None = None) -> ModelTraits:
    """Returns what the model of that name takes. What `override` says goes before what the name says."""
    named = _by_name(model if override is None or override.like is None else override.like)
    return named if override is None else _overridden(named, override)


def effort_notice(
    request_effort: ReasoningEffort | None, efforts: tuple[ReasoningEffort, ...], model: str
) -> list[Notice]:
    """Returns what is to be said where another effort than the one that was set is sent."""
    if request_effort is None or not efforts or (sent := nearest_effort(request_effort, efforts)) == request_effort:
        return []
    text = f"{model} does not take the reasoning effort {request_effort!r}: {sent!r} is sent instead"
    return [Notice(code="reasoning_effort_changed", text=text)]


def _by_name(model: str) -> ModelTraits:
    if (row := openai_row(model)) is None:
        rows = other_rows(model)
        return ModelTraits(
            efforts=EFFORTS,
            chat_efforts=EFFORTS,
            call_ids=next((row.call_ids for row in rows if row.call_ids != "any"), "any"),
            wants_reasoning_back=any(row.wants_reasoning_back for row in rows),
            wants_signature=any(row.wants_signature for row in rows),
            gives_encrypted_reasoning=any(row.gives_encrypted_reasoning for row in rows),
        )
    return ModelTraits(
        max_tokens_field="max_completion_tokens" if row.reasons else row.max_tokens_field,
        takes_sampling=not row.reasons,
        takes_stop=not row.reasons,
        takes_parallel_tool_calls=row.parallel_tool_calls,
        efforts=row.efforts,
        chat_efforts=row.efforts if row.chat_efforts is None else row.chat_efforts,
        chat_tools=row.chat_tools,
        description_max=_OPENAI_DESCRIPTION_MAX,
        is_openai=True,
        gives_encrypted_reasoning=row.reasons,
    )


def _overridden(traits: ModelTraits, override: ModelOverride) -> ModelTraits:
    if override.reasoning is True and not (traits.efforts and traits.is_openai):
        newest = _by_name(_NEWEST)
        traits = msgspec.structs.replace(
            traits,
            max_tokens_field="max_completion_tokens",
            takes_sampling=False,
            takes_stop=False,
            efforts=newest.efforts,
            chat_efforts=newest.chat_efforts,
            gives_encrypted_reasoning=True,
        )
    elif override.reasoning is False:
        traits = msgspec.structs.replace(
            traits,
            takes_sampling=True,
            takes_stop=True,
            efforts=(),
            chat_efforts=(),
            chat_tools="any",
            gives_encrypted_reasoning=False,
        )
    if override.efforts is not None:
        traits = msgspec.structs.replace(traits, efforts=override.efforts, chat_efforts=override.efforts)
    single = {
        "dialect": override.dialect,
        "max_tokens_field": override.max_tokens_field,
        "takes_sampling": override.sampling,
        "takes_stop": override.stop,
        "takes_parallel_tool_calls": override.parallel_tool_calls,
        "description_max": override.description_max,
    }
    return msgspec.structs.replace(traits, **{name: value for name, value in single.items() if value is not None})


_OPENAI_DESCRIPTION_MAX: Final = 1024
_NEWEST: Final = "gpt-99"
