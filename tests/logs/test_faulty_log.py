"""The faulty store does what its docstring says, and is a store otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from greenroom.errors import Conflict, LogUnavailable
from greenroom.interfaces import Store
from greenroom.logs.memory import MemoryStore
from greenroom.testing.faulty_log import Fault, FaultyStore, random_faults
from greenroom.testing.log_conformance import LogConformance
from greenroom.testing.log_conformance.samples import Author, text


class TestWithoutFaults(LogConformance):
    @asynccontextmanager
    async def open_store(self) -> AsyncIterator[Store]:
        store: Store = FaultyStore(MemoryStore())
        await store.open()
        yield store
        await store.close()


@asynccontextmanager
async def faulty(faults: dict[int, Fault]) -> AsyncIterator[FaultyStore]:
    store = FaultyStore(MemoryStore(), faults)
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize(
    ("fault", "error", "written"),
    [
        (Fault.FAILS_BEFORE, LogUnavailable, 1),
        (Fault.FAILS_AFTER, LogUnavailable, 2),
        (Fault.CONFLICTS, Conflict, 1),
    ],
)
async def test_the_planned_append_fails(fault: Fault, error: type[Exception], written: int) -> None:
    async with faulty({2: fault}) as store:
        author = Author(store, "a")
        await author.append(text("1"))
        with pytest.raises(error):
            await author.append(text("2"), key="second")
        assert len(await store.log.read("a")) == written
        # Reading tells what happened; repeating settles it either way.
        await author.append(text("2"), key="second")
        assert [record.event for record in await store.log.read("a")] == [text("1"), text("2")]


@pytest.mark.parametrize(("fault", "written"), [(Fault.WAITS_BEFORE, 0), (Fault.WAITS_AFTER, 1)])
async def test_a_waiting_append_is_released(fault: Fault, written: int) -> None:
    async with faulty({1: fault}) as store:
        task = asyncio.ensure_future(Author(store, "a").append(text()))
        await store.log.reached(1)
        assert len(await store.log.read("a")) == written
        assert not task.done()
        store.log.release(1)
        assert len(await task) == 1


async def test_reads_fail_as_often_as_planned() -> None:
    async with faulty({}) as store:
        await Author(store, "a").append(text())
        store.log.fail_reads(2)
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                await store.log.read("a")
        assert len(await store.log.read("a")) == 1


async def test_the_next_append_can_be_chosen() -> None:
    async with faulty({}) as store:
        author = Author(store, "a")
        await author.append(text())
        store.log.fail_next(Fault.FAILS_BEFORE)
        with pytest.raises(LogUnavailable):
            await author.append(text())
        await author.append(text())


def test_seeded_faults_repeat() -> None:
    faults = random_faults(7, appends=1000, rate=0.1)
    assert faults == random_faults(7, appends=1000, rate=0.1)
    assert faults != random_faults(8, appends=1000, rate=0.1)
    assert 50 < len(faults) < 200
    assert min(faults) >= 1
