"""Takes the words of what was deleted out of the full-text tables, in steps that delay nobody.

FTS5 does not take out what is deleted from them: it adds a note that it is, and the words stay in the file until the segments that have both
are merged. So after a deletion all segments are merged into one, some pages at a time, when nobody wants to write. Other processes
want to write as well, and SQLite has no queue for its lock: each looks at it from time to time. So after each step the lock is free for as
long as the step took. All steps rewrite a whole index (25 MB in about three seconds of work), so after them as much time passes as
keeps the work below a tenth.

FTS5's own `secure-delete` would be cheaper, but needs SQLite 3.42, and an older one then refuses the file (decision 88).

Rule: each step is a transaction of its own, and a failed one is tried again later: nothing that is acknowledged depends on it.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from typing import Final

TABLES: Final = ("text_index", "note_index")
PAGES_PER_STEP: Final = 16
"""Pages of a step: about 10 ms with the write lock."""
_CHANGES_OF_NOTHING: Final = 2
"""A merge that changes fewer rows has found nothing to do (FTS5's documentation)."""
_SHARE: Final = 10
"""A merge of everything is followed by so many times its duration without one."""
_AGAIN_S: Final = 60.0
_AT_THE_END_S_MAX: Final = 5.0
"""How long closing waits for it."""

_logger: Final = logging.getLogger("greenroom")


class WordEraser:
    """What is left to do for one database.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._is_wanted = False
        self._left: list[str] = []
        self._took_s = 0.0
        self._not_before_s = 0.0

    def want(self) -> None:
        """Something was deleted."""
        self._is_wanted = True

    @property
    def wait_s(self) -> float | None:
        """After how many seconds `step` has something to do; `None` if it has nothing."""
        return max(0.0, self._not_before_s - self._clock()) if self._left or self._is_wanted else None

    def step(self, connection: sqlite3.Connection) -> bool:
        """Merges some pages, if it is time; returns whether it did, so that there may be more."""
        if self.wait_s != 0.0:
            return False
        if not self._left:
            self._left, self._is_wanted, self._took_s = list(TABLES), False, 0.0
        began_s, before = self._clock(), connection.total_changes
        try:
            table = self._left[0]
            connection.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('merge', -{PAGES_PER_STEP})")  # noqa: S608 - ours
        except sqlite3.Error as error:
            _logger.warning("the words of what was deleted could not be taken out of the index yet: %s", error)
            self._left, self._is_wanted, self._not_before_s = [], True, self._clock() + _AGAIN_S
            return False
        ended_s = self._clock()
        self._took_s += ended_s - began_s
        self._not_before_s = ended_s + (ended_s - began_s)
        if connection.total_changes - before < _CHANGES_OF_NOTHING:
            self._left.pop(0)
            if not self._left:
                self._not_before_s = self._clock() + _SHARE * self._took_s
        return True

    def finish(self, connection: sqlite3.Connection) -> None:
        """Does what is left, for some seconds at the most: the process that has deleted may be a command that ends now."""
        ends_s = self._clock() + _AT_THE_END_S_MAX
        self._not_before_s = 0.0
        while self._clock() < ends_s and self.step(connection):
            time.sleep(self.wait_s or 0.0)
