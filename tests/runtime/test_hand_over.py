"""Processes that close, and processes that die: what counts as an attempt, and what is given up.

Cases P27 (cloudflare/agents PR 1615: a deploy counted like a crash) and T3 (vectorize-io/hindsight#2675: a tool that kills its process was
run again at every start). A process closes with `registry.close`; it dies when nothing that it does is written any more.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from greenroom.backends.scripted import Call, Fail, Gate, Pause, Say, ScriptedBackend
from greenroom.errors import BackendUnavailable
from greenroom.events import (
    Effect,
    Event,
    SessionClaimed,
    SessionReleased,
    StepStarted,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.interfaces import BackendRequest, ToolContext
from greenroom.limits import Limits
from greenroom.logs.memory import MemoryStore
from greenroom.messages import ToolMessage
from harness import HERE, Bench, CountingTool, Stage, until_idle
from simulation.unreliable import UnreliableStore

pytestmark = pytest.mark.virtual_time

LIMITS = Limits(drain_s_max=0.2, stop_s_max=0.05, attempts_max=2, retry_base_s=100, retry_wait_s_max=1000)
WORDS = [f"word{number} " for number in range(20)]


class Shelf:
    """A store that outlives processes, and the processes on it, one after the other."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    @asynccontextmanager
    async def process(self, bench: Bench, *, limits: Limits = LIMITS) -> AsyncIterator[Process]:
        """Opens a process; closes it in good order, unless it has died."""
        store = UnreliableStore(self.store.sibling(), random.Random(1), failure_rate=0.0)
        await store.open()
        process = Process(store, bench, limits)
        try:
            yield process
        finally:
            await process.registry.close()
            await store.close()

    async def events(self) -> list[Event]:
        return [record.event for record in await self.store.log.read(HERE)]


class Process(Stage):
    """A runtime that can die."""

    def kill(self) -> None:
        """As by `kill -9`: from now on nothing is written."""
        self.store.is_dead = True  # type: ignore[attr-defined]

    async def die(self) -> None:
        """As `kill`, and nothing runs any more."""
        self.kill()
        await self.registry.tasks.end()
        for live in self.registry:
            live.throw_away()

    async def wake(self) -> None:
        """Opens the session, which recovers it if need be."""
        async with self.registry.using(HERE):
            pass


@pytest.fixture
async def shelf() -> AsyncIterator[Shelf]:
    made = Shelf()
    await made.store.open()
    yield made
    await made.store.close()


def slowly(_: BackendRequest) -> list[Any]:
    """Answers for ten seconds."""
    return [cue for word in WORDS for cue in (Say(word), Pause(0.5))]


def ended(events: Sequence[Event]) -> list[str]:
    return [event.outcome for event in events if isinstance(event, TurnEnded)]


def kinds(events: Sequence[Event]) -> list[str]:
    return [type(event).__name__ for event in events]


# --- closing is no attempt (P27) ------------------------------------------------------------------------------------------


async def test_ten_restarts_do_not_kill_a_healthy_turn(shelf: Shelf) -> None:
    for life in range(10):
        async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
            if life == 0:
                await process.create()
                await process.send()
            await process.wake()
            await asyncio.sleep(3)
    assert ended(await shelf.events()) == []
    async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
        await process.idle()
    events = await shelf.events()
    assert ended(events) == ["completed"]
    assert sum(isinstance(event, SessionReleased) for event in events) == 10
    assert sum(isinstance(event, StepStarted) for event in events) == 11


async def test_deaths_with_progress_do_not_count_and_without_they_do(shelf: Shelf) -> None:
    lives_s = [1, 2, 3, 4, 5, 6, 7]
    for life_s in lives_s:
        async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
            if life_s == 1:
                await process.create()
                await process.send()
            await process.wake()
            await asyncio.sleep(life_s + 0.25)
            await process.die()
    assert ended(await shelf.events()) == [], "each got further than all before"
    lives = 0
    while not ended(await shelf.events()):
        async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
            await process.wake()
            await asyncio.sleep(2.25)
            await process.die()
        lives += 1
        assert lives < 10, "the step is asked again and again"
    # The last long life made progress; then attempts_max deaths are borne, and the one after them ends the turn.
    assert (lives, ended(await shelf.events())) == (LIMITS.attempts_max + 2, ["interrupted"])
    async with shelf.process(Bench(ScriptedBackend(["Back."]))) as process:
        assert '"RUN_FINISHED"' in (await process.answer("and now?"))[-1]


async def test_deaths_and_closings_mixed_count_the_deaths(shelf: Shelf) -> None:
    for life in range(9):
        async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
            if life == 0:
                await process.create()
                await process.send()
            await process.wake()
            await asyncio.sleep(1.25)
            if life in {0, 3, 6}:
                await process.die()
    assert ended(await shelf.events()) == [], "the first made progress, two did not"
    async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
        await process.wake()
        await asyncio.sleep(1.25)
        await process.die()
    async with shelf.process(Bench(ScriptedBackend(slowly))) as process:
        await process.idle()
    assert ended(await shelf.events()) == ["interrupted"]


@pytest.mark.parametrize("raised_s", [0.0, 0.3])
async def test_an_answer_that_kills_its_reader_is_given_up(shelf: Shelf, raised_s: float) -> None:
    """A sibling of T3: a step, not a tool, is the end of each process, always at the same place."""
    for number in range(10):
        async with shelf.process(Bench(ScriptedBackend(lambda _: [Pause(raised_s), Say("Boom"), Gate()]))) as process:
            if number == 0:
                await process.create()
                await process.send()
            await process.wake()
            await asyncio.sleep(1)
            await process.die()
        if ended(await shelf.events()):
            break
    assert ended(await shelf.events()) == ["interrupted"]


# --- what is let go at once, and what may end ---------------------------------------------------------------------------


class WaitingTool(CountingTool):
    """A tool that takes a while."""

    def __init__(self, name: str, effect: Effect, *, for_s: float) -> None:
        super().__init__(name, effect)
        self.for_s = for_s

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        await super().call(arguments, context)
        await asyncio.sleep(self.for_s)
        return f"{self.spec.name} done"


def bench_with(script: Any, **for_s: float) -> Bench:
    bench = Bench(ScriptedBackend(script))
    effects: dict[str, Effect] = {"pay": "once", "look": "pure", "put": "idempotent"}
    for name, seconds in for_s.items():
        setattr(bench, name, WaitingTool(name, effects[name], for_s=seconds))
    return bench


def calling(*names: str) -> Callable[[BackendRequest], list[Any]]:
    def step(request: BackendRequest) -> list[Any]:
        return [Say("Done.")] if isinstance(request.messages[-1], ToolMessage) else [Call(name, {}) for name in names]

    return step


async def closed_in(shelf: Shelf, bench: Bench, *, after_s: float = 0.5, **settings: Any) -> tuple[float, list[Event]]:
    """Sends a message and closes the process in the middle; returns how long closing took, and the log."""
    loop = asyncio.get_running_loop()
    async with shelf.process(
        bench, limits=Limits(drain_s_max=5, stop_s_max=0.05, retry_base_s=100, retry_wait_s_max=999)
    ) as process:
        await process.create(**settings)
        await process.send()
        await asyncio.sleep(after_s)
        began_s = loop.time()
        await process.registry.close()
        return loop.time() - began_s, await shelf.events()


async def test_a_pause_before_a_repetition_is_let_go_at_once(shelf: Shelf) -> None:
    took_s, events = await closed_in(shelf, Bench(ScriptedBackend(lambda _: [Fail(BackendUnavailable("busy"))])))
    assert took_s < 0.1
    assert kinds(events)[-2:] == ["StepFailed", "SessionReleased"]
    async with shelf.process(Bench(ScriptedBackend(["Fine."]))) as process:
        async with asyncio.timeout(300):
            await process.idle()
    assert ended(await shelf.events()) == ["completed"]


async def test_calls_that_do_no_harm_are_cut_and_run_again(shelf: Shelf) -> None:
    bench = bench_with(calling("look", "put"), look=60, put=60)
    took_s, events = await closed_in(shelf, bench)
    assert took_s < 0.2
    assert kinds(events)[-1] == "SessionReleased"
    for _ in range(5):  # as often as you like
        async with shelf.process(bench_with(calling("look", "put"), look=60, put=60)) as process:
            await process.wake()
            await asyncio.sleep(1)
    again = bench_with(calling("look", "put"))
    async with shelf.process(again) as process:
        await process.idle()
    assert ended(await shelf.events()) == ["completed"]
    assert (again.look.runs, again.put.runs) == (bench.look.runs, bench.put.runs), "the same idempotency keys"


async def test_a_call_that_may_run_only_once_may_end(shelf: Shelf) -> None:
    took_s, events = await closed_in(shelf, bench_with(calling("pay", "look"), pay=3, look=60))
    assert 2 < took_s < 3
    returned = {event.name: event.outcome for event in events if isinstance(event, ToolReturned)}
    assert returned == {"pay": "ok"}
    assert kinds(events)[-1] == "SessionReleased"


async def test_what_is_cut_at_the_bound_is_unknown_if_it_may_run_only_once(shelf: Shelf) -> None:
    took_s, events = await closed_in(shelf, bench_with(calling("pay"), pay=60))
    assert 5 <= took_s < 6
    assert kinds(events)[-1] == "SessionReleased"
    second = bench_with(calling("pay"))
    async with shelf.process(second) as process:
        await process.idle()
    assert second.pay.runs == []
    assert [event.outcome for event in await shelf.events() if isinstance(event, ToolReturned)] == ["unknown"]


async def test_a_step_may_end_and_the_next_is_another_process_s(shelf: Shelf) -> None:
    def step(request: BackendRequest) -> list[Any]:
        return [Pause(2), *calling("look")(request)]

    took_s, events = await closed_in(shelf, bench_with(step, look=0))
    assert 1 < took_s < 2
    assert kinds(events)[-2:] == ["StepFinished", "SessionReleased"]


async def test_the_last_step_ends_the_turn_and_the_next_message_waits(shelf: Shelf) -> None:
    loop = asyncio.get_running_loop()
    async with shelf.process(Bench(ScriptedBackend(lambda _: [Pause(1), Say("So.")])), limits=Limits()) as process:
        await process.create()
        await process.send("one")
        await process.send("two")
        await asyncio.sleep(0.5)
        began_s = loop.time()
        await process.registry.close()
        assert loop.time() - began_s < 1
    events = await shelf.events()
    assert ended(events) == ["completed"]
    assert sum(isinstance(event, TurnStarted) for event in events) == 1
    assert kinds(events)[-1] == "SessionReleased"
    async with shelf.process(Bench(ScriptedBackend(["So."]))) as process:
        await process.idle()
    assert ended(await shelf.events()) == ["completed", "completed"]


async def test_an_idle_session_is_left_alone(shelf: Shelf) -> None:
    async with shelf.process(Bench(ScriptedBackend(["So."]))) as process:
        await process.create()
        await process.answer()
    assert kinds(await shelf.events())[-1] == "TurnEnded"


async def test_a_turn_that_is_not_to_be_resumed_may_end(shelf: Shelf) -> None:
    took_s, events = await closed_in(shelf, bench_with(calling("look"), look=2), recovery="close")
    assert 1 < took_s < 2
    assert ended(events) == ["completed"]


async def test_a_released_session_may_be_claimed_while_its_owner_lives(shelf: Shelf) -> None:
    async with shelf.process(bench_with(calling("look"), look=60)) as first:
        await first.create()
        await first.send()
        await asyncio.sleep(0.5)
        async with shelf.process(bench_with(calling("look"))) as second:
            await second.wake()
            assert not any(isinstance(event, SessionClaimed) for event in await shelf.events())
            await first.registry.close()
            assert await second.store.is_alive(first.store.node)
            async with second.registry.using(HERE) as live:
                await second.watch.look(live)
            await second.idle()
    assert ended(await shelf.events()) == ["completed"]


# --- calls that kill their process (T3) -----------------------------------------------------------------------------------


async def lives_until_rest(shelf: Shelf, calls: Sequence[str], killers: set[str]) -> tuple[int, list[str]]:
    """Starts processes until the session is at rest; each dies when a killer runs. Returns how many died, and all runs."""
    runs: list[str] = []
    for deaths in range(20):
        bench = bench_with(calling(*calls), look=0.5, put=0.5, pay=0.5)
        died = asyncio.Event()
        for tool in (bench.look, bench.put, bench.pay):
            if tool.spec.name in killers:
                tool.call = _killing(tool, died)  # type: ignore[method-assign]
        async with shelf.process(bench) as process:
            if deaths == 0:
                await process.create()
                await process.send()
            await process.wake()
            async with process.registry.using(HERE) as live:
                resting = asyncio.ensure_future(until_idle(live))
            waiting = asyncio.ensure_future(died.wait())
            await asyncio.wait({resting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            is_dead = died.is_set()
            if is_dead:
                await process.die()
            for task in (resting, waiting):
                task.cancel()
            await asyncio.wait({resting, waiting})
        runs += [name for name in ("look", "put", "pay") for _ in getattr(bench, name).runs]
        if not is_dead:
            return deaths, runs
    raise AssertionError("the session kills every process")


def _killing(tool: CountingTool, died: asyncio.Event) -> Callable[..., Any]:
    async def call(arguments: Mapping[str, Any], context: ToolContext) -> str:
        await CountingTool.call(tool, arguments, context)
        died.set()
        return await asyncio.Event().wait() and "never"

    return call


@pytest.mark.parametrize(
    ("calls", "killers", "deaths", "outcomes"),
    [
        (["look"], {"look"}, 3, {"look": "error"}),
        (["put"], {"put"}, 3, {"put": "unknown"}),
        (["pay"], {"pay"}, 1, {"pay": "unknown"}),
        (["look", "put"], {"put"}, 3, {"look": "ok", "put": "unknown"}),
        (["look", "put"], {"look"}, 3, {"look": "error", "put": "ok"}),
        (["look", "put"], {"look", "put"}, 5, {"look": "error", "put": "unknown"}),
        (["pay", "look"], {"look"}, 3, {"pay": "unknown", "look": "error"}),
    ],
)
async def test_a_call_that_kills_its_process_is_given_up(
    shelf: Shelf, calls: list[str], killers: set[str], deaths: int, outcomes: dict[str, str]
) -> None:
    died, runs = await lives_until_rest(shelf, calls, killers)
    events = await shelf.events()
    assert ended(events) == ["completed"], "the model was told, and answered"
    assert {event.name: event.outcome for event in events if isinstance(event, ToolReturned)} == outcomes
    assert died == deaths
    assert runs.count("pay") <= 1
    for event in events:
        if isinstance(event, ToolReturned) and event.name in killers and event.name != "pay":
            assert "started 3 times" in event.content
    starts = [event.idempotency_key for event in events if isinstance(event, ToolStarted)]
    assert len(set(starts)) == len(calls), "every start is in the log, under one key each"


async def test_what_kills_before_it_is_started_is_given_up_too(shelf: Shelf) -> None:
    """A sibling: `check` runs before the intent is written, so that only the claims tell of it."""
    for deaths in range(10):
        bench = Bench(ScriptedBackend(calling("look")))
        async with shelf.process(bench) as process:
            died = asyncio.Event()
            bench.look.check = lambda _, process=process, died=died: (process.kill(), died.set())  # type: ignore[method-assign, misc]
            if deaths == 0:
                await process.create(approval={"look": "ask"})
                await process.send()
            await process.wake()
            if ended(await shelf.events()):
                break
            await died.wait()
            await process.die()
    assert ended(await shelf.events()) == ["interrupted"]
    assert deaths == LIMITS.attempts_max + 1
