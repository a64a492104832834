"""A log that fails at any append, before or after it has written: the turn ends or goes on, nothing is lost, nothing runs twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

import pytest

from agui_client import Client
from greenroom.backends.scripted import Say, ScriptedBackend
from greenroom.core.session import replayed
from greenroom.core.transcript import render
from greenroom.events import MessageAccepted, TurnEnded
from greenroom.limits import DEFAULT_LIMITS, Limits
from greenroom.logs.memory import MemoryStore
from greenroom.testing.faulty_log import Fault, FaultyStore
from harness import HERE, Bench, stage, step_for
from transcript_rules import violations

KINDS = [Fault.FAILS_BEFORE, Fault.FAILS_AFTER, Fault.CONFLICTS]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.virtual_time
async def test_every_append_can_fail(kind: Fault) -> None:
    number = 1
    while True:
        number += 1  # the first append creates the session
        store = FaultyStore(MemoryStore(), {number: kind})
        bench = Bench(ScriptedBackend(step_for))
        async with stage(store=store, bench=bench) as opened:
            await opened.create()
            client = Client()
            for event in await opened.answer("one"):
                client.apply(event)
            assert client.ends == ["success"], f"append {number}: {client.ends}"
            await opened.idle()
            answer = await opened.answer("two")
            assert '"RUN_FINISHED"' in answer[-1], f"append {number}"
            records = await store.log.read(HERE)
            state = replayed(HERE, records, limits=DEFAULT_LIMITS)
            assert not violations(render(state))
            accepted = [r.event.turn_id for r in records if isinstance(r.event, MessageAccepted)]
            ended = [r.event.turn_id for r in records if isinstance(r.event, TurnEnded)]
            assert len(accepted) == 2, f"append {number}: accepted twice"
            assert sorted(accepted) == sorted(ended), f"append {number}"
            assert max(Counter(bench.pay.runs).values()) == 1, f"append {number}: paid twice"
            if store.log.appends < number:
                break
    assert number > 12


@pytest.mark.virtual_time
async def test_a_log_that_stays_down_is_told_to_the_reader_and_the_session_goes_on_later() -> None:
    store = FaultyStore(MemoryStore())
    limits = Limits(revive_wait_s_max=2.0)
    async with stage([[Say("never")], [Say("later")], [Say("later")]], store=store, limits=limits) as opened:
        await opened.create()
        receipt = await opened.send()
        store.log.fail_reads(1000)
        for append in range(store.log.appends + 1, store.log.appends + 50):
            store.log._faults[append] = Fault.FAILS_BEFORE
        from greenroom.core.cursor import parse_cursor
        from greenroom.streams import turn_events

        cursor = parse_cursor(receipt.cursor)
        events = [e async for e in turn_events(opened.registry, HERE, turn_id=receipt.turn_id, cursor=cursor)]
        assert json.loads(events[-1])["code"] == "log_unavailable"
        await asyncio.sleep(100)
        before = store.log.reads_failed
        await asyncio.sleep(100)
        assert 50 <= store.log.reads_failed - before <= 200, "looks again every two seconds, with jitter"
        store.log.fail_reads(0)
        store.log._faults.clear()
        assert '"RUN_FINISHED"' in (await opened.answer("again"))[-1]
        ends = [event for event in await opened.events() if isinstance(event, TurnEnded)]
        assert [end.outcome for end in ends] == ["completed", "completed"], "the first was recovered, then the second"
