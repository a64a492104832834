"""What an append changes in the index: the session's row, and the texts that search finds.

Rule: computed before the append is believed, from the state and the records that are about to be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenroom.core.session import SessionState
from greenroom.events import Event, MessageAccepted, Record, SessionRewound, StepProgress, TurnEnded
from greenroom.interfaces import IndexUpdate, SearchText
from greenroom.messages import TextPart


def index_update(state: SessionState, events: Sequence[Event], *, epoch: int, at_ms: int) -> IndexUpdate | None:
    """Returns the change that belongs to `events`, which will be the next records.

    `None` when they are progress only, which no listing shows.
    """
    if all(isinstance(event, StepProgress) for event in events):
        return None
    records = [
        Record(seq=seq, epoch=epoch, at_ms=at_ms, event=event) for seq, event in enumerate(events, start=state.seq + 1)
    ]
    return IndexUpdate(
        summary=state.summary_after(records),
        texts=tuple(text for record in records for text in search_texts(state, record)),
        forget_from_seq=_forgotten(state, records),
    )


def search_texts(state: SessionState, record: Record) -> Iterator[SearchText]:
    """Yields what search should find of a record: messages as they come, an answer when its turn has ended."""
    match record.event:
        case MessageAccepted() as event:
            if text := "\n".join(part.text for part in event.parts if isinstance(part, TextPart)):
                yield SearchText(seq=record.seq, role="user", text=text)
        case TurnEnded() if state.turns:
            spoken = [step.assembly.text() for step in state.turns[-1].steps]
            if text := "\n".join(part for part in spoken if part):
                yield SearchText(seq=record.seq, role="assistant", text=text)
        case _:
            pass


def _forgotten(state: SessionState, records: Sequence[Record]) -> int | None:
    for record in records:
        if isinstance(record.event, SessionRewound):
            turn_id = record.event.turn_id
            return next(turn.message_seq for turn in state.turns if turn.turn_id == turn_id)
    return None
