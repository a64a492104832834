"""Which session a run belongs to: some clients join a run without naming its thread.

What was asked for in this process is known; after a restart, the user's latest sessions are looked through, so often and no oftener.

Rule: bounded, and a convenience: whoever names the thread needs it not.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from greenroom.server.mine import Sessions
from greenroom.server.quotas import Rate

_RUNS_MAX: Final = 10_000
_LOOKS_PER_MINUTE: Final = 12


class Runs:
    """The runs that were asked for last, of each user apart."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._looks = Rate(_LOOKS_PER_MINUTE)

    def remember(self, user_id: str, run_id: str, session_id: str) -> None:
        """Notes where a run is."""
        self._sessions[user_id, run_id] = session_id
        self._sessions.move_to_end((user_id, run_id))
        if len(self._sessions) > _RUNS_MAX:
            self._sessions.popitem(last=False)

    async def find(self, sessions: Sessions, run_id: str) -> str | None:
        """Returns the session of a run of the user, or `None`."""
        known = self._sessions.get((sessions.user_id, run_id))
        if known is not None or self._looks.hit(sessions.user_id):
            return known
        found = await sessions.session_of(run_id)
        if found is not None:
            self.remember(sessions.user_id, run_id, found)
        return found
