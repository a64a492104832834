"""Threads for one kind of work, of which each user has a share.

The default pool of the event loop serves everybody's requests: work that may take seconds, or come in dozens, has threads of its own, so
that one user's searches delay neither another's nor anybody's messages.

Rule: users take turns; a thread counts as its user's until it is done, also when its result is not awaited any more.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import chain
from typing import Any, Final, TypeVar

from greenroom.errors import ManagerClosed

T = TypeVar("T")

_Job = tuple["Future[Any]", Callable[[], Any]]


class ThreadShares:
    """A pool of threads.

    Args:
        name: of the threads.
        threads_max: threads for all.
        per_user_max: threads of one user at the same time; what is more waits.
    """

    def __init__(self, name: str, *, threads_max: int, per_user_max: int) -> None:
        self._threads_max = threads_max
        self._per_user_max = per_user_max
        self._executor: Final = ThreadPoolExecutor(threads_max, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._is_closed = False
        self._waiting: dict[str, deque[_Job]] = {}
        self._running: dict[str, int] = {}

    async def run(self, user_id: str, work: Callable[[], T]) -> T:
        """Returns what `work` returns, done in a thread when it is this user's turn. A cancelled call that waits is never begun.

        Raises:
            Exception: whatever the work raises.
            ManagerClosed: the threads were closed before the work began.
        """
        return await asyncio.get_running_loop().run_in_executor(_Share(self, user_id), work)

    def close(self) -> None:
        """Begins nothing more, and fails what waits; what runs ends by itself. Idempotent."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, {}
        for future, _ in chain.from_iterable(waiting.values()):
            if future.set_running_or_notify_cancel():
                future.set_exception(_closed())
        self._executor.shutdown(wait=False)

    def submit(self, user_id: str, work: Callable[[], T]) -> Future[T]:
        """Queues work; what is returned knows when it is done."""
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise _closed()
            self._waiting.setdefault(user_id, deque()).append((future, work))
            self._begin()
        return future

    def _begin(self) -> None:
        """Begins what may run now; the lock is held."""
        while sum(self._running.values()) < self._threads_max:
            may = [name for name in self._waiting if self._running.get(name, 0) < self._per_user_max]
            # Who has least goes first; of two that have as much, who has waited longer since the last turn.
            user_id = min(may, key=lambda name: self._running.get(name, 0), default=None)
            if user_id is None:
                return
            queue = self._waiting.pop(user_id)
            future, work = queue.popleft()
            if queue:
                self._waiting[user_id] = queue  # behind all others
            if future.set_running_or_notify_cancel():
                self._running[user_id] = self._running.get(user_id, 0) + 1
                self._executor.submit(self._done, user_id, future, work)

    def _done(self, user_id: str, future: Future[Any], work: Callable[[], Any]) -> None:
        result, failure = None, None
        try:
            result = work()
        except BaseException as error:  # noqa: BLE001 # broad: the caller hears of it
            failure = error
        with self._lock:
            self._running[user_id] -= 1
            if not self._running[user_id]:
                del self._running[user_id]
            self._begin()
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)


def _closed() -> ManagerClosed:
    return ManagerClosed("the manager was closed before this began")


class _Share(Executor):
    """One user's way to the threads, as the event loop wants it."""

    def __init__(self, shares: ThreadShares, user_id: str) -> None:
        self._shares = shares
        self._user_id = user_id

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        return self._shares.submit(self._user_id, lambda: fn(*args, **kwargs))
