"""What a step has used counts, however the step ends: as its provider told; and estimated, and said to be, where it did not.

Case P12 (NousResearch/hermes-agent#12023): a server that sends no usage cost nothing, and no budget ever ended.
"""

from __future__ import annotations

import asyncio

import pytest

from contract.conftest import OpenStage
from contract.reading import Json, error_of
from contract.stage import CheckedBackend, Stage
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


async def test_a_cancelled_step_of_which_nothing_was_told_is_estimated(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("Half an answer "), gate]])
    session_id, events = await cancelled_at(stage, gate)
    (count,) = events[-1]["usage"]
    assert count["estimated"] is True
    usage = stage.data(session_id)["usage"]
    assert (usage["output_tokens"], usage.get("estimated", False)) == (len("Half an answer ") // 4, True)
    assert usage["input_tokens"] == count["inputTokens"] > 100, "with the tools"


async def test_a_request_that_was_taken_is_paid_for_also_if_it_is_stopped_before_the_answer(
    open_stage: OpenStage,
) -> None:
    gate = Gate()
    stage = open_stage([[gate, Say("Never.")]])
    session_id, _ = await cancelled_at(stage, gate)
    usage = stage.data(session_id)["usage"]
    assert usage["input_tokens"] > 0
    assert (usage["output_tokens"], usage.get("estimated", False)) == (0, True)


async def test_a_refused_request_costs_nothing(open_stage: OpenStage) -> None:
    stage = open_stage([[Fail(BackendRejected("no"))]])
    session_id = await stage.session()
    events = await stage.say(session_id)
    assert "usage" not in events[-1]
    assert stage.data(session_id)["usage"] == dict.fromkeys(stage.data(session_id)["usage"], 0)


SAID = "Something that takes forty characters.. "


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        pytest.param(Usage(), (None, 10), id="zeros"),
        pytest.param(Usage(input_tokens=900), (900, 10), id="input alone"),
        pytest.param(Usage(output_tokens=7), (None, 7), id="output alone"),
        pytest.param(Usage(input_tokens=900, estimated=True), (890, 10), id="a total alone"),
        pytest.param(Usage(input_tokens=4, estimated=True), (0, 4), id="a total that is less than what was said"),
    ],
)
async def test_what_the_provider_has_not_counted_is_estimated(
    open_stage: OpenStage, told: Usage, expected: tuple[int | None, int]
) -> None:
    mystery = CheckedBackend([[Say(SAID), Finish(usage=told)], [Say(SAID), Finish(usage=TOLD)]])
    stage = open_stage(backends={"mystery": mystery})
    session_id = await stage.session(backend="mystery", llm_model="model-of-tomorrow")
    events = await stage.say(session_id)
    usage = stage.data(session_id)["usage"]
    sent, said = expected
    assert usage["output_tokens"] == said
    assert usage["input_tokens"] == sent if sent is not None else usage["input_tokens"] > 100
    assert (usage.get("estimated", False), usage["cost_usd"]) == (True, None)
    assert events[-1]["usage"][0]["estimated"] is True
    await stage.say(session_id)
    assert stage.data(session_id)["usage"]["estimated"], "a sum is estimated when a part of it is"
    found = await stage.manager.usage()
    assert (found.usage.estimated, found.usage.cost_usd) == (True, None)
    assert found.estimated_tokens == usage["input_tokens"] + usage["output_tokens"]
    assert found.unpriced_tokens == found.estimated_tokens + 903


async def test_a_count_in_the_middle_is_completed_by_an_estimate(open_stage: OpenStage) -> None:
    """Claude counts as an answer begins, and the next time as it ends."""
    gate = Gate()
    stage = open_stage([[Count(Usage(input_tokens=900, output_tokens=1)), Say(SAID * 10), gate]])
    session_id, _ = await cancelled_at(stage, gate)
    usage = stage.data(session_id)["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage.get("estimated", False)) == (900, 101, True)


async def test_what_was_counted_up_to_the_end_is_not_estimated(open_stage: OpenStage) -> None:
    stage = open_stage([[Count(TOLD), Say(SAID), Count(MORE), Finish(usage=MORE)]])
    session_id = await stage.session()
    await stage.say(session_id)
    usage = stage.data(session_id)["usage"]
    assert (usage["output_tokens"], usage.get("estimated", False)) == (30, False)


async def test_a_price_that_the_provider_states_is_kept(open_stage: OpenStage) -> None:
    stated = Usage(input_tokens=900, output_tokens=30, cost_usd=0.125)
    stage = open_stage(backends={"mystery": CheckedBackend([[Say(SAID), Finish(usage=stated)], [Say(SAID)]])})
    session_id = await stage.session(backend="mystery", llm_model="model-of-tomorrow")
    await stage.say(session_id)
    assert stage.data(session_id)["usage"]["cost_usd"] == 0.125
    await stage.say(session_id)
    assert stage.data(session_id)["usage"]["cost_usd"] is None, "a sum is unknown when a part of it is"
    found = await stage.manager.usage()
    assert (found.usage.cost_usd, found.unpriced_tokens > 0) == (0.125, True)


@pytest.mark.parametrize("budget", ["budget_tokens", "turn_budget_tokens", "user"])
async def test_a_budget_ends_where_nothing_is_counted(open_stage: OpenStage, budget: str) -> None:
    loop = [Call("roll_dice", {"notation": "1d6"}), Finish(usage=Usage())]
    config = {"user_budget": {"tokens": 20_000}} if budget == "user" else {}
    stage = open_stage([loop] * 100, config=config)
    bounds = {} if budget == "user" else {budget: 20_000}
    session_id = await stage.session(max_steps=100, **bounds)
    error = error_of(await stage.say(session_id))
    assert error["code"] == "budget_exceeded"
    assert 1 < stage.backend.request_count < 100


async def test_a_step_that_has_ended_is_counted_once(open_stage: OpenStage) -> None:
    hangs = Gate()
    whole = Finish(usage=MORE)
    stage = open_stage(
        [[Count(TOLD), Call("roll_dice", {"notation": "1d6"}), whole], [Count(Usage(input_tokens=1)), hangs]]
    )
    session_id, _ = await cancelled_at(stage, hangs)
    assert tokens(stage, session_id) == (901, 30, 400, 7)


@pytest.mark.parametrize("end", [Cut(), Fail(BackendRejected("no more"))])
async def test_every_failed_attempt_is_paid_for(open_stage: OpenStage, end: Cut | Fail) -> None:
    stage = open_stage([[Count(TOLD), Say("No."), end]] * 5, config={"limits": {"attempts_max": 1}})
    session_id = await stage.session()
    events = await stage.say(session_id)
    assert events[-1]["type"] == "RUN_ERROR"
    attempts = stage.backend.request_count
    assert attempts == (2 if isinstance(end, Cut) else 1)
    assert tokens(stage, session_id) == (900 * attempts, 3 * attempts, 400 * attempts, 0)
    assert len(events[-1]["usage"]) == attempts


async def test_a_count_stands_where_the_end_has_none(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("Whole."), Count(TOLD), Finish(usage=Usage())]])
    session_id = await stage.session()
    await stage.say(session_id)
    assert tokens(stage, session_id) == (900, 3, 400, 0)
