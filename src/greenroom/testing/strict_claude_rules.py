"""What Anthropic's Messages API refuses, as a function from a request to the reasons.

Every rule names its source: a page of https://platform.claude.com/docs/en ("docs:"), the official SDK's types ("sdk:"), or the
text of the API's own error ("api:"). Where these leave room, the double is the stricter one.

Rule: nothing here is shared with the encoder that is tested against it. The table of models was written from the documentation
a second time, model by model, so that a wrong rule there cannot hide behind the same wrong rule here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import msgspec

Body = Mapping[str, Any]
Headers = Mapping[str, str]
Block = Mapping[str, Any]

# docs: models/overview, context windows.
SMALL_WINDOWS: Final = frozenset({"claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-4-5"})
OLD_VERSION: Final = "2023-06-01"
BINDING_BETA: Final = "thinking-binding-controls-2026-08-01"
BUDGET_MIN: Final = 1024
BREAKPOINTS_MAX: Final = 4
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
CALL_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")
THINKING: Final = frozenset({"thinking", "redacted_thinking"})
IMAGE_BYTES_MAX: Final = 5 * 1024 * 1024
IMAGE_SIDE_MAX: Final = 8000
REQUEST_BYTES_MAX: Final = 32 * 1024 * 1024
PDF_PAGES_MAX: Final = 600
PDF_PAGES_MAX_OF_OLD: Final = 100
"""Of a model whose context window is smaller than a million tokens."""
PDF_PAGE: Final = re.compile(rb"/Type\s*/Page(?![a-zA-Z])")
IMAGES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})


class ModelFacts(msgspec.Struct, frozen=True):
    """What the documentation says of a model.

    Attributes:
        thinking: accepted values of `thinking.type`.
        efforts: accepted values of `output_config.effort`.
        thinks_unasked: thinks when the request does not mention it.
        binds: checks that nothing before a thinking block has changed.
    """

    max_tokens: int
    thinking: frozenset[str]
    efforts: frozenset[str] = frozenset()
    takes_sampling: bool = False
    takes_prefill: bool = False
    thinks_unasked: bool = False
    binds: bool = False


_THREE: Final = frozenset({"low", "medium", "high"})
_FIVE: Final = _THREE | {"xhigh", "max"}
_MANUAL: Final = frozenset({"enabled", "disabled"})
_ADAPTIVE: Final = frozenset({"adaptive", "disabled"})

# docs: models/overview, build-with-claude/thinking, build-with-claude/effort, and the migration guide of each model.
MODELS: Final = {
    "claude-haiku-4-5": ModelFacts(64_000, _MANUAL, takes_sampling=True, takes_prefill=True),
    "claude-sonnet-4-5": ModelFacts(64_000, _MANUAL, takes_sampling=True, takes_prefill=True),
    "claude-opus-4-5": ModelFacts(64_000, _MANUAL, _THREE, takes_sampling=True, takes_prefill=True),
    "claude-sonnet-4-6": ModelFacts(128_000, _MANUAL | _ADAPTIVE, _THREE | {"max"}, takes_sampling=True),
    "claude-opus-4-6": ModelFacts(128_000, _MANUAL | _ADAPTIVE, _THREE | {"max"}, takes_sampling=True),
    "claude-opus-4-7": ModelFacts(128_000, _ADAPTIVE, _FIVE),
    "claude-opus-4-8": ModelFacts(128_000, _ADAPTIVE, _FIVE),
    "claude-sonnet-5": ModelFacts(128_000, _ADAPTIVE, _FIVE, thinks_unasked=True),
    "claude-opus-5": ModelFacts(128_000, _ADAPTIVE, _FIVE, thinks_unasked=True),
    "claude-fable-5": ModelFacts(128_000, frozenset({"adaptive"}), _FIVE, thinks_unasked=True),
    "claude-fable-5-1": ModelFacts(128_000, frozenset({"adaptive"}), _FIVE, thinks_unasked=True, binds=True),
    "claude-opus-5-5": ModelFacts(128_000, frozenset({"adaptive"}), _FIVE, thinks_unasked=True, binds=True),
    "claude-sonnet-5-5": ModelFacts(
        128_000, frozenset({"adaptive", "between_tools"}), _FIVE, thinks_unasked=True, binds=True
    ),
    "claude-haiku-5-5": ModelFacts(128_000, _ADAPTIVE, _FIVE, thinks_unasked=True, binds=True),
}


def refusals(body: Body, *, headers: Headers | None = None) -> list[str]:
    """Returns why the API would answer the request with "400 Bad Request": nothing, for a valid one.

    Args:
        body: the JSON body of `POST /v1/messages`.
        headers: those of the request, with lower-case names.
    """
    return [reason for rule in _RULES for reason in rule(body, headers or {})]


def is_thinking(body: Body) -> bool:
    """Returns whether the model will think about a valid request."""
    kind = (body.get("thinking") or {}).get("type")
    facts = MODELS.get(body["model"])
    return kind in {"enabled", "adaptive"} or (kind is None and facts is not None and facts.thinks_unasked)


def merged(messages: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Block]]]:
    """Returns the messages as the API reads them: texts as blocks, consecutive messages of a role as one."""
    turns: list[tuple[str, list[Block]]] = []
    for role, group in groupby(messages, key=lambda message: str(message.get("role"))):
        turns.append((role, [block for message in group for block in blocks_of(message)]))
    return turns


def blocks_of(message: Mapping[str, Any]) -> Sequence[Block]:
    """Returns the content blocks of a message."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return content if isinstance(content, list) else []


def running_loop(body: Body) -> list[list[Block]]:
    """Returns the assistant messages of the tool loop that the request continues, oldest first."""
    loop: list[list[Block]] = []
    for role, blocks in reversed(merged(body["messages"])):
        if role == "assistant":
            loop.insert(0, blocks)
        elif not any(block["type"] == "tool_result" for block in blocks):
            break
    return loop


# --- the body as a whole ------------------------------------------------------------------------------------------------


def _shape(body: Body, _: Headers) -> Iterator[str]:
    """sdk: types/message_create_params.py; api: "<field>: Extra inputs are not permitted", "Field required"."""
    for name in body.keys() - _FIELDS:
        yield f"{name}: Extra inputs are not permitted"
    for name, kind in (("model", str), ("max_tokens", int), ("messages", list)):
        if not isinstance(body.get(name), kind) or isinstance(body.get(name), bool):
            yield f"{name}: Field required, of type {kind.__name__}"
    if not body.get("messages"):
        yield "messages: at least one message is required"


def _max_tokens(body: Body, _: Headers) -> Iterator[str]:
    """docs: models/overview; api: "max_tokens: <n> > <max>, which is the maximum allowed number of output tokens"."""
    facts, tokens = MODELS.get(body.get("model", "")), body.get("max_tokens")
    if not isinstance(tokens, int):
        return
    if tokens < 1:
        yield "max_tokens: must be at least 1"
    if facts is not None and tokens > facts.max_tokens:
        yield f"max_tokens: {tokens} > {facts.max_tokens}, which is the maximum allowed number of output tokens"


def _sampling(body: Body, headers: Headers) -> Iterator[str]:
    """docs: api/migration-2026-10-21, models/*/migration-guide; api: "`temperature` may only be set to 1 when thinking is enabled"."""
    given = [name for name in ("temperature", "top_p", "top_k") if name in body]
    facts = MODELS.get(body.get("model", ""))
    for name in given:
        if headers.get("anthropic-version", OLD_VERSION) != OLD_VERSION:
            yield f"{name}: is not supported by API version {headers['anthropic-version']}"
        if facts is not None and not facts.takes_sampling:
            yield f"{name}: is not supported by {body['model']}"
        if is_thinking(body):
            yield f"{name}: may not be set when thinking is enabled"
    if "temperature" in body and "top_p" in body and facts is not None:
        yield "temperature and top_p cannot both be specified for this model"
    if not 0 <= body.get("temperature", 0) <= 1:
        yield "temperature: range: 0..1"


def _thinking(body: Body, headers: Headers) -> Iterator[str]:
    """docs: build-with-claude/thinking, build-with-claude/preserved-thinking; sdk: types/beta/beta_thinking_config_*.py."""
    config, facts = body.get("thinking"), MODELS.get(body.get("model", ""))
    if config is None:
        return
    kind = config.get("type")
    if facts is not None and kind not in facts.thinking:
        yield f'"thinking.type.{kind}" is not supported for this model'
    allowed = {"enabled": {"budget_tokens", "display", "block_binding"}, "adaptive": {"display", "block_binding"}}
    for name in config.keys() - {"type"} - allowed.get(str(kind), set()):
        yield f"thinking.{name}: Extra inputs are not permitted for thinking.type.{kind}"
    if kind == "enabled":
        budget = config.get("budget_tokens")
        if not isinstance(budget, int) or budget < BUDGET_MIN:
            yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {BUDGET_MIN}"
        elif budget >= body.get("max_tokens", 0):
            yield "`max_tokens` must be greater than `thinking.budget_tokens`"
    if "block_binding" in config and BINDING_BETA not in headers.get("anthropic-beta", ""):
        yield f"thinking.block_binding: requires {BINDING_BETA} in the anthropic-beta header"


def _effort(body: Body, _: Headers) -> Iterator[str]:
    """docs: build-with-claude/effort; sdk: types/output_config_param.py."""
    effort = (body.get("output_config") or {}).get("effort")
    if effort is None:
        return
    facts = MODELS.get(body.get("model", ""))
    if effort not in (facts.efforts if facts is not None else _FIVE):
        yield f"output_config.effort: {effort!r} is not supported by {body['model']}"
    elif effort in {"xhigh", "max"} and (body.get("thinking") or {}).get("type") in {"disabled", "between_tools"}:
        yield f"output_config.effort: {effort!r} needs thinking"


def _stop_sequences(body: Body, _: Headers) -> Iterator[str]:
    """api: "stop_sequences: each stop sequence must contain non-whitespace"."""
    if any(not isinstance(text, str) or not text.strip() for text in body.get("stop_sequences", ())):
        yield "stop_sequences: each stop sequence must contain non-whitespace"


def _breakpoints(body: Body, _: Headers) -> Iterator[str]:
    """docs: build-with-claude/prompt-caching; api: "A maximum of 4 blocks with cache_control may be provided. Found <n>."."""
    system = body.get("system")
    places: list[Block] = [*body.get("tools", ()), *(system if isinstance(system, list) else ())]
    for message in body.get("messages") or ():
        places += blocks_of(message)
    marked = [block for block in places if "cache_control" in block]
    if len(marked) > BREAKPOINTS_MAX:
        yield f"A maximum of {BREAKPOINTS_MAX} blocks with cache_control may be provided. Found {len(marked)}."
    for block in marked:
        if block["cache_control"].get("type") != "ephemeral":
            yield "cache_control: type must be 'ephemeral'"
        if block.get("type") in THINKING:
            yield f"cache_control: cannot be set on {block['type']} blocks"


# --- system and tools ---------------------------------------------------------------------------------------------------


def _system(body: Body, _: Headers) -> Iterator[str]:
    """api: "system: text content blocks must be non-empty"."""
    system = body.get("system", "x")
    for block in system if isinstance(system, list) else [{"type": "text", "text": system}]:
        if block.get("type") != "text" or not str(block.get("text", "")).strip():
            yield "system: text content blocks must be non-empty"


def _tools(body: Body, _: Headers) -> Iterator[str]:
    """sdk: types/tool_param.py; docs: agents-and-tools/tool-use; api: "Requests which include `tool_use` or `tool_result` blocks must define tools"."""
    tools = body.get("tools", [])
    names = [tool.get("name") for tool in tools]
    for tool in tools:
        if not NAME.fullmatch(str(tool.get("name", ""))):
            yield f"tools: name {tool.get('name')!r} does not match {NAME.pattern}"
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield f"tools.{tool.get('name')}.input_schema.type: must be 'object'"
        if isinstance(tool.get("description", "x"), str) and not tool.get("description", "x"):
            yield f"tools.{tool.get('name')}.description: must not be empty"
    if len(set(names)) < len(names):
        yield "tools: Tool names must be unique."
    used = any(b.get("type") in {"tool_use", "tool_result"} for m in body.get("messages") or () for b in blocks_of(m))
    if used and not tools:
        yield "Requests which include `tool_use` or `tool_result` blocks must define tools"
    choice = body.get("tool_choice")
    if choice is not None:
        if not tools:
            yield "tool_choice: may only be specified while providing tools"
        if choice.get("type") not in {"auto", "any", "tool", "none"}:
            yield f"tool_choice: type {choice.get('type')!r} is unknown"
        if choice.get("type") in {"any", "tool"} and is_thinking(body):
            yield "Thinking may not be enabled when tool_choice forces tool use."


# --- messages -----------------------------------------------------------------------------------------------------------


def _files(body: Body, _: Headers) -> Iterator[str]:
    """docs: build-with-claude/pdf-support (32 MB and 600 pages a request, 100 if the context window is under 1M tokens); api/errors (413 request_too_large); api: "messages.0.content.1.pdf.source.base64.data: A maximum of 100 PDF pages may be provided."."""
    if len(msgspec.json.encode(body)) > REQUEST_BYTES_MAX:
        yield "Request exceeds the maximum size"
    pages, most = 0, PDF_PAGES_MAX_OF_OLD if body.get("model") in SMALL_WINDOWS else PDF_PAGES_MAX
    for place, message in enumerate(body.get("messages") or ()):
        for number, block in enumerate(blocks_of(message)):
            if block.get("type") != "document" or not isinstance(source := block.get("source"), Mapping):
                continue
            data = base64.b64decode(str(source.get("data", "")) + "==")
            pages += len(PDF_PAGE.findall(data))
            at = f"messages.{place}.content.{number}.pdf.source.base64.data"
            if b"%PDF" not in data[:1024]:
                yield f"{at}: The PDF specified was not valid."
            elif b"/Encrypt" in data:
                yield f"{at}: The PDF specified is password protected."
            if pages > most:
                yield f"{at}: A maximum of {most} PDF pages may be provided."


def _roles(body: Body, _: Headers) -> Iterator[str]:
    """docs: build-with-claude/working-with-messages; api: "messages: first message must use the "user" role"."""
    messages = body.get("messages") or []
    if messages and messages[0].get("role") != "user":
        yield 'messages: first message must use the "user" role'
    for place, message in enumerate(messages):
        if message.get("role") not in {"user", "assistant"}:
            yield f"messages.{place}.role: must be user or assistant"
        if not blocks_of(message):
            yield f"messages.{place}: messages must have non-empty content"
        if place and message.get("role") == messages[place - 1].get("role"):
            yield f"messages.{place}: roles must alternate"  # the API merges them; the double wants to see it done


def _blocks(body: Body, _: Headers) -> Iterator[str]:
    """sdk: types/message_content_param.py; docs: api/migration-2026-10-21; api: "text content blocks must contain non-whitespace text"."""
    for place, message in enumerate(body.get("messages") or ()):
        role = message.get("role")
        for number, block in enumerate(blocks_of(message)):
            where, kind = f"messages.{place}.content.{number}", block.get("type", "")
            is_server_tool = role == "assistant" and kind not in _USER_BLOCKS
            if kind not in _ROLES.get(role, ()) and not is_server_tool:
                yield f"{where}: {kind!r} blocks are not permitted in {role} messages"
            check = _BLOCKS.get(kind)
            for reason in check(block) if check is not None else ():
                yield f"{where}: {reason}"
            if role == "user" and block.get("citations"):
                yield f"{where}.citations: not permitted in user messages"


def _pairs(body: Body, _: Headers) -> Iterator[str]:
    """docs: agents-and-tools/tool-use; api: "`tool_use` ids were found without `tool_result` blocks immediately after"."""
    turns = merged(body.get("messages") or ())
    seen: set[Any] = set()
    open_ids: list[Any] = []
    for role, blocks in turns:
        if role == "assistant":
            open_ids = [block.get("id") for block in blocks if block.get("type") == "tool_use"]
            for call_id in open_ids:
                if call_id in seen:
                    yield f"`tool_use` ids must be unique: {call_id}"
                seen.add(call_id)
            continue
        results = [block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"]
        first = [block.get("type") == "tool_result" for block in blocks]
        if first != sorted(first, reverse=True):
            yield "`tool_result` blocks must come before all other content of their message"
        yield from _unpaired(open_ids, results)
        open_ids = []
    if open_ids:
        yield f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(map(str, open_ids))}"


def _unpaired(calls: Sequence[Any], results: Sequence[Any]) -> Iterator[str]:
    if missing := [call_id for call_id in calls if call_id not in results]:
        ids = ", ".join(map(str, missing))
        yield f"`tool_use` ids were found without `tool_result` blocks immediately after: {ids}"
    if extra := [call_id for call_id in results if call_id not in calls]:
        yield f"unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(map(str, extra))}"
    if len(set(results)) < len(results):
        yield "each tool_use must have a single result"


def _server_tools(body: Body, _: Headers) -> Iterator[str]:
    """docs: agents-and-tools/tool-use/server-tools: calls and results of the provider's tools pair within their message."""
    turns = merged(body.get("messages") or ())
    for place, (role, blocks) in enumerate(turns):
        if role != "assistant":
            continue
        calls = [b.get("id") for b in blocks if b.get("type") in {"server_tool_use", "mcp_tool_use"}]
        results = [b.get("tool_use_id") for b in blocks if "tool_use_id" in b]
        paused = blocks[-1].get("id") if place == len(turns) - 1 and blocks else None
        for call_id in calls:
            if call_id not in results and call_id != paused:
                yield f"`{call_id}` was found without its result block"
        for call_id in results:
            if call_id not in calls:
                yield f"the result block for `{call_id}` has no server_tool_use before it"


def _ends(body: Body, _: Headers) -> Iterator[str]:
    """docs: api/errors "Prefill not supported"; api: "final assistant content cannot end with trailing whitespace", "The final block in an assistant message cannot be `thinking`"."""
    messages = body.get("messages") or []
    for place, message in enumerate(messages):
        blocks = blocks_of(message)
        if message.get("role") != "assistant" or not blocks:
            continue
        if blocks[-1].get("type") in THINKING:
            yield f"messages.{place}: The final block in an assistant message cannot be `thinking`."
        if place < len(messages) - 1:
            continue
        if blocks[-1].get("type") == "text":
            if str(blocks[-1].get("text", "")) != str(blocks[-1].get("text", "")).rstrip():
                yield "messages: final assistant content cannot end with trailing whitespace"
            facts = MODELS.get(body.get("model", ""))
            if is_thinking(body) or (facts is not None and not facts.takes_prefill):
                yield "This model does not support assistant message prefill. The conversation must end with a user message."


def _loop_begins_with_thinking(body: Body, _: Headers) -> Iterator[str]:
    """api: "Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks)". Adaptive thinking does not ask for it."""
    if (body.get("thinking") or {}).get("type") != "enabled" or not body.get("messages"):
        return
    loop = running_loop(body)
    if loop and loop[0] and loop[0][0].get("type") not in THINKING:
        yield f"Expected `thinking` or `redacted_thinking`, but found `{loop[0][0].get('type')}`"


# --- blocks -------------------------------------------------------------------------------------------------------------


def _text(block: Block) -> Iterator[str]:
    if not isinstance(block.get("text"), str) or not block["text"].strip():
        yield "text content blocks must contain non-whitespace text"


def _media(block: Block) -> Iterator[str]:
    source = block.get("source") or {}
    allowed = IMAGES if block["type"] == "image" else {"application/pdf"}
    if source.get("type") != "base64" or source.get("media_type") not in allowed:
        yield f"source: must be base64 of {', '.join(sorted(allowed))}"
    try:
        data = base64.b64decode(source.get("data", ""), validate=True)
    except (binascii.Error, ValueError):
        yield "source.data: not base64"
        return
    # Anthropic, *Vision*: "image exceeds 5 MB maximum: 6405384 bytes > 5242880 bytes", counted in base64; 8000 pixels a side.
    if block["type"] == "image" and (size := len(source.get("data", ""))) > IMAGE_BYTES_MAX:
        yield f"image exceeds 5 MB maximum: {size} bytes > {IMAGE_BYTES_MAX} bytes"
    if data.startswith(b"\x89PNG") and max(int.from_bytes(data[16:20]), int.from_bytes(data[20:24])) > IMAGE_SIDE_MAX:
        yield "At least one of the image dimensions exceed max allowed size: 8000 pixels"
    # Anthropic says "Image does not match the provided media type image/png"
    found = {b"\x89PNG": "image/png", b"\xff\xd8\xff\xe0": "image/jpeg", b"GIF8": "image/gif"}.get(data[:4])
    if found is not None and found != source.get("media_type"):
        yield f"Image does not match the provided media type {source.get('media_type')}"


def _tool_use(block: Block) -> Iterator[str]:
    if not CALL_ID.fullmatch(str(block.get("id", ""))):
        yield f"tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$', not {block.get('id')!r}"
    if not NAME.fullmatch(str(block.get("name", ""))):
        yield f"tool_use.name: String should match pattern '^{NAME.pattern}$', not {block.get('name')!r}"
    if not isinstance(block.get("input"), dict):
        yield "tool_use.input: Input should be a valid dictionary"


def _tool_result(block: Block) -> Iterator[str]:
    content = block.get("content", "x")
    if not CALL_ID.fullmatch(str(block.get("tool_use_id", ""))):
        yield "tool_result.tool_use_id: Field required"
    if isinstance(content, str) and not content.strip():
        yield "tool_result.content: text content blocks must contain non-whitespace text"
    if not isinstance(block.get("is_error", False), bool):
        yield "tool_result.is_error: Input should be a valid boolean"


def _thought(block: Block) -> Iterator[str]:
    for name in ("thinking", "signature") if block["type"] == "thinking" else ("data",):
        if not isinstance(block.get(name), str):
            yield f"{block['type']}.{name}: Field required"
    if block["type"] == "thinking" and not block.get("signature"):
        yield "Invalid `signature` in `thinking` block"


_BLOCKS: Final[dict[str, Callable[[Block], Iterator[str]]]] = {
    "text": _text,
    "image": _media,
    "document": _media,
    "tool_use": _tool_use,
    "tool_result": _tool_result,
    "thinking": _thought,
    "redacted_thinking": _thought,
}
_USER_BLOCKS: Final = frozenset({"text", "image", "document", "tool_result", "search_result"})
_ROLES: Final = {"user": _USER_BLOCKS, "assistant": frozenset({"text", "tool_use", "thinking", "redacted_thinking"})}
# fmt: off
_FIELDS: Final = frozenset({
    "model", "max_tokens", "messages", "stream", "system", "tools", "tool_choice", "thinking", "output_config",
    "stop_sequences", "metadata", "service_tier", "cache_control", "container", "diagnostics", "inference_geo", "speed",
    "temperature", "top_p", "top_k",
})
# fmt: on
_RULES: Final[Sequence[Callable[[Body, Headers], Iterator[str]]]] = (
    _shape,
    _max_tokens,
    _sampling,
    _thinking,
    _effort,
    _stop_sequences,
    _breakpoints,
    _system,
    _tools,
    _files,
    _roles,
    _blocks,
    _pairs,
    _server_tools,
    _ends,
    _loop_begins_with_thinking,
)
