"""Sessions with which something goes wrong: when each is tried again, and what of it was said already.

One session that cannot be worked with must not be tried a hundred times a second, nor fill the log, nor keep the others from their
turn. What is remembered is this process's own: another one, perhaps of a newer version, may get on with it.

Rule: bounded: what is forgotten is tried, and told, once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

import msgspec

from greenroom.runtime.clock import backoff_s
from greenroom.runtime.foreign import text_of

logger: Final = logging.getLogger("greenroom")

REMEMBERED_MAX: Final = 10_000
_DOUBLINGS: Final = 16


class _Setback(msgspec.Struct):
    count: int = 0
    due_s: float = 0.0
    text: str = ""


class Setbacks:
    """What went wrong with sessions of late.

    Args:
        longest_s: longest pause before a session is tried again.
        base_s: the first pause; each is twice as long as the one before it.
    """

    def __init__(self, *, longest_s: float, base_s: float = 0.5) -> None:
        self._longest_s = longest_s
        self._base_s = base_s
        self._known: dict[str, _Setback] = {}

    def is_due(self, session_id: str) -> bool:
        """Returns whether the session may be tried now."""
        return self.wait_s(session_id) <= 0

    def wait_s(self, session_id: str) -> float:
        """Returns how long the session is still to be left alone; 0 for not at all."""
        known = self._known.get(session_id)
        return 0.0 if known is None else max(0.0, known.due_s - asyncio.get_running_loop().time())

    def note(self, session_id: str) -> None:
        """Has the session left alone for a while, each time for longer."""
        known = self._known.pop(session_id, None) or _Setback()
        known.count = min(known.count + 1, _DOUBLINGS)
        wait_s = backoff_s(known.count, base_s=self._base_s, longest_s=self._longest_s)
        known.due_s = asyncio.get_running_loop().time() + wait_s
        self._known[session_id] = known
        if len(self._known) > REMEMBERED_MAX:
            del self._known[next(iter(self._known))]

    def failed(self, session_id: str, error: BaseException, what: str) -> None:
        """As `note`, and says what went wrong, unless it was said: with a traceback, if it was not foreseen.

        Args:
            session_id: the session.
            error: what was raised.
            what: a clause that says what cannot be done with the session.
        """
        self.note(session_id)
        self.tell(session_id, error, what)

    def tell(self, session_id: str, error: BaseException, what: str) -> None:
        """Says what went wrong, unless it was said."""
        known, text = self._known.get(session_id), text_of(error)
        if known is None:
            known = self._known[session_id] = _Setback()
        if text != known.text:
            known.text = text
            logger.error("session %s %s: %s", session_id, what, text, exc_info=error)

    def settled(self, session_id: str) -> None:
        """Forgets what went wrong: it was overcome."""
        self._known.pop(session_id, None)

    def keep_only(self, session_ids: Collection[str]) -> None:
        """Forgets all other sessions."""
        for session_id in [known for known in self._known if known not in session_ids]:
            del self._known[session_id]
