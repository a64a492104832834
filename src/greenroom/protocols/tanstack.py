"""A session as the TanStack AI client fetches it before it joins: `GET ...?threadId=`.

Its stream is AG-UI; only this answer has a shape of its own. The answer that is being written is not in it: the client joins
the active run, which brings it from its start. One that waits for a person is: the client shows what is asked, and joins nothing.

Rule: a pure function of the state. Shapes as in the client's `UIMessage`.
"""

from __future__ import annotations

from typing import Any

from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.core.transcript import tool_name
from greenroom.messages import FilePart, OpaquePart, ReasoningPart, RefusalPart, SourcePart, TextPart, ToolCallPart
from greenroom.protocols.agui_interrupts import interrupt
from greenroom.protocols.agui_messages import content_of, medium_of
from greenroom.protocols.closing import closing
from greenroom.protocols.ids import answer_id, result_id


def thread(state: SessionState) -> dict[str, Any]:
    """Returns the messages of the session, and the run that a client may join."""
    messages: list[dict[str, Any]] = []
    for turn in state.turns:
        messages.append(_said(turn))
        if turn.steps and (turn.ended is not None or state.is_waiting):
            parts = [part for step in turn.steps for part in _parts(step)]
            messages.append({"id": answer_id(turn.turn_id), "role": "assistant", "parts": parts})
    running = state.turns[-1].run_id if state.turn is not None else ""
    waiting = state.queue[0].message.turn_id if state.queue else ""
    run_id = running or waiting
    return {"messages": messages, "activeRun": {"runId": run_id} if run_id else None, "interrupts": _interrupts(state)}


def _interrupts(state: SessionState) -> dict[str, Any] | None:
    """Returns what the turn waits for, which its client shows instead of joining the run."""
    if state.turn is None or not state.is_waiting:
        return None
    return {"runId": state.turns[-1].run_id, "pending": [interrupt(asked, state) for asked in state.turn.calls.asked]}


def _said(turn: TurnHistory) -> dict[str, Any]:
    content = content_of(turn.message.parts)
    parts = [{"type": "text", "content": content}] if isinstance(content, str) else [_content(part) for part in content]
    return {"id": turn.message.message_id, "role": "user", "parts": parts}


def _content(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "text", "content": part["text"]} if part["type"] == "text" else part


def _parts(step: StepState) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    for _, part in step.assembly.numbered():
        match part:
            case TextPart() | RefusalPart():
                parts.append({"type": "text", "content": part.text})
            case ReasoningPart():
                parts.append({"type": "thinking", "content": part.text})
            case ToolCallPart():
                call = {"type": "tool-call", "id": part.call_id, "name": tool_name(part.name)}
                call |= {"arguments": part.arguments + closing(part.arguments)}
                parts.append(call | _approval(step, part.call_id))
            case FilePart():
                parts.append(medium_of(part))
            case OpaquePart() | SourcePart():
                pass  # the client has no part for a source
    for returned in step.results.values():
        is_ok = returned.outcome == "ok"
        result = {"type": "tool-result", "id": result_id(returned.call_id), "toolCallId": returned.call_id}
        result |= {"content": returned.content, "state": "complete" if is_ok else "error"}
        parts.append(result if is_ok else result | {"error": returned.content})
    return parts


def _approval(step: StepState, call_id: str) -> dict[str, Any]:
    asked = next((asked for asked in reversed(list(step.approvals.values())) if asked.call_id == call_id), None)
    if asked is None:
        return {"state": "input-complete"}
    approval: dict[str, Any] = {"id": asked.approval_id, "needsApproval": True}
    decided = step.decisions.get(asked.approval_id)
    if decided is None:
        return {"state": "approval-requested", "approval": approval}
    return {"state": "approval-responded", "approval": approval | {"approved": decided.decision == "approve"}}
