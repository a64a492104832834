"""Progress goes to the log in windows that sessions share; no session waits for another one's writer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from greenroom.backends.scripted import Pause, Say, ScriptedBackend
from greenroom.events import NoticeGiven, Record, StepProgress, TurnEnded
from greenroom.interfaces import BackendRequest, EventLog, PendingAppend
from greenroom.limits import Limits
from greenroom.logs.memory import MemoryStore
from greenroom.messages import PartDelta
from greenroom.runtime.flushing import WINDOW_SESSIONS_MAX
from greenroom.runtime.tasks import AT_ONCE_MAX, Gate, apart
from greenroom.testing.faulty_log import Fault, FaultyLog, FaultyStore
from harness import HERE, Bench, Stage, stage

pytestmark = pytest.mark.virtual_time


class CountingLog(FaultyLog):
    """Notes how many appends came together; nothing fails unless it is told to."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(log, {})
        self.batches: list[int] = []

    async def append_all(self, appends: Sequence[PendingAppend]) -> Sequence[Sequence[Record] | Exception]:
        self.batches.append(len(appends))
        return await super().append_all(appends)


class CountingStore(FaultyStore):
    """Keeps its sessions in memory, and counts."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.log: CountingLog = CountingLog(self.inner.log)


def words(count: int) -> list[Any]:
    return [cue for number in range(count) for cue in (Pause(0.02), Say([f"{number} "]))]


async def progress(opened: Stage, session_id: str) -> list[str]:
    events = await opened.events(session_id)
    return [
        "".join(getattr(item, "delta", "") for item in event.items)
        for event in events
        if isinstance(event, StepProgress)
    ]


@pytest.mark.parametrize(
    ("said", "written"),
    [(["a" * 9, "b"], ["a" * 9 + "b"]), (["a" * 10, "b"], ["a" * 10, "b"])],
    ids=["just below flush_bytes_max", "at it"],
)
async def test_how_much_waits_to_be_written(said: list[str], written: list[str]) -> None:
    script = [[Say(said[:1]), Pause(0.001), Say(said[1:])]]
    async with stage(script, limits=Limits(flush_bytes_max=10, flush_ms_max=50)) as opened:
        await opened.create()
        await opened.answer()
        assert [piece for piece in await progress(opened, HERE) if piece] == written


@pytest.mark.parametrize(
    ("pause_s", "written"), [(0.049, ["ab"]), (0.051, ["a", "b"])], ids=["just within flush_ms_max", "after it"]
)
async def test_how_long_it_waits_to_be_written(pause_s: float, written: list[str]) -> None:
    async with stage([[Say("a"), Pause(pause_s), Say("b")]], limits=Limits(flush_ms_max=50)) as opened:
        await opened.create()
        await opened.answer()
        assert [piece for piece in await progress(opened, HERE) if piece] == written


async def test_sessions_that_stream_at_the_same_time_are_written_together() -> None:
    store = CountingStore()
    names = [f"s{number}" for number in range(WINDOW_SESSIONS_MAX + 10)]
    async with stage(bench=Bench(ScriptedBackend(lambda _: words(20))), store=store) as opened:
        for name in names:
            await opened.create(name)
        await asyncio.gather(*(opened.answer(session_id=name) for name in names))
        assert max(store.log.batches) == WINDOW_SESSIONS_MAX, "a window has a bound"
        assert len(store.log.batches) < 30, (
            "400 ms are some eight windows of two batches, whatever the number of sessions"
        )
        for name in names:
            pieces = await progress(opened, name)
            assert "".join(pieces) == "".join(f"{number} " for number in range(20))
            assert 5 <= len(pieces) <= 12, "neither a record for each delta nor one for all of them"


async def test_no_delta_waits_longer_than_a_window() -> None:
    script = [Say(["one"]), Pause(0.051), Say([" two"]), Pause(600)]
    async with stage(bench=Bench(ScriptedBackend(lambda _: script))) as opened:
        await opened.create()
        await opened.send()
        await asyncio.sleep(0.051)
        assert await progress(opened, HERE) == ["one"]
        await asyncio.sleep(0.051)
        assert await progress(opened, HERE) == ["one", " two"]


async def test_a_session_whose_append_fails_harms_no_other() -> None:
    store = CountingStore()
    names = ["a", "b", "c"]
    async with stage(bench=Bench(ScriptedBackend(lambda _: words(20))), store=store) as opened:
        for name in names:
            await opened.create(name)
        turns = [asyncio.create_task(opened.answer(session_id=name)) for name in names]
        await asyncio.sleep(0.1)
        store.log.fail_next(Fault.FAILS_BEFORE)
        await asyncio.gather(*turns)
        for name in names:
            assert [event.outcome for event in await opened.events(name) if isinstance(event, TurnEnded)] == [
                "completed"
            ]


async def test_a_session_that_is_being_written_is_not_waited_for() -> None:
    store = CountingStore()

    def script(request: BackendRequest) -> list[Any]:
        return [Say(["one"]), Pause(600)] if request.session_id == "slow" else words(20)

    async with stage(bench=Bench(ScriptedBackend(script)), store=store) as opened:
        await opened.create("slow")
        await opened.create("quick")
        slow = asyncio.create_task(opened.answer(session_id="slow"))
        await asyncio.sleep(1)
        store.log.fail_next(Fault.WAITS_BEFORE)
        stuck = store.log.appends + 1
        async with opened.registry.using("slow") as live:
            writing = asyncio.create_task(live.write(NoticeGiven(code="busy", text="somebody writes")))
            await store.log.reached(stuck)
            live.show([PartDelta(part=0, delta=" two")])
            await opened.answer(session_id="quick")
            assert "".join(await progress(opened, "quick")).endswith("19 ")
            store.log.release(stuck)
            await writing
        await asyncio.sleep(0.1)
        assert await progress(opened, "slow") == ["one", " two"], "who left the gate saw to the rest"
        slow.cancel()
        await asyncio.wait({slow})


async def test_a_gate_lets_in_one_at_a_time_in_order() -> None:
    gate, seen = Gate(), list[int]()

    async def pass_through(number: int) -> None:
        async with gate:
            seen.append(number)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(pass_through(number)) for number in range(5)]
    await asyncio.sleep(0.5)
    assert not gate.try_enter()
    tasks[2].cancel()
    await asyncio.wait(tasks)
    assert seen == [0, 1, 3, 4]
    assert gate.try_enter()
    gate.leave()


async def test_a_gate_that_was_handed_to_somebody_who_gives_up_goes_on() -> None:
    gate = Gate()
    assert gate.try_enter()
    waiting = asyncio.create_task(gate.__aenter__())
    await asyncio.sleep(0)
    gate.leave()
    waiting.cancel()  # it is his already, and he does not know it yet
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gate.try_enter()


async def test_a_pure_function_of_much_runs_in_a_thread() -> None:
    threads = [await apart(size, threading.current_thread) for size in (1, AT_ONCE_MAX, AT_ONCE_MAX + 1)]
    assert [thread is threading.main_thread() for thread in threads] == [True, True, False]
