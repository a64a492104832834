"""What runs in the background goes on, whatever is raised in it: the watch, the look for sessions whose process is gone, revivals.

Siblings of the trouble that an inbox item of a newer version ended the watch of a process until it was started again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from greenroom.backends.scripted import Call, Gate, Pause, Say, ScriptedBackend
from greenroom.errors import LogUnavailable
from greenroom.events import CancelRequested, Event, MessageAccepted, TurnEnded, TurnStarted
from greenroom.interfaces import BackendRequest, InboxItem, Store
from greenroom.limits import Limits
from greenroom.logs.memory import MemoryStore
from greenroom.messages import TextPart, ToolMessage
from greenroom.runtime.orphans import Orphans
from greenroom.runtime.tasks import Tasks
from harness import HERE, Bench, Stage
from simulation.unreliable import UnreliableStore

pytestmark = pytest.mark.virtual_time

LIMITS = Limits(drain_s_max=0.2, stop_s_max=0.05, revive_wait_s_max=30.0)
NOT_OURS = {
    "of a newer version": b'{"type":"something_new"}',
    "of a newer version, with a field that changed": b'{"type":"message_accepted","message_id":7}',
    "cut off": b'{"type":"message_acc',
    "empty": b"",
    "not JSON": b"\x00\x01",
    "not UTF-8": b'{"type":"cancel_requested","turn_id":"\xff"}',
    "no object": b"[]",
    "too deep": b'{"type":' + b"[" * 100_000,
}


def message(text: str, turn_id: str) -> bytes:
    accepted = MessageAccepted(message_id=f"m-{turn_id}", turn_id=turn_id, parts=(TextPart(text=text),))
    return msgspec.json.encode(accepted)


class Process(Stage):
    """A runtime that looks for what others have left."""

    def __init__(self, store: Store, bench: Bench) -> None:
        super().__init__(store, bench, LIMITS)
        self.orphans = Orphans(self.registry, self.watch)

    async def die(self) -> None:
        """As by `kill -9`: from now on nothing is written."""
        self.store.is_dead = True  # type: ignore[attr-defined]
        await self.registry.tasks.end()
        for live in self.registry:
            live.throw_away()
        await self.store.close()

    async def close(self) -> None:
        await self.registry.close()
        await self.store.close()


class Shelf:
    """A store that outlives processes."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    @asynccontextmanager
    async def process(
        self, script: Any, *, wrap: Callable[[Store], Store] = lambda store: store
    ) -> AsyncIterator[Process]:
        store: Any = wrap(UnreliableStore(self.store.sibling(), random.Random(1), failure_rate=0.0))  # type: ignore[arg-type]
        await store.open()
        process = Process(store, Bench(ScriptedBackend(script)))
        try:
            yield process
        finally:
            await process.close()

    async def events(self, session_id: str = HERE) -> list[Event]:
        return [record.event for record in await self.store.log.read(session_id)]

    async def outcomes(self, session_id: str = HERE) -> list[str]:
        return [event.outcome for event in await self.events(session_id) if isinstance(event, TurnEnded)]

    async def waiting(self, session_id: str = HERE) -> list[InboxItem]:
        return list(await self.store.inbox.pending(session_id))


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    made = Shelf()
    await made.store.open()
    yield made
    await made.store.close()


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Waits, in virtual time, until the condition holds."""
    async with asyncio.timeout(1000):
        while not await condition():  # noqa: ASYNC110 - what it asks has no event
            await asyncio.sleep(0.05)


# --- kept tasks -----------------------------------------------------------------------------------------------------------


def leaves() -> None:
    raise SystemExit(3)


def cancels_itself() -> None:
    raise asyncio.CancelledError


def divides() -> None:
    _ = 1 // 0


@pytest.mark.parametrize("fail", [divides, leaves, cancels_itself])
async def test_kept_work_is_started_again_until_it_returns(fail: Callable[[], None]) -> None:
    tasks, starts = Tasks(), []

    async def work() -> None:
        starts.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0)
        if len(starts) < 12:
            fail()

    await tasks.keep(work, name="work")
    assert len(starts) == 12
    assert tasks.failures["work"].count == 11
    pauses = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert all(0.05 <= pause <= 5.01 for pause in pauses)
    assert pauses[-1] >= 2.5, "longer and longer"


async def test_a_failure_is_explained_once(caplog: pytest.LogCaptureFixture) -> None:
    tasks, starts = Tasks(), []

    async def work() -> None:
        starts.append(None)
        if len(starts) < 8:
            divides()

    await tasks.keep(work, name="work")
    assert caplog.text.count("work failed, and is started again") == 7
    assert caplog.text.count("Traceback") == 1


async def test_kept_work_ends_when_it_is_cancelled() -> None:
    tasks = Tasks()
    starts: list[None] = []

    async def forever() -> None:
        starts.append(None)
        await asyncio.Event().wait()

    async def fails() -> None:
        divides()

    waiting, failing = tasks.keep(forever, name="waits"), tasks.keep(fails, name="fails")
    await asyncio.sleep(0.01)
    await tasks.end()
    assert waiting.cancelled()
    assert failing.cancelled()
    assert len(starts) == 1
    assert not len(tasks)


# --- the watch ------------------------------------------------------------------------------------------------------------


class Weather(UnreliableStore):
    """A store whose questions fail for a while: a disk that is full, a database that is locked, or a bug."""

    def __init__(self, inner: UnreliableStore, failures: int, error: Exception) -> None:
        super().__init__(inner.inner, random.Random(1), failure_rate=0.0)
        self.left = failures
        self._error = error

    async def foreign_changes(self) -> int:
        self._fail()
        return await super().foreign_changes()

    def _fail(self) -> None:
        if self.left:
            self.left -= 1
            raise self._error


@pytest.mark.parametrize(
    "error", [LogUnavailable("database is locked"), OSError(28, "No space left"), RuntimeError("?")]
)
async def test_the_watch_outlives_trouble_with_the_store(shelf: Shelf, error: Exception) -> None:
    gate = Gate()
    weather: list[Weather] = []

    def stormy(store: Any) -> Any:
        weather.append(Weather(store, 0, error))
        return weather[0]

    async with shelf.process([[gate]], wrap=stormy) as owner:
        await owner.create()
        receipt = await owner.send()
        await gate.reached()
        weather[0].left = 5
        await until(lambda: _is(weather[0].left == 0))
        await shelf.store.inbox.post(HERE, msgspec.json.encode(CancelRequested(turn_id=receipt.turn_id)))
        await until(lambda: _is_idle(shelf))
        assert await shelf.outcomes() == ["cancelled"]
        assert owner.registry.tasks.failures["watch other processes"].count == 5


@pytest.mark.parametrize("body", NOT_OURS.values(), ids=NOT_OURS.keys())
async def test_what_a_process_cannot_read_is_left_for_one_that_can(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    gate = Gate()
    async with shelf.process([[Say("one"), gate], [Say("two")]]) as owner, shelf.process([[Say("two")]]) as other:
        await owner.create()
        await owner.send()
        await gate.reached()
        await shelf.store.inbox.post(HERE, body)
        await asyncio.sleep(5)  # fifty polls
        receipt = await other.send("behind it")
        again = await other.exchange.find_turn(HERE, receipt.turn_id)
        assert again[0] == receipt.turn_id
        gate.open()
        await until(lambda: _has_ended(shelf, 2))
        assert await shelf.outcomes() == ["completed", "completed"]
        assert [item.body for item in await shelf.waiting()] == [body], "it is still there, and nothing else"
        await asyncio.sleep(60)
        for process in (owner, other):
            assert not process.registry.tasks.failures
        assert not other.watch._posted, "nothing of ours waits"
    assert caplog.text.count("cannot be taken by this process") == 2, "once for each process"


async def test_an_item_that_cannot_be_taken_does_not_end_the_turn(
    shelf: Shelf, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be read, and what it asks for breaks the rules of the log."""
    from greenroom.runtime import watch

    real = watch.arrival_from_inbox

    def arrival_from_inbox(state: Any, arrived: MessageAccepted) -> Any:
        if arrived.turn_id == "t-bad":
            return [TurnStarted(turn_id="t-bad")] * 2
        return real(state, arrived)

    monkeypatch.setattr(watch, "arrival_from_inbox", arrival_from_inbox)
    gate = Gate()
    async with shelf.process([[gate], [Say("again")], [Say("two")]]) as owner:
        await owner.create()
        await owner.send()
        await gate.reached()
        await shelf.store.inbox.post(HERE, message("bad", "t-bad"))
        await shelf.store.inbox.post(HERE, message("good", "t-good"))
        gate.open()
        await until(lambda: _has_ended(shelf, 2))
        assert await shelf.outcomes() == ["completed", "completed"]
        assert len(await shelf.waiting()) == 1
    assert caplog.text.count("cannot be taken by this process") == 1


# --- sessions whose process is gone -----------------------------------------------------------------------------------------


def slowly(request: BackendRequest) -> list[Any]:
    if isinstance(request.messages[-1], ToolMessage):
        return [Say("done")]
    return [Pause(1.0), Call("put", {}), Call("pay", {})]


@pytest.mark.parametrize("end", ["close", "die"])
async def test_a_running_process_goes_on_with_what_another_leaves(shelf: Shelf, end: str) -> None:
    async with shelf.process(slowly) as one, shelf.process(slowly) as two:
        await one.create()
        await one.send()
        assert await two.orphans.look() == 0
        await asyncio.sleep(0.5)
        await getattr(one, end)()
        assert await two.orphans.look() == 1
        await until(lambda: _has_ended(shelf, 1))
        assert await shelf.outcomes() == ["completed"]
        assert await two.orphans.look() == 0


@pytest.mark.parametrize("end", ["close", "die"])
async def test_of_processes_that_look_at_once_one_goes_on(shelf: Shelf, end: str) -> None:
    async with shelf.process(slowly) as one, shelf.process(slowly) as two, shelf.process(slowly) as three:
        for number in range(10):
            await one.create(f"s{number}")
            await one.send(session_id=f"s{number}")
        await asyncio.sleep(0.5)
        await getattr(one, end)()
        await asyncio.gather(two.orphans.look(), three.orphans.look(), two.orphans.look())
        for number in range(10):
            name = f"s{number}"
            await until(lambda name=name: _has_ended(shelf, 1, name))  # type: ignore[misc]
            assert await shelf.outcomes(name) == ["completed"]
            runs = [key for process in (two, three) for key in process.bench.pay.runs if key.startswith(f"{name}/")]
            assert len(runs) == 1, "a tool with side effects runs once"


async def test_a_message_for_an_idle_session_whose_sender_died_is_answered(shelf: Shelf) -> None:
    async with shelf.process([[Say("hi")]]) as only:
        await only.create()
        await only.registry.leave(HERE)
        await shelf.store.inbox.post(HERE, message("left behind", "t-left"))
        assert await only.orphans.look() == 1
        await until(lambda: _has_ended(shelf, 1))
        assert await shelf.waiting() == []
        assert await only.orphans.look() == 0


async def test_what_cannot_be_helped_is_tried_less_and_less_and_keeps_nobody_waiting(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    """An idle session with an item of a newer version, a damaged log, and beside them one that can be gone on with."""
    async with shelf.process(slowly) as one:
        for name in ("a-idle", "b-damaged", "c-sound"):
            await one.create(name)
        for name in ("b-damaged", "c-sound"):
            await one.send(session_id=name)
        await asyncio.sleep(0.5)
    await shelf.store.inbox.post("a-idle", b'{"type":"something_new"}')
    rows = shelf.store._shelf.logs["b-damaged"].rows
    rows[1] = rows[1]._replace(body=b'{"type":"cut o')
    async with shelf.process(slowly) as two:
        tries = []
        for _ in range(300):
            tries.append(await two.orphans.look())
            await asyncio.sleep(1)
        assert tries[0] == 3
        assert 2 * 10 <= sum(tries[1:]) <= 2 * 30, "about each 30 s in the end"
        assert await shelf.outcomes("c-sound") == ["completed"]
    assert caplog.text.count("b-damaged cannot be recovered") == 1
    assert caplog.text.count("cannot be taken by this process") == 1


async def test_a_look_at_ten_thousand_idle_sessions_loads_none(shelf: Shelf) -> None:
    async with shelf.process(slowly) as one:
        for number in range(10_000):
            await one.create(f"s{number}")
        await one.send(session_id="s77")
        await asyncio.sleep(0.5)
    async with shelf.process(slowly) as two:
        assert await two.orphans.look() == 1
        assert [live.session_id for live in two.registry] == ["s77"]


async def test_a_session_whose_runner_fails_is_opened_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in the runner is not the end of the turn, and not a loop at full speed either."""
    from greenroom.runtime.runner import Runner

    real, failures = Runner.run, [8]

    async def run(self: Runner) -> None:
        if failures[0]:
            failures[0] -= 1
            raise ZeroDivisionError
        await real(self)

    monkeypatch.setattr(Runner, "run", run)
    async with shelf.process([[Say("hi")]]) as only:
        await only.create()
        began_s = asyncio.get_running_loop().time()
        await only.send()
        await until(lambda: _has_ended(shelf, 1))
        assert await shelf.outcomes() == ["completed"]
        assert asyncio.get_running_loop().time() - began_s > 5
    assert caplog.text.count("its runner failed") == 1


async def test_a_step_that_would_break_the_rules_of_the_log_is_told_and_asked_again(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bug in what is written: the session is thrown away together with the runner that has raised it."""
    from greenroom.runtime import runner

    real, failures = runner.answered, [1]

    def answered(state: Any, finished: Any) -> Any:
        failures[0] -= 1
        return real(state, finished) if failures[0] < 0 else [TurnStarted(turn_id="t-bad")]

    monkeypatch.setattr(runner, "answered", answered)
    async with shelf.process([[Say("hi")]] * 9) as only:
        await only.create()
        await only.send()
        await until(lambda: _has_ended(shelf, 1))
        assert await shelf.outcomes() == ["completed"]
    told = [record for record in caplog.records if "illegal events" in record.getMessage()]
    assert len(told) == 1, "once"
    assert told[0].name == "greenroom"


async def _is(value: bool) -> bool:  # noqa: FBT001
    return value


def _is_idle(shelf: Shelf) -> Coroutine[Any, Any, bool]:
    return _has_ended(shelf, 1)


async def _has_ended(shelf: Shelf, count: int, session_id: str = HERE) -> bool:
    return len(await shelf.outcomes(session_id)) >= count
