"""A thread for what is large.

A thread alone does not keep the event loop free: both need the interpreter, and several threads that compute leave it to each other. So
there is one for the whole process, one piece of work after the other, and the work is in slices (`large`).

Rule: the work is pure: it sees nothing that others change meanwhile, and never waits.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from greenroom.large import LARGE_BYTES

T = TypeVar("T")


class _Thread:
    """The thread of this process. A child has none of its parent's threads: it gets its own."""

    def __init__(self) -> None:
        self.begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Has a thread as soon as there is work."""
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="greenroom-large")


_thread: Final = _Thread()


async def in_thread(size: int, work: Callable[..., T], *arguments: Any) -> T:
    """Returns what `work` makes of its arguments: at once, or in the thread if their `size` in bytes is large.

    Raises:
        Exception: whatever the work raises.
    """
    if size <= LARGE_BYTES:
        return work(*arguments)
    return await asyncio.get_running_loop().run_in_executor(_thread.executor, work, *arguments)
