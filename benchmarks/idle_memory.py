"""What a session that does nothing keeps in memory: just created, just after a short turn, and hibernated.

Counted by tracemalloc, so it is what Python holds; the log is SQLite's file.

Rule: numbers per session, from five hundred sessions, after a collection. Five hundred others went the same way before: they paid
for caches and for tables that have grown, and what is then still held after hibernation is held for ever.
"""

from __future__ import annotations

import gc
import tempfile
import tracemalloc
from pathlib import Path

from benchmarks.inprocess import read_turn
from benchmarks.measure import Row, rss_mb, run
from greenroom import AgentManager
from greenroom.backends.scripted import ScriptedBackend

GROUP = "memory of an idle session"
SESSIONS = 500


def held_bytes() -> int:
    """Returns what Python holds now."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def measured() -> list[Row]:
    """Returns the rows."""
    with tempfile.TemporaryDirectory(prefix="greenroom-bench-") as folder:
        store = f"sqlite:///{Path(folder) / 'greenroom.db'}"
        backend = ScriptedBackend(lambda _request, _number=0: "Hello, you.")
        async with AgentManager(store, home=folder, backends={"quick": backend}) as manager:
            tracemalloc.start()
            await come_and_go(manager, SESSIONS)
            before = held_bytes()
            ids = [await manager.create_session(backend="quick", llm_model="any") for _ in range(SESSIONS)]
            created = held_bytes()
            for session_id in ids:
                await read_turn(manager, session_id)
            talked = held_bytes()
            for session_id in ids:
                await manager.hibernate(session_id)
            asleep = held_bytes()
            tracemalloc.stop()

    def row(name: str, held: int, target: float | None = None) -> Row:
        return Row(GROUP, name, (held - before) / SESSIONS / 1024, "KiB", target=target)

    return [
        row("just created", created),
        row("just after a short turn", talked, 4),
        row("hibernated", asleep, 0.05),
        Row(GROUP, "peak of the process", rss_mb(), "MB", note=f"{SESSIONS:,} sessions, with tracemalloc's own tables"),
    ]


async def come_and_go(manager: AgentManager, count: int) -> None:
    """Creates sessions, uses them and hibernates them."""
    for _ in range(count):
        session_id = await manager.create_session(backend="quick", llm_model="any")
        await read_turn(manager, session_id)
        await manager.hibernate(session_id)


def rows() -> list[Row]:
    """Measures and returns the rows."""
    return run(measured())
