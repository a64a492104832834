"""Lines that a person types while an answer comes.

The terminal itself collects and shows the line, as it does for any program; with Enter it is ours. What was begun and not sent is
at the prompt when the answer has ended.

Rule: nobody waits for what may never be typed; where a terminal cannot be listened to like this (Windows), nothing is heard.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import Any, Final, Self

from greenroom.cli.output import is_terminal, print_error
from greenroom.errors import GreenroomError
from greenroom.runtime.tasks import Tasks

_LINE_BYTES_MAX: Final = 64 * 1024


class TypingAhead:
    """Between entering and leaving, whole lines that are typed are passed on.

    Args:
        heard: what is done with a line.
    """

    def __init__(self, heard: Callable[[str], Coroutine[Any, Any, object]]) -> None:
        self._heard = heard
        self._tasks = Tasks()
        self._fd: int | None = None
        self._begun = b""

    def __enter__(self) -> Self:
        if is_terminal(sys.stdin):
            try:
                asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._on_line)
            except (NotImplementedError, OSError):
                return self
            self._fd = sys.stdin.fileno()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._fd is not None:
            asyncio.get_running_loop().remove_reader(self._fd)
            self._fd = None

    def _on_line(self) -> None:
        assert self._fd is not None, "it is listened to"
        data = os.read(self._fd, _LINE_BYTES_MAX)
        if not data:
            self._stop()  # Ctrl-D, or the terminal is gone: whoever reads next will see
            return
        *lines, self._begun = (self._begun + data).split(b"\n")
        for line in lines:
            text = line.decode("utf-8", "replace").strip()
            if text:
                self._tasks.start(self._heard(text), name="typed ahead", done=_tell_failure)


def _tell_failure(task: asyncio.Task[object]) -> None:
    failure = None if task.cancelled() else task.exception()
    if isinstance(failure, GreenroomError):
        print_error(f"the message was not taken: {failure.message}", failure.hint)
    elif failure is not None:
        raise failure
