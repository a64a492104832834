"""Whose stream broke off before its end: what makes a page whole again that comes back when the answer is complete.

`useChat` resumes a stream that broke, and takes 204 for "there is nothing more": what it shows would stay cut off. So an answer is
shown once more to who comes back, if its stream was cut: by the connection, or because the server died in the middle.

Rule: bounded, and a convenience: a page that fetches its messages needs it not.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from greenroom.core.session import SessionState

_TURNS_MAX: Final = 10_000


class Missed:
    """How many streams of an answer were cut off and not made good.

    Args:
        since_ms: when the server started, in milliseconds since 1970.
    """

    def __init__(self, *, since_ms: int) -> None:
        self._since_ms = since_ms
        self._cut: OrderedDict[tuple[str, str], int] = OrderedDict()

    def cut(self, session_id: str, turn_id: str) -> None:
        """Notes that a stream did not come to its end."""
        self._note(session_id, turn_id, +1)

    def made_good(self, session_id: str, turn_id: str) -> None:
        """Notes that somebody who came back got the whole answer."""
        self._note(session_id, turn_id, -1)

    def turn_of(self, state: SessionState) -> str | None:
        """Returns the session's last turn, if it is over and somebody has not seen its end."""
        turn = state.turns[-1] if state.turns else None
        if turn is None or turn.ended is None or state.is_busy:
            return None
        key = state.session_id, turn.turn_id
        if key not in self._cut and turn.at_ms < self._since_ms <= state.tally.updated_at_ms:
            self._note(*key, +1)  # it ran when the server before this one ended, and all its streams with it
        return turn.turn_id if self._cut.get(key, 0) > 0 else None

    def _note(self, session_id: str, turn_id: str, change: int) -> None:
        key = session_id, turn_id
        self._cut[key] = max(0, self._cut.get(key, 0) + change)
        self._cut.move_to_end(key)
        if len(self._cut) > _TURNS_MAX:
            self._cut.popitem(last=False)
