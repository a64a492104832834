"""How providers say why they refuse: codes, and the words of those that have none.

Wordings change, so `faults` looks at statuses, codes and numbers first and reads a text only where a provider gives nothing else.

Rule: data only. A line is a provider and what it says, lower case; what is not said by anybody does not stand here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final


def _any_of(words: Mapping[str, str]) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{pattern})" for pattern in words.values()))


CONTEXT_CODES: Final = frozenset(
    {
        "context_length_exceeded",  # OpenAI, Azure, Groq, DeepSeek, xAI
        "exceed_context_size_error",  # llama.cpp
        "context_window_exceeded",  # Cloudflare, LiteLLM
        "context_exceeded",  # ds4
        "model_max_prompt_tokens_exceeded",  # GitHub Copilot
        "model_context_window_exceeded",  # Zhipu
        "too_many_prompt_tokens",  # Perplexity
        "string_above_max_length",  # OpenAI, for a message of more than ten million characters
        "1261",  # Zhipu: "Prompt exceeds max length"
        "3051",  # Mistral
        "20015",  # SiliconFlow
    }
)

CONTEXT_WORDS: Final = _any_of(
    {
        "OpenAI, Azure, DeepSeek, vLLM, OpenRouter, Together": r"maximum context length",
        "OpenAI, Responses": r"exceeds the (?:model'?s )?context window",
        "OpenAI, length of the history": r"'(?:\$\.)?messages(?:\[\d+\]\.content)?'[^'\"]{0,20} (?:too long|maximum length)"
        r"|\"\$\.messages\" exceeds the maximum length",
        "OpenAI, Groq: one request above the limit of a minute": r"request too large for",
        "Anthropic, Fireworks": r"prompt is too long",
        "Anthropic, with max_tokens": r"input length .{0,40}exceed",
        "Gemini": r"input token count .{0,40}exceeds",
        "Vertex": r"input token count is \d+ but model only supports",
        "Anthropic, of a long context": r"maximum allowed number of input tokens",
        "Bedrock": r"input is too long|number of input tokens exceeds",
        "Groq, Cerebras": r"reduce the length of the messages",
        "Mistral": r"too large for model with \d+ maximum context",
        "xAI": r"maximum prompt length is \d+",
        "Together": r"longer than the model'?s context",
        "Together, Hugging Face": r"`?inputs`? (?:tokens \+|must have less than \d+ tokens)",
        "Ollama": r"exceed(?:s|ed)? (?:the )?max(?:imum)? context",
        "vLLM": r"prompt \(length \d+\) is longer than",
        "vLLM, of what is left for the answer": r"max_tokens must be at least 1, got -\d",
        "llama.cpp": r"exceeds? the available context|exceeds? context size|context size has been exceeded",
        "DS4": r"but the configured context size is",
        "LM Studio": r"context the overflows|greater than the context length",
        "Cohere": r"too many tokens: ",
        "Moonshot": r"exceeded model token limit",
        "Qwen": r"range of input length should be",
        "MiniMax": r"context window exceeds limit",
        "Zhipu": r"prompt exceeds max length|tokens in request more than max tokens allowed",
        "Perplexity": r"total length of all messages is too long",
        "Poolside": r"maximum allowed input length",
        "GitHub Copilot": r"prompt token count of \d+ exceeds",
        "SiliconFlow": r"input tokens \(\d+\) has exceeded",
        "gateways": r"context[ _]length[ _]exceeded|exceeds? (?:the )?(?:model'?s? )?(?:maximum )?context"
        r"|\b(?:prompt|input|conversation)(?: is)? too long",
    }
)

COUNTED_TOKENS: Final = re.compile(
    r"\b(\d[\d,._]*)\b(?=[^\d]{0,60}?\btokens?\b)|\btokens?\b[^\d]{0,60}?\b(\d[\d,._]*)\b"
)
"""Numbers near the word, for a text that no line above knows: "70000 tokens ... 65536"."""

TOO_MUCH: Final = re.compile(
    r"exceed|too (?:long|large|many|big)|(?:longer|greater|larger|bigger|more) than|at most|maximum|limit"
)

ANSWER_TOKENS: Final = re.compile(r"max_(?:completion_|output_|new_)?tokens|(?:completion|output) tokens")
"""What is too large may be the answer that was asked for: a setting, not a history."""

MONEY_CODES: Final = frozenset(
    {
        "insufficient_quota",  # OpenAI, Azure
        "billing_error",  # Anthropic
        "billing_not_active",  # OpenAI
        "billing_hard_limit_reached",  # OpenAI
        "insufficient_balance",  # DeepSeek, SiliconFlow
        "insufficient_balance_error",  # MiniMax
        "1008",  # MiniMax, by its own API
        "exceeded_current_quota_error",  # Moonshot
        "arrearage",  # Qwen
        "1113",  # Zhipu: "Your account is in arrears"
    }
)

MONEY_WORDS: Final = _any_of(
    {
        "Anthropic": r"credit balance is too low|reached your specified api usage limits",
        "DeepSeek, MiniMax, OpenRouter": r"insufficient (?:balance|credit|fund)",
        "xAI, with 403 or 429": r"used all available credits",
    }
)
"""None of them says "quota": a limit per minute is called that, too (Gemini: "You exceeded your current quota")."""

FILTER_CODES: Final = frozenset(
    {
        "content_policy_violation",  # OpenAI
        "moderation_blocked",  # OpenAI
        "invalid_prompt",  # OpenAI: "flagged as potentially violating our usage policy"
        "content_filter",  # Azure, Moonshot
        "responsibleaipolicyviolation",  # Azure
        "prohibited_content",  # Gemini
        "data_inspection_failed",  # Qwen
        "datainspectionfailed",  # Qwen, by its own API
        "1301",  # Zhipu
    }
)

FILTER_WORDS: Final = _any_of(
    {
        "Azure": r"content management policy",
        "OpenAI": r"violat(?:es?|ing) our (?:usage|content) polic|content policy",
        "OpenRouter": r"input was flagged",
        "Anthropic": r"content filter",
        "Gemini, Vertex": r"prompt was blocked|blocked (?:by|due to) (?:the )?safety|prohibited use policy",
        "Qwen": r"inappropriate content",
        "Zhipu": r"sensitive content",
        "DeepSeek": r"content exists risk",
        "Moonshot": r"considered high risk",
        "xAI": r"violates usage guidelines",
        "Bedrock": r"guardrail",
    }
)

_TOOLS: Final = r"['`\"]?\b(?<!parallel )(?:tool|function)(?:s|[ _](?:us(?:e|age)|calls?|calling|choice))?\b['`\"]?"

TOOL_WORDS: Final = _any_of(
    {
        "Ollama, Bedrock, DeepSeek": rf"(?:does not|doesn'?t|do not|cannot) support (?:the )?{_TOOLS}",
        "OpenAI, Azure, Groq, Gemini, Mistral, Hugging Face": rf"{_TOOLS}(?: (?:is|are))? not (?:supported|enabled)",
        "OpenRouter": r"endpoints found that support tool use",
        "vLLM": r"requires --enable-auto-tool-choice",
        "llama.cpp": r"tools param requires --jinja",
        "OpenAI, of a schema": r"invalid schema for function",
        "Gemini, of a schema": r"function_declarations\[",
        "Anthropic, of a schema": r"^tools\.\d+",
    }
)

EFFORT_WORDS: Final = _any_of({"OpenAI": r"function tools with reasoning_effort are not supported"})

SETTING_CODES: Final = frozenset(
    {"unsupported_parameter", "unknown_parameter", "unsupported_value", "model_not_found", "invalid_model"}
)

NO_SUCH_MODEL: Final = _any_of(
    {
        "ours, before the provider's words": r"answered (?:404|410)",
        "OpenAI, Ollama, vLLM, Claude": r"model.{0,200}(?:does not exist|not[ _]found|deprecated|retired|shut ?down|sunset|no longer)",
        "LiteLLM": r"invalid model name",
        "OpenRouter": r"is not a valid model(?: id)?",
        "others": r"(?:unknown|no such|unrecognized) model",
    }
)
"""A model that the provider does not have, or has no more."""

FIELD_WORDS: Final = _any_of(
    {
        "OpenAI": r"(?:unsupported|unknown) parameter: ['\"`]?([\w.]+)",
        "OpenAI, of old; Azure": r"unrecognized request arguments? supplied: ([\w.]+)",
        "OpenAI, of a value": r"unsupported value: ['\"`]([\w.]+)",
        "LiteLLM": r"does not support parameters: \[['\"]([\w.]+)",
        "Groq": r"property ['\"`]([\w.]+)['\"`] is unsupported",
        "Google": r"unknown name \\?['\"](\w+)\\?['\"]: cannot find field",
        "Bedrock": r"#(?:/tool_choice)?: extraneous key \[(\w+)\]",
        "Anthropic, within `tool_choice`": r"^tool_choice\.[\w.]*(disable_parallel_tool_use): extra inputs are not permitted",
        "Anthropic": r"^([\w.]+): extra inputs are not permitted|^(max_tokens|temperature|top_p|top_k|thinking|output_config)\b[\w.]*:",
    }
)
"""The field of the request that is refused, as whole sentences name it."""

TOOL_FIELDS: Final = frozenset({"tools", "tool_choice", "functions", "function_call"})

SETTING_FIELDS: Final = frozenset(
    {
        *("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "max_output_tokens", "stop", "seed"),
        *("reasoning", "reasoning_effort", "thinking", "output_config", "verbosity", "text", "service_tier"),
        *("model", "stream", "stream_options", "store", "include", "metadata", "prompt_cache_key", "user"),
        *("parallel_tool_calls", "disable_parallel_tool_use"),
    }
)
"""Fields that hold nothing of a conversation."""

_SAMPLING: Final = "set no `{name}`, or `sampling = false` for the model in greenroom.toml"
_MOST_TOKENS: Final = (
    "set a smaller `max_tokens`, or none; `max_tokens_field` in greenroom.toml says under which name the model takes it"
)
_EFFORT: Final = "set another `reasoning_effort`, or none; `efforts` in greenroom.toml says which ones the model takes"
_THINKING: Final = "set another `thinking_budget_tokens`, or none: newer models take only `reasoning_effort`"
_STOP: Final = "set no `stop`, or fewer texts; `stop = false` in greenroom.toml says that the model takes none"

SETTING_HINTS: Final = {
    "temperature": _SAMPLING.format(name="temperature"),
    "topp": _SAMPLING.format(name="top_p"),
    "maxtokens": _MOST_TOKENS,
    "maxcompletiontokens": _MOST_TOKENS,
    "maxoutputtokens": _MOST_TOKENS,  # OpenAI's Responses, Gemini
    "stop": _STOP,
    "stopsequences": _STOP,  # Anthropic
    "reasoning": _EFFORT,  # OpenAI's Responses
    "reasoningeffort": _EFFORT,
    "outputconfig": _EFFORT,  # Anthropic
    "thinking": _THINKING,  # Anthropic
    "budgettokens": _THINKING,
    "paralleltoolcalls": "set no `parallel_tool_calls`, or `parallel_tool_calls = false` for the model in greenroom.toml",
    "disableparalleltooluse": "set no `parallel_tool_calls`",  # Anthropic
    "model": "check the model's name: GET /v1/models lists what the provider says it has",
}
"""What to do about a field of the request that is refused, by its name without case and underscores: in the names of our settings."""

SETTING_WORDS: Final = re.compile(
    r"\b(temperature|top_?p|max_?(?:completion_?|output_?)?tokens|stop_?sequences|reasoning[_.]?effort|budget_?tokens"
    r"|parallel_?tool_?calls)\b|(?:does not|doesn'?t) support (thinking)"
)
"""The setting that a refusal is about, where no field and no whole sentence names it.

Anthropic: "`temperature` and `top_p` cannot both be specified"; xAI: "does not support parameter reasoningEffort"; Gemini: "it has a
maxOutputTokens value of 100000 but the supported range is ..."; Groq: "`reasoning_effort` must be one of ..."; Ollama: "does not support thinking".
"""

FILE_WORDS: Final = _any_of(
    {
        "OpenRouter": r"endpoints found that support (?:image|file|audio|pdf)",
        "llama.cpp, gateways": r"(?:image|audio|video|vision|file|pdf|document)s?(?: inputs?)? (?:is|are) not supported"
        r"|(?:does not|doesn'?t|do not|cannot) support (?:image|audio|video|vision|file|pdf|document|multimodal)",
        "Ollama": r"missing data required for image input",
        "Groq, Cerebras": r"content['`]? must be a string",
        "vLLM": r"not a multimodal model|at most \d+ (?:image|audio|video)|(?:unknown|unsupported chat content) part type",
        "llama.cpp": r"unsupported content(?: part type|\[\]\.type)",
        "Ollama, of any other part than text and image_url": r"^invalid message format$",
    }
)

FILE_WORDS_OF_400: Final = re.compile(
    r"\b(?:images?|vision|image_url|input_image|pdfs?|documents?|audio|media[ _]?types?|mime ?types?|multimodal|files?|file_data|attachments?)\b"
)

CODES_IN_WORDS: Final = re.compile(
    rf"\b(?:{'|'.join(sorted(code for code in CONTEXT_CODES | MONEY_CODES | FILTER_CODES if '_' in code))})\b"
)
"""A provider's code within the text of a gateway, or of an SDK that it uses: "Error code: 429 - {'code': 'insufficient_quota'}"."""
