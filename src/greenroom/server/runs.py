"""Which session a run belongs to: some clients join a run without naming its thread.

Rule: bounded, of this process, and a convenience: whoever names the thread needs it not.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

_RUNS_MAX: Final = 10_000


class Runs:
    """The runs that were asked for last, of each user apart."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[tuple[str, str], str] = OrderedDict()

    def remember(self, user_id: str, run_id: str, session_id: str) -> None:
        """Notes where a run is."""
        self._sessions[user_id, run_id] = session_id
        self._sessions.move_to_end((user_id, run_id))
        if len(self._sessions) > _RUNS_MAX:
            self._sessions.popitem(last=False)

    def find(self, user_id: str, run_id: str) -> str | None:
        """Returns the session of a run of the user, or `None`."""
        return self._sessions.get((user_id, run_id))
