"""Threads of which each user has a share. Cases T6 and S4."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Literal

import pytest

from greenroom.errors import ManagerClosed
from greenroom.limits import Limits
from greenroom.thread_shares import ThreadShares
from greenroom.toolsets.workspace import WorkspaceTools


@pytest.fixture
async def shares() -> AsyncIterator[ThreadShares]:
    made = ThreadShares("test", threads_max=3, per_user_max=2)
    yield made
    made.close()


class Jobs:
    """Work that waits until it is let go, and notes when it begins."""

    def __init__(self, shares: ThreadShares) -> None:
        self._shares = shares
        self._gates: dict[str, threading.Event] = {}
        self.begun: list[str] = []

    def start(self, user_id: str, name: str) -> asyncio.Future[str]:
        gate = self._gates[name] = threading.Event()

        def work() -> str:
            self.begun.append(name)
            assert gate.wait(30)
            return name

        return asyncio.ensure_future(self._shares.run(user_id, work))

    def finish(self, *names: str) -> None:
        for name in names:
            self._gates[name].set()

    async def have_begun(self, *names: str) -> None:
        while not set(names) <= set(self.begun):  # noqa: ASYNC110
            await asyncio.sleep(0.001)  # real time: threads work


async def test_users_take_turns(shares: ThreadShares) -> None:
    jobs = Jobs(shares)
    anns = [jobs.start("ann", f"ann{number}") for number in range(5)]
    await jobs.have_begun("ann0", "ann1")
    bobs = [jobs.start("bob", f"bob{number}") for number in range(2)]
    carols = [jobs.start("carol", f"carol{number}") for number in range(2)]
    await jobs.have_begun("bob0")
    assert sorted(jobs.begun) == ["ann0", "ann1", "bob0"], "two of three threads are all that one user gets"
    jobs.finish("ann0")
    await anns[0]
    await jobs.have_begun("carol0")
    jobs.finish("bob0")
    await bobs[0]
    await jobs.have_begun("bob1")
    assert len(jobs.begun) == 5, jobs.begun
    assert "ann2" not in jobs.begun, "who has least goes first"
    jobs.finish(*[f"ann{number}" for number in range(5)], "bob1", "carol0", "carol1")
    assert await asyncio.gather(*anns, *bobs, *carols) == [
        *(f"ann{number}" for number in range(5)), "bob0", "bob1", "carol0", "carol1",
    ]  # fmt: skip


async def test_closing_leaves_nobody_waiting(shares: ThreadShares) -> None:
    """What ran gave its result to nobody, and what waited was never told, once something waited while the threads were closed."""
    jobs = Jobs(shares)
    running = [jobs.start("ann", "one"), jobs.start("ann", "two")]
    waiting = jobs.start("ann", "three")
    await jobs.have_begun("one", "two")
    shares.close()
    with pytest.raises(ManagerClosed):
        await waiting
    with pytest.raises(ManagerClosed):
        await shares.run("bob", lambda: "four")
    jobs.finish("one", "two")
    assert await asyncio.gather(*running) == ["one", "two"]
    shares.close()


async def test_a_thread_that_nobody_waits_for_still_counts(shares: ThreadShares) -> None:
    jobs = Jobs(shares)
    first, second = jobs.start("ann", "one"), jobs.start("ann", "two")
    await jobs.have_begun("one", "two")
    first.cancel()
    waiting, dropped = jobs.start("ann", "three"), jobs.start("ann", "four")
    await asyncio.wait({first})
    dropped.cancel()
    await asyncio.wait({dropped})
    assert "three" not in jobs.begun
    jobs.finish("one", "two", "three", "four")
    assert await asyncio.gather(second, waiting) == ["two", "three"]
    assert "four" not in jobs.begun, "a call that was cancelled while it waited is never begun"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(3)])
async def test_what_the_work_raises_comes_back_and_frees_the_thread(shares: ThreadShares, error: BaseException) -> None:
    def work() -> str:
        raise error

    for _ in range(5):
        with pytest.raises(type(error)):
            await shares.run("ann", work)


@pytest.mark.parametrize(("kind", "for_all", "for_one"), [("files", 3, 2), ("search", 2, 1)])
async def test_the_limits_bound_the_threads_of_each_kind(
    kind: Literal["files", "search"], for_all: int, for_one: int
) -> None:
    limits = Limits(
        file_threads_max=3, file_threads_per_user_max=2, search_threads_max=2, search_threads_per_user_max=1
    )
    toolset = WorkspaceTools()
    jobs = Jobs(toolset._threads(kind, limits))
    names = [f"{user}{number}" for user in ("ann", "bob", "carol") for number in range(3)]
    running = [jobs.start(name[:-1], name) for name in names]
    await jobs.have_begun("ann0", "bob0")
    assert len(jobs.begun) == for_all
    assert sum(name.startswith("ann") for name in jobs.begun) == for_one
    jobs.finish(*names)
    assert await asyncio.gather(*running) == names
    await toolset.close()
