"""Records and live deltas to readers, in one order.

A feed entry is a record's event, or one item of the record that is being written; each carries the position behind it. Entries
of a session come in the same order with the same positions whether they are read live, from the log, or half and half: that is
what makes a cursor exact.

Rule: a reader is bounded and never waited for. One that is too slow is told to go back to the log, where it finds everything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from greenroom.core.cursor import Cursor
from greenroom.core.step import units
from greenroom.events import Event, Record, StepProgress
from greenroom.messages import PartItem

_TAKEN_MAX: Final = 128
"""Entries that a reader is given at once. They are shared, but what it makes of them is its own: all that a reader is behind
would be some megabytes for each."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """Something that a reader sees.

    Attributes:
        seq, offset, epoch: the position behind it, as in `Cursor`.
    """

    seq: int
    offset: int
    epoch: int
    payload: Event | PartItem

    @property
    def cursor(self) -> Cursor:
        """The position behind the entry."""
        return Cursor(self.seq, self.offset, self.epoch)


class Gap(Exception):
    """The reader was too slow, or the feed has ended: go on from the log at the last position."""


class Reader:
    """One reader's share of a feed."""

    def __init__(self, *, entries_max: int) -> None:
        self._entries: deque[Entry] = deque()
        self._entries_max = entries_max
        self._waiter: asyncio.Future[None] | None = None
        self._has_gap = False

    def push(self, entries: Sequence[Entry]) -> None:
        """Adds entries, or notes that there were too many."""
        if self._has_gap:
            return
        self._entries.extend(entries)
        if len(self._entries) > self._entries_max:
            self.cut()
        self._wake()

    @property
    def is_empty(self) -> bool:
        """Whether everything that was published has been taken."""
        return not self._entries and not self._has_gap

    def cut(self) -> None:
        """Ends the reader's share: what it has not taken it must read from the log."""
        self._entries.clear()
        self._has_gap = True
        self._wake()

    async def take(self) -> Sequence[Entry]:
        """Waits for entries and returns those that are there, or the first of many.

        Raises:
            Gap: there is nothing more to come here.
        """
        while not self._entries:
            if self._has_gap:
                raise Gap
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        entries = self._entries
        if len(entries) <= _TAKEN_MAX:
            taken = tuple(entries)
            entries.clear()
            return taken
        return tuple([entries.popleft() for _ in range(_TAKEN_MAX)])

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Feed:
    """The readers of one session."""

    __slots__ = ("_entries_max", "_readers", "is_closed")

    def __init__(self, *, entries_max: int) -> None:
        self._readers: dict[Reader, None] = {}  # in memory a third of an empty set, and most sessions have no reader
        self._entries_max = entries_max
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._readers)

    def join(self) -> Reader:
        """Returns a reader that gets everything published from now on."""
        reader = Reader(entries_max=self._entries_max)
        if self.is_closed:
            reader.cut()
        else:
            self._readers[reader] = None
        return reader

    def leave(self, reader: Reader) -> None:
        """Forgets the reader."""
        self._readers.pop(reader, None)
        if not self._readers:
            self._readers = {}  # one that was filled keeps its room

    def publish(self, entries: Sequence[Entry]) -> None:
        """Gives entries to every reader."""
        for reader in self._readers:
            reader.push(entries)

    def close(self) -> None:
        """Sends every reader back to the log."""
        self.is_closed = True
        for reader in self._readers:
            reader.cut()
        self._readers.clear()


def entries_of(record: Record) -> Iterator[Entry]:
    """Returns what a reader sees of a record: the items of a progress one by one, any other event as it is."""
    if isinstance(record.event, StepProgress):
        yield from entries_of_items(record.event.items, seq=record.seq - 1, offset=0, epoch=record.epoch)
    else:
        yield Entry(record.seq, 0, record.epoch, record.event)


def entries_of_items(items: Iterable[PartItem], *, seq: int, offset: int, epoch: int) -> Iterator[Entry]:
    """Returns items of the record that comes after `seq`, from its unit `offset` on."""
    for item in items:
        offset += units(item)
        yield Entry(seq, offset, epoch, item)
