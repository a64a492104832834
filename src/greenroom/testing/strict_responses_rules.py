"""What OpenAI's Responses API refuses, as a pure function, so that a test can hold any client to it.

Each rule names its source: the API reference (https://developers.openai.com/api/docs/api-reference/responses/create), the types of
the official SDK (`openai.types.responses`), or the text of the error that the API answers with. Where servers of the same dialect
are stricter than OpenAI, and nothing is lost by obeying them, their rule is held too and they are named. What only a server can know
(which reasoning it gave out) is held by `strict_responses`.

Rule: nothing here is shared with the backend under test: a mistake in one must not hide in the other.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from greenroom.testing.strict_openai_rules import EFFORTS, Reasoning, is_openai_model, parts_of, payloads, reasoning_of

TOOLS_MAX: Final = 128
DESCRIPTION_MAX: Final = 1024
ID_MAX: Final = 64
PROMPT_CACHE_KEY_MAX: Final = 64
OUTPUT_TOKENS_MIN: Final = 16
ENCRYPTED: Final = "reasoning.encrypted_content"

# The parameters of the API reference.
FIELDS: Final = frozenset(
    [
        "background",
        "context_management",
        "conversation",
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "moderation",
        "parallel_tool_calls",
        "previous_response_id",
        "prompt",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning",
        "safety_identifier",
        "service_tier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
INCLUDABLE: Final = frozenset(
    {
        "file_search_call.results",
        "web_search_call.results",
        "web_search_call.action.sources",
        "message.input_image.image_url",
        "computer_call_output.output.image_url",
        "code_interpreter_call.outputs",
        ENCRYPTED,
        "message.output_text.logprobs",
    }
)
# SDK: ResponseInputItemParam. Items of the provider's own tools are looked at only as far as their ids.
ITEM_FIELDS: Final[dict[str, frozenset[str]]] = {
    "message": frozenset({"type", "role", "content", "id", "status", "phase"}),
    "function_call": frozenset(
        {"type", "call_id", "name", "arguments", "id", "status", "namespace", "caller", "async"}
    ),
    "function_call_output": frozenset({"type", "call_id", "output", "id", "status", "name", "namespace", "caller"}),
    # Without `status`: OpenAI says "Unknown parameter: 'input[1].status'." for those that its SDK writes.
    "reasoning": frozenset({"type", "id", "summary", "content", "encrypted_content"}),
}
OTHER_ITEMS: Final = frozenset(
    [
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_list_tools",
        "mcp_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "computer_call",
        "computer_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "shell_call",
        "shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "tool_search_call",
        "tool_search_output",
        "compaction",
        "item_reference",
        "program",
        "program_output",
        "additional_tools",
    ]
)
CONTENT: Final[dict[str, frozenset[str]]] = {
    "user": frozenset({"input_text", "input_image", "input_file"}),
    "system": frozenset({"input_text"}),
    "developer": frozenset({"input_text"}),
    "assistant": frozenset({"output_text", "refusal"}),
}
ID_PREFIXES: Final = {"message": "msg", "function_call": "fc", "reasoning": "rs"}
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,([A-Za-z0-9+/]+={0,2})")
FILE_TYPES: Final = frozenset(
    {
        "application/pdf",
        "application/msword",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/rtf",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.ms-powerpoint",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.ms-excel",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/csv",
        "application/json",
        "application/xml",
        "application/javascript",
        "application/typescript",
        "application/x-yaml",
        "application/yaml",
    }
)
IMAGE_TYPES: Final = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


def refusals(body: dict[str, Any]) -> list[str]:
    """Returns why the API would refuse the request, in its own words as far as they are known; nothing if it would not."""
    return [*_request(body), *_settings(body), *_tools(body), *_items(body), *_pairing(body)]


def items_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the input as items."""
    given = body.get("input")
    return [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []


def type_of(item: dict[str, Any]) -> str:
    """Returns the type of an input item: a message may leave it out."""
    return str(item.get("type") or ("message" if "role" in item else ""))


def _request(body: dict[str, Any]) -> Iterator[str]:
    # OpenAI says "Unknown parameter: 'stop'."
    for name in sorted(set(body) - FIELDS):
        yield f"Unknown parameter: '{name}'."
    # OpenAI says "Missing required parameter: 'model'."
    if not isinstance(body.get("model"), str) or not body["model"]:
        yield "Missing required parameter: 'model'."
    # OpenAI says "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation' must be provided."
    if not body.get("input"):
        yield 'One of "input" or "previous_response_id" or "prompt" or "conversation" must be provided.'
    # Ours: what is stored at a provider is out of its user's hands; and the API's default is to store.
    if body.get("store") is not False:
        yield "This server stores nothing: 'store' must be false."
    yield from payloads(part for item in items_of(body) for part in parts_of(item))
    if "instructions" in body and (not isinstance(body["instructions"], str) or not body["instructions"]):
        yield "Invalid type for 'instructions': expected a string that is not empty."


def _settings(body: dict[str, Any]) -> Iterator[str]:
    model = str(body.get("model", ""))
    include, reasoning = body.get("include", []), body.get("reasoning")
    for name in include if isinstance(include, list) else [include]:
        if name not in INCLUDABLE:
            yield f"Invalid value: {name!r}. Supported values are: {', '.join(sorted(INCLUDABLE))}."
    if (known := reasoning_of(model)) is not None:
        # OpenAI says "Unsupported parameter: 'temperature' is not supported with this model."
        for name in ("temperature", "top_p"):
            if body.get(name, 1) != 1:
                yield f"Unsupported parameter: '{name}' is not supported with this model."
        yield from _reasoning(reasoning, model, known)
    elif is_openai_model(model):
        # OpenAI says "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        if reasoning:
            yield "Unsupported parameter: 'reasoning.effort' is not supported with this model."
        # OpenAI says "Encrypted content is not supported with this model."
        if ENCRYPTED in include:
            yield "Encrypted content is not supported with this model."
    # OpenAI says "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 10 instead."
    least = OUTPUT_TOKENS_MIN if is_openai_model(model) else 1
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("max_output_tokens", least, 2**31)):
        if name in body and not (isinstance(body[name], int | float) and low <= body[name] <= high):
            yield f"Invalid '{name}': expected a number from {low} to {high}, but got {body[name]!r} instead."
    # OpenAI says "Invalid 'prompt_cache_key': string too long. Expected a string with maximum length 64"
    if len(body.get("prompt_cache_key", "")) > PROMPT_CACHE_KEY_MAX:
        yield f"Invalid 'prompt_cache_key': string too long. Expected a string with maximum length {PROMPT_CACHE_KEY_MAX}"


def _reasoning(reasoning: Any, model: str, known: Reasoning) -> Iterator[str]:
    if reasoning is None:
        return
    # SDK: Reasoning. OpenAI says "Unknown parameter: 'reasoning.generate'."
    if not isinstance(reasoning, dict) or set(reasoning) - {"effort", "summary", "generate_summary"}:
        yield f"Invalid value for 'reasoning': {reasoning!r}."
        return
    # OpenAI says "Unsupported value: 'minimal' is not supported with the 'gpt-5.1' model. Supported values are: ..."
    if (effort := reasoning.get("effort")) is not None and effort not in known.efforts:
        supported = ", ".join(repr(each) for each in EFFORTS if each in known.efforts)
        yield f"Unsupported value: {effort!r} is not supported with the {model!r} model. Supported values are: {supported}."
    if reasoning.get("summary", "auto") not in {"auto", "concise", "detailed"}:
        yield f"Invalid value for 'reasoning.summary': {reasoning['summary']!r}."


def _tools(body: dict[str, Any]) -> Iterator[str]:
    tools = body.get("tools")
    if tools is None:
        return
    if not isinstance(tools, list) or not 0 < len(tools) <= TOOLS_MAX:
        yield f"Invalid 'tools': expected an array of 1 to {TOOLS_MAX} tools."
        return
    names: set[str] = set()
    for index, tool in enumerate(tools):
        at = f"tools[{index}]"
        if not isinstance(tool, dict) or tool.get("type") != "function":
            yield f"Invalid value: '{at}': this server knows functions only."
            continue
        # SDK: FunctionToolParam; `strict` is required. OpenAI says "Unknown parameter: 'tools[0].function'."
        for name in sorted(set(tool) - {"type", "name", "description", "parameters", "strict"}):
            yield f"Unknown parameter: '{at}.{name}'."
        name = tool.get("name")
        # OpenAI says "Missing required parameter: 'tools[0].name'."; "Invalid 'tools[0].name': string does not match pattern."
        if not isinstance(name, str) or not NAME.fullmatch(name) or name in names:
            yield f"Invalid '{at}.name': string does not match pattern '^[a-zA-Z0-9_-]+$', or occurs twice."
        names.add(str(name))
        if is_openai_model(str(body.get("model", ""))) and len(tool.get("description", "")) > DESCRIPTION_MAX:
            yield f"Invalid '{at}.description': string too long. Expected a string with maximum length {DESCRIPTION_MAX}"
        yield from _schema(tool, name)


def _schema(tool: dict[str, Any], name: Any) -> Iterator[str]:
    parameters = tool.get("parameters")
    # OpenAI says "Invalid schema for function 'f': schema must be a JSON Schema of 'type: \"object\"'."
    if not isinstance(parameters, dict) or parameters.get("type") != "object":
        yield f"Invalid schema for function {name!r}: schema must be a JSON Schema of 'type: \"object\"'."
    elif tool.get("strict", True) is not False and (
        # OpenAI says "In context=(), 'additionalProperties' is required to be supplied and to be false."
        # and "'required' is required to be supplied and to be an array including every key in properties."
        parameters.get("additionalProperties") is not False
        or set(parameters.get("required", ())) != set(parameters.get("properties", ()))
    ):
        yield f"Invalid schema for function {name!r}: In context=(), 'additionalProperties' is required to be false."


# --- items --------------------------------------------------------------------------------------------------------------


def _items(body: dict[str, Any]) -> Iterator[str]:
    given, is_openai = body.get("input"), is_openai_model(str(body.get("model", "")))
    for index, item in enumerate(given if isinstance(given, list) else []):
        at = f"input[{index}]"
        kind = type_of(item) if isinstance(item, dict) else ""
        # llama.cpp says "Cannot determine type of 'item'" to a message of the assistant without its type.
        if (kind not in ITEM_FIELDS and kind not in OTHER_ITEMS) or (
            item.get("role") == "assistant" and "type" not in item
        ):
            yield f"Invalid value: {kind!r}. '{at}.type' is unknown or missing."
            continue
        yield from _identity(item, kind if is_openai else "", at)
        # OpenAI says "Unknown parameter: 'input[1].status'."
        for name in sorted(set(item) - ITEM_FIELDS.get(kind, frozenset(item))):
            yield f"Unknown parameter: '{at}.{name}'."
        # OpenAI says "Invalid type for 'input[1].status': expected one of ..., but got null instead."
        for name in sorted(name for name, value in item.items() if value is None and kind in ITEM_FIELDS):
            yield f"Invalid type for '{at}.{name}': got null."
        match kind:
            case "message":
                yield from _message(item, at)
            case "function_call":
                yield from _call(item, at)
            case "function_call_output":
                yield from _output(item, at)
            case "reasoning":
                yield from _thought(item, at, is_openai=is_openai)
            case _:
                pass


def _identity(item: dict[str, Any], kind: str, at: str) -> Iterator[str]:
    if "id" not in item:
        return
    item_id, prefix = item["id"], ID_PREFIXES.get(kind, "")
    # OpenAI says "Invalid 'input[1].id': 'call_1'. Expected an ID that begins with 'fc'."
    if not isinstance(item_id, str) or not item_id.startswith(prefix):
        yield f"Invalid '{at}.id': {item_id!r}. Expected an ID that begins with '{prefix}'."
    # OpenAI says "Invalid 'input[1].id': string too long. Expected a string with maximum length 64"
    elif len(item_id) > ID_MAX:
        yield f"Invalid '{at}.id': string too long. Expected a string with maximum length {ID_MAX}"


def _message(item: dict[str, Any], at: str) -> Iterator[str]:
    role, content = item.get("role"), item.get("content")
    # OpenAI says "Invalid value: 'tool'. Supported values are: 'assistant', 'system', 'developer', and 'user'."
    if role not in CONTENT:
        yield f"Invalid value: {role!r}. Supported values are: {', '.join(CONTENT)}."
        return
    if isinstance(content, str) and role != "assistant":
        content = [{"type": "input_text", "text": content}]
    # llama.cpp says "'content' is empty", and wants the content of the assistant as an array.
    if not isinstance(content, list) or not content:
        yield f"Invalid type for '{at}.content': expected an array of objects that is not empty."
        return
    # SDK: ResponseOutputMessageParam, EasyInputMessageParam.
    if "phase" in item and (role != "assistant" or item["phase"] not in {"commentary", "final_answer"}):
        yield f"Invalid value for '{at}.phase': {item['phase']!r}."
    for number, part in enumerate(content):
        yield from _content(part, str(role), f"{at}.content[{number}]")


def _content(part: Any, role: str, at: str) -> Iterator[str]:
    kind = part.get("type") if isinstance(part, dict) else None
    # OpenAI says "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'."
    if kind not in CONTENT[role]:
        yield f"Invalid value: {kind!r} at {at}. Supported values are: {', '.join(sorted(CONTENT[role]))}."
    elif kind in {"input_text", "output_text", "refusal"}:
        name = "refusal" if kind == "refusal" else "text"
        # Servers with chat templates refuse an empty text; nobody needs one.
        if not isinstance(part.get(name), str) or not part[name]:
            yield f"{at}: the text must not be empty"
        if kind == "output_text" and not isinstance(part.get("annotations", []), list):
            yield f"Invalid type for '{at}.annotations': expected an array of objects."
    elif kind == "input_image":
        url = str(part.get("image_url", ""))
        # OpenAI says "Invalid 'input[0].content[1].image_url'. Expected a valid URL, but got a value with an invalid format."
        if not url.startswith("https://") and _data_type(url) not in IMAGE_TYPES:
            yield f"{at}: You uploaded an unsupported image: png, jpeg, gif and webp are supported."
        # SDK: ResponseInputImageParam; `detail` is required.
        if part.get("detail") not in {"auto", "low", "high", "original"}:
            yield f"Missing required parameter: '{at}.detail'."
    # OpenAI says "Missing required parameter: 'input[0].content[0].filename'."; "Expected a base64-encoded data URL"
    elif not part.get("filename") or not (file_type := _data_type(str(part.get("file_data", "")))):
        yield f"{at}: Expected a file name and a base64-encoded data URL."
    # *File inputs*, "Accepted file types". OpenAI says "Expected context stuffing file type to be a supported format: .pdf, ..."
    elif file_type not in FILE_TYPES and not file_type.startswith("text/"):
        yield f"Invalid input: '{at}'. Expected context stuffing file type to be a supported format, but got {file_type}."


def _data_type(url: str) -> str:
    if (found := DATA_URL.fullmatch(url)) is None:
        return ""
    try:
        base64.b64decode(found[2], validate=True)
    except binascii.Error:
        return ""
    return found[1]


def _call(item: dict[str, Any], at: str) -> Iterator[str]:
    # OpenAI says "Invalid 'input[2].call_id': string too long. Expected a string with maximum length 64", "Invalid ... empty string"
    call_id, name, arguments = item.get("call_id"), item.get("name"), item.get("arguments")
    if not isinstance(call_id, str) or not 0 < len(call_id) <= ID_MAX:
        yield f"Invalid '{at}.call_id': expected a string of 1 to {ID_MAX} characters."
    # OpenAI says "Invalid 'input[2].name': string does not match pattern. Expected a string that matches '^[a-zA-Z0-9_-]+$'."
    if not isinstance(name, str) or not NAME.fullmatch(name):
        yield f"Invalid '{at}.name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
    # OpenAI wants text; servers with chat templates parse it and fail if it is not an object.
    if not isinstance(arguments, str) or not _is_object(arguments):
        yield f"Invalid '{at}.arguments': expected the text of a JSON object."


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _output(item: dict[str, Any], at: str) -> Iterator[str]:
    # OpenAI says "Missing required parameter: 'input[2].output'."
    if not isinstance(item.get("output"), str | list) or not item["output"]:
        yield f"Missing required parameter: '{at}.output'."


def _thought(item: dict[str, Any], at: str, *, is_openai: bool) -> Iterator[str]:
    # OpenAI says "Missing required parameter: 'input[1].summary'."; SDK: ResponseReasoningItemParam; `id` is required.
    for name in ("id", "summary"):
        if name not in item:
            yield f"Missing required parameter: '{at}.{name}'."
    # OpenAI says "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. ..."
    # Servers that show their reasoning want it back in the clear.
    if not item.get("encrypted_content") and (is_openai or not item.get("content")):
        yield f"Item with id {item.get('id')!r} not found. Items are not persisted when `store` is set to false."


# --- what belongs together ----------------------------------------------------------------------------------------------


def _pairing(body: dict[str, Any]) -> Iterator[str]:
    items = items_of(body)
    called: set[str] = set()
    waiting: dict[str, str] = {}
    for index, item in enumerate(items):
        kind = type_of(item)
        if kind.endswith("_output"):
            call_id = str(item.get("call_id"))
            if call_id in waiting:
                del waiting[call_id]
            elif "call_id" in item and item["call_id"] is not None:
                # OpenAI says "No tool call found for function call output with call_id call_1."
                yield f"No tool call found for function call output with call_id {call_id}."
            continue
        if kind == "message" and "function_call" in waiting.values():
            # DeepSeek and chat templates: the results of functions follow the calls at once.
            yield from _unanswered(waiting)
            waiting = {}
        if kind.endswith("_call") and item.get("call_id"):
            call_id = str(item["call_id"])
            if call_id in called:
                yield f"Duplicate call_id {call_id!r} at input[{index}]."
            called.add(call_id)
            waiting[call_id] = kind
        # OpenAI says "Item 'rs_1' of type 'reasoning' was provided without its required following item."
        after = type_of(items[index + 1]) if index + 1 < len(items) else ""
        if kind == "reasoning" and (not after or after.endswith("_output") or items[index + 1].get("role") == "user"):
            yield f"Item {item.get('id')!r} of type 'reasoning' was provided without its required following item."
        # The dialect has no answer for a request of approval but the user's own.
        if kind == "mcp_approval_request" and after != "mcp_approval_response":
            yield f"No response to the approval request {item.get('id')!r} was provided."
    yield from _unanswered(waiting)


def _unanswered(call_ids: Iterable[str]) -> Iterator[str]:
    # OpenAI says "No tool output found for function call call_1."
    for call_id in call_ids:
        yield f"No tool output found for function call {call_id}."
