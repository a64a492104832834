"""A server collects garbage when no turn runs, and at last all the same."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from greenroom.server.pauses import COLLECT_S_MAX, LOOK_S, keep_short

pytestmark = pytest.mark.virtual_time


class Knot:
    """Holds itself: only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _own_interpreter() -> Iterator[None]:
    thresholds, switch_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(switch_s)
    gc.unfreeze()


def old_garbage() -> weakref.ref[Knot]:
    """Leaves something behind that has survived the young collections."""
    knot = Knot()
    gc.collect(1)
    return weakref.ref(knot)


async def test_garbage_is_collected_when_no_turn_runs_and_not_before() -> None:
    running = 1
    task = asyncio.create_task(keep_short(lambda: running))
    await asyncio.sleep(LOOK_S / 2)
    garbage = old_garbage()
    await asyncio.sleep(3 * LOOK_S)
    assert garbage() is not None
    running = 0
    await asyncio.sleep(LOOK_S)
    assert garbage() is None
    task.cancel()


async def test_a_server_that_is_never_quiet_collects_at_last() -> None:
    task = asyncio.create_task(keep_short(lambda: 1))
    await asyncio.sleep(LOOK_S / 2)
    garbage = old_garbage()
    await asyncio.sleep(COLLECT_S_MAX - 2 * LOOK_S)
    assert garbage() is not None
    await asyncio.sleep(2 * LOOK_S)
    assert garbage() is None
    task.cancel()


async def test_what_a_first_turn_needs_is_loaded_ahead_and_looked_at_no_more() -> None:
    before = gc.get_freeze_count()
    task = asyncio.create_task(keep_short(lambda: 0))
    await asyncio.sleep(LOOK_S / 2)
    assert {"aiohttp", "genai_prices.data"} <= sys.modules.keys()
    assert gc.get_freeze_count() > before
    task.cancel()
