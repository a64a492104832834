"""What a backend is sent: the history, rendered so that every provider accepts it.

A session cannot be bricked, because the log is never sent: this rendering is. Whatever the log holds, also after a crash
or a cancel at any point, the transcript satisfies: it begins with a user message; user messages do not follow each other; every
call has exactly one result, directly after the message that made it and in its order; ids are unique, names and ids are well
formed; no text is empty. Sidecars are kept: the backend knows its own.

Rule: a pure function of state; and what was once sent stays, byte for byte, the beginning of what is sent later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from greenroom.core.prompt import framed, unframed, unframed_part
from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.events import MessageAccepted
from greenroom.limits import NAME_PATTERN
from greenroom.messages import (
    AssistantMessage,
    AssistantPart,
    ContextPart,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    TranscriptMessage,
    UserMessage,
)

_NAME: Final = re.compile(NAME_PATTERN)
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")

_NO_RESULT: Final = "[The turn ended before this call had a result. Whether it took effect is unknown.]"
_NEVER_RUN: Final = "[This call was not run: the turn was ended before.]"
_CHANGED: Final = "[A person changed the arguments before this call was run. It ran with: {arguments}]"
_EMPTY: Final = "[no output]"


def render(state: SessionState) -> tuple[TranscriptMessage, ...]:
    """Returns the transcript of all that was said, up to the next step of the open turn."""
    messages: list[TranscriptMessage] = []
    for turn in state.turns:
        for message in _turn(turn):
            last = messages[-1] if messages else None
            if isinstance(message, UserMessage) and isinstance(last, UserMessage):
                messages[-1] = UserMessage(parts=last.parts + message.parts)
            else:
                messages.append(message)
    return tuple(messages)


def tool_name(name: str) -> str:
    """Returns `name` as a provider accepts it: models invent names with dots, spaces, or nothing in them."""
    return name if _NAME.fullmatch(name) else _NOT_IN_A_NAME.sub("_", name)[:64] or "unnamed"


def _turn(turn: TurnHistory) -> Sequence[TranscriptMessage]:
    if turn.ended is None:
        return _rendered(turn)
    if turn.rendered is None:
        turn.rendered = _rendered(turn)
    assert isinstance(turn.rendered, tuple)
    return turn.rendered


def _rendered(turn: TurnHistory) -> tuple[TranscriptMessage, ...]:
    messages: list[TranscriptMessage] = [_user(turn.message, context=turn.context), *_joined(turn, 0)]
    for step in turn.steps:
        if step.finished is None and turn.ended is None:
            break  # the step that is running, or is asked again
        messages.extend(_step(step))
        messages.extend(_joined(turn, step.number))
    return tuple(messages)


def _user(message: MessageAccepted, *, context: str = "") -> UserMessage:
    parts = tuple(unframed_part(part) for part in message.parts if isinstance(part, FilePart) or part.text)
    told: tuple[ContextPart, ...] = (framed(context),) if context else ()
    return UserMessage(parts=(*told, *(parts or (TextPart(text=_EMPTY),))))


def _joined(turn: TurnHistory, after_step: int) -> Sequence[UserMessage]:
    return [_user(joined.accepted.message) for joined in turn.joined if joined.after_step == after_step]


def _step(step: StepState) -> Sequence[TranscriptMessage]:
    kept = step.assembly.complete() if step.finished is not None else step.assembly.kept()
    parts = tuple(shown for part in kept if (shown := _part(part)) is not None)
    if not parts or all(isinstance(part, ReasoningPart) and part.sidecar is None for part in parts):
        return ()
    assistant = AssistantMessage(parts=parts)
    calls = [part for part in parts if isinstance(part, ToolCallPart)]
    if not calls:
        return (assistant,)
    return assistant, ToolMessage(results=tuple(_result(step, call) for call in calls))


def _part(part: AssistantPart) -> AssistantPart | None:
    match part:
        case TextPart() | RefusalPart():
            return part if part.text.strip() or (isinstance(part, TextPart) and part.sidecar) else None
        case ReasoningPart():
            return part if part.text or part.sidecar else None
        case ToolCallPart():
            name = tool_name(part.name)
            if name == part.name:
                return part
            return ToolCallPart(call_id=part.call_id, name=name, arguments=part.arguments, sidecar=None)
        case OpaquePart():
            return part


def _result(step: StepState, call: ToolCallPart) -> ToolResult:
    returned = step.results.get(call.call_id)
    if returned is None:
        lost = _NO_RESULT if step.finished is not None else _NEVER_RUN
        return ToolResult(call_id=call.call_id, name=call.name, content=lost, outcome="cancelled")
    content = unframed(returned.content) or _EMPTY
    if (changed := step.arguments.get(call.call_id)) is not None and returned.outcome not in {"denied", "cancelled"}:
        # What the model wrote stays as it was: providers sign it. What was run instead stands with the result.
        content = f"{_CHANGED.format(arguments=changed)}\n{content}"
    return ToolResult(call_id=call.call_id, name=call.name, content=content, outcome=returned.outcome)
