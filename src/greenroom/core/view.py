"""A session as a person reads it: messages and answers, with what the tools did.

Rule: what is void for the model (an attempt that was asked again, a rewound turn) is not shown to people either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.events import TurnOutcome
from greenroom.messages import (
    FilePart,
    OpaquePart,
    Outcome,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
)


class ToolCallView(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call", tag_field="type"):
    """A call and what came of it; `outcome` is `None` while it runs."""

    call_id: str
    name: str
    arguments: str
    outcome: Outcome | None = None
    content: str = ""
    duration_ms: int = 0


ViewPart = TextPart | ReasoningPart | RefusalPart | FilePart | ToolCallView


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was said: by a person, or the whole answer of a turn.

    Attributes:
        at_ms: when it was accepted or begun, milliseconds since 1970.
        outcome: of the turn, on its answer; `None` while it runs, and on a person's message.
        model: that answered, as `backend:model`.
    """

    message_id: str
    turn_id: str
    role: Literal["user", "assistant"]
    parts: tuple[ViewPart, ...]
    at_ms: int
    outcome: TurnOutcome | None = None
    error_code: str = ""
    error: str = ""
    model: str = ""

    @property
    def text(self) -> str:
        """All that was said in words."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart | RefusalPart))


def history(state: SessionState, *, without: StepState | None = None) -> list[Message]:
    """Returns the messages of a session in order, those that wait at the end.

    Args:
        state: of the session.
        without: a step that is shown in another way.
    """
    messages: list[Message] = []
    for turn in state.turns:
        messages.append(_said(turn))
        steps = [step for step in turn.steps if step is not without]
        if steps or turn.ended is not None:
            messages.append(_answer(turn, steps))
    messages.extend(
        Message(
            message_id=accepted.message.message_id,
            turn_id=accepted.message.turn_id,
            role="user",
            parts=accepted.message.parts,
            at_ms=accepted.at_ms,
        )
        for accepted in state.queue
    )
    return messages


def _said(turn: TurnHistory) -> Message:
    return Message(
        message_id=turn.message.message_id,
        turn_id=turn.turn_id,
        role="user",
        parts=turn.message.parts,
        at_ms=turn.message_at_ms,
    )


def _answer(turn: TurnHistory, steps: Sequence[StepState]) -> Message:
    last = steps[-1] if steps else None
    return Message(
        message_id=f"{turn.turn_id}-answer",
        turn_id=turn.turn_id,
        role="assistant",
        parts=tuple(part for step in steps for part in _parts(step)),
        at_ms=turn.at_ms,
        outcome=turn.outcome,
        error_code=turn.ended.code if turn.ended else "",
        error=turn.ended.message if turn.ended else "",
        model=f"{last.backend}:{last.model}" if last else "",
    )


def _parts(step: StepState) -> list[ViewPart]:
    parts: list[ViewPart] = []
    for _, part in step.assembly.numbered():
        match part:
            case TextPart() | ReasoningPart() | RefusalPart():
                if part.text:
                    parts.append(part)
            case ToolCallPart():
                returned = step.results.get(part.call_id)
                parts.append(
                    ToolCallView(
                        call_id=part.call_id,
                        name=part.name,
                        arguments=part.arguments,
                        outcome=returned.outcome if returned else None,
                        content=returned.content if returned else "",
                        duration_ms=returned.duration_ms if returned else 0,
                    )
                )
            case OpaquePart():
                pass
    return parts
