"""Ctrl-C while an answer comes: the first stops the answer, the second leaves.

Rule: the first is a request, not an exception. Nothing is torn down: the answer ends in the log, and the reader sees it end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Any, Self

from greenroom.cli.output import print_error
from greenroom.errors import GreenroomError
from greenroom.runtime.tasks import Tasks


class Interrupts:
    """Between entering and leaving, Ctrl-C is ours.

    Args:
        stop: what the first one does.

    Attributes:
        count: how many there were.
    """

    def __init__(self, stop: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self.count = 0
        self._stop = stop
        self._tasks = Tasks()
        self._before: Any = None
        self._loop: asyncio.AbstractEventLoop
        self._task: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        # Not the loop's `add_signal_handler`: Windows has none.
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
        if kind is asyncio.CancelledError and self.count > 1:
            raise KeyboardInterrupt from error

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._loop.call_soon_threadsafe(self._interrupted)

    def _interrupted(self) -> None:
        self.count += 1
        if self.count == 1:
            self._tasks.start(self._stop(), name="stop", done=_tell_failure)
        elif self._task is not None:
            self._task.cancel()


def _tell_failure(task: asyncio.Task[object]) -> None:
    failure = None if task.cancelled() else task.exception()
    if isinstance(failure, GreenroomError):
        print_error(f"the answer cannot be stopped: {failure.message}", failure.hint)
    elif failure is not None:
        raise failure
