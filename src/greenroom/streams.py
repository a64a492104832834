"""What readers of a session are given: frames of a protocol, each with the position behind it.

Batches are what there was at one time: whoever sends them on can send each at once.

Rule: a stream always ends with a terminal event of its protocol, and an error is such an event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from greenroom.core.cursor import Cursor
from greenroom.core.session import SessionState
from greenroom.errors import GreenroomError, InvalidArgument
from greenroom.events import MessageJoined, MessageRepeated, MessageWithdrawn, TurnEnded, TurnStarted, TurnSuspended
from greenroom.large import Unwritten
from greenroom.large_thread import in_thread
from greenroom.messages import PartDelta, PartItem
from greenroom.protocols.projection import Projection, ProtocolName, projection
from greenroom.runtime.feed import Entry
from greenroom.runtime.follow import Follower, Snapshot, behind
from greenroom.runtime.registry import Registry

_ERROR_FRAME: Final = 900_000
"""Number of the first frame of an error: beyond those of any snapshot, since no two frames of a stream have the same position."""


class Frame(msgspec.Struct, frozen=True):
    """One event of a protocol. Unpacks into `cursor, data`.

    Attributes:
        cursor: the position behind the event; give it to `attach` to go on from there.
        data: the event, as the protocol writes it.
    """

    cursor: str
    data: str

    def __iter__(self) -> Any:
        return iter((self.cursor, self.data))


async def turn_events(
    registry: Registry, session_id: str, *, turn_id: str, cursor: Cursor
) -> AsyncGenerator[str, None]:
    """Yields the AG-UI events of one turn, from its start to its end; errors of any kind are the last event.

    Args:
        registry: of the sessions.
        session_id: the session.
        turn_id: the turn.
        cursor: a position before the turn started.
    """
    async with aclosing(turn_frames(registry, session_id, turn_id=turn_id, begin=cursor)) as batches:
        async for batch in batches:
            for frame in batch:
                yield frame.data


async def turn_frames(
    registry: Registry,
    session_id: str,
    *,
    turn_id: str,
    begin: Cursor,
    seen: Cursor | None = None,
    joins: bool = False,
    protocol: ProtocolName = "ag-ui",
) -> AsyncGenerator[Sequence[Frame], None]:
    """Yields the frames of one turn, in batches, to its end, or until it waits for a person; errors of any kind are the last.

    Of a message that joins another turn, it is that turn as it is then, and what follows.

    Args:
        registry: of the sessions.
        session_id: the session.
        turn_id: the turn.
        begin: a position before the turn started.
        seen: go on behind this position. Its last frame comes again when there is nothing behind it.
        joins: without a position, begin with a snapshot, not at the start: for a reader that may know a part of the turn.
        protocol: of the frames.
    """
    shown = _projection(registry, session_id, protocol, shows_messages=False)
    reader = _TurnReader(registry, session_id, turn_id, shown, at=begin, seen=seen)
    follower = Follower(registry, session_id, snapshot=reader.snapshot, until_idle=False)
    try:
        start = None if joins else begin
        if seen is not None:
            async with registry.using(session_id) as live:
                start = begin if await follower.exists(live, seen) else None
        async with aclosing(follower.read(start)) as batches:
            async for batch in batches:
                if isinstance(batch, Snapshot):
                    frames = await reader.snapshot_frames(batch)
                else:
                    frames = reader.frames(batch)
                if frames:
                    yield frames
                if reader.is_over:
                    break
    except GreenroomError as error:
        yield _error_frames(shown, reader.at, error, seen)
        return
    if reader.joined_turn_id is not None:
        rest = turn_frames(
            registry, session_id, turn_id=reader.joined_turn_id, begin=begin, joins=True, protocol=protocol
        )
        async with aclosing(rest) as more:
            async for joined in more:
                yield joined


class _TurnReader:
    """Picks one turn out of what a follower reads.

    Attributes:
        at: the position of the last entry.
        is_over: nothing of the turn comes any more, before a person does something.
        joined_turn_id: the turn that answers the message instead.
    """

    def __init__(
        self,
        registry: Registry,
        session_id: str,
        turn_id: str,
        shown: Projection,
        *,
        at: Cursor,
        seen: Cursor | None,
    ) -> None:
        self.at = at
        self.is_over = False
        self.joined_turn_id: str | None = None
        self._registry = registry
        self._session_id = session_id
        self._turn_id = turn_id
        self._seen = seen
        self._shown = shown

    def snapshot(self, state: SessionState, items: Sequence[PartItem]) -> Sequence[str | Unwritten]:
        """Returns the turn as it is, or the one that answers its message; nothing, as long as it waits."""
        for turn in state.turns:
            if self._turn_id in {turn.turn_id, *(joined.accepted.message.turn_id for joined in turn.joined)}:
                self._turn_id = turn.turn_id
                return self._shown.begin_with(state, items, turn.turn_id)
        waits = any(accepted.message.turn_id == self._turn_id for accepted in state.queue)
        return () if waits else self._shown.error(_taken_back())

    async def snapshot_frames(self, batch: Snapshot[Sequence[str | Unwritten]]) -> list[Frame]:
        """Returns the frames of a snapshot of the turn."""
        self.at, seen, self._seen = batch.cursor, self._seen, None
        is_end = not self._shown.is_running(self._turn_id)
        # Before it is written: meanwhile the session may go on.
        if batch.made:
            self.is_over = is_end or self._is_waiting()
        return _snapshot_frames(await _written(batch.made), batch.cursor, seen, is_end=is_end)

    def frames(self, batch: Sequence[Entry]) -> list[Frame]:
        """Returns the frames of the turn in a batch."""
        frames: list[Frame] = []
        for entry in batch:
            frames += self._entry_frames(entry)
            if self.is_over:
                break
            self.at = entry.cursor
        return frames

    def _entry_frames(self, entry: Entry) -> list[Frame]:
        payload = entry.payload
        if isinstance(payload, MessageWithdrawn) and payload.turn_id == self._turn_id:
            self.is_over = True
            return _error_frames(self._shown, entry.cursor, _taken_back())
        if isinstance(payload, MessageJoined) and payload.turn_id == self._turn_id:
            self.is_over, self.joined_turn_id = True, payload.joined_turn_id
            return []
        if isinstance(payload, MessageRepeated) and payload.turn_id == self._turn_id:
            self.is_over, self.joined_turn_id = True, payload.repeated_turn_id
            return []
        is_start = isinstance(payload, TurnStarted) and payload.turn_id == self._turn_id
        if not is_start and not self._shown.is_running(self._turn_id):
            return []
        if isinstance(payload, TurnEnded | TurnSuspended):
            self.is_over = isinstance(payload, TurnEnded) or self._is_waiting()
        return _entry_frames(self._shown, entry, self.at, self._seen, repeats_last=self.is_over)

    def _is_waiting(self) -> bool:
        live = self._registry.find(self._session_id)
        return live is None or live.state.is_waiting


async def session_frames(
    registry: Registry, session_id: str, cursor: Cursor | None, *, protocol: ProtocolName = "ag-ui"
) -> AsyncGenerator[Sequence[Frame], None]:
    """Yields frames of the session from a position on, in batches, until it is idle.

    Raises:
        GreenroomError: before the first frame only; later errors are the last frame.
    """
    shown = _projection(registry, session_id, protocol, shows_messages=True)
    follower = Follower(registry, session_id, snapshot=shown.begin_with, until_idle=True)
    start = cursor
    if cursor is not None:
        async with registry.using(session_id) as live:
            # What was rewound is not replayed: who has seen it, or was about to, gets what is left.
            if cursor.seq < live.state.rewound_seq or not await follower.exists(live, cursor):
                start = cursor = None
            else:
                start = _start_of_turn(live.state, cursor)
    has_begun = False
    at = start or Cursor()
    try:
        async with aclosing(follower.read(start, is_checked=True)) as batches:
            async for batch in batches:
                has_begun = True
                if isinstance(batch, Snapshot):
                    yield _snapshot_frames(await _written(batch.made), batch.cursor)
                    at, cursor = batch.cursor, None
                    continue
                frames: list[Frame] = []
                for entry in batch:
                    frames += _entry_frames(shown, entry, at, cursor)
                    at = entry.cursor
                if frames:
                    yield frames
    except GreenroomError as error:
        if not has_begun:
            raise
        yield _error_frames(shown, at, error, cursor)


def _entry_frames(
    shown: Projection, entry: Entry, at: Cursor, seen: Cursor | None, *, repeats_last: bool = False
) -> list[Frame]:
    """Returns the frames of an entry behind `at`; what lies before `seen` only brings the projection up to there.

    Args:
        shown: the projection of the reader.
        entry: the next one.
        at: the position before it.
        seen: what the reader has seen already.
        repeats_last: its last frame comes also to a reader that has seen it.
    """
    skipped = 0
    if seen is not None:
        if (entry.seq, entry.offset) <= (seen.seq, seen.offset):
            events = shown.events(entry.payload, seq=entry.seq)
            return _repeated(entry, events) if repeats_last else []
        # The first entry behind the position: a delta may be half seen, of another item some frames may be.
        (rest,) = behind((entry,), seen)
        if rest is not entry and isinstance(entry.payload, PartDelta) and isinstance(rest.payload, PartDelta):
            head = entry.payload.delta[: -len(rest.payload.delta)]
            shown.events(PartDelta(part=entry.payload.part, delta=head), seq=entry.seq)
        entry = rest
        if (at.seq, at.offset) <= (seen.seq, seen.offset):
            at, skipped = Cursor(seen.seq, seen.offset, seen.epoch), seen.frame
    events = shown.events(entry.payload, seq=entry.seq)
    if len(events) == 1 and not skipped:
        return [Frame(f"{entry.seq}.{entry.offset}~{entry.epoch}", events[0])]
    frames = [
        Frame(str(Cursor(at.seq, at.offset, at.epoch, number)), event)
        for number, event in enumerate(events[:-1], start=1)
    ]
    frames.extend(Frame(str(entry.cursor), event) for event in events[-1:])
    # A reader that began behind a failed attempt may have seen more frames of a turn's end than there are from its start.
    return frames[skipped:] or (_repeated(entry, events) if repeats_last else [])


def _repeated(entry: Entry, events: Sequence[str]) -> list[Frame]:
    """Returns the end of a stream for a reader that has seen it and asks again, as one does that lost its connection behind it.

    Under the position that it has seen it would drop the frame, and go on waiting for an end (TanStack AI 0.33).
    """
    at = Cursor(entry.seq, entry.offset, entry.epoch, 1, in_snapshot=True)
    return [Frame(str(at), event) for event in events[-1:]]


async def _written(made: Sequence[str | Unwritten]) -> list[str]:
    """Returns what a projection has made, with what is large written: meanwhile the session goes on."""
    return [each if isinstance(each, str) else await in_thread(each.weight, str, each) for each in made]


def _snapshot_frames(
    made: Sequence[str], at: Cursor, seen: Cursor | None = None, *, is_end: bool = False
) -> list[Frame]:
    """Returns the frames of a snapshot. The last is the position to go on from, unless nothing comes behind it.

    Args:
        made: what the projection made of it.
        at: the position behind it.
        seen: what the reader has seen. Of an end, no frame has a position that it may have seen: see `_repeated`.
        is_end: nothing comes behind it.
    """
    first = seen.frame + 1 if is_end and seen is not None and seen.in_snapshot and seen.frame < _ERROR_FRAME else 1
    frames = [
        Frame(str(Cursor(at.seq, at.offset, at.epoch, number, in_snapshot=True)), event)
        for number, event in enumerate(made, start=first)
    ]
    if frames and not is_end:
        frames[-1] = Frame(str(at), frames[-1].data)
    return frames


def _error_frames(shown: Projection, at: Cursor, error: GreenroomError, seen: Cursor | None = None) -> list[Frame]:
    """Returns the end of a stream that cannot go on. Nothing was seen by it: who comes back gets a snapshot.

    Args:
        shown: the projection of the reader.
        at: the position that the stream has reached.
        error: why it ends.
        seen: what the reader had seen when it came; of an error too, see `_repeated`.
    """
    first = seen.frame + 1 if seen is not None and seen.in_snapshot and seen.frame >= _ERROR_FRAME else _ERROR_FRAME
    return [
        Frame(str(Cursor(at.seq, at.offset, at.epoch, number, in_snapshot=True)), event)
        for number, event in enumerate(shown.error(error), start=first)
    ]


def _start_of_turn(state: SessionState, cursor: Cursor) -> Cursor:
    """Returns the position before the turn that the cursor is in: a projection has to know what is open there."""
    for turn in reversed(state.turns):
        if turn.seq <= cursor.seq:
            return Cursor(turn.seq - 1, 0, cursor.epoch)
    return Cursor()


def _taken_back() -> InvalidArgument:
    return InvalidArgument("the message was taken back before it was answered")


def _projection(registry: Registry, session_id: str, protocol: ProtocolName, *, shows_messages: bool) -> Projection:
    def find_state() -> SessionState | None:
        live = registry.find(session_id)
        return live.state if live is not None else None

    return projection(protocol, str(session_id), find_state=find_state, shows_messages=shows_messages)
