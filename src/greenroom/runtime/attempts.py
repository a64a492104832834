"""How a change is made when other processes want to change the same session.

Rule: decide again on what the log says now, never on what it said before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from greenroom.errors import Conflict, LogUnavailable
from greenroom.runtime.clock import backoff_s
from greenroom.runtime.live import LiveSession
from greenroom.runtime.registry import Registry

T = TypeVar("T")

_ATTEMPTS_MAX: Final = 20


async def attempted(
    registry: Registry, session_id: str, attempt: Callable[[LiveSession], Awaitable[T]], *, may_be_behind: bool = False
) -> T:
    """Opens the session and makes the attempt, anew as often as somebody else was quicker.

    Args:
        registry: of the sessions.
        session_id: the session.
        attempt: what to do.
        may_be_behind: as `Registry.using`.

    Raises:
        SessionNotFound: no such session.
        LogUnavailable: the session changes hands too quickly, or the log failed.
    """
    for number in range(1, _ATTEMPTS_MAX + 1):
        async with registry.using(session_id, may_be_behind=may_be_behind) as live:
            try:
                return await attempt(live)
            except Conflict:
                # Somebody else wrote. A session that was thrown away is opened anew; one that is only behind catches up.
                if not live.is_broken:
                    await live.refresh()
        # Processes that want the same session at the same time must not keep in step.
        await asyncio.sleep(backoff_s(number, base_s=0.002, longest_s=0.1))
    raise LogUnavailable(f"session {session_id!r} changes hands too quickly", hint="try again")
