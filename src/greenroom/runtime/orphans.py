"""Sessions without a process: theirs has closed or died, or another one left something in their inbox and died.

A look asks the index, which knows them without reading a log, and opens only these; opening one is its recovery. Two processes
that look at once both try: the log lets one of them claim the session, and the other finds it taken.

Rule: a session that cannot be recovered is tried again at longer and longer intervals, and never keeps the others waiting.
"""

from __future__ import annotations

from typing import Final

from greenroom.errors import Conflict, ManagerClosed, SessionNotFound
from greenroom.runtime.registry import Registry
from greenroom.runtime.setbacks import Setbacks
from greenroom.runtime.watch import Watch

PAGE: Final = 200
"""Sessions that are asked for at a time."""


class Orphans:
    """Continues what other processes have left."""

    def __init__(self, registry: Registry, watch: Watch) -> None:
        self._registry = registry
        self._watch = watch
        self._setbacks = Setbacks(longest_s=registry.limits.revive_wait_s_max)

    async def look(self) -> int:
        """Continues every session that needs a process and has none; returns how many were tried.

        Raises:
            ManagerClosed: the manager is closed.
            EventLogError: the index cannot be asked.
        """
        tried, found, after = 0, set[str](), ""
        limit = min(PAGE, self._registry.limits.page_max)
        while True:
            page = await self._registry.store.index.orphaned(after=after, limit=limit)
            for session_id in page:
                found.add(session_id)
                if self._setbacks.is_due(session_id):
                    tried += 1
                    await self._continue(session_id)
            if len(page) < limit:
                self._setbacks.keep_only(found)
                return tried
            after = page[-1]

    async def _continue(self, session_id: str) -> None:
        try:
            async with self._registry.using(session_id) as live:
                await self._watch.look(live)
        except (Conflict, SessionNotFound):
            pass  # another process was quicker, or it is gone
        except ManagerClosed:
            raise
        except Exception as error:  # noqa: BLE001 # broad: whatever is wrong with one session must not keep the others waiting
            self._setbacks.failed(session_id, error, "cannot be recovered")
        else:
            # If the next look finds it again, nothing came of it: what waits for it is not ours to read.
            self._setbacks.note(session_id)
