"""What to write first when a session is opened whose owner is gone.

The table of the architecture, row by row:

* message accepted, turn not started: nothing to write; the turn starts by itself;
* step asked, nothing or a part of the answer: the attempt failed, and the turn machine asks again or gives up;
* intent without a result: what is harmless to repeat is run again with the same idempotency key, unless the process has died of it
  as often as a step is asked again; what is not harmless gets the result *unknown*, which the model reads, or a person is asked, as
  the session is set;
* result written, next step not asked: nothing to write; the turn goes on;
* waiting for a person: nothing to write; it waits on;
* cancel asked: the turn ends as cancelled;
* the process died too often without progress, wherever it was: the turn ends as interrupted;
* the session is set to `recovery="close"`: the open turn ends as interrupted.

Rule: only events; who performs what comes next is the runner, as ever.
"""

from __future__ import annotations

from typing import Final

from greenroom.config import SessionConfig
from greenroom.core.budget import Prices, characters_of, characters_sent, usage_so_far
from greenroom.core.session import SessionState
from greenroom.core.transcript import render
from greenroom.core.turn import Turn, TurnState
from greenroom.events import ApprovalRequested, Event, SessionRewound, StepFailed, ToolReturned, ToolStarted, TurnEnded
from greenroom.messages import ToolCallPart, Usage

INTERRUPTED: Final = "the process that was answering ended"
UNKNOWN: Final = (
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
    end = TurnEnded(turn_id=turn.turn_id, outcome="interrupted", code="interrupted", message=INTERRUPTED, usage=usage)
    if turn.cancelled or state.config.recovery == "close":
        return ending(turn, end)
    if turn.state is TurnState.STREAMING:
        return [StepFailed(code="interrupted", message=INTERRUPTED, usage=usage)]
    asked = {approval.call_id for approval in turn.calls.asked}
    fatal = turn.fatal_calls
    if not fatal and turn.is_given_up:
        return ending(turn, end)
    unknown: list[Event] = [
        unknown_outcome(turn, intent, state.config)
        for intent in turn.intents()
        if intent.effect == "once" and intent.call_id not in asked and not turn.calls.is_denied(intent.call_id)
    ]
    return [*unknown, *(_given_up(intent, runs=turn.calls.runs(intent.call_id)) for intent in fatal)]


def _given_up(intent: ToolStarted, *, runs: int) -> ToolReturned:
    """Returns the result of a call that is not run any more, because its process dies of it."""
    return ToolReturned(
        call_id=intent.call_id,
        name=intent.name,
        outcome="error" if intent.effect == "pure" else "unknown",
        content=f"[Given up: this call was started {runs} times, and each time the process that ran it died before it had a "
        "result. It is not run again. It may need more memory than there is: try something smaller, or another way.]",
    )


def usage_cut_off(state: SessionState) -> Usage:
    """Returns what the step has used in whose middle its owner was lost: as its provider has counted, and estimated where not.

    What was sent with the conversation (the system prompt, tools) is not in the log, and not estimated.
    """
    turn = state.turn
    if turn is None or turn.state is not TurnState.STREAMING or turn.assembly.is_empty():
        return turn.usage if turn is not None else Usage()
    said = sum(characters_of(part) for _, part in turn.assembly.numbered())
    return usage_so_far(
        told=turn.usage,
        sent_characters=0 if turn.usage.input_tokens else characters_sent(system="", messages=render(state), tools=()),
        uncounted_characters=0 if turn.usage.output_tokens else said,
        prices=Prices(),
    )


def unknown_outcome(
    turn: Turn, call: ToolStarted | ToolCallPart, config: SessionConfig, returned: ToolReturned | None = None
) -> ToolReturned | ApprovalRequested:
    """Returns what is written about a call of which nobody knows whether it took effect.

    Args:
        turn: of the call.
        call: the call, or its intent.
        config: who is to learn of it: the model, or a person first.
        returned: what the model is told; `None` for the end of the process.
    """
    if (cut := turn.calls.cut_off(call.call_id)) is not None:
        return cut  # a call that may not be run needs no approval
    if config.unknown_outcome == "ask":
        approval_id = turn.calls.next_approval_id(call.call_id)
        return ApprovalRequested(approval_id=approval_id, call_id=call.call_id, name=call.name, question="run_again")
    return returned or ToolReturned(call_id=call.call_id, name=call.name, outcome="unknown", content=UNKNOWN)


def ending(turn: Turn, end: TurnEnded) -> list[Event]:
    """Returns the events that end a turn now, wherever it stands: one that was cancelled ends as cancelled."""
    if turn.cancelled:
        end = TurnEnded(turn_id=turn.turn_id, outcome="cancelled", usage=end.usage)
    taken_back = [SessionRewound(turn_id=turn.turn_id)] if turn.takes_back else []
    return [*_settled(turn), end, *taken_back]


def _settled(turn: Turn) -> list[Event]:
    """Returns results for the calls that have none."""
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
