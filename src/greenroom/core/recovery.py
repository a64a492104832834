"""What to write first when a session is opened whose owner is gone.

The table of the architecture, row by row:

* message accepted, turn not started: nothing to write; the turn starts by itself;
* step asked, nothing or a part of the answer: the attempt failed, and the turn machine asks again or gives up;
* intent without a result: what is harmless to repeat is run again with the same idempotency key; what is not gets the
  result *unknown*, which the model reads;
* result written, next step not asked: nothing to write; the turn goes on;
* cancel asked: the turn ends as cancelled;
* the session is set to `recovery="close"`: the open turn ends as interrupted.

Rule: only events; who performs what comes next is the runner, as ever.
"""

from __future__ import annotations

from typing import Final

from greenroom.core.session import SessionState
from greenroom.core.turn import Turn, TurnState
from greenroom.events import Event, StepFailed, ToolReturned, TurnEnded
from greenroom.messages import Usage

INTERRUPTED: Final = "the process that was answering ended"
_UNKNOWN: Final = (
    "[Outcome unknown: the process ended while this tool was running. It may or may not have taken effect, and it was not "
    "run again. Find out before you repeat it.]"
)


def recovery_events(state: SessionState, *, spent: Usage | None = None) -> list[Event]:
    """Returns the events that bring a session without an owner back to where a runner can go on.

    Args:
        state: of the session.
        spent: what the step that was cut off has used, if more is known of it than the log says: its price.
    """
    turn = state.turn
    if turn is None:
        return []
    usage = spent or turn.usage
    if turn.cancelled:
        return [*settled(turn), TurnEnded(turn_id=turn.turn_id, outcome="cancelled", usage=usage)]
    if state.config.recovery == "close":
        end = TurnEnded(
            turn_id=turn.turn_id, outcome="interrupted", code="interrupted", message=INTERRUPTED, usage=usage
        )
        return [*settled(turn), end]
    if turn.state is TurnState.STREAMING:
        return [StepFailed(code="interrupted", message=INTERRUPTED, usage=usage)]
    return [
        ToolReturned(call_id=intent.call_id, name=intent.name, outcome="unknown", content=_UNKNOWN)
        for intent in turn.intents()
        if intent.effect == "once"
    ]


def settled(turn: Turn) -> list[Event]:
    """Returns results for the calls that have none, for a turn that ends now."""
    started = {intent.call_id for intent in turn.intents()}
    return [
        ToolReturned(
            call_id=call.call_id,
            name=call.name,
            outcome="unknown" if call.call_id in started else "cancelled",
            content="[Cancelled while it was running: it may or may not have taken effect.]"
            if call.call_id in started
            else "[Cancelled before it was run.]",
        )
        for call in turn.unsettled_calls()
    ]
