"""A session as UIMessages of the AI SDK, for `useChat` to begin with.

The ids, the parts and the metadata are those of the live stream: a message that was streamed and one that was fetched are the same
message. What an attempt said before it was asked again is not here.

Rule: pure functions of the state. Optional members are absent, never null: the SDK's schemas refuse nulls.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.core.session import Accepted, SessionState, StepState, TurnHistory
from greenroom.core.transcript import tool_name
from greenroom.events import ApprovalRequested, StepFinished, TurnEnded
from greenroom.finish_reasons import finish_of
from greenroom.large import InBase64
from greenroom.messages import (
    FilePart,
    FinishReason,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    SourcePart,
    TextPart,
    ToolCallPart,
    Usage,
    UserPart,
)
from greenroom.protocols.ids import answer_id, part_id
from greenroom.tool_arguments import UnreadableArguments, read_arguments

_FINISH_REASONS: Final[dict[FinishReason, str]] = {
    "stop": "stop",
    "tool_calls": "tool-calls",
    "length": "length",
    "refusal": "content-filter",
    "pause": "other",
    "other": "other",
}

_DOCUMENT_TYPE: Final = "text/plain"
"""What the SDK wants to know of a document, and no provider says."""

NEVER_RUN = "The call was not run: the answer ended before."
BROKEN_OFF = "The call was not completed: the answer broke off."


def ui_messages(state: SessionState) -> list[dict[str, Any]]:
    """Returns all messages of the session, those that wait at the end.

    The answer that is being written is not among them: it comes with the stream, from its beginning. One that waits for a
    person is.
    """
    messages: list[dict[str, Any]] = []
    for turn in state.turns:
        messages.append(_said(turn.accepted))
        messages.extend(_said(joined.accepted, joinedTurnId=turn.turn_id) for joined in turn.joined)
        if turn.ended is not None or state.is_waiting:
            messages.append(_answer(turn))
    messages.extend(_said(accepted, queued=True) for accepted in state.queue)
    return messages


def started_metadata(turn: TurnHistory) -> dict[str, Any]:
    """Returns what is known of an answer when its turn starts."""
    return {
        "turnId": turn.turn_id,
        "seq": turn.seq,
        "persona": turn.persona_name,
        "configVersion": turn.config_version,
        "createdAt": turn.at_ms,
    }


def finish_reason(reason: FinishReason) -> str:
    """Returns a reason as the AI SDK names it."""
    return _FINISH_REASONS[reason]


def last_finished(turn: TurnHistory) -> StepFinished | None:
    """Returns how the last step of a turn ended that came to its end."""
    return next((step.finished for step in reversed(turn.steps) if step.finished is not None), None)


def ended_metadata(ended: TurnEnded, *, seq: int, usage: Usage, finished: StepFinished | None) -> dict[str, Any]:
    """Returns what is added when the turn has ended.

    Args:
        ended: the end.
        seq: of its record: a copy of the session up to there has the whole answer.
        usage: of the whole turn.
        finished: the end of the turn's last step. Told only where the answer is not whole, in the words of `finish_reasons.Finish`.
    """
    tokens: dict[str, Any] = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "cachedInputTokens": usage.cached_input_tokens,
        "reasoningTokens": usage.reasoning_tokens,
    }
    cost = {} if usage.cost_usd is None else {"costUsd": usage.cost_usd}
    if usage.estimated:
        tokens["estimated"] = True
    metadata: dict[str, Any] = {"seq": seq, "outcome": ended.outcome, "usage": tokens | cost}
    if ended.outcome == "completed" and finished is not None:
        finish = finish_of(finished.reason, finished.raw_reason)
        if finish != "stop":
            metadata |= {"finishReason": finish.replace("_", "-"), "finishTokens": finished.usage.output_tokens}
    if ended.code:
        hint = {"hint": ended.hint} if ended.hint else {}
        metadata["error"] = {"code": ended.code, "message": ended.message} | hint
    return metadata


def tool_input(arguments: str) -> tuple[Any, str]:
    """Returns the arguments of a call as they are run, and what is wrong with them: then they are the text as the model wrote it."""
    try:
        return read_arguments(arguments), ""
    except UnreadableArguments as error:
        return arguments, f"The arguments cannot be read: {error}."


def _said(accepted: Accepted, **more: Any) -> dict[str, Any]:
    message = accepted.message
    metadata = {"turnId": message.turn_id, "seq": accepted.seq, "createdAt": accepted.at_ms, **more}
    parts = [_user_part(part) for part in message.parts]
    return {"id": message.message_id, "role": "user", "metadata": metadata, "parts": parts}


def _user_part(part: UserPart) -> dict[str, Any]:
    if isinstance(part, TextPart):
        return {"type": "text", "text": part.text}
    return _file_part(part)


def given_part(own_id: str, part: SourcePart | FilePart) -> dict[str, Any]:
    """Returns a source or a picture: the chunk of a stream and the part of a message are the same.

    Only an address that may become a link is a `source-url`. The versions of the SDK know no quotes; it stands in the metadata.
    """
    if isinstance(part, FilePart):
        return _file_part(part)
    told: dict[str, Any] = {"type": "source-url", "sourceId": own_id, "url": part.url}
    told |= {"title": part.title} if part.title else {}
    if not part.url:
        told = {"type": "source-document", "sourceId": own_id, "mediaType": _DOCUMENT_TYPE, "title": part.title}
    return told | ({"providerMetadata": {"greenroom": {"quote": part.quote}}} if part.quote else {})


def _file_part(part: FilePart) -> dict[str, Any]:
    url = InBase64(part.data, f"data:{part.media_type};base64,")
    return {"type": "file", "mediaType": part.media_type, "url": url} | ({"filename": part.name} if part.name else {})


def _answer(turn: TurnHistory) -> dict[str, Any]:
    metadata = started_metadata(turn)
    if turn.steps:
        metadata |= {"backend": turn.steps[-1].backend, "model": turn.steps[-1].model}
    if turn.ended is not None:
        metadata |= ended_metadata(turn.ended, seq=turn.ended_seq, usage=turn.usage, finished=last_finished(turn))
    parts = [part for step in turn.steps for part in _step_parts(turn, step)]
    return {"id": answer_id(turn.turn_id), "role": "assistant", "metadata": metadata, "parts": parts}


def _step_parts(turn: TurnHistory, step: StepState) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "step-start"}]
    complete = {call.call_id for call in step.assembly.calls()}
    for number, part in step.assembly.numbered():
        match part:
            case TextPart() | RefusalPart():
                parts.append({"type": "text", "text": part.text, "state": "done"})
            case ReasoningPart():
                parts.append({"type": "reasoning", "text": part.text, "state": "done"})
            case ToolCallPart():
                parts.append(_tool_part(step, part, is_complete=part.call_id in complete))
            case SourcePart() | FilePart():
                parts.append(given_part(part_id(turn.turn_id, step.number, step.attempt, number), part))
            case OpaquePart():
                pass
    return parts


def _tool_part(step: StepState, call: ToolCallPart, *, is_complete: bool) -> dict[str, Any]:
    part = {"type": "dynamic-tool", "toolName": tool_name(call.name), "toolCallId": call.call_id}
    if not is_complete:
        return part | {"state": "output-error", "input": call.arguments, "errorText": BROKEN_OFF}
    returned = step.results.get(call.call_id)
    value, _ = tool_input(step.arguments.get(call.call_id, call.arguments))
    asked = next((asked for asked in reversed(tuple(step.approvals.values())) if asked.call_id == call.call_id), None)
    part |= {"input": value} | (_approval(step, asked) if asked is not None else {})
    if returned is None:
        if asked is not None and asked.approval_id not in step.decisions:
            return part | {"state": "approval-requested"}
        return part | {"state": "output-error", "errorText": NEVER_RUN}
    if returned.outcome == "ok":
        return part | {"state": "output-available", "output": returned.content}
    if returned.outcome == "denied" and asked is not None:
        return part | {"state": "output-denied"}
    return part | {"state": "output-error", "errorText": returned.content}


def _approval(step: StepState, asked: ApprovalRequested) -> dict[str, Any]:
    approval: dict[str, Any] = {"id": asked.approval_id}
    decided = step.decisions.get(asked.approval_id)
    if decided is not None:
        approval["approved"] = decided.decision == "approve"
        approval |= {"reason": decided.reason} if decided.reason else {}
    return {"approval": approval}
