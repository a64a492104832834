"""Budgets of turns and sessions: looked at before each step and while it streams."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from contract.conftest import OpenStage, in_memory
from contract.reading import error_of, text_of
from contract.stage import Stage
from greenroom import InvalidArgument
from greenroom.backends.scripted import Call, Finish, Say
from greenroom.messages import Usage

PRICES = """
date = "2026-11-25"
[[models]]
backend = "scripted"
model = "dear-*"
input_usd = 1000000.0
output_usd = 2000000.0
context_window = 100
"""


def costs(input_tokens: int, output_tokens: int) -> Finish:
    return Finish(usage=Usage(input_tokens=input_tokens, output_tokens=output_tokens))


@pytest.fixture
def prices(tmp_path: Path) -> str:
    """A file of prices in which a token costs a dollar or two."""
    path = tmp_path / "prices.toml"
    path.write_text(PRICES, encoding="utf-8")
    return str(path)


async def test_a_session_that_has_used_its_tokens_is_not_asked_again(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("One."), costs(60, 40)], [Say("Two."), costs(60, 40)], "Three."])
    session_id = await stage.session(budget_tokens=200)
    assert text_of(await stage.say(session_id)) == "One."
    assert text_of(await stage.say(session_id)) == "Two."
    error = error_of(await stage.say(session_id))
    assert error["code"] == "budget_exceeded"
    assert "200 tokens of its budget of 200" in error["message"]
    assert stage.backend.request_count == 2
    await stage.manager.update_session(session_id, budget_tokens=201)
    assert text_of(await stage.say(session_id)) == "Three."


async def test_a_turn_ends_between_steps(open_stage: OpenStage) -> None:
    loop = [Call("roll_dice", {"notation": "1d6"}), costs(40, 10)]
    stage = open_stage([loop, loop, loop, loop, "never"])
    session_id = await stage.session(turn_budget_tokens=100)
    error = error_of(await stage.say(session_id))
    assert error["code"] == "budget_exceeded"
    assert stage.backend.request_count == 2
    assert stage.data(session_id)["usage"]["input_tokens"] == 80
    assert error_of(await stage.say(session_id))["code"] == "budget_exceeded", "each turn has its own"
    assert stage.backend.request_count == 4


async def test_an_answer_is_cut_off_in_the_middle_and_the_history_stays_valid(open_stage: OpenStage) -> None:
    stage = open_stage([[Say(["word " * 100] * 50)], "Fine."])
    session_id = await stage.session(turn_budget_tokens=2500, essential_tools=[])
    events = await stage.say(session_id)
    assert error_of(events)["code"] == "budget_exceeded"
    assert 0 < len(text_of(events)) < 100 * 50 * 5
    data = stage.data(session_id)
    assert 2500 <= data["usage"]["input_tokens"] + data["usage"]["output_tokens"] < 3000
    assert text_of(await stage.say(session_id, "and now?")) == "Fine."
    kept = [message for message in stage.last_request.messages if "word" in repr(message)]
    assert kept, "what was said is part of the history"


async def test_an_answer_that_is_complete_is_not_cut_off(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("One."), costs(60, 40)]])
    session_id = await stage.session(budget_tokens=100)
    events = await stage.say(session_id)
    assert (text_of(events), events[-1]["type"]) == ("One.", "RUN_FINISHED")
    assert error_of(await stage.say(session_id))["code"] == "budget_exceeded"


async def test_what_is_cut_off_keeps_its_price(open_stage: OpenStage, prices: str) -> None:
    stage = open_stage([[Say(["word " * 100] * 50)]], config={"prices": prices})
    session_id = await stage.session(llm_model="dear-1", turn_budget_tokens=2500, essential_tools=[])
    assert error_of(await stage.say(session_id))["code"] == "budget_exceeded"
    usage = stage.data(session_id)["usage"]
    assert usage["cost_usd"] == pytest.approx(usage["input_tokens"] + 2 * usage["output_tokens"])


async def test_money_is_counted_with_the_installation_s_own_prices(open_stage: OpenStage, prices: str) -> None:
    stage = open_stage([[Say("One."), costs(3, 2)], "Two."], config={"prices": prices})
    session_id = await stage.session(llm_model="dear-1", budget_usd=7.0)
    await stage.say(session_id)
    assert stage.data(session_id)["usage"]["cost_usd"] == pytest.approx(7.0)
    error = error_of(await stage.say(session_id))
    assert error["code"] == "budget_exceeded"
    assert "of its budget of 7 USD" in error["message"]


@in_memory
async def test_a_money_budget_without_a_price_is_refused(open_stage: OpenStage) -> None:
    stage = open_stage()
    with pytest.raises(InvalidArgument, match="price of openai:model-of-tomorrow is not known"):
        await stage.manager.create_session(backend="openai", llm_model="model-of-tomorrow", budget_usd=1.0)
    session_id = await stage.session(budget_usd=1.0)
    with pytest.raises(InvalidArgument, match="not known"):
        await stage.manager.update_session(session_id, fallbacks=["openai:model-of-tomorrow"])
    await stage.manager.create_session(backend="openai", llm_model="gpt-4o", budget_usd=1.0)


@in_memory
async def test_a_model_that_answers_instead_and_has_no_price_ends_the_next_step(open_stage: OpenStage) -> None:
    stage = open_stage([[Say("One."), Finish(usage=Usage(input_tokens=1), model="stranger")], "Two."])
    session_id = await stage.session(budget_usd=1.0)
    await stage.say(session_id)
    assert text_of(await stage.say(session_id)) == "Two.", "what is free stays free, whatever it is called"


@in_memory
@pytest.mark.parametrize("name", ["budget_tokens", "turn_budget_tokens", "budget_usd", "turn_budget_usd"])
async def test_zero_means_nothing(stage: Stage, name: str) -> None:
    session_id = await stage.session(**{name: 0})
    assert error_of(await stage.say(session_id))["code"] == "budget_exceeded"
    assert stage.backend.request_count == 0


@in_memory
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("budget_usd", -0.1),
        ("budget_usd", "much"),
        ("budget_tokens", -1),
        ("budget_tokens", 1.5),
        ("turn_budget_usd", 2e6),
    ],
)
async def test_a_budget_that_makes_no_sense_is_refused(stage: Stage, name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=name):
        await stage.session(**{name: value})


@in_memory
@pytest.mark.parametrize("text", ["date = 7", "[[models]]\nbackend = 'x'", "not toml", "date = 'x'\nextra = 1"])
async def test_a_file_of_prices_that_is_wrong_says_so(open_stage: OpenStage, tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(text, encoding="utf-8")
    stage = open_stage(config={"prices": str(path)})
    with pytest.raises(InvalidArgument, match=r"prices\.toml"):
        await stage.session(budget_usd=1.0)


async def test_the_prices_say_their_date(open_stage: OpenStage, prices: str) -> None:
    stage = open_stage(config={"prices": prices})
    table = stage.manager.catalog.prices
    date = await asyncio.to_thread(table.date)
    assert date.startswith("2026-11-25 (own file), else genai-prices ")
    assert table.context_window(backend="scripted", model="dear-2") == 100
