"""The budget of a user: over all sessions, also those that were deleted, in this and every other process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory, on_file
from contract.reading import error_of, text_of
from contract.stage import Stage
from contract.test_budgets import PRICES, costs
from greenroom import AgentManager, InvalidArgument, InvalidConfig
from greenroom.backends.scripted import Call, Count, Gate, Say
from greenroom.messages import Usage
from greenroom.runtime.allowance import first_day


def bounded(**bounds: Any) -> dict[str, Any]:
    return {"user_budget": bounds}


async def used(stage: Stage, user_id: str = "default") -> int:
    usage = (await stage.manager.usage(user_id)).usage
    return usage.input_tokens + usage.output_tokens


async def test_all_sessions_of_a_user_count_together(open_stage: OpenStage) -> None:
    stage = open_stage(
        [[Say("One."), costs(60, 40)], [Say("Two."), costs(60, 40)], "Theirs."], config=bounded(tokens=200)
    )
    first, second = await stage.session(), await stage.session()
    assert text_of(await stage.say(first)) == "One."
    assert text_of(await stage.say(second)) == "Two."
    for session_id in (first, second, await stage.session()):
        error = error_of(await stage.say(session_id))
        assert error["code"] == "budget_exceeded"
        assert "the user has used 200 tokens of its budget of 200 for 30 days" in error["message"]
    assert stage.backend.request_count == 2
    assert text_of(await stage.say(await stage.session(user_id="ann"))) == "Theirs.", "another user has another budget"


async def test_deleting_gives_nothing_back_and_copies_cost_nothing(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("One."), costs(60, 40)], "Two."], config=bounded(tokens=110))
    session_id = await stage.session()
    await stage.say(session_id)
    copy = await stage.manager.fork_session(session_id)
    moved = await stage.manager.import_session(await stage.manager.export_session(session_id))
    assert await used(stage) == 100
    for gone in (session_id, copy, moved):
        await stage.manager.cleanup_session(gone)
    assert await used(stage) == 100
    assert text_of(await stage.say(await stage.session())) == "Two."


async def test_taking_a_turn_back_gives_nothing_back(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("One."), costs(60, 40)]], config=bounded(tokens=100))
    session_id = await stage.session()
    await stage.manager.send(session_id, "Hello", turn_id="t")
    async for _ in stage.manager.attach(session_id):
        pass
    await stage.manager.rewind_session(session_id, "t")
    assert error_of(await stage.say(session_id))["code"] == "budget_exceeded"


async def test_a_turn_ends_between_steps(open_stage: OpenStage) -> None:
    loop = [Call("roll_dice", {"notation": "1d6"}), costs(40, 10)]
    stage = open_stage([loop, loop, loop, "never"], config=bounded(tokens=100))
    error = error_of(await stage.say(await stage.session()))
    assert error["code"] == "budget_exceeded"
    assert stage.backend.request_count == 2


async def test_answers_that_run_at_once_are_counted_together(open_stage: OpenStage) -> None:
    """Each for itself is far from the end of the budget; together they have reached it."""
    gates = [Gate(), Gate()]
    answers = [
        [Say("a"), Count(Usage(input_tokens=400)), gate, Count(Usage(input_tokens=600)), Say(["b", "c"]), costs(600, 2)]
        for gate in gates
    ]
    stage = open_stage(answers, config=bounded(tokens=1000))
    ids = [await stage.session(essential_tools=[]), await stage.session(essential_tools=[])]
    async with asyncio.TaskGroup() as tasks:
        runs = []
        for session_id, gate in zip(ids, gates, strict=True):
            runs.append(tasks.create_task(stage.say(session_id)))
            await gate.reached()
        gates[0].open()
        error = error_of(await runs[0])
        assert "the user has used 1000 tokens of its budget of 1000" in error["message"]
        gates[1].open()
    assert error_of(runs[1].result())["code"] == "budget_exceeded"
    assert await used(stage) >= 1000


@on_file
async def test_another_process_counts_too(open_stage: OpenStage) -> None:
    here = open_stage([[Say("One."), costs(60, 40)]], config=bounded(tokens=100))
    there = open_stage([[Say("Two."), costs(60, 40)]], config=bounded(tokens=100))
    await here.say(await here.session())
    assert error_of(await there.say(await there.session()))["code"] == "budget_exceeded"
    assert there.backend.request_count == 0


async def test_money_is_counted_and_its_price_has_to_be_known(open_stage: OpenStage, tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    stage = open_stage([[Say("One."), costs(3, 2)]], config={"prices": str(path), **bounded(usd=7, days=1)})
    await stage.say(await stage.session(llm_model="dear-1"))
    error = error_of(await stage.say(await stage.session(llm_model="dear-1")))
    assert "the user has used 7.000000 USD of its budget of 7 USD for today" in error["message"]
    with pytest.raises(InvalidArgument, match="price of openai:model-of-tomorrow is not known"):
        await stage.manager.create_session(backend="openai", llm_model="model-of-tomorrow")


async def test_what_was_used_without_a_price_is_told_apart(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("One."), costs(60, 40)]])
    session_id = await stage.session(user_id="ann")
    await stage.say(session_id)
    found = await stage.manager.usage("ann", days=7)
    assert (found.days, found.usage.input_tokens, found.usage.cost_usd, found.unpriced_tokens) == (7, 60, 0.0, 0)
    assert found.budget is None
    assert (await stage.manager.usage("nobody")).usage == Usage(cost_usd=0.0)


@in_memory
@pytest.mark.parametrize("days", [0, -1, 3661])
async def test_days_that_make_no_sense_are_refused(stage: Stage, days: int) -> None:
    with pytest.raises(InvalidArgument, match=f"days={days}"):
        await stage.manager.usage(days=days)


@pytest.mark.parametrize(
    "bounds",
    [{}, {"days": 3}, {"usd": -1}, {"tokens": 1.5}, {"usd": 1, "days": 0}, {"usd": 1, "dayz": 2}, {"usd": "x"}],
)
async def test_a_budget_that_makes_no_sense_is_refused(bounds: dict[str, Any], home: Path) -> None:
    with pytest.raises(InvalidConfig, match="user_budget"):
        await AgentManager("memory://", home=home, config=bounded(**bounds)).usage()


async def test_zero_means_nothing(open_stage: OpenStage) -> None:
    stage = open_stage(config=bounded(tokens=0))
    assert error_of(await stage.say(await stage.session()))["code"] == "budget_exceeded"
    assert stage.backend.request_count == 0


def test_the_last_days_include_today() -> None:
    noon_ms = 20_000 * 86_400_000 + 43_200_000
    assert [first_day(days, noon_ms) for days in (1, 2, 30)] == [20_000, 19_999, 19_971]
    assert first_day(3660, 0) == 0
