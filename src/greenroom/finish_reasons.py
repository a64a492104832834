"""Why answers end, in the words of all providers, and what follows from each.

A provider's word has consequences: what a call may do, whether the step is asked again, what a person and the model are told. So
all dialects look it up here, and the log keeps the word itself (`StepFinished.raw_reason`), from which the rest can be told again.

Theory of operation: words are compared by their letters and digits alone (`MAX_TOKENS`, `max-tokens` and `MaxTokens` are one);
of a word with an explanation (`content_filter: PROHIBITED_CONTENT`) the part that is known counts; a word that nobody knows may
say what it means by its stem (`upstream_error`). What is left is never success in silence: its answer is kept, its unfinished calls do not run, and the person is told the word.

Rule: data and look-ups. A new word is a line in a table; no dialect has a table of its own.
"""

from __future__ import annotations

import re
from typing import Final, Literal

from greenroom.messages import FinishReason

Ending = Literal["whole", "length", "context", "filtered", "refused", "paused", "broken", "garbled", "unknown"]
"""What a word means. `whole`: the model said all it wanted. `length`, `context`, `filtered`, `refused`: it was cut off, by the limit of
an answer, by the end of the context window, by a filter of the provider, or declined. `paused`: the provider wants to be asked again, with what it said so far. `broken`: the provider
failed; `garbled`: what the model wrote cannot be read by its provider. Both are asked again. `unknown`: nobody knows the word."""

Finish = Literal["stop", "length", "context", "content_filter", "refusal", "other"]
"""How a completed answer ended, as people and programs are told. `stop` is the only one that is whole.

`length` is the limit of one answer: the model can continue. With `context` it has no room left, whatever is set."""

UNKNOWN_END: Final = "finish_reason:"
"""How the code of a notice begins that tells a word that nobody knows; the word follows."""

RAW_REASON_MAX: Final = 100
"""Characters of a provider's word that are kept."""

# fmt: off
_WORDS: Final[dict[Ending, tuple[str, ...]]] = {
    "whole": (
        "stop", "stopped", "end", "end_turn", "stop_sequence", "stop_string", "stop_string_found", "stop_token",  # OpenAI, Claude, LM Studio
        "tool_calls", "tool_call", "tool_use", "function_call", "function_calls",  # OpenAI, Cohere, Claude, OpenAI before tools
        "complete", "completed", "finished", "done", "normal",  # Cohere, Responses, Baidu
        "eos", "eos_token", "eos_found", "eog", "eot", "word",  # TGI, Together, LM Studio, llama.cpp
        "reason_stop", "reason_tool_calls",  # xAI
    ),
    "length": (
        "length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_new_tokens", "max_length",  # OpenAI, Claude, Responses, HF
        "max_predicted_tokens_reached", "token_limit_reached", "token_limit",  # LM Studio, watsonx, Azure
        "limit", "max_output", "reason_max_len",  # llama.cpp, MiniMax, xAI
    ),
    "context": (
        "model_length", "model_context_window_exceeded", "context_length_exceeded", "context_length_reached",  # Mistral, Claude, Zhipu, LM Studio
        "context_window_exceeded", "max_prompt_tokens", "max_context", "reason_max_context",  # Bedrock, Azure, MiniMax, xAI
        "error_limit",  # Cohere: "exceeding the model's context limit"
    ),
    "filtered": (
        "content_filter", "content_filtered", "filtered", "guardrail_intervened",  # OpenAI, Bedrock
        "safety", "recitation", "blocklist", "prohibited_content", "spii", "language", "model_armor",  # Gemini
        "image_safety", "image_prohibited_content", "image_recitation",  # Gemini's pictures
        "sensitive", "error_toxic", "content_policy_violation", "moderation",  # Zhipu, Hunyuan, Cohere
    ),
    "refused": ("refusal", "refused"),  # Claude
    "paused": ("pause_turn", "pause"),  # Claude
    "broken": (
        "error", "abort", "aborted", "cancelled", "canceled", "user_cancel", "user_stopped", "failed", "failure",  # vLLM, SGLang, Cohere
        "network_error", "insufficient_system_resource", "internal_error", "server_error", "unavailable",  # Zhipu, DeepSeek
        "timeout", "time_limit", "reason_time_limit", "deadline_exceeded", "not_finished",  # Cohere, watsonx, xAI
        "overloaded", "model_unloaded", "unload", "load", "image_other", "no_image",  # LM Studio, Ollama, Gemini
    ),
    "garbled": (
        "malformed_function_call", "unexpected_tool_call", "too_many_tool_calls", "malformed_response",  # Gemini
        "missing_thought_signature", "malformed_model_output", "malformed_tool_use", "tool_use_failed",  # Gemini, Bedrock, Groq
    ),
}
# fmt: on
_NOT_YET: Final = frozenset({"", "null", "none", "unspecified", "finishreasonunspecified"})
"""Words that say that there is none yet."""

_LETTERS: Final = re.compile(r"[^a-z0-9]+")


def _key(word: str) -> str:
    return _LETTERS.sub("", word.lower())


_ENDINGS: Final[dict[str, Ending]] = {_key(word): ending for ending, words in _WORDS.items() for word in words}

_STEMS: Final[dict[Ending, tuple[str, ...]]] = {
    "garbled": ("malformed", "invalidtool", "invalidfunction"),
    "broken": (
        *(
            "error",
            "fail",
            "abort",
            "cancel",
            "timeout",
            "timedout",
            "deadline",
            "exception",
            "unavailable",
            "overload",
        ),
        *("disconnect", "interrupt", "ratelimit", "insufficient"),
    ),
    "filtered": ("filter", "safety", "policy", "moderat", "prohibited", "blocked"),
    "context": ("contextlength", "contextwindow", "contextsize", "contextlimit", "maxcontext", "contextfull"),
    "length": ("maxtoken", "tokenlimit", "outputlimit", "maxoutput", "maxlength", "truncat"),
}
"""What words that are in no table have in common, the first that fits: every gateway has its own `upstream_error`."""

REASONS: Final[dict[Ending, FinishReason]] = {
    "whole": "stop",
    "length": "length",
    "context": "length",
    "filtered": "refusal",
    "refused": "refusal",
    "paused": "pause",
    "broken": "other",
    "garbled": "other",
    "unknown": "other",
}
"""What the log says of each ending; `raw_reason` tells the two refusals apart."""

_NORMAL: Final = frozenset({"stop", "tool_calls", "pause"})


def is_given(word: str) -> bool:
    """Returns whether a provider's word says that the answer ended: some send the text `null` with every chunk."""
    return _key(word) not in _NOT_YET


def ending_of(word: str) -> Ending:
    """Returns what a provider's word means; no word at all means `unknown`."""
    word = word[:RAW_REASON_MAX]
    found = _ENDINGS.get(_key(word))
    if found is None:
        # Gemini's "function_call_filter: MALFORMED_FUNCTION_CALL", and enumerations with their type: the last known part.
        found = next(
            (ending for part in reversed(re.split(r"[:./ ]", word)) if (ending := _ENDINGS.get(_key(part)))), None
        )
    if found is None:
        key = _key(word)
        found = next((ending for ending, stems in _STEMS.items() if any(stem in key for stem in stems)), None)
    return found or "unknown"


def reason_of(word: str, *, has_calls: bool) -> FinishReason:
    """Returns the reason that the log has for a provider's word.

    Servers differ in whether calls are a reason of their own: of an answer that is whole, what is there decides.
    """
    reason = REASONS[ending_of(word)]
    return "tool_calls" if reason == "stop" and has_calls else reason


def is_normal(reason: FinishReason, raw_reason: str) -> bool:
    """Returns whether a step ended as the model wanted, so that all it wrote is whole.

    Older logs have `tool_calls` also where the provider's word said that it had failed: then the word counts.
    """
    return reason in _NORMAL and (not raw_reason or ending_of(raw_reason) in {"whole", "paused", "unknown"})


def cut_off_by(reason: FinishReason, raw_reason: str) -> str:
    """Returns what cut an answer off, to be put into a sentence: "cut off by the output limit"."""
    if reason == "length":
        return "the end of the context window" if ending_of(raw_reason) == "context" else "the output limit"
    if reason == "refusal":
        return "the provider's content filter" if ending_of(raw_reason) == "filtered" else "a refusal"
    return f"its provider ({raw_reason!r})" if raw_reason else "its provider"


def finish_of(reason: FinishReason, raw_reason: str) -> Finish:
    """Returns how an answer ended whose last step ended so."""
    if reason == "refusal":
        return "content_filter" if ending_of(raw_reason) == "filtered" else "refusal"
    if reason == "length":
        return "context" if ending_of(raw_reason) == "context" else "length"
    if reason == "other":
        return "other"
    return "stop" if is_normal(reason, raw_reason) else "other"


def finish_text(finish: Finish, *, raw_reason: str, output_tokens: int) -> str:
    """Returns what a person is told about an answer that is not whole; nothing about one that is.

    Args:
        finish: how it ended.
        raw_reason: the provider's word.
        output_tokens: of the step that ended so; 0 if unknown.
    """
    match finish:
        case "stop":
            return ""
        case "length":
            limit = f"the limit of {output_tokens} tokens" if output_tokens else "the output limit"
            return f"the answer was cut off at {limit}: ask for the rest, or raise max_tokens"
        case "context":
            return (
                "the answer was cut off because the context window of the model is full: start a new session, "
                "or choose a model with a larger one"
            )
        case "content_filter":
            return "the provider's content filter cut the answer off"
        case "refusal":
            return "the model declined to answer"
        case "other":
            word = f" ({raw_reason!r})" if raw_reason else ""
            return f"the answer may be incomplete: its provider ended it for an unknown reason{word}"
