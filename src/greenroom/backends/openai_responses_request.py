"""A request for one step, as the body of the Responses API.

Nothing is stored at the provider (`store: false`): the history is sent as a whole, and the reasoning of the model goes back
encrypted, as it came. What the API enforces, and `greenroom.testing.strict_responses` with it: a reasoning is followed by the item that it
led to, an item that a reasoning led to does not come without it, calls and results pair by `call_id`, ids begin as the API's own,
reasoning models take other settings (`openai_models`). So an assistant message is rendered as a whole: what cannot go back takes
along what would be refused without it.

Rule: a pure function of the request. The same history gives the same JSON, byte for byte, and a longer history begins with it:
prompt caches live from that. Hence settings come first, the input last, and how a message is written depends on nothing that
comes after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from greenroom.backends.attachments import OPENAI, Room, media_type_of, not_shown, text_of, told, told_picture
from greenroom.backends.model_facts import nearest_effort
from greenroom.backends.openai_models import ModelTraits, effort_notice, traits_of
from greenroom.backends.openai_responses_decoder import DIALECT
from greenroom.backends.openai_responses_items import IMAGE_CALL
from greenroom.interfaces import BackendRequest, Notice
from greenroom.large import InBase64
from greenroom.media_types import IMAGE_TYPES
from greenroom.messages import (
    AssistantMessage,
    AssistantPart,
    ContextPart,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    Sidecar,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    ToolSpec,
    UserMessage,
    UserPart,
)
from greenroom.tool_arguments import sent_text

Item = dict[str, Any]

PROMPT_CACHE_KEY_MAX: Final = 64
"""Characters that OpenAI takes as `prompt_cache_key`."""

ANSWER_TOKENS_MIN: Final = 16
"""What OpenAI takes at least as `max_output_tokens`."""

_ENCRYPTED: Final = "reasoning.encrypted_content"
_OFFICE: Final = "application/vnd.openxmlformats-officedocument."
_DOCUMENTS: Final = frozenset(
    {
        "application/pdf",
        "application/msword",
        "application/rtf",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.oasis.opendocument.text",
        f"{_OFFICE}presentationml.presentation",
        f"{_OFFICE}spreadsheetml.sheet",
        f"{_OFFICE}wordprocessingml.document",
    }
)
_UNANSWERED: Final = frozenset({"mcp_approval_request", "local_shell_call", "computer_call"})
"""What a provider asks its user for. Nobody here answers, and without an answer it is refused."""
_ID_PREFIXES: Final = {"message": "msg", "function_call": "fc"}
_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def encode(
    request: BackendRequest,
    *,
    prompt_cache_key: str = "",
    with_summary: bool = True,
    with_reasoning: bool = True,
    traits: ModelTraits | None = None,
) -> dict[str, Any]:
    """Returns the JSON body of the request.

    Args:
        request: what is asked.
        prompt_cache_key: for OpenAI itself; other servers may refuse it.
        with_summary: ask for summaries of the reasoning, where the model gives any.
        with_reasoning: send back the reasoning of before.
        traits: of the model; `None` for what its name says.
    """
    traits = traits_of(request.model) if traits is None else traits
    body: dict[str, Any] = {"model": request.model, "stream": True, "store": False}
    if prompt_cache_key:
        body["prompt_cache_key"] = prompt_cache_key[:PROMPT_CACHE_KEY_MAX]
    if traits.gives_encrypted_reasoning:
        body["include"] = [_ENCRYPTED]
    if reasoning := _reasoning(request, traits, with_summary=with_summary):
        body["reasoning"] = reasoning
    if request.max_tokens is not None:
        body["max_output_tokens"] = max(request.max_tokens, _answer_tokens_min(traits))
    if traits.takes_sampling:
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.top_p is not None:
            body["top_p"] = request.top_p
    if request.tools:
        body["tools"] = [_tool(spec) for spec in request.tools]
        if request.parallel_tool_calls is not None and traits.takes_parallel_tool_calls:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    if request.system:
        body["instructions"] = request.system
    body["input"] = list(_input(request, traits, with_reasoning=with_reasoning))
    return body


def notices(request: BackendRequest, *, traits: ModelTraits | None = None) -> Sequence[Notice]:
    """Returns which settings of the request the model will not honour, and which file of the latest message it is not shown.

    `traits` as for `encode`.
    """
    traits, model = traits_of(request.model) if traits is None else traits, request.model
    ignored = {
        "temperature": request.temperature is not None and not traits.takes_sampling,
        "top_p": request.top_p is not None and not traits.takes_sampling,
        "reasoning_effort": request.reasoning_effort not in {None, "none"} and not traits.efforts,
        "parallel_tool_calls": bool(request.parallel_tool_calls) and not traits.takes_parallel_tool_calls,
    }
    given = [
        Notice(code=f"{name}_ignored", text=f"{model} does not take {name}: the setting is not sent")
        for name, is_ignored in ignored.items()
        if is_ignored
    ]
    never = {"stop": bool(request.stop), "thinking_budget_tokens": request.thinking_budget_tokens is not None}
    given += [
        Notice(code=f"{name}_ignored", text=f"the Responses API does not take {name}: the setting is not sent")
        for name, is_set in never.items()
        if is_set
    ]
    given += effort_notice(request.reasoning_effort, traits.efforts, model)
    if request.max_tokens is not None and request.max_tokens < (least := _answer_tokens_min(traits)):
        text = f"{model} takes no max_tokens below {least}: {least} is sent instead"
        given.append(Notice(code="max_tokens_changed", text=text))
    room = Room(OPENAI)
    files = [part for message in request.messages if isinstance(message, UserMessage) for part in message.parts]
    given += not_shown(
        (part, why)
        for part in files
        if isinstance(part, FilePart) and text_of(part) is None and (why := _refused(part, room))
    )
    return given


def _answer_tokens_min(traits: ModelTraits) -> int:
    return ANSWER_TOKENS_MIN if traits.is_openai else 1


def _reasoning(request: BackendRequest, traits: ModelTraits, *, with_summary: bool) -> dict[str, Any]:
    reasoning: dict[str, Any] = {}
    if request.reasoning_effort is not None and traits.efforts:
        reasoning["effort"] = nearest_effort(request.reasoning_effort, traits.efforts)
    if with_summary and traits.is_openai and traits.efforts:
        reasoning["summary"] = "auto"
    return reasoning


def _tool(spec: ToolSpec) -> dict[str, Any]:
    # Strict unless one says otherwise, and a strict schema may not have optional parameters.
    tool: dict[str, Any] = {"type": "function", "name": spec.name, "parameters": spec.parameters, "strict": False}
    return tool | ({"description": spec.description} if spec.description else {})


# --- the input ----------------------------------------------------------------------------------------------------------


def _input(request: BackendRequest, traits: ModelTraits, *, with_reasoning: bool) -> Iterator[Item]:
    # Content of user messages between which there is nothing that can be sent: templates of open models insist on alternation.
    waiting: list[dict[str, Any]] = []
    room = Room(OPENAI)
    items: list[Item] = []
    for message in request.messages:
        match message:
            case UserMessage(parts=parts):
                yield from items
                items = []
                waiting += [_user_part(part, room) for part in parts]
            case AssistantMessage(parts=parts):
                yield from items
                items = _assistant_items(parts, request.model, traits, with_reasoning=with_reasoning)
                if items and waiting:
                    yield _user(waiting)
                    waiting = []
            case ToolMessage(results=results):
                yield from _answered(items, results)
                items = []
    yield from items
    if waiting:
        yield _user(waiting)


def _answered(items: Sequence[Item], results: Sequence[ToolResult]) -> Iterator[Item]:
    """Yields what the model said, with the results of its calls: behind it, or behind a call after which it went on to talk.

    DeepSeek, and the chat templates of open models, insist that a result follows its call before anything is said.
    """
    outputs = {
        result.call_id: {"type": "function_call_output", "call_id": result.call_id, "output": result.content}
        for result in results
    }
    last_said = max((place for place, item in enumerate(items) if item["type"] == "message"), default=-1)
    called: list[str] = []
    for place, item in enumerate(items):
        if item["type"] == "function_call":
            called.append(item["call_id"])
        elif called and place <= last_said:
            yield from (outputs.pop(call_id) for call_id in called)
            called = []
        yield item
    yield from outputs.values()


def _user(parts: list[dict[str, Any]]) -> Item:
    return {"type": "message", "role": "user", "content": parts}


def _user_part(part: UserPart | ContextPart, room: Room) -> dict[str, Any]:
    if isinstance(part, TextPart | ContextPart):
        return _input_text(part.text)
    return _file(part, room)


def _input_text(text: str) -> dict[str, Any]:
    return {"type": "input_text", "text": text}


def _file(part: FilePart, room: Room) -> dict[str, Any]:
    if (text := text_of(part)) is not None:
        # Every server takes text; few take it as a file.
        return _input_text(f"File {part.name or 'without a name'}:\n{text}")
    if why := _refused(part, room):
        return _input_text(told(part, why))
    media_type = media_type_of(part)
    url = InBase64(part.data, f"data:{media_type};base64,")
    if media_type in IMAGE_TYPES:
        return {"type": "input_image", "detail": "auto", "image_url": url}
    return {"type": "input_file", "filename": part.name or "file", "file_data": url}


def _refused(part: FilePart, room: Room) -> str:
    """Returns why a file is not sent; empty if it is."""
    media_type = media_type_of(part)
    if not part.data:
        return "empty"
    if not media_type.startswith("image/") and media_type not in _DOCUMENTS:
        return "not of a type that the Responses API accepts"
    return room.refused(part)


# --- what the model said ------------------------------------------------------------------------------------------------


class _Rendered(msgspec.Struct):
    """An item of an assistant message on its way into the input.

    Attributes:
        is_own: the same model made it, and it goes back as it came.
        is_kept: it goes back at all.
    """

    item: Item
    is_own: bool
    is_kept: bool = True


def _assistant_items(
    parts: Sequence[AssistantPart], model: str, traits: ModelTraits, *, with_reasoning: bool
) -> list[Item]:
    rendered: list[_Rendered] = []
    is_reasoning_lost = False
    for part in parts:
        own = _own(part, model, traits)
        match part:
            case ReasoningPart():
                # Of several summaries, the last one has the item.
                is_reasoning_lost = own is None or not with_reasoning
                if own is not None:
                    rendered.append(_Rendered(own, is_own=True, is_kept=with_reasoning))
            case TextPart(text=text) | RefusalPart(text=text):
                if text.strip():
                    _add_text(rendered, text, None if is_reasoning_lost else own)
            case ToolCallPart():
                rendered.append(_call(part, None if is_reasoning_lost else own))
            case FilePart():
                _add_picture(rendered, part, None if is_reasoning_lost else own)
            case OpaquePart():
                if own is not None:
                    rendered.append(_Rendered(own, is_own=True, is_kept=not is_reasoning_lost))
    _leave_out_what_would_be_refused(rendered)
    return [each.item for each in rendered if each.is_kept]


def _own(part: AssistantPart, model: str, traits: ModelTraits) -> Item | None:
    """Returns the item in a part's sidecar that this model made."""
    sidecar: Sidecar | None = None if isinstance(part, RefusalPart) else part.sidecar
    if sidecar is None or sidecar.backend != DIALECT or sidecar.model != model:
        return None
    try:
        item = _OBJECT.decode(sidecar.data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Sidecars also come with imported sessions; one that is no item must not cost the conversation.
        return None
    kind = item.get("type")
    if not isinstance(kind, str) or isinstance(part, ReasoningPart) != (kind == "reasoning"):
        return None
    if kind != "reasoning" or item.get("encrypted_content"):
        return item
    # OpenAI looks up by its id what it cannot decrypt, and nothing was stored. Other servers read what their model thought.
    return item if item.get("content") and not traits.is_openai else None


def _add_text(rendered: list[_Rendered], text: str, own: Item | None) -> None:
    content: dict[str, Any] = {"type": "output_text", "text": text, "annotations": []}
    if own is None or own["type"] != "message":
        # The long form: llama.cpp knows no other, and OpenAI takes it without an id.
        rendered.append(_Rendered({"type": "message", "role": "assistant", "content": [content]}, is_own=False))
        return
    extras = own.pop("content", None)
    content |= extras if isinstance(extras, dict) else {}
    last = rendered[-1] if rendered else None
    if last is not None and last.is_own and own.get("id") and last.item.get("id") == own["id"]:
        last.item["content"].append(content)
    else:
        item = {"role": "assistant", **_with_fitting_id(own), "content": [content]}
        rendered.append(_Rendered(item, is_own=True))


def _add_picture(rendered: list[_Rendered], part: FilePart, own: Item | None) -> None:
    """Adds a picture that the model made: as the item that it was, where that goes back."""
    if own is None or own["type"] != IMAGE_CALL:
        _add_text(rendered, told_picture(part), None)
    else:
        rendered.append(_Rendered({**own, "result": InBase64(part.data)}, is_own=True))


def _call(part: ToolCallPart, own: Item | None) -> _Rendered:
    arguments = sent_text(part.arguments)
    is_own = own is not None and own["type"] == "function_call"
    kept = _with_fitting_id(own) if own is not None and is_own else {}
    item = {**kept, "type": "function_call", "call_id": part.call_id, "name": part.name, "arguments": arguments}
    return _Rendered(item, is_own=is_own)


def _with_fitting_id(item: Item) -> Item:
    """Returns the item without an id that OpenAI would refuse: servers of its dialect, which made it up, do not miss it."""
    if not str(item.get("id", "")).startswith(_ID_PREFIXES[item["type"]]):
        item.pop("id", None)
    return item


def _leave_out_what_would_be_refused(rendered: list[_Rendered]) -> None:
    """Leaves out what cannot go back alone, and what cannot go back without that, until what is left holds together."""
    while True:
        count = sum(each.is_kept for each in rendered)
        _leave_out_unanswered([each for each in rendered if each.is_kept])
        _leave_out_loose_reasoning(rendered)
        if count == sum(each.is_kept for each in rendered):
            return


def _leave_out_unanswered(rendered: list[_Rendered]) -> None:
    """Leaves out a provider's own tool call without its output behind it, and an output without its call before it."""
    for place, each in enumerate(rendered):
        kind, call_id = each.item["type"], each.item.get("call_id")
        if kind in _UNANSWERED:
            each.is_kept = False
        elif call_id is not None and kind != "function_call":
            # `shell_call` and `shell_call_output`, `tool_search_call` and `tool_search_output`.
            is_output = kind.endswith("_output")
            tool = kind.removesuffix("_output").removesuffix("_call")
            wanted = {f"{tool}_call", tool} if is_output else {f"{tool}_call_output", f"{tool}_output"}
            others = rendered[:place] if is_output else rendered[place + 1 :]
            each.is_kept = any(
                other.is_kept and other.item.get("call_id") == call_id and other.item["type"] in wanted
                for other in others
            )


def _leave_out_loose_reasoning(rendered: list[_Rendered]) -> None:
    """Leaves out each reasoning that does not stand before the item that it led to, and what cannot be without it."""
    following: _Rendered | None = None
    for each in reversed(rendered):
        if each.item["type"] == "reasoning":
            each.is_kept = each.is_kept and following is not None and _is_led_to(following)
        following = each
    is_lost = False
    for each in rendered:
        kind = each.item["type"]
        if kind == "reasoning":
            is_lost = not each.is_kept
        elif is_lost and kind in _ID_PREFIXES:
            each.item.pop("id", None)
        elif is_lost:
            each.is_kept = False


def _is_led_to(item: _Rendered) -> bool:
    return item.is_own and item.is_kept and not item.item["type"].endswith("_output")
