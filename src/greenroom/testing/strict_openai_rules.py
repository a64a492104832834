"""What the Chat Completions API refuses, as a pure function, so that a test can hold any client to it.

Each rule names its source: the API reference (https://platform.openai.com/docs/api-reference/chat/create), or the text of the
error that the API answers with. Where servers of the same dialect are stricter than OpenAI, and nothing is lost by obeying
them, their rule is held too and they are named.

Rule: nothing here is shared with the backend under test: a mistake in one must not hide in the other.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

BODY_BYTES_MAX: Final = 64 * 1024 * 1024
PAYLOAD_BYTES_MAX: Final = 50 * 1000 * 1000
IMAGES_MAX: Final = 500
MESSAGES_MAX: Final = 2048
TOOLS_MAX: Final = 128
DESCRIPTION_MAX: Final = 1024
CALL_ID_MAX: Final = 40
STOP_MAX: Final = 4
PROMPT_CACHE_KEY_MAX: Final = 64
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
RESPONSES_ONLY: Final = "This model is only supported in v1/responses and not in v1/chat/completions."

# The parameters of the API reference.
FIELDS: Final = frozenset(
    {
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "metadata",
        "modalities",
        "model",
        "moderation",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
MESSAGE_FIELDS: Final[dict[str, frozenset[str]]] = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    "assistant": frozenset({"role", "content", "name", "refusal", "audio", "tool_calls", "function_call"}),
    "tool": frozenset({"role", "content", "tool_call_id"}),
}
CONTENT_PARTS: Final[dict[str, frozenset[str]]] = {
    "system": frozenset({"text"}),
    "developer": frozenset({"text"}),
    "user": frozenset({"text", "image_url", "input_audio", "file"}),
    "assistant": frozenset({"text", "refusal"}),
    "tool": frozenset({"text"}),
}
# DeepSeek and Moonshot; OpenRouter ("Preserving reasoning"); Google ("Thought signatures").
FOREIGN_FIELDS: Final = frozenset({"reasoning_content", "reasoning_details", "extra_content"})
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/]*={0,2})")
IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def refusals(body: dict[str, Any]) -> list[str]:
    """Returns why the API would refuse the request, in its own words as far as they are known; nothing if it would not."""
    return [*_request(body), *_settings(body), *_tools(body), *_messages(body), *_pairing(body)]


def parts_of(message: Any) -> Iterator[dict[str, Any]]:
    """Returns the content parts of a message that are no texts."""
    content = message.get("content") if isinstance(message, dict) else None
    yield from (part for part in (content if isinstance(content, list) else ()) if isinstance(part, dict))


def payloads(parts: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Holds the rules about all files of a request, in both dialects.

    *Images and vision*: "Up to 50 MB total payload size per request", which is what is sent; "Up to 500 individual image inputs per
    request". *File inputs*: each file at most 50 MB, and 50 MB across all files of a request, which is what they are.
    """
    images, image_bytes, file_bytes = 0, 0, 0
    for part in parts:
        inner = part.get(str(part.get("type")))
        given = inner if isinstance(inner, dict) else part
        image = given.get("url") or given.get("image_url") or ""
        data = str(given.get("file_data") or "").partition(",")[2]
        images += bool(image)
        image_bytes += len(str(image))
        file_bytes += len(data) // 4 * 3 - data[-2:].count("=")
    if images > IMAGES_MAX:
        yield f"Too many images in request: {images}. Maximum is {IMAGES_MAX}."
    if image_bytes > PAYLOAD_BYTES_MAX:
        yield "The total size of the images in a request must be at most 50 MB."
    if file_bytes > PAYLOAD_BYTES_MAX:
        yield "The total size of the files in a request must be at most 50 MB."


class Reasoning(NamedTuple):
    """What OpenAI says of a reasoning model.

    Attributes:
        efforts: what `reasoning.effort` of the Responses API may be.
        chat_efforts: what `reasoning_effort` of Chat Completions may be.
        chat_tools: with which effort Chat Completions takes function tools: `any`, only where none is given or it is `none`
            (`no_effort`), only where it is `none` (`none`), or the model is not for Chat Completions with tools at all (`never`).
        is_responses_only: Chat Completions does not have the model.
    """

    efforts: frozenset[str]
    chat_efforts: frozenset[str]
    chat_tools: str = "any"
    is_responses_only: bool = False


def reasoning_of(model: str) -> Reasoning | None:
    """Returns what OpenAI says of the model, by its name; `None` if it is not one of its reasoning models.

    Sources: OpenAI's reasoning guide and its pages on single models; `reasoning_options` of models.dev (all up to gpt-5.5);
    the efforts that each model took when they were all tried in enricoros/big-AGI#1159 (all up to gpt-5.6), in
    NousResearch/hermes-agent#90441 (gpt-5.5, gpt-5.6), in UKGovernmentBEIS/inspect_ai#5254 and BerriAI/litellm-docs#1173
    (gpt-6-astra); the types `ChatModel` and `ResponsesModel` of OpenAI's SDK 3.54 (which models are for Responses only).
    """
    name = _bare(model)

    def has(word: str) -> bool:
        return re.search(rf"-{word}(-|:|$)", name) is not None

    if re.match(r"o[1-9](-|:|$)", name):
        if has("deep-research"):
            return Reasoning(frozenset({"medium"}), frozenset(), "never", is_responses_only=True)
        is_pro = has("pro")
        return Reasoning(_UP_TO_HIGH, _UP_TO_HIGH, "never" if is_pro else "any", is_responses_only=is_pro)
    if re.match(r"gpt-(oss|j|jt|neo|neox|neoxt|sw3|bigcode|image|audio|realtime|live)(-|:|$)", name):
        return None  # open models, and models that answer in other ways
    # Some gateways write gpt-5-6-luna; what follows in gpt-4-1106-preview is a date. Azure's gpt-35-turbo is gpt-3.5.
    found = re.match(r"gpt-(?:(\d{1,2})(?:[.-](\d)(?!\d))?(?=-|:|$)|[a-z]+-)", name)
    if found is None or has("chat") or re.match(r"gpt-35(-|:|$)", name):
        return None
    # Names without a version (gpt-daybreak-blue-latest, gpt-rosalind-research) are of today's; a version that is not known yet is
    # like the newest that is: OpenAI has taken nothing of this back so far.
    version = (int(found[1]), int(found[2] or 0)) if found[1] else (99, 0)
    if version < (5, 0):
        return None
    if has("pro"):
        # The page on gpt-5-pro: "defaults to (and only supports) high".
        efforts = frozenset({"high"}) if version < (5, 2) else frozenset({"medium", "high", "xhigh"})
        return Reasoning(efforts, frozenset(), "never", is_responses_only=True)
    if has("codex"):
        has_more = version >= (5, 2) or has("max")
        return Reasoning(_UP_TO_HIGH | ({"xhigh"} if has_more else set()), frozenset(), "never", is_responses_only=True)
    if has("(cyber|daybreak|rosalind)") and version >= (5, 6):
        return Reasoning(_ALL, frozenset(), "never", is_responses_only=True)
    if has("astra") and version >= (6, 0):
        # genkit-ai/genkit#6303: tools are refused at every effort, and `none` is refused itself.
        return Reasoning(_UP_TO_HIGH | {"xhigh", "max"}, _UP_TO_HIGH | {"xhigh"}, "never")
    if version < (5, 1):
        return Reasoning(_UP_TO_HIGH | {"minimal"}, _UP_TO_HIGH | {"minimal"})
    if version < (5, 2):
        return Reasoning(_UP_TO_HIGH | {"none"}, _UP_TO_HIGH | {"none"})
    if version < (5, 6):
        return Reasoning(_ALL - {"max"}, _ALL - {"max"}, "no_effort")
    return Reasoning(_ALL, _ALL - {"max"}, "none")


def is_reasoning_model(model: str) -> bool:
    """Returns whether OpenAI lists the model among its reasoning models (https://platform.openai.com/docs/models)."""
    return reasoning_of(model) is not None


def is_openai_model(model: str) -> bool:
    """Returns whether the model is OpenAI's own, by its name."""
    return is_reasoning_model(model) or bool(re.match(r"gpt-\d|chatgpt-", _bare(model)))


def _bare(model: str) -> str:
    """Returns the name without a gateway's prefix and the mark of a fine-tuned model."""
    return model.rsplit("/", 1)[-1].removeprefix("ft:").rpartition("openai.")[2]


_UP_TO_HIGH: Final = frozenset({"low", "medium", "high"})
_ALL: Final = _UP_TO_HIGH | {"none", "xhigh", "max"}


def _request(body: dict[str, Any]) -> Iterator[str]:
    # OpenAI says "Unrecognized request argument supplied: ..."
    for name in sorted(set(body) - FIELDS):
        yield f"Unrecognized request argument supplied: {name}"
    # OpenAI says "you must provide a model parameter"
    if not isinstance(body.get("model"), str) or not body["model"]:
        yield "you must provide a model parameter"
    # OpenAI says "[] is too short - 'messages'"; "array too long. Expected an array with maximum length 2048" (Azure says the same)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        yield "[] is too short - 'messages'"
    elif len(messages) > MESSAGES_MAX:
        yield f"Invalid 'messages': array too long. Expected an array with maximum length {MESSAGES_MAX}"
    # OpenAI says "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    if "stream_options" in body and not body.get("stream"):
        yield "The 'stream_options' parameter is only allowed when 'stream' is enabled."
    # A proxy's 413: API servers bound the body.
    if len(json.dumps(body)) > BODY_BYTES_MAX:
        yield "Request body too large"
    yield from payloads(part for message in messages or () for part in parts_of(message))


def _settings(body: dict[str, Any]) -> Iterator[str]:
    model = str(body.get("model", ""))
    if (reasoning := reasoning_of(model)) is not None:
        # OpenAI says "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
        # OpenAI says "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1) value is supported."
        refused = ["max_tokens", "stop"]
        refused += [name for name in ("temperature", "top_p") if body.get(name, 1) != 1]
        if re.match(r"o\d", _bare(model)):
            refused.append("parallel_tool_calls")
        for name in refused:
            if name in body:
                yield f"Unsupported parameter: '{name}' is not supported with this model."
        yield from _effort(body, reasoning, _bare(model))
    elif is_openai_model(model) and "reasoning_effort" in body:
        yield "Unrecognized request argument supplied: reasoning_effort"
    # OpenAI says "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
    if "max_tokens" in body and "max_completion_tokens" in body:
        yield "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported."
    # API reference: the ranges of each parameter.
    for name, low, high in (
        ("temperature", 0, 2),
        ("top_p", 0, 1),
        ("max_tokens", 1, 2**31),
        ("max_completion_tokens", 1, 2**31),
    ):
        if name in body and not (isinstance(body[name], int | float) and low <= body[name] <= high):
            yield f"Invalid '{name}': expected a number from {low} to {high}, but got {body[name]!r} instead."
    # OpenAI says "Invalid 'stop': array too long. Expected an array with maximum length 4"
    stop = body.get("stop", "x")
    if not isinstance(stop, str) and (not isinstance(stop, list) or not 0 < len(stop) <= STOP_MAX or not all(stop)):
        yield f"Invalid 'stop': expected 1 to {STOP_MAX} texts that are not empty."
    # OpenAI says "Invalid 'prompt_cache_key': string too long. Expected a string with maximum length 64"
    if len(body.get("prompt_cache_key", "")) > PROMPT_CACHE_KEY_MAX:
        yield f"Invalid 'prompt_cache_key': string too long. Expected a string with maximum length {PROMPT_CACHE_KEY_MAX}"


def _effort(body: dict[str, Any], model: Reasoning, name: str) -> Iterator[str]:
    if model.is_responses_only:
        # OpenAI says so, with 404.
        yield RESPONSES_ONLY
        return
    effort = body.get("reasoning_effort")
    # OpenAI says "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model. Supported values are: ..."
    if effort is not None and effort not in model.chat_efforts:
        supported = ", ".join(repr(each) for each in EFFORTS if each in model.chat_efforts)
        yield (
            f"Unsupported value: 'reasoning_effort' does not support {effort!r} with this model. "
            f"Supported values are: {supported}."
        )
    # livekit/agents#7169, BerriAI/litellm#34569 (gpt-5.6: also without an effort), pipecat-ai/pipecat#4043 (gpt-5.4: only with one).
    refused = {
        "any": False,
        "no_effort": effort not in {None, "none"},
        "none": effort != "none",
        "never": True,
    }
    if body.get("tools") and refused[model.chat_tools]:
        remedy = (
            "Please use /v1/responses instead."
            if model.chat_tools == "no_effort"
            else "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
        )
        yield f"Function tools with reasoning_effort are not supported for {name} in /v1/chat/completions. {remedy}"


def _tools(body: dict[str, Any]) -> Iterator[str]:
    tools = body.get("tools")
    if tools is None:
        # OpenAI says "'parallel_tool_calls' is only allowed when 'tools' are specified."
        for setting in ("parallel_tool_calls", "tool_choice"):
            if setting in body:
                yield f"'{setting}' is only allowed when 'tools' are specified."
        return
    # OpenAI says "[] is too short - 'tools'"; "Invalid 'tools': array too long. Expected an array with maximum length 128"
    if not isinstance(tools, list) or not 0 < len(tools) <= TOOLS_MAX:
        yield f"Invalid 'tools': expected an array of 1 to {TOOLS_MAX} tools."
        return
    names: set[str] = set()
    for index, tool in enumerate(tools):
        at = f"tools[{index}].function"
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or set(function) - {"name", "description", "parameters", "strict"}:
            yield f"Invalid value: '{at}'."
            continue
        name = function.get("name")
        # OpenAI says "Invalid 'tools[0].function.name': string does not match pattern. Expected a string that matches '^[a-zA-Z0-9_-]+$'."
        if not isinstance(name, str) or not NAME.fullmatch(name):
            yield f"Invalid '{at}.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
        elif name in names:  # Gemini's endpoint of this dialect: "Duplicate function declaration found"
            yield f"Invalid '{at}.name': {name!r} occurs twice."
        names.add(str(name))
        # OpenAI says "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024"
        if is_openai_model(str(body.get("model", ""))) and len(function.get("description", "")) > DESCRIPTION_MAX:
            yield f"Invalid '{at}.description': string too long. Expected a string with maximum length {DESCRIPTION_MAX}"
        # OpenAI says "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"', got 'type: \"None\"'."
        parameters = function.get("parameters", {"type": "object"})
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            yield f"Invalid schema for function {name!r}: schema must be a JSON Schema of 'type: \"object\"'."


def _messages(body: dict[str, Any]) -> Iterator[str]:
    messages = body.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        at = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        # OpenAI says "Invalid value: 'bot'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
        if role not in MESSAGE_FIELDS:
            yield f"Invalid value: {role!r}. Supported values are: {', '.join(MESSAGE_FIELDS)}."
            continue
        # OpenAI says "Additional properties are not allowed ('x' was unexpected) - 'messages.0'"
        extra = set() if is_openai_model(str(body.get("model", ""))) else FOREIGN_FIELDS
        for name in sorted(set(message) - MESSAGE_FIELDS[role] - extra):
            yield f"Additional properties are not allowed ({name!r} was unexpected) - 'messages.{index}'"
        yield from _content(message, role, at)
        yield from _sounds(message, str(body.get("model", "")), at)
        if role == "assistant" and "tool_calls" in message:
            yield from _calls(message["tool_calls"], at, takes_extra=not is_openai_model(str(body.get("model", ""))))


def _content(message: dict[str, Any], role: str, at: str) -> Iterator[str]:
    content = message.get("content")
    if content is None:
        # OpenAI says "Invalid value for 'content': expected a string, got null."
        if role != "assistant" or not message.get("tool_calls"):
            yield f"Invalid value for '{at}.content': expected a string, got null."
        return
    if isinstance(content, str):
        # Moonshot: "message at position 1 with role 'assistant' must not be empty"; Bedrock and Mistral refuse it, too.
        if not content:
            yield f"{at}: the message must not be empty"
        return
    if not isinstance(content, list) or not content:
        yield f"Invalid type for '{at}.content': expected a string or an array of objects that is not empty."
        return
    for number, part in enumerate(content):
        yield from _content_part(part, role, f"{at}.content[{number}]")


def _content_part(part: Any, role: str, at: str) -> Iterator[str]:
    kind = part.get("type") if isinstance(part, dict) else None
    # OpenAI says "Invalid value: 'image'. Supported values are: 'text', 'image_url', 'input_audio', 'refusal', 'audio', and 'file'."
    if kind not in CONTENT_PARTS[role]:
        yield f"Invalid value: {kind!r} at {at}. Supported values are: {', '.join(sorted(CONTENT_PARTS[role]))}."
    elif kind in {"text", "refusal"}:
        if not isinstance(part.get(kind), str) or not part[kind]:
            yield f"{at}: the text must not be empty"
    elif kind == "image_url":
        url = _inner(part, kind).get("url", "")
        # OpenAI says "You uploaded an unsupported image. Please make sure your image is of one of the following formats: ..."
        if not url.startswith("https://") and _data_type(url) not in IMAGE_TYPES:
            yield f"{at}: You uploaded an unsupported image: png, jpeg, gif and webp are supported."
    elif kind == "file":
        file = _inner(part, kind)
        # OpenAI says "Invalid file data: ... Expected a base64-encoded data URL"; "Missing required parameter: ... filename"
        if not file.get("filename") or not _data_type(file.get("file_data", "")):
            yield f"{at}: Expected a file name and a base64-encoded data URL."
        # OpenAI says "Invalid file data: ... Expected a base64-encoded data URL with an application/pdf MIME type ... but got ..."
        elif _data_type(file["file_data"]) != "application/pdf":
            yield f"{at}: Expected a base64-encoded data URL with an application/pdf MIME type."
    elif _inner(part, kind).get("format") not in {"wav", "mp3"}:
        yield f"{at}: Supported audio formats are wav and mp3."


def _sounds(message: dict[str, Any], model: str, at: str) -> Iterator[str]:
    # OpenAI, *Audio and speech*: only models with "audio" in their name take `input_audio` on Chat Completions.
    content = message.get("content")
    kinds = [part.get("type") for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    if "input_audio" in kinds and is_openai_model(model) and "audio" not in model:
        yield f"{at}: This model does not support audio input."


def _inner(part: dict[str, Any], name: str) -> dict[str, Any]:
    inner = part.get(name)
    return inner if isinstance(inner, dict) else {}


def _data_type(url: str) -> str:
    if (found := DATA_URL.fullmatch(url)) is None:
        return ""
    try:
        base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return ""
    return found[1]


def _calls(calls: Any, at: str, *, takes_extra: bool) -> Iterator[str]:
    # Google: "Thought signatures", section on OpenAI compatibility.
    fields = {"id", "type", "function"}
    # OpenAI says "[] is too short - 'messages.1.tool_calls'"
    if not isinstance(calls, list) or not calls:
        yield f"[] is too short - '{at}.tool_calls'"
        return
    for index, call in enumerate(calls):
        where = f"{at}.tool_calls[{index}]"
        function = call.get("function") if isinstance(call, dict) and call.get("type") == "function" else None
        if (
            not isinstance(function, dict)
            or set(call) - ({"extra_content"} if takes_extra else set()) != fields
            or set(function) != {"name", "arguments"}
        ):
            yield f"Invalid value: '{where}'."
            continue
        # OpenAI says "Invalid 'messages[2].tool_calls[0].id': string too long. Expected a string with maximum length 40"
        if not isinstance(call["id"], str) or not 0 < len(call["id"]) <= CALL_ID_MAX:
            yield f"Invalid '{where}.id': expected a string of 1 to {CALL_ID_MAX} characters."
        # OpenAI says "Invalid 'messages[1].tool_calls[0].function.name': string does not match pattern."
        if not isinstance(function["name"], str) or not NAME.fullmatch(function["name"]):
            yield f"Invalid '{where}.function.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
        # OpenAI wants text; Mistral, Groq and the chat templates of open models parse it and fail if it is not an object.
        if not isinstance(function["arguments"], str) or not _is_object(function["arguments"]):
            yield f"Invalid '{where}.function.arguments': expected the text of a JSON object."


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _pairing(body: dict[str, Any]) -> Iterator[str]:
    messages = [message for message in body.get("messages") or [] if isinstance(message, dict)]
    wanted: list[str] = []
    seen: set[str] = set()
    previous = ""
    for index, message in enumerate(messages):
        role = str(message.get("role"))
        if role == "tool":
            call_id = str(message.get("tool_call_id"))
            if call_id in wanted:
                wanted.remove(call_id)
            elif call_id in seen:
                # OpenAI says "Invalid parameter: Duplicate value for 'tool_call_id' of 'call_1', in messages[2] and messages[3]."
                yield f"Invalid parameter: Duplicate value for 'tool_call_id' of {call_id!r}, in messages[{index}]."
            else:
                yield (
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    f"'tool_calls' (messages[{index}])."
                )
        else:
            yield from _unanswered(wanted)
            # Chat templates of open models: "Conversation roles must alternate user/assistant/user/assistant/..."
            if role == "user" and previous == "user":
                yield f"Conversation roles must alternate (messages[{index}])."
            wanted = [str(call.get("id")) for call in message.get("tool_calls") or [] if isinstance(call, dict)]
            # OpenAI says "400 Duplicate call_ids submitted"
            if len(set(wanted)) != len(wanted) or seen & set(wanted):
                yield f"Duplicate call_ids submitted: messages[{index}]."
            seen |= set(wanted)
        previous = role
    yield from _unanswered(wanted)
    yield from _reasoning_kept(body, messages)
    yield from _signed(body, messages)


def _unanswered(call_ids: list[str]) -> Iterator[str]:
    if call_ids:
        yield (
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(call_ids)}"
        )


def _reasoning_kept(body: dict[str, Any], messages: list[dict[str, Any]]) -> Iterator[str]:
    # DeepSeek: "The `reasoning_content` in the thinking mode must be passed back to the API." It may be empty.
    # Distilled models bear the name, but others serve them.
    model = str(body.get("model", ""))
    if model in {"kimi-k2.5", "kimi-k2.6", "kimi-k2-thinking"}:
        # Moonshot: "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2".
        for index, message in enumerate(messages):
            if message.get("tool_calls") and "reasoning_content" not in message:
                yield f"thinking is enabled but reasoning_content is missing in assistant tool call message at index {index}"
    if "deepseek" not in model or "distill" in model:
        return
    is_tool_turn = False
    for message in messages:
        if message.get("role") == "user":
            is_tool_turn = False
        is_tool_turn = is_tool_turn or "tool_calls" in message
        if is_tool_turn and message.get("role") == "assistant" and "reasoning_content" not in message:
            yield "The `reasoning_content` in the thinking mode must be passed back to the API."


def _signed(body: dict[str, Any], messages: list[dict[str, Any]]) -> Iterator[str]:
    # Google: "Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly".
    # Held for the first call of every step since the last thing that a person said, by the names that only Google uses.
    if not str(body.get("model", "")).removeprefix("models/").startswith("gemini-3"):
        return
    turn: list[dict[str, Any]] = []
    for message in messages:
        turn = [] if message.get("role") == "user" else [*turn, message]
    for message in turn:
        for call in (message.get("tool_calls") or ())[:1]:
            if not _inner(_inner(call, "extra_content"), "google").get("thought_signature"):
                yield "Function call is missing a thought_signature in functionCall parts."
