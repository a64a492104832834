"""What an append changes in the index: the session's row, and the texts that search finds; and what its user has used by it.

Search finds what the transcript shows: a message once a turn answers it (as long as it waits it can be changed or taken back), an
answer once its turn has ended; and neither any more when the turn is taken out. A text is known by the record that it came with.

Rule: computed before the append is believed, from the state and the records that are about to be written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from greenroom.core.session import SessionState, TurnHistory
from greenroom.core.step import Assembly
from greenroom.events import (
    Event,
    MessageAccepted,
    MessageEdited,
    MessageJoined,
    Record,
    SessionRewound,
    StepProgress,
    StepStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.interfaces import IndexUpdate, SearchText
from greenroom.messages import PartItem, TextPart, UserPart


def index_update(state: SessionState, events: Sequence[Event], *, epoch: int, at_ms: int) -> IndexUpdate | None:
    """Returns the change that belongs to `events`, which will be the next records.

    `None` when they are progress only, which no listing shows.
    """
    if all(isinstance(event, StepProgress) for event in events):
        return None
    records = [
        Record(seq=seq, epoch=epoch, at_ms=at_ms, event=event) for seq, event in enumerate(events, start=state.seq + 1)
    ]
    summary, spent = state.tallied_after(records)
    texts = _Texts(state)
    for record in records:
        texts.add(record)
    return IndexUpdate(
        summary=summary,
        texts=tuple(texts.found),
        forget=tuple(texts.forgotten),
        spent=spent if spent.input_tokens or spent.output_tokens or spent.cost_usd else None,
    )


def texts_of(state: SessionState) -> Iterator[SearchText]:
    """Yields all that search should find of a session, for one that is stored as a whole."""
    for turn in state.turns:
        for accepted in turn.all_accepted:
            if text := _text(accepted.message.parts):
                yield SearchText(seq=accepted.seq, role="user", text=text)
        if turn.ended is not None and (text := _spoken([step.assembly for step in turn.steps])):
            yield SearchText(seq=turn.ended_seq, role="assistant", text=text)


class _Texts:
    """What search finds after some records more, and does not find any more.

    Attributes:
        found: texts that are new.
        forgotten: records whose texts leave.
    """

    def __init__(self, state: SessionState) -> None:
        self.found: list[SearchText] = []
        self.forgotten: list[int] = []
        self._state = state
        self._waiting = {accepted.message.turn_id: (accepted.seq, accepted.message.parts) for accepted in state.queue}
        turn = state.turns[-1] if state.turn is not None else None
        self._said: list[tuple[int, Assembly]] = [(step.number, step.assembly) for step in turn.steps] if turn else []
        self._more: list[PartItem] = []
        """What the last step says in these records."""

    def add(self, record: Record) -> None:
        match record.event:
            case MessageAccepted() as event:
                self._waiting[event.turn_id] = (record.seq, event.parts)
            case MessageEdited() as event:
                self._waiting[event.turn_id] = (self._waiting[event.turn_id][0], event.parts)
            case TurnStarted(turn_id=turn_id):
                self._said, self._more = [], []
                self._answered(turn_id)
            case MessageJoined(turn_id=turn_id):
                self._answered(turn_id)
            case StepStarted(step=number):
                self._said = [*(step for step in self._said if step[0] != number), (number, Assembly())]
                self._more = []
            case StepProgress(items=items):
                self._more.extend(items)
            case TurnEnded():
                said = [assembly for _, assembly in self._said]
                if said and self._more:
                    said[-1] = said[-1].extended(self._more)
                if text := _spoken(said):
                    self.found.append(SearchText(seq=record.seq, role="assistant", text=text))
            case SessionRewound(turn_id=turn_id):
                # What these records have said before was said in the latest turn, and that one is taken out.
                self.found.clear()
                self.forgotten.extend(seq for turn in _from(self._state, turn_id) for seq in _seqs(turn))
            case _:
                pass

    def _answered(self, turn_id: str) -> None:
        seq, parts = self._waiting[turn_id]
        if text := _text(parts):
            self.found.append(SearchText(seq=seq, role="user", text=text))


def _text(parts: Sequence[UserPart]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _spoken(steps: Sequence[Assembly]) -> str:
    return "\n".join(text for assembly in steps if (text := assembly.text()))


def _from(state: SessionState, turn_id: str) -> Sequence[TurnHistory]:
    """Returns the turns from that one on; none if it is not believed yet."""
    place = next((place for place, turn in enumerate(state.turns) if turn.turn_id == turn_id), len(state.turns))
    return state.turns[place:]


def _seqs(turn: TurnHistory) -> Iterator[int]:
    yield from (accepted.seq for accepted in turn.all_accepted)
    if turn.ended is not None:
        yield turn.ended_seq
