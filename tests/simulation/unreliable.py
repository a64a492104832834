"""A store that is slow, fails, and dies with its process.

Faults: an append or a read takes a while; an append fails before or after it was written; a dead process writes nothing any more,
whatever its tasks still try. What it never does: write in part, twice, or something else.

Rule: every choice comes from the dice of the simulation.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from greenroom.errors import GreenroomError, LogUnavailable
from greenroom.events import Event, Record
from greenroom.interfaces import IndexUpdate, PendingAppend
from greenroom.logs.memory import MemoryStore


class UnreliableStore:
    """One process's way to the shared memory."""

    def __init__(self, inner: MemoryStore, dice: random.Random, *, failure_rate: float) -> None:
        self.inner = inner
        self.index = inner.index
        self.ledger = inner.ledger
        self.inbox = inner.inbox
        self.notes = inner.notes
        self.failure_rate = failure_rate
        self.is_dead = False
        self.failures = 0
        self._dice = dice
        self.log = self

    @property
    def node(self) -> str:
        return self.inner.node

    async def open(self) -> None:
        await self.inner.open()

    async def is_alive(self, node: str) -> bool:
        return await self.inner.is_alive(node)

    async def foreign_changes(self) -> int:
        return await self.inner.foreign_changes()

    async def close(self) -> None:
        await self.inner.close()

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
        await self._pass_time()
        if self._fails():
            raise LogUnavailable("fails before it is written, as planned")
        records = await self.inner.log.append(
            session_id, events, expected_seq=expected_seq, epoch=epoch, at_ms=at_ms, key=key, index=index
        )
        await self._pass_time()
        if self._fails():
            raise LogUnavailable("fails after it was written, as planned")
        return records

    async def append_all(self, appends: Sequence[PendingAppend]) -> Sequence[Sequence[Record] | Exception]:
        outcomes: list[Sequence[Record] | Exception] = []
        for append in appends:
            try:
                made = await self.append(
                    append.session_id,
                    append.events,
                    expected_seq=append.expected_seq,
                    epoch=append.epoch,
                    at_ms=append.at_ms,
                    key=append.key,
                    index=append.index,
                )
                outcomes.append(made)
            except GreenroomError as error:
                outcomes.append(error)
        return outcomes

    async def read(
        self, session_id: str, *, after_seq: int = 0, limit: int | None = None, bytes_max: int | None = None
    ) -> Sequence[Record]:
        if self.is_dead:
            raise LogUnavailable("the process is dead")
        return await self.inner.log.read(session_id, after_seq=after_seq, limit=limit, bytes_max=bytes_max)

    async def delete(self, session_id: str) -> bool:
        return await self.inner.log.delete(session_id)

    async def _pass_time(self) -> None:
        if self._dice.random() < 0.3:
            await asyncio.sleep(self._dice.choice([0.0, 0.001, 0.02, 0.2]))  # real time: none, the loop is virtual
        if self.is_dead:
            raise LogUnavailable("the process is dead")

    def _fails(self) -> bool:
        failed = self._dice.random() < self.failure_rate
        self.failures += failed
        return failed
