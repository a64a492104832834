"""Copies of a session: what a fork takes along, and what an import accepts.

Rule: a copy keeps the numbers of its records, so that positions, turn ids and call ids stay what they were.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from greenroom.core.recovery import ending
from greenroom.core.session import SessionState
from greenroom.errors import InvalidArgument
from greenroom.events import (
    Event,
    MessageWithdrawn,
    Parent,
    Record,
    SessionClaimed,
    SessionCreated,
    TurnEnded,
    TurnStarted,
)


def copied_records(
    records: Sequence[Record], *, session_id: str, node: str, parent: Parent | None, user_id: str | None, now_ms: int
) -> list[Record]:
    """Returns the records of a copy that is idle and ours.

    Args:
        records: of the original, from the first on, cut wherever one likes.
        session_id: of the original.
        node: process that owns the copy.
        parent: what the copy says it comes from; `None` keeps what the original says.
        user_id: owner of the copy; `None` keeps the original's.
        now_ms: time of what has to be added.

    Raises:
        InvalidArgument: there is nothing to copy.
        Corrupted: the records do not follow from each other.
    """
    if not records or not isinstance(first := records[0].event, SessionCreated):
        raise InvalidArgument("there is no session to copy", hint="at_seq counts records from 1")
    state = SessionState(session_id)
    for record in records:
        state.apply(record)
    created = msgspec.structs.replace(first, user_id=user_id or first.user_id, node=node, parent=parent or first.parent)
    is_another_users = created.user_id != first.user_id

    def copied(event: Event) -> Event:
        match event:
            case SessionClaimed():
                # The owner of the original does not own the copy; the record stays, so that the numbers stay.
                return SessionClaimed(node=node)
            case TurnStarted() if is_another_users:
                # What the model was told about the original's user is not told about another one.
                return TurnStarted(turn_id=event.turn_id)
            case _:
                return event

    events: list[tuple[Event, int]] = [(created, records[0].at_ms)]
    events.extend((copied(record.event), record.at_ms) for record in records[1:])
    events.extend((event, now_ms) for event in _endings(state))
    return [
        Record(seq=seq, epoch=now_ms, at_ms=at_ms, event=event) for seq, (event, at_ms) in enumerate(events, start=1)
    ]


def _endings(state: SessionState) -> list[Event]:
    endings: list[Event] = []
    if state.turn is not None:
        end = TurnEnded(
            turn_id=state.turn.turn_id,
            outcome="interrupted",
            code="interrupted",
            message="copied in the middle of the turn",
        )
        endings = ending(state.turn, end)
    endings.extend(MessageWithdrawn(turn_id=accepted.message.turn_id) for accepted in state.queue)
    return endings
