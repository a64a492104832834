"""What a backend is sent: the history, rendered so that every provider accepts it.

A session cannot be bricked, because the log is never sent: this rendering is. Whatever the log holds, also after a crash
or a cancel at any point, the transcript satisfies: it begins with a user message; user messages do not follow each other; every
call has exactly one result, directly after the message that made it and in its order; ids are unique, names and ids are well
formed; no text is empty. Sidecars are kept: the backend knows its own.

Rule: a pure function of state; and what was once sent stays, byte for byte, the beginning of what is sent later, as long as the
provider takes it (`core.adaptation`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from greenroom.core.adaptation import UNADAPTED, Adaptation
from greenroom.core.prompt import framed, unframed, unframed_part
from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.events import FileRef, MessageAccepted, StepRef
from greenroom.limits import NAME_PATTERN
from greenroom.messages import (
    AnswerPart,
    AssistantMessage,
    AssistantPart,
    ContextPart,
    FilePart,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    ToolMessage,
    ToolResult,
    TranscriptMessage,
    UserMessage,
    UserPart,
)

_NAME: Final = re.compile(NAME_PATTERN)
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")

_NO_RESULT: Final = "[The turn ended before this call had a result. Whether it took effect is unknown.]"
_NEVER_RUN: Final = "[This call was not run: the turn was ended before.]"
_CHANGED: Final = "[A person changed the arguments before this call was run. It ran with: {arguments}]"
_EMPTY: Final = "[no output]"
_NO_HISTORY: Final = "[The earlier conversation was here. It was refused, and is left out.]"
_NO_MESSAGE: Final = "[A message of the user was here. It was refused, and is left out.]"
_NO_ANSWER: Final = "[An answer was here. It was refused, and is left out.]"
_NO_FILE: Final = "[{name} ({media_type}, {size} bytes) was attached here. It was refused, and cannot be shown.]"
_NO_OUTPUT: Final = "[This call has a result (outcome: {outcome}). It was refused, and is left out.]"
_CALL: Final = "[The tool {name} was called with {arguments}]"
_RESULT: Final = "[Result of the tool {name}]\n{content}"


def render(state: SessionState, *, adaptation: Adaptation = UNADAPTED) -> tuple[TranscriptMessage, ...]:
    """Returns the transcript of all that was said, up to the next step of the open turn.

    Args:
        state: of the session.
        adaptation: what the backend and model that are asked do not take.
    """
    turns = [turn for turn in state.turns if turn.seq >= adaptation.since_seq]
    messages: list[TranscriptMessage] = []
    if len(turns) < len(state.turns):
        messages.append(UserMessage(parts=(TextPart(text=_NO_HISTORY),)))
    for turn in turns:
        for message in _turn(turn, adaptation):
            _add(messages, message)
    if "tools" in adaptation.without:
        return _without_calls(messages)
    return tuple(messages)


def _add(messages: list[TranscriptMessage], message: TranscriptMessage) -> None:
    last = messages[-1] if messages else None
    if isinstance(message, UserMessage) and isinstance(last, UserMessage):
        messages[-1] = UserMessage(parts=last.parts + message.parts)
    else:
        messages.append(message)


def _without_calls(messages: Sequence[TranscriptMessage]) -> tuple[TranscriptMessage, ...]:
    """Returns the transcript for a model that knows no tools: calls and results are told as text."""
    told: list[TranscriptMessage] = []
    for message in messages:
        match message:
            case AssistantMessage(parts=parts):
                told.append(AssistantMessage(parts=tuple(_told_call(part) for part in parts)))
            case ToolMessage(results=results):
                lines = (_RESULT.format(name=result.name, content=result.content) for result in results)
                _add(told, UserMessage(parts=tuple(TextPart(text=line) for line in lines)))
            case UserMessage():
                _add(told, message)
    return tuple(told)


def _told_call(part: AssistantPart) -> AssistantPart:
    if not isinstance(part, ToolCallPart):
        return part
    return TextPart(text=_CALL.format(name=part.name, arguments=part.arguments or "{}"))


def tool_name(name: str) -> str:
    """Returns `name` as a provider accepts it: models invent names with dots, spaces, or nothing in them."""
    return name if _NAME.fullmatch(name) else _NOT_IN_A_NAME.sub("_", name)[:64] or "unnamed"


def _turn(turn: TurnHistory, adaptation: Adaptation) -> Sequence[TranscriptMessage]:
    if turn.ended is None or _concerns(adaptation, turn):
        return _rendered(turn, adaptation)
    if turn.rendered is None:
        turn.rendered = _rendered(turn, UNADAPTED)
    assert isinstance(turn.rendered, tuple)
    return turn.rendered


def _concerns(adaptation: Adaptation, turn: TurnHistory) -> bool:
    """Returns whether anything of the turn is left out."""
    out = adaptation.out
    if not out:
        return False
    ids = {accepted.message.turn_id for accepted in turn.all_accepted}
    return not (out.messages | out.contexts).isdisjoint(ids) or any(
        ref.turn_id in ids for refs in (out.steps, out.files) for ref in refs
    )


def _rendered(turn: TurnHistory, adaptation: Adaptation) -> tuple[TranscriptMessage, ...]:
    messages: list[TranscriptMessage] = [
        _user(turn.message, adaptation, context=turn.context),
        *_joined(turn, 0, adaptation),
    ]
    for step in turn.steps:
        if step.finished is None and turn.ended is None:
            break  # the step that is running, or is asked again
        said = _step(step)
        is_out = StepRef(turn_id=turn.turn_id, step=step.number) in adaptation.out.steps
        messages.extend(map(_emptied, said) if is_out else said)
        messages.extend(_joined(turn, step.number, adaptation))
    return tuple(messages)


def _user(message: MessageAccepted, adaptation: Adaptation, *, context: str = "") -> UserMessage:
    out = adaptation.out
    told: tuple[ContextPart, ...] = (framed(context),) if context and message.turn_id not in out.contexts else ()
    if message.turn_id in out.messages:
        return UserMessage(parts=(*told, TextPart(text=_NO_MESSAGE)))
    parts = tuple(
        unframed_part(_named(part) if FileRef(turn_id=message.turn_id, part=number) in out.files else part)
        for number, part in enumerate(message.parts)
        # Blank texts are none to any dialect: whether one is replaced must not depend on what comes after it.
        if isinstance(part, FilePart) or part.text.strip()
    )
    return UserMessage(parts=(*told, *(parts or (TextPart(text=_EMPTY),))))


def _named(part: UserPart) -> UserPart:
    if not isinstance(part, FilePart):
        return part
    return TextPart(text=_NO_FILE.format(name=part.name or "A file", media_type=part.media_type, size=len(part.data)))


def _joined(turn: TurnHistory, after_step: int, adaptation: Adaptation) -> Sequence[UserMessage]:
    return [_user(joined.accepted.message, adaptation) for joined in turn.joined if joined.after_step == after_step]


def _emptied(message: TranscriptMessage) -> TranscriptMessage:
    """Returns a message of a step that is left out: which tools were called stays, so that nothing is done twice."""
    match message:
        case AssistantMessage(parts=parts):
            calls = [
                ToolCallPart(call_id=part.call_id, name=part.name, arguments="{}")
                for part in parts
                if isinstance(part, ToolCallPart)
            ]
            return AssistantMessage(parts=(TextPart(text=_NO_ANSWER), *calls))
        case ToolMessage(results=results):
            return ToolMessage(
                results=tuple(
                    msgspec.structs.replace(result, content=_NO_OUTPUT.format(outcome=result.outcome))
                    for result in results
                )
            )
        case UserMessage():
            return message


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


def _part(part: AnswerPart) -> AssistantPart | None:
    match part:
        case SourcePart():
            return None  # for people; what of it the provider wants to see again is in the sidecar of its text
        case RefusalPart(by_provider=True):
            return None  # the provider's words about the model, not the model's own
        case TextPart() | RefusalPart():
            return part if part.text.strip() or (isinstance(part, TextPart) and part.sidecar) else None
        case ReasoningPart():
            return part if part.text or part.sidecar else None
        case ToolCallPart():
            name = tool_name(part.name)
            if name == part.name:
                return part
            return ToolCallPart(call_id=part.call_id, name=name, arguments=part.arguments, sidecar=None)
        case OpaquePart() | FilePart():
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
