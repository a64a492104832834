"""What sessions cost: nothing stays behind, nothing grows."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
import weakref
from pathlib import Path

import pytest

from contract.conftest import OpenStage, in_memory
from contract.stage import Stage, open_files
from greenroom.backends.scripted import Call, Gate, Say
from greenroom.config import SessionConfig, shared


def footprint() -> tuple[int, int, int]:
    """Open files, threads and tasks."""
    return len(open_files()), threading.active_count(), len(asyncio.all_tasks())


def grown_little(before: tuple[int, int, int]) -> bool:
    """Whether there is hardly more than before: a thread of a pool or a task that is about to end may be there, not one a session."""
    return all(now <= then + 4 for now, then in zip(footprint(), before, strict=True))


async def cycle(stage: Stage) -> None:
    session_id = await stage.session()
    await stage.say(session_id)
    await stage.manager.cleanup_session(session_id)


async def test_sessions_that_come_and_go_leave_nothing_behind(open_stage: OpenStage, home: Path) -> None:
    stage = open_stage(
        lambda request: Call("write_file", {"path": "a", "content": "b"}) if len(request.messages) == 1 else "ok"
    )
    for _ in range(5):
        await cycle(stage)
    gc.collect()
    before = footprint()
    tracemalloc.start()
    baseline = tracemalloc.get_traced_memory()[0]
    for _ in range(40):
        await cycle(stage)
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - baseline
    tracemalloc.stop()

    assert grown_little(before)
    assert len(stage.manager.sessions) == 0
    assert len(stage.manager._locks) == 0
    assert grown < 2_000_000
    folders = home / "workspaces"
    assert not folders.exists() or list(folders.iterdir()) == []


async def test_idle_sessions_hold_no_files_threads_or_tasks(open_stage: OpenStage) -> None:
    stage = open_stage()
    await stage.say(await stage.session())
    before = footprint()
    for _ in range(40):
        await stage.say(await stage.session())
    assert grown_little(before)


async def test_readers_that_left_leave_nothing(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("a"), gate]])
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go")
    await gate.reached()
    first = stage.manager.attach(session_id)
    await anext(first)
    await first.aclose()
    tasks = len(asyncio.all_tasks())
    for _ in range(50):
        reader = stage.manager.attach(session_id)
        await anext(reader)
        await reader.aclose()
    assert len(asyncio.all_tasks()) == tasks
    gate.open()


@pytest.mark.virtual_time
@in_memory
async def test_sessions_that_idle_leave_memory_by_themselves(open_stage: OpenStage) -> None:
    stage = open_stage(config={"limits": {"session_idle_s_max": 60.0}})
    ids = [await stage.session() for _ in range(5)]
    for session_id in ids:
        await stage.say(session_id)
    assert len(stage.manager.sessions) == 5
    await asyncio.sleep(300)
    assert len(stage.manager.sessions) == 0
    assert all(stage.data(session_id)["turn_count"] == 1 for session_id in ids)


@pytest.mark.virtual_time
@in_memory
async def test_a_running_session_never_leaves_memory(open_stage: OpenStage) -> None:
    gate = Gate()
    stage = open_stage([[Say("a"), gate, Say("b")]], config={"limits": {"session_idle_s_max": 10.0}})
    session_id = await stage.session()
    await stage.manager.send(session_id, "Go")
    await gate.reached()
    await asyncio.sleep(60)
    assert session_id in stage.manager.sessions
    gate.open()


async def test_the_log_of_a_long_answer_grows_with_the_text_and_not_with_the_deltas(
    open_stage: OpenStage, tmp_path: Path
) -> None:
    stage = open_stage([[Say(["x"] * 20_000)]], store=f"sqlite:///{tmp_path / 'long.db'}")
    session_id = await stage.session()
    await stage.say(session_id)
    assert stage.data(session_id)["last_seq"] < 500
    await stage.manager.close()
    assert sum(path.stat().st_size for path in tmp_path.glob("long.db*")) < 1_000_000


async def test_listing_many_sessions_takes_no_time(open_stage: OpenStage) -> None:
    stage = open_stage()
    await asyncio.gather(*(stage.session(title=f"Session {n}") for n in range(200)))
    clock = asyncio.get_running_loop().time
    started = clock()
    await stage.manager.list_sessions(limit=50)
    await stage.manager.search("session")
    assert clock() - started < 1
    assert len(stage.manager.sessions) <= 200


def test_what_sessions_are_set_to_is_there_once_and_not_longer_than_they() -> None:
    one, other = shared(SessionConfig(custom_persona_text="Ahoy.")), shared(SessionConfig(custom_persona_text="Ahoy."))
    assert one is other
    assert shared(SessionConfig(custom_persona_text="Hm.")) is not one
    seen = weakref.ref(one)
    del one, other
    gc.collect()
    assert seen() is None
