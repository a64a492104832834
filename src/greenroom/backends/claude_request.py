"""A request for one step, as the body of Anthropic's Messages API.

Theory of operation: settings are decided first, because thinking decides which blocks of the history go back. Then each
transcript message becomes blocks, consecutive messages of a role become one, and the cache breakpoints are set last.

What a provider gave and only it understands goes back by the part's sidecar, to the same model only; everything else is
rendered from the neutral part. A tool loop that another provider began has no thinking of ours at its start; models that
think with a budget refuse that, so there the request goes without thinking until the loop ends. Adaptive models do not mind.

Rule: a pure function of the request. One more message never changes what was rendered for those before it, apart from where
the breakpoints are, which are no part of what is cached, and from thinking, where such a loop turns it off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Final, Literal

import msgspec

from greenroom.backends.attachments import (
    CLAUDE,
    Room,
    label,
    media_type_of,
    not_shown,
    text_of,
    told,
    told_picture,
)
from greenroom.backends.claude_settings import settings_of
from greenroom.backends.model_facts import ClaudeModel
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
    UserMessage,
)
from greenroom.tool_arguments import sent_arguments

DIALECT: Final = "claude"
"""Name that the sidecars of this dialect carry."""

Block = dict[str, Any]
Role = Literal["user", "assistant"]
Turn = tuple[Role, list[Block]]

_THINKING: Final = frozenset({"thinking", "redacted_thinking"})
_NO_NAME_CHARACTERS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_CACHED: Final = {"type": "ephemeral"}
_BLOCK: Final = msgspec.json.Decoder(dict[str, Any])


def encode(request: BackendRequest, *, model: ClaudeModel | None = None) -> dict[str, Any]:
    """Returns the body of the request, streaming; `claude_settings.headers_of` says which headers it needs.

    Args:
        request: what is asked.
        model: what its model accepts; `None` for what its name says.
    """
    settings = settings_of(request, model=model)
    turns = _turns(request, thinks=settings.thinks)
    if settings.has_budget and not _loop_begins_with_thinking(turns):
        settings = settings_of(request, model=model, may_use_budget=False)
        turns = _turns(request, thinks=settings.thinks)
    body: dict[str, Any] = {"model": request.model, "stream": True}
    if tools := _tools(request, turns):
        body["tools"] = tools
    if system := _system(request):
        body["system"] = system
    body["messages"] = [{"role": role, "content": blocks} for role, blocks in turns]
    body |= settings.fields
    if tools and not request.tools:
        body["tool_choice"] = {"type": "none"}
    _set_breakpoints(tools, system, turns)
    return body


def notices(request: BackendRequest, *, model: ClaudeModel | None = None) -> Sequence[Notice]:
    """Returns what the request will not honour, and which files the model cannot be shown; see `encode`."""
    found = list(settings_of(request, model=model).notices)
    room = Room(CLAUDE)
    files = [part for message in request.messages if isinstance(message, UserMessage) for part in message.parts]
    found += not_shown(
        (part, why)
        for part in files
        if isinstance(part, FilePart) and text_of(part) is None and (why := _refused(part, room))
    )
    return found


def _set_breakpoints(tools: Sequence[Block], system: Sequence[Block], turns: Sequence[Turn]) -> None:
    """Marks the ends of what later requests will begin with; four are allowed.

    The last two user messages: one step writes the cache up to the end, and the next one, for which that is the message
    before, is certain to find it there, however many blocks it adds.
    """
    users = [blocks for role, blocks in turns if role == "user"]
    for blocks in (tools, system, *users[-2:]):
        if blocks:
            blocks[-1]["cache_control"] = _CACHED


def _system(request: BackendRequest) -> list[Block]:
    return [_text(request.system)] if request.system.strip() else []


def _tools(request: BackendRequest, turns: Sequence[Turn]) -> list[Block]:
    if request.tools:
        return [
            {"name": tool.name, "input_schema": tool.parameters}
            | ({"description": tool.description} if tool.description else {})
            for tool in request.tools
        ]
    # A history with calls needs tools also where the session has none any more. They are named, and may not be called.
    calls = (block for _, blocks in turns for block in blocks if block["type"] == "tool_use")
    names = dict.fromkeys(block["name"] for block in calls)
    return [{"name": name, "input_schema": {"type": "object"}} for name in names]


# --- messages -----------------------------------------------------------------------------------------------------------


def _turns(request: BackendRequest, *, thinks: bool) -> list[Turn]:
    """Returns the messages: the first one the user's, no empty one, no two of a role in a row."""
    rendered: list[Turn] = []
    room = Room(CLAUDE)
    for message in request.messages:
        match message:
            case UserMessage():
                rendered.append(("user", _user_blocks(message, room)))
            case ToolMessage():
                rendered.append(("user", [_tool_result(result) for result in message.results]))
            case AssistantMessage():
                rendered.append(("assistant", _assistant_blocks(message, request.model, thinks=thinks)))
    turns = _merged(rendered)
    for number, (role, blocks) in enumerate(turns):
        if role == "assistant":
            blocks[:] = _closed(blocks, is_last=number == len(turns) - 1)
    return _merged(turns)


def _merged(turns: Iterable[Turn]) -> list[Turn]:
    filled = (turn for turn in turns if turn[1])
    return [
        (role, [block for _, blocks in group for block in blocks])
        for role, group in groupby(filled, key=lambda turn: turn[0])
    ]


def _user_blocks(message: UserMessage, room: Room) -> list[Block]:
    blocks = []
    for part in message.parts:
        match part:
            case TextPart() | ContextPart():
                if part.text.strip():
                    blocks.append(_text(part.text))
            case FilePart():
                blocks.append(_file(part, room))
    # Leaving the message out would let two answers of the assistant run into each other.
    return blocks or [_text("(empty message)")]


def _file(part: FilePart, room: Room) -> Block:
    if (text := text_of(part)) is not None:
        return _text(f"[{label(part)}]\n{text}")
    if why := _refused(part, room):
        return _text(told(part, why))
    media_type = media_type_of(part)
    if media_type in IMAGE_TYPES:
        return {"type": "image", "source": _base64(media_type, part.data)}
    block: Block = {"type": "document", "source": _base64(media_type, part.data)}
    return block | ({"title": part.name} if part.name else {})


def _refused(part: FilePart, room: Room) -> str:
    """Returns why a file is not sent; empty if it is."""
    media_type = media_type_of(part)
    if not media_type.startswith("image/") and media_type != "application/pdf":
        return "not text, an image or a PDF"
    return room.refused(part)


def _tool_result(result: ToolResult) -> Block:
    block: Block = {"type": "tool_result", "tool_use_id": result.call_id}
    if result.content.strip():
        block["content"] = result.content
    if result.outcome != "ok":
        block["is_error"] = True
    return block


def _assistant_blocks(message: AssistantMessage, model: str, *, thinks: bool) -> list[Block]:
    blocks = []
    for part in message.parts:
        block = _assistant_block(part, model)
        if block is not None and (thinks or block["type"] not in _THINKING):
            blocks.append(block)
    return blocks


def _assistant_block(part: AssistantPart, model: str) -> Block | None:
    match part:
        case TextPart() | RefusalPart() if not part.text.strip():
            return None
        case TextPart():
            return _own(part.sidecar, model) or _text(part.text)
        case RefusalPart():
            return _text(part.text)
        case ReasoningPart() | OpaquePart():
            return _own(part.sidecar, model)
        case FilePart():
            return _text(told_picture(part))  # an assistant shows no images in this dialect
        case ToolCallPart():
            return {
                **(_own(part.sidecar, model) or {}),
                "type": "tool_use",
                "id": part.call_id,
                "name": _NO_NAME_CHARACTERS.sub("_", part.name)[:64] or "unnamed",
                "input": sent_arguments(part.arguments),
            }


def _own(sidecar: Sidecar | None, model: str) -> Block | None:
    """Returns the block in a sidecar that this model made."""
    if sidecar is None or sidecar.backend != DIALECT or sidecar.model != model:
        return None
    try:
        block = _BLOCK.decode(sidecar.data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # Sidecars also come with imported sessions; one that is no block must not cost the conversation.
        return None
    return block if isinstance(block.get("type"), str) else None


def _closed(blocks: Iterable[Block], *, is_last: bool) -> list[Block]:
    """Returns the blocks of an assistant message without what would make the API refuse it.

    A step that was cut may hold a provider's tool without its result; and behind what was left out, thinking or the end of a
    line may have come to stand last.
    """
    kept = list(blocks)
    answered = {block["tool_use_id"] for block in kept if "tool_use_id" in block}
    called = {block["id"] for block in kept if _is_providers_call(block)}
    kept = [
        block
        for place, block in enumerate(kept)
        if ("tool_use_id" not in block or block["tool_use_id"] in called)
        and (not _is_providers_call(block) or block["id"] in answered or (is_last and place == len(kept) - 1))
    ]
    while kept and kept[-1]["type"] in _THINKING:
        kept.pop()
    if is_last and kept and kept[-1]["type"] == "text":
        kept[-1] = {**kept[-1], "text": kept[-1]["text"].rstrip()}
    return kept


def _is_providers_call(block: Block) -> bool:
    return block["type"] != "tool_use" and block["type"].endswith("tool_use") and "id" in block


def _loop_begins_with_thinking(turns: Sequence[Turn]) -> bool:
    """Whether the running tool loop, if there is one, begins with thinking.

    A person's words right behind results share a message with them, so they do not end the loop.
    """
    first: list[Block] | None = None
    for role, blocks in reversed(turns):
        if role == "assistant":
            first = blocks
        elif not any(block["type"] == "tool_result" for block in blocks):
            break
    return first is None or first[0]["type"] in _THINKING


def _base64(media_type: str, data: bytes) -> Block:
    return {"type": "base64", "media_type": media_type, "data": InBase64(data)}


def _text(text: str) -> Block:
    return {"type": "text", "text": text}
