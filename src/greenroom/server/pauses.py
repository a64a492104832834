"""Keeps the interpreter from stopping a server that streams.

A full collection of garbage looks at every object of the process while nobody else runs: 70 ms just after the start, more with every
session in memory, and a busy server has one each few seconds. It finds next to nothing: what sessions leave behind dies by
itself. So what the process has loaded is not looked at again, and full collections come when no turn runs. Of the first turn
everything is loaded ahead: 0.35 s of CPU, which other sessions would feel.

Rule: these are settings of the whole interpreter, for processes that do nothing but serve.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Final

LOOK_S: Final = 10.0
"""How often is looked whether it is quiet enough for a full collection."""
COLLECT_S_MAX: Final = 600.0
"""A server that is never quiet collects all the same: what a cycle holds is bounded by this time."""

_LOADED_AHEAD: Final = ("aiohttp", "genai_prices", "genai_prices.data")
_YOUNG_MAX: Final = 2_000
_YOUNG_PER_OLDER: Final = 5
"""Objects of a young collection, and of one of those that survived it: at most a few milliseconds."""
_NEVER: Final = 2**31 - 1
_SWITCH_S: Final = 0.002
"""How long a thread that computes keeps the event loop waiting: by default it is 5 ms, for each wake-up."""


async def keep_short(running_turns: Callable[[], int]) -> None:
    """Settles the process, then collects garbage at the right moments until it is cancelled.

    Args:
        running_turns: returns how many turns run in this process.
    """
    await asyncio.to_thread(_load_ahead)
    gc.freeze()
    gc.set_threshold(_YOUNG_MAX, _YOUNG_PER_OLDER, _NEVER)
    sys.setswitchinterval(_SWITCH_S)
    loop = asyncio.get_running_loop()
    collected_s = loop.time()
    while True:
        await asyncio.sleep(LOOK_S)
        has_survivors = gc.get_count()[2] > 0
        if has_survivors and (not running_turns() or loop.time() - collected_s >= COLLECT_S_MAX):
            gc.collect()
            collected_s = loop.time()


def _load_ahead() -> None:
    for name in _LOADED_AHEAD:
        import_module(name)
