"""What a session that does nothing keeps in memory: for everybody just after a short turn, for Greenroom also before it and asleep.

Counted by tracemalloc, so it is what Python holds. A peer that keeps its sessions on disk holds little of them, and reads them
all again for the next message.

Rule: numbers per session, after a collection. As many others went the same way before: they paid for caches and for tables that
have grown, and what is then still held after hibernation is held for ever.
"""

from __future__ import annotations

import tempfile
import tracemalloc
from pathlib import Path

from benchmarks.comparing import compared
from benchmarks.contenders.greenroom_manager import Greenroom
from benchmarks.contenders.roster import GREENROOM, PEERS, SDK, Entry
from benchmarks.contenders.works import Figures, held_bytes
from benchmarks.fake_provider import provider
from benchmarks.measure import Row, Sizes, run
from greenroom import AgentManager
from greenroom.backends.scripted import REQUESTS_KEPT_MAX, ScriptedBackend

GROUP = "memory of a session just after a short turn"
OURS = "memory of a session of Greenroom, sqlite"


def rows(sizes: Sizes) -> list[Row]:
    """Measures everybody, then Greenroom's sessions through their life."""

    def row(entry: Entry, name: str, figures: Figures) -> Row:
        target = 4 if entry.role == "ours" else None
        return Row(GROUP, name, figures["kib"][0], "KiB", target, entry.role, note=f"a session is {entry.session_is}")

    with provider() as base:
        found = compared(GROUP, (GREENROOM, SDK, *PEERS), work="keep", url=f"{base}/burst/1", sizes=sizes, row=row)
    return [*found, *run(_life(sizes.sessions))]


async def _life(sessions: int) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        store = f"sqlite:///{Path(folder) / 'greenroom.db'}"
        backend = ScriptedBackend(lambda _request, _number=0: "Hello, you.")
        async with AgentManager(store, home=folder, backends={"openai": backend}) as manager:
            greenroom = Greenroom(manager)
            tracemalloc.start()
            await _come_and_go(greenroom, max(sessions, REQUESTS_KEPT_MAX))  # the double's memory is full
            ids = [f"session-{number}" for number in range(sessions)]  # ours to hold, not Greenroom's
            before = held_bytes()
            for session_id in ids:
                await manager.create_session(existing_session_id=session_id)
            created = held_bytes()
            for session_id in ids:
                await greenroom.answer(session_id, lambda _: None)
            talked = held_bytes()
            for session_id in ids:
                await manager.hibernate(session_id)
            asleep = held_bytes()
            tracemalloc.stop()

    def row(name: str, held: int, target: float | None = None) -> Row:
        return Row(OURS, name, (held - before) / sessions / 1024, "KiB", target=target)

    return [
        row("just created", created),
        row("just after a short turn", talked, 4),
        row("hibernated", asleep, 0.05),
    ]


async def _come_and_go(greenroom: Greenroom, count: int) -> None:
    """Creates sessions, uses them and hibernates them."""
    for _ in range(count):
        session_id = await greenroom.create()
        await greenroom.answer(session_id, lambda _: None)
        await greenroom.manager.hibernate(session_id)
