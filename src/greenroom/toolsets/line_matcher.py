"""Regular expressions of a model, on files of a model: neither can be trusted to end.

Python's `re` backtracks, and while it does it holds the interpreter: `(a+)+$` on a line of forty letters would stop every
session of this process, time-outs included. A thread is no help, and a check of the pattern would be a guess. So matching
happens in a child process that ends itself when its time is over (see `regex_worker`). It costs some twenty milliseconds, once
per search, and the child gets texts, never files.

Rule: whatever a pattern does, it does it over there, and not for long.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from greenroom.interfaces import ToolError
from greenroom.limits import PATTERN_CHARACTERS_MAX

_WORKER: Final = Path(__file__).with_name("regex_worker.py")
_TIME_IS_UP: Final = 1
"""Exit code of a child whose time was over."""


class SearchStopped(Exception):
    """The time of the search is over, or nobody wants the result any more."""


class Match(msgspec.Struct, frozen=True, array_like=True):
    """A line in which the pattern was found."""

    line: int
    text: str


class LineMatcher:
    """A pattern, and the child process that tries it.

    `start`, `matches` and `close` belong to one thread and block. `stop` may be called from anywhere at any time; so may the
    context be left.
    """

    def __init__(self, pattern: str, *, ignore_case: bool, time_s_max: float) -> None:
        """Takes the pattern; nothing is started.

        Raises:
            ToolError: it is empty or too long.
        """
        if not pattern or len(pattern) > PATTERN_CHARACTERS_MAX:
            raise ToolError(f"A pattern has 1 to {PATTERN_CHARACTERS_MAX} characters.")
        self._order = {"pattern": pattern, "ignore_case": ignore_case}
        self._time_s_max = time_s_max
        self._child: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._is_stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the child; its time begins.

        Raises:
            ToolError: the pattern is not a regular expression, or no process can be started here.
            SearchStopped: it was stopped.
        """
        command = [sys.executable, "-I", "-S", str(_WORKER), str(self._time_s_max)]
        with self._lock:
            if self._is_stopped:
                raise SearchStopped
            try:
                self._child = subprocess.Popen(  # noqa: S603 - our own interpreter, our own script
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                )
            except OSError as error:
                raise ToolError(
                    f"Searching is not possible here: no process can be started ({error.strerror})."
                ) from error
        answer = msgspec.json.decode(self._ask(self._order, b""), type=dict[str, str])
        if answer["error"]:
            raise ToolError(
                f"The pattern is not a regular expression: {answer['error']}. Escape what is meant literally."
            )

    def matches(self, content: bytes, limit: int) -> Sequence[Match]:
        """Returns the first lines of a text in UTF-8 in which the pattern is found, at most `limit`.

        Raises:
            SearchStopped: the time is over, or it was stopped.
            ToolError: the child failed.
        """
        answer = self._ask({"size_bytes": len(content), "limit": limit}, content)
        return msgspec.json.decode(answer, type=list[Match])

    def stop(self) -> None:
        """Ends the child at once. Idempotent."""
        with self._lock:
            self._is_stopped = True
            if self._child is not None:
                self._child.kill()

    def close(self) -> None:
        """Ends the child and takes its leave. Idempotent."""
        self.stop()
        if (child := self._child) is None:
            return
        for pipe in (child.stdin, child.stdout):
            assert pipe is not None, "asked for when it was started"
            with suppress(OSError):  # what the child did not read any more is in nobody's interest
                pipe.close()
        child.wait()

    def _ask(self, question: dict[str, Any], content: bytes) -> bytes:
        child = self._child
        assert child is not None, "started"
        assert child.stdin is not None, "a pipe"
        assert child.stdout is not None, "a pipe"
        try:
            child.stdin.write(msgspec.json.encode(question) + b"\n")
            child.stdin.write(content)
            child.stdin.flush()
        except OSError:  # it ended: by itself, or it was stopped
            answer = b""
        else:
            answer = child.stdout.readline()
        if not answer.endswith(b"\n"):
            if not self._is_stopped and (code := child.wait()) != _TIME_IS_UP:
                raise ToolError(f"The search broke off: its process ended with code {code}.")
            raise SearchStopped
        return answer
