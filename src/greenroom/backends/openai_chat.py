"""The Chat Completions dialect without I/O: `encode` writes a request, `ChatDecoder` reads its answer.

What providers enforce, and `greenroom.testing.strict_openai` with them: tool messages follow the assistant message with their
calls at once, arguments are the text of a JSON object, no content is empty, reasoning models take other settings
(`openai_models`). What only compatible servers know is sent only to those that asked for it, and nothing beyond the common
core of the dialect is sent to any of them.

Rule: the same history gives the same JSON, byte for byte, and a longer history begins with it: prompt caches live from that.
Hence settings come first, messages last, and how a message is written depends on nothing that comes after it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from greenroom.backends.attachments import OPENAI, Room, media_type_of, not_shown, text_of, told, told_picture
from greenroom.backends.model_facts import nearest_effort
from greenroom.backends.openai_chat_decoder import ChatDecoder
from greenroom.backends.openai_extras import (
    DIALECT,
    EXTRA_FIELD,
    ITEMS_FIELD,
    MESSAGE_FIELDS,
    REASONING_FIELD,
    fields_of,
)
from greenroom.backends.openai_models import ModelTraits, effort_notice, traits_of
from greenroom.interfaces import BackendRequest, Notice
from greenroom.large import InBase64
from greenroom.media_types import IMAGE_TYPES
from greenroom.messages import (
    AssistantMessage,
    ContextPart,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolSpec,
    UserMessage,
    UserPart,
)
from greenroom.tool_arguments import sent_text

__all__ = ["DIALECT", "ChatDecoder", "encode", "notices"]

PROMPT_CACHE_KEY_MAX: Final = 64
"""Characters that OpenAI takes as `prompt_cache_key`."""

CALL_ID_MAX: Final = 40
"""Characters of a tool call's id that OpenAI takes; vLLM makes longer ones."""

FOREIGN_SIGNATURE: Final = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""What Gemini takes in place of its signature for a call that it did not make (Google: *Thought signatures*, FAQ)."""

_NINE: Final = 9
_AUDIO_FORMATS: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def encode(request: BackendRequest, *, prompt_cache_key: str = "", traits: ModelTraits | None = None) -> dict[str, Any]:
    """Returns the JSON body of the request.

    Args:
        request: what is asked.
        prompt_cache_key: for OpenAI itself; other servers may refuse it.
        traits: of the model; `None` for what its name says.
    """
    traits = traits_of(request.model) if traits is None else traits
    body: dict[str, Any] = {"model": request.model, "stream": True, "stream_options": {"include_usage": True}}
    if prompt_cache_key:
        body["prompt_cache_key"] = prompt_cache_key[:PROMPT_CACHE_KEY_MAX]
    if request.tools:
        body["tools"] = [_tool(spec, traits) for spec in request.tools]
        if request.parallel_tool_calls is not None and traits.takes_parallel_tool_calls:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.max_tokens is not None:
        body[traits.max_tokens_field] = request.max_tokens
    if traits.takes_sampling:
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
    if request.stop and traits.takes_stop:
        body["stop"] = list(request.stop)
    if request.reasoning_effort is not None and traits.chat_efforts:
        body["reasoning_effort"] = nearest_effort(request.reasoning_effort, traits.chat_efforts)
    body["messages"] = list(_messages(request, traits))
    return body


def notices(request: BackendRequest, *, traits: ModelTraits | None = None) -> Sequence[Notice]:
    """Returns which settings of the request the model will not honour; `traits` as for `encode`."""
    traits = traits_of(request.model) if traits is None else traits
    ignored = {
        "temperature": request.temperature is not None and not traits.takes_sampling,
        "top_p": request.top_p is not None and not traits.takes_sampling,
        "stop": bool(request.stop) and not traits.takes_stop,
        "reasoning_effort": request.reasoning_effort not in {None, "none"} and not traits.efforts,
        "thinking_budget_tokens": request.thinking_budget_tokens is not None,
        # A model without the setting makes one call at a time: only asking for more is in vain.
        "parallel_tool_calls": bool(request.parallel_tool_calls) and not traits.takes_parallel_tool_calls,
    }
    given = [
        Notice(code=f"{name}_ignored", text=f"{request.model} does not take {name}: the setting is not sent")
        for name, is_ignored in ignored.items()
        if is_ignored
    ]
    room = Room(OPENAI)
    files = [part for message in request.messages if isinstance(message, UserMessage) for part in message.parts]
    given += not_shown(
        (part, why)
        for part in files
        if isinstance(part, FilePart) and text_of(part) is None and (why := _refused(part, traits, request.model, room))
    )
    if cut := [spec.name for spec in request.tools if _is_cut(spec, traits)]:
        text = f"{request.model} takes {traits.description_max} characters of a tool's description: cut for {', '.join(cut)}"
        given.append(Notice(code="tool_descriptions_cut", text=text))
    given += effort_notice(request.reasoning_effort, traits.chat_efforts, request.model)
    return given


def _tool(spec: ToolSpec, traits: ModelTraits) -> dict[str, Any]:
    function: dict[str, Any] = {"name": spec.name}
    if description := spec.description:
        if _is_cut(spec, traits):
            assert traits.description_max is not None
            description = description[: traits.description_max - 1] + "…"
        function["description"] = description
    function["parameters"] = spec.parameters
    return {"type": "function", "function": function}


def _is_cut(spec: ToolSpec, traits: ModelTraits) -> bool:
    return traits.description_max is not None and len(spec.description) > traits.description_max


def _messages(request: BackendRequest, traits: ModelTraits) -> Iterator[dict[str, Any]]:
    if request.system:
        yield {"role": "system", "content": request.system}
    # Content of user messages between which there is nothing that can be sent: templates of open models insist on alternation.
    waiting: list[dict[str, Any]] = []
    room = Room(OPENAI)
    is_tool_turn = False
    for message in request.messages:
        match message:
            case UserMessage(parts=parts):
                waiting += [_user_part(part, traits, request.model, room) for part in parts]
                is_tool_turn = False
            case AssistantMessage():
                is_tool_turn = is_tool_turn or any(isinstance(part, ToolCallPart) for part in message.parts)
                if (answer := _assistant(message, request.model, traits, is_tool_turn=is_tool_turn)) is None:
                    continue
                if waiting:
                    yield _user(waiting)
                    waiting = []
                yield answer
            case ToolMessage(results=results):
                for result in results:
                    yield {"role": "tool", "tool_call_id": _call_id(result.call_id, traits), "content": result.content}
    if waiting:
        yield _user(waiting)


def _user(parts: list[dict[str, Any]]) -> dict[str, Any]:
    if all(part["type"] == "text" for part in parts):
        # The form that every server knows; some know no other.
        return {"role": "user", "content": "\n\n".join(part["text"] for part in parts)}
    return {"role": "user", "content": parts}


def _user_part(part: UserPart | ContextPart, traits: ModelTraits, model: str, room: Room) -> dict[str, Any]:
    if isinstance(part, TextPart | ContextPart):
        return {"type": "text", "text": part.text}
    if (text := text_of(part)) is not None:
        # No server takes text as a file, every one takes it as text.
        return {"type": "text", "text": f"File {part.name or 'without a name'}:\n{text}"}
    if why := _refused(part, traits, model, room):
        return {"type": "text", "text": told(part, why)}
    media_type = media_type_of(part)
    encoded, url = InBase64(part.data), InBase64(part.data, f"data:{media_type};base64,")
    if media_type in IMAGE_TYPES:
        return {"type": "image_url", "image_url": {"url": url}}
    if media_type in _AUDIO_FORMATS:
        return {"type": "input_audio", "input_audio": {"data": encoded, "format": _AUDIO_FORMATS[media_type]}}
    return {"type": "file", "file": {"filename": part.name or "file", "file_data": url}}


def _refused(part: FilePart, traits: ModelTraits, model: str, room: Room) -> str:
    """Returns why a file is not sent; empty if it is."""
    media_type = media_type_of(part)
    if media_type in _AUDIO_FORMATS:
        if traits.is_openai and "audio" not in model:
            return "audio, which the model does not accept"
    elif not media_type.startswith("image/") and media_type != "application/pdf":
        # OpenAI: "Invalid MIME type"; the only documents of this dialect are PDFs.
        return "not text, an image, audio or a PDF"
    return room.refused(part)


def _assistant(
    message: AssistantMessage, model: str, traits: ModelTraits, *, is_tool_turn: bool
) -> dict[str, Any] | None:
    """Returns the message, or `None` if it holds nothing that this dialect can say."""
    texts = []
    reasonings = []
    calls: list[dict[str, Any]] = []
    extras: dict[str, Any] = {}
    items: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                # A refusal is sent as text: the field for it is known to OpenAI alone, and it reads the same.
                if text.strip():
                    texts.append(text)
            case ToolCallPart():
                calls.append(_call(part, model, traits, is_first=not calls))
            case FilePart():
                texts.append(told_picture(part))  # few servers take an image from the assistant
            case ReasoningPart():
                if fields_of(part.sidecar, model, traits).get("field") == REASONING_FIELD:
                    reasonings.append(part.text)
            case OpaquePart():
                own = fields_of(part.sidecar, model, traits)
                extras |= {name: own[name] for name in MESSAGE_FIELDS if name in own}
                items = found if isinstance(found := own.get(ITEMS_FIELD), list) else items
    if not texts and not calls:
        return None
    text = "\n\n".join(texts)
    encoded: dict[str, Any] = {"role": "assistant", "content": text or None}
    if items:
        encoded["content"] = [*items, *([{"type": "text", "text": text}] if text else [])]
    # DeepSeek refuses a turn with tool calls that comes back without its reasoning, and Moonshot advises to keep it. In other
    # turns both ignore it, and it only costs.
    if is_tool_turn and (reasonings or traits.wants_reasoning_back):
        encoded[REASONING_FIELD] = "\n\n".join(reasonings)
    if calls:
        encoded["tool_calls"] = calls
    return encoded | extras


def _call(part: ToolCallPart, model: str, traits: ModelTraits, *, is_first: bool) -> dict[str, Any]:
    arguments = sent_text(part.arguments)
    call_id = _call_id(part.call_id, traits)
    call = {"id": call_id, "type": "function", "function": {"name": part.name, "arguments": arguments}}
    if extra := fields_of(part.sidecar, model, traits).get(EXTRA_FIELD):
        call[EXTRA_FIELD] = extra
    elif is_first and traits.wants_signature:
        call[EXTRA_FIELD] = FOREIGN_SIGNATURE
    return call


def _call_id(call_id: str, traits: ModelTraits) -> str:
    """Returns the id as the server takes it: the same for a call and its result, in every request."""
    if traits.call_ids == "nine_characters":
        if len(call_id) == _NINE and call_id.isascii() and call_id.isalnum():
            return call_id
        return hashlib.sha256(call_id.encode()).hexdigest()[:_NINE]
    if len(call_id) <= CALL_ID_MAX:
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:CALL_ID_MAX]
