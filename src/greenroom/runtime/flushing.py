"""Writes the progress of streaming sessions to the log, many sessions with one append.

A delta is shown at once and written soon. Each session by itself would cost a timer, a task and a commit for every 50 ms of it, which at
200 sessions is more than all the rest of a delta's way. So sessions share windows: the first one that has something opens a window,
others join it, and when it closes, all of them are written together. A full window opens the next one at once: so windows
spread over time, and none keeps the event loop long.

Rule: nothing waits longer than one window before it is on its way to the log, and no session waits for another one's writer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final, Protocol

from greenroom.errors import GreenroomError
from greenroom.events import Record
from greenroom.interfaces import EventLog, PendingAppend
from greenroom.runtime.tasks import Tasks, finish

logger: Final = logging.getLogger("greenroom")

WINDOW_SESSIONS_MAX: Final = 64
"""Sessions of one window: some two milliseconds of the event loop."""


class Flushed(Protocol):
    """A session whose progress is written here.

    Attributes:
        is_due: it is in a window that has not closed.
    """

    is_due: bool

    @property
    def session_id(self) -> str:
        """Its id."""
        ...

    @property
    def has_pending(self) -> bool:
        """Whether something waits for the log."""
        ...

    def begin_flush(self) -> PendingAppend | None:
        """Takes what waits and lets nobody else write until `end_flush`; `None` if nothing waits or somebody writes."""
        ...

    def end_flush(self, outcome: Sequence[Record] | BaseException) -> None:
        """Believes what was written, or not."""
        ...


class Flusher:
    """The windows of one event loop."""

    def __init__(self, log: EventLog, tasks: Tasks, *, window_s: float) -> None:
        self._log = log
        self._tasks = tasks
        self._window_s = window_s
        self._window: list[Flushed] = []
        self._urgent: dict[int, Flushed] = {}
        self._is_closed = False

    def later(self, session: Flushed) -> None:
        """Sees to it that the session is written when a window has passed, at the latest."""
        if session.is_due:
            return
        session.is_due = True
        window = self._window
        if not window or len(window) >= WINDOW_SESSIONS_MAX:
            window = self._window = []
            asyncio.get_running_loop().call_later(self._window_s, self._close, window)
        window.append(session)

    def soon(self, session: Flushed) -> None:
        """As `later`, but as soon as whoever runs now has had the chance to write by himself, and take the progress along."""
        if not self._urgent:
            asyncio.get_running_loop().call_soon(self._close_urgent)
        self._urgent[id(session)] = session

    def close(self) -> None:
        """Writes nothing more: what was not written is asked for again by whoever recovers the sessions."""
        self._is_closed = True

    def _close(self, window: list[Flushed]) -> None:
        if window is self._window:
            self._window = []
        for session in window:
            session.is_due = False
        self._start(window)

    def _close_urgent(self) -> None:
        urgent, self._urgent = self._urgent, {}
        self._start(list(urgent.values()))

    def _start(self, sessions: Sequence[Flushed]) -> None:
        if not self._is_closed and any(session.has_pending for session in sessions):
            self._tasks.start(self._flush(sessions), name="flush", done=_look_at)

    async def _flush(self, sessions: Sequence[Flushed]) -> None:
        await finish(self._write(sessions))

    async def _write(self, sessions: Sequence[Flushed]) -> None:
        taken: list[Flushed] = []
        appends: list[PendingAppend] = []
        for session in sessions:
            try:
                append = session.begin_flush()
            except AssertionError:
                # A bug of ours, and of this session's only; it has been thrown away.
                logger.exception("session %s cannot be written", session.session_id)
                continue
            if append is not None:
                taken.append(session)
                appends.append(append)
        if not appends:
            return
        outcomes: Sequence[Sequence[Record] | BaseException] = ()
        try:
            outcomes = await self._log.append_all(appends)
        except BaseException as error:  # broad: whatever it was, every session has to know that its append failed
            outcomes = [error] * len(appends)
            if not isinstance(error, GreenroomError):
                raise
        finally:
            for session, outcome in zip(taken, outcomes, strict=True):
                session.end_flush(outcome)


def _look_at(task: asyncio.Task[None]) -> None:
    # A failed append has thrown its session away, and with it the runner, who tells the readers: nothing to add. Anything else is
    # a bug, and the event loop's to report.
    if not task.cancelled() and (failure := task.exception()) is not None:
        raise failure
