"""A process that dies behind any record, or any item of a record, of a turn: the session goes on.

Each prefix of a whole log is what some crash leaves behind. It is opened as a new process would, and then: one end per turn (P3),
a transcript that every provider takes (P1), nothing acknowledged gone (P2), no tool with side effects run twice (P8).
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from greenroom.backends.scripted import Call, Finish, Say, ScriptedBackend, Think
from greenroom.core.session import replayed
from greenroom.core.transcript import render
from greenroom.core.view import pending_approvals
from greenroom.events import (
    ApprovalDecided,
    ApprovalRequested,
    MessageAccepted,
    MessageJoined,
    Record,
    SessionReleased,
    StepFinished,
    StepProgress,
    ToolReturned,
    ToolStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.interfaces import BackendRequest
from greenroom.messages import PartStarted, ToolMessage
from harness import HERE, Bench, Stage, stage, step_for, store_with, until_idle
from provider_rules import refusals
from transcript_rules import violations


async def whole_log() -> list[Record]:
    async with stage(bench=Bench(ScriptedBackend(step_for))) as full:
        await full.create()
        await full.answer("first")
        receipt = await full.send("second")
        await full.send("third")
        assert receipt.position == 0
        async with full.registry.using(HERE) as live:
            await until_idle(live)
        return list(await full.store.log.read(HERE))


def crashes(records: list[Record]) -> list[list[Record]]:
    """Every prefix, and every prefix that ends within a progress."""
    prefixes = [records[:n] for n in range(1, len(records) + 1)]
    for n, record in enumerate(records):
        if isinstance(record.event, StepProgress):
            for items in range(1, len(record.event.items)):
                cut = StepProgress(items=record.event.items[:items])
                prefixes.append([*records[:n], Record(seq=n + 1, epoch=record.epoch, at_ms=record.at_ms, event=cut)])
    return prefixes


@pytest.mark.parametrize("recovery", ["resume", "close"])
@pytest.mark.virtual_time
async def test_every_crash_point(recovery: str) -> None:
    records = await whole_log()
    created = records[0].event
    created = type(created)(
        **{
            name: getattr(created, name) for name in created.__struct_fields__ if name != "config"
        },  # the same session, set to `recovery`
        config=type(created.config)(backend="scripted", recovery=recovery),
    )
    records[0] = Record(seq=1, epoch=1, at_ms=records[0].at_ms, event=created)
    points = crashes(records)
    assert len(points) > 60
    for prefix in points:
        await check(prefix)


@pytest.mark.virtual_time
async def test_every_point_of_a_hand_over() -> None:
    """Closing in good order writes one more record, wherever the session stands (case P27)."""
    for prefix in crashes(await whole_log()):
        last = prefix[-1]
        await check([*prefix, Record(seq=last.seq + 1, epoch=last.epoch, at_ms=last.at_ms, event=SessionReleased())])


async def check(prefix: list[Record]) -> None:
    where = f"crash behind record {len(prefix)} ({type(prefix[-1].event).__name__})"
    store = await store_with(prefix)
    async with stage(store=store, bench=Bench(ScriptedBackend(step_for))) as after:
        async with after.registry.using(HERE) as live:
            assert not violations(render(live.state)), where
            await until_idle(live)
            assert not violations(render(live.state)), where
        events = await after.events()
        accepted = [event.turn_id for event in events if isinstance(event, MessageAccepted)]
        ended = Counter(event.turn_id for event in events if isinstance(event, TurnEnded))
        assert [event for event in accepted if ended[event] != 1] == [], where
        assert events[: len(prefix)] == [record.event for record in prefix], "nothing that was written is gone"
        before = {
            event.idempotency_key for record in prefix if (event := record.event).__class__.__name__ == "ToolStarted"
        }
        paid = Counter(after.bench.pay.runs)
        assert not [key for key in paid if key in before], f"{where}: paid twice"
        assert max(paid.values(), default=1) == 1, where
        # And the session takes the next message.
        answer = await after.answer("and now?")
        assert '"RUN_FINISHED"' in answer[-1], where


# --- with a question to a person, and messages that wait ----------------------------------------------------------------


def careful(request: BackendRequest) -> list[Any]:
    """Thinks and calls two tools, of which a person is asked about one; then answers."""
    if isinstance(request.messages[-1], ToolMessage):
        return [Say("All "), Say("done.")]
    return [Think("Which tools?"), Say("Let me see."), Call("pay", {}), Call("look", {})]


CAREFUL: dict[str, Any] = {"approval": {"pay": "ask"}, "unknown_outcome": "ask"}


async def decide_all(opened: Stage) -> None:
    """Lets the session come to rest: approves what waits."""
    while True:
        async with opened.registry.using(HERE) as live:
            pending = pending_approvals(live.state)
            if not live.state.is_busy:
                return
            if live.state.is_waiting:
                for approval in pending:
                    decided = ApprovalDecided(approval_id=approval.approval_id, call_id="", decision="approve")
                    await opened.exchange.approve(HERE, decided)
            reader, _ = live.join()
            if live.state.is_at_work:
                await reader.take()
            live.feed.leave(reader)


async def careful_log() -> list[Record]:
    async with stage(bench=Bench(ScriptedBackend(careful))) as full:
        await full.create(**CAREFUL)
        await full.send("first")
        await full.send("second", overlap="merge")
        await full.send("third", overlap="merge")
        await full.send("now", overlap="steer")
        await decide_all(full)
        return list(await full.store.log.read(HERE))


@pytest.mark.virtual_time
async def test_every_crash_point_with_an_approval_and_messages_that_wait() -> None:
    records = await careful_log()
    kinds = {type(record.event).__name__ for record in records}
    assert {"ApprovalRequested", "TurnSuspended", "ApprovalDecided", "MessageJoined"} <= kinds
    points = crashes(records)
    assert len(points) > 40
    for prefix in points:
        where = f"crash behind record {len(prefix)} ({type(prefix[-1].event).__name__})"
        store = await store_with(prefix)
        async with stage(store=store, bench=Bench(ScriptedBackend(careful))) as after:
            async with after.registry.using(HERE) as live:
                assert violations(render(live.state)) == refusals(render(live.state)) == [], where
            await decide_all(after)
            async with after.registry.using(HERE) as live:
                assert violations(render(live.state)) == refusals(render(live.state)) == [], where
            events = await after.events()
            started = Counter(event.turn_id for event in events if isinstance(event, TurnStarted))
            ended = Counter(event.turn_id for event in events if isinstance(event, TurnEnded))
            answered = {event.turn_id for event in events if isinstance(event, MessageJoined | TurnStarted)}
            accepted = {event.turn_id for event in events if isinstance(event, MessageAccepted)}
            assert started == ended, where
            assert accepted == answered, f"{where}: a message was lost"
            again = sum(isinstance(e, ApprovalRequested) and e.question == "run_again" for e in events)
            assert max(Counter(after.bench.pay.runs).values(), default=0) <= 1 + again, where


@pytest.mark.virtual_time
async def test_every_history_of_a_crash_is_taken_by_strict_providers() -> None:
    for prefix in crashes(await whole_log()):
        state = replayed(HERE, prefix)
        assert refusals(render(state)) == [], f"crash behind record {len(prefix)}"


# --- a call that its step cut off (case T1, OpenRouterTeam/typescript-agent#125) ------------------------------------------


def cut(request: BackendRequest) -> list[Any]:
    """Calls a tool, of which the output limit leaves the name."""
    if isinstance(request.messages[-1], ToolMessage):
        return [Say("I see.")]
    return [Call("look", {"a": 1}), Call("pay", ""), Finish(reason="length", raw_reason="length")]


@pytest.mark.virtual_time
@pytest.mark.parametrize("unknown_outcome", ["tell", "ask"])
async def test_half_a_call_is_not_run_at_any_crash_point(unknown_outcome: str) -> None:
    settings: dict[str, Any] = {"approval": {"pay": "ask"}, "unknown_outcome": unknown_outcome}
    async with stage(bench=Bench(ScriptedBackend(cut))) as full:
        await full.create(**settings)
        await full.answer("first")
        records = list(await full.store.log.read(HERE))
    for prefix in crashes(records):
        async with stage(store=await store_with(prefix), bench=Bench(ScriptedBackend(cut))) as after:
            await after.idle()
            assert after.bench.pay.runs == []
            assert not any(isinstance(event, ApprovalRequested) for event in await after.events())


@pytest.mark.virtual_time
@pytest.mark.parametrize("unknown_outcome", ["tell", "ask"])
@pytest.mark.parametrize("name", ["pay", "look", "put"])
async def test_an_older_log_in_which_half_a_call_was_started(name: str, unknown_outcome: str) -> None:
    """Older versions ran it. Their logs stay readable, and it is not run again, whatever a second run would do."""
    async with stage(bench=Bench(ScriptedBackend([[Call(name, ""), Finish(reason="length")]]))) as full:
        await full.create(unknown_outcome=unknown_outcome)
        await full.answer("first")
        records = list(await full.store.log.read(HERE))
    finished = next(n for n, record in enumerate(records) if isinstance(record.event, StepFinished))
    assembled = next(record.event for record in records if isinstance(record.event, StepProgress))
    call_id = next(item.call_id for item in assembled.items if isinstance(item, PartStarted))
    effect = {"pay": "once", "look": "pure", "put": "idempotent"}[name]
    intent = ToolStarted(call_id=call_id, name=name, effect=effect, idempotency_key=f"{HERE}/{call_id}")
    last = records[finished]
    started = Record(seq=last.seq + 1, epoch=last.epoch, at_ms=last.at_ms, event=intent)
    old = [*records[: finished + 1], started]
    async with stage(store=await store_with(old), bench=Bench(ScriptedBackend([[Say("I see.")]]))) as after:
        await after.idle()
        assert [tool.runs for tool in (after.bench.pay, after.bench.look, after.bench.put)] == [[], [], []]
        [returned] = [event for event in await after.events() if isinstance(event, ToolReturned)]
        assert returned.outcome == "unknown"
        assert "cut off by the output limit" in returned.content


@pytest.mark.virtual_time
async def test_an_older_log_in_which_a_person_was_asked_about_half_a_call() -> None:
    async with stage(
        bench=Bench(ScriptedBackend([[Call("pay", ""), Finish(reason="length")], [Say("I see.")]]))
    ) as full:
        await full.create()
        await full.answer("first")
        records = list(await full.store.log.read(HERE))
    finished = next(n for n, record in enumerate(records) if isinstance(record.event, StepFinished))
    assembled = next(record.event for record in records if isinstance(record.event, StepProgress))
    call_id = next(item.call_id for item in assembled.items if isinstance(item, PartStarted))
    last = records[finished]
    approval_id = f"{call_id}.1"
    asked = ApprovalRequested(approval_id=approval_id, call_id=call_id, name="pay")
    agreed = ApprovalDecided(approval_id=approval_id, call_id=call_id, decision="approve")
    edited = ApprovalDecided(approval_id=approval_id, call_id=call_id, decision="approve", arguments='{"to": "ann"}')
    for decided, runs in ((agreed, 0), (edited, 1)):
        old = [
            *records[: finished + 1],
            Record(seq=last.seq + 1, epoch=last.epoch, at_ms=last.at_ms, event=asked),
            Record(seq=last.seq + 2, epoch=last.epoch, at_ms=last.at_ms, event=decided),
        ]
        async with stage(store=await store_with(old), bench=Bench(ScriptedBackend([[Say("I see.")]]))) as after:
            await after.idle()
            assert len(after.bench.pay.runs) == runs, "a person who writes the arguments makes the call whole"
