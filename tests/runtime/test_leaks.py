"""Create, stream, clean up, a thousand times: descriptors, threads, tasks, locks and memory stay flat."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from greenroom import AgentManager
from greenroom.backends.scripted import ScriptedBackend
from harness import step_for


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


async def cycle(manager: AgentManager) -> None:
    session_id = await manager.create_session(backend="scripted", title="short-lived")
    events = [event async for event in manager.stream_response(session_id, "hello")]
    assert '"RUN_FINISHED"' in events[-1]
    abandoned = manager.stream_response(session_id, "nobody listens")
    await anext(abandoned)
    await abandoned.aclose()
    await manager.cleanup_session(session_id)


async def at_rest() -> None:
    """Waits until nothing runs but the test: what watches other processes ends a moment after the last turn."""
    async with asyncio.timeout(20):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(others)


def threads() -> int:
    """Counts threads, without those of the event loop's own pool: it starts one whenever none is idle, up to its bound."""
    return sum(not thread.name.startswith("asyncio_") for thread in threading.enumerate())


def held(manager: AgentManager) -> dict[str, Any]:
    return {
        "files": open_files(),
        "threads": threads(),
        "tasks": len(asyncio.all_tasks()),
        "locks": len(manager._locks),
        "sessions": len(manager.sessions),
    }


async def flat_over(home: Path, cycles: int, *, bytes_per_cycle_max: int) -> None:
    async with AgentManager(home=home, backends={"scripted": ScriptedBackend(step_for)}) as manager:
        # Traced from the beginning: what is bounded (the script's memory of requests, caches) must be full at the base line.
        tracemalloc.start()
        try:
            for _ in range(90):
                await cycle(manager)
            await at_rest()
            gc.collect()
            before, (base, _) = held(manager), tracemalloc.get_traced_memory()
            for _ in range(cycles):
                await cycle(manager)
            await at_rest()
            gc.collect()
            after, (now, _) = held(manager), tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert {key: after[key] - before[key] for key in before if after[key] > before[key]} == {}
        assert (now - base) / cycles < bytes_per_cycle_max, f"{now - base} bytes after {cycles} cycles"
    assert threads() <= before["threads"]


async def test_cycles_leave_nothing(home: Path) -> None:
    await flat_over(home, 60, bytes_per_cycle_max=2500)


@pytest.mark.long
async def test_a_thousand_cycles_leave_nothing(home: Path) -> None:
    await flat_over(home, 1000, bytes_per_cycle_max=300)
