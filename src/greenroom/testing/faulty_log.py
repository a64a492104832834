"""A store whose log fails when it is told to.

Faults that it injects, by the number of the append (the first is 1; all sessions count together):

* `FAILS_BEFORE`: the append raises `LogUnavailable`, and nothing was written;
* `FAILS_AFTER`: the append raises `LogUnavailable`, and everything was written: the caller cannot tell the two apart;
* `CONFLICTS`: the append raises `Conflict`, and nothing was written, as if another writer had been quicker;
* `WAITS_BEFORE`, `WAITS_AFTER`: the append waits for `release`, with nothing or with everything written.

Faults that it never injects: an append is never written in part, written twice, changed, or reordered; what was acknowledged
stays; reading, index, inbox, notes and logins work, unless reading is told to fail with `fail_reads`. No store may do any of those, so
nothing has to survive them.

Rule: every fault is chosen by the test, by number or by seed, so that every failure can be run again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from enum import Enum

from greenroom.errors import Conflict, GreenroomError, LogUnavailable
from greenroom.events import Event, Record
from greenroom.interfaces import EventLog, IndexUpdate, PendingAppend, Store


class Fault(Enum):
    """What happens to an append."""

    FAILS_BEFORE = "fails before it is written"
    FAILS_AFTER = "fails after it was written"
    CONFLICTS = "conflicts"
    WAITS_BEFORE = "waits before it is written"
    WAITS_AFTER = "waits after it was written"


def random_faults(
    seed: int, *, appends: int, rate: float, kinds: Sequence[Fault] = (Fault.FAILS_BEFORE, Fault.FAILS_AFTER)
) -> dict[int, Fault]:
    """Returns faults for about `rate` of the first appends: the same ones for the same seed."""
    dice = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    return {number: dice.choice(kinds) for number in range(1, appends + 1) if dice.random() < rate}


class FaultyLog:
    """An `EventLog` around another one.

    Attributes:
        appends: how many appends were asked for so far.
        reads_failed: how many reads have failed so far.
    """

    def __init__(self, log: EventLog, faults: Mapping[int, Fault]) -> None:
        self.appends = 0
        self.reads_failed = 0
        self._log = log
        self._faults = dict(faults)
        self._reached: dict[int, asyncio.Event] = {}
        self._released: dict[int, asyncio.Event] = {}
        self._reads_to_fail = 0

    async def append(
        self,
        session_id: str,
        events: Sequence[Event],
        *,
        expected_seq: int,
        epoch: int,
        at_ms: int | Sequence[int],
        key: str,
        index: IndexUpdate | None = None,
    ) -> Sequence[Record]:
        """Appends, with the fault that was planned for this append.

        Raises:
            Conflict, LogUnavailable: as planned, or raised by the log inside.
        """
        self.appends += 1
        number, fault = self.appends, self._faults.get(self.appends)
        if fault is Fault.CONFLICTS:
            raise Conflict(session_id, expected_seq=expected_seq, actual_seq=expected_seq + 1)
        if fault is Fault.FAILS_BEFORE:
            raise LogUnavailable(f"append {number} fails before it is written, as planned")
        if fault is Fault.WAITS_BEFORE:
            await self._wait(number)
        records = await self._log.append(
            session_id, events, expected_seq=expected_seq, epoch=epoch, at_ms=at_ms, key=key, index=index
        )
        if fault is Fault.WAITS_AFTER:
            await self._wait(number)
        if fault is Fault.FAILS_AFTER:
            raise LogUnavailable(f"append {number} fails after it was written, as planned")
        return records

    async def append_all(self, appends: Sequence[PendingAppend]) -> Sequence[Sequence[Record] | Exception]:
        """Appends one after the other, each with the fault that was planned for it."""
        outcomes: list[Sequence[Record] | Exception] = []
        for append in appends:
            try:
                outcomes.append(
                    await self.append(
                        append.session_id,
                        append.events,
                        expected_seq=append.expected_seq,
                        epoch=append.epoch,
                        at_ms=append.at_ms,
                        key=append.key,
                        index=append.index,
                    )
                )
            except GreenroomError as error:
                outcomes.append(error)
        return outcomes

    async def read(
        self, session_id: str, *, after_seq: int = 0, limit: int | None = None, bytes_max: int | None = None
    ) -> Sequence[Record]:
        """Reads.

        Raises:
            LogUnavailable: as planned with `fail_reads`, or raised by the log inside.
        """
        if self._reads_to_fail:
            self._reads_to_fail -= 1
            self.reads_failed += 1
            raise LogUnavailable("reading fails, as planned")
        return await self._log.read(session_id, after_seq=after_seq, limit=limit, bytes_max=bytes_max)

    async def delete(self, session_id: str) -> bool:
        """Deletes.

        Raises:
            LogUnavailable: raised by the log inside.
        """
        return await self._log.delete(session_id)

    def fail_next(self, fault: Fault) -> None:
        """Plans a fault for the next append."""
        self._faults[self.appends + 1] = fault

    def fail_reads(self, count: int) -> None:
        """Lets the next `count` reads fail."""
        self._reads_to_fail = count

    async def reached(self, number: int) -> None:
        """Returns when append `number` has come to its waiting."""
        await self._reached.setdefault(number, asyncio.Event()).wait()

    def release(self, number: int) -> None:
        """Lets append `number` go on, also when it has not come yet."""
        self._released.setdefault(number, asyncio.Event()).set()

    async def _wait(self, number: int) -> None:
        self._reached.setdefault(number, asyncio.Event()).set()
        await self._released.setdefault(number, asyncio.Event()).wait()


class FaultyStore:
    """A `Store` around another one, whose log is a `FaultyLog`; everything else is the inner store's.

    Attributes:
        log: the faulty log.
        inner: the store inside.
    """

    def __init__(self, inner: Store, faults: Mapping[int, Fault] | None = None) -> None:
        self.inner = inner
        self.log = FaultyLog(inner.log, faults or {})
        self.index = inner.index
        self.ledger = inner.ledger
        self.inbox = inner.inbox
        self.notes = inner.notes
        self.logins = inner.logins

    @property
    def node(self) -> str:
        """Id of the inner store's incarnation."""
        return self.inner.node

    async def open(self) -> None:
        """Opens the inner store.

        Raises:
            EventLogError: raised by the inner store.
        """
        await self.inner.open()

    async def is_alive(self, node: str) -> bool:
        """Asks the inner store."""
        return await self.inner.is_alive(node)

    async def foreign_changes(self) -> int:
        """Asks the inner store."""
        return await self.inner.foreign_changes()

    async def close(self) -> None:
        """Closes the inner store."""
        await self.inner.close()
