"""What happens to a message that arrives while the session is busy, and to those that wait.

=========== ========================================================================================================
enqueue     first in, first out
reject      refused, as long as a turn is open or waits
interrupt   the running turn is cancelled, what it said is kept; this message is next
rollback    as interrupt, and the running turn is taken out of the session
steer       joins the running turn at its next step; if there is none, this message is next
merge       joins the message before it: both become one turn
latest      all that wait are withdrawn; this message remains
=========== ========================================================================================================

Rule: decided on the state as it is under the write lock, and written together with the message: nobody sees half of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from greenroom.core.session import Accepted, SessionState
from greenroom.errors import InvalidArgument, LimitExceeded, TurnInProgress
from greenroom.events import (
    CancelRequested,
    Event,
    MessageAccepted,
    MessageRepeated,
    MessageWithdrawn,
    TurnEnded,
    TurnStarted,
)


def check_arrival(state: SessionState, message: MessageAccepted, *, queue_max: int, posted: int = 0) -> None:
    """Accepts a message that may come now.

    Args:
        state: of the session.
        message: with its policy.
        queue_max: how many messages may wait.
        posted: how many are on their way from other processes.

    Raises:
        TurnInProgress: `reject`, and a turn is open or waits.
        LimitExceeded: too many messages wait already.
    """
    if not state.is_busy:
        return
    if message.overlap == "reject":
        raise TurnInProgress("the session is answering", hint="wait for the end, cancel it, or use overlap='enqueue'")
    waiting = posted if message.overlap == "latest" else posted + len(state.queue)
    if waiting >= queue_max:
        raise LimitExceeded(f"{waiting} messages wait already", hint="wait until some are answered")


def arrival(state: SessionState, message: MessageAccepted) -> list[Event]:
    """Returns the events with which a message comes into the session; the message is the last."""
    before: list[Event] = []
    current = current_turn_id(state)
    match message.overlap:
        case "interrupt" | "rollback" if current is not None:
            before = cancellation(state, current, takes_back=message.overlap == "rollback")
        case "latest":
            before = [MessageWithdrawn(turn_id=accepted.turn_id) for accepted in waiting(state)]
        case _:
            pass
    return [*before, message]


def cancellation(state: SessionState, turn_id: str, *, takes_back: bool = False) -> list[Event]:
    """Returns the events that stop a turn: one that is over stays as it is, one that waits behind others is withdrawn.

    One that is about to start ends as it would a moment later: its message stays, with a cancelled answer.

    Args:
        state: of the session.
        turn_id: of the turn.
        takes_back: the turn leaves the session as well.
    """
    turn = state.turn
    if turn is not None and turn.turn_id == turn_id:
        is_done = turn.cancelled and (turn.takes_back or not takes_back)
        return [] if is_done else [CancelRequested(turn_id=turn_id, takes_back=takes_back)]
    if turn is None and state.queue and state.queue[0].message.turn_id == turn_id and not takes_back:
        return [TurnStarted(turn_id=turn_id), TurnEnded(turn_id=turn_id, outcome="cancelled")]
    return withdrawal(state, turn_id)


def withdrawal(state: SessionState, turn_id: str) -> list[Event]:
    """Returns the event that takes a message back that waits; none if it does not wait any more."""
    is_there = any(accepted.message.turn_id == turn_id for accepted in state.queue)
    return [MessageWithdrawn(turn_id=turn_id)] if is_there else []


def current_turn_id(state: SessionState) -> str | None:
    """Returns the turn that is answered now or about to be, or `None`."""
    if state.turn is not None:
        return state.turn.turn_id
    return state.queue[0].message.turn_id if state.queue else None


def waiting(state: SessionState) -> Sequence[MessageAccepted]:
    """Returns the messages that wait: not the one whose turn is about to start."""
    queued = [accepted.message for accepted in state.queue]
    return queued if state.turn is not None else queued[1:]


def position(state: SessionState, turn_id: str) -> int:
    """Returns how many turns come before the one of a message; 0 for one that joins what runs now, or runs itself."""
    queue = [accepted.message for accepted in state.queue]
    place = next((place for place, message in enumerate(queue) if message.turn_id == turn_id), None)
    if place is None or (state.turn is not None and queue[place].overlap == "steer" and not state.turn.cancelled):
        return 0
    return place + (state.turn is not None and not state.turn.cancelled)


# --- messages that come again ---------------------------------------------------------------------------------------------


def known_turn_id(state: SessionState, message: MessageAccepted) -> str | None:
    """Returns the turn of a message that the log has, itself or under its idempotency key; `None` if it is new."""
    if message.idempotency_key and message.idempotency_key in state.keys:
        return state.keys[message.idempotency_key]
    return state.turn_of_run(message.turn_id)


def arrival_from_inbox(state: SessionState, message: MessageAccepted) -> list[Event]:
    """Returns the events with which a message comes in that was acknowledged elsewhere: it is never dropped.

    The same may have come here meanwhile: then its turn is that one's. What only has the key of another message, it was too late to
    refuse: it is a message of its own.
    """
    if state.turn_of_run(message.turn_id) is not None:
        return []  # it came in before
    known = known_turn_id(state, message)
    if known is None:
        return arrival(state, message)
    former = find_accepted(state, known)
    if former is None or former.is_edited or former.message.parts == message.parts:
        return [MessageRepeated(turn_id=message.turn_id, repeated_turn_id=known)]
    return arrival(state, msgspec.structs.replace(message, idempotency_key=""))


def find_accepted(state: SessionState, turn_id: str) -> Accepted | None:
    """Returns the message of a turn: one that waits, was answered, or joined another turn; `None` if it was taken back."""
    return next((accepted for accepted in _all_accepted(state) if accepted.message.turn_id == turn_id), None)


def check_repeat(message: MessageAccepted, former: MessageAccepted) -> None:
    """Accepts a message that says what the former one of its turn id, or idempotency key, said.

    Raises:
        InvalidArgument: it says something else. Nobody would answer it, and its sender would take the old answer for its own.
    """
    if message.parts == former.parts:
        return
    by_key = bool(message.idempotency_key) and message.idempotency_key == former.idempotency_key
    what, name = ("idempotency key", message.idempotency_key) if by_key else ("turn id", message.turn_id)
    raise other_message(what, name)


def other_message(what: str, name: str) -> InvalidArgument:
    """Returns the refusal of a new message under a name that another one has."""
    return InvalidArgument(
        f"{what} {name[:130]!r} is that of another message", hint=f"a new message needs a new {what}"
    )


def _all_accepted(state: SessionState) -> Iterator[Accepted]:
    yield from state.queue
    for turn in state.turns:
        yield from turn.all_accepted
