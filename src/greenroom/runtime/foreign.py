"""Code of others: tools, backends, toolsets. Whatever it raises ends what it was asked for, and nothing else.

`SystemExit` and `KeyboardInterrupt` need care: asyncio re-raises them out of the loop when a task ends with one, whatever its awaiter
catches, and the process ends. So they are caught inside the coroutine that is the task, also in tasks that foreign code starts itself
(`asyncio.gather`, a task group): a task factory sees to that, on loops that have none of their own. A real Ctrl-C is let through: it was
raised by a signal handler, not by the code that was running.

Rule: what leaves here is an `Exception`, a cancellation that was asked for, or a real Ctrl-C.
"""

from __future__ import annotations

import asyncio
import dis
import signal
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import CodeType
from typing import Any, Final, TypeVar

T = TypeVar("T")

_TRACE_FRAMES_MAX: Final = 30
_TRACE_CHARACTERS_MAX: Final = 16 * 1024
_IS_FOREIGN: Final[ContextVar[bool]] = ContextVar("greenroom_is_foreign", default=False)


class Escape(RuntimeError):
    """Foreign code raised something that would have ended more than itself; its text says what."""


@contextmanager
def foreign() -> Iterator[None]:
    """Runs foreign code that does not wait.

    Raises:
        Escape: it raised something that is no `Exception`.
        Exception: whatever else it raises.
    """
    try:
        yield
    except Exception:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and is_ctrl_c(error):
            raise
        raise Escape(text_of(error)) from error


async def contained(work: Awaitable[T]) -> T:
    """Awaits work that may call foreign code, as the outermost coroutine of its task.

    A cancellation and the closing of the coroutine are let through; the holder of the task knows what they mean.

    Raises:
        Escape: it raised something that would have ended the loop.
        BaseException: whatever else it raises.
    """
    try:
        return await work
    except (SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and is_ctrl_c(error):
            raise
        raise Escape(text_of(error)) from error


async def marked(work: Awaitable[T]) -> T:
    """As `contained`, for work that is foreign: the tasks that it starts are contained as well, where the loop is guarded."""
    _IS_FOREIGN.set(True)  # of this task alone: each has a context of its own
    return await contained(work)


def close_with(task: asyncio.Task[Any], work: Awaitable[Any]) -> None:
    """Closes the coroutine that the task awaits when the task is done: one that was cancelled before it began has never awaited it."""
    if isinstance(work, Coroutine):
        task.add_done_callback(lambda _: work.close())


def guard(loop: asyncio.AbstractEventLoop) -> None:
    """Sees to it that tasks which foreign code starts on this loop cannot end it. A factory that is there stays."""
    if loop.get_task_factory() is None:
        loop.set_task_factory(_made_task)


def result_of(task: asyncio.Task[T]) -> T:
    """Returns the result of a task of foreign code that is done.

    Raises:
        Escape: it raised something that is no `Exception`.
        RuntimeError: it was cancelled without being asked to.
        Exception: whatever else it raised.
    """
    if task.cancelled():
        raise RuntimeError("it cancelled itself")
    failure = task.exception()
    if failure is None:
        return task.result()
    if isinstance(failure, Exception):
        raise failure
    raise Escape(text_of(failure)) from failure


def is_ctrl_c(error: KeyboardInterrupt) -> bool:
    """Returns whether a signal handler raised it, and not the code that was running."""
    handler = signal.getsignal(signal.SIGINT)
    codes: list[CodeType] = []
    innermost = error.__traceback__
    while innermost is not None:
        codes.append(innermost.tb_frame.f_code)
        if innermost.tb_next is None:
            break
        innermost = innermost.tb_next
    if handler is not signal.default_int_handler:
        # `asyncio.run` sets a partial of a method; a second Ctrl-C is raised there.
        code = getattr(getattr(handler, "func", handler), "__code__", None)
        return code is not None and code in codes
    if innermost is None:
        return True
    # The default handler has no frame: the instruction that was interrupted raised nothing itself.
    instruction = innermost.tb_frame.f_code.co_code[innermost.tb_lasti]
    return dis.opname[instruction] != "RAISE_VARARGS"


def text_of(error: BaseException) -> str:
    """Returns what an exception says, as a model or a log reads it: its type, and its text if that can be had."""
    if isinstance(error, Escape):
        return str(error)
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException as failure:  # broad: foreign code too
        if isinstance(failure, KeyboardInterrupt) and is_ctrl_c(failure):
            raise
        return f"{name} (its text cannot be read: {type(failure).__name__})"
    return f"{name}: {text}" if text else name


def trace_of(error: BaseException) -> str:
    """Returns where an exception comes from, for the log: bounded, whatever its texts are."""
    try:
        lines = traceback.TracebackException.from_exception(error, limit=-_TRACE_FRAMES_MAX, compact=True).format()
        trace = "".join(lines)
    except Exception as failure:  # broad: foreign code takes part in it  # noqa: BLE001
        trace = f"{type(error).__name__} (its traceback cannot be read: {type(failure).__name__})"
    if len(trace) > _TRACE_CHARACTERS_MAX:
        half = _TRACE_CHARACTERS_MAX // 2
        trace = f"{trace[:half]}\n[{len(trace) - 2 * half} characters left out]\n{trace[-half:]}"
    return trace.encode("utf-8", "backslashreplace").decode()


def _made_task(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T] | Generator[Any, None, T], **options: Any
) -> asyncio.Task[T]:
    if _IS_FOREIGN.get() and asyncio.iscoroutine(work):
        task = asyncio.Task(contained(work), loop=loop, **options)
        close_with(task, work)
        return task
    return asyncio.Task(work, loop=loop, **options)


def called(make: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
    """Returns a coroutine that makes the awaitable and awaits it: what is raised before it waits is raised there as well."""

    async def made() -> T:
        return await make()

    return made()
