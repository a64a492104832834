"""A process that dies in the middle of a step leaves in the log what the provider has told of its usage."""

from __future__ import annotations

from typing import Any

import pytest

from greenroom.backends.scripted import Call, Count, Cue, Finish, Gate, Say, ScriptedBackend, Think
from greenroom.events import CancelRequested, Record, StepFailed, StepProgress, TurnEnded, TurnStarted
from greenroom.messages import Usage
from harness import HERE, Bench, stage, store_with

TOLD = Usage(input_tokens=900, output_tokens=3, cost_usd=0.5)
WHOLE = Usage(input_tokens=900, output_tokens=40, cost_usd=0.75)


async def left_behind(recovery: str, *cues: Cue) -> list[Record]:
    """Returns the log of a process that dies when the provider has fallen silent."""
    gate = Gate()
    async with stage([[*(cues or [Count(TOLD)]), gate]]) as first:
        await first.create(recovery=recovery)
        await first.send("hello")
        await gate.reached()
        async with first.registry.using(HERE) as live:
            await live.write()  # as the flush would, some milliseconds later
        return list(await first.store.log.read(HERE))


def told(event: Any) -> Usage:
    assert isinstance(event, StepFailed | TurnEnded)
    return event.usage


@pytest.mark.virtual_time
async def test_it_is_written_before_the_step_has_an_end() -> None:
    last = (await left_behind("resume"))[-1].event
    assert last == StepProgress(items=(), usage=TOLD)


@pytest.mark.virtual_time
@pytest.mark.parametrize(("recovery", "cost_usd"), [("resume", 1.25), ("close", 0.5)])
async def test_recovery_counts_it(recovery: str, cost_usd: float) -> None:
    records = await left_behind(recovery)
    async with stage(
        store=await store_with(records), bench=Bench(ScriptedBackend([[Say("Whole."), Finish(usage=WHOLE)]]))
    ) as second:
        await second.idle()
        assert told((await second.events())[len(records) + 1]) == TOLD
        async with second.registry.using(HERE) as live:
            assert live.state.tally.usage.cost_usd == cost_usd


HALF = "Half an answer, "


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("cues", "input_tokens", "output_tokens", "estimated"),
    [
        ([Say(HALF)], None, len(HALF) // 4, True),
        ([Count(Usage(input_tokens=900)), Say(HALF)], 900, len(HALF) // 4, True),  # Claude tells the input first
        ([Say(HALF), Count(TOLD)], 900, 3, False),
        (
            [Say(HALF), Count(Usage(input_tokens=900, estimated=True))],
            900 - len(HALF) // 4,
            len(HALF) // 4,
            True,
        ),  # a total alone
        ([Think(HALF), Call("roll_dice", '{"sides')], None, (len(HALF) + len("roll_dice") + len('{"sides')) // 4, True),
    ],
)
async def test_recovery_estimates_what_was_not_counted(
    cues: list[Cue], input_tokens: int | None, output_tokens: int, *, estimated: bool
) -> None:
    """Case P12 (NousResearch/hermes-agent#12023): the attempt whose process died was paid for as well."""
    records = await left_behind("resume", *cues)
    async with stage(
        store=await store_with(records), bench=Bench(ScriptedBackend([[Say("Whole."), Finish(usage=WHOLE)]]))
    ) as second:
        await second.idle()
        usage = told((await second.events())[len(records) + 1])
        assert (usage.output_tokens, usage.estimated) == (output_tokens, estimated)
        assert usage.input_tokens > 0 if input_tokens is None else usage.input_tokens == input_tokens
        async with second.registry.using(HERE) as live:
            tally = live.state.tally.usage
            assert tally.output_tokens == WHOLE.output_tokens + output_tokens
            assert tally.estimated == estimated


@pytest.mark.virtual_time
async def test_recovery_of_a_cancelled_turn_counts_it() -> None:
    records = await left_behind("resume")
    turn_id = next(event.turn_id for record in records if isinstance(event := record.event, TurnStarted))
    cancel = CancelRequested(turn_id=turn_id)
    records.append(Record(seq=len(records) + 1, epoch=records[-1].epoch, at_ms=records[-1].at_ms, event=cancel))
    async with stage(store=await store_with(records), bench=Bench(ScriptedBackend([]))) as second:
        await second.idle()
        end = (await second.events())[-1]
        assert told(end) == TOLD
        assert isinstance(end, TurnEnded)
        assert end.outcome == "cancelled"
