"""What an append changes in the index: the session's row, and the texts that search finds; and what its user has used by it.

Rule: computed before the append is believed, from the state and the records that are about to be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenroom.core.session import SessionState
from greenroom.events import (
    Event,
    MessageAccepted,
    MessageJoined,
    Record,
    SessionRewound,
    StepProgress,
    TurnEnded,
    TurnStarted,
)
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
    forgotten = _forgotten(state, records)
    summary, spent = state.tallied_after(records)
    texts = [text for record in records for text in search_texts(state, record)]
    return IndexUpdate(
        summary=summary,
        # What was said in a turn that is taken back at once is not found either.
        texts=tuple(text for text in texts if forgotten is None or text.seq < forgotten),
        forget_from_seq=forgotten,
        spent=spent if spent.input_tokens or spent.output_tokens or spent.cost_usd else None,
    )


def search_texts(state: SessionState, record: Record) -> Iterator[SearchText]:
    """Yields what search should find of a record: a message when somebody answers it, an answer when its turn has ended.

    As long as a message waits, it can be changed or taken back.

    Args:
        state: of the session, as it was before the record.
        record: the record.
    """
    match record.event:
        case TurnStarted(turn_id=turn_id) | MessageJoined(turn_id=turn_id):
            for accepted in state.queue:
                if accepted.message.turn_id == turn_id and (text := _text(accepted.message)):
                    yield SearchText(seq=accepted.seq, role="user", text=text)
        case TurnEnded(turn_id=turn_id) if state.turns and state.turns[-1].turn_id == turn_id:
            spoken = [step.assembly.text() for step in state.turns[-1].steps]
            if text := "\n".join(part for part in spoken if part):
                yield SearchText(seq=record.seq, role="assistant", text=text)
        case _:
            pass


def _text(message: MessageAccepted) -> str:
    return "\n".join(part.text for part in message.parts if isinstance(part, TextPart))


def _forgotten(state: SessionState, records: Sequence[Record]) -> int | None:
    for record in records:
        if isinstance(record.event, SessionRewound):
            turn_id = record.event.turn_id
            return next(turn.accepted.seq for turn in state.turns if turn.turn_id == turn_id)
    return None
