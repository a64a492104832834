"""The parent's side of the child process: starts it, watches it, says why it ended.

Theory of operation: a thread of its own starts the child, hands it its orders, waits for the one line with which it reports,
then for its end; a second one keeps the last lines of its standard error. Threads, because the kernel ends the child with the
*thread* that started it (see `child.py`), because they outlive no child, and because they belong to no event loop: a program
may call `asyncio.run` again and again, and one that never closes anything still ends without complaints.

A child that ended is started again by the next request; one that keeps ending, with growing pauses.

Rule: nothing of the child reaches the user's terminal, and nothing that it prints reaches an error unredacted.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Generic, TypeVar, cast

import msgspec

from greenroom.errors import BackendRejected, BackendUnavailable

START_S_MAX: Final = 120.0
"""How long loading a model may take: gigabytes from a slow disk."""

LOG_LINES_MAX: Final = 100
LOG_LINE_BYTES_MAX: Final = 1000
"""What is kept of the child's standard error."""

TAIL_LINES: Final = 3
"""Lines of it that an error quotes."""

CRASH_S_MAX: Final = 1.0
"""How long a broken connection waits for the process behind it to be gone, before it counts as the network's doing."""

STOP_S_MAX: Final = 2.0
"""How long a child that was asked to end may take before it is killed."""

STEADY_S: Final = 60.0
"""A child that lived this long counts as sound: its end starts the count of failures anew."""

RESTART_S_BASE: Final = 0.5
RESTART_S_MAX: Final = 30.0
"""Pause before the third start in a row, doubled with each further one. The second start is immediate."""

T = TypeVar("T")


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What a child is to do.

    Attributes:
        context_tokens: of one conversation, prompt and answer together.
        slots: conversations that are answered at the same time; others wait.
        answer_tokens: length of an answer where the request does not say; without it, an answer may never end.
        threads: that compute.
        idle_s: after this time without requests the model leaves the memory; the next request loads it again.
        repeat_penalty: above 1 keeps a small model from saying the same thing for ever.
        api_key: which every request has to show.
    """

    model_path: str
    model_name: str
    context_tokens: int
    answer_tokens: int
    repeat_penalty: float = 1.0
    slots: int = 2
    threads: int = msgspec.field(default_factory=lambda: max(1, cores() - 1))
    idle_s: int = 300
    api_key: str = msgspec.field(default_factory=lambda: secrets.token_urlsafe(32))


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a child says when it serves.

    Attributes:
        tools: whether the model's chat template has tools.
        context_tokens: what one conversation really has.
    """

    port: int
    tools: bool
    context_tokens: int

    @property
    def base_url(self) -> str:
        """Where it serves the OpenAI dialect."""
        return f"http://127.0.0.1:{self.port}/v1"


class LocalServer:
    """At most one running child; a new one when it is needed."""

    def __init__(self, command: Sequence[str] | None = None, *, now_s: Callable[[], float] = time.monotonic) -> None:
        """`command` starts something that behaves like `child.py`; `now_s` counts seconds from anywhere."""
        self._command = command
        self._now_s = now_s
        self._child: Child | None = None
        self._failures = 0
        self._closed = False

    @property
    def child(self) -> Child | None:
        """The child that was started last; it may have ended."""
        return self._child

    async def start(self, orders: Callable[[], Orders]) -> Child:
        """Returns a child that serves; starts one by new `orders` if there is none.

        Raises:
            BackendRejected: the package that runs models is not installed, or the model cannot be loaded.
            BackendUnavailable: it does not start, or ended too often just now.
        """
        child = self._child
        if child is None or child.ended_at_s is not None:
            child = await self._started(orders)
        await child.serving()
        return child

    async def close(self) -> None:
        """Ends the child. Idempotent."""
        self._closed = True
        if self._child is not None:
            await self._child.stop()

    async def _started(self, orders: Callable[[], Orders]) -> Child:
        command = await asyncio.to_thread(_command) if self._command is None else self._command
        ordered = await asyncio.to_thread(orders)
        # No await from here on: of several first requests one starts the child, and none does after the end.
        if self._closed:
            raise BackendUnavailable("the local model was stopped")
        if self._child is None or self._child.ended_at_s is not None:
            self._check_pause()
            self._child = Child(command, ordered, now_s=self._now_s)
        return self._child

    def _check_pause(self) -> None:
        """Counts how the last child ended, once, and refuses to start the next one too early."""
        last = self._child
        if last is None or last.ended_at_s is None:
            return
        if not last.is_counted:
            last.is_counted = True
            self._failures = 1 if last.ended_at_s - last.started_at_s >= STEADY_S else self._failures + 1
        pause_s = 0.0
        if self._failures > 1:
            pause_s = min(RESTART_S_MAX, RESTART_S_BASE * 2 ** (self._failures - 2))
        wait_s = last.ended_at_s + pause_s - self._now_s()
        if wait_s > 0:
            raise BackendUnavailable(
                f"the local model has failed {self._failures} times and is not started again yet",
                hint=last.tail() or None,
                retry_after_s=wait_s,
            )


class Child:
    """One child process, from its start to its end.

    Attributes:
        orders: what it was started with.
        is_counted: its end was taken into account.
    """

    def __init__(self, command: Sequence[str], orders: Orders, *, now_s: Callable[[], float]) -> None:
        self.orders = orders
        self.is_counted = False
        self.started_at_s = now_s()
        self.ended_at_s: float | None = None
        self._command = command
        self._now_s = now_s
        self._process = _Awaited[subprocess.Popen[bytes] | None]()
        self._report = _Awaited[Report | None]()
        self._status = _Awaited[int]()
        self._log: deque[str] = deque(maxlen=LOG_LINES_MAX)
        threading.Thread(target=self._live, name="greenroom-local-model", daemon=True).start()

    @property
    def report(self) -> Report | None:
        """What it reported; `None` for a child that does not serve yet, or never did."""
        return self._report.value

    @property
    def pid(self) -> int:
        """Its process id; for a child that serves."""
        process = self._process.value
        assert process is not None
        return process.pid

    async def serving(self) -> None:
        """Returns when the child serves.

        Raises:
            BackendUnavailable: it ended, or took longer than `START_S_MAX`, and was killed.
            BackendRejected: it ended by itself: it cannot load the model.
        """
        try:
            async with asyncio.timeout(START_S_MAX):
                if await self._report.get() is not None:
                    return
                status = await self._status.get()
        except TimeoutError as error:
            if process := self._process.value:
                process.kill()
            raise BackendUnavailable(
                f"the local model was not ready after {START_S_MAX:.0f} s",
                hint=self.tail() or "a smaller model loads faster",
            ) from error
        if status > 0:
            raise BackendRejected(f"the local model {self.orders.model_name} cannot be loaded", hint=self.tail())
        raise BackendUnavailable(f"the local model {_ended(status)} while it was loaded", hint=self.tail() or None)

    async def crash(self) -> BackendUnavailable | None:
        """Returns the error to raise if the child is gone, or `None` if it runs.

        Waits a moment for its end: a connection breaks before its process is gone.
        """
        try:
            async with asyncio.timeout(CRASH_S_MAX):
                status = await self._status.get()
        except TimeoutError:
            return None
        hint = self.tail() or ("the system may be short of memory" if status == _KILLED else None)
        return BackendUnavailable(f"the local model {_ended(status)} during the answer", hint=hint)

    async def stop(self) -> None:
        """Ends the child and waits for that. Idempotent."""
        process = await self._process.get()
        if process is None:
            return
        _close(process.stdin)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self._status.get()
        except TimeoutError:
            process.kill()
            await self._status.get()

    def tail(self) -> str:
        """Returns the last lines of its standard error, without the places of files."""
        said = " / ".join(list(self._log)[-TAIL_LINES:])
        return _FOLDERS.sub("", said.replace(self.orders.model_path, Path(self.orders.model_path).name))

    def _live(self) -> None:
        """What the thread does, from the start to the end of the process."""
        try:
            process = _spawned(self._command)
        except OSError as error:
            self._log.append(f"the process cannot be started: {error.strerror}")
            self._end(-1)
            return
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        logging = threading.Thread(target=self._keep_log, args=(process.stderr,), daemon=True)
        logging.start()
        # It may have ended already; then its status says what there is to say.
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(msgspec.json.encode(self.orders) + b"\n")
            process.stdin.flush()
        self._process.set(process)
        line = process.stdout.readline(LOG_LINE_BYTES_MAX)
        with contextlib.suppress(msgspec.DecodeError):
            self._report.set(msgspec.json.decode(line, type=Report))
        status = process.wait()
        logging.join()
        for stream in (process.stdin, process.stdout, process.stderr):
            _close(stream)
        self._end(status)

    def _end(self, status: int) -> None:
        self.ended_at_s = self._now_s()
        self._process.set(None)
        self._report.set(None)
        self._status.set(status)

    def _keep_log(self, stderr: IO[bytes]) -> None:
        while line := stderr.readline(LOG_LINE_BYTES_MAX):
            if text := _LOG_PREFIX.sub("", line.decode("utf-8", "replace")).strip():
                self._log.append(text)


def cores() -> int:
    """Returns how many processors this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Awaited(Generic[T]):
    """A value that a thread sets once and coroutines of any event loop wait for; later settings change nothing.

    Invariant: whoever waits is in `_waiting` before it looks at `_is_set` for the last time, and `_is_set` is true before
    `_waiting` is read: nobody is forgotten, without a lock.
    """

    def __init__(self) -> None:
        self._value: T | None = None
        self._is_set = False
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def value(self) -> T | None:
        """The value, or `None` before it is set."""
        return self._value

    def set(self, value: T) -> None:
        """Sets the value, if it is not. From one thread only."""
        if self._is_set:
            return
        self._value = value
        self._is_set = True
        for loop, woken in tuple(self._waiting):
            # A closed loop: whoever waited there is gone.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(woken.set)

    async def get(self) -> T:
        """Returns the value as soon as it is set."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        self._waiting.add(waiter)
        try:
            if not self._is_set:
                await waiter[1].wait()
        finally:
            self._waiting.discard(waiter)
        # Set, so of its own type; `None` may be part of that.
        return cast("T", self._value)


def _command() -> Sequence[str]:
    if importlib.util.find_spec("xllamacpp") is None:
        raise BackendRejected(
            "the local model needs the package xllamacpp, which is not installed",
            hint='pip install "greenroom[local]"',
        )
    # -P: the folder of the script is ours, and its module names are not meant for the child.
    return (sys.executable, "-P", str(Path(__file__).with_name("child.py")))


def _spawned(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # A group of its own: Ctrl-C in the terminal is for us to act upon, not for the child.
    group: dict[str, Any] = {"process_group": 0}
    if sys.platform == "win32":
        group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.CREATE_NO_WINDOW}
    pipe = subprocess.PIPE
    environment = _without_secrets(os.environ)
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment, **group)  # noqa: S603 - ours


def _close(stream: IO[bytes] | None) -> None:
    # What the child did not read before it ended is of no interest.
    with contextlib.suppress(BrokenPipeError):
        if stream is not None:
            stream.close()


def _without_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not _SECRET_NAME.search(name)}


def _ended(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a signal without a name, as the real-time ones
        return f"was ended by signal {-status}"


_KILLED: Final = -9
_LOG_PREFIX: Final = re.compile(r"^[\d.]+ [A-Z] ")
_FOLDERS: Final = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?(?:[/\\][\w.+@~-]+)*[/\\](?=[\w.+@~-])")
_SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSWORD")
