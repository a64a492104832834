"""A turn, and the manager, stopped after k steps of the event loop, for all k.

Rule: what is believed is what is written, there is one end, and the session takes the next message.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from greenroom.backends.scripted import Gate, Say, ScriptedBackend
from greenroom.config import Overlap
from greenroom.core.session import replayed
from greenroom.core.transcript import render
from greenroom.events import MessageJoined, TurnEnded
from greenroom.logs.memory import MemoryStore
from harness import HERE, Bench, Stage, stage, step_for, until_idle
from provider_rules import refusals
from transcript_rules import violations


async def believed_is_written(opened: Stage) -> None:
    live = opened.registry.find(HERE)
    assert live is not None
    written = replayed(HERE, await opened.store.log.read(HERE), limits=opened.limits)
    assert live.state.seq == written.seq
    assert live.state.tally.summary() == written.tally.summary() == await opened.store.index.get(HERE)
    assert render(live.state) == render(written)
    assert not violations(render(written))


async def steps(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.virtual_time
async def test_a_turn_is_cancelled_at_every_point() -> None:
    outcomes: Counter[str] = Counter()
    k = 0
    has_stopped = late = False
    while not (has_stopped and late):  # until a cancel comes too late
        async with stage(bench=Bench(ScriptedBackend(step_for))) as opened:
            await opened.create()
            reader = asyncio.ensure_future(opened.answer())
            await steps(k)
            stopped = await opened.exchange.cancel(HERE)
            has_stopped, late = has_stopped or stopped, not stopped
            events = [json.loads(event) for event in await reader]
            ends = [event for event in await opened.events() if isinstance(event, TurnEnded)]
            if ends:
                assert len(ends) == 1, f"k={k}"
                outcomes[ends[0].outcome] += 1
                assert events[-1]["type"] == "RUN_FINISHED", f"k={k}: {events[-1]}"
                assert stopped or ends[0].outcome == "completed", f"k={k}"
            else:
                outcomes["withdrawn"] += 1
                assert events[-1]["type"] == "RUN_ERROR", f"k={k}"
            await believed_is_written(opened)
            assert max(Counter(opened.bench.pay.runs).values(), default=1) == 1
            assert '"RUN_FINISHED"' in (await opened.answer("next"))[-1], f"k={k}"
        k += 1
    assert outcomes["cancelled"] > 25, outcomes


async def test_a_stop_that_comes_too_late_does_not_hit_the_next_turn() -> None:
    gate = Gate()
    async with stage([[Say("one "), gate, Say("two")]]) as opened:
        await opened.create()
        reader = asyncio.ensure_future(opened.answer())
        await gate.reached()
        opened.registry.stop_turn(HERE)  # the turn that it was meant for has ended: nothing in the log cancels this one
        gate.open()
        assert '"success"' in (await reader)[-1]


@pytest.mark.virtual_time
async def test_a_manager_is_closed_at_every_point_and_another_goes_on() -> None:
    recovered = 0
    for k in range(0, 120, 3):
        store = MemoryStore()
        await store.open()
        async with stage(store=store, bench=Bench(ScriptedBackend(step_for))) as opened:
            await opened.create()
            await opened.send()
            await steps(k)
            await opened.registry.tasks.end()  # as the end of the event loop does it, without asking anybody
            await check_log(store, opened)
        heir = store.sibling()
        await store.close()
        await heir.open()
        async with stage(store=heir, bench=Bench(ScriptedBackend(step_for))) as after:
            async with after.registry.using(HERE) as live:
                recovered += live.state.is_busy
                await until_idle(live)
            await believed_is_written(after)
            assert sum(isinstance(event, TurnEnded) for event in await after.events()) == 1, f"k={k}"
            runs: list[Any] = [*opened.bench.pay.runs, *after.bench.pay.runs]
            assert len(runs) == len(set(runs)), f"k={k}: paid twice"
        await heir.close()
    assert recovered > 10


async def check_log(store: MemoryStore, opened: Stage) -> None:
    state = replayed(HERE, await store.log.read(HERE), limits=opened.limits)
    assert not violations(render(state))


@pytest.mark.parametrize("overlap", ["interrupt", "rollback", "steer"])
@pytest.mark.virtual_time
async def test_a_message_arrives_at_every_point(overlap: Overlap) -> None:
    outcomes: Counter[str] = Counter()
    for k in range(0, 90, 2):
        async with stage(bench=Bench(ScriptedBackend(step_for))) as opened:
            await opened.create()
            first = await opened.send("first")
            await steps(k)
            second = await opened.send("now", overlap=overlap)
            await opened.idle()
            ends = {event.turn_id: event.outcome for event in await opened.events() if isinstance(event, TurnEnded)}
            outcomes[ends.get(first.turn_id, "never started")] += 1
            joined = [event.turn_id for event in await opened.events() if isinstance(event, MessageJoined)]
            assert second.turn_id in {*ends, *joined}, f"k={k}: not answered"
            async with opened.registry.using(HERE) as live:
                assert refusals(render(live.state)) == [], f"k={k}"
                kept = [turn.turn_id for turn in live.state.turns]
            if overlap == "rollback" and ends.get(first.turn_id) == "cancelled":
                assert first.turn_id not in kept, f"k={k}"
            await believed_is_written(opened)
            assert max(Counter(opened.bench.pay.runs).values(), default=1) == 1
    assert outcomes["completed"]
    assert overlap == "steer" or outcomes["cancelled"] > 5, outcomes
