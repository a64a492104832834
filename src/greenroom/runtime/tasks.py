"""Tasks that belong to somebody, and work that a cancellation cannot split.

Rule: a task is created here or in a task group; it is held until it ends, and its failure is somebody's to see. What has to run for as
long as the process does is kept (`Tasks.keep`): nothing that it raises ends it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, TypeVar

import msgspec

from greenroom.runtime.clock import backoff_s
from greenroom.runtime.foreign import close_with, contained, guard, marked, result_of, text_of

logger: Final = logging.getLogger("greenroom")

T = TypeVar("T")

AT_ONCE_MAX: Final = 256
"""Records that are folded, copied or encoded at once: some two milliseconds."""


_RESTART_BASE_S: Final = 0.1
_RESTART_S_MAX: Final = 5.0
"""Pauses before kept work is started again."""

_RESTARTS_DOUBLED: Final = 8

FAILING_S: Final = 60.0
"""How long kept work counts as failing after it has failed."""


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """How often kept work has failed.

    Attributes:
        count: since the process started.
        text: what the last failure said.
        at_s: when that was, in the time of the event loop.
    """

    count: int
    text: str
    at_s: float


class Tasks:
    """The tasks of one manager. The loop itself holds tasks only weakly: one that nobody holds may vanish.

    Attributes:
        failures: of kept work, by its name.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._failures: dict[str, Failures] = {}

    @property
    def failures(self) -> Mapping[str, Failures]:
        """See above."""
        return self._failures

    def __len__(self) -> int:
        return len(self._tasks)

    def start(
        self, work: Coroutine[Any, Any, T], *, name: str, done: Callable[[asyncio.Task[T]], None]
    ) -> asyncio.Task[T]:
        """Starts `work`; `done` sees how it ended, and has to look at its exception.

        Nothing that it raises ends the loop: it may call foreign code.
        """
        task = asyncio.get_running_loop().create_task(contained(work), name=name)
        close_with(task, work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(done)
        return task

    def keep(self, work: Callable[[], Coroutine[Any, Any, None]], *, name: str) -> asyncio.Task[None]:
        """Starts work that has to go on until it returns: when it fails, that is logged and counted, and it is started again.

        Args:
            work: called for each start.
            name: of the kind of work, for the log and the counts: one of a few.
        """
        return self.start(self._kept(work, name), name=name, done=_seen)

    async def _kept(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        loop = asyncio.get_running_loop()
        in_a_row, former = 0, ""
        while True:
            began_s = loop.time()
            try:
                await contained(work())
            except asyncio.CancelledError as error:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                failure: BaseException = error  # nobody has cancelled us: it comes from within
            except Exception as error:  # noqa: BLE001 # broad: whatever it is, it is not the end
                failure = error
            else:
                return
            in_a_row = 1 if loop.time() - began_s > FAILING_S else in_a_row + 1
            wait_s = backoff_s(min(in_a_row, _RESTARTS_DOUBLED), base_s=_RESTART_BASE_S, longest_s=_RESTART_S_MAX)
            text = text_of(failure)
            count = self._failures[name].count if name in self._failures else 0
            self._failures[name] = Failures(count=count + 1, text=text, at_s=loop.time())
            # The same failure again is one line, not one traceback more.
            logger.error(
                "%s failed, and is started again in %.1f s: %s",
                name, wait_s, text, exc_info=failure if text != former else None,
            )  # fmt: skip
            former = text
            await asyncio.sleep(wait_s)

    async def end(self) -> None:
        """Cancels all tasks and waits until they are gone."""
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.wait(tuple(self._tasks))


def _seen(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()  # none but a real Ctrl-C, which ends the loop by itself


class Expired(Exception):
    """Work took longer than it may, and was stopped."""


_left_behind: Final[set[asyncio.Task[Any]]] = set()


async def stoppable(work: Coroutine[Any, Any, T], *, name: str, timeout_s: float | None, grace_s: float) -> T:
    """Runs foreign work that may ignore being stopped: then it is left behind, and we go on.

    Args:
        work: what is run, in a task of its own.
        name: of the work, for the log.
        timeout_s: how long it may take; `None` for as long as it likes.
        grace_s: how long it may take to end, once it was stopped.

    Raises:
        Expired: it took too long, and was stopped.
        Exception: whatever the work raises. What is no `Exception` is an `Escape`, and if it cancels itself, a `RuntimeError`.
    """
    loop = asyncio.get_running_loop()
    guard(loop)
    task = loop.create_task(marked(work), name=name)
    close_with(task, work)
    try:
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
    except asyncio.CancelledError:
        await _stop(task, grace_s)
        raise
    if not done:
        await _stop(task, grace_s)
        raise Expired
    return result_of(task)


async def _stop(task: asyncio.Task[Any], grace_s: float) -> None:
    task.cancel()
    _left_behind.add(task)
    task.add_done_callback(_on_end_of_stopped)
    done, _ = await asyncio.wait({task}, timeout=grace_s)
    if not done:
        logger.warning("%s ignores being stopped; it was left behind", task.get_name())


def _on_end_of_stopped(task: asyncio.Task[Any]) -> None:
    _left_behind.discard(task)
    if not task.cancelled():
        task.exception()  # nobody waits for it any more


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end however often we are cancelled, then passes the cancellation on.

    For an append together with the state change it implies: split by a cancellation, they would leave us one record behind our own
    log, and every later append would conflict. And for a thread that works under a lock: it cannot be cancelled, and must not be left
    without the lock.
    """
    task = asyncio.get_running_loop().create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
        except BaseException:  # broad: it is the task's own, and raised below by result()
            if not task.done():
                raise
    if cancelled is not None:
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise cancelled from failure
        raise cancelled
    return task.result()


async def apart(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Returns what the pure function `work` makes of its arguments, in a thread if their `size` would hold the event loop up.

    A fold of a few hundred records is quicker than a thread; one of ten thousand takes as long as hundreds of deltas.
    """
    return work(*arguments) if size <= AT_ONCE_MAX else await asyncio.to_thread(work, *arguments)


class Gate:
    """A lock, first come first served, that can also be taken without waiting, or not at all.

    Invariant: a gate that is left while somebody waits is theirs at once; nobody slips in between.
    """

    __slots__ = ("_is_taken", "_waiting")

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[asyncio.Future[None]] | None = None

    async def __aenter__(self) -> None:
        if self.try_enter():
            return
        if self._waiting is None:
            self._waiting = deque()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.leave()  # it had become ours just before
            raise

    async def __aexit__(self, *_: object) -> None:
        self.leave()

    def try_enter(self) -> bool:
        """Enters if nobody is inside; returns whether it did. Whoever entered has to `leave`."""
        if self._is_taken:
            return False
        self._is_taken = True
        return True

    def leave(self) -> None:
        """Lets the next one in."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._waiting = None
        self._is_taken = False
