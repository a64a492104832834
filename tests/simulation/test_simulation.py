"""Thousands of histories of the world, each from one seed. A failure names its seed; `SEED=n` runs that one alone."""

from __future__ import annotations

import os
import random
import traceback
from collections import Counter

import pytest

from simulation.checks import check
from simulation.world import World

pytestmark = pytest.mark.virtual_time

BLOCKS = 4
SEEDS_PER_BLOCK = 40
LONG_BLOCKS = 40
LONG_SEEDS_PER_BLOCK = 500


async def live_through(seed: int) -> World:
    """Runs one seed and checks it.

    Raises:
        AssertionError: names the seed.
    """
    random.seed(seed)  # the jitter of repetitions
    world = World(seed)
    try:
        await world.run()
        await check(world)
    except Exception as error:
        raise AssertionError(f"SEED={seed}: {error}\n{''.join(traceback.format_exception(error))}") from error
    finally:
        await world.shelf.close()
    return world


async def live_through_all(seeds: range) -> None:
    actions: Counter[str] = Counter()
    for seed in seeds:
        world = await live_through(seed)
        actions += world.actions
    assert {"send", "cancel", "decide", "kill", "close"} <= set(actions), actions


@pytest.mark.parametrize("block", range(BLOCKS))
async def test_the_invariants_hold(block: int) -> None:
    first = int(os.environ.get("SEED", "0"))
    if first:
        await live_through(first)
    else:
        await live_through_all(range(1 + block * SEEDS_PER_BLOCK, 1 + (block + 1) * SEEDS_PER_BLOCK))


@pytest.mark.long
@pytest.mark.parametrize("block", range(LONG_BLOCKS))
async def test_the_invariants_hold_for_long(block: int) -> None:
    first = 1_000_000 + block * LONG_SEEDS_PER_BLOCK
    await live_through_all(range(first, first + LONG_SEEDS_PER_BLOCK))
