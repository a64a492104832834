"""A session of thousands of records: folded, copied and encoded apart, so that nobody else waits."""

from __future__ import annotations

import asyncio

from greenroom.backends.scripted import ScriptedBackend
from greenroom.config import SessionConfig
from greenroom.errors import SessionNotFound
from greenroom.events import (
    MessageAccepted,
    Record,
    SessionCreated,
    StepFinished,
    StepProgress,
    StepStarted,
    TurnEnded,
    TurnStarted,
)
from greenroom.messages import PartDelta, PartEnded, PartStarted, TextPart
from greenroom.runtime.tasks import AT_ONCE_MAX
from harness import HERE, Bench, stage, store_with

TURNS = 200


def long_log() -> list[Record]:
    """Returns the records of a session of many turns, written by a process that is gone."""
    events: list[object] = [SessionCreated(user_id="ann", config=SessionConfig(backend="scripted"), node="gone")]
    for number in range(TURNS):
        turn_id = f"turn-{number}"
        items = (PartStarted(part=0, kind="text"), PartDelta(part=0, delta=f"answer {number}"), PartEnded(part=0))
        events += [
            MessageAccepted(message_id=f"m-{number}", turn_id=turn_id, parts=(TextPart(text=f"question {number}"),)),
            TurnStarted(turn_id=turn_id),
            StepStarted(step=1, attempt=1, backend="scripted", model="m"),
            StepProgress(items=items),
            StepFinished(reason="stop"),
            TurnEnded(turn_id=turn_id, outcome="completed"),
        ]
    return [Record(seq=seq, epoch=1, at_ms=seq, event=event) for seq, event in enumerate(events, start=1)]  # type: ignore[arg-type]


async def test_it_is_opened_forked_and_goes_on() -> None:
    store = await store_with(long_log())
    assert len(long_log()) > 2 * AT_ONCE_MAX
    async with stage(bench=Bench(ScriptedBackend(lambda _: "Hello.")), store=store) as opened:
        await opened.answer("hello")
        copy = await opened.operations.fork(HERE, at_seq=None)
        async with opened.registry.using(HERE) as live, opened.registry.using(copy) as copied:
            assert len(live.state.turns) == len(copied.state.turns) == TURNS + 1
            assert copied.state.parent is not None
        hits = await store.index.search(f'"question {TURNS - 1}"')
        assert copy in {hit.session_id for hit in hits}
        await opened.answer("and you?", session_id=copy)


async def test_one_that_is_deleted_while_it_is_folded_is_not_found() -> None:
    store = await store_with(long_log())
    async with stage(bench=Bench(ScriptedBackend(lambda _: "Hello.")), store=store) as opened:

        async def use() -> None:
            async with opened.registry.using(HERE):
                pass

        opening = asyncio.create_task(use())
        await asyncio.sleep(0)
        await store.log.delete(HERE)
        (outcome,) = await asyncio.gather(opening, return_exceptions=True)
        assert isinstance(outcome, SessionNotFound)
        assert opened.registry.find(HERE) is None
