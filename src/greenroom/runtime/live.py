"""A session in memory: its state, its place in the log, and its readers.

Theory of operation. Everything that changes a session goes through `write`: the events are appended, and only then believed and
shown as durable. Deltas go through `show`: readers get them at once, the log gets them coalesced, in front of whatever is
written next. So the log's order is the readers' order, and a position in one is a position in the other.

While records other than progress are on their way to the log, deltas are held back: they come after these records, and would
otherwise be seen before them. That takes one commit, a millisecond or so.

Rule: after a failed append nothing is known about the log, so nothing here is true any more: the session is thrown away
(`is_broken`), its readers go back to the log, and whoever comes next opens it anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from greenroom.core.cursor import Cursor
from greenroom.core.index import index_update
from greenroom.core.session import SessionState
from greenroom.errors import Conflict, GreenroomError, SessionNotFound
from greenroom.events import Event, Record, SessionClaimed, SessionReleased, StepProgress
from greenroom.interfaces import PendingAppend, Store
from greenroom.limits import Limits
from greenroom.messages import PartDelta, PartItem, Usage
from greenroom.runtime.clock import Clock, new_id
from greenroom.runtime.feed import Entry, Feed, Reader, entries_of, entries_of_items
from greenroom.runtime.flushing import Flusher
from greenroom.runtime.tasks import Gate, finish

logger: Final = logging.getLogger("greenroom")

_NOTHING: Final = Usage()
"""Stands for: the provider has said nothing about usage that the log does not have."""


class Keeper(Protocol):
    """Who has the sessions in memory."""

    def forget(self, live: LiveSession) -> None:
        """Lets go of a session that is broken."""
        ...

    def grew(self, live: LiveSession, by: int) -> None:
        """Takes note of what a session takes more than before."""
        ...


class LiveSession:
    """One session, shared by everybody in this process who works with it.

    Attributes:
        is_due: it is in a window of the flusher.
        is_broken: an append failed or the session was deleted; open it anew.
        is_ready: it was recovered, if need be; before, nobody may work with it.
        is_lost: it is broken because an append failed, or was none that the log may have: it has to be opened again.
        used_at_s: time of the loop when somebody last asked for it.
        seen_changes, seen_inbox: what the store said of changes by others when we last looked at the log, at the inbox.
        users: how many are working with it; only a session without users may leave the memory.
    """

    def __init__(
        self,
        state: SessionState,
        *,
        store: Store,
        clock: Clock,
        flusher: Flusher,
        limits: Limits,
        keeper: Keeper,
    ) -> None:
        self.state = state
        self.feed = Feed(entries_max=limits.reader_entries_max)
        self.is_broken = False
        self.is_lost = False
        self.is_ready = True
        self.is_due = False
        self.used_at_s = 0.0
        self.users = 0
        self.seen_changes = 0
        self.seen_inbox = -1
        self._store = store
        self._clock = clock
        self._flusher = flusher
        self._limits = limits
        self._keeper = keeper
        self._gate = Gate()
        self._in_flight: tuple[PartItem, ...] = ()
        self._pending: list[PartItem] = []
        self._pending_size = 0
        self._counted = _NOTHING
        self._is_holding = False
        self._shown = Cursor(state.seq, 0, state.epoch)

    @property
    def session_id(self) -> str:
        """Id of the session."""
        return self.state.session_id

    @property
    def has_pending(self) -> bool:
        """Whether something waits for the log."""
        return bool(self._pending) or self._counted is not _NOTHING

    @property
    def is_mine(self) -> bool:
        """Whether this process wrote last, and may go on writing."""
        return self.state.tally.owner == self._store.node

    async def write(self, *events: Event) -> Sequence[Record]:
        """Appends the deltas that wait, then `events`, all or none; then believes and publishes them.

        Raises:
            Conflict: somebody else has written; the session is broken.
            EventLogError: unknown whether written; the session is broken.
        """
        return await finish(self._write(events))

    async def change(self, decide: Callable[[SessionState], Sequence[Event]]) -> Sequence[Record]:
        """Writes what `decide` makes of the state at the moment when nobody else writes; claims the session if need be.

        For everything that the runner does not know of and must not be raced by. `decide` may raise: then nothing changes.

        Raises:
            Conflict: somebody else has written, or owns the session and is at work in it.
            EventLogError: unknown whether written; the session is broken.
        """
        return await finish(self._change(decide, take_over=False))

    async def take_over(self, decide: Callable[[SessionState], Sequence[Event]]) -> None:
        """As `change`, but claims a busy session too, in a new epoch: its owner is gone.

        Raises:
            Conflict: somebody else was quicker.
            EventLogError: unknown whether written; the session is broken.
        """
        await finish(self._change(decide, take_over=True))

    async def release(self) -> None:
        """Lets go of the session in good order, if it is ours and at work: the next process may claim it at once.

        Raises:
            Conflict, EventLogError: as `change`.
        """
        if self.is_mine:
            await self.change(lambda state: (SessionReleased(),) if state.is_at_work and self.is_mine else ())

    def show(self, items: Sequence[PartItem]) -> None:
        """Publishes items of the running step at once, and sees to it that the log gets them soon.

        Not a coroutine, and cheap: it runs for every delta of every model.
        """
        if not items:
            return
        self._pending.extend(items)
        if not self._is_holding:
            self._publish_items(items)
        for item in items:
            if isinstance(item, PartDelta):
                self._pending_size += len(item.delta)
        if self._pending_size >= self._limits.flush_bytes_max:
            self._flusher.soon(self)
        elif not self.is_due:
            self._flusher.later(self)

    def begin_flush(self) -> PendingAppend | None:
        """Takes what waits for the log and lets nobody else write until `end_flush`.

        `None` if nothing waits, or somebody writes: he takes it along, or sees to it when he leaves.
        """
        if self.is_broken or not self.has_pending or not self._gate.try_enter():
            return None
        try:
            return self._prepared(self._taken(), epoch=self.state.epoch)
        except BaseException:
            self._leave()
            raise

    def end_flush(self, outcome: Sequence[Record] | BaseException) -> None:
        """Believes what was written; throws the session away when it is unknown what was."""
        try:
            if isinstance(outcome, BaseException):
                self._lost(outcome)
            else:
                self._believe(outcome)
        except GreenroomError as error:
            self._lost(error)
        finally:
            self._leave()

    def count(self, usage: Usage) -> None:
        """Sees to it that the log soon knows what the running step has used so far. Readers are not told."""
        self._counted = usage
        self._flusher.later(self)

    async def refresh(self) -> None:
        """Follows what another process has written since.

        Raises:
            SessionNotFound: the session was deleted.
            EventLogError: the log cannot be read or is damaged.
        """
        async with self._gate:
            if self.is_broken:
                return
            records = await self._store.log.read(self.session_id, after_seq=self.state.seq)
            if not records and not await self._store.log.read(self.session_id, limit=1):
                self.throw_away()
                raise SessionNotFound(self.session_id)
            before = self.state.weight
            for record in records:
                self.state.apply(record)
                # In another process the items of a progress were never live: here they come with the record.
                self.feed.publish(tuple(entries_of(record)))
            self._keeper.grew(self, self.state.weight - before)
            self._shown = Cursor(self.state.seq, 0, self.state.epoch)

    def join(self) -> tuple[Reader, Sequence[Entry]]:
        """Returns a reader, and the entries between the state's last record and the reader.

        One step, without waiting: nothing can be published in between, so nothing is missed or repeated.
        """
        seq, epoch = self.state.seq, self.state.epoch
        entries = list(entries_of_items(self._in_flight, seq=seq, offset=0, epoch=epoch))
        if not self._is_holding:
            behind = seq + 1 if self._in_flight else seq
            entries.extend(entries_of_items(self._pending, seq=behind, offset=0, epoch=epoch))
        return self.feed.join(), entries

    def shown(self) -> Cursor:
        """Returns the position behind everything that readers have been shown."""
        return self._shown

    def throw_away(self) -> None:
        """Makes the session unusable here: its readers go back to the log."""
        if self.is_broken:
            return
        self.is_broken = True
        self.feed.close()
        self._keeper.forget(self)

    # --- writing --------------------------------------------------------------------------------------------------------

    async def _write(self, events: Sequence[Event]) -> Sequence[Record]:
        await self._gate.__aenter__()
        try:
            self._check_usable()
            batch = [*self._taken(), *events]
            return await self._append(batch, epoch=self.state.epoch) if batch else ()
        finally:
            self._leave()

    async def _change(self, decide: Callable[[SessionState], Sequence[Event]], *, take_over: bool) -> Sequence[Record]:
        await self._gate.__aenter__()
        try:
            self._check_usable()
            if self.is_mine and not take_over:
                events = decide(self.state)
                batch = [*self._taken(), *events] if events else ()
                return await self._append(batch, epoch=self.state.epoch) if batch else ()
            if self.state.is_at_work and not take_over:
                raise Conflict(self.session_id, expected_seq=self.state.seq, actual_seq=self.state.seq)
            events = decide(self.state)
            if not events and not take_over:
                return ()
            batch = [SessionClaimed(node=self._store.node), *events]
            return await self._append(batch, epoch=self.state.epoch + 1)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Lets others write; what came meanwhile is written soon."""
        self._gate.leave()
        if self.has_pending and not self.is_broken:
            self._flusher.later(self)

    async def _append(self, batch: Sequence[Event], *, epoch: int) -> Sequence[Record]:
        append = self._prepared(batch, epoch=epoch)
        try:
            records = await self._store.log.append(
                append.session_id,
                append.events,
                expected_seq=append.expected_seq,
                epoch=append.epoch,
                at_ms=append.at_ms,
                key=append.key,
                index=append.index,
            )
            self._believe(records)
        except BaseException as error:
            self._lost(error)
            raise
        return records

    def _prepared(self, batch: Sequence[Event], *, epoch: int) -> PendingAppend:
        """Returns the append of `batch`; holds back what readers must not see before it is believed."""
        state = self.state
        if not state.allows(batch):
            # A bug of ours. Better that this turn fails than that the log cannot be replayed.
            names = ", ".join(type(event).__name__ for event in batch)
            where = state.turn.state.value if state.turn else "no turn"
            bug = AssertionError(f"illegal events for session {state.session_id!r} ({where}): {names}")
            # Told here: throwing the session away cancels its runner, and with it the task in which this is raised.
            logger.error("session %s is thrown away and opened again: %s", state.session_id, bug, stack_info=True)
            self.is_lost = True
            self.throw_away()
            raise bug
        at_ms = max(self._clock.now_ms(), state.tally.updated_at_ms)
        index = index_update(state, batch, epoch=epoch, at_ms=at_ms)
        if index is None:
            self._shown = Cursor(state.seq + 1, 0, epoch)
        else:
            self._is_holding = True
        return PendingAppend(
            session_id=state.session_id,
            events=batch,
            expected_seq=state.seq,
            epoch=epoch,
            at_ms=at_ms,
            key=new_id("", at_ms),
            index=index,
        )

    def _lost(self, error: BaseException) -> None:
        """After a failed append nothing is known."""
        if not isinstance(error, Conflict):
            logger.error("session %s: append failed, left to recovery: %s", self.session_id, error)
        self.is_lost = True
        self.throw_away()

    def _believe(self, records: Sequence[Record]) -> None:
        before = self.state.weight
        for record in records:
            self.state.apply(record)
        self._keeper.grew(self, self.state.weight - before)
        self._in_flight = ()
        # Progress was shown when it was new.
        news = [
            Entry(record.seq, 0, record.epoch, record.event)
            for record in records
            if not isinstance(record.event, StepProgress)
        ]
        if news:
            self.feed.publish(news)
        if self._is_holding:
            self._is_holding = False
            self._shown = Cursor(self.state.seq, 0, self.state.epoch)
            self._publish_items(self._pending)

    def _taken(self) -> Sequence[Event]:
        if not self.has_pending:
            return ()
        self._in_flight = coalesced(self._pending)
        progress = StepProgress(items=self._in_flight, usage=self._counted)
        self._pending = []
        self._pending_size = 0
        self._counted = _NOTHING
        return (progress,)

    def _publish_items(self, items: Iterable[PartItem]) -> None:
        shown = self._shown
        entries = tuple(entries_of_items(items, seq=shown.seq, offset=shown.offset, epoch=shown.epoch))
        if entries:
            self._shown = entries[-1].cursor
            self.feed.publish(entries)

    def _check_usable(self) -> None:
        if self.is_broken:
            raise Conflict(self.session_id, expected_seq=self.state.seq, actual_seq=self.state.seq)


def coalesced(items: Iterable[PartItem]) -> tuple[PartItem, ...]:
    """Returns the items with neighbouring deltas of a part joined; positions within stay the same."""
    joined: list[PartItem] = []
    run: list[str] = []
    part = -1
    for item in items:
        if isinstance(item, PartDelta) and (not run or item.part == part):
            run.append(item.delta)
            part = item.part
            continue
        if run:
            joined.append(PartDelta(part=part, delta="".join(run)))
            run = []
        if isinstance(item, PartDelta):
            run, part = [item.delta], item.part
        else:
            joined.append(item)
    if run:
        joined.append(PartDelta(part=part, delta="".join(run)))
    return tuple(joined)
