"""A session as a person reads it: messages and answers, with what the tools did.

Rule: what is void for the model (an attempt that was asked again, a rewound turn) is not shown to people either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from greenroom.config import Overlap
from greenroom.core.overlap import position
from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.events import Decision, MessageAccepted, Question, TurnOutcome
from greenroom.finish_reasons import Finish, finish_of
from greenroom.messages import (
    FilePart,
    OpaquePart,
    Outcome,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
)
from greenroom.tool_arguments import shown_arguments


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    """What a person was asked about a call; `decision` is `None` as long as it waits.

    Attributes:
        question: `run`: may it be run. `run_again`: nobody knows whether it took effect; shall it be run once more.
        arguments: what the person has made of the arguments, if anything.
        reason: what the person said about it.
    """

    approval_id: str
    question: Question
    decision: Decision | None = None
    arguments: str | None = None
    reason: str = ""


class ToolCallView(msgspec.Struct, frozen=True, kw_only=True, tag="tool_call", tag_field="type"):
    """A call and what came of it; `outcome` is `None` while it runs or waits."""

    call_id: str
    name: str
    arguments: str
    outcome: Outcome | None = None
    content: str = ""
    duration_ms: int = 0
    approval: ApprovalView | None = None


ViewPart = TextPart | ReasoningPart | RefusalPart | FilePart | SourcePart | ToolCallView


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was said: by a person, or the whole answer of a turn.

    Attributes:
        at_ms: when it was accepted or begun, milliseconds since 1970.
        outcome: of the turn, on its answer; `None` while it runs, and on a person's message.
        finish_reason: how the answer of a completed turn ended: `stop`, or why it is not whole; empty on everything else.
        model: that answered, as `backend:model`.
        joined_turn_id: on a person's message that another turn answers: that turn.
    """

    message_id: str
    turn_id: str
    role: Literal["user", "assistant"]
    parts: tuple[ViewPart, ...]
    at_ms: int
    outcome: TurnOutcome | None = None
    error_code: str = ""
    error: str = ""
    finish_reason: Finish | Literal[""] = ""
    model: str = ""
    joined_turn_id: str = ""

    @property
    def text(self) -> str:
        """All that was said in words."""
        return "\n".join(part.text for part in self.parts if isinstance(part, TextPart | RefusalPart))

    @property
    def sources(self) -> tuple[SourcePart, ...]:
        """What an answer rests on, in the order in which it was named, each once."""
        first: dict[str, SourcePart] = {}
        for part in self.parts:
            if isinstance(part, SourcePart):
                first.setdefault(part.url or part.title, part)
        return tuple(first.values())

    @property
    def files(self) -> tuple[FilePart, ...]:
        """Attachments of a person's message, or the pictures of an answer."""
        return tuple(part for part in self.parts if isinstance(part, FilePart))


def history(state: SessionState, *, without: StepState | None = None) -> list[Message]:
    """Returns the messages of a session in order, those that wait at the end.

    Args:
        state: of the session.
        without: a step that is shown in another way.
    """
    messages: list[Message] = []
    for turn in state.turns:
        messages.append(_said(turn.message, at_ms=turn.accepted.at_ms))
        messages.extend(
            _said(joined.accepted.message, at_ms=joined.accepted.at_ms, joined_turn_id=turn.turn_id)
            for joined in turn.joined
        )
        steps = [step for step in turn.steps if step is not without]
        if steps or turn.ended is not None:
            messages.append(_answer(turn, steps))
    messages.extend(_said(accepted.message, at_ms=accepted.at_ms) for accepted in state.queue)
    return messages


def _said(message: MessageAccepted, *, at_ms: int, joined_turn_id: str = "") -> Message:
    return Message(
        message_id=message.message_id,
        turn_id=message.turn_id,
        role="user",
        parts=message.parts,
        at_ms=at_ms,
        joined_turn_id=joined_turn_id,
    )


def _answer(turn: TurnHistory, steps: Sequence[StepState]) -> Message:
    last = steps[-1] if steps else None
    finished = last.finished if last is not None and turn.outcome == "completed" else None
    return Message(
        message_id=f"{turn.turn_id}-answer",
        turn_id=turn.turn_id,
        role="assistant",
        parts=tuple(part for step in steps for part in _parts(step)),
        at_ms=turn.at_ms,
        outcome=turn.outcome,
        error_code=turn.ended.code if turn.ended else "",
        error=turn.ended.message if turn.ended else "",
        finish_reason=finish_of(finished.reason, finished.raw_reason) if finished is not None else "",
        model=f"{last.backend}:{last.model}" if last else "",
    )


def _parts(step: StepState) -> list[ViewPart]:
    parts: list[ViewPart] = []
    for number, part in step.assembly.numbered():
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
                        arguments=step.assembly.shown_arguments(number),
                        outcome=returned.outcome if returned else None,
                        content=returned.content if returned else "",
                        duration_ms=returned.duration_ms if returned else 0,
                        approval=_approval(step, part.call_id),
                    )
                )
            case SourcePart() | FilePart():
                parts.append(part)
            case OpaquePart():
                pass
    return parts


class QueuedMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits for its turn.

    Attributes:
        position: how many turns come before its own.
        overlap: under which policy it came.
    """

    turn_id: str
    message_id: str
    position: int
    parts: tuple[TextPart | FilePart, ...]
    at_ms: int
    overlap: Overlap


def queued_messages(state: SessionState) -> list[QueuedMessage]:
    """Returns the messages that wait, the next one first."""
    return [
        QueuedMessage(
            turn_id=accepted.message.turn_id,
            message_id=accepted.message.message_id,
            position=position(state, accepted.message.turn_id),
            parts=accepted.message.parts,
            at_ms=accepted.at_ms,
            overlap=accepted.message.overlap,
        )
        for accepted in state.queue
    ]


class PendingApproval(msgspec.Struct, frozen=True, kw_only=True):
    """What a person is asked, with all it takes to decide.

    Attributes:
        name: of the tool.
        arguments: JSON, as they will run: as the model wrote them or meant them, or as a person has changed them before.
        question: `run`: may it be run. `run_again`: nobody knows whether it took effect; shall it be run once more.
    """

    approval_id: str
    turn_id: str
    call_id: str
    name: str
    arguments: str
    question: Question


def pending_approvals(state: SessionState) -> list[PendingApproval]:
    """Returns what waits for a person, in the order of the calls."""
    if state.turn is None:
        return []
    arguments = {call.call_id: call.arguments for call in state.turn.calls.open}
    return [
        PendingApproval(
            approval_id=asked.approval_id,
            turn_id=state.turn.turn_id,
            call_id=asked.call_id,
            name=asked.name,
            arguments=shown_arguments(arguments[asked.call_id]),
            question=asked.question,
        )
        for asked in state.turn.calls.asked
    ]


def _approval(step: StepState, call_id: str) -> ApprovalView | None:
    questions = [asked for asked in step.approvals.values() if asked.call_id == call_id]
    if not questions:
        return None
    asked = questions[-1]
    decided = step.decisions.get(asked.approval_id)
    return ApprovalView(
        approval_id=asked.approval_id,
        question=asked.question,
        decision=decided.decision if decided else None,
        arguments=step.arguments.get(call_id),
        reason=decided.reason if decided else "",
    )
