"""What can be done to sessions, each as one change of the log.

Every operation opens the session, decides under its write lock on the state as it is then, and appends. When another process was
quicker, it opens the session anew and decides again.

Rule: nothing changes unless all of it does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from greenroom.config import Overlap, Patch, SessionConfig, SessionLabels
from greenroom.core.bundle import copied_records
from greenroom.core.cursor import Cursor, parse_cursor
from greenroom.core.index import search_texts
from greenroom.core.session import SessionState, replayed
from greenroom.errors import Conflict, InvalidArgument, LimitExceeded, LogUnavailable, SessionNotFound, TurnInProgress
from greenroom.events import (
    CancelRequested,
    Event,
    MessageAccepted,
    Parent,
    Record,
    SessionCreated,
    SessionLabelled,
    SessionRewound,
    SessionUpdated,
)
from greenroom.interfaces import IndexUpdate, SearchText
from greenroom.runtime.clock import backoff_s, new_id
from greenroom.runtime.live import LiveSession
from greenroom.runtime.registry import Registry
from greenroom.runtime.watch import Watch, cancellation, is_known, known_turn_id

T = TypeVar("T")

_ATTEMPTS_MAX: Final = 20


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted message: it is durable, and will be answered.

    Attributes:
        position: how many turns come before its own; 0 means that it is answered now.
        cursor: position from which `attach` shows the turn.
        is_repeat: the idempotency key was known; nothing was added.
    """

    session_id: str
    turn_id: str
    message_id: str
    position: int
    cursor: str
    is_repeat: bool = False


class Operations:
    """Changes of sessions."""

    def __init__(self, registry: Registry, watch: Watch) -> None:
        self._registry = registry
        self._watch = watch

    async def create(self, session_id: str, *, user_id: str, config: SessionConfig, labels: SessionLabels) -> bool:
        """Creates the session; returns `False` if one of that id exists already.

        Raises:
            LogUnavailable: unknown whether it was created.
        """
        created = SessionCreated(user_id=user_id, config=config, labels=labels, node=self._registry.store.node)
        at_ms = self._registry.clock.now_ms()
        try:
            await self._append_new(session_id, [Record(seq=1, epoch=at_ms, at_ms=at_ms, event=created)])
        except Conflict:
            return False
        return True

    async def update(self, session_id: str, patch: Patch) -> None:
        """Changes configuration and labels together; nothing changes when nothing differs.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: the change does not fit, or would change the owner.
        """

        def decide(state: SessionState) -> Sequence[Event]:
            if patch.user_id is not None and patch.user_id != state.tally.user_id:
                raise InvalidArgument(
                    "user_id cannot be changed", hint="export the session and import it for the other user"
                )
            config, labels = patch.applied(state.config, state.tally.labels)
            events: list[Event] = []
            if config != state.config:
                events.append(SessionUpdated(config=config, config_version=state.tally.config_version + 1))
            if labels != state.tally.labels:
                events.append(SessionLabelled(labels=labels))
            return events

        await self._changed(session_id, decide)

    async def send(self, session_id: str, message: MessageAccepted, *, overlap: Overlap | None) -> Receipt:
        """Accepts a message and sees to it that it is answered.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: `reject`, and a turn is open or waits.
            LimitExceeded: too many messages wait already.
        """
        known: list[str] = []

        def decide(state: SessionState) -> Sequence[Event]:
            known.clear()
            if is_known(state, message):
                known.append(known_turn_id(state, message))
                return ()
            self._check_overlap(state, overlap)
            return (message,)

        async def attempt(live: LiveSession) -> Receipt:
            if not await self._registry.may_write(live):
                await live.refresh()
                if live.state.is_busy and not live.is_mine:
                    self._check_overlap(live.state, overlap)
                    if is_known(live.state, message):
                        return _repeat(live.state, known_turn_id(live.state, message))
                    posted = await self._watch.post(live, message)
                    position = 1 + len(live.state.queue)
                    cursor = Cursor(live.state.seq, 0, live.state.epoch)
                    return _receipt(live.state, posted, cursor=cursor, position=position)
            if live.is_mine and live.state.is_busy:
                await self._watch.take_in(live)  # what came first by another way is first in the queue
            records = await live.change(decide)
            self._registry.wake(live)
            if known:
                return _repeat(live.state, known[0])
            position = len(live.state.queue) - (live.state.turn is None)
            accepted = records[-1]
            cursor = Cursor(accepted.seq, 0, accepted.epoch)
            return _receipt(live.state, message, cursor=cursor, position=position)

        try:
            return await self._attempted(session_id, attempt)
        except LogUnavailable:
            # Unknown whether written: the log knows, and a message that is in it is not added again.
            return await self._attempted(session_id, attempt)

    async def cancel(self, session_id: str) -> bool:
        """Stops the open turn, or withdraws the one that is about to start; returns whether there was one.

        Raises:
            SessionNotFound: no such session.
        """

        async def attempt(live: LiveSession) -> bool:
            may_write = await self._registry.may_write(live)
            if not may_write:
                await live.refresh()
            turn_id = _current(live.state)
            if turn_id is None:
                return False
            if not may_write:
                await self._watch.post(live, CancelRequested(turn_id=turn_id))
                return True
            await live.change(lambda state: cancellation(state, turn_id))
            self._registry.stop_turn(session_id)
            return True

        return await self._attempted(session_id, attempt)

    async def rewind(self, session_id: str, turn_id: str) -> None:
        """Takes a turn and all after it out of the session.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: a turn is open or waits.
            InvalidArgument: no such turn.
        """

        def decide(state: SessionState) -> Sequence[Event]:
            if state.is_busy:
                raise TurnInProgress("a session cannot be rewound while it answers", hint="cancel the turn first")
            if not any(turn.turn_id == turn_id for turn in state.turns):
                raise InvalidArgument(f"there is no turn {turn_id!r}", hint="history() shows the turns")
            return (SessionRewound(turn_id=turn_id),)

        await self._changed(session_id, decide)

    async def fork(self, session_id: str, *, at_seq: int | None) -> str:
        """Copies the session up to record `at_seq`, or all of it, with its workspace; returns the copy's id.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: `at_seq` is not a record of the session.
        """
        records = await self.records(session_id)
        if at_seq is not None and not (isinstance(at_seq, int) and 1 <= at_seq <= len(records)):
            raise InvalidArgument(f"at_seq={at_seq!r} is not a record of the session", hint=f"from 1 to {len(records)}")
        records = records[:at_seq]
        parent = Parent(session_id=session_id, seq=len(records))
        copied = self._copied(session_id, records, parent=parent, user_id=None)
        staged = await self._registry.workspaces.stage_copy(session_id)
        return await self._settle_in(new_id("s", self._registry.clock.now_ms()), copied, staged)

    async def take_in(
        self, session_id: str, records: Sequence[Record], files: Mapping[str, bytes], *, user_id: str | None
    ) -> str:
        """Creates a session from the checked contents of a bundle; returns its id, a new one if `session_id` is taken.

        Raises:
            LogUnavailable: the workspace or the session could not be written; nothing stays behind.
        """
        copied = self._copied(session_id, records, parent=None, user_id=user_id)
        staged = await self._registry.workspaces.stage(files)
        return await self._settle_in(session_id, copied, staged)

    def _copied(
        self, source_id: str, records: Sequence[Record], *, parent: Parent | None, user_id: str | None
    ) -> list[Record]:
        return copied_records(
            records,
            session_id=source_id,
            node=self._registry.store.node,
            parent=parent,
            user_id=user_id,
            now_ms=self._registry.clock.now_ms(),
        )

    async def _settle_in(self, wanted_id: str, copied: Sequence[Record], staged: Path | None) -> str:
        """Gives a copy its workspace, then its log: in this order a crash leaves a stray folder, not half a session."""
        registry = self._registry
        try:
            for session_id in (wanted_id, new_id("s", registry.clock.now_ms())):
                if await registry.store.index.get(session_id) is not None:
                    continue
                if not await registry.workspaces.adopt(staged, session_id):
                    continue
                try:
                    await self._append_new(session_id, copied)
                except Conflict:
                    await registry.workspaces.give_back(session_id, staged)
                except BaseException:
                    await registry.workspaces.give_back(session_id, staged)
                    raise
                else:
                    return session_id
            raise LogUnavailable("the copy found no free session id", hint="try again")
        finally:
            await registry.workspaces.discard(staged)

    async def delete(self, session_id: str) -> bool:
        """Stops what runs and deletes everything of the session; returns whether there was one."""
        await self._registry.leave(session_id)
        existed = await self._registry.store.log.delete(session_id)
        await self._registry.leave(session_id)
        await self._registry.families.close_session(session_id)
        await self._registry.workspaces.remove(session_id)
        return existed

    async def hibernate(self, session_id: str) -> None:
        """Takes an idle session out of memory.

        Raises:
            SessionNotFound: no such session.
            TurnInProgress: a turn is open or waits here.
        """
        live = self._registry.find(session_id)
        if live is None:
            if await self._registry.store.index.get(session_id) is None:
                raise SessionNotFound(session_id)
            return
        if live.state.is_busy and live.is_mine:
            raise TurnInProgress("a session cannot be put to sleep while it answers", hint="cancel the turn first")
        await self._registry.leave(session_id)

    async def records(self, session_id: str) -> Sequence[Record]:
        """Returns all records, without opening the session.

        Raises:
            SessionNotFound: no such session.
        """
        records = await self._registry.store.log.read(session_id)
        if not records:
            raise SessionNotFound(session_id)
        return records

    async def peek(self, session_id: str) -> SessionState:
        """Returns the state to look at, without recovering or following anything.

        Raises:
            SessionNotFound: no such session.
            Corrupted: the log is damaged.
        """
        live = self._registry.find(session_id)
        if live is not None:
            await self._registry.freshen(live)
            if not live.is_broken:
                return live.state
        return replayed(session_id, await self.records(session_id), limits=self._registry.limits)

    async def find_turn(self, session_id: str, turn_id: str) -> Cursor:
        """Returns the position from which a turn shows: where its message was accepted.

        Raises:
            SessionNotFound: no such session.
            InvalidArgument: no such turn, or one that was taken back.
        """
        state = await self.peek(session_id)
        try:
            return parse_cursor(_repeat(state, turn_id).cursor)
        except InvalidArgument as error:
            raise InvalidArgument(f"there is no turn {turn_id!r}", hint="history() shows the turns") from error

    # --- how a change is made -------------------------------------------------------------------------------------------

    async def _changed(self, session_id: str, decide: Callable[[SessionState], Sequence[Event]]) -> None:
        async def attempt(live: LiveSession) -> None:
            if not await self._registry.may_write(live):
                raise TurnInProgress(
                    "the session is answering in another process", hint="try again when the turn has ended"
                )
            await live.change(decide)
            self._registry.wake(live)

        await self._attempted(session_id, attempt)

    async def _attempted(self, session_id: str, attempt: Callable[[LiveSession], Awaitable[T]]) -> T:
        for number in range(1, _ATTEMPTS_MAX + 1):
            async with self._registry.using(session_id) as live:
                try:
                    return await attempt(live)
                except Conflict:
                    # Somebody else wrote. A session that was thrown away is opened anew; one that is only behind catches up.
                    if not live.is_broken:
                        await live.refresh()
            # Processes that want the same session at the same time must not keep in step.
            await asyncio.sleep(backoff_s(number, base_s=0.002, longest_s=0.1))
        raise LogUnavailable(f"session {session_id!r} changes hands too quickly", hint="try again")

    async def _append_new(self, session_id: str, records: Sequence[Record]) -> None:
        changes = await self._registry.store.foreign_changes()
        state = SessionState(session_id, limits=self._registry.limits)
        texts: list[SearchText] = []
        for record in records:
            texts.extend(search_texts(state, record))
            state.apply(record)
        await self._registry.store.log.append(
            session_id,
            [record.event for record in records],
            expected_seq=0,
            epoch=records[0].epoch,
            at_ms=[record.at_ms for record in records],
            key=new_id("", self._registry.clock.now_ms()),
            index=IndexUpdate(summary=state.tally.summary(), texts=tuple(texts)),
        )
        self._registry.adopt(state, seen_changes=changes)

    def _check_overlap(self, state: SessionState, overlap: Overlap | None) -> None:
        if not state.is_busy:
            return
        if (overlap or state.config.overlap) == "reject":
            raise TurnInProgress(
                "the session is answering", hint="wait for the end, cancel it, or use overlap='enqueue'"
            )
        if len(state.queue) >= self._registry.limits.queue_max:
            raise LimitExceeded(f"{len(state.queue)} messages wait already", hint="wait until some are answered")


def _current(state: SessionState) -> str | None:
    if state.turn is not None:
        return state.turn.turn_id
    return state.queue[0].message.turn_id if state.queue else None


def _receipt(state: SessionState, message: MessageAccepted, *, cursor: Cursor, position: int) -> Receipt:
    return Receipt(
        session_id=state.session_id,
        turn_id=message.turn_id,
        message_id=message.message_id,
        position=max(0, position),
        cursor=str(cursor),
    )


def _repeat(state: SessionState, turn_id: str) -> Receipt:
    waiting = [accepted.message.turn_id for accepted in state.queue]
    if turn_id in waiting:
        place = waiting.index(turn_id)
        accepted = state.queue[place]
        message, position = accepted.message, place + (state.turn is not None)
        cursor = Cursor(accepted.seq, 0, accepted.epoch)
    else:
        turn = next((turn for turn in state.turns if turn.turn_id == turn_id), None)
        if turn is None:
            raise InvalidArgument(
                "the message of this idempotency key, or turn id, was taken back", hint="send it with a new one"
            )
        message, position = turn.message, 0
        cursor = Cursor(turn.message_seq, 0, turn.message_epoch)
    return Receipt(
        session_id=state.session_id,
        turn_id=turn_id,
        message_id=message.message_id,
        position=position,
        cursor=str(cursor),
        is_repeat=True,
    )
