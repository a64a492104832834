"""TanStack AI's thread, where none of the clients that are tested shows a value."""

from __future__ import annotations

import pytest

from greenroom.config import SessionConfig
from greenroom.core.session import SessionState
from greenroom.events import (
    Event,
    MessageAccepted,
    Record,
    SessionCreated,
    StepFinished,
    StepProgress,
    StepStarted,
    ToolReturned,
    TurnEnded,
    TurnStarted,
)
from greenroom.messages import Outcome, PartDelta, PartEnded, PartStarted, TextPart
from greenroom.protocols.tanstack import thread


@pytest.mark.parametrize(
    ("outcome", "state"),
    [("ok", "complete"), ("error", "error"), ("denied", "error"), ("cancelled", "error"), ("unknown", "error")],
)
def test_a_result_says_whether_the_call_went_well(outcome: Outcome, state: str) -> None:
    """Case W18: a good result that said `error`, and the reverse, was noticed by no test."""
    session = SessionState("s")
    events: list[Event] = [
        SessionCreated(user_id="ann", config=SessionConfig()),
        MessageAccepted(message_id="m", turn_id="t", parts=(TextPart(text="Roll."),)),
        TurnStarted(turn_id="t"),
        StepStarted(step=1, attempt=1, backend="b", model="m"),
        StepProgress(
            items=(
                PartStarted(part=0, kind="tool_call", call_id="c", name="roll"),
                PartDelta(part=0, delta="{}"),
                PartEnded(part=0),
            )
        ),
        StepFinished(reason="tool_calls"),
        ToolReturned(call_id="c", name="roll", outcome=outcome, content="4"),
        TurnEnded(turn_id="t", outcome="cancelled"),
    ]
    for seq, event in enumerate(events, start=1):
        session.apply(Record(seq=seq, epoch=1, at_ms=0, event=event))
    (result,) = [part for part in thread(session)["messages"][1]["parts"] if part["type"] == "tool-result"]
    assert (result["toolCallId"], result["content"], result["state"]) == ("c", "4", state)
    assert result.get("error") == (None if state == "complete" else "4")
