"""What readers of a session are given: AG-UI events, each with the position behind it.

Batches are what there was at one time: whoever sends them on can send each at once.

Rule: a stream always ends with a terminal event of its protocol, and an error is such an event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from greenroom.core.cursor import Cursor
from greenroom.core.session import SessionState
from greenroom.errors import GreenroomError, InvalidArgument
from greenroom.events import MessageWithdrawn, TurnEnded, TurnStarted
from greenroom.messages import PartItem
from greenroom.protocols.agui import AguiProjection, error_event
from greenroom.runtime.feed import Entry
from greenroom.runtime.follow import Follower, Snapshot, behind
from greenroom.runtime.registry import Registry


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
    registry: Registry, session_id: str, *, turn_id: str, begin: Cursor, seen: Cursor | None = None
) -> AsyncGenerator[Sequence[Frame], None]:
    """Yields the AG-UI frames of one turn, in batches, to its end; errors of any kind are the last frame.

    Args:
        registry: of the sessions.
        session_id: the session.
        turn_id: the turn.
        begin: a position before the turn started.
        seen: go on behind this position. Its last frame comes again when there is nothing behind it.
    """
    projection = _projection(registry, session_id, shows_messages=False)

    def snapshot(state: SessionState, items: Sequence[PartItem]) -> Sequence[str]:
        if any(turn.turn_id == turn_id for turn in state.turns):
            return projection.begin_with(state, items, turn_id)
        waits = any(accepted.message.turn_id == turn_id for accepted in state.queue)
        return () if waits else (error_event(_taken_back()),)

    follower = Follower(registry, session_id, snapshot=snapshot, until_idle=False)
    at = begin
    try:
        start: Cursor | None = begin
        if seen is not None:
            async with registry.using(session_id) as live:
                start = begin if await follower.exists(live, seen) else None
        async with aclosing(follower.read(start)) as batches:
            async for batch in batches:
                if isinstance(batch, Snapshot):
                    at, seen = batch.cursor, None
                    if batch.made:
                        yield _snapshot_frames(batch)
                        if not projection.is_running(turn_id):
                            return
                    continue
                frames: list[Frame] = []
                for entry in batch:
                    payload = entry.payload
                    if isinstance(payload, MessageWithdrawn) and payload.turn_id == turn_id:
                        yield [*frames, Frame(str(entry.cursor), error_event(_taken_back()))]
                        return
                    is_start = isinstance(payload, TurnStarted) and payload.turn_id == turn_id
                    if is_start or projection.is_running(turn_id):
                        is_end = isinstance(payload, TurnEnded)
                        frames += _entry_frames(projection, entry, at, seen, repeats_last=is_end)
                        if is_end:
                            yield frames
                            return
                    at = entry.cursor
                if frames:
                    yield frames
    except GreenroomError as error:
        yield [Frame(str(at), error_event(error))]


async def session_frames(
    registry: Registry, session_id: str, cursor: Cursor | None
) -> AsyncGenerator[Sequence[Frame], None]:
    """Yields AG-UI frames of the session from a position on, in batches, until it is idle.

    Raises:
        GreenroomError: before the first frame only; later errors are the last frame.
    """
    projection = _projection(registry, session_id, shows_messages=True)
    follower = Follower(registry, session_id, snapshot=projection.begin_with, until_idle=True)
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
                    yield _snapshot_frames(batch)
                    at, cursor = batch.cursor, None
                    continue
                frames: list[Frame] = []
                for entry in batch:
                    frames += _entry_frames(projection, entry, at, cursor)
                    at = entry.cursor
                if frames:
                    yield frames
    except GreenroomError as error:
        if not has_begun:
            raise
        yield [Frame(str(at), error_event(error))]


def _entry_frames(
    projection: AguiProjection, entry: Entry, at: Cursor, seen: Cursor | None, *, repeats_last: bool = False
) -> list[Frame]:
    """Returns the frames of an entry behind `at`; what lies before `seen` only brings the projection up to there.

    Args:
        projection: of the reader.
        entry: the next one.
        at: the position before it.
        seen: what the reader has seen already.
        repeats_last: its last frame comes also to a reader that has seen it.
    """
    skipped = 0
    if seen is not None:
        if (entry.seq, entry.offset) <= (seen.seq, seen.offset):
            events = projection.events(entry.payload, seq=entry.seq)
            return [Frame(str(entry.cursor), event) for event in events[-1:]] if repeats_last else []
        # The first entry behind the position: a delta may be half seen, of another item some frames may be.
        (entry,) = behind((entry,), seen)
        if (at.seq, at.offset) <= (seen.seq, seen.offset):
            at, skipped = Cursor(seen.seq, seen.offset, seen.epoch), seen.frame
    events = projection.events(entry.payload, seq=entry.seq)
    if len(events) == 1 and not skipped:
        return [Frame(f"{entry.seq}.{entry.offset}~{entry.epoch}", events[0])]
    frames = [
        Frame(str(Cursor(at.seq, at.offset, at.epoch, number)), event)
        for number, event in enumerate(events[:-1], start=1)
    ]
    frames.extend(Frame(str(entry.cursor), event) for event in events[-1:])
    return frames[skipped:]


def _snapshot_frames(snapshot: Snapshot[Sequence[str]]) -> list[Frame]:
    at = snapshot.cursor
    frames = [
        Frame(str(Cursor(at.seq, at.offset, at.epoch, number, in_snapshot=True)), event)
        for number, event in enumerate(snapshot.made[:-1], start=1)
    ]
    frames.extend(Frame(str(at), event) for event in snapshot.made[-1:])
    return frames


def _start_of_turn(state: SessionState, cursor: Cursor) -> Cursor:
    """Returns the position before the turn that the cursor is in: a projection has to know what is open there."""
    for turn in reversed(state.turns):
        if turn.seq <= cursor.seq:
            return Cursor(turn.seq - 1, 0, cursor.epoch)
    return Cursor()


def _taken_back() -> InvalidArgument:
    return InvalidArgument("the message was taken back before it was answered")


def _projection(registry: Registry, session_id: str, *, shows_messages: bool) -> AguiProjection:
    def find_state() -> SessionState | None:
        live = registry.find(session_id)
        return live.state if live is not None else None

    return AguiProjection(session_id, find_state=find_state, shows_messages=shows_messages)
