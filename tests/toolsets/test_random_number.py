"""Chance, and the lack of it where a seed is given."""

from __future__ import annotations

import json
import random
from collections import Counter
from typing import Any

import pytest

from greenroom.interfaces import ToolContext, ToolError
from greenroom.toolsets.random_number import RandomNumberTools
from toolsets.calling import call

TOOLS = RandomNumberTools()
CALLS: list[tuple[str, dict[str, Any]]] = [
    ("random_integer", {"minimum": -10, "maximum": 1000, "count": 20}),
    ("random_number", {"minimum": -1, "maximum": 1, "count": 20}),
    ("random_choice", {"options": list(range(50)), "count": 20}),
    ("random_choice", {"options": list(range(50)), "count": 20, "repeat": True}),
    ("shuffle", {"items": list(range(20))}),
    ("roll_dice", {"notation": "20d1000"}),
]


@pytest.mark.parametrize(("name", "arguments"), CALLS)
class TestSeeds:
    async def test_a_seed_repeats_and_its_absence_does_not(
        self, context: ToolContext, name: str, arguments: dict[str, Any]
    ) -> None:
        seeded = {await call(TOOLS, name, context, **arguments, seed=7) for _ in range(3)}
        assert len(seeded) == 1
        assert await call(TOOLS, name, context, **arguments, seed="7") in seeded
        assert await call(TOOLS, name, context, **arguments, seed=8) not in seeded
        assert len({await call(TOOLS, name, context, **arguments) for _ in range(3)}) == 3

    async def test_the_generator_of_the_process_is_not_touched(
        self, context: ToolContext, name: str, arguments: dict[str, Any]
    ) -> None:
        state = random.getstate()
        await call(TOOLS, name, context, **arguments, seed=7)
        await call(TOOLS, name, context, **arguments)
        assert random.getstate() == state


async def test_integers_are_within_their_bounds_and_reach_them(context: ToolContext) -> None:
    numbers = json.loads(await call(TOOLS, "random_integer", context, minimum=1, maximum=3, count=300))
    assert set(numbers) == {1, 2, 3}
    assert await call(TOOLS, "random_integer", context, minimum=5, maximum=5) == "5"


async def test_numbers_are_within_their_bounds(context: ToolContext) -> None:
    numbers = json.loads(await call(TOOLS, "random_number", context, minimum=2, maximum=3, count=300))
    assert all(2 <= number <= 3 for number in numbers)
    assert 0 <= float(await call(TOOLS, "random_number", context)) <= 1


async def test_choices(context: ToolContext) -> None:
    assert await call(TOOLS, "random_choice", context, options=["only"]) == "only"
    picked = json.loads(await call(TOOLS, "random_choice", context, options=["a", "b", "c"], count=3))
    assert sorted(picked) == ["a", "b", "c"]
    many = json.loads(await call(TOOLS, "random_choice", context, options=["a", "b"], count=200, repeat=True))
    assert set(Counter(many)) == {"a", "b"}


async def test_a_shuffle_keeps_every_item(context: ToolContext) -> None:
    items = [1, "a", 2.5, True, 1]
    assert sorted(map(str, json.loads(await call(TOOLS, "shuffle", context, items=items)))) == sorted(map(str, items))
    assert await call(TOOLS, "shuffle", context, items=[]) == "[]"


@pytest.mark.parametrize(
    ("notation", "lowest", "highest"),
    [
        ("1d6", 1, 6),
        ("d20", 1, 20),
        ("D20", 1, 20),
        ("3d6+2", 5, 20),
        ("2d8 - 1d4", -2, 15),
        ("-1d4+10", 6, 9),
        ("+5", 5, 5),
        ("0d6", 0, 0),
        ("1000d1", 1000, 1000),
    ],
)
async def test_dice(context: ToolContext, notation: str, lowest: int, highest: int) -> None:
    for seed in range(30):
        answer = await call(TOOLS, "roll_dice", context, notation=notation, seed=seed)
        assert lowest <= int(answer.partition(" = ")[0]) <= highest


async def test_dice_show_each_roll(context: ToolContext) -> None:
    answer = await call(TOOLS, "roll_dice", context, notation="2d1-1d1+3")
    assert answer == "4 = [1, 1] - [1] + 3"
    assert (await call(TOOLS, "roll_dice", context)).partition(" = ")[0] in "123456"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("random_integer", {"minimum": 2, "maximum": 1}, "minimum .2. is above maximum .1.: swap them"),
        ("random_integer", {"minimum": 0, "maximum": 2**53}, "<= 9007199254740991"),
        ("random_integer", {"minimum": 0, "maximum": 1, "count": 1001}, "count: expected `int` <= 1000"),
        ("random_integer", {"minimum": 0, "maximum": 1, "count": 0}, "count: expected `int` >= 1"),
        ("random_number", {"minimum": 2, "maximum": 1}, "swap them"),
        ("random_number", {"minimum": "nan"}, "must be finite"),
        ("random_number", {"maximum": "inf"}, "must be finite"),
        ("random_number", {"minimum": -1.7e308, "maximum": 1.7e308}, "the distance between them"),
        ("random_choice", {"options": []}, "options is empty"),
        ("random_choice", {"options": ["a"], "count": 2}, "set repeat to true"),
        ("random_choice", {"options": [None]}, r"options\[0\]: expected"),
        ("roll_dice", {"notation": ""}, "is not dice notation: write for example 3d6"),
        ("roll_dice", {"notation": "3d"}, "is not dice notation"),
        ("roll_dice", {"notation": "2*d6"}, "is not dice notation"),
        ("roll_dice", {"notation": "1d6+"}, "is not dice notation"),
        ("roll_dice", {"notation": "\u0661d\u0666"}, "is not dice notation"),
        ("roll_dice", {"notation": "1+" * 1000 + "1"}, "is not dice notation"),
        ("roll_dice", {"notation": "1d0"}, "at least 1 side"),
        ("roll_dice", {"notation": "1d1000001"}, "at most 1000000 sides"),
        ("roll_dice", {"notation": "9" * 40}, "a number is at most"),
        ("roll_dice", {"notation": "600d6+600d6"}, "At most 1000 dice"),
    ],
)
async def test_bounds(context: ToolContext, name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ToolError, match=message):
        await call(TOOLS, name, context, **arguments)
