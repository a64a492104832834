"""A session as AG-UI messages, for MESSAGES_SNAPSHOT.

The ids are those of the live events: a client that has seen a part of an answer recognises it in a snapshot.

Rule: optional members are absent, never null (AG-UI 1.0: a null anywhere is fatal to its verifier).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.core.step import Assembly
from greenroom.core.transcript import tool_name
from greenroom.events import MessageAccepted
from greenroom.large import InBase64
from greenroom.messages import (
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
)
from greenroom.protocols.closing import closing
from greenroom.protocols.ids import call_parent_id, part_id, result_id

SOURCE: Final = "greenroom.source"
"""Activity type of a source that an answer names."""
PICTURE: Final = "greenroom.picture"
"""Activity type of a picture that a model made."""

FILES_CHARACTERS_MAX: Final = 7 * 1024 * 1024
"""Base64 of files in one event: the client of AG-UI 1.0 breaks at a frame of more than 10 MB, and texts need room beside them."""


def given_content(part: SourcePart | FilePart) -> dict[str, Any]:
    """Returns what the activity message of a source or a picture holds."""
    if isinstance(part, SourcePart):
        told = {"url": part.url, "title": part.title, "quote": part.quote}
        return {name: value for name, value in told.items() if value}
    data = base64.b64encode(part.data).decode()
    picture: dict[str, Any] = {"mediaType": part.media_type, "bytes": len(part.data)}
    return picture | ({"data": data} if len(data) <= FILES_CHARACTERS_MAX else {})


def activity_type(part: SourcePart | FilePart) -> str:
    """Returns what kind of activity message a source or a picture is."""
    return SOURCE if isinstance(part, SourcePart) else PICTURE


def messages_before(state: SessionState, turn_id: str, step: int) -> list[dict[str, Any]]:
    """Returns all messages up to step number `step` of the turn, without it: they never change again."""
    messages: list[dict[str, Any]] = []
    for turn in state.turns:
        is_last = turn.turn_id == turn_id
        messages.extend(_turn(turn, before_step=step if is_last else None))
        if is_last:
            break
    return _fitted(messages)


def messages_until(state: SessionState, seq: int) -> list[dict[str, Any]]:
    """Returns the messages of the turns that had started by record `seq` and still count."""
    messages: list[dict[str, Any]] = []
    for turn in state.turns:
        if turn.seq < seq:
            messages.extend(_turn(turn))
    return _fitted(messages)


def all_messages(state: SessionState, running: Assembly | None = None) -> list[dict[str, Any]]:
    """Returns everything that was said. A message that waits is shown when its turn starts, to everybody in the same way.

    Args:
        state: of the session.
        running: what stands for the last step's parts, when more of it is shown than written.
    """
    messages: list[dict[str, Any]] = []
    for turn in state.turns:
        messages.extend(_turn(turn, running=running if turn is state.turns[-1] else None))
    return _fitted(messages)


def _fitted(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the messages with the data of the latest files only, as many as fit into an event.

    Of the others there is the size: of a picture without `data`, of a user's file with an empty address.
    """
    left = FILES_CHARACTERS_MAX
    for message in reversed(messages):
        content = message.get("content")
        if message.get("activityType") == PICTURE:
            size = len(message["content"].get("data", ""))
            if size > left:
                del message["content"]["data"]
            else:
                left -= size
        elif message["role"] == "user" and isinstance(content, list):
            for part in reversed(content):
                if "source" in part:
                    left -= _made_to_fit(part, left)
    return messages


def _made_to_fit(part: dict[str, Any], left: int) -> int:
    """Returns how many characters the data of a user's file have; those that do not fit are taken out."""
    source = part["source"]
    size = len(source["value"].data)
    characters = (size + 2) // 3 * 4
    if characters <= left:
        return characters
    part.update(source={**source, "type": "url", "value": ""}, metadata={"bytes": size})
    return 0


def _turn(
    turn: TurnHistory, *, before_step: int | None = None, running: Assembly | None = None
) -> list[dict[str, Any]]:
    """Returns the messages of a turn, with those that joined it where the model reads them."""
    messages = [_user(turn.message), *_joined(turn, 0)]
    for step in turn.steps:
        if before_step is not None and step.number >= before_step:
            break
        messages.extend(_step(turn, step, running if step is turn.steps[-1] else None))
        messages.extend(_joined(turn, step.number))
    return messages


def _joined(turn: TurnHistory, after_step: int) -> list[dict[str, Any]]:
    return [_user(joined.accepted.message) for joined in turn.joined if joined.after_step == after_step]


def _user(message: MessageAccepted) -> dict[str, Any]:
    return {"id": message.message_id, "role": "user", "content": content_of(message.parts)}


def content_of(parts: Sequence[TextPart | FilePart]) -> str | list[dict[str, Any]]:
    """Returns the parts of a person's message as AG-UI content: a text, or content parts."""
    if all(isinstance(part, TextPart) for part in parts):
        return "\n".join(part.text for part in parts if isinstance(part, TextPart))
    content: list[dict[str, Any]] = []
    for part in parts:
        if isinstance(part, TextPart):
            content.append({"type": "text", "text": part.text})
        else:
            content.append(medium_of(part))
    return content


def medium_of(part: FilePart) -> dict[str, Any]:
    """Returns a file as a content part."""
    kind = "image" if part.media_type.startswith("image/") else "document"
    data = InBase64(part.data)
    return {"type": kind, "source": {"type": "data", "value": data, "mimeType": part.media_type}}


def _step(turn: TurnHistory, step: StepState, running: Assembly | None = None) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = []
    parent: dict[str, Any] | None = None
    for number, part in (running or step.assembly).numbered():
        own_id = part_id(turn.turn_id, step.number, step.attempt, number)
        match part:
            case TextPart() | RefusalPart():
                messages.append({"id": own_id, "role": "assistant", "content": part.text})
            case ReasoningPart():
                messages.append({"id": own_id, "role": "reasoning", "content": part.text})
            case ToolCallPart():
                if parent is None:
                    parent_id = call_parent_id(turn.turn_id, step.number, step.attempt)
                    parent = {"id": parent_id, "role": "assistant", "toolCalls": []}
                    messages.append(parent)
                function = {"name": tool_name(part.name), "arguments": part.arguments + closing(part.arguments)}
                parent["toolCalls"].append({"id": part.call_id, "type": "function", "function": function})
            case SourcePart() | FilePart():
                activity = {"role": "activity", "activityType": activity_type(part), "content": given_content(part)}
                messages.append({"id": own_id, **activity})
            case OpaquePart():
                pass
    for returned in step.results.values():
        result = {"id": result_id(returned.call_id), "role": "tool", "toolCallId": returned.call_id}
        messages.append({**result, "content": returned.content} | _error(returned.outcome, returned.content))
    return messages


def _error(outcome: str, content: str) -> dict[str, Any]:
    return {} if outcome == "ok" else {"error": content}
