"""A question to a person, as AG-UI shows it: an interrupt, answered by `resume`.

`responseSchema` says what an answer looks like. `metadata` is what TanStack AI looks at to show an interrupt as an approval of its own.

Rule: what is told of a call never changes again: it is asked when its step is complete.
"""

from __future__ import annotations

from typing import Any, Final

from greenroom.core.session import SessionState
from greenroom.core.transcript import tool_name
from greenroom.events import ApprovalRequested
from greenroom.messages import ToolCallPart
from greenroom.protocols.ai_sdk_messages import tool_input

_QUESTIONS: Final = {
    "run": "May {name} be run?",
    "run_again": "{name} was interrupted, and nobody knows whether it took effect. Shall it be run again?",
}
_ANSWER: Final = {
    "type": "object",
    "properties": {
        "approved": {"type": "boolean"},
        "editedArgs": {"type": "object", "description": "Runs the call with these instead."},
        "reason": {"type": "string", "description": "For the model to read."},
    },
    "required": ["approved"],
}


def interrupt(asked: ApprovalRequested, state: SessionState | None) -> dict[str, Any]:
    """Returns the interrupt of a question.

    Args:
        asked: the question.
        state: of the session, for what the call is about; `None` if it is gone.
    """
    arguments, _ = tool_input(_arguments(asked.call_id, state))
    return {
        "id": asked.approval_id,
        "reason": "tool_approval",
        "message": _QUESTIONS[asked.question].format(name=asked.name),
        "toolCallId": asked.call_id,
        "responseSchema": _ANSWER,
        "metadata": {"kind": "approval", "toolName": tool_name(asked.name), "input": arguments},
    }


def _arguments(call_id: str, state: SessionState | None) -> str:
    turns = reversed(state.turns) if state is not None else ()
    steps = (step for turn in turns for step in reversed(turn.steps))
    calls = ((step, part) for step in steps for _, part in step.assembly.numbered() if isinstance(part, ToolCallPart))
    return next((step.arguments.get(call_id, call.arguments) for step, call in calls if call.call_id == call_id), "")
