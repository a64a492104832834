"""A thread that does what is put into its queue, and tells the event loops of those who wait.

Threads are daemons: a program that never closes its store can end, and what was acknowledged is on the disk anyway.

Rule: whoever waits is always answered: with a result, with an error, or by the loop's own end. No error ends the thread.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

from greenroom.errors import LogUnavailable


class Ticket:
    """Something to do, and the future of the task that waits for it. Made in the task, answered from the thread.

    Attributes:
        operation: what to do; the servant of the thread knows how.
        result, error: set by the servant.
        loop: of the waiting task.
    """

    __slots__ = ("_future", "error", "loop", "operation", "result")

    def __init__(self, operation: Any) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: Exception | None = None
        self.loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Any] = self.loop.create_future()

    def __await__(self) -> Generator[Any, None, Any]:
        return self._future.__await__()

    def deliver(self) -> None:
        """Wakes the waiting task, in its loop; a task that was cancelled meanwhile waits no more."""
        if self._future.done():
            return
        if self.error is None:
            self._future.set_result(self.result)
        else:
            self._future.set_exception(self.error)


class Batch:
    """Tickets that one task waits for together: one future, and one wake-up."""

    __slots__ = ("_future", "_missing", "tickets")

    def __init__(self, operations: Sequence[Any]) -> None:
        self._future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._missing = len(operations)
        self.tickets = [Member(operation, self) for operation in operations]

    def __await__(self) -> Generator[Any, None, None]:
        return self._future.__await__()

    def arrived(self) -> None:
        """Counts a member; the last one wakes the waiting task."""
        self._missing -= 1
        if not self._missing and not self._future.done():
            self._future.set_result(None)


class Member(Ticket):
    """A ticket of a batch: `result` and `error` are for whoever waits for the batch."""

    __slots__ = ("_batch",)

    def __init__(self, operation: Any, batch: Batch) -> None:
        self.operation = operation
        self.result: Any = None
        self.error: Exception | None = None
        self.loop = asyncio.get_running_loop()
        self._batch = batch

    def deliver(self) -> None:
        """Counts itself."""
        self._batch.arrived()


class Servant(Protocol):
    """What a thread does; all of it is called in the thread."""

    def serve(self, tickets: list[Ticket]) -> None:
        """Sets `result` or `error` of every ticket. Raises what fails all of them."""
        ...

    def rest(self, *, is_idle: bool) -> float | None:
        """Does what nobody waits for, behind each `serve`; returns after how many idle seconds to be called again."""
        ...

    def close(self) -> None:
        """Lets go of everything."""
        ...


class Worker:
    """A thread with a queue. Starts with the first operation."""

    def __init__(self, name: str, servant: Servant, *, batch_max: int) -> None:
        self._servant = servant
        self._batch_max = batch_max
        self._queue: queue.SimpleQueue[Sequence[Ticket]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        # Guards what follows: nothing may be put behind the end of the queue, where nobody would answer it.
        self._lock = threading.Lock()
        self._is_started = False
        self._is_closed = False
        self._last: Ticket | None = None

    async def run(self, operation: Any) -> Any:
        """Returns what the servant makes of `operation`.

        Raises:
            LogUnavailable: the worker was closed.
            Exception: what the operation raised.
        """
        ticket = Ticket(operation)
        self._put([ticket])
        return await ticket

    async def run_all(self, operations: Sequence[Any]) -> list[Any]:
        """Returns what the servant makes of each operation: its result, or the error that it raised.

        Raises:
            LogUnavailable: the worker was closed.
        """
        if not operations:
            return []
        batch = Batch(operations)
        self._put(batch.tickets)
        await batch
        return [ticket.result if ticket.error is None else ticket.error for ticket in batch.tickets]

    def _put(self, tickets: Sequence[Ticket]) -> None:
        with self._lock:
            if self._is_closed:
                raise LogUnavailable("the store was closed", hint="open it again, or make a new one")
            if not self._is_started:
                self._is_started = True
                self._thread.start()
            self._queue.put(tickets)

    def end(self) -> None:
        """Lets the thread end behind what was asked for before. Idempotent; `ended` waits for it."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                if self._is_started:
                    self._last = Ticket(_END)
                    self._queue.put([self._last])

    async def ended(self) -> None:
        """Returns when the thread is gone; at once if there was none.

        Raises:
            Exception: what the servant raised when it was closed.
        """
        if self._last is not None:
            await self._last
            # It has answered, and needs a moment to be gone: whoever closes must not find it.
            await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        patience_s: float | None = None
        while True:
            tickets = self._take(patience_s)
            end = tickets.pop() if tickets and tickets[-1].operation is _END else None
            _guarded(tickets, self._servant.serve)
            if end is not None:
                _guarded([end], self._end)
                return
            patience_s = self._servant.rest(is_idle=not tickets)

    def _end(self, _: list[Ticket]) -> None:
        self._servant.close()

    def _take(self, patience_s: float | None) -> list[Ticket]:
        """Returns everything that waits, at least one ticket; none if nothing came in time. The end is the last."""
        try:
            tickets = list(self._queue.get(timeout=patience_s))
        except queue.Empty:
            return []
        with suppress(queue.Empty):
            while len(tickets) < self._batch_max:
                tickets += self._queue.get_nowait()
        return tickets


_END: Final = object()


def _guarded(tickets: list[Ticket], act: Callable[[list[Ticket]], None]) -> None:
    """Acts, and answers the tickets whatever happens."""
    try:
        if tickets:
            act(tickets)
    except Exception as error:  # noqa: BLE001 # broad: whoever waits hears of it, and the thread goes on
        for ticket in tickets:
            ticket.error = error
    waiting: dict[asyncio.AbstractEventLoop, list[Ticket]] = {}
    for ticket in tickets:
        waiting.setdefault(ticket.loop, []).append(ticket)
    for loop, theirs in waiting.items():
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_deliver, theirs)


def _deliver(tickets: Sequence[Ticket]) -> None:
    for ticket in tickets:
        ticket.deliver()
