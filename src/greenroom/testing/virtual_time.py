"""An asyncio event loop whose clock jumps: a timeout of ten minutes is tested in no time.

While anything can run, it runs, and the clock stands still. When nothing can, the clock jumps to the next timer. So
`asyncio.sleep(600)`, `asyncio.timeout(600)` and everything built on `loop.time()` behave as they would, in the same order,
without the waiting. Where no timer is left and nothing outside of the loop could wake it, the loop raises `Deadlock` instead
of hanging until somebody kills the test.

What happens outside of the loop takes real time, and the clock must not jump over it:

* Work given to `run_in_executor` or `asyncio.to_thread` is counted; the clock stands still until it is done.
* Sockets, pipes and threads that were started after the loop *might* have something to say, and nobody can know. With any
  of them about, the loop first waits `patience_s` of real time for them before each jump.
* A test that needs more than patience says so: inside `with loop.outside_work():` the clock does not jump at all.

Limits. `time.time()`, `time.monotonic()` and `time.sleep()` are the machine's and know nothing of this clock: code under test
takes its time from the loop or from a clock that it is given. Threads that ran before the loop was made are taken for
strangers that do not know it. A timer cannot interrupt outside work that never ends; that is a test's own timeout's business.

Rule: only the clock is virtual. Order, cancellation, I/O and errors are those of asyncio's own selector loop.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

DEFAULT_PATIENCE_S: Final = 0.05
"""Many times what a loopback socket or a committed row takes, and still little where a test jumps a dozen times."""


class Deadlock(RuntimeError):
    """Nothing can run, no timer is set, and nothing outside of the loop could wake it. Names the tasks that wait."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock starts at 0 and jumps to the next timer whenever nothing else can happen.

    The class is its own loop factory: `asyncio.Runner(loop_factory=VirtualTimeLoop)`, and for pytest-asyncio
    `pytest_asyncio_loop_factories` returning `{"virtual": VirtualTimeLoop}`.

    Attributes:
        patience_s: real seconds that a jump waits for sockets and threads, if there are any.
        jumps: how often the clock has jumped; a test can assert that nothing polls.
    """

    def __init__(self, *, patience_s: float = DEFAULT_PATIENCE_S) -> None:
        self.patience_s = patience_s
        self.jumps = 0
        self._now_s = 0.0
        self._outside_jobs = 0
        self._strangers = frozenset(threading.enumerate())
        # Threads of executors: idle whenever no job is counted.
        self._workers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()
        self._patient_selector = _JumpingSelector(self._wait)
        super().__init__(self._patient_selector)
        self._own_files = self._patient_selector.file_count  # the loop's own wake-up pipe

    def time(self) -> float:
        """Returns virtual seconds since the loop was made."""
        return self._now_s

    @contextmanager
    def outside_work(self) -> Iterator[None]:
        """Keeps the clock from jumping, however long something outside of the loop takes."""
        self._outside_jobs += 1
        try:
            yield
        finally:
            self._outside_jobs -= 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*_Ts], _T], *args: *_Ts) -> asyncio.Future[_T]:
        """As asyncio's; the clock stands still until the result is here."""
        # A process pool would have to pickle the wrapper, and its threads only move bytes.
        job = self._noting_worker(func) if executor is None or isinstance(executor, ThreadPoolExecutor) else func
        future = super().run_in_executor(executor, job, *args)
        self._outside_jobs += 1
        future.add_done_callback(self._job_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **kwargs: Any) -> None:
        """As asyncio's; its deadline cannot pass while the threads are ending."""
        with self.outside_work():
            await super().shutdown_default_executor(*args, **kwargs)

    def _noting_worker(self, func: Callable[[*_Ts], _T]) -> Callable[[*_Ts], _T]:
        def job(*args: *_Ts) -> _T:
            self._workers.add(threading.current_thread())
            return func(*args)

        return job

    def _job_done(self, _future: asyncio.Future[Any]) -> None:
        self._outside_jobs -= 1

    def _wait(self, files: selectors.BaseSelector, timeout_s: float | None) -> _Ready:
        """Called when nothing can run: waits for the outside if there is one, else jumps by `timeout_s`."""
        if self._outside_jobs:
            return files.select(None)
        # Company is looked for before the last poll: a thread that said something and ended meanwhile has been heard.
        has_company = self._has_company()
        if has_company and timeout_s is None:
            return files.select(None)
        ready = files.select(self.patience_s if has_company else 0)
        if ready:
            return ready
        if timeout_s is None:
            raise Deadlock(self._deadlock_message())
        self._now_s += timeout_s
        self.jumps += 1
        return []

    def _has_company(self) -> bool:
        if self._patient_selector.file_count > self._own_files:
            return True
        # Of the loop's own executor, also a thread that was started and never got a job.
        executor = getattr(self, "_default_executor", None)
        own = getattr(executor, "_threads", ())
        return any(
            thread not in own
            and thread not in self._strangers
            and thread not in self._workers
            and thread is not threading.current_thread()
            for thread in threading.enumerate()
        )

    def _deadlock_message(self) -> str:
        waiting = sorted(
            f"{task.get_name()}: {' < '.join(_stack(task)) or 'not started'}" for task in asyncio.all_tasks(self)
        )
        return "\n  ".join(["every task waits for something that can no longer happen:", *waiting])


class VirtualClock:
    """A wall clock that goes with the running event loop: what a manager is given when its loop is virtual."""

    def __init__(self, *, start_ms: int = 1_767_225_600_000) -> None:
        self._start_ms = start_ms  # the first of January 2026

    def now_ms(self) -> int:
        """Returns milliseconds since 1970."""
        return self._start_ms + round(asyncio.get_running_loop().time() * 1000)


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Runs `main` to its end in virtual time, as `asyncio.run` does in real time.

    Raises:
        Deadlock: `main` and the tasks around it wait for something that can no longer happen.
    """
    with asyncio.Runner(debug=debug, loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


_Ready = list[tuple[selectors.SelectorKey, int]]


class _JumpingSelector(selectors.BaseSelector):
    """A real selector that asks `wait` what to do when nothing is ready and the loop would go to sleep."""

    def __init__(self, wait: Callable[[selectors.BaseSelector, float | None], _Ready]) -> None:
        self._files = selectors.DefaultSelector()
        self._wait = wait

    @property
    def file_count(self) -> int:
        return len(self._files.get_map())

    def select(self, timeout: float | None = None) -> _Ready:
        ready = self._files.select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        return self._wait(self._files, timeout)

    def register(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._files.unregister(fileobj)

    def modify(self, fileobj: FileDescriptorLike, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._files.modify(fileobj, events, data)

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._files.get_map()

    def close(self) -> None:
        self._files.close()


def _stack(task: asyncio.Task[Any]) -> list[str]:
    """Returns the places where `task` waits, innermost first."""
    places: list[str] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            places.insert(0, f"{frame.f_code.co_qualname}:{frame.f_lineno}")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return places
