"""Copies of a session: what a fork takes along, and what an import accepts.

Rule: a copy keeps the numbers of its records, so that positions, turn ids and call ids stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence

from greenroom.core.recovery import settled
from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.events import Event, MessageWithdrawn, Parent, Record, SessionClaimed, SessionCreated, TurnEnded
from greenroom.limits import Limits


def copied_events(
    records: Sequence[Record], *, session_id: str, node: str, parent: Parent | None, user_id: str | None, limits: Limits
) -> tuple[list[Event], SessionState]:
    """Returns the events of a copy that is idle and ours, and the state of the original at that point.

    Args:
        records: of the original, from the first on, cut wherever one likes.
        session_id: of the original.
        node: process that owns the copy.
        parent: what the copy says it comes from; `None` keeps what the original says.
        user_id: owner of the copy; `None` keeps the original's.
        limits: of the manager.

    Raises:
        InvalidArgument: there is nothing to copy.
        Corrupted: the records do not follow from each other.
    """
    if not records or not isinstance(first := records[0].event, SessionCreated):
        raise InvalidArgument("there is no session to copy", hint="at_seq counts records from 1")
    state = SessionState(session_id, limits=limits)
    for record in records:
        state.apply(record)
    created = SessionCreated(
        user_id=user_id or first.user_id,
        config=first.config,
        labels=first.labels,
        node=node,
        parent=parent or first.parent,
    )
    events: list[Event] = [created]
    # Whoever owned the original does not own the copy; the record stays, so that the numbers stay.
    events.extend(
        SessionClaimed(node=node) if isinstance(record.event, SessionClaimed) else record.event
        for record in records[1:]
    )
    if state.turn is not None:
        events.extend(settled(state.turn))
        events.append(
            TurnEnded(
                turn_id=state.turn.turn_id,
                outcome="interrupted",
                code="interrupted",
                message="copied in the middle of the turn",
            )
        )
    events.extend(MessageWithdrawn(turn_id=accepted.message.turn_id) for accepted in state.queue)
    return events, state
