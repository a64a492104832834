"""A session as the TanStack AI client fetches it before it joins: `GET ...?threadId=`.

Its stream is AG-UI; only this answer has a shape of its own. The answer that is being written is not in it: the client joins
the active run, which brings it from its start.

Rule: a pure function of the state. Shapes as in the client's `UIMessage`.
"""

from __future__ import annotations

from typing import Any

from greenroom.core.session import SessionState, StepState, TurnHistory
from greenroom.core.transcript import tool_name
from greenroom.messages import OpaquePart, ReasoningPart, RefusalPart, TextPart, ToolCallPart
from greenroom.protocols.agui_messages import content_of
from greenroom.protocols.closing import closing
from greenroom.protocols.ids import answer_id, result_id


def thread(state: SessionState) -> dict[str, Any]:
    """Returns the messages of the session, and the run that a client may join."""
    messages: list[dict[str, Any]] = []
    for turn in state.turns:
        messages.append(_said(turn))
        if turn.ended is not None and turn.steps:
            parts = [part for step in turn.steps for part in _parts(step)]
            messages.append({"id": answer_id(turn.turn_id), "role": "assistant", "parts": parts})
    running = state.turns[-1].turn_id if state.turn is not None else ""
    waiting = state.queue[0].message.turn_id if state.queue else ""
    run_id = running or waiting
    return {"messages": messages, "activeRun": {"runId": run_id} if run_id else None, "interrupts": None}


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
                parts.append(call | {"arguments": part.arguments + closing(part.arguments), "state": "input-complete"})
            case OpaquePart():
                pass
    for returned in step.results.values():
        is_ok = returned.outcome == "ok"
        result = {"type": "tool-result", "id": result_id(returned.call_id), "toolCallId": returned.call_id}
        result |= {"content": returned.content, "state": "complete" if is_ok else "error"}
        parts.append(result if is_ok else result | {"error": returned.content})
    return parts
