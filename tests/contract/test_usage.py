"""What a step has used counts, however the step ends: as far as its provider told, and no further."""

from __future__ import annotations

import asyncio

import pytest

from contract.conftest import OpenStage
from contract.reading import Json
from contract.stage import Stage
from greenroom.backends.scripted import Call, Count, Cut, Fail, Finish, Gate, Say
from greenroom.errors import BackendRejected
from greenroom.messages import Usage

TOLD = Usage(input_tokens=900, output_tokens=3, cached_input_tokens=400)
MORE = Usage(input_tokens=900, output_tokens=30, cached_input_tokens=400, reasoning_tokens=7)


def tokens(stage: Stage, session_id: str) -> tuple[int, int, int, int]:
    usage: Json = stage.data(session_id)["usage"]
    return usage["input_tokens"], usage["output_tokens"], usage["cached_input_tokens"], usage["reasoning_tokens"]


async def cancelled_at(stage: Stage, gate: Gate) -> tuple[str, list[Json]]:
    session_id = await stage.session()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(stage.say(session_id))
        await gate.reached()
        assert await stage.manager.cancel(session_id)
    return session_id, run.result()


async def test_a_cancelled_step_is_paid_for(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Count(TOLD), Say("Half "), Count(MORE), gate]])
    session_id, events = await cancelled_at(stage, gate)
    assert events[-1]["outcome"] == {"type": "cancelled"}
    assert [(count["inputTokens"], count["outputTokens"]) for count in events[-1]["usage"]] == [(900, 30)]
    assert tokens(stage, session_id) == (900, 30, 400, 7), "the last count, not the sum of the counts"
    assert stage.data(session_id)["usage"]["cost_usd"] == 0.0, "a scripted model costs nothing"


async def test_it_is_paid_for_where_nothing_was_said_yet(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Count(TOLD), gate]])
    session_id, _ = await cancelled_at(stage, gate)
    assert tokens(stage, session_id) == (900, 3, 400, 0)


async def test_nothing_is_made_up(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Half "), gate]])
    session_id, events = await cancelled_at(stage, gate)
    assert "usage" not in events[-1]
    assert tokens(stage, session_id) == (0, 0, 0, 0)


async def test_a_step_that_has_ended_is_counted_once(open_stage: OpenStage) -> None:
    hangs = Gate()
    whole = Finish(usage=MORE)
    stage = open_stage([[Count(TOLD), Call("roll_dice", {"notation": "1d6"}), whole], [hangs]])
    session_id, _ = await cancelled_at(stage, hangs)
    assert tokens(stage, session_id) == (900, 30, 400, 7)


@pytest.mark.parametrize("end", [Cut(), Fail(BackendRejected("no more"))])
async def test_every_failed_attempt_is_paid_for(open_stage: OpenStage, end: Cut | Fail) -> None:
    stage = open_stage([[Count(TOLD), Say("Half "), end]] * 5, config={"limits": {"attempts_max": 1}})
    session_id = await stage.session()
    events = await stage.say(session_id)
    assert events[-1]["type"] == "RUN_ERROR"
    attempts = stage.backend.request_count
    assert attempts == (2 if isinstance(end, Cut) else 1)
    assert tokens(stage, session_id) == (900 * attempts, 3 * attempts, 400 * attempts, 0)
    assert len(events[-1]["usage"]) == attempts


async def test_a_count_stands_where_the_end_has_none(open_stage: OpenStage) -> None:
    stage = open_stage([[Count(TOLD), Say("Whole."), Finish(usage=Usage())]])
    session_id = await stage.session()
    await stage.say(session_id)
    assert tokens(stage, session_id) == (900, 3, 400, 0)
