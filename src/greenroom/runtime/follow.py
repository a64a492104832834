"""Reading a session from any position: first what the log has, then what is being written, then what comes.

A reader never notices where one becomes the other, nor that the session was thrown away and opened anew, or lives in another
process: entries and positions are the same everywhere.

Rule: a reader holds nothing that anybody waits for. It can be abandoned at any point.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import msgspec

from greenroom.core.cursor import Cursor
from greenroom.core.session import SessionState
from greenroom.core.step import units
from greenroom.errors import LogUnavailable, SessionNotFound
from greenroom.events import StepProgress
from greenroom.messages import PartDelta, PartItem
from greenroom.runtime.feed import Entry, Gap, Reader, entries_of
from greenroom.runtime.live import LiveSession
from greenroom.runtime.registry import Registry

S = TypeVar("S")

_FRUITLESS_MAX = 3
_LOOK_AGAIN_S = 0.1


class Snapshot(msgspec.Struct, Generic[S], frozen=True, kw_only=True):
    """What a reader without a usable position gets instead of the past; entries go on behind `cursor`."""

    cursor: Cursor
    made: S


class Follower(Generic[S]):
    """Reads one session.

    Args:
        snapshot: makes what a reader needs to begin in the middle, from the state and the items that are shown but not written.
            Called between two entries; must not wait.
        until_idle: end when everything was read and nothing is done, or waits to be done, before a person does something.
    """

    def __init__(
        self,
        registry: Registry,
        session_id: str,
        *,
        snapshot: Callable[[SessionState, Sequence[PartItem]], S],
        until_idle: bool,
    ) -> None:
        self._registry = registry
        self._session_id = session_id
        self._snapshot = snapshot
        self._until_idle = until_idle

    async def read(
        self, position: Cursor | None, *, is_checked: bool = False
    ) -> AsyncGenerator[Sequence[Entry] | Snapshot[S], None]:
        """Yields what lies behind `position`, in batches; without one, or with one that never existed, a snapshot first.

        Args:
            position: where to begin.
            is_checked: the caller knows that the position exists.

        Raises:
            SessionNotFound: the session does not exist, or was deleted meanwhile.
            EventLogError: the log cannot be read.
        """
        fruitless = 0
        user_id: str | None = None
        while True:
            async with self._registry.using(self._session_id) as live:
                # Deleted, and made again under the same id by somebody else: that is another session.
                if user_id not in {None, live.state.tally.user_id}:
                    raise SessionNotFound(self._session_id)
                user_id = live.state.tally.user_id
                if position is not None and not is_checked and not await self.exists(live, position):
                    position = None
                is_checked = False
                reader, tail = live.join()
                self._registry.on_interest()
                try:
                    if position is None:
                        position = live.shown()
                        items = [entry.payload for entry in tail]
                        yield Snapshot(cursor=position, made=self._snapshot(live.state, _items(items)))
                        tail = ()
                    before = position
                    async for batch in self._caught_up(live.state.seq, position, tail):
                        position = batch[-1].cursor
                        yield batch
                    while True:
                        if self._until_idle and await self._is_done(live, reader):
                            return
                        batch = tuple(behind(await self._taken(live, reader), position))
                        if batch:
                            position = batch[-1].cursor
                            yield batch
                except Gap:
                    # Too slow, or the session was thrown away: go on from the log. If that brings nothing, again and
                    # again, the log is failing: an error is better than a reader that hangs.
                    fruitless = fruitless + 1 if position == before else 0
                finally:
                    live.feed.leave(reader)
            if fruitless > _FRUITLESS_MAX:
                raise LogUnavailable("the session cannot be kept open", hint="the server's log says why")
            await asyncio.sleep(0)

    async def _taken(self, live: LiveSession, reader: Reader) -> Sequence[Entry]:
        """Waits for entries; for an idle session that waits for another process, only a moment, then looks again."""
        if not self._until_idle or live.state.is_at_work or not reader.is_empty:
            return await reader.take()
        try:
            async with asyncio.timeout(_LOOK_AGAIN_S):
                return await reader.take()
        except TimeoutError:
            await self._registry.freshen(live)
            return ()

    async def _is_done(self, live: LiveSession, reader: Reader) -> bool:
        """Returns whether the session is idle or waits for a person, stays so, and everything was taken."""
        if live.state.is_at_work or not reader.is_empty:
            return False
        # A message that another process has left in the inbox will be answered.
        waiting = await self._registry.store.inbox.pending(self._session_id)
        if waiting:
            return False
        # One that has just left it is in the log, which we may not have followed yet.
        await self._registry.freshen(live)
        return not live.state.is_at_work and reader.is_empty

    async def _caught_up(self, head: int, position: Cursor, tail: Sequence[Entry]) -> AsyncIterator[Sequence[Entry]]:
        registry = self._registry
        at = position
        while at.seq < head:
            records = await registry.store.log.read(
                self._session_id, after_seq=at.seq, bytes_max=registry.limits.read_page_bytes
            )
            batch = [entry for record in records if record.seq <= head for entry in behind(entries_of(record), at)]
            if batch:
                yield batch
            if not records:
                break
            at = Cursor(records[-1].seq, 0, records[-1].epoch)
        if rest := tuple(behind(tail, position)):
            yield rest

    async def exists(self, live: LiveSession, position: Cursor) -> bool:
        """Returns whether what was seen at `position` is part of the session as it is now."""
        state, shown = live.state, live.shown()
        if position.in_snapshot or position.epoch > state.epoch:
            return False
        if (position.seq, position.offset, position.frame) == (0, 0, 0):
            return True
        if not position.offset and position.epoch == state.epoch and position.seq <= state.seq:
            return (
                True  # a whole record is seen when it is durable, and only one log has this epoch: nothing to look up
            )
        if position.seq > state.seq or (position.seq == state.seq and position.offset):
            return position.epoch == shown.epoch and (position.seq, position.offset) <= (shown.seq, shown.offset)
        # Without an offset the record itself was seen, else a part of the next one. If another epoch wrote it, what was seen does
        # not exist: it was never written, or belongs to another session under the same id.
        after_seq = position.seq if position.offset else position.seq - 1
        records = await self._registry.store.log.read(self._session_id, after_seq=after_seq, limit=1)
        if not records or records[0].epoch != position.epoch:
            return False
        if not position.offset:
            return True
        record = records[0]
        items = record.event.items if isinstance(record.event, StepProgress) else ()
        return position.offset <= sum(map(units, items))


def behind(entries: Iterable[Entry], position: Cursor) -> Iterator[Entry]:
    """Returns the entries behind `position`; a delta that it falls into is cut there."""
    for entry in entries:
        if (entry.seq, entry.offset) <= (position.seq, position.offset):
            continue
        payload = entry.payload
        if entry.seq == position.seq and isinstance(payload, PartDelta):
            seen = len(payload.delta) - (entry.offset - position.offset)
            if seen > 0:
                rest = PartDelta(part=payload.part, delta=payload.delta[seen:])
                yield Entry(entry.seq, entry.offset, entry.epoch, rest)
                continue
        yield entry


def _items(payloads: Iterable[object]) -> list[PartItem]:
    return [payload for payload in payloads if isinstance(payload, PartItem)]
