"""Chance, for games, samples and decisions.

Without a seed the values come from the operating system's entropy; with one they are the same at every call.

Rule: a generator lives as long as its call. Python's global one is never touched, so that no seed of a model can reach
anything else in the process.
"""

from __future__ import annotations

import math
import random
import re
from typing import Annotated, Final

from msgspec import Meta

from greenroom.interfaces import ToolError
from greenroom.limits import RANDOM_COUNT_MAX
from greenroom.toolsets.function import Toolset, tool

_INTEGER_MAX: Final = 2**53 - 1
"""Above it a number that passes through JavaScript is no longer exact."""
_SIDES_MAX: Final = 1_000_000
_NOTATION_CHARACTERS_MAX: Final = 100
_TERM: Final = re.compile(r"([+-])(?:(\d*)d(\d+)|(\d+))")

Count = Annotated[int, Meta(ge=1, le=RANDOM_COUNT_MAX)]
Integer = Annotated[int, Meta(ge=-_INTEGER_MAX, le=_INTEGER_MAX)]
Item = str | int | float | bool
Seed = int | str | None


class RandomNumberTools(Toolset):
    """Random numbers, choices, shuffles and dice."""

    @tool(effect="pure")
    async def random_integer(
        self, minimum: Integer, maximum: Integer, count: Count = 1, seed: Seed = None
    ) -> int | list[int]:
        """Random whole numbers, each from minimum to maximum, both included.

        Args:
            minimum: Lowest possible number.
            maximum: Highest possible number.
            count: How many numbers.
            seed: For a repeatable result; leave it out for true chance.
        """
        if minimum > maximum:
            raise ToolError(f"minimum ({minimum}) is above maximum ({maximum}): swap them.")
        source = _source(seed)
        numbers = [source.randint(minimum, maximum) for _ in range(count)]
        return numbers[0] if count == 1 else numbers

    @tool(effect="pure")
    async def random_number(
        self, minimum: float = 0.0, maximum: float = 1.0, count: Count = 1, seed: Seed = None
    ) -> float | list[float]:
        """Random numbers with decimals, evenly spread from minimum to maximum.

        Args:
            minimum: Lowest possible number.
            maximum: Highest possible number.
            count: How many numbers.
            seed: For a repeatable result; leave it out for true chance.
        """
        if not math.isfinite(maximum - minimum):
            raise ToolError("minimum and maximum must be finite, and so must be the distance between them.")
        if minimum > maximum:
            raise ToolError(f"minimum ({minimum}) is above maximum ({maximum}): swap them.")
        source = _source(seed)
        numbers = [source.uniform(minimum, maximum) for _ in range(count)]
        return numbers[0] if count == 1 else numbers

    @tool(effect="pure")
    async def random_choice(
        self, options: list[Item], count: Count = 1, *, repeat: bool = False, seed: Seed = None
    ) -> Item | list[Item]:
        """Picks from a list at random.

        Args:
            options: What to pick from.
            count: How many to pick.
            repeat: Whether the same option may be picked more than once.
            seed: For a repeatable result; leave it out for true chance.
        """
        if not options:
            raise ToolError("options is empty: give at least one.")
        if not repeat and count > len(options):
            raise ToolError(
                f"{count} different ones cannot be picked from {len(options)}: lower count, or set repeat to true."
            )
        source = _source(seed)
        picked = source.choices(options, k=count) if repeat else source.sample(options, count)
        return picked[0] if count == 1 else picked

    @tool(effect="pure")
    async def shuffle(self, items: list[Item], seed: Seed = None) -> list[Item]:
        """Returns a list in random order.

        Args:
            items: The list.
            seed: For a repeatable result; leave it out for true chance.
        """
        return _source(seed).sample(items, len(items))

    @tool(effect="pure")
    async def roll_dice(self, notation: str = "1d6", seed: Seed = None) -> str:
        """Rolls dice.

        Args:
            notation: Dice and numbers, added or subtracted, for example 3d6+2, d20 or 2d8-1d4.
            seed: For a repeatable result; leave it out for true chance.
        """
        terms = _terms(notation)
        source = _source(seed)
        total, shown = 0, []
        for sign, count, sides in terms:
            rolls = [source.randint(1, sides) for _ in range(count)] if sides else []
            value = sum(rolls) if sides else count
            total += -value if sign == "-" else value
            shown.append(f"{sign} {rolls if sides else value}")
        return f"{total} = {' '.join(shown).removeprefix('+ ')}"


def _source(seed: Seed) -> random.Random:
    # As text, so that 42 and "42" are one seed: models write both.
    return random.SystemRandom() if seed is None else random.Random(str(seed))  # noqa: S311 - repeatable is the point


def _terms(notation: str) -> list[tuple[str, int, int]]:
    """Returns sign, count and sides of each term of a dice notation; a plain number has no sides.

    Raises:
        ToolError: it is not one, or is beyond the bounds.
    """
    plain = "".join(notation.split()).lower()
    signed = plain if plain[:1] in {"+", "-"} else f"+{plain}"
    matches = list(_TERM.finditer(signed)) if len(plain) <= _NOTATION_CHARACTERS_MAX and plain.isascii() else []
    if not matches or "".join(match[0] for match in matches) != signed:
        raise ToolError(f"{notation[:80]!r} is not dice notation: write for example 3d6+2, d20 or 2d8-1d4.")
    terms = [
        (sign, int(count or 1), int(sides)) if sides else (sign, int(number), 0)
        for sign, count, sides, number in (match.groups() for match in matches)
    ]
    for _, count, sides in terms:
        if sides > _SIDES_MAX or (not sides and count > _INTEGER_MAX):
            raise ToolError(f"A die has at most {_SIDES_MAX} sides, and a number is at most {_INTEGER_MAX}.")
    if any(match[3] and not int(match[3]) for match in matches):
        raise ToolError("A die has at least 1 side.")
    if sum(count for _, count, sides in terms if sides) > RANDOM_COUNT_MAX:
        raise ToolError(f"At most {RANDOM_COUNT_MAX} dice can be rolled at once.")
    return terms
